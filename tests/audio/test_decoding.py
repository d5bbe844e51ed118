"""Decoding: real files of every container, against the signals that were written into them."""

import math
import struct

import numpy as np
import pytest
import soundfile

from audioset_strong.audio import decoding, pcm, readers
from tests.audio_files import PYAV, SOUNDFILE, lag, melody, snr_db, tone, write
from tests.broken_audio import pcm16, wav
from tests.optional import needs_tensorflow_io

RATE = 16_000
LOSSLESS = (".wav", ".flac", ".aiff", ".mkv")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """24 s of stereo in each container."""
    folder = tmp_path_factory.mktemp("videos")
    paths = {}
    for extension in (*SOUNDFILE, *PYAV):
        rate = {".opus": 48_000, ".webm": 48_000, ".aac": 32_000}.get(extension, 44_100)
        left = melody(24, rate)
        paths[extension] = write(folder / f"x{extension}", np.stack([left, left / 2], 1), rate)
    return paths


@pytest.mark.parametrize("extension", [*SOUNDFILE, *PYAV])
def test_every_container_decodes_to_the_sound_that_was_written(videos, extension):
    got = decoding.load(str(videos[extension]))
    want = 0.75 * melody(24, RATE)  # the mean of the channels
    assert got.dtype == np.float32
    assert got.ndim == 1
    assert len(got) == pytest.approx(24 * RATE, abs=0.04 * RATE)
    shift = lag(got, want)
    # A bare AAC stream does not tell how much its encoder put before the sound.
    assert 0 <= shift <= (0.04 * RATE if extension == ".aac" else 0)
    assert snr_db(got[shift:], want) > (50 if extension in LOSSLESS else 20)


@pytest.mark.parametrize("extension", [*SOUNDFILE, *PYAV])
@pytest.mark.parametrize("contents", [decoding.VIDEO, decoding.EITHER])
def test_a_clip_is_cut_out_of_a_video_at_its_start(videos, extension, contents):
    got = decoding.load(
        str(videos[extension]), RATE, start_s=12.5, duration_s=10.0, contents=contents
    )
    want = 0.75 * melody(24, RATE)[round(12.5 * RATE) :][: 10 * RATE]
    assert len(got) == 10 * RATE
    # Matroska times have a resolution of 1 ms.
    assert abs(lag(got, want)) <= (0.04 * RATE if extension == ".aac" else 0.001 * RATE)


def test_the_end_of_a_video_may_cut_a_clip_short(videos):
    for extension in (".wav", ".m4a", ".webm"):
        got = decoding.load(str(videos[extension]), RATE, start_s=19.0, duration_s=10.0)
        assert len(got) == pytest.approx(5 * RATE, abs=0.04 * RATE)
        with pytest.raises(decoding.AudioError, match=r"24\.\d* s of audio, but .* begins at 25 s"):
            decoding.load(str(videos[extension]), RATE, start_s=25.0, duration_s=10.0)


def test_a_webm_without_a_length_in_its_header_is_measured(tmp_path):
    path = write(tmp_path / "live.webm", melody(40, 48_000), 48_000, live="1")
    got = decoding.load(str(path), RATE, start_s=25.0, duration_s=10.0, contents=decoding.EITHER)
    want = melody(40, RATE)[25 * RATE : 35 * RATE]
    assert abs(lag(got, want)) <= 0.001 * RATE


def test_a_file_about_as_long_as_the_clip_is_the_clip(tmp_path):
    for extension in (".wav", ".m4a"):
        path = str(write(tmp_path / f"x{extension}", melody(10.5, RATE), RATE))
        got = decoding.load(path, RATE, start_s=30.0, duration_s=10.0, contents=decoding.EITHER)
        assert lag(got, melody(10, RATE)) == 0
        assert len(got) == 10 * RATE
        # Longer than the clip, yet not long enough to be the video: it would be a guess.
        path = str(write(tmp_path / f"y{extension}", melody(12, RATE), RATE))
        with pytest.raises(decoding.AudioError, match="begins at 30 s") as raised:
            decoding.load(path, RATE, start_s=30.0, duration_s=10.0, contents=decoding.EITHER)
        assert raised.value.status == "too_short"
        # Its name tells that it contents the clip.
        assert (
            lag(
                decoding.load(path, RATE, start_s=30.0, duration_s=10.0, contents=decoding.CLIP),
                melody(10, RATE),
            )
            == 0
        )


def test_a_video_without_a_length_that_was_cut_off_is_not_taken_for_the_clip_in_silence(tmp_path):
    """Cut off at 6.5 s, nothing tells it from a clip of 6 s."""
    whole = pcm16(melody(20, RATE))
    path = tmp_path / "x.wav"
    settings = {"duration_s": 6.0, "min_seconds": 0.1, "sample_rate": RATE}
    for size, samples, told in (
        (0, whole[: int(6.5 * RATE)], True),
        (2 * 6 * RATE, whole[: 6 * RATE], False),  # the clip, and its header says so
        (0, whole, False),  # the video
    ):
        path.write_bytes(wav(samples, size))
        pcm, status, reason = decoding.decode_clip(
            str(path), decoding.EITHER, start_s=8.0, **settings
        )
        assert (len(pcm), status) == (6 * RATE, "written")
        assert ("it states no length" in reason) == told
        assert bool(reason) == told
    for contents, start_s in ((decoding.EITHER, 0.0), (decoding.CLIP, 8.0)):
        path.write_bytes(wav(whole[: 6 * RATE], 0))
        _, _, reason = decoding.decode_clip(str(path), contents, start_s=start_s, **settings)
        assert reason == ""


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_of_every_sample_format(tmp_path, subtype):
    path = write(tmp_path / "x.wav", melody(2, RATE), RATE, subtype)
    assert snr_db(decoding.load(str(path)), melody(2, RATE)) > (35 if subtype == "PCM_U8" else 80)


def test_pcm16_at_the_target_rate_comes_through_bit_by_bit(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 2 * RATE).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", samples, RATE)
    pcm, status, reason = decoding.decode_clip(
        str(tmp_path / "x.wav"),
        decoding.CLIP,
        start_s=0,
        duration_s=2,
        min_seconds=0.1,
        sample_rate=RATE,
    )
    assert (status, reason) == ("written", "")
    np.testing.assert_array_equal(pcm, samples)


@pytest.mark.parametrize("extension", ["wav", "flac", "aiff"])
def test_16_bits_are_the_floats_that_libsndfile_makes_of_them(tmp_path, extension):
    samples = np.random.default_rng(0).integers(-32768, 32768, (RATE, 2)).astype(np.int16)
    path = tmp_path / f"x.{extension}"
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    want, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(decoding.load(str(path), RATE), (want[:, 0] + want[:, 1]) / 2)
    want = want[RATE // 2 :]
    got = decoding.load(str(path), RATE, start_s=0.5, duration_s=10.0)
    np.testing.assert_array_equal(got, (want[:, 0] + want[:, 1]) / 2)


SAFE = [("wav", "PCM_16"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")]
LEFT = [
    ("wav", "PCM_24"),
    ("wav", "PCM_32"),
    ("wav", "FLOAT"),
    ("flac", "PCM_16"),
    ("opus", "OPUS"),
]


@needs_tensorflow_io
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("extension", "subtype"), SAFE + LEFT)
def test_tensorflow_io_decodes_to_the_same_samples(tmp_path, extension, subtype, channels):
    rate = 48_000 if extension == "opus" else 44_100
    sound = np.stack([melody(3, rate, i) for i in range(channels)], 1)
    path = str(write(tmp_path / f"x.{extension}", sound, rate, subtype))
    for part in ((0.0, None), (1.25, 1.0), (2.5, 10.0)):
        want = decoding.load(path, rate, start_s=part[0], duration_s=part[1])
        got = decoding.load(
            path, rate, start_s=part[0], duration_s=part[1], decoder=decoding.TENSORFLOW_IO
        )
        np.testing.assert_allclose(got, want, atol=1e-5)
        decode = decoding._tensorflow_io_blocks  # what is not safe is not tried
        audio = readers.AudioFile(path)
        end_s = part[0] + (part[1] or math.inf)
        if (extension, subtype) in LEFT:
            with pytest.raises(ValueError, match=f"{subtype} is not decoded by"):
                list(decode(audio, part[0], end_s))
        else:
            (block,) = decode(audio, part[0], end_s)
            assert block.samples.shape == (len(want), channels)


@needs_tensorflow_io
def test_what_tensorflow_io_refuses_the_others_decode(tmp_path):
    whole = write(tmp_path / "x.wav", melody(3, RATE), RATE).read_bytes()
    (tmp_path / "x.wav").write_bytes(whole[: 44 + 2 * RATE])
    write(tmp_path / "x.m4a", melody(3, RATE), RATE)
    (tmp_path / "x.mp3").write_bytes(b"no sound" * 1000)
    for name, seconds in (("x.wav", 1), ("x.m4a", 3)):
        path = str(tmp_path / name)
        got = decoding.load(path, decoder=decoding.TENSORFLOW_IO)
        np.testing.assert_array_equal(got, decoding.load(path))
        assert len(got) == pytest.approx(seconds * RATE, abs=0.1 * RATE)
    with pytest.raises(decoding.AudioError, match=r"^libsndfile: .*; FFmpeg: "):
        decoding.load(str(tmp_path / "x.mp3"), decoder=decoding.TENSORFLOW_IO)


def test_full_scale_is_clipped_not_wrapped():
    got = pcm.from_float(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0], np.float32))
    np.testing.assert_array_equal(got, [-32768, -32768, 0, 16384, 32767, 32767])


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged(tmp_path, channels):
    frequencies = 300 + 250 * np.arange(channels)
    waveform = np.stack([tone(f, 1, RATE) for f in frequencies], 1)
    path = write(tmp_path / "x.wav", waveform, RATE, "FLOAT")
    np.testing.assert_allclose(decoding.load(str(path)), waveform.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000])
def test_any_rate_becomes_16_khz(tmp_path, rate):
    path = write(tmp_path / "x.wav", tone(700, 2, rate), rate, "FLOAT")
    got = decoding.load(str(path))
    assert len(got) == 2 * RATE
    inner = slice(RATE // 4, -RATE // 4)  # off the ends, where the tone begins and stops
    np.testing.assert_allclose(got[inner], tone(700, 2, RATE)[inner], atol=2e-4)


def level_db(waveform, frequency):
    """Of one frequency, against full scale; the window keeps others 90 dB away."""
    window = np.blackman(len(waveform))
    spin = np.exp(-2j * np.pi * frequency * np.arange(len(waveform)) / RATE)
    return 20 * np.log10(2 * abs(np.sum(waveform * window * spin)) / np.sum(window) + 1e-12)


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 48000, 96000, 192000])
def test_resampling_keeps_the_pass_band_and_rejects_aliases(tmp_path, rate):
    inside = np.array([50, 200, 1000, 3000, 5000, 6500, 7200])
    outside = np.array([8137, 9411, 10877, 12233, 15555, 20011, 41003, 77500])
    outside = outside[outside < rate / 2]
    levels = np.array([0.05] * len(inside) + [0.1] * len(outside))
    waveform = sum(tone(f, 2, rate, a) for f, a in zip([*inside, *outside], levels, strict=True))
    got = decoding.load(str(write(tmp_path / "x.wav", waveform, rate, "FLOAT")))
    for frequency in inside:
        assert level_db(got, frequency) == pytest.approx(20 * np.log10(0.05), abs=0.1)
    for frequency in outside:
        alias = abs((frequency + RATE / 2) % RATE - RATE / 2)
        assert level_db(got, alias) < 20 * np.log10(0.1) - 80


def _float_wav(samples):
    body = np.asarray(samples, "<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, RATE, RATE * 4, 4, 32)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def test_damaged_files_are_told_from_sound(tmp_path):
    good = write(tmp_path / "good.wav", melody(3, RATE), RATE).read_bytes()
    noise = np.random.default_rng(0).bytes(50_000)
    claims_more = bytearray(good)
    claims_more[4:8] = claims_more[40:44] = b"\xff\xff\xff\xff"  # as FFmpeg writes to a pipe
    cases = {
        "empty.wav": (b"", "undecodable", ""),
        "noise.wav": (noise, "undecodable", ""),
        "noise.m4a": (noise, "undecodable", ""),
        "text.mp4": (b"<html>This video is not available</html>" * 100, "undecodable", ""),
        "header.wav": (good[:44], "too_short", "no audio in the file"),
        "half_header.wav": (good[:20], "undecodable", ""),
        "short.wav": (good[: 44 + 2 * 1000], "too_short", "0.062 s of audio"),
        "zeros.wav": (good[:44] + bytes(len(good) - 44), "silent", "nothing but zeros"),
        "cut.wav": (good[: 44 + 2 * RATE], "written", "ends after 1.000 of 3 s"),
        "claims_more.wav": (bytes(claims_more), "written", ""),
        "nan.wav": (_float_wav([0.1, np.nan] * RATE), "undecodable", "beyond 64, or to NaN"),
        "inf.wav": (_float_wav([0.1, np.inf] * RATE), "undecodable", "beyond 64, or to NaN"),
        "huge.wav": (_float_wav([0.1, 1e20] * RATE), "undecodable", "samples beyond 64, or to NaN"),
        "loud.wav": (_float_wav([2.0, -2.0] * RATE), "written", "ends after 2.000 of 3 s"),
        "rate.wav": (good[:24] + struct.pack("<I", 7) + good[28:], "undecodable", "rate of 7 Hz"),
        "flac.wav": (
            write(tmp_path / "good.flac", melody(3, RATE), RATE).read_bytes(),
            "written",
            "",
        ),
        "m4a.wav": (
            write(tmp_path / "good.m4a", melody(3, RATE), RATE).read_bytes(),
            "written",
            "",
        ),
    }
    for name, (content, status, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        pcm, got, words = decoding.decode_clip(
            str(tmp_path / name),
            decoding.CLIP,
            start_s=0,
            duration_s=3,
            min_seconds=0.1,
            sample_rate=RATE,
        )
        assert (name, got) == (name, status)
        assert reason in words
        assert bool(words) == (status != "written" or bool(reason)), name
        assert "\n" not in words
        assert bool(len(pcm)) == (status == "written")


def test_a_flac_header_that_claims_days_is_not_believed(tmp_path):
    path = write(tmp_path / "x.flac", melody(1, RATE), RATE)
    content = bytearray(path.read_bytes())
    # STREAMINFO: the lower 36 bits of bytes 18 to 25 are the number of samples.
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    got = decoding.load(str(path), duration_s=10.0)
    assert len(got) == RATE
    assert snr_db(got, melody(1, RATE)) > 50


def test_a_video_without_sound_says_so(tmp_path):
    import av

    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with pytest.raises(decoding.AudioError, match="no audio stream"):
        decoding.load(str(tmp_path / "x.mp4"))


@pytest.mark.parametrize("name", ["a:b.m4a", "-x.m4a", "concat:x.m4a", "with space #%20.m4a"])
def test_odd_names_are_names(tmp_path, monkeypatch, name):
    write(tmp_path / "x.m4a", melody(1, RATE), RATE).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert lag(decoding.load(name), melody(1, RATE)) == 0


def test_files_of_other_file_systems_are_read_through_gfile(tmp_path):
    for extension in (".wav", ".m4a"):
        path = write(tmp_path / f"x{extension}", melody(40, RATE), RATE)
        got = decoding.load(f"file://{path}", RATE, start_s=20.0, duration_s=10.0)
        np.testing.assert_array_equal(
            got, decoding.load(str(path), RATE, start_s=20.0, duration_s=10.0)
        )
