"""Files, local or on any file system of `tf.io.gfile`; each appears whole or not at all.

A path with "://" in it is remote and goes through `tf.io.gfile`; any other path is local, and using
it does not import TensorFlow. Files are written under temporary names and then renamed, so no
reader sees half a file. Object stores such as gs:// rename by copying, and show an object only when
it is complete. Every function raises `OSError` (`FileNotFoundError` where there is no such file),
whatever the file system; `reading` and `writing` turn it into the user's error. A path that needs
tensorflow-io where there is none is refused with an `errors.InputError`.
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, TypeAlias

from audioset_strong.core import errors, io_extra

TEMPORARY = ".tmp"  # the end of temporary names: what a killed process leaves behind

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class RemotePath(os.PathLike[str]):
    """A remote path with the few operations of `pathlib.Path` that need no file system.

    `pathlib` would turn "gs://bucket" into "gs:/bucket".

    >>> path = RemotePath("gs://bucket/runs") / "strong_67k"
    >>> str(path), path.name
    ('gs://bucket/runs/strong_67k', 'strong_67k')
    """

    path: str

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def __truediv__(self, name: Path) -> "RemotePath":
        return RemotePath(f"{self.path.rstrip('/')}/{os.fspath(name)}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on, such as ".png"."""
        return os.path.splitext(self.name)[1]


Place: TypeAlias = pathlib.Path | RemotePath


def place(path: Path) -> Place:
    """A path to which names can be appended by "/", remote or local."""
    if isinstance(path, RemotePath) or not is_remote(path):
        return path if isinstance(path, RemotePath) else pathlib.Path(path)
    return RemotePath(os.fspath(path))


def is_remote(path: Path) -> bool:
    """Whether a path is on a file system of `tf.io.gfile` other than the local one."""
    return "://" in os.fspath(path)


def gfile(path: Path) -> Any:
    """`tf.io.gfile`, with the file system of a remote path.

    TensorFlow itself knows gs://; tensorflow-io adds others, such as s3://, az:// and hdfs://.

    Raises:
      errors.InputError: the path needs tensorflow-io, and there is none.
    """
    import tensorflow as tf

    scheme = os.fspath(path).partition("://")[0]
    if scheme in io_extra.SCHEMES and scheme not in tf.io.gfile.get_registered_schemes():
        io_extra.load(f"{os.fspath(path)}: {scheme}://")
    return tf.io.gfile


@contextlib.contextmanager
def remote(path: Path) -> Iterator[Any]:
    """Gives `tf.io.gfile`; its errors become the `OSError` that a local file would raise.

    Raises:
      OSError: the block raised one of TensorFlow's errors.
    """
    import tensorflow as tf

    try:
        yield gfile(path)
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, reason(error)) from error
    except tf.errors.UnimplementedError as error:
        raise OSError(errno.EOPNOTSUPP, reason(error)) from error
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, reason(error)) from error


def printable(path: Path) -> str:
    r"""A path as text that can be written anywhere: bytes that are not UTF-8 become \xNN.

    >>> printable(os.fsdecode(b"M\xfcller.wav"))
    'M\\xfcller.wav'
    """
    return os.fsencode(path).decode(errors="backslashreplace")


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
    words = re.sub(r"^\{\{.*?\}\} | \[Op:.*$", "", words)  # which operation it was
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


def local_temporary(path: Path) -> str:
    """A unique local name for a file that `rename` then gives its path, remote or local."""
    if not is_remote(path):
        return temporary(path)
    return os.path.join(tempfile.gettempdir(), f"{uuid.uuid4().hex}{TEMPORARY}")


def read_bytes(path: Path) -> bytes:
    """A file's content."""
    if not is_remote(path):
        return pathlib.Path(path).read_bytes()
    with remote(path) as gfiles, gfiles.GFile(path, "rb") as file:
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
            with remote(path) as gfiles, gfiles.GFile(name, "wb") as file:
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
    with remote(path) as gfiles, gfiles.GFile(path, mode) as file:
        if mode.startswith("w"):
            file.write(b"" if "b" in mode else "")  # the file exists even where nothing follows
        yield file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Gives a local file, open for writing bytes, whose content becomes `path` at the end.

    For libraries that seek in what they write, as remote files do not allow. Where the block
    raises, `path` stays as it was.
    """
    if not is_remote(path):
        with atomic(path) as name, open(name, "wb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as local:
        yield local
        local.seek(0)
        with atomic(path) as name, remote(path) as gfiles, gfiles.GFile(name, "wb") as file:
            shutil.copyfileobj(local, file, 2**24)


@contextlib.contextmanager
def local_copy(path: Path) -> Iterator[str]:
    """Gives a local path with the content of a file: its own, or that of a copy in a block.

    For libraries that open files themselves.
    """
    if not is_remote(path):
        yield os.fspath(path)
        return
    with tempfile.TemporaryDirectory() as directory:
        copied = os.path.join(directory, os.path.basename(os.fspath(path)))
        with remote(path) as gfiles, gfiles.GFile(path, "rb") as file, open(copied, "wb") as local:
            shutil.copyfileobj(file, local, 2**24)
        yield copied


def copy_tree(source: Path, target: Path) -> None:
    """Copies a local directory with all that is in it."""
    for directory, _, found in os.walk(source):
        inside = os.path.relpath(directory, source)
        there = os.fspath(target) if inside == "." else os.path.join(target, inside)
        make_directory(there)
        for name in sorted(found):
            with (
                replacing(os.path.join(there, name)) as file,
                open(os.path.join(directory, name), "rb") as local,
            ):
                shutil.copyfileobj(local, file, 2**24)


def exists(path: Path) -> bool:
    """Whether there is a file or directory of that name."""
    if not is_remote(path):
        return os.path.exists(path)
    with remote(path) as gfiles:
        return gfiles.exists(path)


def size_and_time(path: Path) -> tuple[int, int]:
    """(size in bytes, time of the last change in ns since 1970) of a file."""
    if not is_remote(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    with remote(path) as gfiles:
        status = gfiles.stat(os.fspath(path))
        return status.length, status.mtime_nsec


def names(directory: Path) -> list[str]:
    """The sorted names in a directory; none where there is no such directory."""
    try:
        if not is_remote(directory):
            return sorted(os.listdir(directory))
        with remote(directory) as gfiles:
            return sorted(name.rstrip("/") for name in gfiles.listdir(directory))
    except FileNotFoundError:
        return []


def make_directory(path: Path) -> None:
    """Makes a directory and its parents, as far as they are missing."""
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)
        return
    with remote(path) as gfiles:
        gfiles.makedirs(path)


def rename(source: Path, target: Path) -> None:
    """Gives a file another name; a file that had that name is replaced.

    A local file that gets a remote name is copied there first.
    """
    if not is_remote(target):
        os.replace(source, target)
        return
    if not is_remote(source):
        with open(source, "rb") as local, replacing(target) as file:
            shutil.copyfileobj(local, file, 2**24)
        os.remove(source)
        return
    with remote(target) as gfiles:
        gfiles.rename(source, target, overwrite=True)


def copy(source: Path, target: Path) -> None:
    """Copies a file."""
    write_bytes(target, read_bytes(source))


def remove(path: Path) -> None:
    """Removes a file."""
    if not is_remote(path):
        os.remove(path)
        return
    with remote(path) as gfiles:
        gfiles.remove(path)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it, if there is one."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(FileNotFoundError), remote(path) as gfiles:
        gfiles.rmtree(path)
