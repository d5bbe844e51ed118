"""What a package prints while it is imported is held back, and shown where the import fails.

What it logs about its work is dropped, up to its warnings.
"""

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


_NATIVE = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795756972.147142   31564 devices.cc:67] Number of eligible GPUs: 0\n"
    b"W0000 00:00:1795756973.791321   31564 tf_tfl_flatbuffer_helpers.cc:392] Ignored.\n"
    b"E0000 00:00:1795756973.791322   31564 flatbuffer_export.cc:83] An op is missing.\n"
    b"loc(fused): error: no such op\n"
)


@pytest.mark.parametrize(
    ("quiet", "raises", "shown"),
    [(True, False, 2), (True, True, 5), (False, False, 5)],
)
def test_native_notes_are_dropped_and_errors_are_not(quiet, raises, shown):
    program = (
        "import os\nfrom audioset_strong.core import quiet_import\n"
        f"if {quiet}: quiet_import.install('noisy')\n"
        f"with quiet_import.without_native_notes():\n  os.write(2, {_NATIVE!r})\n"
        f"  assert not {raises}, 'it failed'\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == int(raises)
    assert done.stderr.startswith(b"".join(_NATIVE.splitlines(keepends=True)[-shown:]))
    assert (b"AssertionError: it failed" in done.stderr) == raises


def test_notes_of_the_package_are_dropped_and_its_warnings_and_our_notes_are_not(tmp_path):
    (tmp_path / "noisy").mkdir()
    (tmp_path / "noisy" / "__init__.py").write_text(
        "from absl import logging\ndef save():\n"
        "  logging.info('took 60 microseconds')\n  logging.warning('disk is full')\n"
    )
    program = (
        "import sys\nfrom absl import logging\nfrom audioset_strong.core import quiet_import\n"
        "sys.path.insert(0, sys.argv[1])\nquiet_import.drop_notes('noisy')\n"
        "logging.set_verbosity(logging.INFO)\nlogging.use_absl_handler()\n"
        "logging.info('begun')\nimport noisy\nnoisy.save()\nlogging.info('saved')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [line.partition("] ")[2] for line in done.stderr.splitlines() if "] " in line]
    assert told == ["begun", "disk is full", "saved"]


@pytest.mark.parametrize("level", [None, "0"])
def test_tools_are_quiet_about_tensorflow_unless_a_level_is_asked_for(tmp_path, level):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    command = [sys.executable, "-m", "audioset_strong.tools.upgrade_run"]
    command.append(f"--workdir={tmp_path}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    *others, last = done.stderr.splitlines()
    assert last.startswith(f"error: {tmp_path / 'model.json'}: cannot be read ")
    assert bool(others) == (level is not None)
