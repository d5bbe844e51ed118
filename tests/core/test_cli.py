"""What every binary does alike: help, and one line for a user's mistake."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from audioset_strong.core import cli

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_TOOLS = sorted(path.stem for path in (_ROOT / "tools").glob("[a-z]*.py"))
# What setuptools makes of an entry point.
_SCRIPT = "import sys\nfrom audioset_strong.tools.{tool} import run\nsys.exit(run())\n"


_GROUPS = {
    "gin_flags": ("gin_file", "gin_param"),
    "model_flags": ("model", "ema"),
    "workdir_flag": ("workdir",),
    "data_dir_flag": ("data_dir",),
    "dataset_flag": ("dataset",),
}


def _of_groups(source):
    """Names of the flags that a tool takes from the groups of `cli`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("cli."):
            group = node.func.attr
            if group == "metadata_flags":
                for argument in node.args:
                    starred = isinstance(argument, ast.Starred)
                    yield from cli.METADATA_FLAGS if starred else (argument.value,)
            else:
                yield from _GROUPS.get(group, ())


def _python(cwd, *arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("tool", _TOOLS)
@pytest.mark.parametrize("started_as", ["file", "module", "script"])
def test_help_shows_docstring_and_flags_without_waiting_for_tensorflow(tool, started_as, tmp_path):
    script = tmp_path / f"audioset_strong_{tool}"
    script.write_text(_SCRIPT.format(tool=tool))
    command = {
        "file": [_ROOT / "tools" / f"{tool}.py"],
        "module": ["-m", f"audioset_strong.tools.{tool}"],
        "script": [script],
    }[started_as]
    done = _python(tmp_path, "-X", "importtime", *command, "--help")
    assert done.returncode == 0, done.stderr
    source = (_ROOT / "tools" / f"{tool}.py").read_text()
    docstring = source.split('"""')[1].replace("\\\\", "\\").strip()
    for name in _TOOLS:  # as a user types it
        docstring = re.sub(rf"\b{name}\.py\b", f"audioset_strong_{name}", docstring)
    assert done.stdout.startswith(docstring)
    defined = re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source) + list(_of_groups(source))
    shown = re.findall(r"^  --(?:\[no\])?(\w+):", done.stdout, re.MULTILINE)
    assert sorted(shown) == sorted(defined)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "absl.flags" in imported
    assert not imported & {"tensorflow", "keras", "numpy", "pandas"}


def test_help_piped_into_a_reader_that_stops_early_ends_quietly():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "audioset_strong.tools.train", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdirr=w", "--data_dir=d"], "Unknown command line flag 'workdirr'"),
        (["--workdir=w"], "Flag --data_dir must have a value"),
        (["--workdir=w", "--data_dir=d", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_mistakes_in_the_flags_are_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = _python(tmp_path, "-m", "audioset_strong.tools.train", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_file_whose_name_begins_with_a_dash_is_told_how_to_write(tmp_path):
    (tmp_path / "-abc.wav").touch()
    predict = ("-m", "audioset_strong.tools.predict", "--model=none")
    done = _python(tmp_path, *predict, "-abc.wav")
    assert done.returncode == 2
    assert done.stderr == (
        "error: '-abc.wav' is taken for a flag; write './-abc.wav', or -- before it\n"
    )


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [("plot_clip", "--data_dir", "--dataset"), ("convert", "--clips", "--clip_list")],
)
def test_an_old_flag_is_answered_with_the_new_one(tmp_path, tool, old, new):
    done = _python(tmp_path, "-m", f"audioset_strong.tools.{tool}", f"{old}=x")
    assert done.returncode == 2
    assert done.stderr == f"error: {old} is now {new} (--help)\n"


@pytest.mark.parametrize(
    ("body", "code", "last_line"),
    [
        ("raise errors.InputError('x.csv, line 3: bad')", 2, "error: x.csv, line 3: bad"),
        # gin names the configurables that it was calling; a user does not need them.
        (
            "gin.configurable('outer')(lambda: errors.fail())()",
            2,
            "error: said inside a configurable",
        ),
        (
            "gin.configurable('needy')(needy)()",
            2,
            "error: Required bindings for `needy` not provided in config: ['x']",
        ),
        ("raise KeyboardInterrupt", 130, "interrupted; finished work is kept"),
        ("raise RuntimeError('a bug')", 1, "RuntimeError: a bug"),
        ("pass", 0, None),
    ],
)
def test_a_mistake_that_a_user_can_correct_is_shown_without_a_traceback(
    tmp_path, body, code, last_line
):
    (tmp_path / "binary.py").write_text(
        "import gin\n"
        "from audioset_strong.core import cli, errors\n"
        "def fail():\n    raise errors.InputError('said inside a configurable')\n"
        "errors.fail = fail\n"
        "def needy(x=gin.REQUIRED):\n    pass\n"
        f"def main(argv):\n    {body}\n"
        "cli.run(main)\n"
    )
    done = _python(tmp_path, "binary.py")
    assert done.returncode == code
    lines = done.stderr.splitlines()
    assert (lines[-1] if lines else None) == last_line
    assert len(lines) <= 1 or code == 1


def test_flag_groups_give_what_the_command_line_says(tmp_path):
    (tmp_path / "binary.py").write_text(
        '"""A binary."""\n'
        "from audioset_strong.core import cli\n"
        "from audioset_strong.labels.metadata_files import MetadataFiles\n"
        "metadata, gin, model = cli.metadata_flags(*cli.METADATA_FLAGS), cli.gin_flags(), "
        "cli.model_flags()\n"
        "workdir, dataset = cli.workdir_flag(multiple=True), cli.dataset_flag(required=False)\n"
        "def main(argv):\n"
        "    files = MetadataFiles(**metadata())\n"
        "    print(files.weak_csvs, files.combine_class_labels, files.skip_bad_rows)\n"
        "    print(gin(), model(), workdir.value, dataset.value)\n"
        "cli.run(main)\n"
    )
    arguments = [
        "--weak_csv=a",
        "--weak_csv=b",
        "--skip_bad_rows",
        "--combine_class_labels=intersection",
        "--gin_file=g",
        "--gin_param=x = 1",
        "--model=m",
        "--ema",
        "--workdir=v",
        "--workdir=w",
    ]
    done = _python(tmp_path, "binary.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "('a', 'b') intersection True",
        "(['g'], ['x = 1']) ('m', True) ['v', 'w'] None",
    ]


_PROGRAM = """
import atexit, sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")  # as if main had imported it
atexit.register(print, "registered before")
from audioset_strong.core import cli, errors

def main(argv):
    atexit.register(print, "registered by main")
    print("printed", end=" ")
    {body}

{call}
"""


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("pass", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('in words')", 1, "in words\n"),
        ("raise errors.InputError('a mistake')", 2, "error: a mistake\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_program_ends_at_once_with_its_code_and_all_its_output(tmp_path, body, code, stderr):
    script = tmp_path / "audioset_strong_fake"
    script.write_text(_PROGRAM.format(body=body, call="cli.run(main)"))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    # Without the teardown, in which what was registered before the tool began would be done.
    assert ended.stdout == "printed registered by main\n"
    assert ended.stderr.endswith(stderr)


def test_a_program_that_calls_a_tool_keeps_its_own_exit_code(tmp_path):
    script = tmp_path / "my_experiment.py"
    call = "try:\n    cli.run(main)\nexcept SystemExit:\n    sys.exit(5)"
    script.write_text(_PROGRAM.format(body="pass", call=call))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert ended.stdout == "printed registered by main\nregistered before\n"
