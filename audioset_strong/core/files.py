"""Files of a dataset's directory, which may be of any file system that `tf.io.gfile` knows.

Nothing is ever seen half written under its final name: files are written under temporary names and
renamed. Object stores such as gs:// rename by copying, and show an object when it is complete.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_io  # noqa: F401  # adds file systems: s3://, az://, hdfs://

from audioset_strong.core import errors

TEMPORARY = ".tmp"  # the end of temporary names: what a killed process leaves behind


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns the system's refusal to write into the user's error."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise errors.InputError(f"{path}: cannot be written ({reason(error)})") from error


def reason(error: Exception) -> str:
    """Why a file could not be read or written, in a few words."""
    words = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return words.rpartition("; ")[2]  # TensorFlow begins with the path


def read_text(path: str) -> str:
    """A file's content.

    Raises:
      tf.errors.OpError: there is none, or it cannot be read; `NotFoundError` in the first case.
      UnicodeDecodeError: it is no text.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read().decode()


def write_text(path: str, text: str) -> None:
    """Writes a file.

    Raises:
      tf.errors.OpError: it cannot be written; see `writing`.
    """
    name = temporary(path)
    with tf.io.gfile.GFile(name, "wb") as file:
        file.write(text.encode())
    rename(name, path)


def write_json(path: str, content: Any) -> None:
    """The same for JSON."""
    write_text(path, json.dumps(content))


def temporary(path: str) -> str:
    """A unique name beside a path: some runners try one shard twice at a time."""
    return f"{path}.{uuid.uuid4().hex}{TEMPORARY}"


def rename(source: str, target: str) -> None:
    """Gives a file another name, and replaces what was there."""
    tf.io.gfile.rename(source, target, overwrite=True)


def names(directory: str) -> list[str]:
    """The sorted names in a directory, or none where there is no such directory."""
    try:
        return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(directory))
    except tf.errors.NotFoundError:
        return []
