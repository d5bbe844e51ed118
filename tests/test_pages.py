"""README and docs/: their commands can be typed, and the pages made of the code are whole."""

import contextlib
import io
import json
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import audioset_strong as ast
from tests import trained

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PAGES = sorted(
    path.relative_to(_ROOT).as_posix()
    for path in [_ROOT / "README.md", *_ROOT.glob("docs/*.md")]
    if "```bash" in path.read_text()
)
# All commands with their flags, and all bindings; and the pages of the site that show them. In a
# process of its own, for absl has one register of flags for all modules that are imported.
_FACTS = """
import dataclasses, json, sys
sys.path.insert(0, "docs")
import generated_pages
from audioset_strong.configuration import described
from audioset_strong.core import commands
flags = {name: commands.flags_of(name) for name in commands.names()}
commands.flags_of = flags.get
facts = {
    "flags": {name: [dataclasses.asdict(flag) for flag in each] for name, each in flags.items()},
    "bindings": [dataclasses.asdict(each) for each in described.bindables()],
    "commands": generated_pages.command_page(),
    "settings": generated_pages.binding_page(),
    "links": generated_pages.with_links(
        "[a](docs/x.md#y) [b](CHANGELOG.md) [c](https://d.e/f) [g](LICENSE)",
        written_in="CONTRIBUTING.md",
        at="project/contributing.md",
    ),
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def facts():
    done = subprocess.run(
        [sys.executable, "-c", _FACTS], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _commands(page):
    """(command, arguments) of each line of our own in the bash blocks of a page.

    Variables of the shell that the page sets before are put in.
    """
    text = (_ROOT / page).read_text()
    variables = dict(re.findall(r'^(\w)="(.*)"$', text, re.MULTILINE))
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.match(r"(?:\S*/)?audioset_strong[_ ](\w+) (.*)", line)
            if command:
                arguments = re.sub(r"\$(\w)\b", lambda match: variables[match[1]], command[2])
                yield command[1], shlex.split(arguments, comments=True)


def _wrong(arguments, flags, bindings):
    """What of a command line is not as it should be."""
    given = [argument[2:].partition("=") for argument in arguments if argument.startswith("--")]
    boolean = {
        f"{prefix}{n}" for n, f in flags.items() if not f["takes_value"] for prefix in ("", "no")
    }
    for name, equals, value in given:
        flag = flags.get(name)
        if name not in boolean and flag is None:
            yield f"--{name}: no such flag"
        elif name not in boolean and not equals:
            yield f"--{name}: without a value"
        elif flag and flag["values"] and value not in flag["values"]:
            yield f"--{name}={value}: not one of {flag['values']}"
        elif name == "gin_file" and "/" in value and not (_ROOT / "gin" / value).is_file():
            yield f"--gin_file={value}: no such file"
        elif name in ("gin_param", "vary") and value.partition(" =")[0] not in bindings:
            yield f"--{name}={value}: no such binding"
    if "..." not in arguments:
        required = {name for name, flag in flags.items() if flag["required"]}
        for name in sorted(required - {name for name, *_ in given}):
            yield f"--{name}: required, not given"


@pytest.mark.parametrize("page", _PAGES)
def test_every_command_has_flags_that_exist_and_those_that_it_needs(page, facts):
    bindings = {
        f"{each['name']}.{p['name']}" for each in facts["bindings"] for p in each["parameters"]
    }
    wrong = []
    for command, arguments in _commands(page):
        if command == "completion":
            continue
        flags = {flag["name"]: flag for flag in facts["flags"][command]}
        wrong += [f"{command} {each}" for each in _wrong(arguments, flags, bindings)]
    assert not wrong


def test_what_is_wrong_with_a_command_is_found(facts):
    flags = {flag["name"]: flag for flag in facts["flags"]["train"]}
    arguments = ["--workdir", "--strategy=all", "--gin_file=table1/none.gin", "--exted"]
    assert list(_wrong(arguments, flags, set())) == [
        "--workdir: without a value",
        f"--strategy=all: not one of {flags['strategy']['values']}",
        "--gin_file=table1/none.gin: no such file",
        "--exted: no such flag",
        "--data_dir: required, not given",
    ]


def test_front_ends_that_the_pages_bind_are_possible():
    found = [
        (name, int(value))
        for page in [_ROOT / "README.md", *_ROOT.glob("docs/*.md")]
        for name, value in re.findall(r"FrontEnd\.(\w+) = (\d+)", page.read_text())
    ]
    assert found
    for name, value in found:
        assert getattr(ast.features.FrontEnd(**{name: value}), name) == value


def test_the_commands_of_the_pages_are_found():
    assert {command for command, _ in _commands("README.md")} == {
        "predict",
        "convert",
        "train",
        "evaluate",
    }
    assert sum(len(list(_commands(page))) for page in _PAGES) > 50


def test_the_snippet_of_the_readme_runs_where_the_demo_ran(tmp_path):
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```$", (_ROOT / "README.md").read_text(), re.M | re.S
    )
    trained.write_workdir(tmp_path / "demo_output" / "runs" / "plus_strong")
    noise = 0.1 * np.random.default_rng(0).normal(size=3 * 22_050)
    soundfile.write(tmp_path / "street.wav", noise, 22_050)
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.chdir(tmp_path)
        exec(compile(snippet, "README.md", "exec"), {})
    *lines, parameters = output.getvalue().splitlines()
    assert len(lines) >= 3
    assert all(re.fullmatch(r"[01]\.\d\d .+", line) for line in lines[:3])
    assert all(re.fullmatch(r"\d+\.\d\d-\d+\.\d\d s .+", line) for line in lines[3:])
    # torchvision's ResNet-50 has 23,508,032 before its last layer, for three channels; ours is for
    # one channel and 527 classes. Keras also counts the averages of the batch norms, 0.2%.
    assert int(parameters) == pytest.approx(23_508_032 - 2 * 49 * 64 + 2049 * 527, rel=0.005)


def test_the_reference_shows_every_flag_that_the_tools_define(facts):
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^\(|\Z)", facts["commands"], re.M | re.S))
    tools = {path.stem: path for path in (_ROOT / "tools").glob("[a-z]*.py")}
    assert set(sections) == set(tools) - {"main"}
    for name, text in sections.items():
        source = tools[name].read_text()
        for flag in re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source):
            assert f"| `--{flag}` |" in text, (name, flag)
        assert ("cli.gin_flags" in source) == ("| `--gin_param` |" in text), name
    assert "| `--workdir` | **required** |" in sections["train"]
    assert "| `--strategy` | `one_device` |" in sections["train"]
    assert "audioset_strong_train --workdir=runs/strong_67k" in sections["train"]


def test_every_flag_and_every_binding_is_described(facts):
    for name, flags in facts["flags"].items():
        assert [flag["name"] for flag in flags if len(flag["help"]) < 8] == [], name
    for each in facts["bindings"]:
        assert each["summary"]
        assert [p["name"] for p in each["parameters"] if len(p["description"]) < 8] == [], each[
            "name"
        ]


def test_the_reference_shows_every_binding_that_the_gin_files_use(facts):
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", facts["settings"], re.M | re.S))
    used = {
        match.groups()
        for path in (_ROOT / "gin").rglob("*.gin")
        for match in re.finditer(r"^(\w+)\.(\w+) = ", path.read_text(), re.MULTILINE)
    }
    assert len(used) > 20
    for name, parameter in used:
        assert f"| `{parameter}` |" in sections[name], (name, parameter)
    assert "| `batch_size` | **required** | a whole number |" in sections["train"]
    assert "| `sources` | **required** |" in sections["train"]
    assert "`num_classes`" not in sections["resnet"].partition("| --- |")[2]


def test_links_from_the_root_lead_to_pages_of_the_site(facts):
    expected = "[a](../x.md#y) [b](changelog.md) [c](https://d.e/f) [g](../../LICENSE)"
    assert facts["links"] == expected


def test_the_version_is_the_same_wherever_it_is_told():
    (version,) = re.findall(r'^version = "(.*)"$', (_ROOT / "pyproject.toml").read_text(), re.M)
    assert f"\nversion: {version}\n" in (_ROOT / "CITATION.cff").read_text()
    assert f"\n## {version} " in (_ROOT / "CHANGELOG.md").read_text()
    assert "version" not in (_ROOT / "setup.py").read_text().partition("setup(")[2]
