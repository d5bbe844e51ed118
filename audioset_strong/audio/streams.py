"""Recordings of any length -> mono waveforms at one rate, block by block, in constant memory.

The samples are those that `decoding.load` returns: libsndfile decodes what it can, PyAV decodes the
rest, and soxr resamples with its state carried from block to block.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
import soxr

from audioset_strong.audio import decoding
from audioset_strong.core import errors, files

_BLOCK_S = 10.0


def blocks(path: str, sample_rate: int = 16_000) -> Iterator[np.ndarray]:
    """Decodes a file, mixes it down to mono and resamples it.

    Args:
      path: an audio or video file, local or of a file system that `tf.io.gfile` knows.
      sample_rate: of the result, in Hz.

    Yields:
      float32 `[samples]`, roughly in [-1, 1]; at least one sample and at most about ten seconds.

    Raises:
      decoding.AudioError: no such file, no audio in it, or a file that cannot be decoded, from the
        start or from some point on.
      errors.InputError: the path's file system needs tensorflow-io, and there is none.
    """
    if not files.is_remote(path) and not os.path.isfile(path):
        raise decoding.AudioError(decoding.UNDECODABLE, "no such file")
    reasons = []
    for name, decode in (("libsndfile", _decode_soundfile), ("FFmpeg", _decode_av)):
        resampler: soxr.ResampleStream | None = None
        seconds, given = 0.0, 0
        try:
            for waveform, rate in decode(path):
                mono = decoding.mix_down(waveform)
                seconds += len(mono) / rate
                if rate != sample_rate:
                    resampler = resampler or soxr.ResampleStream(
                        rate, sample_rate, 1, "float32", quality="HQ"
                    )
                    mono = resampler.resample_chunk(mono)
                if len(mono):
                    given += len(mono)
                    yield mono
            if resampler is not None:
                rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
                if len(rest):
                    given += len(rest)
                    yield rest
            if not given:
                raise decoding.AudioError(decoding.TOO_SHORT, "no audio in the file")
            return
        except (decoding.AudioError, errors.InputError):
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            reasons.append(f"{name}: {decoding.complaint(error)}")
            if seconds:  # blocks were yielded already, so no other decoder can start over
                raise decoding.AudioError(
                    decoding.UNDECODABLE, f"damaged after {seconds:.1f} s ({reasons[-1]})"
                ) from error
    raise decoding.AudioError(decoding.UNDECODABLE, "; ".join(reasons))


def seconds(path: str) -> float | None:
    """The length of a recording according to its header, in seconds; None if it does not say."""
    try:
        with soundfile.SoundFile(decoding.open_source(path)) as file:
            return file.frames / file.samplerate
    except Exception:  # PyAV may know it; if not, `blocks` raises
        pass
    try:
        with decoding.open_av(path) as (container, stream):
            if stream.duration:
                return float(stream.duration * stream.time_base)
            return container.duration / 1_000_000 if container.duration else None
    except Exception:
        return None


def _decode_soundfile(path: str) -> Iterator[tuple[np.ndarray, int]]:
    """(float32 `[samples, channels]`, Hz) of each block."""
    with soundfile.SoundFile(decoding.open_source(path)) as file:
        decoding.check_format(file.samplerate, file.channels)
        size = round(_BLOCK_S * file.samplerate)
        while len(samples := file.read(size, dtype="float32", always_2d=True)):
            yield samples, file.samplerate


def _decode_av(path: str) -> Iterator[tuple[np.ndarray, int]]:
    """(float32 `[samples, channels]`, Hz) of each frame of the codec."""
    import av

    with decoding.open_av(path) as (container, stream):
        rate = stream.rate
        resampler = av.AudioResampler(format="fltp", rate=rate)  # changes the sample format only
        frame: Any
        for frame in container.decode(stream):
            planar = frame.format.name == "fltp" and frame.sample_rate == rate
            for block in (frame,) if planar else resampler.resample(frame):
                if block.samples:
                    yield block.to_ndarray().T, rate
