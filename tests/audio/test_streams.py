"""Block-wise decoding gives the samples of whole-file decoding, whatever the format."""

import numpy as np
import pytest

from audioset_strong.audio import decoding, streams
from tests import audio_files


@pytest.mark.parametrize("suffix", [*audio_files.SOUNDFILE, *audio_files.PYAV])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_blocks_add_up_to_the_whole_file(tmp_path, suffix, rate):
    left = audio_files.melody(23.4, rate)
    stereo = np.stack([left, 0.5 * left], axis=1)
    path = str(audio_files.write(tmp_path / f"a{suffix}", stereo, rate))
    blocks = list(streams.blocks(path))
    assert len(blocks) > 1
    assert all(0 < len(block) <= 10.5 * 16_000 for block in blocks)
    whole = decoding.load(path)
    joined = np.concatenate(blocks)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, whole)


@pytest.mark.parametrize("suffix", [*audio_files.SOUNDFILE, *audio_files.PYAV])
def test_the_length_is_that_of_the_decoded_sound(tmp_path, suffix):
    path = audio_files.write(tmp_path / f"a{suffix}", audio_files.melody(7.3, 48_000), 48_000)
    decoded = len(decoding.load(str(path), 48_000)) / 48_000
    assert streams.seconds(str(path)) == pytest.approx(decoded, abs=1e-6)
    known = streams.known_seconds(str(path))
    assert known == (pytest.approx(decoded) if suffix in audio_files.SOUNDFILE else None)


def test_what_is_no_audio_has_no_length(tmp_path):
    (tmp_path / "a.wav").write_text("not audio")
    for name, message in (("a.wav", "libsndfile: .*; FFmpeg: "), ("missing.wav", "no such file")):
        with pytest.raises(decoding.AudioError, match=message):
            streams.seconds(str(tmp_path / name))
        assert streams.known_seconds(str(tmp_path / name)) is None


def test_unusable_files_are_told(tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    audio_files.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    not_numbers = audio_files.melody(30, 16_000)
    not_numbers[20 * 16_000] = np.nan
    audio_files.write(tmp_path / "nan.wav", not_numbers, 16_000, "FLOAT")
    audio_files.write(tmp_path / "click.wav", np.ones(1) / 2, 192_000)  # no sample at 16 kHz
    for name, message in (
        ("text.wav", "libsndfile: .*; FFmpeg: "),
        ("empty.wav", "no audio in the file"),
        ("click.wav", "no audio in the file"),
        ("missing.wav", "no such file"),
        ("nan.wav", "to NaN"),
    ):
        with pytest.raises(decoding.AudioError, match=message):
            list(streams.blocks(str(tmp_path / name)))
