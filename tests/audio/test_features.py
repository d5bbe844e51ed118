"""The front end against an independent float64 formulation, and its frame count."""

import json

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors


def _hz_to_mel(hz):
    return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)  # HTK


def reference_log_mel(waveform: np.ndarray) -> np.ndarray:
    """VGGish's front end written out in float64: DFT by matrix, triangles by interpolation."""
    starts = np.arange(0, len(waveform) - 400 + 1, 160)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([waveform[s : s + 400] for s in starts]) * window
    bins = np.arange(257)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(400), bins) / 512)
    magnitude = np.abs(frames @ dft)
    edges = np.linspace(_hz_to_mel(125.0), _hz_to_mel(7500.0), 66)
    bin_mel = _hz_to_mel(bins * 16000 / 512)
    mel = np.zeros((len(frames), 64))
    for band in range(64):
        triangle = np.interp(bin_mel, edges[band : band + 3], [0.0, 1.0, 0.0])
        triangle[0] = 0.0
        mel[:, band] = magnitude @ triangle
    return np.log(mel + 0.01)


_PATCH_SAMPLES = features.DEFAULT_FRONT_END.patch_samples
_TIME = np.arange(_PATCH_SAMPLES) / 16000
_WAVEFORMS = {
    "noise": np.random.default_rng(0).normal(0, 0.1, _PATCH_SAMPLES),
    "tone": 0.5 * np.sin(2 * np.pi * 440 * _TIME),
    "high tone": 0.9 * np.sin(2 * np.pi * 7400 * _TIME),
    "silence": np.zeros(_PATCH_SAMPLES),
    "clipping": np.clip(20 * np.sin(2 * np.pi * 97 * _TIME), -1, 1),
}


@pytest.mark.parametrize("name", _WAVEFORMS)
def test_agrees_with_independent_float64_front_end(name):
    waveform = _WAVEFORMS[name]
    got = features.log_mel(tf.constant(waveform[np.newaxis], tf.float32)).numpy()
    assert got.shape == (1, 96, 64)
    np.testing.assert_allclose(got[0], reference_log_mel(waveform), atol=1e-3)


def test_a_tone_peaks_in_the_band_that_holds_its_frequency():
    got = features.log_mel(tf.constant(_WAVEFORMS["tone"][np.newaxis], tf.float32)).numpy()
    centres = np.linspace(_hz_to_mel(125.0), _hz_to_mel(7500.0), 66)[1:-1]
    expected = np.argmin(np.abs(centres - _hz_to_mel(440)))
    assert np.argmax(got[0].mean(axis=0)) == expected


@pytest.mark.parametrize(
    ("settings", "patch_shape", "patch_samples"),
    [
        ({}, (96, 64), 15_600),
        ({"hop_samples": 320, "num_bands": 32}, (48, 32), 15_440),
        ({"window_samples": 512, "fft_length": 1024}, (96, 64), 15_712),
        ({"sample_rate": 32_000, "window_samples": 800, "fft_length": 1024}, (192, 64), 31_360),
    ],
)
def test_patches_follow_the_settings(settings, patch_shape, patch_samples):
    front_end = features.FrontEnd(**settings)
    assert (front_end.patch_shape, front_end.patch_samples) == (patch_shape, patch_samples)
    assert features.log_mel(tf.zeros([patch_samples]), front_end).shape == patch_shape


def test_silence_is_the_logarithm_of_the_offset():
    for offset in (0.01, 1e-8, 2.0):
        front_end = features.FrontEnd(offset=offset)
        values = features.log_mel(tf.zeros([front_end.patch_samples]), front_end).numpy()
        np.testing.assert_allclose(values, np.log(offset), rtol=1e-6)
        assert front_end.silence == pytest.approx(np.log(offset))


def test_a_front_end_is_read_back_from_json():
    front_end = features.FrontEnd(offset=1e-8, lower_hz=300.0, num_bands=32)
    assert features.FrontEnd.from_json(json.loads(json.dumps(front_end.to_json()))) == front_end
    assert front_end.difference(features.FrontEnd()) == "num_bands = 32 instead of 64"
    for damaged in ({}, {"offset": 0.01}, front_end.to_json() | {"dither": 1.0}, [1]):
        with pytest.raises(errors.InputError, match=r"front end .*: must have fft_length, hop_sam"):
            features.FrontEnd.from_json(damaged)


def test_leading_dimensions_are_kept():
    assert features.log_mel(tf.zeros([2, 3, 15600])).shape == (2, 3, 96, 64)


def test_double_precision_is_taken_too():
    waveform = _WAVEFORMS["noise"]
    single = features.log_mel(waveform.astype(np.float32))
    np.testing.assert_array_equal(features.log_mel(waveform), single)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(_PATCH_SAMPLES, np.int16), "waveform of int16: must be floating point"),
        (np.zeros(399, np.float32), "waveform of 399 samples: must have at least 400"),
    ],
)
def test_what_has_no_log_mel_is_refused(waveform, message):
    with pytest.raises(errors.InputError, match=message):
        features.log_mel(waveform)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"fft_length": 256}, "fft_length = 256: must be at least window_samples = 400"),
        ({"upper_hz": 9000}, "upper_hz = 9000: must be at most half the sample rate, 8000 Hz"),
        ({"lower_hz": 7500}, "lower_hz = 7500: must lie in"),
        ({"num_bands": 0}, "num_bands = 0: must be a whole number, at least 1"),
        ({"num_bands": 64.0}, "num_bands = 64.0: must be a whole number"),
        ({"num_bands": True}, "num_bands = True: must be a whole number"),
        ({"num_bands": 200}, "num_bands = 200: band 0 holds no FFT bin"),
        ({"num_bands": 10**25}, "must be at most fft_length = 512"),
        ({"hop_samples": 161}, "hop_samples = 161: must divide the 15360 samples"),
        ({"sample_rate": 22_050}, "sample_rate = 22050: must be a multiple of 1000 Hz"),
        ({"offset": 0}, "offset = 0: must be positive"),
        ({"offset": 1e-60}, "offset = 1e-60: must lie in .*the range of float32"),
        ({"offset": 1e39}, "offset = 1e\\+39: must lie in"),
        ({"offset": float("nan")}, "offset = nan: must be finite"),
        ({"offset": "0.01"}, "offset = '0.01': must be a number"),
    ],
)
def test_impossible_front_ends_are_refused(setting, message):
    with pytest.raises(errors.InputError, match=message) as caught:
        features.FrontEnd(**setting)
    assert "\n" not in str(caught.value)


def test_scalars_of_numpy_are_settings():
    settings = features.FrontEnd(num_bands=np.int64(40), lower_hz=np.float32(300))
    assert settings == features.FrontEnd(num_bands=40, lower_hz=300.0)
    assert json.dumps(settings.to_json())
