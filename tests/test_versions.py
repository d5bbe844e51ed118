"""What one installation writes, another reads: datasets, checkpoints, exports, runs begun.

The other one is a Python in whose environment the project is installed with other versions, say
those of the other end of what setup.py allows:

    OTHER_PYTHON=.venv-newest/bin/python .venv/bin/python -m pytest tests/test_versions.py
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_OTHER = os.environ.get("OTHER_PYTHON")
pytestmark = pytest.mark.skipif(_OTHER is None, reason="needs OTHER_PYTHON")
_PYTHONS = {"this": sys.executable, "other": _OTHER and str(_ROOT / _OTHER)}
# Quantised networks give other scores where a value is rounded up here and down there.
_TOLERANCES = {"tflite/float16": 2e-3, "tflite/int8": 0.02, "resumed/weights": 1e-3}


def _exchange(python, *arguments):
    command = [_PYTHONS[python], "-m", "tests.exchange", *map(str, arguments)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _read(python, directory, file):
    _exchange(python, "read", directory, file)
    with np.load(file) as values:
        return dict(values)


@pytest.mark.parametrize("writer", ["this", "other"])
def test_both_read_alike_what_one_of_them_wrote(tmp_path, writer):
    written = tmp_path / "written"
    written.mkdir()
    _exchange(writer, "write", written)
    here = _read("this", written, tmp_path / "this.npz")
    there = _read("other", written, tmp_path / "other.npz")
    assert set(here) == set(there)
    assert not np.array_equal(here.pop("versions"), there.pop("versions"))
    assert len({name.partition("/")[0] for name in here}) > 8
    for name, values in here.items():
        if name.startswith("exact/"):
            np.testing.assert_array_equal(there[name], values, err_msg=name)
        else:
            assert np.isfinite(values).mean() > 0.5
            tolerance = _TOLERANCES.get(name, 1e-4)
            np.testing.assert_allclose(
                there[name], values, rtol=tolerance, atol=tolerance, err_msg=name
            )
    # A run that one began and the other finished ends as if one had done it all.
    for values in (here, there):
        np.testing.assert_allclose(
            values["resumed/weights"], values["whole/weights"], rtol=1e-3, atol=1e-3
        )
