"""Runs pytest on one file inside `bazel test` and exits with its code.

    pytest_main.py tests/labels/test_framing.py [ARGUMENT_OF_PYTEST ...]

pytest's code is 5 where it finds no test, so such a target fails, too. `--test_filter=EXPRESSION`
is pytest's -k; `--test_arg=-m --test_arg=slow` runs the slow tests instead of the others.
"""

import os
import pathlib
import sys
import tempfile

import pytest


def main() -> int:
    """Runs the tests of the file that the command line names; returns pytest's exit code."""
    # An editable installation of the project would stand in for deps that a target lacks.
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if not getattr(finder, "__module__", "").startswith("__editable__")
    ]
    scratch = pathlib.Path(os.environ.get("TEST_TMPDIR") or tempfile.mkdtemp())
    # For the processes that tests start; not every launcher of Bazel's sets it.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    for variable in ("HOME", "HYPOTHESIS_STORAGE_DIRECTORY", "MPLCONFIGDIR"):
        os.environ[variable] = str(scratch / variable.lower())
    arguments = ["-p", "no:cacheprovider", f"--basetemp={scratch / 'pytest'}"]
    if "XML_OUTPUT_FILE" in os.environ:
        arguments += [f"--junit-xml={os.environ['XML_OUTPUT_FILE']}"]
    if "TESTBRIDGE_TEST_ONLY" in os.environ:
        arguments += ["-k", os.environ["TESTBRIDGE_TEST_ONLY"]]
    return pytest.main([*arguments, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
