"""The front end against an independent float64 formulation, and its frame count."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features


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


_TIME = np.arange(features.PATCH_SAMPLES) / 16000
_WAVEFORMS = {
    "noise": np.random.default_rng(0).normal(0, 0.1, features.PATCH_SAMPLES),
    "tone": 0.5 * np.sin(2 * np.pi * 440 * _TIME),
    "high tone": 0.9 * np.sin(2 * np.pi * 7400 * _TIME),
    "silence": np.zeros(features.PATCH_SAMPLES),
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


def test_leading_dimensions_are_kept():
    assert features.log_mel(tf.zeros([2, 3, 15600])).shape == (2, 3, 96, 64)
