"""Audio files of any kind -> mono waveforms at one rate.

libsndfile decodes what it can, PyAV the rest (m4a, webm, mp4, ...), soxr resamples. What a decoder
returns is checked before it is trusted: damaged files decode to NaN, absurd values, or nothing.

Everything here runs in worker processes, which need no TensorFlow unless a file is remote.
"""

import ctypes
import functools
import io
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile
import soxr

from audioset_strong import workers

# A clip's status in the manifest, as far as its audio decides it.
WRITTEN, TOO_SHORT, SILENT, UNDECODABLE = "written", "too_short", "silent", "undecodable"
# What a file holds: the clip and no more, the full-length video, or either, as its length tells.
CLIP, VIDEO, EITHER = "clip", "video", "either"

_LONGER_S = 1.0  # than the clip: a file of EITHER kind is the video
_MAX_SECONDS = 24 * 3600
_MAX_CHANNELS = 64
_MAX_ABSOLUTE = 64.0  # float files may exceed 1; a damaged one exceeds anything
_SHORTFALL_S = 0.1  # encoders may drop that much; more is told in the manifest
_INDEXED_CONTAINERS = ("mov", "matroska")  # of which PyAV can seek exactly
_PREROLL_S = 1.0  # decoded before the cut, for decoders to settle
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


class AudioError(Exception):
    """A file that gives no usable audio; `status` is the manifest's word for why."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


def load(
    path: str,
    sample_rate: int = 16_000,
    start_s: float = 0.0,
    duration_s: float | None = None,
    holds: str = VIDEO,
) -> np.ndarray:
    """Decodes a file, or a part of it, mixes it down to mono and resamples it.

    Args:
      path: an audio or video file, local or of a file system that `tf.io.gfile` knows.
      sample_rate: Hz, of the result.
      start_s: where to begin, unless the file holds the clip alone.
      duration_s: how much to take; all of it by default. Less is returned where the file ends.
      holds: CLIP, VIDEO, or EITHER: the video where the file is over a second longer than
        `duration_s`.

    Returns:
      float32 `[samples]`, in about [-1, 1]; at least one sample.

    Raises:
      AudioError: undecodable, not to be trusted, or without audio at that time.
    """
    reasons = []
    for name, decode in (("libsndfile", _decode_soundfile), ("FFmpeg", _decode_av)):
        try:
            waveform, rate = decode(path, start_s, duration_s, holds)
            break
        except AudioError:
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            words = getattr(error, "error_string", None) or getattr(error, "strerror", None)
            words = " ".join(str(words or error or type(error).__name__).split()).rstrip(".")
            reasons.append(f"{name}: {words}")
    else:
        raise AudioError(UNDECODABLE, "; ".join(reasons))
    if not waveform.size:
        raise AudioError(TOO_SHORT, "no audio in the file")
    # mean(axis=1) of few channels takes ten times as long, and a matrix product many threads.
    with np.errstate(over="ignore", invalid="ignore"):  # of what is refused below
        mono = functools.reduce(np.add, waveform.T) / waveform.shape[1]
    if not -_MAX_ABSOLUTE <= mono.min() <= mono.max() <= _MAX_ABSOLUTE:  # false for NaN, too
        raise AudioError(UNDECODABLE, f"decodes to samples beyond {_MAX_ABSOLUTE:g}, or to NaN")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return mono


def decode_clip(
    path: str,
    holds: str,
    start_s: float,
    duration_s: float,
    min_seconds: float,
    sample_rate: int,
) -> tuple[bytes, str, str]:
    """Decodes the audio of one clip.

    Args:
      path: the file.
      holds: see `load`.
      start_s: of the clip in its video.
      duration_s: of the clip.
      min_seconds: shorter audio is too short.
      sample_rate: Hz, of the result.

    Returns:
      (int16 samples as bytes, manifest status, reason); the bytes are empty unless the status is
      "written".
    """
    try:
        pcm = to_pcm16(load(path, sample_rate, start_s, duration_s, holds))
    except AudioError as error:
        return b"", error.status, str(error)
    except Exception as error:  # no damaged file may cost more than its clip
        return b"", UNDECODABLE, f"{type(error).__name__}: {error}"
    seconds = len(pcm) / sample_rate
    if seconds < min_seconds:
        return b"", TOO_SHORT, f"{seconds:.3f} s of audio"
    if not pcm.any():
        return b"", SILENT, "nothing but zeros"
    short = duration_s - seconds > _SHORTFALL_S
    return pcm.tobytes(), WRITTEN, f"ends after {seconds:.3f} of {duration_s:g} s" if short else ""


def decode_all(clips: Sequence[tuple]) -> list[tuple[bytes, str, str]]:
    """`decode_clip` for the arguments of each clip."""
    return [decode_clip(*arguments) for arguments in clips]


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """float `[samples]` -> int16 `[samples]`, clipped at full scale."""
    scaled = waveform * np.float32(32768)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    return scaled.astype(np.int16)


def start_worker() -> None:
    """Prepares a worker process for `decode_clip`."""
    workers.exit_with_parent()
    # Decoders tell the terminal of every damaged file; the manifest does.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # glibc gives the memory of one clip back before the next asks for it again, page by page,
    # which takes a quarter of the time. Of other C libraries nothing is asked.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for threshold in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(threshold, 1 << 28)


def is_remote(path: str) -> bool:
    """Whether a path names a file system of `tf.io.gfile` other than the local one."""
    return "://" in path


def gfile() -> Any:
    """`tf.io.gfile`, with the file systems that tensorflow-io adds (s3://, az://, hdfs://)."""
    import tensorflow as tf
    import tensorflow_io  # noqa: F401

    return tf.io.gfile


def _source(path: str) -> str | io.BytesIO:
    if not is_remote(path):
        return path
    with gfile().GFile(path, "rb") as file:
        return io.BytesIO(file.read())


def _decode_soundfile(
    path: str, start_s: float, duration_s: float | None, holds: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz)."""
    with soundfile.SoundFile(_source(path)) as file:
        rate = file.samplerate
        _check_format(rate, file.channels)
        if file.frames > _MAX_SECONDS * rate:
            raise AudioError(UNDECODABLE, f"header claims {file.frames} samples")
        offset_s = _offset(lambda: file.frames / rate, start_s, duration_s, holds)
        if offset_s:
            file.seek(round(offset_s * rate))
        frames = -1 if duration_s is None else round(duration_s * rate)
        return file.read(frames, dtype="float32", always_2d=True), rate


def _decode_av(
    path: str, start_s: float, duration_s: float | None, holds: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz)."""
    import av  # heavy, and most corpora never need it

    source = _source(path)
    if isinstance(source, str):
        source = f"file:{source}"  # whatever the name, it is no URL
    with av.open(source, mode="r") as container:
        if not container.streams.audio:
            raise AudioError(UNDECODABLE, "no audio stream")
        stream: Any = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(UNDECODABLE, "its audio is of an unknown codec")
        rate = stream.rate or 0
        _check_format(rate, stream.channels)
        offset_s = _offset(lambda: _length_av(container, stream), start_s, duration_s, holds)
        begin = round(offset_s * rate)
        end = begin + round((_MAX_SECONDS if duration_s is None else duration_s) * rate)
        first = stream.start_time or 0
        seeked = offset_s > _PREROLL_S and container.format.name.startswith(_INDEXED_CONTAINERS)
        if seeked:
            container.seek(first + int((offset_s - _PREROLL_S) / stream.time_base), stream=stream)
        resampler = av.AudioResampler(format="fltp", rate=rate)  # changes the sample format alone
        blocks = []
        position = None  # of the next block, in samples from the beginning of the file
        frame: Any
        for frame in container.decode(stream):
            if position is None:
                position = round((frame.pts - first) * stream.time_base * rate) if seeked else 0
            planar = frame.format.name == "fltp" and frame.sample_rate == rate
            for block in (frame,) if planar else resampler.resample(frame):
                samples = block.to_ndarray()  # [channels, samples]
                if position + block.samples > begin:
                    blocks.append(samples[:, max(begin - position, 0) : end - position])
                position += block.samples
            if position >= end:
                break
    return (np.concatenate(blocks, axis=1).T if blocks else np.zeros((0, 1), np.float32)), rate


def _length_av(container: Any, stream: Any) -> float:
    """Seconds of audio in an opened container."""
    import av

    if container.format.name.startswith(_INDEXED_CONTAINERS):
        if stream.duration:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return container.duration / av.time_base
    # Other headers do not tell, or FFmpeg guesses from the bit rate.
    ends = [packet.pts + packet.duration for packet in container.demux(stream) if packet.size]
    container.seek(0)
    return float((max(ends, default=0) - (stream.start_time or 0)) * stream.time_base)


def _offset(
    length: Callable[[], float], start_s: float, duration_s: float | None, holds: str
) -> float:
    """Seconds from the beginning of a file of some length to what is wanted of it."""
    if holds == CLIP or start_s == 0:
        return 0.0
    length_s = length()
    if holds == EITHER and length_s <= (duration_s or math.inf) + _LONGER_S:
        return 0.0
    if start_s >= length_s:
        raise AudioError(
            TOO_SHORT, f"{length_s:.3f} s of audio, but the clip begins at {start_s:g} s"
        )
    return start_s


def _check_format(rate: int, channels: int) -> None:
    if not 1000 <= rate <= 768_000:
        raise AudioError(UNDECODABLE, f"header claims a sample rate of {rate} Hz")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError(UNDECODABLE, f"header claims {channels} channels")
