"""Files whose headers do not tell, or do not know, how long they are: every sample at its time."""

import fractions
import struct

import av
import numpy as np
import pytest
import soundfile

from audioset_strong.audio import decoding, readers, streams
from tests import audio_files
from tests.audio_files import lag, melody, snr_db, write
from tests.broken_audio import broken_headers, pcm16

RATE = 16_000


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    made = {}
    for name, content, sound, quality in broken_headers(folder):
        (folder / name).write_bytes(content)
        made[name] = (str(folder / name), sound, quality)
    return made


NAMES = (
    *("pipe.flac", "pipe.wav", "no_size.wav", "small_size.wav", "rf64.wav", "rf64_no_size.wav"),
    *("no_header.mp3", "joined.mp3", "chained.ogg", "joined.flac", "chained.opus"),
)


@pytest.mark.parametrize("name", NAMES)
def test_all_of_the_sound_is_decoded_whatever_the_header_says(kinds, name):
    path, sound, quality = kinds[name]
    whole = decoding.load(path)
    assert len(whole) == pytest.approx(len(sound), abs=0.13 * RATE)
    for begin, end in ((1, 9), (11, 19)):
        part = slice(begin * RATE, end * RATE)
        shift = lag(whole[part], sound[part])
        assert abs(shift) <= 0.12 * RATE  # the codecs' own delays, once for each of two streams
        shifted = whole[part.start + shift : part.stop + shift]
        assert snr_db(shifted, sound[part]) > quality
    assert streams.seconds(path) == pytest.approx(len(whole) / RATE, abs=1e-4)
    np.testing.assert_array_equal(np.concatenate(list(streams.blocks(path))), whole)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("contents", [decoding.VIDEO, decoding.EITHER])
def test_a_clip_is_cut_at_its_time_whatever_the_header_says(kinds, name, contents):
    path, _, _ = kinds[name]
    whole = decoding.load(path)
    clip = decoding.load(path, start_s=8.0, duration_s=10.0, contents=contents)
    assert len(clip) == 10 * RATE
    inside = slice(RATE // 10, -RATE // 10)  # off the edges, where the resampler sees silence
    want = whole[8 * RATE : 18 * RATE]
    np.testing.assert_allclose(clip[inside], want[inside], atol=2e-3)
    with pytest.raises(decoding.AudioError, match=r"s of audio, but the clip begins at 30 s"):
        decoding.load(path, start_s=30.0, duration_s=10.0)


@pytest.mark.parametrize("first", ["mono", "stereo"])
def test_channels_that_change_in_mid_stream(tmp_path, first):
    mono, left = melody(5, RATE, 1), melody(5, RATE, 2)
    parts = {
        "mono": write(tmp_path / "mono.aac", mono, RATE).read_bytes(),
        "stereo": write(tmp_path / "stereo.aac", np.stack([left, left / 2], 1), RATE).read_bytes(),
    }
    order = ["mono", "stereo"] if first == "mono" else ["stereo", "mono"]
    (tmp_path / "x.aac").write_bytes(b"".join(parts[name] for name in order))
    whole = decoding.load(str(tmp_path / "x.aac"))
    np.testing.assert_array_equal(
        np.concatenate(list(streams.blocks(str(tmp_path / "x.aac")))), whole
    )
    want = {"mono": mono, "stereo": 0.75 * left}
    half = len(whole) // 2
    for name, got in zip(order, (whole[:half], whole[half:]), strict=True):
        shift = lag(got, want[name])
        assert snr_db(got[shift : shift + 4 * RATE], want[name][: 4 * RATE]) > 15


@pytest.mark.parametrize("extension", ["aac", "mp3"])
def test_a_sample_rate_that_changes_in_mid_stream(tmp_path, extension):
    rates = (44_100, 32_000)
    halves = [
        write(tmp_path / f"{rate}.{extension}", melody(5, rate, rate), rate).read_bytes()
        for rate in rates
    ]
    path = tmp_path / f"x.{extension}"
    path.write_bytes(b"".join(halves))
    whole = decoding.load(str(path))
    np.testing.assert_array_equal(np.concatenate(list(streams.blocks(str(path)))), whole)
    assert len(whole) == pytest.approx(10 * RATE, abs=0.2 * RATE)
    for i, rate in enumerate(rates):
        got = whole[5 * i * RATE :][: 4 * RATE]
        want = melody(5, RATE, rate)[: 4 * RATE]
        shift = lag(got, want)
        assert 0 <= shift <= 0.2 * RATE
        assert snr_db(got[shift:], want) > 6  # half a sample off, at most


def test_what_ffmpeg_cannot_follow_is_told(tmp_path):
    parts = [write(tmp_path / f"{r}.ogg", melody(5, r), r).read_bytes() for r in (44_100, 22_050)]
    (tmp_path / "x.ogg").write_bytes(b"".join(parts))
    audio = readers.AudioFile(str(tmp_path / "x.ogg"))
    assert sum(len(block.samples) for block in audio.blocks()) == 5 * 44_100
    assert audio.damage.startswith("at 5.000 s: damaged (")


def late(path, seconds, start_s, codec, *, pictures):
    """A container whose sound begins late."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        if pictures:
            video = container.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        stream = container.add_stream(codec, rate=rate, layout="mono")
        for _ in range(int(10 * (seconds + start_s)) * pictures):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            container.mux(video.encode(picture))
        if pictures:
            container.mux(video.encode(None))
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        samples = melody(seconds, rate)[np.newaxis].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate, frame.time_base = rate, fractions.Fraction(1, rate)
        frame.pts = round(start_s * rate)
        for given in (*resampler.resample(frame), None):
            container.mux(stream.encode(given))
    return str(path)


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize(("extension", "codec"), [("mp4", "aac"), ("mkv", "flac"), ("mkv", "aac")])
def test_sound_that_begins_late_keeps_its_time(tmp_path, extension, codec, pictures):
    path = late(tmp_path / f"x.{extension}", 20, 2.0, codec, pictures=pictures)
    want = np.concatenate([np.zeros(2 * RATE), melody(20, RATE)])
    whole = decoding.load(path)
    np.testing.assert_array_equal(np.concatenate(list(streams.blocks(path))), whole)
    for got, begin in (
        (whole, 0),
        (decoding.load(path, start_s=8.0, duration_s=10.0), 8),
        (decoding.load(path, start_s=0.0, duration_s=10.0), 0),
        (decoding.load(path, start_s=8.0, duration_s=10.0, contents=decoding.EITHER), 8),
    ):
        # Containers round times to 1 ms, and not all tell the encoder's delay.
        assert abs(lag(got, want[begin * RATE :][: len(got)])) <= 0.03 * RATE


def test_a_seek_gives_what_decoding_in_order_gives(tmp_path):
    path = str(write(tmp_path / "x.m4a", melody(60, 44_100), 44_100))
    whole = np.concatenate([block.samples for block in readers.AudioFile(path).blocks()])
    part = np.concatenate([block.samples for block in readers.AudioFile(path).blocks(41.0, 47.5)])
    want = whole[41 * 44_100 : round(47.5 * 44_100), 0]
    assert len(part) == len(want)
    # The AAC decoder fills in noise, which depends on what it decoded before.
    assert lag(part[:, 0], want) == 0
    assert snr_db(part[:, 0], want) > 20


@pytest.mark.parametrize("extension", [*audio_files.SOUNDFILE, ".aac", ".webm", ".mkv"])
def test_a_file_that_was_cut_off_keeps_its_good_part_and_says_so(tmp_path, extension):
    rate = 48_000 if extension in (".opus", ".webm") else 44_100
    content = write(tmp_path / f"whole{extension}", melody(12, rate), rate).read_bytes()
    path = tmp_path / f"x{extension}"
    path.write_bytes(content[: len(content) * 2 // 3])
    samples, status, reason = decoding.decode_clip(
        str(path),
        decoding.CLIP,
        start_s=0.0,
        duration_s=12.0,
        min_seconds=0.1,
        sample_rate=RATE,
    )
    assert status == "written"
    assert 5 < len(samples) / RATE < 8.5
    assert f"ends after {len(samples) / RATE:.3f} of 12 s (" in reason
    assert any(word in reason for word in ("cut off", "damaged"))
    length = len(samples) - RATE // 10
    got = samples[:length] / 32768
    shift = lag(got, melody(12, RATE)[:length])
    assert 0 <= shift <= 0.04 * RATE
    assert snr_db(got[shift:], melody(12, RATE)) > 8


@pytest.mark.parametrize("extension", [".flac", ".ogg", ".opus", ".mkv", ".webm"])
def test_what_follows_damage_keeps_its_time_where_timestamps_tell_it(tmp_path, extension):
    rate = 48_000 if extension in (".opus", ".webm") else 44_100
    content = bytearray(write(tmp_path / f"whole{extension}", melody(12, rate), rate).read_bytes())
    middle = len(content) // 2
    del content[middle : middle + 2000]
    path = tmp_path / f"x{extension}"
    path.write_bytes(content)
    audio = readers.AudioFile(str(path))
    list(audio.blocks())
    assert audio.damage
    got = decoding.load(str(path))
    shift = lag(got[10 * RATE : 11 * RATE], melody(12, RATE)[10 * RATE : 11 * RATE])
    assert abs(shift) <= 0.012 * RATE


@pytest.mark.parametrize("extension", [".mp3", ".aac"])
def test_where_nothing_tells_the_time_the_sound_ends_at_the_damage(tmp_path, extension):
    content = bytearray(
        write(tmp_path / f"whole{extension}", melody(12, 32_000), 32_000).read_bytes()
    )
    middle = len(content) // 2
    del content[middle : middle + 2000]
    path = tmp_path / f"x{extension}"
    path.write_bytes(content)
    got = decoding.load(str(path))
    assert 5.5 * RATE < len(got) < 6.5 * RATE
    with pytest.raises(decoding.AudioError, match=r"but the clip begins at 8 s \(at \d\.\d+ s: "):
        decoding.load(str(path), start_s=8.0, duration_s=4.0)


def test_aiff_samples_that_the_header_says_to_skip_are_no_later_part_in_silence(tmp_path):
    path = write(tmp_path / "a.aiff", melody(20, RATE, 3), RATE)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"SSND") + 8, 2 * RATE)  # one second
    path.write_bytes(data)
    with pytest.raises(decoding.AudioError, match="what follows has no known time"):
        decoding.load(str(path), start_s=8.0, duration_s=6.0)


def test_files_without_sound_say_so(tmp_path):
    for name in ("x.flac", "x.wav", "x.ogg"):
        soundfile.write(tmp_path / name, np.zeros(0), RATE)
        with pytest.raises(decoding.AudioError, match="no audio in the file"):
            decoding.load(str(tmp_path / name))


def test_wav_files_beyond_4_gib(tmp_path):
    """They are sparse: only their header and seconds of sound take room."""
    rate = 192_000
    sound = pcm16(np.stack([melody(3, rate)] * 8, 1)).astype("<i2").tobytes()
    seconds = 1500
    size = seconds * rate * 16
    assert size > 1 << 32
    form = struct.pack("<IHHIIHH", 16, 1, 8, rate, rate * 16, 16, 16)
    heads = {
        "rf64": b"RF64\xff\xff\xff\xffWAVEds64"
        + struct.pack("<IQQQI", 28, size + 72, size, size // 16, 0),
        "wrapped": b"RIFF" + struct.pack("<I", (size + 36) % (1 << 32)) + b"WAVE",
    }
    for kind, head in heads.items():
        claimed = 0xFFFFFFFF if kind == "rf64" else size % (1 << 32)
        head += b"fmt " + form + b"data" + struct.pack("<I", claimed)
        path = tmp_path / f"{kind}.wav"
        with open(path, "wb") as file:
            file.write(head)
            # Sound also follows the end that a wrapped size claims, behind more zeros than are
            # looked at in one go: to go through gigabytes of them would take a test too long.
            for begin in (size % (1 << 32) + (9 << 20), size - len(sound)):
                file.seek(len(head) + begin)
                file.write(sound)
        audio = readers.AudioFile(str(path))
        if kind == "rf64":
            assert audio.exact_s == seconds
            got = decoding.load(str(path), start_s=seconds - 3.0, duration_s=3.0)
            assert snr_db(got, melody(3, RATE)) > 40
        else:  # reading all of it would take a test too long
            assert audio.exact_s is None
            assert audio._structure("wav").to_the_end
