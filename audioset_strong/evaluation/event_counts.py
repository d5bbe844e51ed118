"""Counts of correct and wrong detections of one class at every threshold, over all clips.

The package sed_scores_eval (extra "events") finds the detections at every threshold and which of
them are correct. It is asked clip by clip, and only for clips with the class. Its own metrics keep
the counts at every threshold, of all classes and clips, at once: up to one threshold for each of
the 370 million scores of 14,000 clips, 58 frames and 456 classes, which at three float64 values
each is 9 GB, and for PSDS2 further values for every pair of classes. Adding the counts up class by
class keeps those of one class.
"""

import dataclasses
import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audioset_strong.core import errors
from audioset_strong.evaluation.joined_clips import EventClip, JoinedClips

# The criteria for a correct detection, as arguments of the package's functions.
PSDS1_CRITERION = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None}
PSDS2_CRITERION = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3}
COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}


@dataclasses.dataclass(frozen=True)
class Counts:
    """The counts of one class with the threshold at each of its scores, rising, all `[scores]`.

    Attributes:
      score: float64; the last is infinite, where nothing is detected.
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
            f"event metrics: sed_scores_eval is missing ({error}); "
            "pip install 'audioset_strong[events]'"
        ) from error


def count(joined: JoinedClips, label: int, *, total_s: np.ndarray) -> dict[str, Counts]:
    """The counts of one class in all clips.

    Args:
      joined: the clips.
      label: the class; it has an event in one of them.
      total_s: float `[classes]`, seconds of each class's events in all clips.

    Returns:
      "psds1", "psds2", "event" and "segment" -> counts.
    """
    scores = joined.scores(label)
    share = PSDS2_CRITERION["cttc_threshold"]
    assert share is not None
    absent = _by_score([joined.false_positives(scores, label, trigger_share=share)])
    without_triggers = absent * np.array([1.0, 1.0, 1.0, 0.0])  # which are part of PSDS2 alone
    changes = {"psds1": [without_triggers], "psds2": [absent], "event": [without_triggers]}
    events = 0
    for clip in (joined.clips[i] for i in joined.with_class[label]):
        for kind, change in _count_clip(clip, label, total_s).items():
            changes[kind].append(change)
        events += len(clip.events[label])
    counted = {kind: _summed(listed, events) for kind, listed in changes.items()}
    highest, present = joined.segments(scores, label)
    segments = np.stack([highest, present, ~present, 0 * highest], axis=1)
    return counted | {"segment": _summed([segments], int(present.sum()))}


def _count_clip(clip: EventClip, label: int, total_s: np.ndarray) -> dict[str, np.ndarray]:
    """The changes of the counts in a clip with the class, by kind; see `_changes`."""
    curves = package("sed_scores_eval.base_modules.cy_detection").onset_offset_curves
    overlap = package("sed_scores_eval.intersection_based.intermediate_statistics").statistics_fn
    collar = package("sed_scores_eval.collar_based.intermediate_statistics").statistics_fn
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
    changes = {}
    criteria: Sequence[tuple[str, Any, Mapping[str, float | None]]] = (
        ("psds1", overlap, PSDS1_CRITERION),
        ("psds2", overlap, PSDS2_CRITERION),
        ("event", collar, COLLARS),
    )
    for kind, count_detections, criterion in criteria:
        found = count_detections(**arguments, **criterion)
        triggers = sum(found["cts"][k] / total_s[k] for k in others) if kind == "psds2" else 0.0
        changes[kind] = _changes(score, found["tps"], fp=found["fps"], triggers=triggers)
    return changes


def _changes(
    score: np.ndarray, tp: np.ndarray, *, fp: np.ndarray, triggers: np.ndarray | float
) -> np.ndarray:
    """Turns counts at rising thresholds into their changes, which add up over clips.

    Returns:
      float64 `[scores, 4]`: a score, and how many correct detections, wrong ones and triggers are
      added when the threshold falls to it.
    """
    counts = np.stack(np.broadcast_arrays(score, tp, fp, triggers), axis=1).astype(np.float64)
    counts[:-1, 1:] -= counts[1:, 1:].copy()
    return counts


def _by_score(changes: Sequence[np.ndarray]) -> np.ndarray:
    """Adds up the changes at each score; by rising score."""
    joined = np.concatenate(changes)
    score, index = np.unique(joined[:, 0], return_inverse=True)
    return np.stack(
        [score, *(np.bincount(index, column, len(score)) for column in joined[:, 1:].T)], axis=1
    )


def _summed(changes: Sequence[np.ndarray], events: int) -> Counts:
    """The counts that all changes add up to."""
    nothing = np.array([[np.inf, 0.0, 0.0, 0.0]])
    by_score = _by_score([*changes, nothing])
    by_score = by_score[by_score[:, 1:].any(axis=1) | np.isinf(by_score[:, 0])]
    tp, fp, triggers = np.cumsum(by_score[::-1, 1:], axis=0)[::-1].T
    return Counts(by_score[:, 0], tp, fp, triggers, events)
