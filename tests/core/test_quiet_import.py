"""What a package prints while it is imported is held back, and shown where the import fails."""

import os
import subprocess
import sys

import pytest

_LOADED = "import os\nos.write(2, b'native noise\\n')\nprint('loaded')\n"


def _import(directory, source, *, times=1):
    (directory / "noisy").mkdir()
    (directory / "noisy" / "__init__.py").write_text(source)
    program = (
        "import os, sys\nfrom audioset_strong.core import quiet_import\n"
        "sys.path.insert(0, sys.argv[1])\nquiet_import.install('noisy')\n"
        + "import noisy\n" * times
        + "os.write(2, b'afterwards\\n')\nprint(noisy.__file__, noisy.__spec__.name)\n"
    )
    command = [sys.executable, "-c", program, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_only_what_comes_afterwards_is_seen(tmp_path):
    done = _import(tmp_path, _LOADED, times=2)
    assert done.stderr == "afterwards\n"
    assert done.stdout.splitlines() == ["loaded", f"{tmp_path / 'noisy' / '__init__.py'} noisy"]


def test_where_the_import_fails_all_is_shown(tmp_path):
    done = _import(tmp_path, _LOADED + "raise ImportError('no such library')\n")
    assert done.returncode == 1
    assert done.stderr.startswith("native noise\n")
    assert done.stderr.endswith("ImportError: no such library\n")


@pytest.mark.parametrize("level", [None, "0"])
def test_tools_are_quiet_about_tensorflow_unless_a_level_is_asked_for(tmp_path, level):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    command = [sys.executable, "-m", "audioset_strong.tools.inspect_records"]
    command.append(f"--dataset={tmp_path}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    *others, last = done.stderr.splitlines()
    assert last.startswith(f"error: {tmp_path}: no converted dataset ")
    assert bool(others) == (level is not None)
