"""Audio files of any kind -> mono waveforms at one rate.

libsndfile decodes what it can, PyAV decodes the rest (m4a, webm, mp4, ...), and soxr resamples.
Decoded samples are checked, because damaged files may decode to NaN, absurd values, or nothing.

TensorFlow is imported only for remote files and for `TENSORFLOW_IO`.
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

from audioset_strong.audio import pcm
from audioset_strong.core import choices, errors, files, io_extra, workers

# A clip's status in the manifest, where its audio decides it.
WRITTEN, TOO_SHORT, SILENT, UNDECODABLE = "written", "too_short", "silent", "undecodable"
DECODERS = LIBSNDFILE, TENSORFLOW_IO = choices.DECODERS
# What a file contains: the clip alone, the whole video, or either, decided by its length.
CLIP, VIDEO, EITHER = "clip", "video", "either"

_LONGER_S = 1.0  # a file of EITHER that is longer than the clip by more than this is the video
_MAX_SECONDS = 24 * 3600
_MAX_CHANNELS = 64
MIN_RATE, MAX_RATE = 1000, 768_000  # Hz, of any credible recording
MAX_ABSOLUTE = 64.0  # float files may exceed 1 a little; damaged ones exceed any bound
_SHORTFALL_S = 0.1  # encoders may drop this much; the manifest mentions more
_INDEXED_CONTAINERS = ("mov", "matroska")  # in which PyAV can seek exactly
_PREROLL_S = 1.0  # decoded before the cut, so that decoders settle
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


class AudioError(Exception):
    """A file without usable audio; `status` is what the manifest says of the clip."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


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
      path: an audio or video file, local or of a file system that `tf.io.gfile` knows.
      sample_rate: of the result, in Hz.
      start_s: where to begin, in seconds; ignored where the file contains the clip alone.
      duration_s: how much to decode, in seconds; all by default. The result is shorter where the
        file ends earlier.
      contents: CLIP, VIDEO, or EITHER, which means the video if the file is over a second longer
        than `duration_s`.
      decoder: one of DECODERS. TENSORFLOW_IO gives the same samples to 1e-5. Files that it cannot
        decode safely go to libsndfile, and files that libsndfile cannot decode go to FFmpeg.

    Returns:
      float32 `[samples]`, roughly in [-1, 1]; at least one sample.

    Raises:
      AudioError: the file cannot be decoded, holds implausible samples, or has no audio at that
        time.
      errors.InputError: the decoder, or the path's file system, needs tensorflow-io, and there is
        none.
    """
    reasons = []
    decoders = [("libsndfile", _decode_soundfile), ("FFmpeg", _decode_av)]
    check_decoder(decoder)
    if decoder == TENSORFLOW_IO:
        decoders.insert(0, ("tensorflow-io", _decode_tensorflow_io))
    for name, decode in decoders:
        try:
            waveform, rate = decode(path, start_s, duration_s, contents)
            break
        except (AudioError, errors.InputError):
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            reasons.append(f"{name}: {complaint(error)}")
    else:
        raise AudioError(UNDECODABLE, "; ".join(reasons))
    if not waveform.size:
        raise AudioError(TOO_SHORT, "no audio in the file")
    mono = mix_down(waveform)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return mono


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
        waveform = load(
            path,
            sample_rate,
            start_s=start_s,
            duration_s=duration_s,
            contents=contents,
            decoder=decoder,
        )
        samples = pcm.from_float(waveform)
    except AudioError as error:
        return nothing, error.status, str(error)
    except Exception as error:  # a damaged file costs its clip, not the conversion
        return nothing, UNDECODABLE, f"{type(error).__name__}: {error}"
    seconds = len(samples) / sample_rate
    if seconds < min_seconds:
        return nothing, TOO_SHORT, f"{seconds:.3f} s of audio"
    if not samples.any():
        return nothing, SILENT, "nothing but zeros"
    short = duration_s - seconds > _SHORTFALL_S
    return samples, WRITTEN, f"ends after {seconds:.3f} of {duration_s:g} s" if short else ""


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


def complaint(error: Exception) -> str:
    """What a decoder complains about, in one line."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return " ".join(str(words or error or type(error).__name__).split()).rstrip(".")


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


def open_source(path: str) -> str | io.BytesIO:
    """What decoders open: a local path itself, or the bytes of a remote file."""
    return io.BytesIO(files.read_bytes(path)) if files.is_remote(path) else path


@contextlib.contextmanager
def open_av(path: str) -> Iterator[tuple[Any, Any]]:
    """Opens a file with PyAV; gives the container and its first audio stream.

    Raises:
      AudioError: no audio in it, or audio of an unknown kind.
    """
    import av

    source = open_source(path)
    if isinstance(source, str):
        source = f"file:{source}"  # a name such as "x:y.mp4" is not a URL
    with av.open(source, mode="r") as container:
        if not container.streams.audio:
            raise AudioError(UNDECODABLE, "no audio stream")
        stream: Any = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(UNDECODABLE, "unknown audio codec")
        check_format(stream.rate or 0, stream.channels)
        yield container, stream


def _decode_soundfile(
    path: str, start_s: float, duration_s: float | None, contents: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz)."""
    with soundfile.SoundFile(open_source(path)) as file:
        begin, end = _window(file, start_s, duration_s, contents)
        if begin:
            file.seek(begin)
        if file.subtype == "PCM_16":  # the same values in a sixth of the time
            samples = pcm.to_float(file.read(end - begin, dtype="int16", always_2d=True))
        else:
            samples = file.read(end - begin, dtype="float32", always_2d=True)
        return samples, file.samplerate


def _window(
    file: soundfile.SoundFile, start_s: float, duration_s: float | None, contents: str
) -> tuple[int, int]:
    """(begin, end) of the samples to decode; checks the header."""
    rate = file.samplerate
    check_format(rate, file.channels)
    if file.frames > _MAX_SECONDS * rate:
        raise AudioError(UNDECODABLE, f"header claims {file.frames} samples")
    begin = round(rate * _offset(lambda: file.frames / rate, start_s, duration_s, contents))
    length = file.frames if duration_s is None else round(duration_s * rate)
    return begin, min(begin + length, file.frames)


def _decode_tensorflow_io(
    path: str, start_s: float, duration_s: float | None, contents: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz), for formats that it decodes safely.

    Others are not safe: damaged flac may hang, 32-bit integer wav is taken for floats, 24-bit wav
    is not scaled, and m4a needs an outdated FFmpeg.
    """
    import tensorflow as tf

    tfio = _tensorflow_io()
    decoders = {
        "WAV PCM_16": lambda data: pcm.to_float(tfio.audio.decode_wav(data, dtype=tf.int16)),
        "OGG VORBIS": lambda data: tfio.audio.decode_vorbis(data).numpy(),
        "MP3 MPEG_LAYER_III": lambda data: tfio.audio.decode_mp3(data).numpy(),
    }
    with soundfile.SoundFile(open_source(path)) as file:  # the decoders do not return the rate
        begin, end = _window(file, start_s, duration_s, contents)
    kind, shape = f"{file.format} {file.subtype}", (file.frames, file.channels)
    if kind not in decoders:
        raise ValueError(f"{kind} is not decoded by tensorflow-io here")
    samples = decoders[kind](tf.io.read_file(path))
    if samples.shape != shape:
        raise ValueError(f"{samples.shape[0]} samples where the header says {shape[0]}")
    return samples[begin:end], file.samplerate


def _tensorflow_io() -> Any:
    return io_extra.load(f"decoder {TENSORFLOW_IO!r}")


def _decode_av(
    path: str, start_s: float, duration_s: float | None, contents: str
) -> tuple[np.ndarray, int]:
    """(float32 `[samples, channels]`, Hz)."""
    import av  # slow to import, and most corpora do not need it

    with open_av(path) as (container, stream):
        rate = stream.rate
        offset_s = _offset(lambda: _length_av(container, stream), start_s, duration_s, contents)
        begin = round(offset_s * rate)
        end = begin + round((_MAX_SECONDS if duration_s is None else duration_s) * rate)
        first = stream.start_time or 0
        seeked = offset_s > _PREROLL_S and container.format.name.startswith(_INDEXED_CONTAINERS)
        if seeked:
            container.seek(first + int((offset_s - _PREROLL_S) / stream.time_base), stream=stream)
        resampler = av.AudioResampler(format="fltp", rate=rate)  # changes the sample format only
        blocks = []
        position = None  # of the next block, in samples from the start of the file
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
    # Other headers lack the length, or FFmpeg estimates it from the bit rate.
    ends = [packet.pts + packet.duration for packet in container.demux(stream) if packet.size]
    container.seek(0)
    return float((max(ends, default=0) - (stream.start_time or 0)) * stream.time_base)


def _offset(
    length: Callable[[], float], start_s: float, duration_s: float | None, contents: str
) -> float:
    """Where to start in a file, in seconds; `length` is called only if the answer depends on it."""
    if contents == CLIP or start_s == 0:
        return 0.0
    length_s = length()
    if contents == EITHER and length_s <= (duration_s or math.inf) + _LONGER_S:
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
