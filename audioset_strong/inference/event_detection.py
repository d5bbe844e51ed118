"""From frame scores to events: thresholds, a median filter and hysteresis, chunk by chunk.

All of it works on a stream: what `Detector` holds does not grow with the recording.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from audioset_strong.core import errors
from audioset_strong.labels import metadata, vocabularies


@dataclasses.dataclass(frozen=True)
class Event:
    """A sound from one time to another.

    Attributes:
      start_s, end_s: in seconds from the beginning of the recording.
      label: class index.
      peak: its highest (filtered) score.
      mean: its mean (filtered) score.
    """

    start_s: float
    end_s: float
    label: int
    peak: float
    mean: float


@dataclasses.dataclass(frozen=True)
class Settings:
    """How scores become events.

    Attributes:
      thresholds: float `[classes]`; an event needs a frame with at least this score.
      hysteresis: in (0, 1]; an event goes on while the score is at least this share of the
        threshold. 1 is a plain threshold.
      median_frames: length of the median filter over time, odd; 1 is none.
    """

    thresholds: np.ndarray
    hysteresis: float = 1.0
    median_frames: int = 1

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            check_threshold(float(threshold), "threshold")
        if not 0.0 < self.hysteresis <= 1.0:
            raise errors.InputError(f"hysteresis {self.hysteresis}: must lie in (0, 1]")
        if self.median_frames < 1 or self.median_frames % 2 == 0:
            raise errors.InputError(f"median_frames {self.median_frames}: must be odd, 1 or more")


def check_threshold(threshold: float, what: str) -> float:
    """Raises InputError, beginning with `what`, where a number is no threshold."""
    if not 0.0 < threshold <= 1.0:
        raise errors.InputError(f"{what} {threshold:g}: must lie in (0, 1]")
    return threshold


def read_thresholds(path: str, vocabulary: vocabularies.Vocabulary, default: float) -> np.ndarray:
    """Reads thresholds of classes.

    Args:
      path: CSV with a header that has the columns mid and threshold; others are passed over.
      vocabulary: of the model.
      default: of the classes that the file does not name.

    Returns:
      float64 `[classes]`.

    Raises:
      errors.InputError: no such file or columns, a class that the model lacks or that is named
        twice, a threshold outside (0, 1].
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
            raise errors.InputError(f"{where}: {mid!r} is none of the model's classes")
        if mid in named:
            raise errors.InputError(f"{where}: {mid} is named twice")
        named.add(mid)
        try:
            value = float(row["threshold"] or "")
        except ValueError as error:
            raise errors.InputError(
                f"{where}: threshold {row['threshold']!r} is no number"
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

    An event is a run of frames at or above the class's lower threshold (hysteresis x threshold) of
    which one reaches the threshold itself, after the median filter. Frames overlap where the hop is
    shorter than 0.96 s; each speaks for the hop in its middle, the first one also for all before,
    the last one for all behind.
    """

    def __init__(self, settings: Settings, hop_s: float, frame_s: float):
        self._settings = settings
        self._hop_s, self._lead_s = hop_s, (frame_s - hop_s) / 2
        self._low = settings.thresholds * settings.hysteresis
        self._half = settings.median_frames // 2
        self._raw: np.ndarray | None = None  # frames that the filter has still to look back at
        self._frames = 0  # filtered so far
        self._open: dict[int, _Run] = {}
        self._closed: list[tuple[int, _Run]] = []

    def add(self, scores: np.ndarray) -> None:
        """Takes the next frames, float `[frames, classes]`."""
        if not len(scores):
            return
        if self._raw is None:
            # As scipy's mode "nearest": beyond an end its frame goes on.
            self._raw = np.repeat(scores[:1], self._half, axis=0)
        self._filter(scores)

    def finish(self, seconds: float) -> list[Event]:
        """All events, by start and class.

        Args:
          seconds: length of the recording, where the last ones end at the latest.
        """
        if self._raw is not None and self._half:
            self._filter(np.repeat(self._raw[-1:], self._half, axis=0))
        for label, run in self._open.items():
            self._close(label, run)
        self._open = {}
        events = [
            Event(
                start_s=self._time(run.start, seconds),
                end_s=self._time(run.end, seconds),
                label=label,
                peak=run.peak,
                mean=run.total / (run.end - run.start),
            )
            for label, run in self._closed
        ]
        return sorted(events, key=lambda event: (event.start_s, event.label))

    def _time(self, frame: int, seconds: float) -> float:
        """Where the time that a frame speaks for begins."""
        if frame == 0:
            return 0.0
        if frame == self._frames:
            return seconds
        return min(round(frame * self._hop_s + self._lead_s, 6), seconds)

    def _filter(self, scores: np.ndarray) -> None:
        assert self._raw is not None
        width = self._settings.median_frames
        raw = np.concatenate([self._raw, scores])
        self._raw = raw[max(len(raw) - (width - 1), 0) :]
        if len(raw) < width:
            return
        windows = np.lib.stride_tricks.sliding_window_view(raw, width, axis=0)
        self._extend(np.median(windows, axis=-1) if width > 1 else raw)

    def _extend(self, filtered: np.ndarray) -> None:
        """Goes on with the runs that are open, and begins new ones."""
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
                held = before.pop(label)
                run = _Run(held.start, run.end, max(held.peak, run.peak), held.total + run.total)
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
    scores: np.ndarray, settings: Settings, seconds: float, hop_s: float, frame_s: float
) -> list[Event]:
    """The events of a whole recording; see `Detector`."""
    detector = Detector(settings, hop_s, frame_s)
    detector.add(scores)
    return detector.finish(seconds)


def settings_for(
    vocabulary: vocabularies.Vocabulary,
    threshold: float = 0.5,
    thresholds_file: str | None = None,
    hysteresis: float = 1.0,
    median_frames: int = 1,
) -> Settings:
    """Settings from one threshold for all classes, and a file for some of them.

    Raises:
      errors.InputError: see `read_thresholds` and `Settings`.
    """
    check_threshold(threshold, "threshold")
    if thresholds_file is None:
        thresholds: np.ndarray | Sequence[float] = np.full(len(vocabulary), threshold)
    else:
        thresholds = read_thresholds(thresholds_file, vocabulary, threshold)
    return Settings(np.asarray(thresholds), hysteresis, median_frames)
