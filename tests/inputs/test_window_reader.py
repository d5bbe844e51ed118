"""Windows read by offset, against the clips that were written: every sample, and no other byte."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.inputs import training_stream
from audioset_strong.records import clip_records
from tests.datasets import CLASSES, make_clip, write_dataset
from tests.streams import same, source, stream, take, take_samples

PATCH = 15_600  # samples


def _noise(i, seconds):
    clip = make_clip(i, seconds)
    rng = np.random.default_rng(i)
    clip.audio[:] = rng.integers(-(2**15), 2**15, len(clip.audio))
    return clip


@pytest.fixture(scope="module")
def clips():
    lengths = (10.0, 0.5, 3.217, 0.975, 9.3, 1.0)
    return {clip.clip_id: clip for clip in (_noise(i, s) for i, s in enumerate(lengths * 4))}


@pytest.mark.parametrize("encoding", ["pcm16", "flac"])
@pytest.mark.parametrize("checksums", [False, True])
def test_samples_are_those_of_the_clip_and_silence_follows_its_end(
    clips, tmp_path, encoding, checksums
):
    data = write_dataset(tmp_path / "d", list(clips.values()), 3, encoding=encoding)
    batches = take_samples(12, source(data), 20, checksums=checksums)
    for batch in batches:
        for clip_id, start, got in zip(batch["clip_id"], batch["start"], batch["pcm"], strict=True):
            wanted = clips[clip_id.decode()].audio[start : start + PATCH]
            np.testing.assert_array_equal(got[: len(wanted)], wanted)
            assert not got[len(wanted) :].any()
    # The last samples of clips are reached too.
    ends = {
        clips[clip_id.decode()].num_samples - start
        for batch in batches
        for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
    }
    assert min(ends) < PATCH


def test_log_mel_is_what_the_records_hold(clips, tmp_path):
    data = write_dataset(tmp_path / "d", list(clips.values()), 3, encoding="log_mel")
    whole = {
        clip_id: clip_records.deserialize(
            clip_records.serialize(clip, "log_mel"), "log_mel"
        ).log_mel.values
        for clip_id, clip in clips.items()
    }
    for batch in take(6, source(data), 20):
        for clip_id, start, got in zip(
            batch["clip_id"], batch["start"], batch["log_mel"], strict=True
        ):
            assert start % 160 == 0
            wanted = whole[clip_id.decode()][start // 160 :][:96]
            np.testing.assert_array_equal(got[: len(wanted)], wanted.astype(np.float32))
            np.testing.assert_allclose(got[len(wanted) :], np.log(0.01), rtol=1e-6)


def test_labels_are_those_of_a_plain_reference_for_every_policy(tmp_path):
    rng = np.random.default_rng(1)
    clips = {}
    for i in range(40):
        starts = rng.integers(0, 9500, rng.integers(0, 7))
        segments = tuple(
            (int(s), int(s + rng.integers(1, 3000)), int(rng.integers(CLASSES))) for s in starts
        )
        clip = make_clip(i, segments=segments, weak=tuple(rng.permutation(CLASSES)[: i % 3]))
        clips[clip.clip_id] = clip
    data = write_dataset(tmp_path / "d", list(clips.values()), 3)
    sources = [source(data, policy, 1.0) for policy in ("weak", "diffuse", "strong")]
    labelled = 0
    for batch in take_samples(10, sources, 60):
        for clip_id, start, number, got in zip(
            batch["clip_id"], batch["start"], batch["source"], batch["labels"], strict=True
        ):
            clip = clips[clip_id.decode()]
            wanted = np.zeros(CLASSES)
            if number == 0:
                wanted[list(clip.weak_labels)] = 1
            for begin_ms, end_ms, label in clip.segments if number else ():
                begin, end = 16 * begin_ms, 16 * end_ms  # samples
                overlap = min(end, start + 15_360) - max(begin, start)
                if number == 1 or (overlap > 0 and 2 * overlap >= min(15_360, end - begin)):
                    wanted[label] = 1
            np.testing.assert_array_equal(got, wanted)
            labelled += wanted.sum()
    assert labelled > 300


def _bytes_read():
    """What this thread has read by system calls, as the kernel counts it."""
    return int(pathlib.Path("/proc/thread-self/io").read_text().split()[1])


@pytest.mark.skipif(
    not os.path.exists("/proc/thread-self/io"), reason="needs Linux's count of bytes"
)
@pytest.mark.parametrize("step", [0, 500, 990])
def test_only_the_windows_are_read_whatever_the_step(tmp_path, step):
    data = write_dataset(tmp_path / "d", [make_clip(i) for i in range(40)], 3)
    batches = stream(source(data), 20, start_step=step, features_on_device=True)
    # Batches are read ahead, so what is counted is read by the reader itself.
    reader = training_stream.WindowReader
    counted = []
    plain = reader._windows

    def counting(self, rows, start):
        before = _bytes_read()
        found = plain(self, rows, start)
        counted.append(_bytes_read() - before)
        return found

    reader._windows = counting
    try:
        next(iter(batches))
    finally:
        reader._windows = plain
    assert np.median(counted) <= 1.2 * 20 * 2 * PATCH


@pytest.mark.parametrize("encoding", ["pcm16", "log_mel", "flac"])
def test_shards_on_any_file_system_of_tensorflow_are_read_alike(tmp_path, encoding):
    local = write_dataset(tmp_path / "d", [make_clip(i, 2.0) for i in range(10)], 2, encoding)
    remote = f"ram://windows/{encoding}"
    for path in pathlib.Path(local).iterdir():
        with tf.io.gfile.GFile(f"{remote}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    read = take if encoding == "log_mel" else take_samples
    same(read(3, source(remote), 5), read(3, source(local), 5))


def test_windows_are_read_from_copies_once_a_cache_has_them(tmp_path):
    data = write_dataset(tmp_path / "d", [make_clip(i, 2.0) for i in range(10)], 2)
    plain = take_samples(3, source(data), 5)
    cache = tmp_path / "cache"
    for _ in range(2):  # empty at first, then full
        same(take_samples(3, source(data), 5, cache_dir=str(cache)), plain)
    assert len(list(cache.glob("*.tfrecord"))) == 2


def test_batches_hold_the_log_mel_of_their_samples(clips, tmp_path):
    data = write_dataset(tmp_path / "d", list(clips.values()), 3)
    (samples,) = take_samples(1, source(data), 16)
    (batch,) = take(1, source(data), 16)
    wanted = features.log_mel(tf.constant(samples["pcm"] / 32768, tf.float32))
    np.testing.assert_allclose(batch["log_mel"], wanted, atol=1e-4)
