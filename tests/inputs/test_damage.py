"""Damaged, replaced and missing shards: named with the clip, or left out."""

import collections
import itertools
import logging
import os
import shutil

import numpy as np
import pytest
from absl import logging as absl_logging

from audioset_strong.core import errors
from audioset_strong.inputs import damage
from audioset_strong.records import dataset_info
from tests.datasets import make_clip, write_dataset
from tests.streams import clip_ids, source, stream, take, take_samples


@pytest.fixture(params=["pcm16", "log_mel", "flac"])
def damaged(request, tmp_path):
    """Three shards of ten clips; one byte of the audio of a clip in the second is wrong."""
    clips = [make_clip(i, seconds=1.0) for i in range(30)]
    directory = write_dataset(tmp_path / "damaged", clips, 3, encoding=request.param)
    path = tmp_path / "damaged" / "damaged-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    data[4 * len(data) // 10 + 200] ^= 255
    path.write_bytes(data)
    return directory, str(path), make_clip(13).clip_id


def test_a_damaged_clip_is_named_when_checksums_are_compared(damaged):
    directory, path, clip_id = damaged
    with pytest.raises(errors.InputError) as caught, damage.reporting_damage([directory]):
        take(3, source(directory), 10, checksums=True)
    message = str(caught.value)
    assert message.startswith(f"{path}: the audio of {clip_id} is not what was indexed")
    assert "skip_corrupt_records = True" in message
    assert "\n" not in message


def test_damaged_clips_can_be_left_out_of_the_loss_and_are_logged_once(damaged, caplog):
    directory, path, clip_id = damaged
    absl_logging.get_absl_logger().propagate = True
    with caplog.at_level(logging.WARNING):
        batches = take(6, source(directory), 10, skip_corrupt_records=True)
    assert collections.Counter(clip_ids(batches)).total() == 60
    for batch in batches:
        counts = batch["label_weights"].any(axis=1)
        np.testing.assert_array_equal(counts, batch["clip_id"] != clip_id.encode())
    logged = {r.getMessage() for r in caplog.records if "skipped" in r.getMessage()}
    assert logged == {
        f"{path}: the audio of {clip_id} is not what was indexed (its checksum differs); skipped "
        "(damaged clips so far: 1)"
    }


def test_sound_shards_lose_nothing(tmp_path):
    many = write_dataset(tmp_path / "many", [make_clip(i) for i in range(60)], 4)
    batches = take_samples(2, source(many), 30, skip_corrupt_records=True)
    assert len(set(clip_ids(batches))) == 60
    assert all(batch["label_weights"].all() for batch in batches)


@pytest.fixture
def small(tmp_path):
    clips = [make_clip(i, seconds=2.0) for i in range(12)]
    return write_dataset(tmp_path / "small", clips, 2), tmp_path / "small"


def test_a_shard_that_is_cut_off_is_named_before_the_first_batch(small):
    directory, folder = small
    path = folder / "small-00001-of-00002.tfrecord"
    os.truncate(path, 1000)
    with pytest.raises(errors.InputError, match=rf"{path}: 1,000 bytes, but index.parquet was"):
        stream(source(directory), 4)


@pytest.mark.parametrize("change", ["cut off", "written anew", "gone", "replaced"])
def test_a_shard_that_changes_under_a_running_training_is_named(small, change):
    directory, _ = small
    paths = dataset_info.DatasetInfo.load(directory).shard_paths(directory)
    batches = stream(source(directory), 4, features_on_device=True)
    for path in paths:
        if change == "cut off":
            os.truncate(path, 100_000)
        elif change == "written anew":
            with open(path, "r+b") as file:
                file.write(b"x")
        elif change == "gone":
            os.remove(path)
        else:
            shutil.copyfile(path, f"{path}.new")
            os.replace(f"{path}.new", path)
    with pytest.raises(errors.InputError) as caught, damage.reporting_damage([directory]):
        list(batches.take(4))
    message = str(caught.value)
    assert any(message.startswith(f"{path}: ") for path in paths)
    wanted = {
        "cut off": "has changed since its index was opened (100,000 bytes",
        "written anew": "has changed since its index was opened (written anew)",
        "gone": "cannot be read (",
        "replaced": "has changed since its index was opened (written anew)",
    }
    assert wanted[change] in message
    assert "\n" not in message


def test_a_damaged_record_that_is_read_whole_is_named_with_the_byte(damaged):
    directory, path, _ = damaged
    assert damage.find_damage([directory]).startswith(f"{path}: corrupted record at ")


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_shard_that_goes_while_it_is_read_is_named(small, change):
    directory, _ = small
    paths = dataset_info.DatasetInfo.load(directory).shard_paths(directory)
    batches = iter(stream(source(directory), 4, features_on_device=True))
    next(batches)
    for path in paths:
        if change == "replaced":
            shutil.copyfile(path, f"{path}.new")
            os.replace(f"{path}.new", path)
        else:
            os.remove(path)
    with (  # some batches were read ahead
        pytest.raises(errors.InputError, match="deleted or replaced since it was opened") as got,
        damage.reporting_damage([directory]),
    ):
        collections.deque(itertools.islice(batches, 1000), maxlen=0)
    assert any(str(got.value).startswith(f"{path}: ") for path in paths)


def test_damage_at_the_edge_of_a_shard_can_be_skipped_too(small, caplog):
    directory, _ = small
    first, second = dataset_info.DatasetInfo.load(directory).shard_paths(directory)
    os.truncate(first, os.path.getsize(first) - 1000)
    with open(second, "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    absl_logging.get_absl_logger().propagate = True
    with pytest.raises(errors.InputError, match=f"{first}: "):
        stream(source(directory), 12)
    with caplog.at_level(logging.WARNING):
        batches = take_samples(2, source(directory), 12, skip_corrupt_records=True)
    for batch in batches:
        assert batch["label_weights"].any(axis=1).sum() == 10
    told = [record.getMessage() for record in caplog.records]
    assert any(text.startswith(f"{first}: ") and "is skipped" in text for text in told)
    assert any(text.startswith(f"{second}: the record of") for text in told)
