"""What FFmpeg, through PyAV, decodes of a file: its samples in order, each at its time.

PyAV takes a while to be imported, and most files do not need it.
"""

import contextlib
import dataclasses
import io
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from audioset_strong.audio import pcm, structure

# A clip's status in the manifest, where its audio decides it.
WRITTEN, TOO_SHORT, SILENT, UNDECODABLE = "written", "too_short", "silent", "undecodable"
MIN_RATE, MAX_RATE = 1000, 768_000  # Hz, of any credible recording
BLOCK_S = 10.0  # how much is decoded at a time, about

_MAX_CHANNELS = 64
_PREROLL_S = 1.0  # decoded before the part that is asked for, so that decoders settle
_MAX_HOLE_S = 60.0  # in timestamps; with a longer one they are not those of the recording
_MAX_REPEAT_S = 5.0  # the same; where time goes back further, recordings were joined
_JITTER_S = 0.05  # by which timestamps differ from the number of samples in sound files
_EXACT_S = 0.002  # the same in formats that count samples, and everywhere behind damage
_CLAIM_S = 0.1  # by which a header may exceed what is there without being mentioned
_TIMED = ("mov", "matroska")  # containers with the timestamps of a video, where sound may be late
_INTEGERS = {"u8": (128, 1 << 7), "s32": (0, 1 << 31), "s64": (0, 1 << 63)}  # zero, full scale


_Piece = tuple[int, np.ndarray, int]  # as `Block`, with the samples as [channels, samples]


class AudioError(Exception):
    """A file without usable audio; `status` is what the manifest says of the clip."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


class Block(NamedTuple):
    """Consecutive samples.

    Attributes:
      begin: place of the first one in the recording, counted at `rate`.
      samples: float32 `[samples, channels]`.
      rate: Hz.
    """

    begin: int
    samples: np.ndarray
    rate: int

    @property
    def end_s(self) -> float:
        """Where the block ends in the recording, in seconds."""
        return (self.begin + len(self.samples)) / self.rate


@dataclasses.dataclass
class Decoding:
    """Decodes a file, or a part of it.

    Attributes:
      source: its path, or its bytes.
      follow: name of its container -> what its structure tells.
      damage: what was wrong with what was decoded, in words; "" if nothing was.
      complaints: of FFmpeg.
      end_s: where the sound that was decoded ends, in seconds.
      has_length: whether the header states a length; known at the end of the file.
    """

    source: str | bytes
    follow: Callable[[str], structure.Findings]
    damage: str = ""
    complaints: list[str] = dataclasses.field(default_factory=list)
    end_s: float = 0.0
    has_length: bool = False

    def blocks(self, begin_s: float, end_s: float) -> Iterator[Block]:
        """The samples of a part of the recording, without a gap.

        Damage ends it, unless timestamps tell where what follows belongs.

        Raises:
          AudioError: no audio in the file, or audio of an unknown kind or an implausible format.
          Exception: FFmpeg cannot open the file.
        """
        seek, begun = begin_s > _PREROLL_S, False
        while not begun:
            with self._opened() as (container, stream):
                seek = seek and _may_seek(container, stream)
                if seek:
                    ahead = round((begin_s - _PREROLL_S) / stream.time_base)
                    container.seek(ahead, stream=stream)
                for block in _joined(self._pieces(container, stream, seek), begin_s, end_s):
                    if seek and not begun and block.begin > round(begin_s * block.rate):
                        break  # the index of the file is wrong
                    begun = True
                    yield block
            if not seek:
                return
            seek = False

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """Gives the container and its first audio stream."""
        with contextlib.ExitStack() as stack:
            container = self._open(stack, {})
            if self.follow(_kind(container)).to_the_end:
                container = self._open(stack, {"ignore_length": "1"})
            if not container.streams.audio:
                raise AudioError(UNDECODABLE, "no audio stream")
            stream: Any = container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError(UNDECODABLE, "unknown audio codec")
            if stream.codec_context.name == "flac":
                stream.codec_context.options = {"err_detect": "crccheck"}
            yield container, stream

    def _open(self, stack: contextlib.ExitStack, options: dict[str, str]) -> Any:
        import av

        source: Any = self.source
        if isinstance(source, bytes):
            source = io.BytesIO(source)
        elif source != source.encode(errors="replace").decode():  # FFmpeg takes UTF-8
            source = stack.enter_context(open(source, "rb"))  # noqa: SIM115
        else:
            source = f"file:{source}"  # a name such as "x:y.mp4" is not a URL
        # Pages of Ogg files with a wrong checksum may hold any timestamp.
        options = {"err_detect": "crccheck", **options}
        return stack.enter_context(av.open(source, mode="r", options=options))

    def _pieces(self, container: Any, stream: Any, seeked: bool) -> Iterator[_Piece]:
        """The samples of each frame of the codec, and of the silence in holes."""
        import av

        damage = av.error.FFmpegError  # of one packet
        found = self.follow(_kind(container))
        clock = _Clock(container, stream, seeked, starts_late=found.starts_late)
        try:
            for packet in container.demux(stream):
                if found.broken_at is not None and (packet.pos or 0) >= found.broken_at:
                    self._note("broken, what follows has no known time", clock)
                    return
                clock.begin(packet)
                try:
                    frames = packet.decode()
                except damage as error:
                    self.complaints.append(complaint(error))
                    self._note(f"damaged ({self.complaints[-1]})", clock)
                    clock.tolerance_s = _EXACT_S
                    continue
                for frame in frames:
                    planes = _planes(frame)
                    if not clock.begun or frame.sample_rate != clock.rate:
                        check_format(frame.sample_rate, len(planes))
                    hole = clock.hole(frame)
                    if hole > _MAX_HOLE_S * frame.sample_rate:
                        self._note("broken, timestamps jump", clock)
                        return
                    if hole < 0:
                        self._note(f"{-hole / frame.sample_rate:.3f} s are repeated", clock)
                        planes = planes[:, -hole:]
                    if hole > 0 and (clock.begun or _kind(container) not in _TIMED):
                        self._note(f"{hole / frame.sample_rate:.3f} s are missing", clock)
                    if hole > 0:
                        silence = np.zeros((len(planes), hole), np.float32)
                        yield clock.place, silence, clock.rate
                        clock.place += hole
                    yield clock.place, planes, clock.rate
                    clock.place += planes.shape[1]
                    clock.begun = True
                    self.end_s = clock.place / clock.rate
        except Exception as error:  # damaged bytes make FFmpeg and PyAV raise anything
            if isinstance(error, AudioError) and not clock.begun:
                raise
            self.complaints.append(complaint(error))
            self._note(f"damaged ({self.complaints[-1]})", clock)
            return
        claim_s = _claimed_s(container, stream)
        self.has_length = claim_s > 0
        if claim_s - self.end_s > _CLAIM_S:
            self._note(f"cut off, the header claims {claim_s:.3f} s", clock)

    def _note(self, what: str, clock: "_Clock") -> None:
        at_s = clock.place / clock.rate if clock.rate else 0.0
        self.damage = self.damage or f"at {at_s:.3f} s: {what}"


class _Clock:
    """Compares the timestamps of frames with the number of samples before them.

    Attributes:
      place: of the next sample, counted at `rate`.
      rate: Hz; 0 before the first frame.
      begun: whether there was a frame.
      tolerance_s: how much timestamps and samples may differ, in seconds.
    """

    def __init__(self, container: Any, stream: Any, seeked: bool, *, starts_late: bool):
        self.place, self.rate = 0, 0
        self.begun = False
        self.tolerance_s = _EXACT_S if _kind(container) == "flac" else _JITTER_S
        self._timed = _kind(container) in _TIMED
        self._seeked = seeked
        absolute = self._timed or starts_late or _kind(container) == "flac"
        self._origin = 0 if absolute else stream.start_time  # in units of the timestamps
        self._unit_s = float(stream.time_base)
        self._total_s = _claimed_s(container, stream) if _kind(container) == "flac" else 0.0
        self._shift_s = 0.0  # added to all times

    def begin(self, packet: Any) -> None:
        """Takes the time of the first packet for the beginning, where nothing else tells it."""
        if self._origin is None:
            self._origin = packet.pts

    def hole(self, frame: Any) -> int:
        """The number of samples that are missing before a frame, at its rate.

        It is negative for those that are there again, and `sys.maxsize` if it cannot be told.
        """
        rate = frame.sample_rate
        if rate != self.rate:
            self.place = round(self.place * rate / self.rate) if self.rate else 0
            self.rate = rate
        if frame.pts is None or self._origin is None:
            return 0
        time_s = (frame.pts - self._origin) * self._unit_s + self._shift_s
        hole_s = time_s - self.place / self.rate
        if not self.begun and self._seeked:
            self.place = round(time_s * self.rate)
            return 0
        if not self.begun and self._timed:
            if hole_s <= _MAX_HOLE_S:
                self.place += min(round(hole_s * self.rate), 0)
                return max(round(hole_s * self.rate), 0)
            self._shift_s -= hole_s  # the clock began long before the recording
            return 0
        if hole_s > self.tolerance_s:
            return round(hole_s * self.rate)
        if self._timed and -_MAX_REPEAT_S < hole_s < -self.tolerance_s:
            return round(hole_s * self.rate)
        if self._total_s and hole_s < -self.tolerance_s:  # FLAC files that were joined
            whole = abs(self.place / self.rate - self._total_s) < _EXACT_S
            if not whole or time_s - self._shift_s > _EXACT_S:
                return sys.maxsize
            self._total_s = 0.0
        if hole_s < -self.tolerance_s or not self._timed:
            self._shift_s -= hole_s  # streams were joined; or the codec has a delay
        return 0


def _kind(container: Any) -> str:
    return container.format.name.partition(",")[0]


def _may_seek(container: Any, stream: Any) -> bool:
    """Whether timestamps grow with the samples from 0 on: no late start, no edits, no fragments."""
    size = stream.codec_context.frame_size
    if _kind(container) != "mov" or stream.start_time != 0 or not (stream.frames and size):
        return False
    seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
    return abs(stream.frames * size - seconds * stream.rate) <= 4 * size


def _claimed_s(container: Any, stream: Any) -> float:
    """The length that the header states, in seconds; 0 where it is none or an estimate."""
    kind = _kind(container)
    if kind == "mov" and stream.duration:
        return float((stream.duration + max(stream.start_time or 0, 0)) * stream.time_base)
    if kind == "flac" or (kind in _TIMED and len(container.streams) == 1):
        return (container.duration or 0) / 1_000_000
    return 0.0


def _joined(pieces: Iterator[_Piece], begin_s: float, end_s: float) -> Iterator[Block]:
    """The part of the recording, in blocks of about `BLOCK_S`."""
    gathered: list[np.ndarray] = []
    first, gathered_s = 0, 0.0
    form = (0, 0)  # rate and channels of what is gathered
    begin, end = 0, sys.maxsize
    for place, planes, rate in pieces:
        channels, size = planes.shape
        if form != (rate, channels) or gathered_s >= BLOCK_S:
            if gathered:
                yield Block(first, np.concatenate(gathered, axis=1).T, form[0])
            gathered, gathered_s, form = [], 0.0, (rate, channels)
            begin = round(begin_s * rate)
            end = sys.maxsize if math.isinf(end_s) else round(end_s * rate)
        if place + size > begin and place < end:
            if not gathered:
                first = max(place, begin)
            inside = begin <= place and place + size <= end  # as almost all are
            gathered.append(planes if inside else planes[:, max(begin - place, 0) : end - place])
            gathered_s += size / rate
        if place + size >= end:
            break
    if gathered:
        yield Block(first, np.concatenate(gathered, axis=1).T, form[0])


def _planes(frame: Any) -> np.ndarray:
    """The samples of an `av.AudioFrame`: float32 `[channels, samples]`."""
    name = frame.format.name
    samples = frame.to_ndarray()
    if name == "fltp":
        return samples
    samples = samples if name.endswith("p") else samples.reshape(frame.samples, -1).T
    kind = name.removesuffix("p")
    if kind == "s16":
        return pcm.to_float(samples)
    if kind in _INTEGERS:
        zero, scale = _INTEGERS[kind]
        return ((samples.astype(np.float64) - zero) / scale).astype(np.float32)
    return samples.astype(np.float32, copy=False)


def check_format(rate: int, channels: int) -> None:
    """Raises AudioError where a header claims a rate (Hz) or channels that no recording has."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(UNDECODABLE, f"header claims a sample rate of {rate} Hz")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError(UNDECODABLE, f"header claims {channels} channels")


def complaint(error: Exception) -> str:
    """What a decoder complains about, in one line."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return " ".join(str(words or error or type(error).__name__).split()).rstrip(".")
