"""BUILD against the sources: every file in one target, every import among the target's deps."""

import ast
import pathlib
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_RULES = {"py_library", "py_binary", "py_test"}
# What an import is called on PyPI, where the two names differ.
_PACKAGES = {
    "absl": "absl-py",
    "apache_beam": "apache-beam",
    "gin": "gin-config",
    "sklearn": "scikit-learn",
    "tensorflow_io": "tensorflow-io",
}


def _value(node):
    """The value of an expression of BUILD: literals, glob([...]), requirement("...")."""
    if isinstance(node, ast.Call):
        name, argument = node.func.id, _value(node.args[0])
        if name == "requirement":
            return f"@{argument}"
        assert name == "glob"
        files = {path for pattern in argument for path in _ROOT.glob(pattern)}
        return sorted(path.relative_to(_ROOT).as_posix() for path in files)
    if isinstance(node, ast.List):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.BinOp):
        return _value(node.left) + _value(node.right)
    return ast.literal_eval(node)


def _targets():
    found = {}
    for statement in ast.parse((_ROOT / "BUILD").read_text()).body:
        call = statement.value
        if isinstance(call, ast.Call) and call.func.id in _RULES | {"filegroup"}:
            arguments = {keyword.arg: _value(keyword.value) for keyword in call.keywords}
            assert arguments["name"] not in found, f"target {arguments['name']} stands twice"
            found[arguments["name"]] = arguments | {"rule": call.func.id}
    return found


TARGETS = _targets()
OWNER = {
    source: name
    for name, target in TARGETS.items()
    if target["rule"] in _RULES
    for source in target["srcs"]
}


def _sources(*folders):
    return {
        path.relative_to(_ROOT).as_posix()
        for folder in folders
        for path in (_ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    }


def _first_party(module):
    """The file that a dotted name of ours stands for, a module or a package; None if neither."""
    if module.startswith("audioset_strong.tools"):
        module = module.removeprefix("audioset_strong.")
    base = _ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path.relative_to(_ROOT).as_posix()
    return None


def _imports(source):
    """(files of ours, other packages) that a source imports, wherever in it."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse((_ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if top in ("audioset_strong", "tools", "tests"):
                ours.add(_first_party(name) or _first_party(name.rpartition(".")[0]))
            elif top not in sys.stdlib_module_names:
                others.add(_PACKAGES.get(top, top))
    return ours, others


def test_every_source_file_belongs_to_exactly_one_target():
    listed = [s for t in TARGETS.values() if t["rule"] in _RULES for s in t["srcs"]]
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == _sources("audioset_strong", "tools", "tests")


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t["rule"] in _RULES])
def test_deps_are_exactly_what_the_sources_import(name):
    target = TARGETS[name]
    expected = set()
    for source in target["srcs"]:
        ours, others = _imports(source)
        expected |= {f":{OWNER[file]}" for file in ours} | {f"@{package}" for package in others}
    expected.discard(f":{name}")
    assert set(target.get("deps", [])) == expected
    assert len(target.get("deps", [])) == len(expected)


def test_imports_go_one_way_only():
    rooms = ["labels", "features", "data", "models", "training", "evaluation", "analysis"]
    for low, name in enumerate(rooms):
        above = {f":{other}" for other in rooms[low + 1 :]}
        assert not above & set(TARGETS[name]["deps"]), name


def test_every_tool_is_a_binary_and_every_test_file_a_test():
    for source in _sources("tools"):
        path = pathlib.PurePosixPath(source)
        if path.name != "__init__.py":
            assert TARGETS[OWNER[source]]["rule"] == "py_binary"
            assert TARGETS[OWNER[source]]["srcs"] == [source]
    for source in _sources("tests"):
        is_test = pathlib.PurePosixPath(source).name.startswith("test_")
        assert (TARGETS[OWNER[source]]["rule"] == "py_test") == is_test


def test_the_gin_files_are_data_of_the_library_that_reads_them():
    assert ":gin_files" in TARGETS["training"]["data"]
    on_disk = {path.relative_to(_ROOT).as_posix() for path in (_ROOT / "gin").rglob("*.gin")}
    assert set(TARGETS["gin_files"]["srcs"]) == on_disk
