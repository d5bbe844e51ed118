"""Patches read back from real TFRecord shards, against the clips that were written."""

import collections
import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import sampling, training_sources
from audioset_strong.labels import vocabularies
from tests.datasets import CLASSES, make_clip, write_dataset


def source(directory, policy="strong", weight=1.0, **settings):
    return training_sources.Source((directory,), policy, weight, **settings)


def take(dataset, batches):
    return list(dataset.take(batches).as_numpy_iterator())


def drawn(batches):
    return [
        (clip_id.decode(), int(start))
        for batch in batches
        for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips)


def test_each_epoch_takes_every_clip_once_at_another_window(many):
    epochs = [
        drawn(take(sampling.train_patches([source(many)], 20), 9))[i : i + 60] for i in (0, 60, 120)
    ]
    for epoch in epochs:
        assert sorted(name for name, _ in epoch) == [make_clip(i).clip_id for i in range(60)]
    orders = [[name for name, _ in epoch] for epoch in epochs]
    assert orders[0] != orders[1] != orders[2]
    windows = [dict(epoch) for epoch in epochs]
    assert sum(windows[0][name] == windows[1][name] for name in windows[0]) <= 2


def test_windows_are_uniform_over_the_valid_starts(many):
    starts = [start for _, start in drawn(take(sampling.train_patches([source(many)], 60), 40))]
    assert min(starts) >= 0
    assert max(starts) <= 160000 - features.PATCH_SAMPLES
    uniform = scipy.stats.uniform(0, 160000 - features.PATCH_SAMPLES + 1)
    assert scipy.stats.kstest(starts, uniform.cdf).pvalue > 1e-3


def test_log_mel_is_that_of_the_window_named(many):
    batch = take(sampling.train_patches([source(many)], 8), 1)[0]
    for clip_id, start, log_mel in zip(
        batch["clip_id"], batch["start"], batch["log_mel"], strict=True
    ):
        audio = make_clip(int(clip_id[5:11])).audio[start : start + features.PATCH_SAMPLES]
        expected = features.log_mel(tf.constant(audio[np.newaxis] / 32768, tf.float32))[0]
        np.testing.assert_allclose(log_mel, expected, atol=1e-4)


def _framed(segments, start):
    """The released rule in plain integers, in sixteenths of a millisecond."""
    labels = np.zeros(CLASSES)
    for begin_ms, end_ms, label in segments:
        begin, end = begin_ms * 16, end_ms * 16
        overlap = min(end, start + 15360) - max(begin, start)
        if overlap > 0 and 2 * overlap >= min(15360, end - begin):
            labels[label] = 1
    return labels


def test_policies_label_the_window_as_they_say(many):
    expected = {"weak": [1, 0, 0, 0], "diffuse": [0, 1, 1, 0]}
    for policy in ("weak", "diffuse", "strong"):
        for batch in take(sampling.train_patches([source(many, policy)], 60), 4):
            for start, labels in zip(batch["start"], batch["labels"], strict=True):
                want = expected.get(policy)
                if want is None:
                    want = _framed(make_clip(0).segments, int(start))
                np.testing.assert_array_equal(labels, want)


def test_a_stream_begun_at_a_step_is_the_rest_of_the_whole_stream(many):
    sources = [source(many, "weak", 0.3), source(many, "strong", 0.7)]
    whole = take(sampling.train_patches(sources, 16, seed=3), 14)
    for step in (1, 5, 13):
        rest = take(sampling.train_patches(sources, 16, seed=3, start_step=step), 14 - step)
        for got, want in zip(rest, whole[step:], strict=True):
            for key in want:
                np.testing.assert_array_equal(got[key], want[key])


def test_the_stream_does_not_depend_on_the_global_seed(many):
    streams = []
    for global_seed in (0, 5):
        tf.random.set_seed(global_seed)
        streams.append(drawn(take(sampling.train_patches([source(many)], 30, seed=2), 3)))
    assert streams[0] == streams[1]


def test_another_seed_gives_another_stream(many):
    streams = [drawn(take(sampling.train_patches([source(many)], 30, seed=s), 2)) for s in (0, 1)]
    assert streams[0] != streams[1]


@pytest.mark.parametrize("mu", [0.0, 0.25, 1.0])
def test_mu_is_the_share_of_strong_examples(many, mu):
    sources = [source(many, "weak", 1 - mu), source(many, "strong", mu)]
    batches = take(sampling.train_patches(sources, 100), 20)
    weak = sum(int(labels[0]) for batch in batches for labels in batch["labels"])
    if mu in (0.0, 1.0):
        assert weak == 2000 * (1 - mu)
    else:
        expected = [2000 * (1 - mu), 2000 * mu]
        assert scipy.stats.chisquare([weak, 2000 - weak], expected).pvalue > 1e-3


def test_clips_without_the_label_kind_are_passed_over(tmp_path):
    clips = [make_clip(i, segments=None if i % 2 else ((0, 10000, 1),)) for i in range(20)]
    directory = write_dataset(tmp_path / "half", clips)
    names = [n for n, _ in drawn(take(sampling.train_patches([source(directory)], 10), 2))]
    counts = collections.Counter(names)
    assert counts == {clip.clip_id: 2 for clip in clips if clip.segments is not None}


def test_short_clips_are_padded_with_silence(tmp_path):
    directory = write_dataset(tmp_path / "short", [make_clip(5, seconds=0.5)], num_shards=1)
    batch = take(sampling.train_patches([source(directory, "weak")], 1), 1)[0]
    assert batch["start"][0] == 0
    padded = np.zeros((1, 15600), np.float32)
    padded[0, :8000] = make_clip(5).audio[:8000] / 32768
    np.testing.assert_allclose(batch["log_mel"], features.log_mel(padded), atol=1e-4)


def test_classes_without_labels_can_be_left_out_of_the_loss(many):
    masked = source(many, "strong", mask_unlabelled_classes=True)
    batch = take(sampling.train_patches([masked], 4), 1)[0]
    np.testing.assert_array_equal(batch["label_weights"], [[0, 1, 1, 0]] * 4)
    batch = take(sampling.train_patches([source(many)], 4), 1)[0]
    np.testing.assert_array_equal(batch["label_weights"], np.ones((4, CLASSES)))


def test_flac_records_give_the_same_patches_as_pcm16(tmp_path):
    clips = [make_clip(i) for i in range(6)]
    pcm = write_dataset(tmp_path / "pcm16" / "d", clips)
    flac = write_dataset(tmp_path / "flac" / "d", clips, encoding="flac")
    for got, want in zip(
        take(sampling.train_patches([source(flac)], 6), 2),
        take(sampling.train_patches([source(pcm)], 6), 2),
        strict=True,
    ):
        np.testing.assert_array_equal(got["clip_id"], want["clip_id"])
        np.testing.assert_array_equal(got["log_mel"], want["log_mel"])


def test_grid_gives_ten_windows_and_three_valued_labels(tmp_path):
    clips = [
        make_clip(0),
        make_clip(1, seconds=9.0, negatives=None),
        make_clip(2, segments=None),
    ]
    directory = write_dataset(tmp_path / "grid", clips, num_shards=1)
    batches = take(sampling.grid_patches([directory], batch_size=2), 3)
    assert [len(batch["clip_id"]) for batch in batches] == [2, 1]
    merged = {k: np.concatenate([batch[k] for batch in batches]) for k in batches[0]}
    assert merged["log_mel"].shape == (3, 10, 96, 64)
    np.testing.assert_array_equal(merged["frame_valid"].sum(axis=1), [10, 9, 10])
    frames = merged["frame_labels"]
    # Class 1 sounds 1.0-3.0 s: frames 1 and 2 whole; of frame 0 nothing; of frame 3 0.12 s.
    np.testing.assert_array_equal(frames[0, :, 1], [0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(frames[0, :, 2], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(frames[0, :, 3], 0)
    np.testing.assert_array_equal(frames[0, :, 0], -1)
    np.testing.assert_array_equal(frames[1, :, 3], -1)
    np.testing.assert_array_equal(frames[2], -1)
    np.testing.assert_array_equal(merged["weak_labels"][0], [1, 0, 0, 0])
    np.testing.assert_array_equal(merged["negatives_known"], [True, False, True])
    window = make_clip(0).audio[3 * 15360 : 3 * 15360 + 15600] / 32768
    expected = features.log_mel(tf.constant(window[np.newaxis], tf.float32))[0]
    np.testing.assert_allclose(merged["log_mel"][0, 3], expected, atol=1e-4)


def test_what_does_not_fit_is_refused_before_the_first_batch(tmp_path, many):
    other = vocabularies.Vocabulary(("/m/0a", "/m/0b", "/m/0c", "/m/0d"), ("a", "b", "c", "d"))
    weak_only = [make_clip(i, segments=None) for i in range(3)]
    paths = {
        "other": write_dataset(tmp_path / "other", [make_clip(0)], 1, vocabulary=other),
        "weak": write_dataset(tmp_path / "weak", weak_only, 1),
    }
    cases = [
        ([source(many), source(paths["other"])], "another vocabulary"),
        ([source(paths["weak"], "strong")], "needs strong labels"),
        ([source(many, "storng")], "storng"),
        ([source(many, weight=-1.0), source(many)], "weights"),
        ([source(many, weight=0.0)], "weights"),
        ([], "no source"),
        ([source(str(tmp_path / "nowhere"))], "nowhere"),
    ]
    for sources, message in cases:
        with pytest.raises(errors.InputError, match=message):
            sampling.train_patches(sources, 4)


def test_priors_are_the_label_rates_of_the_mixture(many):
    priors = training_sources.class_priors([source(many, "weak", 0.5), source(many, "strong", 0.5)])
    always, never = 61 / 62, 1 / 62
    half = (always + never) / 2
    np.testing.assert_allclose(priors, [half, half, half, never])


def test_the_shuffle_mixes_clips_of_all_shards(many):
    names = [n for n, _ in drawn(take(sampling.train_patches([source(many)], 60), 1))]
    shard_of = [int(name[5:11]) % 3 for name in names]
    runs = [len(list(group)) for _, group in itertools.groupby(shard_of)]
    assert max(runs) < 12
