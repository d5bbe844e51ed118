"""Polyphonic sound detection scores (PSDS): the area under a PSD ROC.

    eFPR = false positives an hour + alpha_ct * mean over other classes of cross triggers an hour
    PSD ROC(e) = max(0, mean over classes of TPR(e) - alpha_st * their standard deviation)
    PSDS = (1 / e_max) * integral of the PSD ROC over e from 0 to e_max

where TPR(e) is the highest true positive rate of a class at an effective false positive rate (eFPR)
of at most e, and cross triggers of a class are counted for each second of its events.

Sources: Bilen et al. 2020, "A framework for the robust evaluation of sound event detection",
https://arxiv.org/abs/1910.08440; Ebbers et al. 2022, "Threshold independent evaluation of sound
event detection scores", https://arxiv.org/abs/2201.13148
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from audioset_strong.evaluation.event_counts import Counts

MAX_FP_PER_HOUR = 100.0  # e_max
ALPHA_CT = {"psds1": 0.0, "psds2": 0.5}


@dataclasses.dataclass(frozen=True)
class Roc:
    """A staircase of true positive rates; between two points the rate of the first holds.

    >>> Roc(np.array([0.0, 50.0]), np.array([0.2, 0.6])).area()
    0.4

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


def lowest_threshold(highest: np.ndarray, *, hours: float) -> float:
    """A threshold that a PSD ROC does not need, nor any that is lower.

    In a clip without the class, a score that reaches the threshold makes at least one false
    positive. At the n-th highest of the highest scores of such clips, and below it, there are n of
    them or more: too many, if n are more than `MAX_FP_PER_HOUR`.

    >>> lowest_threshold(np.array([0.9, 0.8, 0.5, 0.2]), hours=0.01)
    0.5

    Args:
      highest: of each clip without the class, falling.
      hours: length of all clips.

    Returns:
      The threshold; -inf where all are needed.
    """
    enough = int(MAX_FP_PER_HOUR * hours) + 1  # an index: one more than n, in case n was rounded
    return float(highest[enough]) if enough < len(highest) else -np.inf


def class_roc(counts: Counts, *, hours: float, num_others: int, alpha_ct: float) -> Roc:
    """The PSD ROC of one class.

    Args:
      counts: of the class.
      hours: length of all clips.
      num_others: other classes with events.
      alpha_ct: weight of cross triggers.
    """
    trigger_weight = alpha_ct * 3600 / max(num_others, 1)  # seconds of events become hours
    fp_per_hour = counts.fp / hours + trigger_weight * counts.triggers
    tp_rate = counts.tp / counts.events
    fp_per_hour = np.maximum(fp_per_hour, 0.0)  # sums of cross triggers are not exact
    order = np.lexsort((tp_rate, fp_per_hour))
    fp_per_hour, tp_rate = fp_per_hour[order], np.maximum.accumulate(tp_rate[order])
    last = np.append(fp_per_hour[1:] > fp_per_hour[:-1], True) & (fp_per_hour <= MAX_FP_PER_HOUR)
    fp_per_hour, tp_rate = fp_per_hour[last], tp_rate[last]
    higher = np.append(True, tp_rate[1:] > tp_rate[:-1])
    return Roc(fp_per_hour[higher], tp_rate[higher])


def mean_roc(rocs: Sequence[Roc], *, alpha_st: float) -> Roc:
    """The PSD ROC over classes.

    Args:
      rocs: of the classes.
      alpha_st: how many standard deviations between classes are taken off their mean.
    """
    points = np.unique(np.concatenate([roc.fp_per_hour for roc in rocs]))
    # Class by class, because a matrix of all classes would be large.
    mean, variance = np.zeros((2, len(points)))
    for roc in rocs:
        mean += roc.at(points) / len(rocs)
    for roc in rocs:
        variance += (roc.at(points) - mean) ** 2 / len(rocs)
    return Roc(points, np.maximum(mean - alpha_st * np.sqrt(variance), 0.0))
