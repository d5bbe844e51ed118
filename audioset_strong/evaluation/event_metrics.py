"""Event metrics beyond the paper: PSDS, and collar- and segment-based F1.

DCASE task 4 and current work on AudioSet's strong labels report them.

  psds1         polyphonic sound detection score, scenario 1 of DCASE 2021-2023 task 4: exact timing
                (DTC 0.7, GTC 0.7, alpha_ct 0, alpha_st 1, up to 100 false positives an hour)
  psds1_macro   the same without the penalty on differences between classes (alpha_st 0), which is
                the mean of the classes' PSDS1 and what work on AudioSet's strong labels calls PSDS1
  psds2         scenario 2: no confusions (DTC 0.1, GTC 0.1, CTTC 0.3, alpha_ct 0.5, alpha_st 1)
  event_f1_*    a detection is correct if its onset is within 0.2 s, and its offset within the
                larger of 0.2 s and a fifth of the event's length
  segment_f1_*  presence in segments of one second

F1 is `macro`, the mean of the classes, or `micro`, of the summed counts; at one threshold for all
classes, or with `_best` at the one of each class that gives it the highest F1, which the evaluated
clips themselves decide. So `macro_best` is an upper bound: no thresholds give a higher macro F1.
`micro_best` is none. A class that is hardly recognised has its best F1 where nearly everything is
detected, and its wrong detections count against all classes, so `micro` at one threshold may be
higher. Both are what sed_scores_eval's `best_fscore` gives.

PSDS1 takes the standard deviation between classes off their mean and is 0 where it is the larger of
the two; so it is for any model that finds less than half of the classes, however well it finds
them. `psds1_macro` tells such models apart.

Classes without an event are left out, and counted. Events of one class that overlap or touch count
as one event. Events are cut off at the end of their clip. `psds` and `event_f1` give the formulas
and sources; `event_counts` and `joined_clips` count detections, down to the threshold from which on
no metric changes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.evaluation import event_counts, event_f1, frame_times, joined_clips, psds
from audioset_strong.evaluation.event_f1 import F1
from audioset_strong.evaluation.joined_clips import EventClip, ReferenceEvent
from audioset_strong.evaluation.psds import MAX_FP_PER_HOUR, Roc
from audioset_strong.labels import vocabularies

__all__ = [
    "MAX_FP_PER_HOUR",
    "EventEvalResult",
    "ReferenceEvent",
    "Roc",
    "check_installed",
    "measure",
]

_F1_KINDS = ("event", "segment")


@dataclasses.dataclass(frozen=True)
class EventEvalResult:
    """The event metrics of a model on a set of clips.

    Attributes:
      values: metric name -> value.
      per_class: a row for each class of the vocabulary: mid, display_name, events, psds1, psds2,
        and for both kinds of F1 `event_f1`, `event_f1_best` and `event_best_threshold`; NaN for
        classes without events.
      rocs: "psds1", "psds1_macro" and "psds2" -> their curves over all classes.
    """

    values: dict[str, float]
    per_class: pd.DataFrame
    rocs: dict[str, Roc]


@dataclasses.dataclass(frozen=True)
class _ClassResult:
    """What is kept of one class: its PSD ROCs, and its F1 by name ("event", "event_best", ...)."""

    rocs: dict[str, Roc]
    f1: dict[str, F1]


def check_installed() -> None:
    """Checks that the package sed_scores_eval is installed.

    Raises:
      errors.InputError: it is missing.
    """
    event_counts.package("sed_scores_eval")


def measure(
    scores: Mapping[str, np.ndarray],
    events: Mapping[str, Sequence[ReferenceEvent]],
    *,
    seconds: Mapping[str, float],
    vocabulary: vocabularies.Vocabulary,
    hop_s: float,
    frame_s: float,
    threshold: float = 0.5,
    segment_s: float = 1.0,
    on_class: Callable[[], None] | None = None,
) -> EventEvalResult:
    """Measures the events of a model.

    Args:
      scores: clip id -> float `[frames, classes]`, a frame every `hop_s`.
      events: clip id -> its events; an empty list for a clip without events.
      seconds: clip id -> length of the clip.
      vocabulary: the classes.
      hop_s: seconds from one frame to the next, see `frame_times.boundaries`.
      frame_s: length of a frame in seconds.
      threshold: of the F1 without `_best`; a frame that scores at least this is a detection.
      segment_s: length of the segments of segment_f1, in seconds.
      on_class: called after each class, for progress.

    Raises:
      errors.InputError: the package is missing; no clip, or no event; scores of another shape or
        not finite; clips without events, length or scores; invalid events; more frames than fit
        into a clip.
    """
    check_installed()
    _check(scores, events, seconds=seconds, num_classes=len(vocabulary), segment_s=segment_s)
    clips = [
        _clip(clip_id, scores, events=events, seconds=seconds, hop_s=hop_s, frame_s=frame_s)
        for clip_id in sorted(scores)
    ]
    num_events, total_s = _total_events(clips, len(vocabulary))
    used = np.flatnonzero(num_events).tolist()
    if not used:
        raise errors.InputError(f"no event in any of {len(clips)} clips")
    hours = float(sum(clip.times[-1] for clip in clips) / 3600)
    joined = joined_clips.JoinedClips(clips, total_s=total_s, segment_s=segment_s)
    classes = []
    for label, of_class in joined.scores(used):
        counter = event_counts.ClassCounter(joined, label, of_class, total_s=total_s)
        classes.append(
            _class_result(counter, hours=hours, num_others=len(used) - 1, threshold=threshold)
        )
        if on_class:
            on_class()
    result = _over_classes(classes, vocabulary, num_events=num_events)
    values = result.values | {
        "threshold": threshold,
        "hours": hours,
        "classes": float(len(used)),
        "classes_without_events": float(len(vocabulary) - len(used)),
        "events": float(num_events.sum()),
        "clips": float(len(clips)),
    }
    return dataclasses.replace(result, values=values)


def _clip(
    clip_id: str,
    scores: Mapping[str, np.ndarray],
    *,
    events: Mapping[str, Sequence[ReferenceEvent]],
    seconds: Mapping[str, float],
    hop_s: float,
    frame_s: float,
) -> EventClip:
    num_frames, length = len(scores[clip_id]), seconds[clip_id]
    times = frame_times.boundaries(num_frames, hop_s=hop_s, frame_s=frame_s, seconds=length)
    if not np.all(np.diff(times) > 0):
        raise errors.InputError(
            f"{clip_id}: {num_frames} frames at a hop of {hop_s:g} s do not fit into {length:g} s"
        )
    merged = joined_clips.merge(events[clip_id], length)
    return EventClip(scores[clip_id], times, joined_clips.by_class(merged))


def _total_events(clips: Sequence[EventClip], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of events of each class, int64, and their seconds, float64, both `[classes]`."""
    num_events, total_s = np.zeros(num_classes, np.int64), np.zeros(num_classes)
    for clip in clips:
        for label, times in clip.events.items():
            num_events[label] += len(times)
            total_s[label] += np.diff(times).sum()
    return num_events, total_s


def _class_result(
    counter: event_counts.ClassCounter, *, hours: float, num_others: int, threshold: float
) -> _ClassResult:
    counts = counter.intersections(psds.lowest_threshold(counter.highest, hours=hours))
    rocs = {
        kind: psds.class_roc(counts[kind], hours=hours, num_others=num_others, alpha_ct=alpha_ct)
        for kind, alpha_ct in psds.ALPHA_CT.items()
    }
    f1 = {}
    for kind, count_above, at_least in (
        ("event", counter.events, counter.events_at_least()),
        ("segment", counter.segments, counter.segments_at_least()),
    ):
        enough = event_f1.enough_counts(
            count_above, at_least, highest=counter.highest, threshold=threshold
        )
        f1[kind] = event_f1.at_threshold(enough, threshold)
        f1[f"{kind}_best"] = event_f1.best(enough)
    return _ClassResult(rocs, f1)


def _over_classes(
    classes: Sequence[_ClassResult],
    vocabulary: vocabularies.Vocabulary,
    *,
    num_events: np.ndarray,
) -> EventEvalResult:
    """The metrics over all classes with events, given in the order of the vocabulary."""
    used = num_events > 0
    table = pd.DataFrame(
        {"mid": vocabulary.mids, "display_name": vocabulary.names, "events": num_events}
    )
    rocs = {kind: [result.rocs[kind] for result in classes] for kind in psds.ALPHA_CT}
    for kind, of_classes in rocs.items():
        table.loc[used, kind] = [roc.area() for roc in of_classes]
    overall = {
        "psds1": psds.mean_roc(rocs["psds1"], alpha_st=1.0),
        "psds1_macro": psds.mean_roc(rocs["psds1"], alpha_st=0.0),
        "psds2": psds.mean_roc(rocs["psds2"], alpha_st=1.0),
    }
    values = {name: roc.area() for name, roc in overall.items()}
    for kind in _F1_KINDS:
        for suffix in ("", "_best"):
            found = [result.f1[kind + suffix] for result in classes]
            table.loc[used, f"{kind}_f1{suffix}"] = [f1.value for f1 in found]
            values[f"{kind}_f1_macro{suffix}"] = event_f1.macro(found)
            values[f"{kind}_f1_micro{suffix}"] = event_f1.micro(found)
        table.loc[used, f"{kind}_best_threshold"] = [f1.threshold for f1 in found]
    return EventEvalResult(values, table, overall)


def _check(
    scores: Mapping[str, np.ndarray],
    events: Mapping[str, Sequence[ReferenceEvent]],
    *,
    seconds: Mapping[str, float],
    num_classes: int,
    segment_s: float,
) -> None:
    if not segment_s > 0:
        raise errors.InputError(f"segment_s {segment_s}: must be more than 0")
    if not scores:
        raise errors.InputError("event metrics: no clip")
    clips_by_argument: Mapping[str, Mapping] = {"events": events, "seconds": seconds}
    for name, given in clips_by_argument.items():
        odd = scores.keys() ^ given.keys()
        if odd:
            raise errors.InputError(f"{min(odd)}: a clip of either scores or {name}; must be both")
    for clip_id, frames in scores.items():
        if frames.ndim != 2 or frames.shape[1] != num_classes or not len(frames):
            raise errors.InputError(
                f"{clip_id}: scores of shape {frames.shape}; must be [frames, {num_classes}]"
            )
        if not np.isfinite(frames).all():
            raise errors.InputError(f"{clip_id}: scores that are not finite")
        for onset, offset, label in events[clip_id]:
            if not (0 <= label < num_classes and onset < offset):
                raise errors.InputError(
                    f"{clip_id}: event from {onset} to {offset} s of class {label}; must end after "
                    f"its onset, and be of one of {num_classes} classes"
                )
