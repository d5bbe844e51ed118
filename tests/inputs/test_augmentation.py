"""Augmentation, off by default; on, it does what it says and no more."""

import math

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import training_stream
from audioset_strong.inputs.augmentation import Augmentation
from tests.datasets import make_clip, write_dataset
from tests.streams import source, take

SILENCE = math.log(0.01)
SEEDS = tf.range(400, dtype=tf.int64) * 7919


def _batch(count=400, classes=3):
    rng = np.random.default_rng(0)
    return {
        "augment_seed": SEEDS[:count],
        "labels": tf.constant(rng.integers(0, 2, (count, classes)), tf.float32),
        "label_weights": tf.constant(rng.integers(0, 2, (count, classes)), tf.float32),
        "known_labels": tf.constant(rng.integers(0, 2, (count, classes)), tf.bool),
    }


def test_off_by_default():
    augment = Augmentation()
    assert not augment.enabled
    assert not augment.needs_waveform


def test_gain_scales_each_example_by_its_own_decibels():
    augment = Augmentation(gain_db=6.0)
    waveform = tf.constant(np.random.default_rng(1).normal(size=(400, 100)), tf.float32)
    got, batch = augment.of_waveform(waveform, _batch())
    ratio = got / waveform
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones((1, 100)), rtol=1e-4)
    db = 20 * np.log10(ratio[:, 0])
    assert np.abs(db).max() <= 6.001
    assert np.histogram(db, 6, (-6, 6))[0].min() > 40  # uniform: 67 each
    np.testing.assert_array_equal(batch["labels"], _batch()["labels"])


@pytest.mark.parametrize("domain", ["waveform", "log_mel"])
def test_mixup_mixes_neighbours_and_their_labels_by_the_same_share(domain):
    augment = Augmentation(mixup_alpha=0.5, mixup_domain=domain)
    assert augment.needs_waveform == (domain == "waveform")
    shape = (400, 50) if domain == "waveform" else (400, 96, 64)
    values = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
    given = _batch()
    if domain == "waveform":
        got, batch = augment.of_waveform(values, given)
    else:
        got, batch = augment.of_log_mel(values, given, SILENCE)
    flat, own = np.reshape(got, (400, -1)), np.reshape(values, (400, -1))
    other = np.roll(own, 1, axis=0)
    # The share of each example, by least squares from its values, then again from its labels.
    share = ((flat - other) * (own - other)).sum(1) / np.square(own - other).sum(1)
    np.testing.assert_allclose(
        flat, share[:, np.newaxis] * own + (1 - share[:, np.newaxis]) * other, atol=1e-4
    )
    labels, rolled = given["labels"].numpy(), np.roll(given["labels"], 1, axis=0)
    wanted = share[:, np.newaxis] * labels + (1 - share[:, np.newaxis]) * rolled
    np.testing.assert_allclose(batch["labels"], wanted, atol=1e-4)
    weights = given["label_weights"].numpy()
    np.testing.assert_array_equal(
        batch["label_weights"], np.minimum(weights, np.roll(weights, 1, axis=0))
    )
    known = given["known_labels"].numpy()
    np.testing.assert_array_equal(batch["known_labels"], known & np.roll(known, 1, axis=0))
    # Beta(1/2, 1/2): mean 1/2, variance 1/8.
    assert share.mean() == pytest.approx(0.5, abs=0.06)
    assert share.var() == pytest.approx(1 / 8, rel=0.2)


@pytest.mark.parametrize(("kind", "axis"), [("time", 1), ("frequency", 2)])
def test_masks_silence_stretches_across_the_other_axis(kind, axis):
    unit = {"time": "stft_frames", "frequency": "bands"}[kind]
    augment = Augmentation(**{f"{kind}_masks": 1, f"{kind}_mask_{unit}": 20})
    log_mel = tf.constant(np.random.default_rng(1).normal(size=(400, 96, 64)), tf.float32)
    got, _ = augment.of_log_mel(log_mel, _batch(), -7.0)
    hidden = got.numpy() != log_mel.numpy()
    np.testing.assert_allclose(got.numpy()[hidden], -7.0, rtol=1e-6)
    stretch = hidden.any(axis=3 - axis)  # [batch, frames or bands]
    np.testing.assert_array_equal(hidden, np.expand_dims(stretch, 3 - axis) & (hidden | True))
    widths = stretch.sum(axis=1)
    assert sorted(set(widths)) == list(range(21))
    assert widths.mean() == pytest.approx(10, abs=1.5)
    for row, width in zip(stretch, widths, strict=True):
        if width:
            places = np.flatnonzero(row)
            assert places[-1] - places[0] + 1 == width  # in one piece
    assert stretch.any(axis=0).all()  # anywhere


def test_two_masks_of_each_kind_are_drawn_apart():
    augment = Augmentation(
        time_masks=2, time_mask_stft_frames=5, frequency_masks=2, frequency_mask_bands=5
    )
    got, _ = augment.of_log_mel(tf.zeros([400, 96, 64]), _batch(), SILENCE)
    frames = (got.numpy() < -1).all(axis=2).sum(axis=1)
    assert frames.max() > 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain_db": -1.0}, r"Augmentation.gain_db = -1.0: must lie in \[0, 100\]"),
        ({"gain_db": "loud"}, r"Augmentation.gain_db = 'loud': must lie in"),
        ({"mixup_alpha": -0.1}, r"Augmentation.mixup_alpha = -0.1"),
        ({"mixup_domain": "image"}, "Augmentation.mixup_domain = 'image': must be 'waveform' or"),
        ({"time_mask_stft_frames": -1}, "Augmentation.time_mask_stft_frames = -1: must not be"),
        ({"frequency_mask_bands": 2.5}, "Augmentation.frequency_mask_bands = 2.5: must be a whole"),
        ({"frequency_masks": -2}, r"Augmentation.frequency_masks = -2"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(errors.InputError, match=message):
        Augmentation(**settings)


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "train", [make_clip(i) for i in range(24)], 2)


ALL_ON = Augmentation(gain_db=6.0, mixup_alpha=0.5, time_masks=1, frequency_masks=1)


def _batches(data, count=4, **settings):
    return take(count, source(data), 8, seed=2, **settings)


def test_a_resumed_stream_is_augmented_as_one_that_was_never_stopped(data):
    whole = _batches(data, 5, augmentation=ALL_ON)
    rest = _batches(data, 2, start_step=3, augmentation=ALL_ON)
    for resumed, wanted in zip(rest, whole[3:], strict=True):
        for name in ("clip_id", "log_mel", "labels", "label_weights"):
            np.testing.assert_array_equal(resumed[name], wanted[name])
    again = {tuple(batch["log_mel"].ravel()[:50]) for batch in whole}
    assert len(again) == 5


def test_on_the_device_it_is_the_same(data):
    on_host = _batches(data, augmentation=ALL_ON)
    on_device = _batches(data, augmentation=ALL_ON, features_on_device=True)
    for host, device in zip(on_host, on_device, strict=True):
        assert "log_mel" not in device
        got = training_stream.to_model_input(
            {k: tf.constant(v) for k, v in device.items()},
            front_end=features.DEFAULT_FRONT_END,
            augmentation=ALL_ON,
        )
        np.testing.assert_allclose(got["log_mel"], host["log_mel"], atol=1e-3)
        np.testing.assert_allclose(got["labels"], host["labels"], atol=1e-6)
        assert set(got) == set(host)


def test_without_augmentation_the_stream_is_the_clips_own(data):
    for batch in _batches(data):
        assert "augment_seed" not in batch
        for clip_id, start, log_mel in zip(
            batch["clip_id"], batch["start"], batch["log_mel"], strict=True
        ):
            clip = make_clip(int(clip_id[5:11]))
            window = clip.audio[start : start + 15_600]
            window = np.pad(window, (0, 15_600 - len(window))) / 32768
            wanted = features.log_mel(tf.constant(window[np.newaxis], tf.float32))[0]
            np.testing.assert_allclose(log_mel, wanted, atol=1e-4)


def test_records_of_log_mel_take_masks_but_no_gain(tmp_path):
    clips = [make_clip(i) for i in range(8)]
    data = write_dataset(tmp_path / "log_mel", clips, 1, encoding="log_mel")
    with pytest.raises(errors.InputError, match=r"Augmentation.gain_db = 6.0: needs samples"):
        _batches(data, augmentation=ALL_ON)
    masks = Augmentation(time_masks=1, time_mask_stft_frames=96)
    batches = _batches(data, augmentation=masks)
    hidden = [(batch["log_mel"] < math.log(0.0101)).all(axis=2).sum() for batch in batches]
    assert min(hidden) > 0
    assert max(hidden) <= 8 * 96


def test_masks_must_fit_the_patches_of_the_front_end(data):
    masks = Augmentation(time_masks=1, time_mask_stft_frames=60)
    _batches(data, 1, augmentation=masks)
    with pytest.raises(errors.InputError, match=r"frames = 60: must lie in \[0, 48\], the STFT"):
        _batches(data, augmentation=masks, front_end=features.FrontEnd(hop_samples=320))
    # What is off need not fit: the defaults allow for every front end.
    small = features.FrontEnd(hop_samples=960, num_bands=8)
    Augmentation().check_fits(small)
    with pytest.raises(errors.InputError, match=r"bands = 12: must lie in \[0, 8\]"):
        Augmentation(frequency_masks=1).check_fits(small)


def test_masks_hold_the_silence_of_the_front_end(data):
    front_end = features.FrontEnd(offset=1e-5)
    masks = Augmentation(time_masks=3, time_mask_stft_frames=96)
    (batch,) = _batches(data, 1, augmentation=masks, front_end=front_end)
    hidden = (batch["log_mel"] == batch["log_mel"][..., :1]).all(axis=2)
    assert hidden.any()
    np.testing.assert_allclose(batch["log_mel"][hidden], math.log(1e-5), rtol=1e-6)
