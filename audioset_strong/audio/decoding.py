"""Audio files of any kind -> mono waveforms at one rate.

libsndfile decodes what it can, PyAV the rest (m4a, webm, mp4, ...), soxr resamples. What a decoder
returns is checked before it is trusted: damaged files decode to NaN, absurd values, or nothing.

Nothing here needs TensorFlow unless a file is remote.
"""

import contextlib
import ctypes
import functools
import io
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import soundfile
import soxr

from audioset_strong.core import workers

# A clip's status in the manifest, as far as its audio decides it.
WRITTEN, TOO_SHORT, SILENT, UNDECODABLE = "written", "too_short", "silent", "undecodable"
# What decodes the files of common formats; FFmpeg decodes the rest.
LIBSNDFILE, TENSORFLOW_IO = "libsndfile", "tensorflow_io"
DECODERS = (LIBSNDFILE, TENSORFLOW_IO)
# What a file holds: the clip and no more, the full-length video, or either, as its length tells.
CLIP, VIDEO, EITHER = "clip", "video", "either"

_LONGER_S = 1.0  # than the clip: a file of EITHER kind is the video
_MAX_SECONDS = 24 * 3600
_MAX_CHANNELS = 64
MIN_RATE, MAX_RATE = 1000, 768_000  # Hz, of any recording
MAX_ABSOLUTE = 64.0  # float files may exceed 1; a damaged one exceeds anything
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
    decoder: str = LIBSNDFILE,
) -> np.ndarray:
    """Decodes a file, or a part of it, mixes it down to mono and resamples it.

    Args:
      path: an audio or video file, local or of a file system that `tf.io.gfile` knows.
      sample_rate: Hz, of the result.
      start_s: where to begin, unless the file holds the clip alone.
      duration_s: how much to take; all of it by default. Less is returned where the file ends.
      holds: CLIP, VIDEO, or EITHER: the video where the file is over a second longer than
        `duration_s`.
      decoder: one of DECODERS. TENSORFLOW_IO gives the same samples, to 1e-5; what it does not
        decode (safely) libsndfile does, and what that does not, FFmpeg.

    Returns:
      float32 `[samples]`, in about [-1, 1]; at least one sample.

    Raises:
      AudioError: undecodable, not to be trusted, or without audio at that time.
    """
    reasons = []
    decoders = [("libsndfile", _decode_soundfile), ("FFmpeg", _decode_av)]
    if decoder == TENSORFLOW_IO:
        decoders.insert(0, ("tensorflow-io", _decode_tensorflow_io))
    for name, decode in decoders:
        try:
            waveform, rate = decode(path, start_s, duration_s, holds)
            break
        except AudioError:
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            reasons.append(f"{name}: {describe(error)}")
    else:
        raise AudioError(UNDECODABLE, "; ".join(reasons))
    if not waveform.size:
        raise AudioError(TOO_SHORT, "no audio in the file")
    mono = mix_down(waveform)
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
    decoder: str = LIBSNDFILE,
) -> tuple[np.ndarray, str, str]:
    """Decodes the audio of one clip.

    Args:
      path: the file.
      holds: see `load`.
      start_s: of the clip in its video.
      duration_s: of the clip.
      min_seconds: shorter audio is too short.
      sample_rate: Hz, of the result.
      decoder: see `load`.

    Returns:
      (int16 `[samples]`, manifest status, reason); there are no samples unless the status is
      "written".
    """
    nothing = np.zeros(0, np.int16)
    try:
        pcm = to_pcm16(load(path, sample_rate, start_s, duration_s, holds, decoder))
    except AudioError as error:
        return nothing, error.status, str(error)
    except Exception as error:  # no damaged file may cost more than its clip
        return nothing, UNDECODABLE, f"{type(error).__name__}: {error}"
    seconds = len(pcm) / sample_rate
    if seconds < min_seconds:
        return nothing, TOO_SHORT, f"{seconds:.3f} s of audio"
    if not pcm.any():
        return nothing, SILENT, "nothing but zeros"
    short = duration_s - seconds > _SHORTFALL_S
    return pcm, WRITTEN, f"ends after {seconds:.3f} of {duration_s:g} s" if short else ""


def mix_down(waveform: np.ndarray) -> np.ndarray:
    """The mean of the channels, checked.

    Args:
      waveform: float32 `[samples, channels]`; at least one sample.

    Returns:
      float32 `[samples]`.

    Raises:
      AudioError: values that no audio has.
    """
    # mean(axis=1) of few channels takes ten times as long, and a matrix product many threads.
    with np.errstate(over="ignore", invalid="ignore"):  # of what is refused below
        mono = functools.reduce(np.add, waveform.T)
        if waveform.shape[1] > 1:  # of one channel it is the waveform itself
            mono /= waveform.shape[1]
    if not -MAX_ABSOLUTE <= mono.min() <= mono.max() <= MAX_ABSOLUTE:  # false for NaN, too
        raise AudioError(UNDECODABLE, f"decodes to samples beyond {MAX_ABSOLUTE:g}, or to NaN")
    return mono


def describe(error: Exception) -> str:
    """What a decoder complains of, in a line."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return " ".join(str(words or error or type(error).__name__).split()).rstrip(".")


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """float `[samples]` -> int16 `[samples]`, clipped at full scale."""
    scaled = waveform * np.float32(32768)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    return scaled.astype(np.int16)


def start_worker() -> None:
    """Prepares a process for `decode_clip`, or for anything of TensorFlow's; as an initializer."""
    workers.exit_with_parent()
    # A worker is one of many: it takes one core, and keeps away from the GPUs.
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
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


def open_source(path: str) -> str | io.BytesIO:
    """What decoders open: the path, or the bytes of a remote file."""
    if not is_remote(path):
        return path
    with gfile().GFile(path, "rb") as file:
        return io.BytesIO(file.read())


@contextlib.contextmanager
def open_av(path: str) -> Iterator[tuple[Any, Any]]:
    """Opens a file with PyAV; gives the container and its first audio stream.

    Raises:
      AudioError: no audio in it, or of no known kind.
    """
    import av

    source = open_source(path)
    if isinstance(source, str):
        source = f"file:{source}"  # whatever the name, it is no URL
    with av.open(source, mode="r") as container:
        if not container.streams.audio:
            raise AudioError(UNDECODABLE, "no audio stream")
        stream: Any = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(UNDECODABLE, "its audio is of an unknown codec")
        check_format(stream.rate or 0, stream.channels)
        yield container, stream


def _decode_soundfile(
    path: str, start_s: float, duration_s: float | None, holds: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz)."""
    with soundfile.SoundFile(open_source(path)) as file:
        begin, end = _window(file, start_s, duration_s, holds)
        if begin:
            file.seek(begin)
        if file.subtype == "PCM_16":  # the same values, in a sixth of the time
            samples = _from_int16(file.read(end - begin, dtype="int16", always_2d=True))
        else:
            samples = file.read(end - begin, dtype="float32", always_2d=True)
        return samples, file.samplerate


def _window(
    file: soundfile.SoundFile, start_s: float, duration_s: float | None, holds: str
) -> tuple[int, int]:
    """The first sample wanted of a file, whose header is checked, and the one behind the last."""
    rate = file.samplerate
    check_format(rate, file.channels)
    if file.frames > _MAX_SECONDS * rate:
        raise AudioError(UNDECODABLE, f"header claims {file.frames} samples")
    begin = round(rate * _offset(lambda: file.frames / rate, start_s, duration_s, holds))
    length = file.frames if duration_s is None else round(duration_s * rate)
    return begin, min(begin + length, file.frames)


def _from_int16(samples: np.ndarray) -> np.ndarray:
    return np.multiply(samples, np.float32(1 / 32768), dtype=np.float32)


def _decode_tensorflow_io(
    path: str, start_s: float, duration_s: float | None, holds: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz), of formats where that is safe.

    Of others it is not: damaged flac may hang, wav of 32 bits is taken for floats, that of 24 bits
    lacks a scale, and m4a needs an FFmpeg of old.
    """
    import tensorflow as tf
    import tensorflow_io as tfio

    decoders = {
        "WAV PCM_16": lambda data: _from_int16(tfio.audio.decode_wav(data, dtype=tf.int16)),
        "OGG VORBIS": lambda data: tfio.audio.decode_vorbis(data).numpy(),
        "MP3 MPEG_LAYER_III": lambda data: tfio.audio.decode_mp3(data).numpy(),
    }
    with soundfile.SoundFile(open_source(path)) as file:  # the decoders do not tell the rate
        begin, end = _window(file, start_s, duration_s, holds)
    kind, shape = f"{file.format} {file.subtype}", (file.frames, file.channels)
    if kind not in decoders:
        raise ValueError(f"{kind} is left to others")
    samples = decoders[kind](tf.io.read_file(path))
    if samples.shape != shape:
        raise ValueError(f"{samples.shape[0]} samples where the header tells {shape[0]}")
    return samples[begin:end], file.samplerate


def _decode_av(
    path: str, start_s: float, duration_s: float | None, holds: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz)."""
    import av  # heavy, and most corpora never need it

    with open_av(path) as (container, stream):
        rate = stream.rate
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


def check_format(rate: int, channels: int) -> None:
    """Raises AudioError where a header claims a rate (Hz) or channels that no recording has."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(UNDECODABLE, f"header claims a sample rate of {rate} Hz")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError(UNDECODABLE, f"header claims {channels} channels")
