"""Locks that keep two processes from working in one directory, local or remote."""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import filelock
from absl import logging

from audioset_strong.core import errors, files

LOCK = ".lock"
_LEASE_S = 120.0  # how long a remote lock outlives a process that is killed
_RETRY_S = 1.0


class Busy(errors.InputError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(directory: files.Path, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes of this kind out of a directory within the block.

    A local lock ends with the process, however that ends. In a remote directory, whose file system
    has no locks, a lease in a file takes its place: it is renewed as long as the block runs, and
    ends at once with it, or two minutes after a process on another machine was killed. A local file
    system without locks is not protected; a warning says so.

    Args:
      directory: exists; a local file `.lock` in it stays behind.
      busy: what a process that holds the lock is doing, for the message.
      wait: whether to wait for it, instead of raising.

    Raises:
      Busy: another process holds the lock.
    """
    if files.is_remote(directory):
        path = os.path.join(directory, LOCK)
        with _leased(path, f"{directory}: another process is {busy}", wait=wait):
            yield
        return
    lock = filelock.FileLock(os.path.join(directory, LOCK), blocking=wait)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise Busy(f"{directory}: another process is {busy}") from error
    except (NotImplementedError, OSError) as error:
        logging.warning("%s cannot be locked (%s): use it from one process only", directory, error)
        yield
        return
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _leased(path: str, busy: str, *, wait: bool) -> Iterator[None]:
    """Holds a lease in a file: {"id", "host", "pid", "until"}, the last in seconds since 1970."""
    mine = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
    while True:
        try:
            _take(path, mine, busy)
            break
        except Busy:
            if not wait:
                raise
            time.sleep(_RETRY_S)
    ended = threading.Event()

    def keep_renewing() -> None:
        while not ended.wait(_LEASE_S / 4):
            try:
                _renew(path, mine)
            except OSError as error:
                logging.warning("%s: the lease cannot be renewed (%s)", path, files.reason(error))

    thread = threading.Thread(target=keep_renewing, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _lease(path).get("id") == mine["id"]:
            with contextlib.suppress(OSError):
                files.remove(path)


def _take(path: str, mine: dict[str, Any], busy: str) -> None:
    _check_free(path, busy)
    _renew(path, mine)
    # Of two processes that found it free at once, the one that wrote last has it.
    if _lease(path).get("id") != mine["id"]:
        raise Busy(busy)


def _check_free(path: str, busy: str) -> None:
    lease = _lease(path)
    left = float(lease.get("until", 0)) - time.time()
    if left <= 0 or (lease.get("host") == socket.gethostname() and not _is_running(lease["pid"])):
        return
    raise Busy(f"{busy} on {lease.get('host')}; if it was killed, this can start in {left:.0f} s")


def _renew(path: str, lease: dict[str, Any]) -> None:
    files.write_json(path, lease | {"until": time.time() + _LEASE_S})


def _lease(path: str) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
