"""Copies of shards on a local disk: when they are read, and what bounds them."""

import contextlib
import errno
import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.records import shard_cache
from audioset_strong.records.shard_files import Shard, ShardFiles

SIZE = 1000


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "data")


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


def write_shards(directory, count=4):
    files.make_directory(directory)
    rng = np.random.default_rng(0)
    return [write(f"{directory}/{i}.tfrecord", rng.bytes(SIZE)) for i in range(count)]


def write(path, content):
    files.write_bytes(path, content)
    return Shard(path, *files.size_and_time(path))


def open_cache(cache_dir, shards, max_bytes=10**9):
    return shard_cache.open_cache(str(cache_dir), shards, max_bytes=max_bytes)


def copiers():
    return [thread for thread in threading.enumerate() if thread.name == "shard_cache"]


def finish(but=None):
    """Waits until all shards are copied; `but` is a thread not to wait for."""
    for thread in set(copiers()) - {but}:
        thread.join(60)
        assert not thread.is_alive()


def copied(cache_dir):
    return sorted(path for path in cache_dir.iterdir() if path.suffix == ".tfrecord")


def contents(shards, copy_of):
    """What is read of shards, from the first byte to the last."""
    buffers = [memoryview(bytearray(shard.num_bytes)) for shard in shards]
    numbers = np.arange(len(shards))
    ShardFiles(shards, local_copy=copy_of).read(numbers, np.zeros_like(numbers), buffers)
    return [bytes(buffer) for buffer in buffers]


class Gate:
    """Has whoever copies a shard wait until it is opened."""

    def __init__(self, monkeypatch):
        self.reached, self._open = threading.Event(), threading.Event()
        self.read = []  # shards that were begun to be copied
        self._opened = files.opened
        monkeypatch.setattr(files, "opened", self)

    @contextlib.contextmanager
    def __call__(self, path, mode):
        self.read.append(path)
        self.reached.set()
        assert self._open.wait(60)
        with self._opened(path, mode) as file:
            yield file

    def open(self):
        self._open.set()


def test_shards_are_read_where_they_lie_until_their_copies_are_there(
    shards, cache_dir, monkeypatch
):
    wanted = [pathlib.Path(shard.path).read_bytes() for shard in shards]
    gate = Gate(monkeypatch)
    copy_of = open_cache(cache_dir, shards)
    assert gate.reached.wait(60)
    assert [copy_of(shard) for shard in shards] == [None] * 4
    assert contents(shards, copy_of) == wanted
    gate.open()
    finish()
    copies = [copy_of(shard) for shard in shards]
    assert sorted(copies) == [str(path) for path in copied(cache_dir)]
    for shard in shards:  # nothing but the copies is left to be read
        os.remove(shard.path)
    assert contents(shards, copy_of) == wanted


def test_copies_stay_for_the_next_run(shards, cache_dir):
    wanted = [pathlib.Path(shard.path).read_bytes() for shard in shards]
    open_cache(cache_dir, shards)
    finish()
    for shard in shards:
        os.remove(shard.path)
    copy_of = open_cache(cache_dir, shards)
    finish()
    assert contents(shards, copy_of) == wanted


def test_a_shard_that_has_changed_gets_another_copy(shards, cache_dir):
    open_cache(cache_dir, shards)
    finish()
    before = copied(cache_dir)
    write(shards[1].path, b"x" * SIZE)
    os.utime(shards[1].path, ns=(5, 5))
    changed = Shard(shards[1].path, SIZE, 5)
    copy_of = open_cache(cache_dir, [shards[0], changed])
    finish()
    assert len(copied(cache_dir)) == len(before) + 1
    assert copy_of(shards[0]) in map(str, before)
    assert contents([changed], copy_of) == [b"x" * SIZE]


def test_equal_names_in_two_datasets_are_two_shards(tmp_path, cache_dir):
    both = [write(f"{tmp_path}/{name}.tfrecord", name.encode() * SIZE) for name in "ab"]
    (tmp_path / "other").mkdir()
    both.append(write(f"{tmp_path}/other/a.tfrecord", b"c" * SIZE))
    copy_of = open_cache(cache_dir, both)
    finish()
    assert [content[:1] for content in contents(both, copy_of)] == [b"a", b"b", b"c"]
    assert len({copy_of(shard) for shard in both}) == 3


@pytest.mark.parametrize(("max_bytes", "fit"), [(4 * SIZE, 4), (3 * SIZE - 1, 2), (SIZE - 1, 0)])
def test_all_copies_together_are_no_larger_than_allowed(shards, cache_dir, max_bytes, fit):
    wanted = [pathlib.Path(shard.path).read_bytes() for shard in shards]
    copy_of = open_cache(cache_dir, shards, max_bytes)
    finish()
    assert [copy_of(shard) is not None for shard in shards] == [True] * fit + [False] * (4 - fit)
    assert sum(path.stat().st_size for path in cache_dir.iterdir()) == fit * SIZE
    assert contents(shards, copy_of) == wanted
    # Copies of other shards count, too; those that are there are used however small the bound.
    more = write(f"{cache_dir.parent}/more.tfrecord", b"more" * 9)
    copy_of = open_cache(cache_dir, [more, *shards], 36)
    finish()
    assert (copy_of(more) is not None) == (fit == 0)
    assert [copy_of(shard) is not None for shard in shards] == [True] * fit + [False] * (4 - fit)


def test_two_runs_with_one_directory_stay_below_the_bound_together(
    tmp_path, shards, cache_dir, monkeypatch
):
    others = write_shards(tmp_path / "others", 1)
    gate = Gate(monkeypatch)
    first_copy_of = open_cache(cache_dir, shards[:1], 2 * SIZE - 1)
    assert gate.reached.wait(60)
    (first,) = copiers()
    second_copy_of = open_cache(cache_dir, others, 2 * SIZE - 1)
    finish(but=first)  # while the first has not copied a byte
    assert second_copy_of(others[0]) is None
    gate.open()
    finish()
    assert first_copy_of(shards[0])
    assert len(copied(cache_dir)) == 1


def test_two_runs_with_the_same_shards_copy_each_once(shards, cache_dir, monkeypatch):
    wanted = [pathlib.Path(shard.path).read_bytes() for shard in shards]
    gate = Gate(monkeypatch)
    both = [open_cache(cache_dir, shards) for _ in range(2)]
    assert gate.reached.wait(60)
    gate.open()
    finish()
    assert sorted(gate.read) == [shard.path for shard in shards]
    for copy_of in both:
        assert all(copy_of(shard) for shard in shards)
        assert contents(shards, copy_of) == wanted


def test_what_a_killed_process_left_of_a_copy_is_removed(shards, cache_dir):
    copy_of = open_cache(cache_dir, shards)
    finish()
    copies = {shard: copy_of(shard) for shard in shards}
    os.remove(copies[shards[2]])
    left = pathlib.Path(f"{copies[shards[2]]}.0123456789abcdef.tmp")
    left.write_bytes(bytes(SIZE // 2))
    (cache_dir / "notes.tmp").write_text("mine")
    copy_of = open_cache(cache_dir, shards, 4 * SIZE + 10)
    finish()
    assert not left.exists()
    assert (cache_dir / "notes.tmp").exists()
    assert {shard: copy_of(shard) for shard in shards} == copies


def test_a_directory_that_cannot_be_written_is_refused_and_named(tmp_path, shards):
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere", "/proc"):
        with pytest.raises(errors.InputError, match=f"{directory}: cannot be written") as raised:
            open_cache(directory, shards)
        assert "\n" not in str(raised.value)
    with pytest.raises(errors.InputError, match=r"train_patches\.cache_dir = 'ram://c': must be a"):
        open_cache("ram://c", shards)
    assert not copiers()


def test_on_a_full_disk_shards_are_read_where_they_lie(shards, cache_dir, monkeypatch, caplog):
    wanted = [pathlib.Path(shard.path).read_bytes() for shard in shards]
    gate, fsync, calls = Gate(monkeypatch), os.fsync, []

    def full_at_the_second(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    gate.open()
    with caplog.at_level("WARNING"):
        copy_of = open_cache(cache_dir, shards)
        finish()
    (warning,) = caplog.records
    message = warning.getMessage()
    assert message.startswith(f"{cache_dir}: no copy of {shards[1].path} (")
    assert "No space left on device" in message
    assert gate.read == [shards[0].path, shards[1].path]  # the others are not even begun
    assert [copy_of(shard) is not None for shard in shards] == [True, False, False, False]
    assert contents(shards, copy_of) == wanted
    assert not list(cache_dir.glob("*.tmp"))


@pytest.mark.parametrize("change", ["longer", "shorter", "deleted"])
def test_a_shard_that_cannot_be_copied_is_no_reason_not_to_copy_the_others(
    shards, cache_dir, caplog, change
):
    if change == "deleted":
        os.remove(shards[1].path)
    else:
        size = SIZE + (1 if change == "longer" else -1)
        pathlib.Path(shards[1].path).write_bytes(bytes(size))
    with caplog.at_level("WARNING"):
        copy_of = open_cache(cache_dir, shards)
        finish()
    assert f"{cache_dir}: no copy of {shards[1].path} (" in caplog.text
    assert [copy_of(shard) is not None for shard in shards] == [True, False, True, True]
    assert len(copied(cache_dir)) == 3
    assert not list(cache_dir.glob("*.tmp"))


def test_shards_of_a_remote_file_system_are_copied(cache_dir):
    shards = write_shards("ram://shard/cache")
    wanted = [files.read_bytes(shard.path) for shard in shards]
    copy_of = open_cache(cache_dir, shards)
    finish()
    tf.io.gfile.rmtree("ram://shard/cache")
    assert contents(shards, copy_of) == wanted
    assert all(copy_of(shard).startswith(f"{cache_dir}/") for shard in shards)
