"""The clip and its record: the one place that defines, writes and parses records.

A record is a `tf.train.Example`. Whether a kind of label is known for a clip is recorded apart from
the labels: a clip without strong annotation is not a clip without events. How the audio is encoded
is a property of the dataset (see `dataset_info`), not of the record. `window_cutting` cuts windows
of audio out of records; `clip_index` says where in a shard each record and its audio lie.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from audioset_strong.audio import features, pcm
from audioset_strong.core import choices, errors
from audioset_strong.core.lazy import tf
from audioset_strong.records import example_proto, flac, wire_format

SCHEMA_VERSION = 1
ENCODINGS = PCM16, FLAC, LOG_MEL = choices.ENCODINGS

AUDIO = "audio"  # the feature of a record that holds the encoded audio
_CLIP_ID = "clip_id"
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
      values: float16 `[stft_frames, num_bands]`. STFT frame i begins at sample i * hop_samples. The
        STFT frames reach to the clip's last sample, with silence behind it. Rounding to float16
        changes a value by at most 0.002.
      num_samples: length of the audio.
      front_end: the settings that the spectrogram was computed with.
    """

    values: np.ndarray
    num_samples: int
    front_end: features.FrontEnd = features.DEFAULT_FRONT_END


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip and everything known about it. A kind of label that is not known is None.

    Attributes:
      clip_id: YTID_STARTMS, which the release's files call the segment id.
      audio: int16 `[samples]`, mono; empty if there is `log_mel` instead.
      sample_rate: Hz.
      weak_labels: class indices of the weak labels.
      segments: (start ms, end ms, class index) of each strong label, relative to the clip.
      negatives: class indices of the clip-level explicit negatives.
      log_mel: the spectrogram of a clip that was read from records of encoding "log_mel".
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
        """Length of the audio in samples, also for a clip that is kept without its audio."""
        return len(self.audio) if self.log_mel is None else self.log_mel.num_samples

    @property
    def waveform(self) -> np.ndarray:
        """The audio as float32 `[samples]` in [-1, 1)."""
        return pcm.to_float(self.audio)

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return self.num_samples / self.sample_rate


def serialize(
    clip: Clip,
    encoding: str = PCM16,
    *,
    front_end: features.FrontEnd = features.DEFAULT_FRONT_END,
) -> bytes:
    """Writes a clip as a record; equal clips give equal bytes.

    >>> clip = Clip("abcdefghijk_30000", np.zeros(160, np.int16), 16_000, weak_labels=(1, 4))
    >>> deserialize(serialize(clip)).weak_labels
    (1, 4)

    Args:
      clip: its audio must be int16 of one dimension.
      encoding: "pcm16" (little-endian samples, any part of which can be cut out), "flac", or
        "log_mel" (see `LogMel`; the audio is not kept).
      front_end: the settings of the log-mel; other encodings ignore it.

    Returns:
      A serialized `tf.train.Example` with its features in alphabetical order.

    Raises:
      errors.InputError: an unknown encoding, audio of another type or sample rate, or a clip
        without the audio that the encoding needs.
    """
    example = example_proto.message_class()()
    # Filled in place; assembling sub-messages would copy the audio.
    stored = example.features.feature
    audio = _encode(clip, encoding, front_end)
    for name, value in ((_CLIP_ID, clip.clip_id.encode()), (AUDIO, audio)):
        stored[name].bytes_list.value.append(value)
    segments = clip.segments or ()
    for name, values in (
        (_SAMPLE_RATE, [clip.sample_rate]),
        (_NUM_SAMPLES, [clip.num_samples]),
        (_WEAK_LABELS, clip.weak_labels or ()),
        (_WEAK_KNOWN, [int(clip.weak_labels is not None)]),
        (_SEGMENT_START, [start for start, _, _ in segments]),
        (_SEGMENT_END, [end for _, end, _ in segments]),
        (_SEGMENT_LABEL, [label for _, _, label in segments]),
        (_STRONG_KNOWN, [int(clip.segments is not None)]),
        (_NEGATIVES, clip.negatives or ()),
        (_NEGATIVES_KNOWN, [int(clip.negatives is not None)]),
    ):
        stored[name].int64_list.value[:] = values
    return example.SerializeToString(deterministic=True)


def _encode(clip: Clip, encoding: str, front_end: features.FrontEnd) -> bytes:
    """A clip's audio in an encoding."""
    if encoding not in ENCODINGS:
        raise errors.InputError(f"encoding {encoding!r}: must be one of {', '.join(ENCODINGS)}")
    if clip.log_mel is not None:
        if encoding != LOG_MEL:
            raise errors.InputError(
                f"{clip.clip_id}: kept as log-mel, without the audio that {encoding} needs"
            )
        difference = clip.log_mel.front_end.difference(front_end)
        if difference:
            raise errors.InputError(f"{clip.clip_id}: its log-mel was made with {difference}")
        return clip.log_mel.values.astype("<f2", copy=False).tobytes()
    audio = np.asarray(clip.audio)
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise errors.InputError(
            f"{clip.clip_id}: audio must be int16 [samples], not {audio.dtype} {audio.shape}"
        )
    if encoding == PCM16:
        return audio.astype("<i2", copy=False).tobytes()
    if encoding == FLAC:
        return flac.encode(audio, clip.sample_rate)
    if clip.sample_rate != front_end.sample_rate:
        raise errors.InputError(
            f"{clip.clip_id}: audio of {clip.sample_rate} Hz, but the front end's sample rate is "
            f"{front_end.sample_rate} Hz"
        )
    return _log_mel(front_end)(audio).numpy().astype("<f2").tobytes()


@functools.cache
def _log_mel(front_end: features.FrontEnd) -> Callable[[np.ndarray], "tf.Tensor"]:
    """Compiles int16 `[samples]` -> float32 `[ceil(samples / hop_samples), num_bands]`.

    There is an STFT frame for each hop that begins within the samples.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int16)], autograph=False)
    def compute(audio: "tf.Tensor") -> "tf.Tensor":
        silence = -tf.size(audio) % front_end.hop_samples
        silence += max(front_end.window_samples - front_end.hop_samples, 0)
        waveform = pcm.tensor_to_float(tf.pad(audio, [[0, silence]]))
        return features.log_mel(waveform, front_end)

    return compute


@dataclasses.dataclass(frozen=True)
class RecordFacts:
    """What a record says of its clip, and where in it the encoded audio lies.

    Attributes:
      clip_id, sample_rate, weak_labels, segments, negatives: as in `Clip`.
      num_samples: length of the audio, also where only its log-mel is kept.
      audio_offset: first byte of the encoded audio in the record.
      audio_bytes: its length.
    """

    clip_id: str
    sample_rate: int
    num_samples: int
    weak_labels: tuple[int, ...] | None
    segments: tuple[tuple[int, int, int], ...] | None
    negatives: tuple[int, ...] | None
    audio_offset: int
    audio_bytes: int


def read_facts(record: bytes) -> RecordFacts:
    """Reads everything in a record but its audio.

    >>> found = read_facts(serialize(Clip("abcdefghijk_30000", np.zeros(160, np.int16), 16_000)))
    >>> found.num_samples, found.audio_bytes, found.weak_labels
    (160, 320, None)

    Args:
      record: what `serialize` returned.

    Raises:
      ValueError: the bytes are not a record. `deserialize` turns it into the user's error.
    """
    try:
        found = example_proto.message_class().FromString(record).features.feature
    except Exception as error:  # protobuf's own class, which depends on its implementation
        raise ValueError(str(error)) from error

    def ints(name: str) -> tuple[int, ...]:
        return tuple(found[name].int64_list.value)

    def only(name: str) -> int:
        (value,) = ints(name)
        return value

    (audio,) = found[AUDIO].bytes_list.value
    (clip_id,) = found[_CLIP_ID].bytes_list.value
    segments = zip(ints(_SEGMENT_START), ints(_SEGMENT_END), ints(_SEGMENT_LABEL), strict=True)
    return RecordFacts(
        clip_id=clip_id.decode(),
        sample_rate=only(_SAMPLE_RATE),
        num_samples=only(_NUM_SAMPLES),
        weak_labels=ints(_WEAK_LABELS) if only(_WEAK_KNOWN) else None,
        segments=tuple(segments) if only(_STRONG_KNOWN) else None,
        negatives=ints(_NEGATIVES) if only(_NEGATIVES_KNOWN) else None,
        audio_offset=wire_format.find_bytes(record, AUDIO),
        audio_bytes=len(audio),
    )


def deserialize(
    record: bytes, encoding: str = PCM16, *, front_end: features.FrontEnd | None = None
) -> Clip:
    """Reads the clip that a record holds.

    Args:
      record: what `serialize` returned.
      encoding: the encoding that it was written with.
      front_end: the front end that log-mel was made with; None is the default front end. Other
        encodings ignore it.

    Returns:
      The clip; its `audio` is empty if the encoding is "log_mel".

    Raises:
      errors.InputError: the bytes are not a record of this encoding.
    """
    try:
        found = read_facts(record)
        encoded = record[found.audio_offset : found.audio_offset + found.audio_bytes]
        log_mel = None
        if encoding == LOG_MEL:
            audio = np.zeros(0, np.int16)
            front_end = front_end or features.DEFAULT_FRONT_END
            log_mel = _decode_log_mel(encoded, found.num_samples, front_end)
        else:
            audio = _decode_audio(encoded, encoding, found.num_samples)
    except Exception as error:  # lookups and soundfile each raise their own
        raise errors.InputError(f"not a clip record of encoding {encoding}: {error}") from error
    return Clip(
        clip_id=found.clip_id,
        audio=audio,
        sample_rate=found.sample_rate,
        weak_labels=found.weak_labels,
        segments=found.segments,
        negatives=found.negatives,
        log_mel=log_mel,
    )


def _decode_audio(encoded: bytes, encoding: str, num_samples: int) -> np.ndarray:
    """Undoes `_encode` for the encodings that keep audio."""
    if encoding == PCM16:
        audio = np.frombuffer(encoded, "<i2").astype(np.int16)
    else:
        audio = flac.decode(encoded)
    if len(audio) != num_samples:
        raise ValueError(f"{len(audio)} samples instead of {num_samples}")
    return audio


def _decode_log_mel(encoded: bytes, num_samples: int, front_end: features.FrontEnd) -> LogMel:
    """Undoes `_encode` for log-mel."""
    values = np.frombuffer(encoded, "<f2").astype(np.float16).reshape(-1, front_end.num_bands)
    expected = -(-num_samples // front_end.hop_samples)
    if len(values) != expected:
        raise ValueError(
            f"{len(values)} STFT frames instead of {expected} for {num_samples} samples"
        )
    return LogMel(values, num_samples, front_end)


def parse(serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
    """Parses a batch of records, in-graph, all but the audio.

    `window_cutting` then cuts windows out of the audio.

    Args:
      serialized: string `[batch]`.

    Returns:
      record string `[batch]`, as given; clip_id string `[batch]`; num_samples int64 `[batch]`;
      weak_labels, segment_start_ms, segment_end_ms, segment_label, negatives ragged int64
      `[batch, (n)]`; weak_known, strong_known, negatives_known bool `[batch]`.
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


def encoded_audio(parsed: dict[str, "tf.Tensor"]) -> "tf.Tensor":
    """The encoded audio of records that `parse` read, string `[batch]`."""
    feature = {AUDIO: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_example(parsed["record"], feature)[AUDIO]
