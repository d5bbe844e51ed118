"""Audio files of any kind -> mono waveforms at one rate.

libsndfile decodes what it can, PyAV the rest (m4a, webm, mp4, ...), soxr resamples. What a decoder
returns is checked before it is trusted: damaged files decode to NaN, absurd values, or nothing.
"""

import numpy as np
import soundfile
import soxr

_MAX_SECONDS = 24 * 3600
_MAX_ABSOLUTE = 64.0  # float files may exceed 1; a damaged one exceeds anything


class AudioError(Exception):
    """A file that gives no usable audio; `status` is the manifest's word for why."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


def load(
    path: str, sample_rate: int = 16_000, offset_s: float = 0.0, duration_s: float | None = None
) -> np.ndarray:
    """Decodes a file, mixes it down to mono and resamples it.

    Args:
      path: an audio or video file.
      sample_rate: Hz, of the result.
      offset_s: where to begin.
      duration_s: how much to take; all of it by default. Less is returned where the file ends.

    Returns:
      float32 `[samples]`, in about [-1, 1].

    Raises:
      AudioError: undecodable, empty, or not to be trusted.
    """
    try:
        waveform, rate = _decode_soundfile(path, offset_s, duration_s)
    except (soundfile.LibsndfileError, MemoryError, ValueError, OverflowError) as first:
        waveform, rate = _decode_av(path, offset_s, duration_s, first)
    if not waveform.size:
        raise AudioError("empty", "no audio in the file at that time")
    if not np.isfinite(waveform).all():
        raise AudioError("undecodable", "decodes to values that are no numbers")
    if np.abs(waveform).max() > _MAX_ABSOLUTE:
        raise AudioError("undecodable", f"decodes to samples beyond {_MAX_ABSOLUTE:g}")
    mono = waveform.mean(axis=1) if waveform.ndim == 2 else waveform
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return mono.astype(np.float32)


def decode_clip(
    path: str,
    named_by_start: bool,
    start_s: float,
    duration_s: float,
    min_seconds: float,
    sample_rate: int,
) -> tuple[bytes, str, str]:
    """Decodes the file of one clip; called in worker processes, so nothing here needs TensorFlow.

    Args:
      path: the file.
      named_by_start: whether its name tells the clip's start: then it holds the clip and no more.
        Otherwise it is the full-length video when it is a second or more longer than the clip.
      start_s: of the clip in its video.
      duration_s: of the clip.
      min_seconds: shorter audio is too short.
      sample_rate: Hz, of the result.

    Returns:
      (int16 samples as bytes, manifest status, reason); the bytes are empty unless the status is
      "written".
    """
    try:
        offset_s = 0.0
        if not named_by_start and duration(path) >= duration_s + 1.0:
            offset_s = start_s
        pcm = to_pcm16(load(path, sample_rate, offset_s, duration_s))
    except AudioError as error:
        return b"", error.status, str(error)
    if len(pcm) < min_seconds * sample_rate:
        return b"", "too_short", f"{len(pcm) / sample_rate:.3f} s of audio"
    if not pcm.any():
        return b"", "silent", "nothing but zeros"
    return pcm.tobytes(), "written", ""


def duration(path: str) -> float:
    """Seconds of audio in a file, from its header.

    Raises:
      AudioError: no header that can be read.
    """
    try:
        info = soundfile.info(path)
        return info.frames / info.samplerate
    except (soundfile.LibsndfileError, ZeroDivisionError) as first:
        import av

        try:
            with av.open(path) as container:
                return (container.duration or 0) / av.time_base
        except (av.FFmpegError, ValueError) as second:
            raise AudioError("undecodable", f"{_words(first)}; {_words(second)}") from second


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """float `[samples]` -> int16 `[samples]`, clipped at full scale."""
    return np.clip(np.round(waveform * 32768.0), -32768, 32767).astype(np.int16)


def _decode_soundfile(
    path: str, offset_s: float, duration_s: float | None
) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        _check_rate(rate)
        if file.frames > _MAX_SECONDS * rate:
            raise AudioError("undecodable", f"header claims {file.frames} samples")
        if offset_s:
            file.seek(min(round(offset_s * rate), file.frames))
        frames = -1 if duration_s is None else round(duration_s * rate)
        return file.read(frames, dtype="float32", always_2d=True), rate


def _decode_av(
    path: str, offset_s: float, duration_s: float | None, first: Exception
) -> tuple[np.ndarray, int]:
    import av  # heavy, and most corpora never need it

    blocks: list[np.ndarray] = []
    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise AudioError("undecodable", "no audio stream")
            rate = container.streams.audio[0].rate
            _check_rate(rate)
            limit = _MAX_SECONDS if duration_s is None else offset_s + duration_s
            resampler = av.AudioResampler(format="fltp", rate=rate)
            total = 0
            for frame in container.decode(audio=0):
                for block in resampler.resample(frame):
                    blocks.append(block.to_ndarray().T)  # [samples, channels]
                    total += len(blocks[-1])
                if total >= limit * rate:
                    break
    except (av.FFmpegError, ValueError, MemoryError) as second:
        raise AudioError("undecodable", f"{_words(first)}; {_words(second)}") from second
    if not blocks:
        raise AudioError("empty", "no audio in the file")
    begin = round(offset_s * rate)
    end = None if duration_s is None else begin + round(duration_s * rate)
    return np.concatenate(blocks)[begin:end], rate


def _check_rate(rate: int) -> None:
    if not 1000 <= rate <= 768_000:
        raise AudioError("undecodable", f"sample rate {rate} Hz")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
