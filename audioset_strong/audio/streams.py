"""Recordings of any length -> mono waveforms at one rate, block by block, in constant memory.

The samples are those that `decoding.load` returns.
"""

import os
from collections.abc import Iterator

import numpy as np
from absl import logging

from audioset_strong.audio import decoding, readers
from audioset_strong.audio.archives import members
from audioset_strong.core import files


def blocks(path: str, sample_rate: int = 16_000) -> Iterator[np.ndarray]:
    """Decodes a file, mixes it down to mono and resamples it.

    If the file is damaged, a warning says how, and there is its good part.

    Args:
      path: an audio or video file, local or of a file system that `tf.io.gfile` knows, or a
        `members.MemberPath`.
      sample_rate: of the result, in Hz.

    Yields:
      float32 `[samples]`, roughly in [-1, 1]; at least one sample and at most about ten seconds.

    Raises:
      decoding.AudioError: no such file, no audio in it, a file that no decoder can read, or
        implausible samples.
      errors.InputError: the path's file system needs tensorflow-io, and there is none.
    """
    audio = _open(path)
    given = False
    for mono in decoding.resampled(audio.blocks(), sample_rate):
        given = True
        yield mono
    if not given:
        raise decoding.AudioError(decoding.TOO_SHORT, "no audio in the file")
    if audio.damage:
        logging.warning("%s: %s", path, audio.damage)


def known_seconds(path: str) -> float | None:
    """The length of a recording in seconds where its header is sure to be right, otherwise None."""
    try:
        return _open(path).exact_s
    except decoding.AudioError:
        return None


def seconds(path: str) -> float:
    """The length of a recording in seconds. If the header is not sure to be right, it is decoded.

    Raises:
      decoding.AudioError, errors.InputError: see `blocks`.
    """
    audio = _open(path)
    if audio.exact_s is not None:
        return audio.exact_s
    end_s = 0.0
    for block in audio.blocks():
        end_s = block.end_s
    if audio.damage:
        logging.warning("%s: %s", path, audio.damage)
    return end_s


def _open(path: str) -> readers.AudioFile:
    is_loose = not (files.is_remote(path) or isinstance(path, members.MemberPath))
    if is_loose and not os.path.isfile(path):
        raise decoding.AudioError(decoding.UNDECODABLE, "no such file")
    return readers.AudioFile(path)
