"""The clip: the one place that says what a record holds, writes it and parses it.

A record is a `tf.train.Example`. Whether a kind of label is known for a clip is recorded apart from
the labels: a clip without strong annotation is not one without events. How the audio is encoded is
the dataset's matter, and not told by the record.
"""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import soundfile
import tensorflow as tf
import tensorflow_io as tfio

from audioset_strong.audio import features
from audioset_strong.core import errors

SCHEMA_VERSION = 1
PCM16, FLAC, LOG_MEL = "pcm16", "flac", "log_mel"
ENCODINGS = (PCM16, FLAC, LOG_MEL)

_FRAME_BYTES = 2 * features.PATCH_BANDS  # of log-mel, float16

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
class LogMel:
    """The log-mel spectrogram of a clip that is kept without its audio.

    Attributes:
      values: float16 `[frames, 64]`. Frame i begins at sample 160 i; the frames reach to the clip's
        last sample, with silence behind it. Rounding to float16 changes a value by 0.002 at most.
      num_samples: of the audio.
    """

    values: np.ndarray
    num_samples: int


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip with all that is known of it. A kind of label that is not known is None.

    Attributes:
      clip_id: the release's segment id, YTID_STARTMS.
      audio: int16 `[samples]`, mono; empty where there is `log_mel` instead.
      sample_rate: Hz.
      weak_labels: class indices of the weak labels.
      segments: (start ms, end ms, class index) of each strong label, relative to the clip.
      negatives: class indices of the clip-level explicit negatives.
      log_mel: of a clip that was read from records of encoding "log_mel".
    """

    clip_id: str
    audio: np.ndarray
    sample_rate: int
    weak_labels: tuple[int, ...] | None = None
    segments: tuple[tuple[int, int, int], ...] | None = None
    negatives: tuple[int, ...] | None = None
    log_mel: LogMel | None = None

    @property
    def num_samples(self) -> int:
        """Samples of the audio, also of a clip that is kept without it."""
        return len(self.audio) if self.log_mel is None else self.log_mel.num_samples

    @property
    def waveform(self) -> np.ndarray:
        """The audio as float32 `[samples]` in [-1, 1)."""
        return self.audio.astype(np.float32) / 32768

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.sample_rate


def serialize(clip: Clip, encoding: str = PCM16) -> bytes:
    """A clip as a record; equal clips give equal bytes.

    Args:
      clip: audio must be int16 of one dimension.
      encoding: "pcm16" (little-endian samples, any part of which can be cut out), "flac", or
        "log_mel" (see `LogMel`; the audio is not kept).

    Raises:
      errors.InputError: another encoding, audio of another type, or none for an encoding of audio.
    """
    example = tf.train.Example()
    stored = example.features.feature  # filled where it is: messages put together copy the audio
    for name, value in ((_CLIP_ID, clip.clip_id.encode()), (_AUDIO, _encoded(clip, encoding))):
        stored[name].bytes_list.value.append(value)
    segments = clip.segments or ()
    for name, values in (
        (_SAMPLE_RATE, [clip.sample_rate]),
        (_NUM_SAMPLES, [clip.num_samples]),
        (_WEAK_LABELS, clip.weak_labels or ()),
        (_WEAK_KNOWN, [clip.weak_labels is not None]),
        (_SEGMENT_START, [start for start, _, _ in segments]),
        (_SEGMENT_END, [end for _, end, _ in segments]),
        (_SEGMENT_LABEL, [label for _, _, label in segments]),
        (_STRONG_KNOWN, [clip.segments is not None]),
        (_NEGATIVES, clip.negatives or ()),
        (_NEGATIVES_KNOWN, [clip.negatives is not None]),
    ):
        stored[name].int64_list.value[:] = values
    return example.SerializeToString(deterministic=True)


def _encoded(clip: Clip, encoding: str) -> bytes:
    """The bytes that stand for a clip's audio."""
    if clip.log_mel is not None:
        if encoding != LOG_MEL:
            raise errors.InputError(
                f"{clip.clip_id}: kept as log-mel, without the audio that {encoding} needs"
            )
        return clip.log_mel.values.astype("<f2", copy=False).tobytes()
    audio = np.asarray(clip.audio)
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise errors.InputError(
            f"{clip.clip_id}: audio must be int16 [samples], not {audio.dtype} {audio.shape}"
        )
    if encoding == PCM16:
        return audio.astype("<i2", copy=False).tobytes()
    if encoding == FLAC:
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, clip.sample_rate, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
    if encoding == LOG_MEL:
        if clip.sample_rate != features.SAMPLE_RATE:
            raise errors.InputError(
                f"{clip.clip_id}: {clip.sample_rate} Hz, but log-mel is taken of audio of "
                f"{features.SAMPLE_RATE} Hz"
            )
        return _log_mel(audio).numpy().astype("<f2").tobytes()
    raise errors.InputError(f"encoding {encoding!r}: must be one of {', '.join(ENCODINGS)}")


@tf.function(input_signature=[tf.TensorSpec([None], tf.int16)])
def _log_mel(pcm: tf.Tensor) -> tf.Tensor:
    """int16 `[samples]` -> float32 `[ceil(samples / 160), 64]`: each frame that begins in them."""
    behind = -tf.size(pcm) % features.HOP_SAMPLES
    behind += features.WINDOW_SAMPLES - features.HOP_SAMPLES
    waveform = tf.cast(tf.pad(pcm, [[0, behind]]), tf.float32) / 32768.0
    return features.log_mel(waveform)


def deserialize(record: bytes, encoding: str = PCM16) -> Clip:
    """The clip that a record holds.

    Raises:
      errors.InputError: bytes that are no such record.
    """
    try:
        found = tf.train.Example.FromString(record).features.feature

        def ints(name: str) -> tuple[int, ...]:
            return tuple(found[name].int64_list.value)

        def only(name: str) -> int:
            (value,) = ints(name)
            return value

        segments = zip(ints(_SEGMENT_START), ints(_SEGMENT_END), ints(_SEGMENT_LABEL), strict=True)
        num_samples = only(_NUM_SAMPLES)
        clip = Clip(
            clip_id=found[_CLIP_ID].bytes_list.value[0].decode(),
            sample_rate=only(_SAMPLE_RATE),
            weak_labels=ints(_WEAK_LABELS) if only(_WEAK_KNOWN) else None,
            segments=tuple(segments) if only(_STRONG_KNOWN) else None,
            negatives=ints(_NEGATIVES) if only(_NEGATIVES_KNOWN) else None,
            **_decoded(found[_AUDIO].bytes_list.value[0], encoding, num_samples),
        )
    except Exception as error:  # protobuf, lookups, soundfile: all mean that this is no such record
        raise errors.InputError(f"not a clip record of encoding {encoding}: {error}") from error
    return clip


def _decoded(encoded: bytes, encoding: str, num_samples: int) -> dict[str, Any]:
    """The fields of a `Clip` that `_encoded` made bytes of."""
    if encoding == LOG_MEL:
        values = np.frombuffer(encoded, "<f2").astype(np.float16).reshape(-1, features.PATCH_BANDS)
        if len(values) != -(-num_samples // features.HOP_SAMPLES):
            raise ValueError(f"{len(values)} frames of {num_samples} samples")
        return {"audio": np.zeros(0, np.int16), "log_mel": LogMel(values, num_samples)}
    if encoding == PCM16:
        audio = np.frombuffer(encoded, "<i2").astype(np.int16)
    else:
        audio, _ = soundfile.read(io.BytesIO(encoded), dtype="int16")
    if len(audio) != num_samples:
        raise ValueError(f"{len(audio)} samples where there should be {num_samples}")
    return {"audio": audio}


def record_reader(paths: Iterable[str]) -> Callable[..., tf.data.Dataset]:
    """`tf.data.TFRecordDataset` for shards of these paths, set for where they lie.

    Local files are read right into the records: by way of its buffer of 256 kB each record would be
    copied once more, and the system reads ahead in any case. On remote file systems, where each
    read is a request, the buffer stays.
    """
    remote = any("://" in path for path in paths)
    return functools.partial(tf.data.TFRecordDataset, buffer_size=None if remote else 0)


def read_clips(path: str, encoding: str = PCM16) -> Iterator[Clip]:
    """The clips of one shard.

    Raises:
      errors.InputError: a shard that is corrupted or cut off, or a record that is no clip, by the
        shard's path and the record's number (from 0).
    """
    read = 0
    try:
        for record in record_reader([path])(path).as_numpy_iterator():
            yield deserialize(record, encoding)
            read += 1
    except tf.errors.OpError as error:
        reason = str(error).partition("\n")[0]
        raise errors.InputError(f"{path}: unreadable after {read} records: {reason}") from error
    except errors.InputError as error:
        raise errors.InputError(f"{path}, record {read}: {error}") from error


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a batch of records, in-graph, but for their audio (see `crop`, `crop_log_mel`).

    Args:
      serialized: string `[batch]`.

    Returns:
      record string `[batch]`, as given; clip_id string `[batch]`; num_samples int64 `[batch]`;
      weak_labels,
      segment_start_ms, segment_end_ms, segment_label, negatives ragged int64 `[batch, (n)]`;
      weak_known, strong_known, negatives_known bool `[batch]`.
    """
    ragged = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    scalar = tf.io.FixedLenFeature([], tf.int64)
    parsed = tf.io.parse_example(
        serialized,
        {
            _CLIP_ID: tf.io.FixedLenFeature([], tf.string),
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
        "record": serialized,
        "clip_id": parsed[_CLIP_ID],
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

    Args:
      parsed: what `parse` returned.
      start: int64 `[batch]`, first sample of each window; within the clip.
      samples: length of the windows.
      encoding: of the records.

    Returns:
      int16 `[batch, samples]`.

    Raises:
      errors.InputError: records without audio, of encoding "log_mel".
    """
    return decode(cut(parsed, start, samples, encoding), samples)


def cut(
    parsed: dict[str, tf.Tensor], start: tf.Tensor, samples: int, encoding: str = PCM16
) -> tf.Tensor:
    """`crop` in a form that is cheap to pass on, for `decode`.

    PCM16 is cut out of the record as bytes, before anything is copied or decoded: to copy the
    audio of ten seconds would take longer than all the rest. The bytes stay a string, which is
    passed on by reference where an array would be copied: through unbatching, shuffling and
    batching. FLAC has to be decoded whole.

    Returns:
      string `[batch]`, shorter ones at a clip's end; of FLAC int16 `[batch, samples]`.
    """
    if encoding == LOG_MEL:
        raise errors.InputError("no audio can be cut out of records of log_mel")
    if encoding == FLAC:

        def window(args: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            flac, begin = args
            decoded = tfio.audio.decode_flac(flac, dtype=tf.int16)[begin : begin + samples, 0]
            silence = tf.zeros([samples - tf.shape(decoded)[0]], tf.int16)
            return tf.concat([decoded, silence], 0)

        windows = tf.map_fn(
            window,
            (_encoded_audio(parsed), start),
            fn_output_signature=tf.TensorSpec([samples], tf.int16),
        )
        return tf.ensure_shape(windows, [None, samples])
    length = tf.minimum(parsed["num_samples"] - start, samples)
    begin = _audio_offset(parsed["record"], 2 * parsed["num_samples"])
    return tf.strings.substr(parsed["record"], begin + 2 * start, 2 * length)


def decode(pcm: tf.Tensor, samples: int) -> tf.Tensor:
    """What `cut` gave, as int16 `[batch, samples]`; that itself is returned as it is."""
    if pcm.dtype != tf.string:
        return pcm
    # fixed_length pads with zero bytes, which are silence.
    decoded = tf.io.decode_raw(pcm, tf.int16, fixed_length=2 * samples)
    return tf.ensure_shape(decoded, [None, samples])


def crop_log_mel(parsed: dict[str, tf.Tensor], start_frame: tf.Tensor, frames: int) -> tf.Tensor:
    """Cuts one window out of each parsed clip of encoding "log_mel".

    But for the rounding it is the log-mel of what `crop` cuts out at sample 160 `start_frame`.

    Args:
      parsed: what `parse` returned.
      start_frame: int64 `[batch]`, first frame of each window; within the clip.
      frames: length of the windows.

    Returns:
      float32 `[batch, frames, 64]`, with the values of silence, log(0.01), behind the clip's end.
    """
    audio = _encoded_audio(parsed)
    stored = tf.strings.length(audio) // _FRAME_BYTES
    length = tf.minimum(tf.cast(stored, tf.int64) - start_frame, frames)
    cut = tf.strings.substr(audio, _FRAME_BYTES * start_frame, _FRAME_BYTES * length)
    # TensorFlow has no decode_raw of a fixed length for float16.
    bits = tf.io.decode_raw(cut, tf.int16, fixed_length=_FRAME_BYTES * frames)
    values = tf.cast(tf.bitcast(bits, tf.float16), tf.float32)
    values = tf.reshape(values, [-1, frames, features.PATCH_BANDS])
    silence = features.log_mel(tf.zeros([features.WINDOW_SAMPLES]))
    return tf.where(tf.sequence_mask(length, frames)[..., tf.newaxis], values, silence)


def _encoded_audio(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    """The audio field of parsed records, string `[batch]`."""
    field = {_AUDIO: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(parsed["record"], field)[_AUDIO]


def _audio_offset(record: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Where in records the audio begins, in bytes; int64 `[batch]`.

    `serialize` sorts the fields by name, so audio is the first. Before its bytes stand five message
    headers, of a tag and a length each, and its name.

    Args:
      record: string `[batch]`.
      length: int64 `[batch]`, bytes of the audio.

    Raises:
      tf.errors.InvalidArgumentError: when run, where a record has another layout.
    """

    def varint(value: tf.Tensor) -> tf.Tensor:  # bytes of a length
        bounds = [1 << 7, 1 << 14, 1 << 21, 1 << 28, 1 << 35]
        return 1 + tf.add_n([tf.cast(value >= bound, tf.int64) for bound in bounds])

    name = len(_AUDIO)
    size = tf.cast(tf.strings.length(record), tf.int64)
    # Header by header outwards: what the audio, the list of it, the feature and the entry take.
    value = 1 + varint(length) + length
    feature = 1 + varint(value) + value
    entry = (2 + name) + 1 + varint(feature) + feature
    # The outermost length counts what follows itself: its size is that of one of two neighbours.
    outer = varint(size - 1 - varint(size))
    named = 1 + outer + 1 + varint(entry) + 2
    found = tf.strings.substr(record, named, tf.fill(tf.shape(record), tf.constant(name, tf.int64)))
    known = tf.debugging.Assert(
        tf.reduce_all(tf.equal(found, _AUDIO)), ["not a record of this version's convert.py", found]
    )
    # Run at once, an assertion gives nothing to wait for.
    with tf.control_dependencies([] if known is None else [known]):
        return named + name + 1 + varint(feature) + 1 + varint(value) + 1 + varint(length)
