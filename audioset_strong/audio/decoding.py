"""Audio files of any kind -> mono waveforms at one rate.

`readers` gives the samples of a file at their times, and soxr resamples them. They are checked,
because damaged files may decode to NaN, absurd values, or nothing.

TensorFlow is imported only for remote files and for `TENSORFLOW_IO`.
"""

import contextlib
import ctypes
import functools
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr
from absl import logging

from audioset_strong.audio import ffmpeg, pcm, readers
from audioset_strong.audio.archives import members
from audioset_strong.audio.ffmpeg import (
    SILENT,
    TOO_SHORT,
    UNDECODABLE,
    WRITTEN,
    AudioError,
    Block,
)
from audioset_strong.core import choices, files, io_extra, workers

DECODERS = LIBSNDFILE, TENSORFLOW_IO = choices.DECODERS
# What a file contains: the clip alone, the whole video, or either, decided by its length. What is
# known of a WHOLE file is known of all of it, so a longer one than the clip must not be cut.
CLIP, VIDEO, EITHER, WHOLE = "clip", "video", "either", "whole"
MIN_RATE, MAX_RATE = ffmpeg.MIN_RATE, ffmpeg.MAX_RATE

_LONGER_S = 1.0  # a file of EITHER that is longer than the clip by more than this is the video
_MAX_SECONDS = 24 * 3600  # that are decoded into one array
MAX_ABSOLUTE = 64.0  # float files may exceed 1 a little; damaged ones exceed any bound
_DOUBT = "taken for the clip, since it is no longer; but it states no length that bears this out"
_SHORTFALL_S = 0.1  # encoders may drop this much; the manifest mentions more
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def load(
    path: str,
    sample_rate: int = 16_000,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    contents: str = VIDEO,
    decoder: str = LIBSNDFILE,
) -> np.ndarray:
    """Decodes a file, or a part of it, mixes it down to mono and resamples it.

    Args:
      path: an audio or video file, local or of a file system that `tf.io.gfile` knows, or a
        `members.MemberPath`.
      sample_rate: of the result, in Hz.
      start_s: where to begin, in seconds; ignored where the file contains the clip alone.
      duration_s: how much to decode, in seconds; all by default. The result is shorter where the
        file ends earlier.
      contents: CLIP, VIDEO, or EITHER, which means the video if the file is over a second longer
        than `duration_s`; or WHOLE, the clip, of which such a file is refused.
      decoder: one of DECODERS. TENSORFLOW_IO gives the same samples to 1e-5; files that it cannot
        decode safely are decoded as with LIBSNDFILE, see `readers`.

    Returns:
      float32 `[samples]`, roughly in [-1, 1]; at least one sample. Of a damaged file it is the good
      part, and a warning says what is wrong.

    Raises:
      AudioError: the file cannot be decoded, holds implausible samples, or has no audio at that
        time; or it is cut off, so that its length does not tell which of EITHER it is; or it is
        too long to be WHOLE.
      errors.InputError: the decoder, or the path's file system, needs tensorflow-io, and there is
        none.
    """
    waveform, damage = _load(path, sample_rate, start_s, duration_s, contents, decoder)
    if damage:
        logging.warning("%s: %s", path, damage)
    return waveform


def _load(
    path: str,
    sample_rate: int,
    start_s: float,
    duration_s: float | None,
    contents: str,
    decoder: str,
) -> tuple[np.ndarray, str]:
    """(what `load` returns, what was wrong with the file, in words)."""
    check_decoder(decoder)
    is_loose = not (files.is_remote(path) or isinstance(path, members.MemberPath))
    if is_loose and not os.path.exists(path):
        raise AudioError(UNDECODABLE, "No such file or directory")
    audio = readers.AudioFile(path)
    begin_s = _begin_s(audio, start_s, duration_s, contents)
    # The beginning of a video that was cut off looks like this, too.
    doubt = _DOUBT if contents == EITHER and begin_s < start_s and not audio.has_length else ""
    end_s = math.inf if duration_s is None else begin_s + duration_s
    blocks = None
    if decoder == TENSORFLOW_IO:
        with contextlib.suppress(Exception):  # the other decoders take what it refuses
            blocks = list(_tensorflow_io_blocks(audio, begin_s, end_s))
    pieces = []
    for mono in resampled(audio.blocks(begin_s, end_s) if blocks is None else blocks, sample_rate):
        pieces.append(mono)
        if sum(map(len, pieces)) > _MAX_SECONDS * sample_rate:
            raise AudioError(UNDECODABLE, f"more than {_MAX_SECONDS // 3600} hours of audio")
    if not pieces and begin_s:
        raise AudioError(
            TOO_SHORT,
            f"{audio.end_s:.3f} s of audio, but the clip begins at {start_s:g} s"
            + _in_brackets(audio.damage),
        )
    if not pieces:
        raise AudioError(TOO_SHORT, "no audio in the file")
    return np.concatenate(pieces), audio.damage or doubt


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


def resampled(blocks: Iterable[Block], sample_rate: int) -> Iterator[np.ndarray]:
    """Mixes blocks down to mono and resamples them as one recording.

    Args:
      blocks: of consecutive samples.
      sample_rate: of the result, in Hz.

    Yields:
      float32 `[samples]`; at least one sample.

    Raises:
      AudioError: samples beyond any plausible level, or NaN.
    """
    resampler, rate = None, sample_rate
    for block in itertools.chain(blocks, [None]):
        if resampler is not None and (block is None or block.rate != rate):
            rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler = None
            if len(rest):
                yield rest
        if block is None:
            return
        mono, rate = mix_down(block.samples), block.rate
        if rate != sample_rate:
            resampler = resampler or soxr.ResampleStream(
                rate, sample_rate, 1, "float32", quality="HQ"
            )
            mono = resampler.resample_chunk(mono)
        if len(mono):
            yield mono


def check_decoder(decoder: str) -> None:
    """Checks that a decoder, one of DECODERS, can be used here.

    Raises:
      errors.InputError: it needs tensorflow-io, and there is none.
    """
    if decoder == TENSORFLOW_IO:
        _tensorflow_io()


def decode_clip(
    path: str,
    contents: str,
    *,
    start_s: float,
    duration_s: float,
    min_seconds: float,
    sample_rate: int,
    decoder: str = LIBSNDFILE,
) -> tuple[np.ndarray, str, str]:
    """Decodes the audio of one clip.

    Args:
      path: the file.
      contents: see `load`.
      start_s: of the clip in its video.
      duration_s: of the clip.
      min_seconds: shorter audio has the status "too_short".
      sample_rate: of the result, in Hz.
      decoder: see `load`.

    Returns:
      (int16 `[samples]`, manifest status, reason). There are samples only where the status is
      "written".
    """
    nothing = np.zeros(0, np.int16)
    try:
        waveform, damage = _load(path, sample_rate, start_s, duration_s, contents, decoder)
        samples = pcm.from_float(waveform)
    except AudioError as error:
        return nothing, error.status, str(error)
    except Exception as error:  # a damaged file costs its clip, not the conversion
        return nothing, UNDECODABLE, f"{type(error).__name__}: {error}"
    seconds = len(samples) / sample_rate
    if seconds < min_seconds:
        return nothing, TOO_SHORT, f"{seconds:.3f} s of audio" + _in_brackets(damage)
    if not samples.any():
        return nothing, SILENT, "nothing but zeros"
    if duration_s - seconds <= _SHORTFALL_S:
        return samples, WRITTEN, damage
    return samples, WRITTEN, f"ends after {seconds:.3f} of {duration_s:g} s" + _in_brackets(damage)


def mix_down(waveform: np.ndarray) -> np.ndarray:
    """The mean of the channels, checked for plausible values.

    Args:
      waveform: float32 `[samples, channels]`; at least one sample.

    Returns:
      float32 `[samples]`.

    Raises:
      AudioError: samples beyond any plausible level, or NaN.

    Example:
      >>> mix_down(np.array([[0.5, 0.0], [1.0, -1.0]], np.float32)).tolist()
      [0.25, 0.0]
    """
    # mean(axis=1) of few channels takes ten times as long; a matrix product starts many threads.
    with np.errstate(over="ignore", invalid="ignore"):  # such values are refused below
        mono = functools.reduce(np.add, waveform.T)
        if waveform.shape[1] > 1:  # with one channel, mono is the waveform itself, not a copy
            mono /= waveform.shape[1]
    if not -MAX_ABSOLUTE <= mono.min() <= mono.max() <= MAX_ABSOLUTE:  # false for NaN, too
        raise AudioError(UNDECODABLE, f"decodes to samples beyond {MAX_ABSOLUTE:g}, or to NaN")
    return mono


def start_worker() -> None:
    """Prepares a worker process for `decode_clip`, or for TensorFlow; a pool's initializer."""
    workers.exit_with_parent()
    # A worker is one of many: it uses one core and no GPU.
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # Decoders print complaints about damaged files; the manifest lists these files already.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # glibc returns the memory of each clip to the system and gets it back page by page for the next
    # one, which takes a quarter of the time. Other C libraries are left as they are.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for threshold in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(threshold, 1 << 28)


def _tensorflow_io_blocks(
    audio: readers.AudioFile, begin_s: float, end_s: float
) -> Iterator[Block]:
    """As `AudioFile.blocks`, for formats that tensorflow-io decodes safely.

    Others are not safe: damaged flac may hang, 32-bit integer wav is taken for floats, 24-bit wav
    is not scaled, and m4a needs an outdated FFmpeg.

    Raises:
      ValueError: another format, or other samples than the header states.
    """
    import tensorflow as tf

    tfio = _tensorflow_io()
    decoders = {
        "WAV PCM_16": lambda data: pcm.to_float(tfio.audio.decode_wav(data, dtype=tf.int16)),
        "OGG VORBIS": lambda data: tfio.audio.decode_vorbis(data).numpy(),
        "MP3 MPEG_LAYER_III": lambda data: tfio.audio.decode_mp3(data).numpy(),
    }
    with audio.soundfile() as file:  # the decoders do not return the rate
        kind, rate = f"{file.format} {file.subtype}", file.samplerate
        shape = file.frames, file.channels
    if kind not in decoders:
        raise ValueError(f"{kind} is not decoded by tensorflow-io here")
    if audio.exact_s is None:
        raise ValueError("the length in the header is not certain")
    samples = decoders[kind](tf.constant(audio.content()))
    if samples.shape != shape:
        raise ValueError(f"{samples.shape[0]} samples where the header says {shape[0]}")
    begin = round(begin_s * rate)
    end = len(samples) if math.isinf(end_s) else round(end_s * rate)
    if begin < len(samples):
        yield Block(begin, samples[begin:end], rate)


def _tensorflow_io() -> Any:
    return io_extra.load(f"decoder {TENSORFLOW_IO!r}")


def _begin_s(
    audio: readers.AudioFile, start_s: float, duration_s: float | None, contents: str
) -> float:
    """Where a clip begins in a file, in seconds; raises AudioError if that cannot be told."""
    if contents == WHOLE and duration_s and audio.lasts_beyond(duration_s + _LONGER_S):
        raise AudioError(
            UNDECODABLE,
            f"longer than {duration_s:g} s, and nothing says which part its labels are of",
        )
    if contents in (CLIP, WHOLE) or start_s == 0:
        return 0.0
    if contents == VIDEO or (duration_s and audio.lasts_beyond(duration_s + _LONGER_S)):
        return start_s
    if audio.damage:  # its length tells nothing
        raise AudioError(UNDECODABLE, f"{audio.damage}; it may be the clip or the whole video")
    return 0.0
