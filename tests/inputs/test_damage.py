"""Damaged shards: named with the place, or read as far as they go."""

import collections
import itertools
import logging

import pytest
from absl import logging as absl_logging

from audioset_strong.core import errors
from audioset_strong.inputs import damage
from tests.datasets import make_clip, write_dataset
from tests.streams import clip_ids, source, take


@pytest.fixture
def damaged(tmp_path):
    """Three shards of ten clips; the second is damaged in its fourth record."""
    clips = [make_clip(i, seconds=1.0) for i in range(30)]
    directory = tmp_path / "damaged"
    write_dataset(directory, clips, 3)
    path = directory / "damaged-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    offset = 3 * len(data) // 10
    data[offset + 100] ^= 255
    path.write_bytes(data)
    return str(directory), str(path), offset


def test_a_damaged_shard_is_named_with_the_place(damaged):
    directory, path, offset = damaged
    with (
        pytest.raises(errors.InputError, match="corrupted record at") as caught,
        damage.reporting_damage([directory]),
    ):
        take(5, [source(directory)], 10)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert abs(int(message.partition("corrupted record at ")[2].split()[0]) - offset) < 64


def test_a_shard_that_is_cut_off_is_named(damaged):
    directory, path, _ = damaged
    with open(path, "r+b") as file:
        file.truncate(1000)
    with (
        pytest.raises(errors.InputError, match="truncated record at") as caught,
        damage.reporting_damage([directory]),
    ):
        take(5, [source(directory)], 10)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_follows_the_damage_can_be_skipped_and_is_counted(damaged, caplog):
    directory, path, _ = damaged
    absl_logging.get_absl_logger().propagate = True
    with caplog.at_level(logging.WARNING):
        ids = clip_ids(take(46, [source(directory)], 1, skip_corrupt_records=True))
    lost = {make_clip(i).clip_id for i in range(1, 30, 3)} - set(ids)
    assert lost == {make_clip(i).clip_id for i in range(10, 30, 3)}
    assert set(collections.Counter(ids).values()) == {2}
    logged = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert logged[0] == f"{path}: damaged, 7 of 10 records skipped"


def test_sound_shards_lose_nothing(tmp_path):
    many = write_dataset(tmp_path / "many", [make_clip(i) for i in range(60)], 4)
    ids = clip_ids(take(60, source(many), 2, skip_corrupt_records=True))
    assert set(collections.Counter(itertools.islice(ids, 60)).values()) == {1}
