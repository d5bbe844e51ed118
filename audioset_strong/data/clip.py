"""The clip: the one place that says what a record holds, writes it and parses it.

A record is a `tf.train.Example`. Whether a kind of label is known for a clip is recorded apart from
the labels: a clip without strong annotation is not one without events.
"""

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import soundfile
import tensorflow as tf
import tensorflow_io as tfio

from audioset_strong import errors

SCHEMA_VERSION = 1
PCM16, FLAC = "pcm16", "flac"
ENCODINGS = (PCM16, FLAC)

_CLIP_ID = "clip_id"
_AUDIO = "audio"
_SAMPLE_RATE = "sample_rate"
_NUM_SAMPLES = "num_samples"
_WEAK_LABELS = "weak/labels"
_WEAK_KNOWN = "weak/known"
_SEGMENT_START = "strong/start_ms"
_SEGMENT_END = "strong/end_ms"
_SEGMENT_LABEL = "strong/label"
_STRONG_KNOWN = "strong/known"
_NEGATIVES = "negatives/labels"
_NEGATIVES_KNOWN = "negatives/known"


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip with all that is known of it. A kind of label that is not known is None.

    Attributes:
      clip_id: the release's segment id, YTID_STARTMS.
      audio: int16 `[samples]`, mono.
      sample_rate: Hz.
      weak_labels: class indices of the weak labels.
      segments: (start ms, end ms, class index) of each strong label, relative to the clip.
      negatives: class indices of the clip-level explicit negatives.
    """

    clip_id: str
    audio: np.ndarray
    sample_rate: int
    weak_labels: tuple[int, ...] | None = None
    segments: tuple[tuple[int, int, int], ...] | None = None
    negatives: tuple[int, ...] | None = None


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def serialize(clip: Clip, encoding: str = PCM16) -> bytes:
    """A clip as a record; equal clips give equal bytes.

    Args:
      clip: audio must be int16 of one dimension.
      encoding: "pcm16" (little-endian samples, any part of which can be cut out), or "flac".

    Raises:
      errors.InputError: another encoding, or audio of another type.
    """
    audio = np.asarray(clip.audio)
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise errors.InputError(
            f"{clip.clip_id}: audio must be int16 [samples], not {audio.dtype} {audio.shape}"
        )
    segments = clip.segments or ()
    features = {
        _CLIP_ID: _bytes(clip.clip_id.encode()),
        _AUDIO: _bytes(encode_audio(audio, clip.sample_rate, encoding)),
        _SAMPLE_RATE: _ints(clip.sample_rate),
        _NUM_SAMPLES: _ints(len(audio)),
        _WEAK_LABELS: _ints(*(clip.weak_labels or ())),
        _WEAK_KNOWN: _ints(clip.weak_labels is not None),
        _SEGMENT_START: _ints(*(start for start, _, _ in segments)),
        _SEGMENT_END: _ints(*(end for _, end, _ in segments)),
        _SEGMENT_LABEL: _ints(*(label for _, _, label in segments)),
        _STRONG_KNOWN: _ints(clip.segments is not None),
        _NEGATIVES: _ints(*(clip.negatives or ())),
        _NEGATIVES_KNOWN: _ints(clip.negatives is not None),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def encode_audio(audio: np.ndarray, sample_rate: int, encoding: str) -> bytes:
    """int16 samples as the bytes of a record's audio."""
    if encoding == PCM16:
        return audio.astype("<i2", copy=False).tobytes()
    if encoding == FLAC:
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, sample_rate, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
    raise errors.InputError(f"encoding {encoding!r}: must be one of {', '.join(ENCODINGS)}")


def deserialize(record: bytes, encoding: str = PCM16) -> Clip:
    """The clip that a record holds.

    Raises:
      errors.InputError: bytes that are no such record.
    """
    try:
        features = tf.train.Example.FromString(record).features.feature

        def ints(name: str) -> tuple[int, ...]:
            return tuple(features[name].int64_list.value)

        def only(name: str) -> int:
            (value,) = ints(name)
            return value

        segments = zip(ints(_SEGMENT_START), ints(_SEGMENT_END), ints(_SEGMENT_LABEL), strict=True)
        clip = Clip(
            clip_id=features[_CLIP_ID].bytes_list.value[0].decode(),
            audio=decode_audio(features[_AUDIO].bytes_list.value[0], encoding),
            sample_rate=only(_SAMPLE_RATE),
            weak_labels=ints(_WEAK_LABELS) if only(_WEAK_KNOWN) else None,
            segments=tuple(segments) if only(_STRONG_KNOWN) else None,
            negatives=ints(_NEGATIVES) if only(_NEGATIVES_KNOWN) else None,
        )
        num_samples = only(_NUM_SAMPLES)
    except Exception as error:  # protobuf, lookups, soundfile: all mean that this is no such record
        raise errors.InputError(f"not a clip record of encoding {encoding}: {error}") from error
    if len(clip.audio) != num_samples:
        raise errors.InputError(
            f"{clip.clip_id}: {len(clip.audio)} samples of {encoding} where there should be "
            f"{num_samples}"
        )
    return clip


def decode_audio(encoded: bytes, encoding: str) -> np.ndarray:
    """The inverse of `encode_audio`."""
    if encoding == PCM16:
        return np.frombuffer(encoded, "<i2").astype(np.int16)
    audio, _ = soundfile.read(io.BytesIO(encoded), dtype="int16")
    return audio


def read_clips(path: str, encoding: str = PCM16) -> Iterator[Clip]:
    """The clips of one shard.

    Raises:
      errors.InputError: a shard that is corrupted or cut off, or a record that is no clip, by the
        shard's path and the record's number (from 0).
    """
    read = 0
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            yield deserialize(record, encoding)
            read += 1
    except tf.errors.OpError as error:
        reason = str(error).partition("\n")[0]
        raise errors.InputError(f"{path}: unreadable after {read} records: {reason}") from error
    except errors.InputError as error:
        raise errors.InputError(f"{path}, record {read}: {error}") from error


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a batch of records, in-graph; the audio stays encoded (see `crop`).

    Args:
      serialized: string `[batch]`.

    Returns:
      clip_id string `[batch]`; audio string `[batch]`; num_samples int64 `[batch]`; weak_labels,
      segment_start_ms, segment_end_ms, segment_label, negatives ragged int64 `[batch, (n)]`;
      weak_known, strong_known, negatives_known bool `[batch]`.
    """
    ragged = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    scalar = tf.io.FixedLenFeature([], tf.int64)
    parsed = tf.io.parse_example(
        serialized,
        {
            _CLIP_ID: tf.io.FixedLenFeature([], tf.string),
            _AUDIO: tf.io.FixedLenFeature([], tf.string),
            _NUM_SAMPLES: scalar,
            _WEAK_LABELS: ragged,
            _WEAK_KNOWN: scalar,
            _SEGMENT_START: ragged,
            _SEGMENT_END: ragged,
            _SEGMENT_LABEL: ragged,
            _STRONG_KNOWN: scalar,
            _NEGATIVES: ragged,
            _NEGATIVES_KNOWN: scalar,
        },
    )
    return {
        "clip_id": parsed[_CLIP_ID],
        "audio": parsed[_AUDIO],
        "num_samples": parsed[_NUM_SAMPLES],
        "weak_labels": parsed[_WEAK_LABELS],
        "segment_start_ms": parsed[_SEGMENT_START],
        "segment_end_ms": parsed[_SEGMENT_END],
        "segment_label": parsed[_SEGMENT_LABEL],
        "negatives": parsed[_NEGATIVES],
        "weak_known": parsed[_WEAK_KNOWN] > 0,
        "strong_known": parsed[_STRONG_KNOWN] > 0,
        "negatives_known": parsed[_NEGATIVES_KNOWN] > 0,
    }


def crop(
    parsed: dict[str, tf.Tensor], start: tf.Tensor, samples: int, encoding: str = PCM16
) -> tf.Tensor:
    """Cuts one window out of each parsed clip, padded with silence behind the clip's end.

    PCM16 is cut as bytes, before anything is decoded; FLAC has to be decoded whole.

    Args:
      parsed: what `parse` returned.
      start: int64 `[batch]`, first sample of each window; within the clip.
      samples: length of the windows.
      encoding: of the records.

    Returns:
      int16 `[batch, samples]`.
    """
    if encoding == FLAC:

        def window(args: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            flac, begin = args
            decoded = tfio.audio.decode_flac(flac, dtype=tf.int16)[begin : begin + samples, 0]
            silence = tf.zeros([samples - tf.shape(decoded)[0]], tf.int16)
            return tf.concat([decoded, silence], 0)

        cut = tf.map_fn(
            window,
            (parsed["audio"], start),
            fn_output_signature=tf.TensorSpec([samples], tf.int16),
        )
        return tf.ensure_shape(cut, [None, samples])
    length = tf.minimum(parsed["num_samples"] - start, samples)
    cut = tf.strings.substr(parsed["audio"], 2 * start, 2 * length)
    # fixed_length pads with zero bytes, which are silence.
    pcm = tf.io.decode_raw(cut, tf.int16, fixed_length=2 * samples)
    return tf.ensure_shape(pcm, [None, samples])
