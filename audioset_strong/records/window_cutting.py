"""Windows of audio, or of log-mel, cut out of records, in-graph.

A window of 0.96 s is a tenth of a clip. Parsing the audio of each record would copy all of it,
which takes longer than everything else that happens to a window. So the window's bytes are cut out
of the serialized record itself, which requires knowing where in a record the audio begins.

`clip_records.serialize` writes the features in alphabetical order, so the audio comes first:

    bytes              meaning                                                   message length
    0A varint(n0)      Example.features: what follows, to the end of the record  n0
    0A varint(n1)        Features.feature: the map's first entry                 n1
    0A 05 "audio"          its key
    12 varint(n2)          its value, a Feature                                  n2
    0A varint(n3)            Feature.bytes_list                                  n3
    0A varint(n4)              BytesList.value                                   n4
    ...                          n4 bytes of audio
    ...                  the map's other entries

Each length counts what comes behind it, and varint(n) takes one byte for each 7 bits of n. n4 is
two bytes a sample, so all the others can be computed from the number of samples and the length of
the record.
"""

import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.records import clip_records, flac

_TAG = 1  # bytes of a field's number and type, such as 0A


def crop(
    parsed: dict[str, tf.Tensor],
    start: tf.Tensor,
    *,
    samples: int,
    encoding: str = clip_records.PCM16,
    portable: bool = False,
) -> tf.Tensor:
    """Cuts one window out of each parsed clip, padded with silence behind the clip's end.

    Args:
      parsed: what `clip_records.parse` returned.
      start: int64 `[batch]`, first sample of each window; within the clip.
      samples: length of the windows.
      encoding: of the records.
      portable: whether the graph may run in another process, see `flac.windows`.

    Returns:
      int16 `[batch, samples]`.

    Raises:
      errors.InputError: the records are of encoding "log_mel", which keeps no audio.
    """
    window = cut(parsed, start, samples=samples, encoding=encoding, portable=portable)
    return decode(window, samples)


def cut(
    parsed: dict[str, tf.Tensor],
    start: tf.Tensor,
    *,
    samples: int,
    encoding: str = clip_records.PCM16,
    portable: bool = False,
) -> tf.Tensor:
    """The first half of `crop`, in a form that is cheap to pass on; `decode` is the second half.

    PCM16 stays a string of bytes, which unbatching, shuffling and batching pass on by reference
    where they would copy an array. FLAC has to be decoded whole.

    Args:
      parsed: what `clip_records.parse` returned.
      start: int64 `[batch]`, first sample of each window; within the clip.
      samples: length of the windows.
      encoding: of the records.
      portable: see `crop`.

    Returns:
      For PCM16 string `[batch]`, shorter at a clip's end; for FLAC int16 `[batch, samples]`.

    Raises:
      errors.InputError: the records are of encoding "log_mel", which keeps no audio.
      tf.errors.InvalidArgumentError: when run, if a record has another layout.
    """
    if encoding == clip_records.LOG_MEL:
        raise errors.InputError("no audio can be cut out of records of encoding log_mel")
    if encoding == clip_records.FLAC:
        return flac.windows(
            clip_records.encoded_audio(parsed), start, samples=samples, portable=portable
        )
    record, num_samples = parsed["record"], parsed["num_samples"]
    begin = _audio_offset(record, 2 * num_samples)
    length = tf.minimum(num_samples - start, samples)
    return tf.strings.substr(record, begin + 2 * start, 2 * length)


def decode(window: tf.Tensor, samples: int) -> tf.Tensor:
    """The second half of `crop`.

    Args:
      window: what `cut` returned; int16 windows are returned as they are.
      samples: length of the windows.

    Returns:
      int16 `[batch, samples]`, padded with silence.
    """
    if window.dtype != tf.string:
        return window
    # fixed_length pads with zero bytes, which are silence.
    decoded = tf.io.decode_raw(window, tf.int16, fixed_length=2 * samples)
    return tf.ensure_shape(decoded, [None, samples])


def crop_log_mel(
    parsed: dict[str, tf.Tensor],
    start: tf.Tensor,
    *,
    stft_frames: int,
    front_end: features.FrontEnd = features.DEFAULT_FRONT_END,
) -> tf.Tensor:
    """Cuts one window out of each parsed clip of encoding "log_mel", in-graph.

    Except for the rounding to float16, the result is the log-mel of the audio that `crop` cuts out
    at sample `start * hop_samples`.

    Args:
      parsed: what `clip_records.parse` returned.
      start: int64 `[batch]`, first STFT frame of each window; within the clip.
      stft_frames: length of the windows.
      front_end: the settings that the records were made with.

    Returns:
      float32 `[batch, stft_frames, num_bands]`, with the values of silence behind the clip's end.
    """
    bits = cut_log_mel(parsed, start, stft_frames=stft_frames, num_bands=front_end.num_bands)
    return decode_log_mel(bits, start, parsed["num_samples"], front_end=front_end)


def cut_log_mel(
    parsed: dict[str, tf.Tensor], start: tf.Tensor, *, stft_frames: int, num_bands: int
) -> tf.Tensor:
    """The first half of `crop_log_mel`; `decode_log_mel` is the second.

    Returns:
      int16 `[batch, stft_frames * num_bands]`, the bits of float16 values; 0 behind the clip's end.
    """
    bytes_per_frame = 2 * num_bands  # float16
    length = bytes_per_frame * stft_frames
    audio = clip_records.encoded_audio(parsed)
    left = tf.cast(tf.strings.length(audio), tf.int64) - bytes_per_frame * start
    window = tf.strings.substr(audio, bytes_per_frame * start, tf.minimum(left, length))
    # TensorFlow has no decode_raw of a fixed length for float16.
    bits = tf.io.decode_raw(window, tf.int16, fixed_length=length)
    return tf.ensure_shape(bits, [None, stft_frames * num_bands])


def decode_log_mel(
    bits: tf.Tensor, start: tf.Tensor, num_samples: tf.Tensor, *, front_end: features.FrontEnd
) -> tf.Tensor:
    """The second half of `crop_log_mel`.

    Args:
      bits: int16 `[batch, stft_frames * num_bands]`, what `cut_log_mel` returned.
      start: int64 `[batch]`, first STFT frame of each window.
      num_samples: int64 `[batch]`, lengths of the clips' audio.
      front_end: the settings that the records were made with.

    Returns:
      float32 `[batch, stft_frames, num_bands]`, with the values of silence behind the clip's end.
    """
    stft_frames = bits.shape[1] // front_end.num_bands
    values = tf.cast(tf.bitcast(bits, tf.float16), tf.float32)
    values = tf.reshape(values, [-1, stft_frames, front_end.num_bands])
    stored = -(-num_samples // front_end.hop_samples)
    within = tf.sequence_mask(tf.minimum(stored - start, stft_frames), stft_frames)
    return tf.where(within[..., tf.newaxis], values, front_end.silence)


def _audio_offset(record: tf.Tensor, n4: tf.Tensor) -> tf.Tensor:
    """Where in each record the audio begins; for the names see the module's docstring.

    Args:
      record: string `[batch]`.
      n4: int64 `[batch]`, bytes of the audio.

    Returns:
      int64 `[batch]`, in bytes.

    Raises:
      tf.errors.InvalidArgumentError: when run, if a record has another layout.
    """
    name = len(clip_records.AUDIO)
    n3 = _TAG + _varint_size(n4) + n4
    n2 = _TAG + _varint_size(n3) + n3
    key = _TAG + 1 + name
    n1 = key + _TAG + _varint_size(n2) + n2
    size = tf.cast(tf.strings.length(record), tf.int64)
    # size = _TAG + varint(n0) + n0. Whether n0 is larger by a byte or not, its varint is as long.
    n0_size = _varint_size(size - _TAG - _varint_size(size))
    name_begin = _TAG + n0_size + _TAG + _varint_size(n1) + _TAG + 1
    found = tf.strings.substr(
        record, name_begin, tf.fill(tf.shape(record), tf.cast(name, tf.int64))
    )
    known = tf.debugging.Assert(
        tf.reduce_all(tf.equal(found, clip_records.AUDIO)),
        ["not a record of this version's audioset_strong_convert", found],
    )
    # In eager mode `Assert` returns None, so there is no dependency to add.
    with tf.control_dependencies([] if known is None else [known]):
        headers = [_TAG + _varint_size(length) for length in (n2, n3, n4)]
        return name_begin + name + tf.add_n(headers)


def _varint_size(value: tf.Tensor) -> tf.Tensor:
    """Bytes that a length takes: int64, as `value`, below 2**42."""
    bounds = tf.constant([1 << 7, 1 << 14, 1 << 21, 1 << 28, 1 << 35], tf.int64)
    return 1 + tf.reduce_sum(tf.cast(value[..., tf.newaxis] >= bounds, tf.int64), axis=-1)
