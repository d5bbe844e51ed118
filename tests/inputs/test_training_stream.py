"""Patches read back from real TFRecord shards, against the clips that were written."""

import collections
import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.labels import vocabularies
from tests.datasets import CLASSES, make_clip, write_dataset
from tests.streams import clip_ids, source, stream, take, take_samples, windows

PATCH = 15_600  # samples


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips)


def test_each_epoch_takes_every_clip_once_at_another_window(many):
    examples = windows(take_samples(9, [source(many)], 20))
    epochs = [examples[i : i + 60] for i in (0, 60, 120)]
    for epoch in epochs:
        assert sorted(name for name, _ in epoch) == [make_clip(i).clip_id for i in range(60)]
    orders = [[name for name, _ in epoch] for epoch in epochs]
    assert orders[0] != orders[1] != orders[2]
    first, second, _ = (dict(epoch) for epoch in epochs)
    assert sum(first[name] == second[name] for name in first) <= 2


def test_windows_are_uniform_over_the_valid_starts(many):
    starts = [start for _, start in windows(take_samples(40, [source(many)], 60))]
    assert min(starts) >= 0
    assert max(starts) <= 160000 - PATCH
    uniform = scipy.stats.uniform(0, 160000 - PATCH + 1)
    assert scipy.stats.kstest(starts, uniform.cdf).pvalue > 1e-3


def test_windows_do_not_depend_on_each_other(many):
    starts = {}  # by seed, `[epochs, clips]`
    for seed in (0, 1):
        batches = take_samples(60, [source(many)], 60, seed=seed)
        orders = [np.argsort(batch["clip_id"]) for batch in batches]
        starts[seed] = np.stack([b["start"][o] for b, o in zip(batches, orders, strict=True)])
    for one, other in (
        (starts[0][:-1], starts[0][1:]),  # the next epoch
        (starts[0][:, :-1], starts[0][:, 1:]),  # the next clip
        (starts[0], starts[1]),  # another seed
    ):
        assert scipy.stats.pearsonr(one.ravel(), other.ravel()).pvalue > 1e-3


def test_log_mel_is_that_of_the_window_named(many):
    batch = take(1, [source(many)], 8)[0]
    for clip_id, start, log_mel in zip(
        batch["clip_id"], batch["start"], batch["log_mel"], strict=True
    ):
        audio = make_clip(int(clip_id[5:11])).audio[start : start + PATCH]
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
        for batch in take_samples(4, [source(many, policy)], 60):
            for start, labels in zip(batch["start"], batch["labels"], strict=True):
                want = expected.get(policy)
                if want is None:
                    want = _framed(make_clip(0).segments, int(start))
                np.testing.assert_array_equal(labels, want)


def test_a_stream_begun_at_a_step_is_the_rest_of_the_whole_stream(many):
    sources = [source(many, "weak", 0.3), source(many, "strong", 0.7)]
    whole = take_samples(14, sources, 16, seed=3)
    for step in (1, 5, 13):
        rest = take_samples(14 - step, sources, 16, seed=3, start_step=step)
        for got, want in zip(rest, whole[step:], strict=True):
            for key in want:
                np.testing.assert_array_equal(got[key], want[key])


def test_the_stream_does_not_depend_on_the_global_seed(many):
    found = []
    for global_seed in (0, 5):
        tf.random.set_seed(global_seed)
        found.append(windows(take_samples(3, [source(many)], 30, seed=2)))
    assert found[0] == found[1]


def test_another_seed_gives_another_stream(many):
    one, other = (windows(take_samples(2, [source(many)], 30, seed=seed)) for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("mu", [0.0, 0.25, 1.0])
def test_mu_is_the_share_of_strong_examples(many, mu):
    sources = [source(many, "weak", 1 - mu), source(many, "strong", mu)]
    batches = take_samples(20, sources, 100)
    weak = sum(int(labels[0]) for batch in batches for labels in batch["labels"])
    if mu in (0.0, 1.0):
        assert weak == 2000 * (1 - mu)
    else:
        expected = [2000 * (1 - mu), 2000 * mu]
        assert scipy.stats.chisquare([weak, 2000 - weak], expected).pvalue > 1e-3


def test_clips_without_the_annotation_that_a_policy_needs_are_passed_over(tmp_path):
    clips = [make_clip(i, segments=None if i % 2 else ((0, 10000, 1),)) for i in range(20)]
    directory = write_dataset(tmp_path / "half", clips)
    counts = collections.Counter(clip_ids(take_samples(2, [source(directory)], 10)))
    assert counts == {clip.clip_id: 2 for clip in clips if clip.segments is not None}


def test_short_clips_are_padded_with_silence(tmp_path):
    directory = write_dataset(tmp_path / "short", [make_clip(5, seconds=0.5)], num_shards=1)
    batch = take(1, [source(directory, "weak")], 1)[0]
    assert batch["start"][0] == 0
    padded = np.zeros((1, 15600), np.float32)
    padded[0, :8000] = make_clip(5).audio[:8000] / 32768
    np.testing.assert_allclose(batch["log_mel"], features.log_mel(padded), atol=1e-4)


def test_classes_without_labels_can_be_left_out_of_the_loss(many):
    masked = source(many, "strong", mask_unlabelled_classes=True)
    batch = take_samples(1, [masked], 4)[0]
    np.testing.assert_array_equal(batch["label_weights"], [[0, 1, 1, 0]] * 4)
    batch = take_samples(1, [source(many)], 4)[0]
    np.testing.assert_array_equal(batch["label_weights"], np.ones((4, CLASSES)))


def test_flac_records_give_the_same_patches_as_pcm16(tmp_path):
    clips = [make_clip(i) for i in range(6)]
    pcm = write_dataset(tmp_path / "pcm16" / "d", clips)
    flac = write_dataset(tmp_path / "flac" / "d", clips, encoding="flac")
    for got, want in zip(
        take(2, [source(flac)], 6),
        take(2, [source(pcm)], 6),
        strict=True,
    ):
        np.testing.assert_array_equal(got["clip_id"], want["clip_id"])
        np.testing.assert_array_equal(got["log_mel"], want["log_mel"])


def test_what_does_not_fit_is_refused_before_the_first_batch(tmp_path, many):
    other = vocabularies.Vocabulary(("/m/0a", "/m/0b", "/m/0c", "/m/0d"), ("a", "b", "c", "d"))
    weak_only = [make_clip(i, segments=None) for i in range(3)]
    paths = {
        "other": write_dataset(tmp_path / "other", [make_clip(0)], 1, vocabulary=other),
        "weak": write_dataset(tmp_path / "weak", weak_only, 1),
    }
    cases = [
        ([source(many), source(paths["other"])], "another vocabulary"),
        ([source(many), source(paths["other"], weight=0.0)], "another vocabulary"),
        ([source(paths["weak"], "strong")], "needs strong labels"),
        ([source(many, weight=-1.0), source(many)], "weights"),
        ([source(many, weight=0.0)], "weights"),
        ([], "no source"),
        ([source(str(tmp_path / "nowhere"))], "nowhere"),
    ]
    for sources, message in cases:
        with pytest.raises(errors.InputError, match=message):
            stream(sources, 4)
    with pytest.raises(errors.InputError, match="framing_rule = 'half': must be one of released"):
        stream(source(many), 4, framing_rule="half")


class TestFramingRule:
    def test_it_decides_the_strong_labels(self, tmp_path):
        # Segments of 0.3 s with gaps of 0.1 s: together they cover every window by more than half,
        # and none covers half of it alone.
        segments = tuple((400 * i, 400 * i + 300, 1) for i in range(25))
        clip = make_clip(0, segments=((0, 10_000, 2), *segments))
        data = write_dataset(tmp_path / "gaps", [clip], 1)
        for rule in ("released", "paper"):
            (batch,) = take_samples(1, source(data), 8, framing_rule=rule)
            for start, labels in zip(batch["start"], batch["labels"], strict=True):
                want = _framed(clip.segments, int(start)) if rule == "released" else [0, 1, 1, 0]
                np.testing.assert_array_equal(labels, want)


class TestFrontEnd:
    FRONT_END = features.FrontEnd(hop_samples=320, num_bands=32, offset=1e-6, lower_hz=300.0)

    def test_patches_follow_it(self, many):
        batch = take(1, source(many), 8, front_end=self.FRONT_END)[0]
        assert batch["log_mel"].shape == (8, 48, 32)
        samples = self.FRONT_END.patch_samples
        for clip_id, start, log_mel in zip(
            batch["clip_id"], batch["start"], batch["log_mel"], strict=True
        ):
            audio = make_clip(int(clip_id[5:11])).audio[start : start + samples]
            waveform = tf.constant(audio / 32768, tf.float32)
            wanted = features.log_mel(waveform, self.FRONT_END)
            np.testing.assert_allclose(log_mel, wanted, atol=1e-3)

    def test_another_sample_rate_is_refused(self, many):
        front_end = features.FrontEnd(sample_rate=8000, upper_hz=4000.0)
        with pytest.raises(errors.InputError, match="many: sample rate 16000 Hz, but FrontEnd"):
            stream(source(many), 4, front_end=front_end)

    def test_log_mel_records_take_the_front_end_that_they_were_made_with_and_no_other(
        self, tmp_path
    ):
        clips = [make_clip(i) for i in range(4)]
        data = write_dataset(
            tmp_path / "log_mel", clips, 1, encoding="log_mel", front_end=self.FRONT_END
        )
        (batch,) = take(1, source(data), 4, front_end=self.FRONT_END)
        assert batch["log_mel"].shape == (4, 48, 32)
        assert not (batch["start"] % 320).any()
        samples = self.FRONT_END.patch_samples
        for clip_id, start, log_mel in zip(
            batch["clip_id"], batch["start"], batch["log_mel"], strict=True
        ):
            audio = make_clip(int(clip_id[5:11])).audio[start : start + samples]
            wanted = features.log_mel(tf.constant(audio / 32768, tf.float32), self.FRONT_END)
            np.testing.assert_allclose(log_mel, wanted, atol=5e-3)
        message = r"log_mel: its log-mel was made with FrontEnd\.hop_samples = 320 instead of 160"
        with pytest.raises(errors.InputError, match=message):
            stream(source(data), 4)

    def test_another_sample_rate_gives_patches_of_that_rate(self, tmp_path):
        front_end = features.FrontEnd(
            sample_rate=8000, window_samples=200, hop_samples=80, fft_length=512, upper_hz=3800.0
        )
        clips = [make_clip(i, sample_rate=8000) for i in range(4)]
        data = write_dataset(tmp_path / "slow", clips, 1)
        (batch,) = take(1, source(data), 4, front_end=front_end)
        assert batch["log_mel"].shape == (4, 96, 64)
        assert max(batch["start"]) <= 80_000 - front_end.patch_samples
        with pytest.raises(errors.InputError, match=r"bind FrontEnd\.sample_rate = 8000"):
            stream(source(data), 4)


def test_the_shuffle_mixes_clips_of_all_shards(many):
    shard_of = [int(name[5:11]) % 3 for name in clip_ids(take_samples(1, [source(many)], 60))]
    runs = [len(list(group)) for _, group in itertools.groupby(shard_of)]
    assert max(runs) < 12


def test_clips_that_shared_a_batch_do_so_again_no_more_often_than_chance(many):
    batches = take_samples(600, [source(many)], 6)  # 60 epochs of 10 batches
    number = {make_clip(i).clip_id.encode(): i for i in range(60)}
    of_epochs = np.array([[number[c] for c in batch["clip_id"]] for batch in batches])
    together = []
    for epoch in of_epochs.reshape(60, 10, 6):
        found = np.zeros([60, 60], bool)
        for clips in epoch:
            found[np.ix_(clips, clips)] = True
        together.append(found[np.triu_indices(60, 1)])
    again = np.array([(a & b).sum() for a, b in itertools.pairwise(together)])
    expected = 10 * (6 * 5 / 2) * 5 / 59  # pairs of an epoch, times the chance of each
    assert abs(again.mean() - expected) < 4 * again.std() / np.sqrt(len(again))
