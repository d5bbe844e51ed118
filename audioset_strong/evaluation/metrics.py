"""Metrics: pure functions of arrays.

Scores are float `[samples, classes]`; labels are int8 of the same shape with three values: 1
positive, 0 negative, -1 unknown, which no metric of a class counts. A sample is a clip (weak eval)
or a 0.96 s frame (strong eval). Everything is exact, ties included, and a class's value depends on
that class's scores alone: computing in chunks of classes changes no digit.

Sources: d' and lwlrap as in section 3.2 of Hershey et al. 2021; AUC as the Mann-Whitney statistic;
average precision and lwlrap with scikit-learn's tie rules.
"""

import dataclasses

import numpy as np
from scipy import special

from audioset_strong.core import errors

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1
_CLASSES_AT_A_TIME = 32
_COMPARISONS_AT_A_TIME = 1 << 24


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """Metrics of each class, all `[classes]`; NaN where a class has none.

    Attributes:
      positives: int64, known positive samples.
      negatives: int64, known negative samples.
      auc: float64, area under the ROC curve; of a positive and a negative of equal score the
        positive wins by half. NaN without a positive or without a negative.
      d_prime: float64, of `auc`; corrected at 0 and 1 (see `d_prime`).
      average_precision: float64, the mean over the positives of the precision at their own score;
        samples of equal score are above a threshold together. NaN as `auc`.
    """

    positives: np.ndarray
    negatives: np.ndarray
    auc: np.ndarray
    d_prime: np.ndarray
    average_precision: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """bool `[classes]`: those with both positives and negatives, which the means are over."""
        return (self.positives > 0) & (self.negatives > 0)

    def means(self) -> dict[str, float]:
        """Unweighted means over the used classes; NaN where there is none.

        `d_prime` is the mean of the classes' d' (the paper's); `d_prime_of_mean_auc` the d' of
        their mean AUC (PANNs, AST), corrected at 0 and 1 by half of one of all their pairs.
        """
        used = self.used
        if not used.any():
            return dict.fromkeys(("d_prime", "d_prime_of_mean_auc", "auc", "mAP"), float("nan"))
        auc = float(np.mean(self.auc[used]))
        return {
            "d_prime": float(np.mean(self.d_prime[used])),
            "d_prime_of_mean_auc": float(d_prime(auc, np.sum(self.positives * self.negatives))),
            "auc": auc,
            "mAP": float(np.mean(self.average_precision[used])),
        }


def class_metrics(scores: np.ndarray, labels: np.ndarray) -> ClassMetrics:
    """AUC, d' and average precision of each class, from one ranking.

    Args:
      scores: float `[samples, classes]`, higher for more likely present.
      labels: int8 (or bool) `[samples, classes]`, 1 positive, 0 negative, -1 unknown.

    Raises:
      errors.InputError: shapes that differ, scores that are no numbers, other label values.
    """
    scores, labels = _checked(scores, labels)
    num_classes = scores.shape[1]
    positives, negatives = (np.zeros(num_classes, np.int64) for _ in range(2))
    auc, precision = (np.full(num_classes, np.nan) for _ in range(2))
    for begin in range(0, num_classes, _CLASSES_AT_A_TIME):
        chunk = slice(begin, begin + _CLASSES_AT_A_TIME)
        # Transposed copies: a class's samples must lie side by side.
        columns = np.ascontiguousarray(scores[:, chunk].T)
        kinds = np.ascontiguousarray(labels[:, chunk].T)
        for k, (column, kind) in enumerate(zip(columns, kinds, strict=True), begin):
            positive, negative = column[kind == POSITIVE], column[kind == NEGATIVE]
            positives[k], negatives[k] = len(positive), len(negative)
            if len(positive) and len(negative):
                auc[k], precision[k] = _auc_and_precision(positive, negative)
    pairs = positives * negatives
    return ClassMetrics(positives, negatives, auc, d_prime(auc, pairs), precision)


def _auc_and_precision(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """AUC and average precision of one class from its positives' and negatives' scores.

    Only the positives are sorted (there are few of them); each negative is looked up among them.
    """
    positive = np.sort(positive)
    below = np.searchsorted(positive, negative)  # positives below each negative
    # A negative that ties with a positive ties with the one it would be inserted at.
    tied = np.append(positive, positive[-1])[below] == negative
    at_or_below = below
    if tied.any():
        at_or_below = below.copy()
        at_or_below[tied] = np.searchsorted(positive, negative[tied], side="right")
    num_positive, num_negative = len(positive), len(negative)
    # Twice the won pairs, ties won by half: an exact integer.
    won = 2 * num_positive * num_negative - int(below.sum()) - int(at_or_below.sum())
    auc = won / (2 * num_positive * num_negative)

    # negatives_from[k]: negatives that score at least as high as the k-th positive.
    counts = np.bincount(at_or_below, minlength=num_positive + 1)
    negatives_from = np.cumsum(counts[::-1])[::-1][1:]
    first_equal = np.searchsorted(positive, positive)
    positives_from = num_positive - first_equal
    negatives_from = negatives_from[first_equal]
    return auc, float(np.mean(positives_from / (positives_from + negatives_from)))


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one class reaches at each threshold, all float64 `[points]`, from the highest down.

    Points on the straight line between their neighbours in the ROC curve, where one negative after
    the other comes in, are left out.

    Attributes:
      threshold: samples at or above it are detected; the first is infinite.
      recall: share of the positives that are detected, the ROC curve's true positive rate.
      false_positive_rate: share of the negatives that are detected.
      precision: share of the detected that are positive; 1 where none is.
    """

    threshold: np.ndarray
    recall: np.ndarray
    false_positive_rate: np.ndarray
    precision: np.ndarray


def curve(scores: np.ndarray, labels: np.ndarray) -> Curve:
    """The ROC and the precision-recall curve of one class.

    Args:
      scores: float `[samples]`.
      labels: int8 (or bool) `[samples]`, 1 positive, 0 negative, -1 unknown.

    Raises:
      errors.InputError: as `class_metrics`; no positive or no negative.
    """
    scores, labels = (array[:, 0] for array in _checked(*_columns(scores, labels)))
    known = labels != UNKNOWN
    values, place = np.unique(scores[known], return_inverse=True)
    hits, misses = (
        np.concatenate([[0], np.cumsum(np.bincount(place[of_kind], minlength=len(values))[::-1])])
        for of_kind in (labels[known] == POSITIVE, labels[known] == NEGATIVE)
    )
    if not (hits[-1] and misses[-1]):
        raise errors.InputError("a curve needs both positives and negatives")
    between = np.zeros(len(hits), bool)
    between[1:-1] = (hits[1:-1] == hits[:-2]) & (hits[1:-1] == hits[2:])
    hits, misses = hits[~between], misses[~between]
    return Curve(
        threshold=np.concatenate([[np.inf], values[::-1]])[~between],
        recall=hits / hits[-1],
        false_positive_rate=misses / misses[-1],
        precision=np.where(hits + misses > 0, hits / np.maximum(hits + misses, 1), 1.0),
    )


def _columns(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(array)[..., np.newaxis] for array in arrays)


def d_prime(auc: np.ndarray | float, pairs: np.ndarray | float | None = None) -> np.ndarray:
    """d' = sqrt(2) * Phi^-1(AUC), the separation of two unit normals with that AUC.

    Args:
      auc: in [0, 1], of any shape; NaN stays NaN.
      pairs: positives times negatives, of the same shape. Where given, an AUC of 0 or 1 is taken
        half a pair away from the limit (as Macmillan and Kaplan 1985 do for rates), so that a class
        told apart perfectly counts as much as its samples can show; other values are untouched.

    Returns:
      float64 of the shape of `auc`; without `pairs`, -inf at AUC 0 and inf at AUC 1.
    """
    auc = np.asarray(auc, np.float64)
    if pairs is not None:
        margin = 0.5 / np.maximum(pairs, 1)
        auc = np.where(auc == 0, margin, np.where(auc == 1, 1 - margin, auc))
    return np.sqrt(2) * special.ndtri(auc)


@dataclasses.dataclass(frozen=True)
class RankingPrecision:
    """Label ranking average precision, kept per positive label.

    Attributes:
      sample: int64 `[labels]`, the sample of each positive label.
      label: int64 `[labels]`, its class.
      precision: float64 `[labels]`, share of positives among the classes ranked at or above it.
      num_classes: of the vocabulary.
    """

    sample: np.ndarray
    label: np.ndarray
    precision: np.ndarray
    num_classes: int

    def overall(self) -> float:
        """lwlrap: the mean over all positive labels; NaN without any."""
        return float(np.mean(self.precision)) if len(self.precision) else float("nan")

    def per_class(self) -> np.ndarray:
        """float64 `[classes]`: the mean over each class's positives; NaN without any.

        Their mean weighted by the classes' positives is `overall`.
        """
        total = np.bincount(self.label, self.precision, minlength=self.num_classes)
        count = np.bincount(self.label, minlength=self.num_classes)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def ranking_precision(
    scores: np.ndarray, labels: np.ndarray, known_only: bool = False
) -> RankingPrecision:
    """Precision at the rank of every positive label within its own sample.

    Ties are scikit-learn's: a label's rank counts every class that scores at least as high.

    Args:
      scores: float `[samples, classes]`.
      labels: int8 (or bool) `[samples, classes]`, 1 positive.
      known_only: whether classes of unknown label are left out of a sample's ranking. By default
        all classes are ranked and all but the positives are irrelevant, as in the literature.

    Raises:
      errors.InputError: as `class_metrics`.
    """
    scores, labels = _checked(scores, labels)
    positive = labels == POSITIVE
    sample, label = np.nonzero(positive)
    precision = np.zeros(len(sample))
    step = max(1, _COMPARISONS_AT_A_TIME // max(1, scores.shape[1]))
    for begin in range(0, len(sample), step):
        rows, columns = sample[begin : begin + step], label[begin : begin + step]
        above = scores[rows] >= scores[rows, columns][:, np.newaxis]
        if known_only:
            above &= labels[rows] != UNKNOWN
        relevant = np.count_nonzero(above & positive[rows], axis=1)
        precision[begin : begin + step] = relevant / np.count_nonzero(above, axis=1)
    return RankingPrecision(sample, label, precision, scores.shape[1])


def lwlrap(scores: np.ndarray, labels: np.ndarray, known_only: bool = False) -> float:
    """Label-weighted label-ranking average precision; arguments as in `ranking_precision`.

    Equal to scikit-learn's `label_ranking_average_precision_score` with each sample weighted by
    its positives. NaN without any positive.
    """
    return ranking_precision(scores, labels, known_only).overall()


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise errors.InputError(
            f"scores of shape {scores.shape} with labels of shape {labels.shape}: both must be "
            "[samples, classes]"
        )
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise errors.InputError(
            f"score {scores[row, column]} at sample {row}, class {column}: must be finite"
        )
    if labels.dtype == bool:
        labels = labels.view(np.int8)
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or (labels.size and (labels.min() < UNKNOWN or labels.max() > POSITIVE)):
        raise errors.InputError(
            "labels must be whole numbers: 1 (positive), 0 (negative) or -1 (unknown)"
        )
    return scores, labels
