"""Block-wise decoding gives the samples of whole-file decoding, whatever the format."""

import numpy as np
import pytest
import soundfile

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
    assert abs(len(joined) - len(whole)) <= 1
    length = min(len(joined), len(whole))
    np.testing.assert_allclose(joined[:length], whole[:length], atol=1e-5)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".m4a", ".webm"])
def test_the_header_tells_the_length(tmp_path, suffix):
    path = audio_files.write(tmp_path / f"a{suffix}", audio_files.melody(7.3, 48_000), 48_000)
    assert streams.seconds(str(path)) == pytest.approx(7.3, abs=0.1)


def test_what_is_no_audio_has_no_length(tmp_path):
    (tmp_path / "a.wav").write_text("not audio")
    assert streams.seconds(str(tmp_path / "a.wav")) is None
    assert streams.seconds(str(tmp_path / "missing.wav")) is None


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


def test_a_decoder_that_fails_further_on_is_told_with_the_time(tmp_path, monkeypatch):
    path = audio_files.write(tmp_path / "a.wav", audio_files.melody(25, 16_000), 16_000)
    read = soundfile.SoundFile.read

    def fails_at_20_s(file, *arguments, **options):
        if file.tell() >= 20 * 16_000:
            raise RuntimeError("lost sync")
        return read(file, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", fails_at_20_s)
    blocks = streams.blocks(str(path))
    assert sum(len(next(blocks)) for _ in range(2)) == 20 * 16_000
    with pytest.raises(
        decoding.AudioError, match=r"damaged after 20.0 s \(libsndfile: lost sync\)"
    ):
        next(blocks)
