"""The record: what is written is what is read, in Python and in the graph."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.records import clip_records, shard_reading, window_cutting

OF_AUDIO = ("pcm16", "flac")
LABELS = st.lists(st.integers(0, 600), max_size=5).map(tuple)
SEGMENTS = st.lists(
    st.tuples(st.integers(0, 9_999), st.integers(1, 10_000), st.integers(0, 600)), max_size=5
).map(tuple)
CLIPS = st.builds(
    clip_records.Clip,
    clip_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    audio=st.lists(st.integers(-32768, 32767), min_size=1, max_size=50).map(
        lambda samples: np.array(samples, np.int16)
    ),
    sample_rate=st.sampled_from([8000, 16000, 44100]),
    weak_labels=st.none() | LABELS,
    segments=st.none() | SEGMENTS,
    negatives=st.none() | LABELS,
)


def assert_same(got, want):
    np.testing.assert_array_equal(got.audio, want.audio)
    assert got.audio.dtype == np.int16
    silent = {"audio": np.zeros(0, np.int16)}
    assert repr(dataclasses.replace(got, **silent)) == repr(dataclasses.replace(want, **silent))


def make(clip_id="abc_30000", samples=4000, seed=0, **labels):
    audio = np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)
    return clip_records.Clip(clip_id, audio, 16_000, **labels)


@settings(max_examples=200, deadline=None)
@given(clip=CLIPS, encoding=st.sampled_from(OF_AUDIO))
def test_a_clip_comes_back_from_its_record(clip, encoding):
    record = clip_records.serialize(clip, encoding)
    assert_same(clip_records.deserialize(record, encoding), clip)
    copy = dataclasses.replace(clip, audio=clip.audio.copy())
    assert clip_records.serialize(copy, encoding) == record


def test_a_record_is_an_example_of_these_features():
    clip = clip_records.Clip(
        "-bc_0", np.array([1, -2, 300], np.int16), 16_000, (4, 5), ((0, 10, 6), (5, 9, 7)), None
    )
    features = tf.train.Example.FromString(clip_records.serialize(clip)).features.feature
    found = {
        name: list(feature.bytes_list.value) or list(feature.int64_list.value)
        for name, feature in features.items()
    }
    # Whoever changes this changes SCHEMA_VERSION too: datasets of this version are out there.
    assert clip_records.SCHEMA_VERSION == 1
    assert found == {
        "clip_id": [b"-bc_0"],
        "audio": [b"\x01\x00\xfe\xff\x2c\x01"],
        "sample_rate": [16_000],
        "num_samples": [3],
        "weak/labels": [4, 5],
        "weak/known": [1],
        "strong/start_ms": [0, 5],
        "strong/end_ms": [10, 9],
        "strong/label": [6, 7],
        "strong/known": [1],
        "negatives/labels": [],
        "negatives/known": [0],
    }


@pytest.mark.parametrize("encoding", OF_AUDIO)
def test_the_graph_reads_what_python_wrote(encoding):
    clips = [
        make("a_0", 5000, 1, weak_labels=(1, 2), segments=((10, 20, 3),), negatives=()),
        make("b_0", 3000, 2, weak_labels=None, segments=(), negatives=(4, 5, 6)),
        make("c_0", 4000, 3, weak_labels=(), segments=None, negatives=None),
    ]
    records = tf.constant([clip_records.serialize(clip, encoding) for clip in clips])
    parsed = tf.function(clip_records.parse)(records)
    assert parsed["clip_id"].numpy().tolist() == [b"a_0", b"b_0", b"c_0"]
    assert parsed["num_samples"].numpy().tolist() == [5000, 3000, 4000]
    assert parsed["weak_labels"].to_list() == [[1, 2], [], []]
    assert parsed["weak_known"].numpy().tolist() == [True, False, True]
    assert parsed["segment_start_ms"].to_list() == [[10], [], []]
    assert parsed["segment_end_ms"].to_list() == [[20], [], []]
    assert parsed["segment_label"].to_list() == [[3], [], []]
    assert parsed["strong_known"].numpy().tolist() == [True, True, False]
    assert parsed["negatives"].to_list() == [[], [4, 5, 6], []]
    assert parsed["negatives_known"].numpy().tolist() == [True, True, False]

    @tf.function
    def crop(start):
        return window_cutting.crop(parsed, start, samples=1500, encoding=encoding)

    for starts in ([0, 0, 0], [3500, 1500, 2500], [4999, 2000, 3999], [4000, 2999, 17]):
        got = crop(tf.constant(starts, tf.int64)).numpy()
        assert got.dtype == np.int16
        for window, clip, start in zip(got, clips, starts, strict=True):
            want = np.zeros(1500, np.int16)
            piece = clip.audio[start : start + 1500]
            want[: len(piece)] = piece
            np.testing.assert_array_equal(window, want)


def test_flac_records_are_smaller():
    time = np.arange(160_000) / 16_000
    audio = (8000 * np.sin(2 * np.pi * 440 * time) * np.sin(time)).astype(np.int16)
    clip = clip_records.Clip("a_0", audio, 16_000)
    assert len(clip_records.serialize(clip, "flac")) < 0.65 * len(clip_records.serialize(clip))


def loud(samples, seed=0):
    """The loudest there is in one band, a full-scale tone, with noise and silence behind it."""
    audio = 32767 * np.cos(2 * np.pi * 1000 / 16_000 * np.arange(samples))
    audio[samples // 3 :] = np.random.default_rng(seed).integers(
        -32768, 32767, len(audio[samples // 3 :])
    )
    audio[samples // 2 :] = 0
    audio[-samples // 4 :] = np.random.default_rng(seed).normal(size=len(audio[-samples // 4 :]))
    return audio.astype(np.int16)


# Of whole frames, with a few samples more, of less than a window, of a single sample.
LENGTHS = (16_000, 16_007, 399, 1)


def log_mel_records():
    clips = [
        clip_records.Clip(f"clip{i}_0", loud(n, i), 16_000, (i,), ((0, 5, 1),), None)
        for i, n in enumerate(LENGTHS)
    ]
    return clips, [clip_records.serialize(clip, "log_mel") for clip in clips]


def test_log_mel_records_hold_the_front_ends_values_to_two_thousandths():
    clips, records = log_mel_records()
    for clip, record in zip(clips, records, strict=True):
        got = clip_records.deserialize(record, "log_mel")
        frames = -(-len(clip.audio) // 160)
        padded = np.zeros(160 * (frames - 1) + 400, np.float32)
        padded[: len(clip.audio)] = clip.audio / 32768
        want = features.log_mel(padded).numpy()
        assert got.log_mel.values.dtype == np.float16
        assert got.log_mel.values.shape == want.shape == (frames, 64)
        # float16 has 11 bits, and no value is beyond 8.
        assert np.abs(got.log_mel.values - want).max() <= 2**-9 < 0.002
        assert (got.num_samples, got.seconds) == (clip.num_samples, clip.seconds)
        assert len(got.audio) == 0
        assert clip_records.serialize(got, "log_mel") == record
        assert_same(dataclasses.replace(got, audio=clip.audio, log_mel=None), clip)


def test_a_window_of_log_mel_is_that_of_the_same_window_of_samples():
    clips, records = log_mel_records()
    parsed = clip_records.parse(tf.constant(records))
    assert parsed["num_samples"].numpy().tolist() == list(LENGTHS)
    samples = clip_records.parse(tf.constant([clip_records.serialize(clip) for clip in clips]))

    @tf.function
    def crop(start):
        return window_cutting.crop_log_mel(parsed, start, stft_frames=20)

    for starts in ([0, 0, 0, 0], [33, 50, 1, 0], [99, 100, 2, 0]):
        start = tf.constant(starts, tf.int64)
        got = crop(start).numpy()
        want = features.log_mel(
            tf.cast(window_cutting.crop(samples, 160 * start, samples=160 * 19 + 400), tf.float32)
            / 32768
        )
        assert got.shape == (4, 20, 64)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=0.002)
        for window, begin, length in zip(got, starts, LENGTHS, strict=True):
            behind = window[-(-length // 160) - begin :]
            np.testing.assert_allclose(behind, np.log(0.01), rtol=1e-6)


def test_log_mel_records_are_smaller_and_have_no_audio():
    _, (record, *_) = log_mel_records()
    assert len(record) < 0.41 * 2 * LENGTHS[0]
    kept = clip_records.deserialize(record, "log_mel")
    for encoding in OF_AUDIO:
        with pytest.raises(errors.InputError, match=f"clip0_0: kept as log-mel, .* {encoding}"):
            clip_records.serialize(kept, encoding)
    with pytest.raises(errors.InputError, match="no audio can be cut out"):
        window_cutting.crop(
            clip_records.parse(tf.constant([record])),
            tf.zeros([1], tf.int64),
            samples=9,
            encoding="log_mel",
        )
    with pytest.raises(
        errors.InputError, match=r"abc_0: audio of 8000 Hz, but .* sample rate is 16000 Hz"
    ):
        clip_records.serialize(clip_records.Clip("abc_0", np.zeros(9, np.int16), 8000), "log_mel")


@pytest.mark.parametrize(
    "front_end",
    [
        features.FrontEnd(hop_samples=320, num_bands=32, offset=1e-4),
        features.FrontEnd(sample_rate=32_000, window_samples=800, hop_samples=320, fft_length=1024),
        features.FrontEnd(window_samples=100, hop_samples=160),
    ],
    ids=["other patches", "other rate", "window below hop"],
)
def test_log_mel_of_another_front_end_is_that_front_ends(front_end):
    hop, bands = front_end.hop_samples, front_end.num_bands
    clips = [
        clip_records.Clip(f"clip{i}_0", loud(n, i), front_end.sample_rate)
        for i, n in enumerate(LENGTHS)
    ]
    records = [clip_records.serialize(clip, "log_mel", front_end=front_end) for clip in clips]
    for clip, record in zip(clips, records, strict=True):
        got = clip_records.deserialize(record, "log_mel", front_end=front_end).log_mel
        assert got.front_end == front_end
        assert got.values.shape == (-(-clip.num_samples // hop), bands)
        kept = dataclasses.replace(clip, log_mel=got)
        with pytest.raises(errors.InputError, match="its log-mel was made with"):
            clip_records.serialize(kept, "log_mel")
    with pytest.raises(errors.InputError, match=r"STFT frames instead of|cannot reshape"):
        clip_records.deserialize(
            records[0], "log_mel", front_end=features.FrontEnd(num_bands=24, hop_samples=80)
        )
    start = tf.constant([len(clip.audio) // hop // 2 for clip in clips], tf.int64)
    parsed = clip_records.parse(tf.constant(records))
    got = window_cutting.crop_log_mel(parsed, start, stft_frames=20, front_end=front_end).numpy()
    audio = clip_records.parse(tf.constant([clip_records.serialize(clip) for clip in clips]))
    samples = hop * 19 + front_end.window_samples
    window = window_cutting.crop(audio, hop * start, samples=samples)
    want = features.log_mel(tf.cast(window, tf.float32) / 32768, front_end).numpy()
    assert got.shape == (4, 20, bands)
    np.testing.assert_allclose(got, want, atol=0.008)
    np.testing.assert_allclose(got[-1, -1], np.log(front_end.offset), rtol=1e-6)


def test_what_is_no_clip_cannot_be_written():
    for audio in (np.zeros(9, np.float32), np.zeros((9, 2), np.int16), np.zeros(9, np.int32)):
        with pytest.raises(errors.InputError, match=r"abc_0: audio must be int16 \[samples\]"):
            clip_records.serialize(clip_records.Clip("abc_0", audio, 16_000))
    with pytest.raises(errors.InputError, match="encoding 'mp3': must be one of pcm16, flac"):
        clip_records.serialize(make(), "mp3")


def _without(feature):
    example = tf.train.Example.FromString(clip_records.serialize(make(weak_labels=(1,))))
    del example.features.feature[feature]
    return example.SerializeToString()


@pytest.mark.parametrize(
    ("record", "encoding"),
    [
        (b"", "pcm16"),
        (b"\xff\xfe no protocol buffer", "pcm16"),
        (tf.train.Example().SerializeToString(), "pcm16"),
        (_without("strong/known"), "pcm16"),
        (_without("num_samples"), "pcm16"),
        (_without("audio"), "pcm16"),
        (clip_records.serialize(make()), "flac"),
        (clip_records.serialize(make(), "flac"), "pcm16"),
        (clip_records.serialize(make()), "log_mel"),
        (clip_records.serialize(make(), "log_mel"), "pcm16"),
    ],
)
def test_what_is_no_clip_cannot_be_read(record, encoding):
    with pytest.raises(errors.InputError):
        clip_records.deserialize(record, encoding)


@pytest.fixture
def shard(tmp_path):
    clips = [make(f"clip{i}_0", seed=i, weak_labels=(i,)) for i in range(5)]
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for clip in clips:
            writer.write(clip_records.serialize(clip))
    return path, clips


def test_a_shard_gives_its_clips_in_order(shard):
    path, clips = shard
    for got, want in zip(shard_reading.read_clips(str(path)), clips, strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("prefix", ["", "file://"])  # as remote ones are, by way of a buffer
def test_a_damaged_shard_gives_the_clips_before_the_damage_and_then_an_error(shard, prefix):
    path, clips = shard
    good = path.read_bytes()
    size = len(good) // 5
    flipped = bytearray(good)
    flipped[2 * size + 1000] ^= 1  # one bit of the third record's audio
    for content, whole in ((bytes(flipped), 2), (good[: 4 * size - 7], 3), (bytes(99), 0)):
        path.write_bytes(content)
        read = []
        with pytest.raises(errors.InputError, match=f"{path}: unreadable after {whole} records"):
            read.extend(clip.clip_id for clip in shard_reading.read_clips(f"{prefix}{path}"))
        assert read == [clip.clip_id for clip in clips[:whole]]


def test_records_of_something_else_are_named(tmp_path):
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(clip_records.serialize(make()))
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(errors.InputError, match=f"{path}, record 1: not a clip record"):
        list(shard_reading.read_clips(str(path)))
    with pytest.raises(errors.InputError, match=r"nowhere\.tfrecord: unreadable after 0 records"):
        list(shard_reading.read_clips(str(tmp_path / "nowhere.tfrecord")))


@pytest.mark.parametrize(
    "num_samples",
    # Around every length at which a header of the record grows by a byte.
    [
        *range(3),
        40,
        *range(50, 66),
        *range(8100, 8201, 10),
        160_000,
        *range(1_048_480, 1_048_590, 10),
    ],
)
def test_samples_are_cut_out_of_records_of_every_length(num_samples):
    rng = np.random.default_rng(num_samples)
    clips = [
        clip_records.Clip(
            f"video_{'0' * extra}",
            rng.integers(-32768, 32768, num_samples).astype(np.int16),
            16_000,
            weak_labels=tuple(range(extra)),
        )
        for extra in (1, 17, 60)
    ]
    parsed = clip_records.parse(tf.constant([clip_records.serialize(clip) for clip in clips]))
    start = num_samples // 3
    cut = window_cutting.crop(
        parsed, tf.fill([3], tf.constant(start, tf.int64)), samples=100
    ).numpy()
    for got, clip in zip(cut, clips, strict=True):
        wanted = clip.audio[start : start + 100]
        np.testing.assert_array_equal(got, np.pad(wanted, (0, 100 - len(wanted))))


def test_a_record_of_another_layout_is_refused_where_samples_are_cut_out():
    clip = clip_records.Clip("video_0", np.zeros(100, np.int16), 16_000)
    example = tf.train.Example.FromString(clip_records.serialize(clip))
    example.features.feature["aaa"].int64_list.value.append(1)  # now the first field
    record = example.SerializeToString(deterministic=True)
    parsed = clip_records.parse(tf.constant([record]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a record of this version"):
        window_cutting.crop(parsed, tf.constant([0], tf.int64), samples=10)
