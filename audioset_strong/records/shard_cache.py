"""Copies of shards on a local disk, made in the background while the shards are already in use.

For shards whose windows are slow to read where they lie: on object stores, where each read is a
request, and on disks that seek. A shard is copied as a whole, from its first byte to its last, and
read from its copy from then on. Which windows are read does not depend on it.
"""

import contextlib
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Sequence

import filelock
from absl import logging

from audioset_strong.core import errors, files, locks
from audioset_strong.records.shard_files import Shard

_PART = 8 << 20  # bytes copied at a time
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def open_cache(
    directory: str, shards: Sequence[Shard], *, max_bytes: int
) -> Callable[[Shard], str | None]:
    """Begins to copy shards, one after the other, in a thread that ends with the process.

    Several processes may share the directory: a shard is copied by one of them and used by all.
    Copies stay for the next run; a shard that has changed since is copied again. When all copies in
    the directory, of whatever dataset, would exceed `max_bytes`, or the disk is full, the rest of
    the shards is read where it lies.

    Args:
      directory: on a local disk; made if it does not exist.
      shards: as they are now.
      max_bytes: size of all copies.

    Returns:
      From a shard to the path of its copy, or None as long as there is none.

    Raises:
      errors.InputError: the directory is remote, or cannot be written.
    """
    if files.is_remote(directory):
        raise errors.InputError(
            f"train_patches.cache_dir = {directory!r}: must be a directory on a local disk"
        )
    with files.writing(directory):
        files.make_directory(directory)
        tempfile.TemporaryFile(dir=directory).close()
    cache = _ShardCache(directory, shards, max_bytes)
    threading.Thread(target=cache.fill, name="shard_cache", daemon=True).start()
    return cache.copy_of


class _ShardCache:
    def __init__(self, directory: str, shards: Sequence[Shard], max_bytes: int):
        self._directory, self._shards, self._max_bytes = directory, shards, max_bytes
        self._copies: dict[str, str] = {}
        self._disk_full = False

    def copy_of(self, shard: Shard) -> str | None:
        return self._copies.get(shard.path)

    def fill(self) -> None:
        """Copies the shards; this is what the thread does."""
        # Of shards that other processes are copying the copies are looked for in the end.
        waiting = [shard for shard in self._shards if not self._take(shard, wait=False)]
        for shard in waiting:
            self._take(shard, wait=True)
        copied = sum(shard.num_bytes for shard in self._shards if shard.path in self._copies)
        logging.info(
            "%s: holds %d of %d shards, %.1f GB",
            self._directory,
            len(self._copies),
            len(self._shards),
            copied / 1e9,
        )

    def _take(self, shard: Shard, *, wait: bool) -> bool:
        """Makes sure that there is a copy of a shard; returns whether there is one."""
        path = os.path.join(self._directory, _copy_name(shard))
        try:
            if not _is_whole(path, shard):
                with filelock.FileLock(path + locks.LOCK, blocking=wait):
                    if not _is_whole(path, shard) and not self._copy(shard, path):
                        return False
        except filelock.Timeout:
            return False
        except OSError as error:
            self._disk_full = self._disk_full or error.errno in _DISK_FULL
            logging.warning("%s: no copy of %s (%s)", self._directory, shard.path, error)
            return False
        self._copies[shard.path] = path
        return True

    def _copy(self, shard: Shard, path: str) -> bool:
        """Copies a shard, whose lock this process holds; returns whether there was room for it."""
        for entry in os.scandir(self._directory):  # of a process that was killed while it copied
            if entry.path.startswith(path) and entry.name.endswith(files.TEMPORARY):
                os.remove(entry.path)
        if self._disk_full:
            return False
        temporary = files.temporary(path)
        with locks.locked(self._directory, "making room for a shard", wait=True):
            if self._size() + shard.num_bytes > self._max_bytes:
                return False
            with open(temporary, "wb") as target:
                target.truncate(shard.num_bytes)  # other processes count it as a whole
        try:
            with files.opened(shard.path, "rb") as source, open(temporary, "r+b") as target:
                while part := source.read(_PART):
                    target.write(part)
                if target.tell() != shard.num_bytes:
                    raise OSError(f"{target.tell():,} bytes instead of {shard.num_bytes:,}")
                target.flush()
                os.fsync(target.fileno())  # its size is right whatever has reached the disk
            files.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
        return True

    def _size(self) -> int:
        """Bytes of all files in the directory."""
        while True:
            try:
                entries = [entry for entry in os.scandir(self._directory) if entry.is_file()]
                return sum(entry.stat().st_size for entry in entries)
            except FileNotFoundError:  # a copy got its name meanwhile
                continue


def _is_whole(path: str, shard: Shard) -> bool:
    """Whether there is a copy of a shard's size."""
    try:
        return os.path.getsize(path) == shard.num_bytes
    except FileNotFoundError:
        return False


def _copy_name(shard: Shard) -> str:
    """A name that no other shard has, nor this one when it has changed."""
    key = f"{os.path.abspath(shard.path)} {shard.num_bytes} {shard.mtime_ns}"
    if files.is_remote(shard.path):
        key = f"{shard.path} {shard.num_bytes} {shard.mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{digest}-{os.path.basename(shard.path)}"
