"""The record: what is written is what is read, in Python and in the graph."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_strong import errors
from audioset_strong.data import clip as clip_lib

LABELS = st.lists(st.integers(0, 600), max_size=5).map(tuple)
SEGMENTS = st.lists(
    st.tuples(st.integers(0, 9_999), st.integers(1, 10_000), st.integers(0, 600)), max_size=5
).map(tuple)
CLIPS = st.builds(
    clip_lib.Clip,
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
    return clip_lib.Clip(clip_id, audio, 16_000, **labels)


@settings(max_examples=200, deadline=None)
@given(clip=CLIPS, encoding=st.sampled_from(clip_lib.ENCODINGS))
def test_a_clip_comes_back_from_its_record(clip, encoding):
    record = clip_lib.serialize(clip, encoding)
    assert_same(clip_lib.deserialize(record, encoding), clip)
    copy = dataclasses.replace(clip, audio=clip.audio.copy())
    assert clip_lib.serialize(copy, encoding) == record


def test_a_record_is_an_example_of_these_features():
    clip = clip_lib.Clip(
        "-bc_0", np.array([1, -2, 300], np.int16), 16_000, (4, 5), ((0, 10, 6), (5, 9, 7)), None
    )
    features = tf.train.Example.FromString(clip_lib.serialize(clip)).features.feature
    found = {
        name: list(feature.bytes_list.value) or list(feature.int64_list.value)
        for name, feature in features.items()
    }
    # Whoever changes this changes SCHEMA_VERSION too: datasets of this version are out there.
    assert clip_lib.SCHEMA_VERSION == 1
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


@pytest.mark.parametrize("encoding", clip_lib.ENCODINGS)
def test_the_graph_reads_what_python_wrote(encoding):
    clips = [
        make("a_0", 5000, 1, weak_labels=(1, 2), segments=((10, 20, 3),), negatives=()),
        make("b_0", 3000, 2, weak_labels=None, segments=(), negatives=(4, 5, 6)),
        make("c_0", 4000, 3, weak_labels=(), segments=None, negatives=None),
    ]
    records = tf.constant([clip_lib.serialize(clip, encoding) for clip in clips])
    parsed = tf.function(clip_lib.parse)(records)
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
        return clip_lib.crop(parsed, start, 1500, encoding)

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
    clip = clip_lib.Clip("a_0", audio, 16_000)
    assert len(clip_lib.serialize(clip, "flac")) < 0.65 * len(clip_lib.serialize(clip))


def test_what_is_no_clip_cannot_be_written():
    for audio in (np.zeros(9, np.float32), np.zeros((9, 2), np.int16), np.zeros(9, np.int32)):
        with pytest.raises(errors.InputError, match=r"abc_0: audio must be int16 \[samples\]"):
            clip_lib.serialize(clip_lib.Clip("abc_0", audio, 16_000))
    with pytest.raises(errors.InputError, match="encoding 'mp3': must be one of pcm16, flac"):
        clip_lib.serialize(make(), "mp3")


def _without(feature):
    example = tf.train.Example.FromString(clip_lib.serialize(make(weak_labels=(1,))))
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
        (clip_lib.serialize(make()), "flac"),
        (clip_lib.serialize(make(), "flac"), "pcm16"),
    ],
)
def test_what_is_no_clip_cannot_be_read(record, encoding):
    with pytest.raises(errors.InputError):
        clip_lib.deserialize(record, encoding)


@pytest.fixture
def shard(tmp_path):
    clips = [make(f"clip{i}_0", seed=i, weak_labels=(i,)) for i in range(5)]
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for clip in clips:
            writer.write(clip_lib.serialize(clip))
    return path, clips


def test_a_shard_gives_its_clips_in_order(shard):
    path, clips = shard
    for got, want in zip(clip_lib.read_clips(str(path)), clips, strict=True):
        assert_same(got, want)


def test_a_damaged_shard_gives_the_clips_before_the_damage_and_then_an_error(shard):
    path, clips = shard
    good = path.read_bytes()
    size = len(good) // 5
    flipped = bytearray(good)
    flipped[2 * size + 1000] ^= 1  # one bit of the third record's audio
    for content, whole in ((bytes(flipped), 2), (good[: 4 * size - 7], 3), (bytes(99), 0)):
        path.write_bytes(content)
        read = []
        with pytest.raises(errors.InputError, match=f"{path}: unreadable after {whole} records"):
            read.extend(clip.clip_id for clip in clip_lib.read_clips(str(path)))
        assert read == [clip.clip_id for clip in clips[:whole]]


def test_records_of_something_else_are_named(tmp_path):
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(clip_lib.serialize(make()))
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(errors.InputError, match=f"{path}, record 1: not a clip record"):
        list(clip_lib.read_clips(str(path)))
    with pytest.raises(errors.InputError, match=r"nowhere\.tfrecord: unreadable after 0 records"):
        list(clip_lib.read_clips(str(tmp_path / "nowhere.tfrecord")))
