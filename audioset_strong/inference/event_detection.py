"""From frame scores to events: thresholds, a median filter and hysteresis, chunk by chunk.

`Detector` works on a stream; apart from the events it has found, its memory does not grow with the
length of the recording.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from audioset_strong.core import errors
from audioset_strong.evaluation import frame_times
from audioset_strong.labels import metadata, vocabularies


@dataclasses.dataclass(frozen=True)
class Event:
    """A sound from one time to another.

    Attributes:
      start_s, end_s: in seconds from the start of the recording.
      label: class index.
      peak: highest score after the median filter.
      mean: mean score after the median filter.
    """

    start_s: float
    end_s: float
    label: int
    peak: float
    mean: float

    def label_line(self, name: str) -> str:
        """A line of an Audacity label track: start, end and the name of the class."""
        return f"{self.start_s:.6f}\t{self.end_s:.6f}\t{name}\n"


@dataclasses.dataclass(frozen=True)
class EventSettings:
    """How scores become events.

    Attributes:
      thresholds: float `[classes]`; an event needs a frame with at least this score.
      hysteresis: in (0, 1]; an event continues while the score is at least this share of the
        threshold. 1 is a plain threshold.
      median_hops: length of the median filter over time in scores, one every hop; odd, 1 for no
        filter.

    Raises:
      errors.InputError: a setting outside its range.
    """

    thresholds: np.ndarray
    hysteresis: float = 1.0
    median_hops: int = 1

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            check_threshold(float(threshold), "threshold")
        if not 0.0 < self.hysteresis <= 1.0:
            raise errors.InputError(f"hysteresis {self.hysteresis}: must lie in (0, 1]")
        if self.median_hops < 1 or self.median_hops % 2 == 0:
            raise errors.InputError(
                f"median_hops {self.median_hops}: must be odd, at least 1 (1 for no filter)"
            )


def check_threshold(threshold: float, label: str) -> float:
    """Returns a threshold that is valid.

    Args:
      threshold: to check.
      label: names it in the message.

    Raises:
      errors.InputError: it lies outside (0, 1].
    """
    if not 0.0 < threshold <= 1.0:
        raise errors.InputError(f"{label} {threshold:g}: must lie in (0, 1]")
    return threshold


def read_thresholds(path: str, vocabulary: vocabularies.Vocabulary, default: float) -> np.ndarray:
    """Reads a threshold for each class.

    Args:
      path: CSV with a header that has the columns mid and threshold; other columns are ignored.
      vocabulary: of the model.
      default: threshold of the classes that the file does not name.

    Returns:
      float64 `[classes]`.

    Raises:
      errors.InputError: there is no such file or column; a class is unknown or named twice; a
        threshold lies outside (0, 1].
    """
    reader = csv.DictReader(io.StringIO(metadata.read_text(path)))
    if not {"mid", "threshold"} <= set(reader.fieldnames or ()):
        raise errors.InputError(f"{path}, line 1: must name the columns mid and threshold")
    thresholds = np.full(len(vocabulary), default)
    named: set[str] = set()
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        mid = (row["mid"] or "").strip()
        if mid not in vocabulary.index:
            raise errors.InputError(f"{where}: {mid!r} is not a class of the model")
        if mid in named:
            raise errors.InputError(f"{where}: {mid} is named twice")
        named.add(mid)
        try:
            value = float(row["threshold"] or "")
        except ValueError as error:
            raise errors.InputError(
                f"{where}: threshold {row['threshold']!r} is not a number"
            ) from error
        thresholds[vocabulary.index[mid]] = check_threshold(value, f"{where}: threshold")
    return thresholds


@dataclasses.dataclass
class _Run:
    """Frames [start, end) of one class at or above its lower threshold."""

    start: int
    end: int
    peak: float
    total: float


class Detector:
    """Finds the events of one recording while its scores come in.

    After the median filter, an event is a run of frames at or above the lower threshold of a class
    (hysteresis x threshold), at least one of which reaches the threshold itself. Frames overlap
    where the hop is shorter than 0.96 s; `frame_times.boundaries` gives the interval of each.
    """

    def __init__(self, settings: EventSettings, *, hop_s: float, frame_s: float):
        """Starts without frames.

        Args:
          settings: thresholds, filter and hysteresis.
          hop_s: seconds from the start of one frame to the start of the next.
          frame_s: length of a frame in seconds.
        """
        self._settings = settings
        self._hop_s, self._frame_s = hop_s, frame_s
        self._low = settings.thresholds * settings.hysteresis
        self._half = settings.median_hops // 2
        self._raw: np.ndarray | None = None  # frames that the filter still has to look back at
        self._frames = 0  # filtered so far
        self._open: dict[int, _Run] = {}
        self._closed: list[tuple[int, _Run]] = []

    def add(self, scores: np.ndarray) -> None:
        """Takes the next frames, float `[frames, classes]`."""
        if not len(scores):
            return
        if self._raw is None:
            self._raw = np.repeat(scores[:1], self._half, axis=0)  # as `median_filtered` does
        self._filter(scores)

    def finish(self, seconds: float) -> list[Event]:
        """Returns all events, ordered by start and class.

        Args:
          seconds: length of the recording; no event ends later.
        """
        if self._raw is not None and self._half:
            self._filter(np.repeat(self._raw[-1:], self._half, axis=0))
        for label, run in self._open.items():
            self._close(label, run)
        self._open = {}
        times = frame_times.boundaries(
            self._frames, hop_s=self._hop_s, frame_s=self._frame_s, seconds=seconds
        )
        events = [
            Event(
                start_s=float(times[run.start]),
                end_s=float(times[run.end]),
                label=label,
                peak=run.peak,
                mean=run.total / (run.end - run.start),
            )
            for label, run in self._closed
        ]
        return sorted(events, key=lambda event: (event.start_s, event.label))

    def _filter(self, scores: np.ndarray) -> None:
        """Filters the frames whose neighbours are known, and keeps the rest for the next call."""
        assert self._raw is not None
        raw = np.concatenate([self._raw, scores])
        self._raw = raw[max(len(raw) - 2 * self._half, 0) :]
        if len(raw) <= 2 * self._half:
            return
        filtered = frame_times.median_filtered(raw, self._settings.median_hops)
        self._extend(filtered[self._half : len(raw) - self._half])

    def _extend(self, filtered: np.ndarray) -> None:
        """Extends the runs that are open, and starts new ones."""
        count = len(filtered)
        active = np.zeros((count + 2, filtered.shape[1]), np.int8)
        active[1:-1] = filtered >= self._low
        edges = np.diff(active, axis=0).T  # [classes, count + 1]
        labels, starts = np.nonzero(edges == 1)
        ends = np.nonzero(edges == -1)[1]
        before, self._open = self._open, {}
        for label, start, end in zip(labels.tolist(), starts.tolist(), ends.tolist(), strict=True):
            part = filtered[start:end, label]
            run = _Run(
                self._frames + start, self._frames + end, float(part.max()), float(part.sum())
            )
            if start == 0 and label in before:
                begun = before.pop(label)
                run = _Run(begun.start, run.end, max(begun.peak, run.peak), begun.total + run.total)
            if end == count:
                self._open[label] = run
            else:
                self._close(label, run)
        for label, run in before.items():
            self._close(label, run)
        self._frames += count

    def _close(self, label: int, run: _Run) -> None:
        if run.peak >= self._settings.thresholds[label]:
            self._closed.append((label, run))


def detect(
    scores: np.ndarray,
    settings: EventSettings,
    *,
    seconds: float,
    hop_s: float,
    frame_s: float,
) -> list[Event]:
    """Finds the events of a whole recording.

    >>> scores = np.array([[0.1], [0.9], [0.6], [0.2]])
    >>> settings = EventSettings(np.array([0.8]), hysteresis=0.5)
    >>> found = detect(scores, settings, seconds=4.0, hop_s=1.0, frame_s=1.0)
    >>> [(event.start_s, event.end_s, event.label) for event in found]
    [(1.0, 3.0, 0)]

    Args:
      scores: float `[frames, classes]`, at least one frame.
      settings: thresholds, filter and hysteresis.
      seconds: length of the recording.
      hop_s: seconds from the start of one frame to the start of the next.
      frame_s: length of a frame in seconds.

    Returns:
      The events, ordered by start and class.
    """
    detector = Detector(settings, hop_s=hop_s, frame_s=frame_s)
    detector.add(scores)
    return detector.finish(seconds)


def settings_for(
    vocabulary: vocabularies.Vocabulary,
    *,
    threshold: float = 0.5,
    thresholds_file: str | None = None,
    hysteresis: float = 1.0,
    median_hops: int = 1,
) -> EventSettings:
    """Settings with one threshold for all classes, or a file of thresholds for some of them.

    Args:
      vocabulary: of the model.
      threshold: of the classes that the file does not name.
      thresholds_file: see `read_thresholds`.
      hysteresis: see `EventSettings`.
      median_hops: see `EventSettings`.

    Raises:
      errors.InputError: see `read_thresholds` and `EventSettings`.
    """
    check_threshold(threshold, "threshold")
    if thresholds_file is None:
        thresholds: np.ndarray | Sequence[float] = np.full(len(vocabulary), threshold)
    else:
        thresholds = read_thresholds(thresholds_file, vocabulary, threshold)
    return EventSettings(np.asarray(thresholds), hysteresis=hysteresis, median_hops=median_hops)
