"""Counts of correct and wrong detections of one class at falling thresholds, over all clips.

Clips with the class are few and are counted one by one, at every threshold; there the package
sed_scores_eval (extra "events") finds the detections, and those that are correct by their collars.
In a clip without the class every detection is wrong; `joined_clips` counts those of all such clips
at once, down to a threshold that the caller chooses. `psds.lowest_threshold` and
`event_f1.enough_counts` tell how low it must be: for most classes only some thousands of their
800,000 scores (14,000 clips, 58 frames) matter to a metric.

The package's own metrics keep the counts at every threshold, of all classes and clips, at once: up
to one threshold for each of the 370 million scores of 456 classes, which at three float64 values
each is 9 GB, and for PSDS2 further values for every pair of classes.
"""

import dataclasses
import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from audioset_strong.core import errors, extras
from audioset_strong.evaluation import joined_clips
from audioset_strong.evaluation.joined_clips import EventClip, JoinedClips

# The least shares for a correct detection: of itself that is on events of the class (DTC), of an
# event that correct detections cover (GTC), and of itself that is on another class, to trigger it
# (CTTC).
DTC_GTC = {"psds1": 0.7, "psds2": 0.1}
CTTC = 0.3
COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
_DECIMALS = 6  # times are compared to a microsecond, as sed_scores_eval does


@dataclasses.dataclass(frozen=True)
class Counts:
    """The counts of one class at rising thresholds, all `[scores]`.

    Attributes:
      score: float64, the thresholds, which are scores of the class; those below the first were not
        counted. The last is infinite, where nothing is detected.
      tp: float64, correct detections (or segments).
      fp: float64, wrong detections (or segments).
      triggers: float64, wrong detections that are an event of another class, for each second of
        events of that class, summed over the other classes.
      events: number of events of the class (or of segments with one).
    """

    score: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    triggers: np.ndarray
    events: int


def package(name: str) -> Any:
    """Imports a module of the package, which is optional.

    Raises:
      errors.InputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():  # its dependencies warn about pkg_resources
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise errors.InputError(
            f"event metrics: sed_scores_eval is missing ({error}); {extras.advice('events')}"
        ) from error


class ClassCounter:
    """Counts the detections of one class in all clips, down to the thresholds that are asked for.

    Attributes:
      highest: float64, the highest score of each clip without the class, falling. Where it reaches
        a threshold, at least one detection in the clip is wrong.
    """

    def __init__(self, joined: JoinedClips, label: int, scores: np.ndarray, *, total_s: np.ndarray):
        """Counts what is in the clips with the class.

        Args:
          joined: the clips.
          label: the class; it has an event in one of them.
          scores: its scores, see `JoinedClips.scores`.
          total_s: float `[classes]`, seconds of each class's events in all clips.
        """
        self._joined = joined
        self._scores_without = joined.without(scores, label)
        self.highest = joined.highest(self._scores_without)
        present = [joined.clips[i] for i in joined.with_class[label]]
        changes = [_count_clip(clip, label, total_s) for clip in present]
        self._present = {kind: np.concatenate([c[kind] for c in changes]) for kind in changes[0]}
        self._events = sum(len(clip.events[label]) for clip in present)
        self._segment, self._is_present = joined.segments(scores, label)

    def intersections(self, above: float) -> dict[str, Counts]:
        """The counts for "psds1" and "psds2" at the thresholds above one."""
        runs = self._joined.triggering_runs(self._scores_without, above=above, share=CTTC)
        absent = _by_score([np.insert(runs, 1, 0.0, axis=1)])
        without_triggers = absent * np.array([1.0, 1.0, 1.0, 0.0])  # which are part of PSDS2 alone
        return {
            kind: _summed([changes, self._present[kind]], self._events, above)
            for kind, changes in (("psds1", without_triggers), ("psds2", absent))
        }

    def events(self, above: float) -> Counts:
        """The counts by collars at the thresholds above one."""
        runs = joined_clips.runs(self._scores_without, above=above)
        absent = np.pad(np.insert(runs, 1, 0.0, axis=1), ((0, 0), (0, 1)))
        return _summed([absent, self._present["event"]], self._events, above)

    def events_at_least(self) -> Counts:
        """The counts by collars in clips with the class: of wrong detections there are more."""
        return _summed([self._present["event"]], self._events)

    def segments(self, above: float) -> Counts:
        """The counts of segments at the thresholds above one."""
        return self._count_segments(self._segment > above)

    def segments_at_least(self) -> Counts:
        """The counts of segments with the class: all wrong ones are missing."""
        return self._count_segments(self._is_present)

    def _count_segments(self, chosen: np.ndarray) -> Counts:
        highest, present = self._segment[chosen], self._is_present[chosen]
        changes = np.stack([highest, present, ~present, 0 * highest], axis=1)
        return _summed([changes], int(self._is_present.sum()))


def _count_clip(clip: EventClip, label: int, total_s: np.ndarray) -> dict[str, np.ndarray]:
    """How the counts change in a clip with the class.

    Returns:
      "psds1", "psds2" and "event" -> float64 `[scores, 4]`: a score, and how many correct
      detections, wrong ones and triggers are added when the threshold falls to it.
    """
    curves = package("sed_scores_eval.base_modules.cy_detection").onset_offset_curves
    collar = package("sed_scores_eval.collar_based.intermediate_statistics").statistics_fn
    score, onset, offset = curves(clip.scores[:, label].astype(np.float64), clip.times)
    counts = _count_intersections(clip, label, onset, offset, total_s)
    found = collar(
        detection_onset_times=onset,
        detection_offset_times=offset,
        target_onset_times=clip.events[label][:, 0],
        target_offset_times=clip.events[label][:, 1],
        other_onset_times=(),
        other_offset_times=(),
        **COLLARS,
    )
    counts["event"] = (found["tps"], found["fps"], 0.0)
    return {kind: _changes(score, *of_kind) for kind, of_kind in counts.items()}


def _count_intersections(
    clip: EventClip, label: int, onset: np.ndarray, offset: np.ndarray, total_s: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | float]]:
    """Correct and wrong detections and triggers in a clip with the class, at each threshold.

    Args:
      clip: the clip.
      label: the class.
      onset: float64 `[scores, detections]`, in seconds.
      offset: like `onset`, and equal to it where a threshold has fewer detections.
      total_s: float `[classes]`, seconds of each class's events in all clips.

    Returns:
      "psds1" and "psds2" -> float or int `[scores]`, three times.
    """
    length = offset - onset
    detected = length > 0
    event_length = np.diff(clip.events[label])[:, 0]
    on_events = _intersections(onset, offset, clip.events[label])
    on_class = np.round(on_events.sum(axis=-1), _DECIMALS)
    counts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | float]] = {}
    for kind, share in DTC_GTC.items():
        correct = (on_class >= np.round(share * length, _DECIMALS)) & detected
        covered = np.round((on_events * correct[..., np.newaxis]).sum(axis=-2), _DECIMALS)
        found = covered >= np.round(share * event_length, _DECIMALS)
        wrong = detected & ~correct
        counts[kind] = (found.sum(axis=-1), wrong.sum(axis=-1), 0.0)
    others = {k: times for k, times in clip.events.items() if k != label}
    if others:
        on_others = _intersections(onset, offset, np.concatenate(list(others.values())))
        first = np.cumsum([0, *map(len, others.values())])[:-1]
        on_others = np.add.reduceat(on_others * ~correct[..., np.newaxis], first, axis=-1)
        triggers = np.round(on_others, _DECIMALS) >= np.round(CTTC * length, _DECIMALS)[..., None]
        triggers = (triggers & detected[..., np.newaxis]).sum(axis=-2)
        weighted = sum(triggers[:, i] / total_s[k] for i, k in enumerate(others))
        counts["psds2"] = (*counts["psds2"][:2], weighted)
    return counts


def _intersections(onset: np.ndarray, offset: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Seconds of events `[events, 2]` in detections `[..., n]`; float64 `[..., n, events]`."""
    end = np.minimum(offset[..., np.newaxis], events[:, 1])
    return np.maximum(end - np.maximum(onset[..., np.newaxis], events[:, 0]), 0.0)


def _changes(
    score: np.ndarray, tp: np.ndarray, fp: np.ndarray, triggers: np.ndarray | float
) -> np.ndarray:
    """Turns counts at rising thresholds into their changes, which add up over clips."""
    counts = np.empty((len(score), 4))
    counts[:, 0], counts[:, 1], counts[:, 2], counts[:, 3] = score, tp, fp, triggers
    counts[:-1, 1:] -= counts[1:, 1:].copy()
    return counts


def _by_score(changes: Sequence[np.ndarray]) -> np.ndarray:
    """Adds up the changes at each score; by rising score."""
    joined = np.concatenate(changes)
    score, index = np.unique(joined[:, 0], return_inverse=True)
    return np.stack(
        [score, *(np.bincount(index, column, len(score)) for column in joined[:, 1:].T)], axis=1
    )


def _summed(changes: Sequence[np.ndarray], events: int, above: float = -np.inf) -> Counts:
    """The counts that all changes above a threshold add up to."""
    nothing = np.array([[np.inf, 0.0, 0.0, 0.0]])
    chosen = [change[change[:, 0] > above] for change in changes]
    by_score = _by_score([*chosen, nothing])
    by_score = by_score[by_score[:, 1:].any(axis=1) | np.isinf(by_score[:, 0])]
    tp, fp, triggers = np.cumsum(by_score[::-1, 1:], axis=0)[::-1].T
    return Counts(by_score[:, 0], tp, fp, triggers, events)
