"""Parts of shards read by offset: the files' own bytes, or a refusal that names the shard."""

import collections
import concurrent.futures
import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.records import shard_files
from audioset_strong.records.shard_files import Shard, ShardFiles


def write_shards(directory, count=7):
    """Files of random bytes, of different sizes; returns them as they are now."""
    rng = np.random.default_rng(count)
    found = []
    for i in range(count):
        path = f"{directory}/{i}.tfrecord"
        files.write_bytes(path, rng.bytes(1000 + 300 * i))
        found.append(as_it_is(path))
    return found


def as_it_is(path):
    return Shard(str(path), *files.size_and_time(path))


def read(reader, parts):
    """Reads (shard, offset, size) parts; returns the bytes that there were."""
    numbers, offsets, sizes = (np.array(column) for column in zip(*parts, strict=True))
    buffers = [bytearray(size) for size in sizes.tolist()]
    counts = reader.read(numbers, offsets, [memoryview(buffer) for buffer in buffers])
    return [bytes(buffer[:count]) for buffer, count in zip(buffers, counts, strict=True)]


def random_parts(shards, count, seed):
    """Parts of any size, also of none; some reach over the end of their shard."""
    rng = np.random.default_rng(seed)
    for number in rng.integers(0, len(shards), count).tolist():
        offset = int(rng.integers(0, shards[number].num_bytes + 1))
        yield number, offset, int(rng.choice([0, 1, 7, 320, 5000]))


def check(reader, shards, *, count, seed):
    """Reads random parts, some at a time, and compares them with the whole files."""
    contents = [files.read_bytes(shard.path) for shard in shards]
    parts = list(random_parts(shards, count, seed))
    for begin in range(0, count, 20):
        some = parts[begin : begin + 20]
        wanted = [contents[number][offset:][:size] for number, offset, size in some]
        assert read(reader, some) == wanted


def check_from_threads(reader, shards, *, count, threads=8):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        checks = [
            pool.submit(check, reader, shards, count=count, seed=seed) for seed in range(threads)
        ]
        for done in checks:
            done.result()


def still_open(directory):
    """The files below a directory that this process has open."""
    links = (os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
    targets = (os.readlink(link) for link in links if os.path.islink(link))
    return [target for target in targets if target.startswith(str(directory))]


@pytest.mark.parametrize("most", [256, 2, 1])
def test_threads_read_what_the_files_hold_also_with_more_shards_than_stay_open(
    tmp_path, monkeypatch, most
):
    monkeypatch.setattr(shard_files, "_OPEN_FILES", most)
    shards = write_shards(tmp_path)
    reader = ShardFiles(shards)
    assert not still_open(tmp_path)
    check_from_threads(reader, shards, count=400)
    assert len(still_open(tmp_path)) == min(most, len(shards))
    del reader
    assert not still_open(tmp_path)


def test_where_a_shard_ends_there_are_fewer_bytes(tmp_path):
    (tmp_path / "s").write_bytes(bytes(range(100)))
    reader = ShardFiles([as_it_is(tmp_path / "s")])
    parts = [(0, 98, 2), (0, 98, 3), (0, 99, 1000), (0, 100, 5), (0, 7000, 5), (0, 3, 0)]
    expected = [b"bc", b"bc", b"c", b"", b"", b""]
    assert read(reader, parts) == expected
    path = str(tmp_path / "s")
    assert [shard_files.read_part(path, offset, size) for _, offset, size in parts] == expected
    with pytest.raises(FileNotFoundError):
        shard_files.read_part(f"{path}s", 0, 1)


def refused(reader, path, number=0):
    with pytest.raises(errors.InputError) as raised:
        read(reader, [(number, 10, 20)])
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")


def cut(path):
    os.truncate(path, 900)


def rewrite(path):
    """Another content of the same size; its time need not differ by more than the clock's step."""
    time = os.stat(path).st_mtime_ns + 1
    with open(path, "r+b") as file:
        file.write(bytes(1000))
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize("change", [append, cut, rewrite])
@pytest.mark.parametrize("opened", [True, False], ids=["in use", "not yet in use"])
def test_a_shard_that_changes_is_refused_and_named(tmp_path, change, opened):
    shards = write_shards(tmp_path, 2)
    reader = ShardFiles(shards)
    if opened:
        read(reader, [(0, 0, 10), (1, 0, 10)])
    change(shards[0].path)
    message = refused(reader, shards[0].path)
    assert "has changed since its index was opened" in message
    size = os.path.getsize(shards[0].path)
    how = "written anew" if size == 1000 else f"{size:,} bytes, 1,000 before"
    assert how in message
    content = pathlib.Path(shards[1].path).read_bytes()
    assert read(reader, [(1, 10, 20)]) == [content[10:30]]  # the others can still be read


def test_of_a_shard_that_is_replaced_no_byte_is_read(tmp_path):
    shards = write_shards(tmp_path, 2)
    path = pathlib.Path(shards[0].path)
    old = path.read_bytes()
    reader = ShardFiles(shards)
    assert read(reader, [(0, 0, 50)]) == [old[:50]]
    (tmp_path / "new").write_bytes(bytes(len(old)))
    os.utime(tmp_path / "new", ns=(5, 5))
    os.replace(tmp_path / "new", path)
    assert "deleted or replaced since it was opened" in refused(reader, path)
    assert "has changed" in refused(ShardFiles(shards), path)
    assert len(read(reader, [(1, 0, 10)])[0]) == 10  # the others are still read


def test_a_shard_that_is_deleted_or_unreadable_is_refused_and_named(tmp_path):
    shards = write_shards(tmp_path, 2)
    os.remove(shards[0].path)
    assert "cannot be read (No such file" in refused(ShardFiles(shards), shards[0].path)
    os.mkdir(shards[0].path)
    refused(ShardFiles(shards), shards[0].path)


def test_a_copy_is_read_in_place_of_the_shard_if_it_has_its_size(tmp_path):
    (shard,) = write_shards(tmp_path, 1)
    copy = tmp_path / "copy"
    copy.write_bytes(bytes(1000))
    os.utime(copy, ns=(5, 5))
    copies = {}
    reader = ShardFiles([shard], local_copy=lambda shard: copies.get(shard.path))
    original = pathlib.Path(shard.path).read_bytes()
    assert read(reader, [(0, 10, 20)]) == [original[10:30]]
    copies[shard.path] = str(copy)
    assert read(reader, [(0, 10, 20)]) == [bytes(20)]
    copy.write_bytes(bytes(999))
    refused(reader, copy)


def test_any_file_system_of_tensorflow_is_read_from_many_threads():
    tf.io.gfile.makedirs("ram://shard/files")
    shards = write_shards("ram://shard/files")
    reader = ShardFiles(shards)
    check_from_threads(reader, shards, count=60)
    missing = Shard("ram://shard/files/none", 100, 0)
    refused(ShardFiles([*shards, missing]), missing.path, number=len(shards))
    assert shard_files.read_part(shards[0].path, 990, 20) == files.read_bytes(shards[0].path)[990:]


def test_file_systems_of_pyarrow_are_read_from_many_threads(tmp_path, monkeypatch):
    # Object stores are out of a test's reach; pyarrow reads local files through the same interface.
    monkeypatch.setattr(shard_files, "_ARROW_SCHEMES", ("file://",))
    shards = write_shards(tmp_path)
    remote = [Shard(f"file://{shard.path}", shard.num_bytes, 0) for shard in shards]
    reader = ShardFiles(remote)
    check_from_threads(reader, remote, count=60)
    os.remove(shards[3].path)
    refused(ShardFiles(remote), remote[3].path, number=3)


class RemoteFile:
    """A file each of whose reads waits until as many others are under way as there may be."""

    def __init__(self):
        self.together = threading.Barrier(shard_files.REQUESTS)
        self.lock = threading.Lock()
        self.under_way = self.most = 0

    def read_into(self, offset, buffer):
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.together.wait(60)
        with self.lock:
            self.under_way -= 1
        buffer[:] = bytes([offset % 256]) * len(buffer)
        return len(buffer)

    def state(self):
        return None


def test_remote_reads_are_under_way_side_by_side_up_to_a_bound():
    remote, opened = RemoteFile(), collections.Counter()

    def opener(path):
        opened[path] += 1
        return remote

    shards = [Shard(f"ram://{i}", 1000, 0) for i in range(4)]
    reader = ShardFiles(shards, opener=opener)
    parts = [(i % 4, i, 3) for i in range(3 * shard_files.REQUESTS)]
    assert read(reader, parts) == [bytes([i % 256]) * 3 for i in range(len(parts))]
    assert remote.most == shard_files.REQUESTS
    assert opened == {shard.path: 1 for shard in shards}


def test_a_remote_read_that_fails_names_the_shard():
    class Broken(RemoteFile):
        def read_into(self, offset, buffer):
            raise OSError(5, "the network is down")

    shard = Shard("ram://bucket/shard", 1000, 0)
    reader = ShardFiles([shard], opener=lambda path: Broken())
    with pytest.raises(errors.InputError, match=r"ram://bucket/shard: cannot be read \(the netw"):
        read(reader, [(0, 0, 10)])
