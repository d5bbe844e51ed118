"""Event metrics beyond the paper: PSDS, and collar- and segment-based F1.

They are what DCASE task 4 and current work on AudioSet's strong labels report. Which detections
there are at every threshold, and which of them count, is told by the package sed_scores_eval (extra
"events"). It is asked class by class and clip by clip, and the counts are added up here: on its own
it keeps them for all classes and clips at once, tens of gigabytes for AudioSet, and PSDS2 for all
pairs of classes; nor do its own tables work under pandas 3.

Names:
  psds1         Polyphonic Sound Detection Score, scenario 1 of DCASE 2021-2023 task 4: exact timing
                (DTC 0.7, GTC 0.7, alpha_ct 0, alpha_st 1, up to 100 false positives an hour)
  psds1_macro   the same without the penalty on differences between classes (alpha_st 0), the mean
                of the classes' PSDS1; what work on AudioSet's strong labels calls PSDS1
  psds2         scenario 2: no confusions (DTC 0.1, GTC 0.1, CTTC 0.3, alpha_ct 0.5, alpha_st 1)
  event_f1_*    a detection counts where its onset is within 0.2 s, and its offset within 0.2 s or a
                fifth of the event's length, whichever is more
  segment_f1_*  presence in segments of one second
F1 is macro, the mean of the classes, or micro, of all their counts together; at one threshold for
all classes, or with `_best` at each class's best one, which the evaluated clips themselves tell.

Classes without an event are left out, and counted. Events of one class that overlap or touch are
one event. What lies behind a clip's end is cut off.

Sources: Bilen et al. 2020, "A framework for the robust evaluation of sound event detection"; Ebbers
et al. 2022, "Threshold-independent evaluation of sound event detection scores"; Mesaros et al.
2016, "Metrics for polyphonic sound event detection".
"""

import dataclasses
import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audioset_strong import errors
from audioset_strong.labels import vocabulary as vocabulary_lib

Event = tuple[float, float, int]  # onset and offset in seconds, class index

MAX_FP_PER_HOUR = 100.0
PSDS2_ALPHA_CT = 0.5
# Arguments of the package's criteria.
PSDS1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None}
PSDS2 = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3}
COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}

_KINDS = ("psds1", "psds2", "event", "segment")


@dataclasses.dataclass(frozen=True)
class Roc:
    """A staircase of true positive rates; from one point to the next the rate stays.

    Attributes:
      fp_per_hour: float64 `[points]`, effective false positives an hour, rising from 0.
      tp_rate: float64 `[points]`, in [0, 1].
    """

    fp_per_hour: np.ndarray
    tp_rate: np.ndarray

    def at(self, fp_per_hour: np.ndarray) -> np.ndarray:
        """The true positive rates at other points, from 0 on."""
        return self.tp_rate[np.searchsorted(self.fp_per_hour, fp_per_hour, side="right") - 1]

    def area(self) -> float:
        """The mean true positive rate up to `MAX_FP_PER_HOUR`: the PSDS."""
        widths = np.diff(self.fp_per_hour, append=MAX_FP_PER_HOUR)
        return float(self.tp_rate @ widths / MAX_FP_PER_HOUR)


@dataclasses.dataclass(frozen=True)
class Measured:
    """The event metrics of one model on one set of clips.

    Attributes:
      values: metric name -> value.
      per_class: one row a class of the vocabulary: mid, display_name, events, psds1, psds2, and of
        both kinds of F1 `event_f1`, `event_f1_best` and `event_best_threshold`; NaN without event.
      rocs: "psds1", "psds1_macro" and "psds2" -> their curves over all classes.
    """

    values: dict[str, float]
    per_class: pd.DataFrame
    rocs: dict[str, Roc]


@dataclasses.dataclass(frozen=True)
class _Counts:
    """One class's counts where the threshold is each of its scores, rising, all `[scores]`.

    Attributes:
      score: float64; the last is infinite, where nothing is detected.
      tp, fp: float64, correct and wrong detections (or segments).
      triggers: float64, wrong detections that are an event of another class, a second of such
        events, summed over the other classes.
      events: of the class (or segments with one).
    """

    score: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    triggers: np.ndarray
    events: int

    def f1(self) -> np.ndarray:
        return 2 * self.tp / (self.events + self.tp + self.fp)

    def at(self, threshold: float) -> int:
        """The index of the counts of detections at or above a threshold."""
        return int(np.searchsorted(self.score, threshold))

    def best(self) -> int:
        """The index of the highest F1; of equals the highest threshold."""
        return len(self.score) - 1 - int(np.argmax(self.f1()[::-1]))

    def threshold(self, index: int) -> float:
        """Halfway from a score to the next one below."""
        return float(np.mean(self.score[max(index - 1, 0) : index + 1]))


def check_installed() -> None:
    """Raises InputError where the package sed_scores_eval is missing."""
    _package("sed_scores_eval")


def _package(name: str) -> Any:
    """A module of the package, which is an option."""
    try:
        with warnings.catch_warnings():  # what the package needs warns of pkg_resources
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise errors.InputError(
            f"event metrics: sed_scores_eval is missing ({error}); "
            "pip install 'audioset_strong[events]'"
        ) from error


def boundaries(frames: int, seconds: float, hop_s: float, frame_s: float) -> np.ndarray:
    """Where the time that each frame speaks for begins, and where that of the last one ends.

    As in `inference.events`: of frames that overlap each speaks for the hop in its middle, the
    first one also for all before, the last one for all behind.

    Args:
      frames: of the recording, at least one.
      seconds: length of the recording.
      hop_s: from one frame to the next.
      frame_s: length of a frame.

    Returns:
      float64 `[frames + 1]`, rising, from 0 to `seconds`.

    Raises:
      errors.InputError: frames that would speak for what is behind the end.
    """
    inner = np.round(np.arange(1, frames) * hop_s + (frame_s - hop_s) / 2, 6)
    times = np.concatenate([[0.0], inner, [seconds]])
    if not np.all(np.diff(times) > 0):
        raise errors.InputError(
            f"{frames} frames at a hop of {hop_s:g} s do not fit into {seconds:g} s"
        )
    return times


def merge(events: Sequence[Event], seconds: float) -> list[Event]:
    """Events of a clip, by class and onset: joined where those of one class overlap or touch.

    Args:
      events: in any order.
      seconds: length of the clip, at which events are cut off.
    """
    merged: list[Event] = []
    for onset, offset, label in sorted(events, key=lambda event: (event[2], event[0])):
        onset, offset = max(onset, 0.0), min(offset, seconds)
        if offset <= onset:
            continue
        if merged and merged[-1][2] == label and onset <= merged[-1][1]:
            onset, before, _ = merged.pop()
            offset = max(before, offset)
        merged.append((onset, offset, label))
    return merged


def measure(
    scores: Mapping[str, np.ndarray],
    events: Mapping[str, Sequence[Event]],
    seconds: Mapping[str, float],
    vocabulary: vocabulary_lib.Vocabulary,
    hop_s: float,
    frame_s: float,
    threshold: float = 0.5,
    segment_s: float = 1.0,
    on_class: Callable[[], None] | None = None,
) -> Measured:
    """Measures the events of a model.

    Args:
      scores: clip id -> float `[frames, classes]`, a frame every `hop_s`, see `boundaries`.
      events: clip id -> what is heard there; of a clip without event, an empty list.
      seconds: clip id -> length of the clip.
      vocabulary: the classes.
      hop_s: from one frame to the next.
      frame_s: length of a frame.
      threshold: of the F1 without `_best`; a frame at or above it is a detection.
      segment_s: length of the segments of segment_f1.
      on_class: called for each class that is done, for progress.

    Raises:
      errors.InputError: the package is missing; no clip, or no event; scores of another shape or
        that are no numbers; clips without events, length or scores; events that are none.
    """
    check_installed()
    _check(scores, events, seconds, len(vocabulary), segment_s)
    clips = {}
    for clip_id in sorted(scores):
        frames = scores[clip_id]
        try:
            times = boundaries(len(frames), seconds[clip_id], hop_s, frame_s)
        except errors.InputError as error:
            raise errors.InputError(f"{clip_id}: {error}") from error
        clips[clip_id] = _Clip(frames, times, merge(events[clip_id], seconds[clip_id]))
    num_events = np.zeros(len(vocabulary), np.int64)
    total_s = np.zeros(len(vocabulary))
    for clip in clips.values():
        for onset, offset, label in clip.events:
            num_events[label] += 1
            total_s[label] += offset - onset
    used = np.flatnonzero(num_events).tolist()
    if not used:
        raise errors.InputError(f"no event in any of {len(clips)} clips")
    hours = sum(clip.times[-1] for clip in clips.values()) / 3600

    counts: dict[str, list[_Counts]] = {kind: [] for kind in _KINDS}
    for label in used:
        tallies = _tallies(list(clips.values()), label, total_s, segment_s)
        for kind, tally in tallies.items():
            counts[kind].append(tally.counts())
        if on_class:
            on_class()
    measured = _summarised(vocabulary, num_events, counts, float(hours), threshold)
    return dataclasses.replace(measured, values=measured.values | {"clips": float(len(clips))})


@dataclasses.dataclass(frozen=True)
class _Clip:
    scores: np.ndarray  # [frames, classes]
    times: np.ndarray  # [frames + 1]
    events: list[Event]


def _summarised(
    vocabulary: vocabulary_lib.Vocabulary,
    num_events: np.ndarray,
    counts: Mapping[str, list[_Counts]],
    hours: float,
    threshold: float,
) -> Measured:
    """From the counts of the classes with events, in order, to the metrics over all of them."""
    used = num_events > 0
    # Cross triggers are a rate a second of the other classes' events, and their mean counts.
    trigger_weight = PSDS2_ALPHA_CT * 3600 / max(int(used.sum()) - 1, 1)
    rocs = {
        kind: [
            _roc(found.tp / found.events, found.fp / hours + trigger_weight * found.triggers)
            for found in counts[kind]
        ]
        for kind in ("psds1", "psds2")
    }
    together = {
        "psds1": mean_roc(rocs["psds1"], 1.0),
        "psds1_macro": mean_roc(rocs["psds1"], 0.0),
        "psds2": mean_roc(rocs["psds2"], 1.0),
    }
    values = {name: roc.area() for name, roc in together.items()}
    table = pd.DataFrame(
        {"mid": vocabulary.mids, "display_name": vocabulary.names, "events": num_events}
    )
    for name, of_classes in rocs.items():
        table.loc[used, name] = [roc.area() for roc in of_classes]
    for kind in ("event", "segment"):
        found = counts[kind]
        best = [count.best() for count in found]
        for suffix, places in (("", [count.at(threshold) for count in found]), ("_best", best)):
            f1 = [count.f1()[i] for count, i in zip(found, places, strict=True)]
            values[f"{kind}_f1_macro{suffix}"] = float(np.mean(f1))
            values[f"{kind}_f1_micro{suffix}"] = _micro_f1(found, places)
            table.loc[used, f"{kind}_f1{suffix}"] = f1
        thresholds = [count.threshold(i) for count, i in zip(found, best, strict=True)]
        table.loc[used, f"{kind}_best_threshold"] = thresholds
    values |= {
        "threshold": threshold,
        "hours": hours,
        "classes": float(used.sum()),
        "classes_without_events": float((~used).sum()),
        "events": float(num_events.sum()),
    }
    return Measured(values, table, together)


def _check(
    scores: Mapping[str, np.ndarray],
    events: Mapping[str, Sequence[Event]],
    seconds: Mapping[str, float],
    num_classes: int,
    segment_s: float,
) -> None:
    if not segment_s > 0:
        raise errors.InputError(f"segment_s {segment_s}: must be more than 0")
    if not scores:
        raise errors.InputError("event metrics: no clip")
    for what, given in (("events", events), ("seconds", seconds)):
        odd = scores.keys() ^ given.keys()
        if odd:
            raise errors.InputError(f"{min(odd)}: a clip of either scores or {what}; must be both")
    for clip_id, frames in scores.items():
        if frames.ndim != 2 or frames.shape[1] != num_classes or not len(frames):
            raise errors.InputError(
                f"{clip_id}: scores of shape {frames.shape}; must be [frames, {num_classes}]"
            )
        if not np.isfinite(frames).all():
            raise errors.InputError(f"{clip_id}: scores that are no numbers")
        for onset, offset, label in events[clip_id]:
            if not (0 <= label < num_classes and onset < offset):
                raise errors.InputError(
                    f"{clip_id}: event from {onset} to {offset} s of class {label}; must end after "
                    f"its onset, and be of one of {num_classes} classes"
                )


class _Tally:
    """Sums the counts of clips at every threshold."""

    def __init__(self) -> None:
        # Above all scores nothing is detected.
        self._scores, self._changes = [np.array([np.inf])], [np.zeros((1, 3))]
        self._events = 0

    def add(
        self,
        score: np.ndarray,
        tp: np.ndarray | float,
        fp: np.ndarray | float,
        triggers: np.ndarray | float,
        events: int,
    ) -> None:
        """Adds a clip: its counts where the threshold is each of its scores, rising."""
        counts = np.stack(np.broadcast_arrays(tp, fp, triggers, score)[:3], axis=1)
        # What each score adds to the ones above it: so clips of different scores can be summed.
        changes = counts - np.pad(counts[1:], ((0, 1), (0, 0)))
        changed = changes.any(axis=1)
        self._scores.append(score[changed])
        self._changes.append(changes[changed])
        self._events += events

    def counts(self) -> _Counts:
        unique, place = np.unique(np.concatenate(self._scores), return_inverse=True)
        changes = np.concatenate(self._changes)
        summed = np.stack([np.bincount(place, column) for column in changes.T])
        tp, fp, triggers = np.cumsum(summed[:, ::-1], axis=1)[:, ::-1]
        return _Counts(unique, tp, fp, triggers, self._events)


def _tallies(
    clips: Sequence[_Clip], label: int, total_s: np.ndarray, segment_s: float
) -> dict[str, _Tally]:
    """The counts of one class in all clips, by kind of metric.

    Args:
      clips: to be searched.
      label: the class.
      total_s: float `[classes]`, seconds of each class's events.
      segment_s: length of the segments.
    """
    curves = _package("sed_scores_eval.base_modules.cy_detection").onset_offset_curves
    overlap = _package("sed_scores_eval.intersection_based.intermediate_statistics").statistics_fn
    collar = _package("sed_scores_eval.collar_based.intermediate_statistics").statistics_fn
    tallies = {kind: _Tally() for kind in _KINDS}
    for clip in clips:
        heard = _by_class(clip.events)
        own = heard.pop(label, np.zeros((0, 2)))
        scores = clip.scores[:, label].astype(np.float64)
        score, onset, offset = curves(scores, clip.times)
        arguments = {
            "detection_onset_times": onset,
            "detection_offset_times": offset,
            "target_onset_times": own[:, 0],
            "target_offset_times": own[:, 1],
            "other_onset_times": {k: times[:, 0] for k, times in heard.items()},
            "other_offset_times": {k: times[:, 1] for k, times in heard.items()},
        }
        for kind, criterion, settings in (
            ("psds1", overlap, PSDS1),
            ("psds2", overlap, PSDS2),
            ("event", collar, COLLARS),
        ):
            if len(own) or kind == "psds2":
                found = criterion(**arguments, **settings)
                tp, fp = found["tps"], found["fps"]
            else:  # to know without asking saves much time: most classes are not heard in a clip
                tp, fp = 0.0, (offset > onset).sum(axis=1)
            triggers = sum(found["cts"][k] / total_s[k] for k in heard) if kind == "psds2" else 0.0
            tallies[kind].add(score, tp, fp, triggers, len(own))
        score, present = _segments(scores, clip.times, own, segment_s)
        tp, fp = (np.cumsum(kind[::-1])[::-1] for kind in (present, ~present))
        tallies["segment"].add(score, tp, fp, 0.0, int(present.sum()))
    return tallies


def _segments(
    scores: np.ndarray, times: np.ndarray, events: np.ndarray, segment_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """A clip's segments, by rising score.

    Args:
      scores: float `[frames]`, of one class.
      times: float `[frames + 1]`, see `boundaries`.
      events: float `[events, 2]`, onsets and offsets of the class.
      segment_s: length of a segment; the last one may be cut short.

    Returns:
      float `[segments]`, the highest score in each, and bool `[segments]`, whether there is an
      event in it.
    """
    begin = np.round(np.arange(np.ceil(times[-1] / segment_s)) * segment_s, 6)
    end = np.round(begin + segment_s, 6)
    first = np.searchsorted(times, begin, side="right") - 1
    last = np.minimum(np.searchsorted(times, end), len(scores))
    highest = np.array([scores[i:j].max() for i, j in zip(first, last, strict=True)])
    in_it = (events[:, :1] < end) & (events[:, 1:] > begin)
    order = np.argsort(highest)
    return highest[order], in_it.any(axis=0)[order]


def _by_class(events: Sequence[Event]) -> dict[int, np.ndarray]:
    """Class -> float64 `[events, 2]`, onsets and offsets."""
    found: dict[int, list[tuple[float, float]]] = {}
    for onset, offset, label in events:
        found.setdefault(label, []).append((onset, offset))
    return {label: np.array(times) for label, times in found.items()}


def _roc(tp_rate: np.ndarray, fp_per_hour: np.ndarray) -> Roc:
    """One class's PSD ROC: what can be reached with at most so many false positives."""
    fp_per_hour = np.maximum(fp_per_hour, 0.0)  # sums of cross triggers are not exact
    order = np.lexsort((tp_rate, fp_per_hour))
    fp_per_hour, tp_rate = fp_per_hour[order], np.maximum.accumulate(tp_rate[order])
    last = np.append(fp_per_hour[1:] > fp_per_hour[:-1], True) & (fp_per_hour <= MAX_FP_PER_HOUR)
    fp_per_hour, tp_rate = fp_per_hour[last], tp_rate[last]
    higher = np.append(True, tp_rate[1:] > tp_rate[:-1])
    return Roc(fp_per_hour[higher], tp_rate[higher])


def mean_roc(rocs: Sequence[Roc], alpha_st: float) -> Roc:
    """The PSD ROC over classes: their mean less `alpha_st` standard deviations, at least 0."""
    points = np.unique(np.concatenate([roc.fp_per_hour for roc in rocs]))
    # Class by class, for a matrix of all would be large.
    mean, variance = np.zeros((2, len(points)))
    for roc in rocs:
        mean += roc.at(points) / len(rocs)
    for roc in rocs:
        variance += (roc.at(points) - mean) ** 2 / len(rocs)
    return Roc(points, np.maximum(mean - alpha_st * np.sqrt(variance), 0.0))


def _micro_f1(counts: Sequence[_Counts], places: Sequence[int]) -> float:
    """F1 of the counts of all classes together, of each at its own place."""
    tp, fp, events = np.sum(
        [(c.tp[i], c.fp[i], c.events) for c, i in zip(counts, places, strict=True)], axis=0
    )
    return float(2 * tp / (events + tp + fp))
