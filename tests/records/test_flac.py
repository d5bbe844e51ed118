"""FLAC of records: both decoders give exactly the samples that were encoded."""

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_strong.records import flac
from tests.optional import hide_tensorflow_io, needs_tensorflow_io

_RATE = 16_000


def _sounds():
    """Noise at full scale, a tone, silence, and a few samples."""
    rng = np.random.default_rng(0)
    tone = 9000 * np.sin(2 * np.pi * 440 * np.arange(40_000) / _RATE)
    yield rng.integers(-32768, 32768, 50_000).astype(np.int16)
    yield tone.astype(np.int16)
    yield np.zeros(30_000, np.int16)
    yield np.array([-32768, 32767, 1], np.int16)


@settings(max_examples=100, deadline=None)
@given(
    audio=st.lists(st.integers(-32768, 32767), min_size=1, max_size=60),
    repeats=st.integers(1, 500),
    data=st.data(),
)
def test_a_part_is_a_part_of_the_whole(audio, repeats, data):
    audio = np.tile(np.array(audio, np.int16), repeats)
    encoded = flac.encode(audio, _RATE)
    start = data.draw(st.integers(0, len(audio) + 5))
    samples = data.draw(st.integers(-1, len(audio) + 5))
    got = flac.decode(encoded, start, samples)
    assert got.dtype == np.int16
    end = None if samples < 0 else start + samples
    np.testing.assert_array_equal(got, audio[start:end])


@pytest.mark.parametrize(
    "decoder", [pytest.param("tensorflow-io", marks=needs_tensorflow_io), "soundfile"]
)
@pytest.mark.parametrize("eager", [True, False])
def test_windows_are_those_of_the_audio(monkeypatch, decoder, eager):
    if decoder == "soundfile":
        hide_tensorflow_io(monkeypatch)
    sounds = list(_sounds())
    encoded = tf.constant([flac.encode(audio, _RATE) for audio in sounds])

    def cut(encoded, start):
        return flac.windows(encoded, start, samples=15_600)

    run = cut if eager else tf.function(cut)
    for starts in ([0, 0, 0, 0], [49_999, 30_000, 29_000, 2], [4096, 4095, 4097, 1]):
        got = run(encoded, tf.constant(starts, tf.int64))
        assert got.shape == (4, 15_600)
        assert got.dtype == tf.int16
        for window, audio, start in zip(got.numpy(), sounds, starts, strict=True):
            piece = audio[start : start + 15_600]
            np.testing.assert_array_equal(window, np.pad(piece, (0, 15_600 - len(piece))))


def test_the_shape_of_windows_is_known_while_tracing(monkeypatch):
    hide_tensorflow_io(monkeypatch)
    encoded = tf.data.Dataset.from_tensors([flac.encode(next(_sounds()), _RATE)])
    windows = encoded.map(lambda files: flac.windows(files, tf.constant([7], tf.int64), samples=9))
    assert windows.element_spec.shape.as_list() == [None, 9]


def test_what_is_no_flac_of_one_channel_is_an_error_of_the_graph(monkeypatch, tmp_path):
    soundfile.write(tmp_path / "stereo.flac", np.zeros((9, 2), np.int16), _RATE)
    hide_tensorflow_io(monkeypatch)
    cut = tf.function(lambda content: flac.windows(content, tf.constant([0], tf.int64), samples=4))
    for content, complaint in (
        (b"no sound", "FLAC audio cannot be decoded: "),
        (flac.encode(next(_sounds()), _RATE)[:30], "FLAC audio cannot be decoded: "),
        ((tmp_path / "stereo.flac").read_bytes(), "2 channels instead of one"),
    ):
        with pytest.raises(ValueError, match=complaint):
            flac.decode(content)
        with pytest.raises(tf.errors.InvalidArgumentError, match=complaint):
            cut(tf.constant([content]))
