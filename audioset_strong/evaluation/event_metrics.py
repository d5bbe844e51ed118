"""Event metrics beyond the paper: PSDS, and collar- and segment-based F1.

They are what DCASE task 4 and current work on AudioSet's strong labels report. Which detections
there are at every threshold, and which of them count, is told by the package sed_scores_eval (extra
"events"). It is asked class by class and clip by clip, and the counts are added up here: on its own
it keeps them for all classes and clips at once, tens of gigabytes for AudioSet, and PSDS2 for all
pairs of classes; nor do its own tables work under pandas 3. Where a class is not heard in a clip
every detection is wrong and there is nothing to ask: nearly all pairs of clip and class are so, and
all such clips are counted at once.

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

from audioset_strong.core import errors
from audioset_strong.labels import vocabularies

Event = tuple[float, float, int]  # onset and offset in seconds, class index

MAX_FP_PER_HOUR = 100.0
PSDS2_ALPHA_CT = 0.5
# Arguments of the package's criteria.
PSDS1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None}
PSDS2 = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3}
COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}


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

    def place(self, threshold: float) -> int:
        """The index of the counts of detections at or above a threshold."""
        return int(np.searchsorted(self.score, threshold))

    def best(self) -> int:
        """The index of the highest F1; of equals the highest threshold."""
        return len(self.score) - 1 - int(np.argmax(self._f1()[::-1]))

    def f1_at(self, index: int) -> "_F1":
        """F1 at an index; its threshold is the middle of those that give the same counts."""
        threshold = float(np.mean(self.score[max(index - 1, 0) : index + 1]))
        tp, fp = float(self.tp[index]), float(self.fp[index])
        return _F1(float(self._f1()[index]), threshold, tp, fp, self.events)

    def _f1(self) -> np.ndarray:
        return 2 * self.tp / (self.events + self.tp + self.fp)


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
    vocabulary: vocabularies.Vocabulary,
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
    clips = []
    for clip_id in sorted(scores):
        frames = scores[clip_id]
        try:
            times = boundaries(len(frames), seconds[clip_id], hop_s, frame_s)
        except errors.InputError as error:
            raise errors.InputError(f"{clip_id}: {error}") from error
        clips.append(_Clip(frames, times, _by_class(merge(events[clip_id], seconds[clip_id]))))
    num_events = np.zeros(len(vocabulary), np.int64)
    total_s = np.zeros(len(vocabulary))
    for clip in clips:
        for label, times in clip.events.items():
            num_events[label] += len(times)
            total_s[label] += np.diff(times).sum()
    used = np.flatnonzero(num_events).tolist()
    if not used:
        raise errors.InputError(f"no event in any of {len(clips)} clips")
    hours = float(sum(clip.times[-1] for clip in clips) / 3600)
    # Cross triggers are a rate a second of the other classes' events, and their mean counts.
    trigger_weight = PSDS2_ALPHA_CT * 3600 / max(len(used) - 1, 1)

    joined = _Joined(clips, total_s, segment_s)
    classes = []
    for label in used:
        counts = _counts(joined, label, total_s)
        classes.append(_summarised(counts, hours, trigger_weight, threshold))
        if on_class:
            on_class()
    measured = _over_classes(classes, vocabulary, num_events)
    values = measured.values | {
        "threshold": threshold,
        "hours": hours,
        "classes": float(len(used)),
        "classes_without_events": float(len(vocabulary) - len(used)),
        "events": float(num_events.sum()),
        "clips": float(len(clips)),
    }
    return dataclasses.replace(measured, values=values)


@dataclasses.dataclass(frozen=True)
class _Clip:
    """A clip.

    Attributes:
      scores: float `[frames, classes]`.
      times: float64 `[frames + 1]`, see `boundaries`.
      events: class -> float64 `[events, 2]`, onsets and offsets; merged.
    """

    scores: np.ndarray
    times: np.ndarray
    events: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _F1:
    """One class's F1 of one kind at one threshold, and the counts that it is made of."""

    value: float
    threshold: float
    tp: float
    fp: float
    events: int


@dataclasses.dataclass(frozen=True)
class _ClassSummary:
    """What is kept of one class: its PSD ROCs, and its F1 by name ("event", "event_best", ...)."""

    rocs: dict[str, Roc]
    f1: dict[str, _F1]


def _summarised(
    counts: Mapping[str, _Counts], hours: float, trigger_weight: float, threshold: float
) -> _ClassSummary:
    rocs = {}
    for kind in ("psds1", "psds2"):
        found = counts[kind]
        fp_per_hour = found.fp / hours + trigger_weight * found.triggers
        rocs[kind] = _roc(found.tp / found.events, fp_per_hour)
    f1 = {}
    for kind in ("event", "segment"):
        f1[kind] = counts[kind].f1_at(counts[kind].place(threshold))
        f1[f"{kind}_best"] = counts[kind].f1_at(counts[kind].best())
    return _ClassSummary(rocs, f1)


def _over_classes(
    classes: Sequence[_ClassSummary],
    vocabulary: vocabularies.Vocabulary,
    num_events: np.ndarray,
) -> Measured:
    """The metrics over all classes with events, in the order of the vocabulary."""
    used = num_events > 0
    table = pd.DataFrame(
        {"mid": vocabulary.mids, "display_name": vocabulary.names, "events": num_events}
    )
    rocs = {kind: [found.rocs[kind] for found in classes] for kind in ("psds1", "psds2")}
    for kind, of_classes in rocs.items():
        table.loc[used, kind] = [roc.area() for roc in of_classes]
    together = {
        "psds1": mean_roc(rocs["psds1"], 1.0),
        "psds1_macro": mean_roc(rocs["psds1"], 0.0),
        "psds2": mean_roc(rocs["psds2"], 1.0),
    }
    values = {name: roc.area() for name, roc in together.items()}
    for kind in ("event", "segment"):
        for suffix in ("", "_best"):
            found = [summary.f1[kind + suffix] for summary in classes]
            table.loc[used, f"{kind}_f1{suffix}"] = [f1.value for f1 in found]
            values[f"{kind}_f1_macro{suffix}"] = float(np.mean([f1.value for f1 in found]))
            tp, fp, events = np.sum([(f1.tp, f1.fp, f1.events) for f1 in found], axis=0)
            values[f"{kind}_f1_micro{suffix}"] = float(2 * tp / (events + tp + fp))
        table.loc[used, f"{kind}_best_threshold"] = [f1.threshold for f1 in found]
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


class _Joined:
    """All clips one behind the other, in slots: before each clip an empty one, then its frames."""

    def __init__(self, clips: Sequence[_Clip], total_s: np.ndarray, segment_s: float):
        """Joins clips.

        Args:
          clips: to be joined.
          total_s: float `[classes]`, seconds of each class's events.
          segment_s: length of the segments.
        """
        self.clips = clips
        lengths = np.array([len(clip.times) for clip in clips])
        empty = np.append(0, np.cumsum(lengths))  # the last one is behind all clips
        self._is_frame = np.ones(empty[-1] + 1, bool)
        self._is_frame[empty] = False
        self._clip = np.append(np.repeat(np.arange(len(clips)), lengths), len(clips))
        # Where each slot's frame begins; in an empty one, where the clip before ends.
        self._times = np.concatenate([[0.0], *(clip.times for clip in clips)])
        self.heard: dict[int, list[int]] = {}  # class -> clips
        # Of each clip and class that is heard in it, a pair: how long it has been heard where a
        # slot begins, at index `_pair_base + slot`; and the weight of a cross trigger.
        self._heard_s = np.concatenate(
            [_heard_s(times, clip.times) for clip in clips for times in clip.events.values()]
        )
        self._num_pairs = np.array([len(clip.events) for clip in clips])
        self._first_pair = np.cumsum(self._num_pairs) - self._num_pairs
        pair_lengths = np.repeat(lengths, self._num_pairs)
        self._pair_base = np.cumsum(pair_lengths) - pair_lengths
        self._pair_base -= np.repeat(empty[:-1] + 1, self._num_pairs)
        self._pair_weight = 1 / total_s[[label for clip in clips for label in clip.events]]
        self._present: dict[int, list[np.ndarray]] = {}  # class -> segments, by clip
        edges = []  # of each segment the first slot and the one behind the last
        segments = 0
        for i, clip in enumerate(clips):
            for label in clip.events:
                self.heard.setdefault(label, []).append(i)
            count = np.ceil(np.round(clip.times[-1] / segment_s, 6))
            begin = np.round(np.arange(count) * segment_s, 6)
            end = np.round(begin + segment_s, 6)  # the last one may reach beyond the clip
            first = np.searchsorted(clip.times, begin, side="right") - 1
            last = np.minimum(np.searchsorted(clip.times, end), len(clip.scores))
            edges.append(np.stack([first, last], axis=1) + empty[i] + 1)
            for label, times in clip.events.items():
                in_it = (times[:, :1] < end) & (times[:, 1:] > begin)
                found = segments + np.flatnonzero(in_it.any(axis=0))
                self._present.setdefault(label, []).append(found)
            segments += len(begin)
        self._edges = np.concatenate(edges).ravel()

    def scores(self, label: int) -> np.ndarray:
        """A class's scores, float64 `[slots]`; of the empty ones -inf."""
        joined = np.full(len(self._is_frame), -np.inf)
        joined[self._is_frame] = np.concatenate([clip.scores[:, label] for clip in self.clips])
        return joined

    def unheard(self, scores: np.ndarray, label: int) -> np.ndarray:
        """The changes of all clips without the class: false positives, and cross triggers.

        Detections are the runs of frames that reach a threshold. As it falls to a frame's score a
        new run is there, which reaches from the last lower frame before to the next one behind;
        as it falls on, to the higher one of these two, the run is there no more, for it grows.

        Args:
          scores: of `scores`.
          label: the class.

        Returns:
          See `_changes`.
        """
        before = _nearest_below(scores, or_equal=True)
        behind = len(scores) - 1 - _nearest_below(scores[::-1], or_equal=False)[::-1]
        # Of frames with one score in one run the first one stands for it: before each other one
        # there is a frame of that score, so that it goes as it comes.
        peak = np.flatnonzero(self._is_frame & ~np.isin(self._clip, self.heard[label]))
        first, last = before[peak] + 1, behind[peak]
        triggers = self._triggers(first, last, self._clip[peak])
        ones = np.ones(len(peak))
        there = np.stack([scores[peak], 0 * ones, ones, triggers], axis=1)
        gone = -there
        gone[:, 0] = np.maximum(scores[first - 1], scores[last])
        return _by_score([there, gone[np.isfinite(gone[:, 0])]])

    def _triggers(self, first: np.ndarray, last: np.ndarray, clip: np.ndarray) -> np.ndarray:
        """Of how many other classes' events detections are, a second of such events.

        Args:
          first: int `[detections]`, slot of its first frame.
          last: slot behind its last frame.
          clip: in which it is.

        Returns:
          float64 `[detections]`.
        """
        needed_s = np.round(PSDS2["cttc_threshold"] * (self._times[last] - self._times[first]), 6)
        triggers = np.zeros(len(first))
        left, nth = np.arange(len(first)), 0
        while True:
            left = left[self._num_pairs[clip[left]] > nth]
            if not len(left):
                return triggers
            pair = self._first_pair[clip[left]] + nth
            base = self._pair_base[pair]
            heard_s = self._heard_s[base + last[left]] - self._heard_s[base + first[left]]
            is_trigger = np.round(heard_s, 6) >= needed_s[left]
            triggers[left] += np.where(is_trigger, self._pair_weight[pair], 0.0)
            nth += 1

    def segments(self, scores: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """All segments.

        Args:
          scores: of `scores`.
          label: the class.

        Returns:
          float64 `[segments]`, the highest score in each, and bool `[segments]`, whether there is
          an event in it.
        """
        highest = np.maximum.reduceat(scores, self._edges)[::2]
        present = np.zeros(len(highest), bool)
        present[np.concatenate(self._present[label])] = True
        return highest, present


def _heard_s(events: np.ndarray, times: np.ndarray) -> np.ndarray:
    """How long events `[events, 2]` have been heard at times `[n]`."""
    return np.clip(times[:, np.newaxis] - events[:, 0], 0.0, np.diff(events)[:, 0]).sum(axis=1)


def _nearest_below(scores: np.ndarray, or_equal: bool) -> np.ndarray:
    """For each slot with a score, the last one before that has a lower (or equal) one.

    Args:
      scores: float64 `[slots]`; the first is -inf.
      or_equal: whether an equal score will do.

    Returns:
      int64 `[slots]`; without meaning where the score is -inf.
    """
    above = np.greater if or_equal else np.greater_equal
    place = np.arange(-1, len(scores) - 1)
    left = np.flatnonzero(np.isfinite(scores))
    while len(left):
        left = left[above(scores[place[left]], scores[left])]
        # All that the higher one has passed is higher still, however far it has come itself.
        place[left] = place[place[left]]
    return place


def _counts(joined: _Joined, label: int, total_s: np.ndarray) -> dict[str, _Counts]:
    """The counts of one class in all clips: "psds1", "psds2", "event" and "segment".

    Args:
      joined: the clips.
      label: the class; it is heard in one of them.
      total_s: float `[classes]`, seconds of each class's events.
    """
    curves = _package("sed_scores_eval.base_modules.cy_detection").onset_offset_curves
    overlap = _package("sed_scores_eval.intersection_based.intermediate_statistics").statistics_fn
    collar = _package("sed_scores_eval.collar_based.intermediate_statistics").statistics_fn
    scores = joined.scores(label)
    unheard = joined.unheard(scores, label)
    plain = unheard * np.array([1.0, 1.0, 1.0, 0.0])  # only PSDS2 knows of triggers
    changes = {"psds1": [plain], "psds2": [unheard], "event": [plain]}
    events = 0
    for clip in (joined.clips[i] for i in joined.heard[label]):
        own = clip.events[label]
        others = {k: times for k, times in clip.events.items() if k != label}
        score, onset, offset = curves(clip.scores[:, label].astype(np.float64), clip.times)
        arguments = {
            "detection_onset_times": onset,
            "detection_offset_times": offset,
            "target_onset_times": own[:, 0],
            "target_offset_times": own[:, 1],
            "other_onset_times": {k: times[:, 0] for k, times in others.items()},
            "other_offset_times": {k: times[:, 1] for k, times in others.items()},
        }
        for kind, criterion, settings in (
            ("psds1", overlap, PSDS1),
            ("psds2", overlap, PSDS2),
            ("event", collar, COLLARS),
        ):
            found = criterion(**arguments, **settings)
            triggers = sum(found["cts"][k] / total_s[k] for k in others) if kind == "psds2" else 0.0
            changes[kind].append(_changes(score, found["tps"], found["fps"], triggers))
        events += len(own)
    counted = {kind: _summed(listed, events) for kind, listed in changes.items()}
    highest, present = joined.segments(scores, label)
    segments = np.stack([highest, present, ~present, 0 * highest], axis=1)
    return counted | {"segment": _summed([segments], int(present.sum()))}


def _changes(
    score: np.ndarray, tp: np.ndarray, fp: np.ndarray, triggers: np.ndarray | float
) -> np.ndarray:
    """From counts where the threshold is each of a clip's scores, rising, to their changes.

    Returns:
      float64 `[scores, 4]`: a score, and how many correct detections, wrong ones and triggers come
      with it, as a threshold falls. Those of different clips can be added.
    """
    counts = np.stack(np.broadcast_arrays(score, tp, fp, triggers), axis=1).astype(np.float64)
    counts[:-1, 1:] -= counts[1:, 1:].copy()
    return counts


def _by_score(changes: Sequence[np.ndarray]) -> np.ndarray:
    """Adds up the changes of each score; by rising score."""
    joined = np.concatenate(changes)
    score, place = np.unique(joined[:, 0], return_inverse=True)
    return np.stack(
        [score, *(np.bincount(place, column, len(score)) for column in joined[:, 1:].T)], axis=1
    )


def _summed(changes: Sequence[np.ndarray], events: int) -> _Counts:
    nothing = np.array([[np.inf, 0.0, 0.0, 0.0]])
    by_score = _by_score([*changes, nothing])
    by_score = by_score[by_score[:, 1:].any(axis=1) | np.isinf(by_score[:, 0])]
    tp, fp, triggers = np.cumsum(by_score[::-1, 1:], axis=0)[::-1].T
    return _Counts(by_score[:, 0], tp, fp, triggers, events)


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
