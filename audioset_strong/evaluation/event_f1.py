"""F1 of events and of segments, at one threshold for all classes or at each class's best one.

    F1 = 2 * TP / (events + TP + FP)

where events are the events of the class, or the segments with one. The macro average is the mean of
the classes' F1, the micro average the F1 of their summed counts.

Source: Mesaros et al. 2016, "Metrics for polyphonic sound event detection",
https://doi.org/10.3390/app6060162
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from audioset_strong.evaluation.event_counts import Counts


@dataclasses.dataclass(frozen=True)
class F1:
    """The F1 of one class at one threshold, with the counts behind it.

    Attributes:
      value: the F1.
      threshold: that detections reach.
      tp, fp: correct and wrong detections.
      events: of the class.
    """

    value: float
    threshold: float
    tp: float
    fp: float
    events: int


def at_threshold(counts: Counts, threshold: float) -> F1:
    """F1 of what scores at least `threshold`."""
    return _at(counts, int(np.searchsorted(counts.score, threshold)))


def best(counts: Counts) -> F1:
    """The highest F1 of any threshold; ties go to the highest threshold.

    >>> counts = Counts(np.array([0.2, 0.6, np.inf]), np.array([2.0, 1.0, 0.0]),
    ...                 np.array([4.0, 0.0, 0.0]), np.zeros(3), events=2)
    >>> found = best(counts)
    >>> round(found.value, 4), found.threshold
    (0.6667, 0.4)
    """
    return _at(counts, _best_index(counts))


def enough_counts(
    count_above: Callable[[float], Counts],
    at_least: Counts,
    *,
    highest: np.ndarray,
    threshold: float,
) -> Counts:
    """Counts down to where lower thresholds change neither the F1 at a threshold nor the best one.

    At a threshold, a clip without the class whose highest score reaches it holds at least one wrong
    detection. With the counts in clips with the class this bounds the F1 from above:

        F1 <= 2 * TP / (events + TP + FP in clips with the class + such clips)

    Thresholds whose bound does not exceed the best F1 that was found above them are not needed.

    Args:
      count_above: gives all counts at the thresholds above one.
      at_least: the same TP, and no more FP than there are in clips with the class.
      highest: float64, the highest score of each clip without the class, falling.
      threshold: of `at_threshold`.
    """
    scores = np.unique(np.concatenate([at_least.score[:-1], highest]))
    index = np.searchsorted(at_least.score, scores)
    clips = len(highest) - np.searchsorted(highest[::-1], scores)
    tp, fp = at_least.tp[index], at_least.fp[index] + clips
    bound = 2 * tp / (at_least.events + tp + fp)  # from a score down to the next lower one
    below = np.append(-np.inf, scores[:-1])
    floor = float(np.nextafter(threshold, -np.inf))
    floor = min(floor, below[len(bound) - 1 - np.argmax(bound[::-1])])
    while True:
        counts = count_above(floor)
        best = _best_index(counts)
        better = np.flatnonzero(bound > _values(counts)[best])
        if len(better) and below[better[0]] < floor:
            floor = below[better[0]]
        elif best == 0 and np.isfinite(counts.score[0]) and np.isfinite(floor):
            floor = -np.inf  # the best threshold reaches down to the next lower score
        else:
            return counts


def macro(found: Sequence[F1]) -> float:
    """The mean F1 of classes."""
    return float(np.mean([f1.value for f1 in found]))


def micro(found: Sequence[F1]) -> float:
    """The F1 of the summed counts of classes."""
    tp, fp, events = np.sum([(f1.tp, f1.fp, f1.events) for f1 in found], axis=0)
    return float(2 * tp / (events + tp + fp))


def _best_index(counts: Counts) -> int:
    return len(counts.score) - 1 - int(np.argmax(_values(counts)[::-1]))


def _values(counts: Counts) -> np.ndarray:
    return 2 * counts.tp / (counts.events + counts.tp + counts.fp)


def _at(counts: Counts, index: int) -> F1:
    """F1 at an index; the threshold is the middle of those that give the same counts."""
    threshold = float(np.mean(counts.score[max(index - 1, 0) : index + 1]))
    tp, fp = float(counts.tp[index]), float(counts.fp[index])
    return F1(float(_values(counts)[index]), threshold, tp, fp, counts.events)
