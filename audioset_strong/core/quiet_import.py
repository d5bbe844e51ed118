"""Importing and using TensorFlow without what it tells about itself.

TensorFlow 2.20 and newer ones print some lines while their libraries are loaded, before they read
TF_CPP_MIN_LOG_LEVEL: that there is no GPU, say. Native code of older ones, such as the converter to
TensorFlow Lite, never reads it. No setting turns these lines off, and a tool's one line about a
mistake would be lost among them.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import re
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence

import absl.logging

# Native code's notes and warnings, and the line that stands before the first of them.
_NOTE = re.compile(
    rb"[IW]\d{4} \d\d:\d\d:\S+ +\d+ \S+:\d+\] |WARNING: All log messages before absl::InitializeLog"
)

_quiet = False  # whether `install` was called


def install(package: str = "tensorflow") -> None:
    """Holds back what is written to stderr while `package` is imported, once, whoever does it.

    Where the import fails, it is written after all. From then on, `without_native_notes` does what
    it says.
    """
    global _quiet
    _quiet = True
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package))


@contextlib.contextmanager
def without_native_notes() -> Iterator[None]:
    """Within the block, what native code writes to stderr is held back; its errors come afterwards.

    Notes and warnings are dropped, unless the block raises. Nothing is held back where `install`
    was not called: TensorFlow's lines are then asked for, or the process is not ours.
    """
    if not _quiet:
        yield
        return
    with _stderr_held_back(_NOTE):
        yield


def drop_notes(package: str = "tensorflow") -> None:
    """Drops what the Python code of `package` logs with absl below the level of a warning.

    TensorFlow says there how long each checkpoint took. TF_CPP_MIN_LOG_LEVEL is for native code.
    """

    def is_wanted(record: logging.LogRecord) -> bool:
        loaded = sys.modules.get(package)
        if loaded is None or record.levelno >= logging.WARNING:
            return True
        return not record.pathname.startswith(tuple(f"{path}{os.sep}" for path in loaded.__path__))

    absl.logging.get_absl_logger().addFilter(is_wanted)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one package, as the other finders do, and makes its import quiet."""

    def __init__(self, package: str):
        self._package = package

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def quietly(module: types.ModuleType) -> None:
                with _stderr_held_back():
                    execute(module)

            setattr(loader, "exec_module", quietly)  # noqa: B010  (a method, for mypy)
        return spec


@contextlib.contextmanager
def _stderr_held_back(dropped: re.Pattern[bytes] | None = None) -> Iterator[None]:
    """Within the block, native code's stderr goes to a file; it is shown if the block raises.

    Args:
      dropped: how lines begin that are not shown where the block ends well; by default all.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        raised = True
        try:
            yield
            raised = False
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if raised or (dropped is not None and not dropped.match(line)):
                    os.write(2, line)
