"""What every binary does alike: help, and one line for a user's mistake."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_TOOLS = sorted(path.stem for path in (_ROOT / "tools").glob("[a-z]*.py"))
# What setuptools makes of an entry point.
_SCRIPT = "import sys\nfrom audioset_strong.tools.{tool} import run\nsys.exit(run())\n"


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
    assert done.stdout.startswith(docstring)
    defined = re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source)
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


@pytest.mark.parametrize(
    ("body", "code", "last_line"),
    [
        ("raise errors.InputError('x.csv, line 3: bad')", 2, "error: x.csv, line 3: bad"),
        # gin speaks of the configurables that it was calling; the user need not know.
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
        ("raise KeyboardInterrupt", 130, "interrupted; what was finished is kept"),
        ("raise RuntimeError('a bug')", 1, "RuntimeError: a bug"),
        ("pass", 0, None),
    ],
)
def test_only_what_a_user_can_mend_is_told_without_a_traceback(tmp_path, body, code, last_line):
    (tmp_path / "binary.py").write_text(
        "import gin\n"
        "from audioset_strong import cli, errors\n"
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
