"""tools/setup_venv.sh: which Python it takes, where the environment is, and what it installs."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# A Python of another version that makes environments of itself, and a pip that only says what it
# was asked for, and leaves half a package where it is refused (once) or cut off.
_PYTHON = """#!/bin/bash
case "$1 $2" in
  "-c "*) exec {python} -c "import sys, venv, ensurepip; sys.version_info = {version}
$2" ;;
  "--version "*) echo 'Python of a test' ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip") echo "${{@: -1}}" >>asked
    if [ -e refuse ]; then rm refuse; touch "${{0%/bin/python}}/half_a_package"; exit 1; fi
    if [ -e cut_off ]; then touch "${{0%/bin/python}}/half_a_package"; kill $PPID; sleep 1; fi
    if [ -e slow ]; then sleep 3; fi ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A project of that script, with Pythons of several versions."""
    (tmp_path / "tools").mkdir()
    shutil.copy(_ROOT / "tools" / "setup_venv.sh", tmp_path / "tools")
    shutil.copy(_ROOT / "setup.py", tmp_path)
    (tmp_path / "pythons").mkdir()
    for minor in (9, 11, 13):
        path = tmp_path / "pythons" / f"python3.{minor}"
        path.write_text(_PYTHON.format(python=sys.executable, version=(3, minor, 0, "final", 0)))
        path.chmod(0o755)
    return tmp_path


def _start(project, *arguments, **environment):
    path = f"{project / 'pythons'}:/usr/bin:/bin"
    quoted = " ".join(f"'{argument}'" for argument in arguments)
    return subprocess.Popen(
        ["bash", "-euc", f"source tools/setup_venv.sh; setup_venv {quoted}; $PYTHON_IN_VENV -m x"],
        cwd=project,
        env={"PATH": path, "HOME": os.environ.get("HOME", "/")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _setup(project, *arguments, **environment):
    process = _start(project, *arguments, **environment)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _asked(project):
    return (project / "asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("environment", "venv", "requirement"),
    [
        ({}, ".venv", ".[io,test,beam]"),
        ({"PYTHON": "python3.13"}, ".venv", ".[test,beam]"),
        ({"NEWEST": "1"}, ".venv-newest", ".[test,beam]"),
        ({"NEWEST": "1", "VENV": "other", "PYTHON": "python3.13"}, "other", ".[test,beam]"),
    ],
)
def test_tensorflow_io_is_installed_where_python_allows_and_newest_is_not_wanted(
    project, environment, venv, requirement
):
    for _ in range(2):  # the second time there is nothing to do
        done = _setup(project, "test,beam", "test", **environment)
        assert done.returncode == 0, done.stderr
    assert _asked(project) == [requirement]
    assert (project / venv / "bin" / "python").exists()


def test_the_demo_needs_no_extra_but_that_one(project):
    assert _setup(project, "").returncode == 0
    assert _setup(project, "", NEWEST="1").returncode == 0
    assert _asked(project) == [".[io]", "."]


def test_fewer_extras_are_taken_where_not_all_can_be_installed(project):
    (project / "refuse").touch()
    done = _setup(project, "test,beam", "test")
    assert done.returncode == 0
    assert "io,test,beam could not be installed; going on with io,test" in done.stderr
    assert _asked(project) == [".[io,test,beam]", ".[io,test]"]


def test_fewer_extras_are_installed_without_what_the_failed_attempt_left(project):
    # pip would take half a package for an installed one.
    (project / "refuse").touch()
    _setup(project, "test,beam", "test")
    assert not (project / ".venv" / "half_a_package").exists()
    assert (project / ".venv" / "setup_state").read_text() == "whole\n"


def test_a_setup_that_was_cut_off_starts_anew(project):
    assert _setup(project, "test").returncode == 0
    (project / "cut_off").touch()
    assert _setup(project, "test,beam").returncode != 0
    assert (project / ".venv" / "half_a_package").exists()
    (project / "cut_off").unlink()
    # What had been installed before is not trusted either.
    done = _setup(project, "test")
    assert done.returncode == 0
    assert "The setup of .venv was cut off; it starts anew.\n" in done.stderr
    assert not (project / ".venv" / "half_a_package").exists()
    assert _asked(project) == [".[io,test]", ".[io,test,beam]", ".[io,test]"]


def test_an_environment_of_somebody_else_is_never_removed(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(project / "pythons" / "python3.11", project / ".venv" / "bin" / "python")
    (project / ".venv" / "their_package").touch()
    (project / "refuse").touch()
    assert _setup(project, "test,beam", "test").returncode == 0
    assert (project / ".venv" / "their_package").exists()
    assert not (project / ".venv" / "setup_state").exists()


def test_a_second_setup_waits_for_the_first(project):
    (project / "slow").touch()
    first = _start(project, "test")
    while not (project / "asked").exists():
        time.sleep(0.01)
    second = _setup(project, "test")
    first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert f"Waiting for process {first.pid}, which sets up .venv ..." in second.stderr
    assert _asked(project) == [".[io,test]"]


def test_another_setup_py_is_installed_again(project):
    _setup(project, "test")
    with open(project / "setup.py", "a") as file:
        file.write("# changed\n")
    _setup(project, "test")
    assert _asked(project) == [".[io,test]"] * 2


def test_a_python_that_is_too_old_is_refused(project):
    done = _setup(project, "test", PYTHON="python3.9")
    assert done.returncode == 2
    assert done.stderr.startswith("error: PYTHON=python3.9: no Python 3.10 to 3.13 ")
