"""Shards read by offset, from any thread: a window costs its own bytes and no more.

Local shards are read by `os.preadv`. On object stores a read is a request, so many are under way at
once: through pyarrow's file systems, which fetch just the bytes asked for, or, where pyarrow does
not know the file system, through `tf.io.gfile`, which fetches half a megabyte at least.
"""

import collections
import concurrent.futures
import dataclasses
import errno
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from pyarrow import fs as arrow_fs

from audioset_strong.core import errors, files

# Shards kept open by all streams of the process together: many systems allow a process 1,024 files,
# and TensorFlow keeps what a stream reads with for as long as the process lives.
_OPEN_FILES = 256
REQUESTS = 128  # remote reads under way at once
_ARROW_SCHEMES = ("gs://", "s3://", "hdfs://")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard as it was when it was indexed.

    Attributes:
      path: local, or on a file system of `tf.io.gfile`.
      num_bytes: its size.
      mtime_ns: when it was last changed, in ns since 1970.
    """

    path: str
    num_bytes: int
    mtime_ns: int


class OpenedFile(Protocol):
    """A file that several threads may read at once."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fills a buffer with the bytes from an offset on; returns how many there were.

        Raises:
          OSError: the file cannot be read.
        """

    def state(self) -> tuple[int, int] | None:
        """(bytes, time of the last change in ns) at this moment; None where that takes a request.

        Raises:
          OSError: the file system does not answer.
        """


_opened: collections.OrderedDict[tuple[int, str], OpenedFile] = collections.OrderedDict()
_lock = threading.RLock()  # `_close` may interrupt a thread that holds it


class ShardFiles:
    """The shards of datasets, each opened when it is first read.

    Each read checks that a local shard is still what was indexed, for a system call a shard.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        *,
        local_copy: Callable[[Shard], str | None] | None = None,
        opener: Callable[[str], OpenedFile] | None = None,
    ):
        """Takes the shards; nothing is opened yet.

        Args:
          shards: in the order in which `read` counts them.
          local_copy: gives the path of a copy of a shard, or None as long as there is none; see
            `shard_cache.open_cache`.
          opener: opens a path; by default `open_file`.
        """
        self._shards, self._local_copy = shards, local_copy or (lambda shard: None)
        self._opener = opener or open_file
        self._pool = concurrent.futures.ThreadPoolExecutor(REQUESTS, "shard_reads")
        weakref.finalize(self, _close, id(self)).atexit = False  # then the system closes them

    def read(
        self, shard: np.ndarray, offset: np.ndarray, buffers: Sequence[memoryview]
    ) -> np.ndarray:
        """Fills buffers with parts of shards.

        Args:
          shard: int `[parts]`, indices of shards.
          offset: int `[parts]`, first byte of each part.
          buffers: one for each part, as long as the part.

        Returns:
          int64 `[parts]`, how many bytes there were: fewer than asked for where a file ends.

        Raises:
          errors.InputError: a shard that cannot be read, or has changed since it was indexed.
        """
        numbers = np.unique(shard).tolist()
        if self._opener is open_file and all(self._is_local(self._shards[n]) for n in numbers):
            return self._read_local(numbers, shard, offset, buffers)
        of_shards = self._pool.map(self._open, [self._shards[number] for number in numbers])
        opened = dict(zip(numbers, of_shards, strict=True))

        def read_one(number: int, begin: int, buffer: memoryview) -> int:
            return self._read_part(self._shards[number], opened[number], begin, buffer)

        found = self._pool.map(read_one, shard.tolist(), offset.tolist(), buffers)
        return np.fromiter(found, np.int64, len(buffers))

    def _is_local(self, shard: Shard) -> bool:
        return not files.is_remote(shard.path) or self._local_copy(shard) is not None

    def _read_local(
        self,
        numbers: Sequence[int],
        shard: np.ndarray,
        offset: np.ndarray,
        buffers: Sequence[memoryview],
    ) -> np.ndarray:
        """Reads a shard after the other, so that a batch does not keep all of its shards open."""
        found = np.empty(len(buffers), np.int64)
        order = np.argsort(shard, kind="stable")
        bounds = np.searchsorted(shard[order], numbers, "right")
        for number, parts in zip(numbers, np.split(order, bounds[:-1]), strict=True):
            one = self._shards[number]
            file = self._open(one)
            for i in parts.tolist():
                found[i] = self._read_part(one, file, int(offset[i]), buffers[i])
        return found

    def _read_part(self, shard: Shard, file: OpenedFile, offset: int, buffer: memoryview) -> int:
        try:
            return file.read_into(offset, buffer)
        except OSError as error:
            raise _unreadable(shard.path, error) from error

    def _open(self, shard: Shard) -> OpenedFile:
        """The shard, or its copy, as an open file that is what was indexed."""
        copy = self._local_copy(shard)
        if copy and not os.path.exists(copy):  # somebody emptied the cache
            copy = None
        path = copy or shard.path
        try:
            key = (id(self), path)
            with _lock:
                known = _opened.pop(key, None)
            file = known or self._opener(path)
            with _lock:
                _opened[key] = file
                if len(_opened) > _OPEN_FILES:
                    _opened.popitem(last=False)  # closed when no thread reads it any more
            state = file.state()
        except OSError as error:
            raise _unreadable(path, error) from error
        if state and (state[0] != shard.num_bytes or (not copy and state[1] != shard.mtime_ns)):
            how = f"{state[0]:,} bytes, {shard.num_bytes:,} before"
            if state[0] == shard.num_bytes:
                how = "written anew"
            raise errors.InputError(
                f"{path}: has changed since its index was opened ({how}); start again when the "
                "dataset is complete"
            )
        return file


def _close(owner: int) -> None:
    """Closes the files that a `ShardFiles` opened, unless a thread is reading them."""
    with _lock:
        for key in [key for key in _opened if key[0] == owner]:
            del _opened[key]


def _unreadable(path: str, error: OSError) -> errors.InputError:
    no_access = error.errno in (errno.ESPIPE, errno.EOPNOTSUPP)
    how = " by offset" if no_access else ""
    way_out = "; copy the dataset to a local disk" if no_access else ""
    return errors.InputError(f"{path}: cannot be read{how} ({files.reason(error)}){way_out}")


def read_part(path: str, offset: int, size: int) -> bytes:
    """A part of a file, shorter where the file ends.

    Raises:
      OSError: the file cannot be read.
    """
    buffer = bytearray(size)
    return bytes(buffer[: open_file(path).read_into(offset, memoryview(buffer))])


def open_file(path: str) -> OpenedFile:
    """Opens a file to be read by offset.

    Args:
      path: local, or on a file system of `tf.io.gfile`.

    Raises:
      OSError: the file cannot be opened.
    """
    if not files.is_remote(path):
        return _LocalFile(path)
    return _ArrowFile(path) if path.startswith(_ARROW_SCHEMES) else _GFile(path)


class _LocalFile:
    def __init__(self, path: str):
        self._descriptor = os.open(path, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):  # read-ahead would fetch what nobody asks for
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):  # a read may give less than there is
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if not count:
                break
            done += count
        return done

    def state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        if not status.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "deleted or replaced since it was opened")
        return status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class _ArrowFile:
    def __init__(self, path: str):
        try:
            system, name = arrow_fs.FileSystem.from_uri(path)
            self._file = system.open_input_file(name)
        except (ValueError, NotImplementedError) as error:
            raise OSError(errno.EOPNOTSUPP, errors.first_line(error)) from error

    def read_into(self, offset: int, buffer: memoryview) -> int:
        content = self._file.read_at(len(buffer), offset)
        buffer[: len(content)] = content
        return len(content)

    def state(self) -> None:
        return None


class _GFile:
    def __init__(self, path: str):
        self._path = path
        self._own = threading.local()  # a GFile has a position, so each thread opens its own

    def read_into(self, offset: int, buffer: memoryview) -> int:
        with files.remote(self._path) as gfiles:
            if not hasattr(self._own, "file"):
                self._own.file = gfiles.GFile(self._path, "rb")
            file = self._own.file
            file.seek(offset)
            content = file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def state(self) -> None:
        return None
