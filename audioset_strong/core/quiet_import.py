"""Importing and using TensorFlow without what it tells about itself.

TensorFlow 2.20 and newer ones print some lines while their libraries are loaded, before they read
TF_CPP_MIN_LOG_LEVEL: that there is no GPU, say. No setting turns them off, and a tool's one line
about a mistake would be lost among them.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence

import absl.logging


def install(package: str = "tensorflow") -> None:
    """Holds back what is written to stderr while `package` is imported, once, whoever does it.

    Where the import fails, it is written after all.
    """
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package))


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
def _stderr_held_back() -> Iterator[None]:
    """Within the block, native code's stderr goes to a file; it is shown if the block raises."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
