"""Worker processes, which run the code that their parent runs."""

import contextlib
import importlib.machinery
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import IO

from audioset_strong.core import errors

_PACKAGE = __package__.partition(".")[0]
_CONTEXT = multiprocessing.get_context("forkserver")
_lock = threading.Lock()  # threads of this process may start workers at the same time
_server_errors: IO[bytes] | None = None  # what the fork server and its children write to stderr
_START_S = 300.0  # by which a worker has started even on a busy machine


def exit_with_parent() -> None:
    """Ends this process when its parent has died; for the initializer of a process pool.

    A parent that is killed cannot shut down its workers, and they would wait for work forever. The
    parent is the process that asked for this one. The operating system may name a fork server
    instead, which lives as long as its children.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit_with_parent").start()


def shadowed() -> bool:
    """Whether Python, started here, would find another copy of this package than the one in use.

    A new interpreter looks into the working directory first, which may be a clone of the project
    while an installed copy is in use.
    """
    here = importlib.machinery.PathFinder.find_spec(_PACKAGE, [os.getcwd()])
    ours = sys.modules[_PACKAGE].__file__
    return here is not None and (
        here.origin is None or ours is None or not os.path.samefile(here.origin, ours)
    )


def start_fork_server(preload: str) -> None:
    """Starts the process that `fork_server` gives, if it does not run; its imports take seconds.

    Args:
      preload: name of the module that it imports, meanwhile.
    """
    global _server_errors
    with _lock:
        if _server_errors is not None:
            return
        # The server imports without regard to what this process found. Without it, each worker
        # imports by itself, from the right place.
        _CONTEXT.set_forkserver_preload([] if shadowed() else [preload])
        _server_errors = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the server)
        with _stderr_to(_server_errors):
            forkserver.ensure_running()


def fork_server(preload: str, initializer: Callable[[], None]) -> BaseContext:
    """A context whose workers are forks of a process that has imported a module, and no more.

    They start at once and share its memory. Forking this process, which may have used TensorFlow,
    is not safe.

    Args:
      preload: name of the module.
      initializer: of the workers; one is started and ended here, to see whether they can start.

    Raises:
      errors.InputError: a worker ends with an error before it has done anything, or hangs.
    """
    # The workers of dask are daemons, which may have no children, lest these outlive them. Ours do
    # not, with `exit_with_parent`.
    multiprocessing.current_process().daemon = False
    start_fork_server(preload)
    worker = _CONTEXT.Process(target=initializer, daemon=True)
    worker.start()
    worker.join(_START_S)
    code = worker.exitcode
    if code is None:
        worker.kill()
    if code != 0:
        problem = "no sign of life" if code is None else f"exit code {code}"
        words = "; ".join([problem, *_written(_server_errors)[-1:]])
        raise errors.InputError(f"worker processes cannot start ({words})")
    return _CONTEXT


def _written(file: IO[bytes] | None) -> list[str]:
    if file is None:
        return []
    # The processes that write to it share its position.
    return os.pread(file.fileno(), 2**20, 0).decode(errors="replace").strip().splitlines()


@contextlib.contextmanager
def _stderr_to(file: IO[bytes]) -> Iterator[None]:
    """Within the block, new processes write their errors to a file."""
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
