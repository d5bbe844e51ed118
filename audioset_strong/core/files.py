"""Files, local or on any file system of `tf.io.gfile`; each appears whole or not at all.

A path with "://" in it is remote and goes through `tf.io.gfile`; any other path is local, and using
it does not import TensorFlow. Files are written under temporary names and then renamed, so no
reader sees half a file. Object stores such as gs:// rename by copying, and show an object only when
it is complete. Every function raises `OSError` (`FileNotFoundError` where there is no such file),
whatever the file system; `reading` and `writing` turn it into the user's error.
"""

import contextlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import filelock
from absl import logging

from audioset_strong.core import errors

TEMPORARY = ".tmp"  # the end of temporary names: what a killed process leaves behind
LOCK = ".lock"

Path = str | os.PathLike[str]


def is_remote(path: Path) -> bool:
    """Whether a path is on a file system of `tf.io.gfile` other than the local one."""
    return "://" in os.fspath(path)


def gfile() -> Any:
    """`tf.io.gfile`, with the file systems that tensorflow-io adds (s3://, az://, hdfs://)."""
    import tensorflow as tf
    import tensorflow_io  # noqa: F401

    return tf.io.gfile


@contextlib.contextmanager
def _remote() -> Iterator[Any]:
    """Gives `tf.io.gfile`; its errors become the `OSError` that a local file would raise."""
    import tensorflow as tf

    try:
        yield gfile()
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(2, reason(error)) from error
    except tf.errors.OpError as error:
        raise OSError(5, reason(error)) from error


def first_repeated(paths: Sequence[str]) -> tuple[str, str] | None:
    """The first two paths that lead to the same file or directory, in their order.

    Example:
      >>> first_repeated(["a", "b", "./a"])
      ('a', './a')

    Args:
      paths: that need not exist.

    Returns:
      The earlier one and its repetition; None where all are different.
    """
    seen: dict[str, str] = {}
    for path in paths:
        place = path.rstrip("/") if is_remote(path) else os.path.realpath(path)
        if place in seen:
            return seen[place], path
        seen[place] = path
    return None


def reason(error: Exception) -> str:
    """Why a file could not be read or written, in a few words."""
    words = getattr(error, "strerror", None) or errors.first_line(error)
    return words.rpartition("; ")[2]  # TensorFlow begins with the path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the system's refusal to write into one line that names `path`.

    Raises:
      errors.InputError: the block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise errors.InputError(f"{path}: cannot be written ({reason(error)})") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the system's refusal to read into one line that names `path`.

    Raises:
      errors.InputError: the block raised an `OSError`, or a `UnicodeDecodeError`.
    """
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InputError(f"{path}: cannot be read ({reason(error)})") from error


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[str]:
    """Gives a temporary name beside `path`; what the block writes there becomes `path` at its end.

    Where the block raises, `path` stays as it was and the temporary file is removed.
    """
    name = temporary(path)
    try:
        yield name
        rename(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(name)
        raise


def temporary(path: Path) -> str:
    """A unique name beside a path, since two processes may write the same file."""
    return f"{os.fspath(path)}.{uuid.uuid4().hex}{TEMPORARY}"


def read_bytes(path: Path) -> bytes:
    """A file's content."""
    if not is_remote(path):
        return pathlib.Path(path).read_bytes()
    with _remote() as remote, remote.GFile(path, "rb") as file:
        return file.read()


def read_text(path: Path) -> str:
    """The content of a UTF-8 file.

    Raises:
      OSError: there is no such file, or it cannot be read.
      UnicodeDecodeError: it is not UTF-8 text.
    """
    return read_bytes(path).decode()


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
      OSError: there is no such file, or it cannot be read.
      ValueError: it is not JSON.
    """
    return json.loads(read_text(path))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file."""
    with atomic(path) as name:
        if is_remote(path):
            with _remote() as remote, remote.GFile(name, "wb") as file:
                file.write(content)
        else:
            pathlib.Path(name).write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a file as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Writes a value as JSON."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


@contextlib.contextmanager
def opened(path: Path, mode: str) -> Iterator[Any]:
    """Opens a file, such as one that is too large to be written as one value.

    Args:
      path: of the file; for writing, a name that `atomic` gave.
      mode: "r", "w" (UTF-8 text, line ends as they are), "rb" or "wb".
    """
    if not is_remote(path):
        binary = "b" in mode
        encoding, newline = (None, None) if binary else ("utf-8", "")
        with open(path, mode, encoding=encoding, newline=newline) as file:
            yield file
        return
    with _remote() as remote, remote.GFile(path, mode) as file:
        if mode.startswith("w"):
            file.write(b"" if "b" in mode else "")  # the file exists even where nothing follows
        yield file


def exists(path: Path) -> bool:
    """Whether there is a file or directory of that name."""
    if not is_remote(path):
        return os.path.exists(path)
    with _remote() as remote:
        return remote.exists(path)


def names(directory: Path) -> list[str]:
    """The sorted names in a directory; none where there is no such directory."""
    try:
        if not is_remote(directory):
            return sorted(os.listdir(directory))
        with _remote() as remote:
            return sorted(name.rstrip("/") for name in remote.listdir(directory))
    except FileNotFoundError:
        return []


def make_directory(path: Path) -> None:
    """Makes a directory and its parents, as far as they are missing."""
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)
        return
    with _remote() as remote:
        remote.makedirs(path)


def rename(source: Path, target: Path) -> None:
    """Gives a file another name; a file that had that name is replaced."""
    if not is_remote(target):
        os.replace(source, target)
        return
    with _remote() as remote:
        remote.rename(source, target, overwrite=True)


def copy(source: Path, target: Path) -> None:
    """Copies a file."""
    write_bytes(target, read_bytes(source))


def remove(path: Path) -> None:
    """Removes a file."""
    if not is_remote(path):
        os.remove(path)
        return
    with _remote() as remote:
        remote.remove(path)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it, if there is one."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(FileNotFoundError), _remote() as remote:
        remote.rmtree(path)


@contextlib.contextmanager
def locked(directory: Path, busy: str) -> Iterator[None]:
    """Keeps other processes of this kind out of a directory within the block.

    The lock ends with the process, however that ends. A remote directory, or a file system without
    locks, is not protected; a warning says so for the latter.

    Args:
      directory: exists; a file `.lock` in it stays behind.
      busy: what a process that holds the lock is doing, for the message.

    Raises:
      errors.InputError: another process holds the lock.
    """
    if is_remote(directory):
        yield
        return
    lock = filelock.FileLock(os.path.join(directory, LOCK), blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise errors.InputError(f"{directory}: another process is {busy}") from error
    except (NotImplementedError, OSError) as error:
        logging.warning("%s cannot be locked (%s): use it from one process only", directory, error)
        yield
        return
    try:
        yield
    finally:
        lock.release()
