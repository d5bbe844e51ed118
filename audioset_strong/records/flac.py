"""The FLAC of records of encoding "flac": 16 bits, mono."""

import io

import numpy as np
import soundfile

from audioset_strong.core import io_extra
from audioset_strong.core.lazy import tf


def encode(audio: np.ndarray, sample_rate: int) -> bytes:
    """Writes audio as a FLAC file.

    >>> audio = np.array([1, -2, 300], np.int16)
    >>> decode(encode(audio, 16_000)).tolist()
    [1, -2, 300]

    Args:
      audio: int16 `[samples]`.
      sample_rate: in Hz.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode(encoded: bytes, start: int = 0, samples: int = -1) -> np.ndarray:
    """Reads a FLAC file, or a part of it.

    A part is found by seeking, which takes a fifth of the time of decoding a clip of 10 s whole.

    Args:
      encoded: what `encode` returned.
      start: first sample.
      samples: how many to decode; -1 for all.

    Returns:
      int16 `[samples]`; fewer where the audio ends earlier, none where `start` lies beyond its end.

    Raises:
      ValueError: not a FLAC file of one channel, or a damaged one.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            if start >= file.frames:
                return np.zeros(0, np.int16)
            if start:
                file.seek(start)
            audio = file.read(samples, dtype="int16")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"FLAC audio cannot be decoded: {error.error_string}") from error
    if audio.ndim != 1:
        raise ValueError(f"FLAC audio of {audio.shape[1]} channels instead of one")
    return audio


def windows(
    encoded: "tf.Tensor", start: "tf.Tensor", *, samples: int, portable: bool = False
) -> "tf.Tensor":
    """Cuts one window out of each FLAC file, in-graph, padded with silence behind the file's end.

    Args:
      encoded: string `[batch]`.
      start: int64 `[batch]`, first sample of each window; within the audio.
      samples: length of the windows.
      portable: whether the graph may run in another process, such as a worker of a tf.data service.
        Then an operation of tensorflow-io decodes the files, at a tenth of the rate; otherwise
        soundfile decodes the windows in this process. The samples are the same.

    Returns:
      int16 `[batch, samples]`.

    Raises:
      errors.InputError: the graph is to be portable, and there is no tensorflow-io.
      tf.errors.InvalidArgumentError: when run, if a file cannot be decoded.
    """
    cut = _cut_in_graph if portable else _cut_in_python
    return tf.ensure_shape(cut(encoded, start, samples), [None, samples])


def _cut_in_graph(encoded: "tf.Tensor", start: "tf.Tensor", samples: int) -> "tf.Tensor":
    """`windows` by the operation of tensorflow-io."""
    decode_flac = io_extra.load("FLAC in-graph").audio.decode_flac

    def window(args: tuple["tf.Tensor", "tf.Tensor"]) -> "tf.Tensor":
        file, begin = args
        decoded = decode_flac(file, dtype=tf.int16)[begin : begin + samples, 0]
        silence = tf.zeros([samples - tf.shape(decoded)[0]], tf.int16)
        return tf.concat([decoded, silence], 0)

    spec = tf.TensorSpec([samples], tf.int16)
    return tf.map_fn(window, (encoded, start), fn_output_signature=spec)


def _cut_in_python(encoded: "tf.Tensor", start: "tf.Tensor", samples: int) -> "tf.Tensor":
    """`windows` by `decode`."""

    def cut(encoded: np.ndarray, start: np.ndarray) -> np.ndarray:
        cuts = np.zeros((len(encoded), samples), np.int16)
        for row, file, begin in zip(cuts, encoded, start.tolist(), strict=True):
            audio = decode(file, begin, samples)
            row[: len(audio)] = audio
        return cuts

    return tf.numpy_function(cut, [encoded, start], tf.int16, stateful=False)
