"""py_test runs a file as a script, which for a file of pytest's functions does nothing."""

load("@rules_python//python:defs.bzl", "py_test")

_MAIN = "tools/bazel/pytest_main.py"

def pytest_test(file, data = [], **kwargs):
    """A py_test, named like the file, that fails unless pytest finds tests in it and all pass.

    Args:
      file: path of the test file from the root, like "tests/labels/test_framing.py".
      data: files that the tests read.
      **kwargs: of py_test.
    """
    py_test(
        name = file[:-len(".py")],
        size = "large",
        srcs = [_MAIN, file],
        main = _MAIN,
        args = [file],
        data = ["pyproject.toml"] + data,
        **kwargs
    )
