"""What `import audioset_strong` gives: names, types for type checkers, docstrings, examples."""

import collections
import dataclasses
import doctest
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import audioset_strong as ast
from tests import datasets, trained

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "audioset_strong"


def _module_name(path):
    return ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")


_SOURCES = {_module_name(path): path.read_text() for path in sorted(_PACKAGE.rglob("*.py"))}
_WITH_EXAMPLES = [name for name, text in _SOURCES.items() if re.search(r"^ *>>> ", text, re.M)]
# The modules that the public API consists of.
_PUBLIC = [
    "audioset_strong.audio.features",
    "audioset_strong.evaluation.metrics",
    "audioset_strong.inputs.datasets",
    *(f"audioset_strong.labels.{name}" for name in ast.labels.__all__),
    *(f"audioset_strong.models.{name}" for name in ast.models.__all__ if name != "resnet50"),
]
# What `load_model` leads to, and what any of these raises.
_OF_MODELS = [
    "audioset_strong.core.errors",
    "audioset_strong.inference.model_loading",
    "audioset_strong.inference.predictor",
]


def _python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT).stdout


def test_importing_the_package_imports_no_large_library():
    code = "import audioset_strong, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = set(_python(code).split())
    assert "audioset_strong" in imported
    assert not imported & {"tensorflow", "keras", "numpy", "pandas", "scipy", "matplotlib", "gin"}


@pytest.mark.parametrize("name", ["labels.metadata", "labels.ontology", "__version__"])
def test_names_that_need_no_tensorflow_do_not_import_it(name):
    code = f"import audioset_strong as ast, sys; ast.{name}; print('tensorflow' in sys.modules)"
    assert _python(code) == "False\n"


def test_every_public_name_works_in_a_fresh_process():
    code = "import audioset_strong as ast\nfor name in ast.__all__: print(name, getattr(ast, name))"
    lines = _python(code).splitlines()
    assert [line.split()[0] for line in lines] == ast.__all__
    assert dir(ast) == sorted(ast.__all__)


def test_the_public_names_are_the_modules_and_functions_that_they_should_be():
    from audioset_strong.audio import features
    from audioset_strong.core import errors
    from audioset_strong.evaluation import metrics
    from audioset_strong.inference import model_loading
    from audioset_strong.inputs import datasets
    from audioset_strong.models import resnet

    assert ast.features is features
    assert ast.datasets is datasets
    assert ast.metrics is metrics
    assert ast.load_model is model_loading.load_model
    assert ast.models.resnet50 is resnet.resnet
    assert ast.models.resnet is resnet
    assert ast.InputError is errors.InputError
    assert issubclass(ast.InputError, ValueError)
    assert re.fullmatch(r"\d+\.\d+\.\d+", ast.__version__)


@pytest.mark.parametrize("package", ["labels", "models"])
def test_a_public_room_offers_each_of_its_modules(package):
    files = {path.stem for path in (_PACKAGE / package).glob("*.py")}
    room = getattr(ast, package)
    assert files - {"__init__", "table_files"} <= set(room.__all__)  # how tables are read
    for name in room.__all__:
        assert getattr(room, name)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'feature'; it has .*features.*models"):
        ast.feature  # noqa: B018
    with pytest.raises(
        AttributeError, match=r"'audioset_strong\.labels' has no attribute 'frames'"
    ):
        ast.labels.frames  # noqa: B018


def test_without_an_installed_package_the_version_says_so(monkeypatch):
    from importlib import metadata

    from audioset_strong.core import version

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", missing)
        assert importlib.reload(version).VERSION == "0+unknown"
    importlib.reload(version)  # before the package reads it, and keeps it
    assert ast.__version__ == version.VERSION


def test_type_checkers_see_the_types(tmp_path):
    script = tmp_path / "user.py"
    script.write_text(
        "import audioset_strong as ast\n"
        "reveal_type(ast.load_model)\n"
        "reveal_type(ast.features.FrontEnd().sample_rate)\n"
        "reveal_type(ast.labels.framing.FRAME_MS)\n"
        "reveal_type(ast.metrics.lwlrap)\n"
        "reveal_type(ast.models.resnet50)\n"
        "reveal_type(ast.datasets.training_stream)\n"
        "ast.no_such_name\n"
    )
    assert (_PACKAGE / "py.typed").exists()
    command = [sys.executable, "-m", "mypy", "--no-namespace-packages", "--follow-imports=silent"]
    command += ["--ignore-missing-imports", "--no-error-summary", f"--cache-dir={tmp_path}/cache"]
    done = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"MYPYPATH": str(_ROOT)},
    )
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == 6, done.stdout
    assert not any(text == "Any" for text in revealed)
    assert "predictor.Model" in revealed[0]
    assert "int" in revealed[1]
    assert "numpy.ndarray" in revealed[3]
    assert 'user.py:8: error: Module has no attribute "no_such_name"' in done.stdout


@pytest.fixture(scope="module")
def demo_output(tmp_path_factory):
    """A directory like the demo's, with what some examples read; others write files there."""
    directory = tmp_path_factory.mktemp("demo_output")
    clips = datasets.toy_clips(16)
    datasets.write_dataset(directory / "data" / "train_strong", clips)
    datasets.write_dataset(directory / "data" / "eval", clips[:8])
    trained.write_workdir(directory / "runs" / "plus_strong")
    return directory


@pytest.mark.parametrize("name", _WITH_EXAMPLES)
def test_the_examples_in_docstrings_are_right(name, demo_output, monkeypatch):
    monkeypatch.chdir(demo_output)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def _public_objects(module_name):
    """(name, object) of the functions and classes that a module defines, and of their methods."""
    module = importlib.import_module(module_name)
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module_name:
            continue
        if not inspect.isfunction(value) and not inspect.isclass(value):
            continue
        yield name, value
        if inspect.isclass(value):
            for method_name, method in vars(value).items():
                function = getattr(method, "__func__", method)  # of a class method
                if not method_name.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{method_name}", function


def _section(docstring, title):
    """The text of a section such as "Args:"; "" where there is none."""
    match = re.search(rf"^ *{title}:\n((?:.+\n|\n(?= ))*)", f"{docstring}\n", re.MULTILINE)
    return match[1] if match else ""


def _undocumented(value):
    """What the docstring of a function or class leaves out."""
    docstring = inspect.getdoc(value)
    if not docstring or docstring.startswith(f"{value.__name__}("):  # what dataclasses generate
        return ["docstring"]
    if inspect.isclass(value):
        if not dataclasses.is_dataclass(value):
            return []
        names = [field.name for field in dataclasses.fields(value)]
        described = _section(docstring, "Attributes")
    else:
        parameters = inspect.signature(value).parameters
        names = [name for name in parameters if name not in ("self", "cls")]
        # The summary line says all that there is to say of a single parameter.
        described = _section(docstring, "Args") if len(names) > 1 else " ".join(names)
    return [name for name in names if not re.search(rf"\b{name}\b", described)]


def _examples(value):
    """The source of the examples in a docstring."""
    found = doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")
    return "".join(example.source for example in found)


@pytest.mark.parametrize("module_name", [*_PUBLIC, *_OF_MODELS])
def test_every_public_function_is_used_in_an_example(module_name):
    public = dict(_public_objects(module_name))
    # A method may stand in the example of its class, or of another of its methods.
    of_class = collections.defaultdict(str)
    for name, value in public.items():
        of_class[name.partition(".")[0]] += _examples(value)
    without = []
    for name, value in public.items():
        outer, _, method = name.partition(".")
        examples = of_class[outer] if method else _examples(value)
        if not inspect.isclass(value) and not re.search(rf"\b{method or name}\(", examples):
            without.append(name)
    assert not without


@pytest.mark.parametrize("module_name", _PUBLIC)
def test_public_docstrings_describe_every_parameter(module_name):
    missing = {
        name: absent
        for name, value in _public_objects(module_name)
        if (absent := _undocumented(value))
    }
    assert not missing
