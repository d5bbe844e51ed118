"""Metrics: pure functions of labels and scores, in scikit-learn's argument order.

Labels are int8 `[samples, classes]` with three values: 1 positive, 0 negative, and -1 unknown,
which the metrics of a class ignore. Scores are float of the same shape, higher where a class is
more likely present. A sample is a clip (weak eval) or a 0.96 s frame (strong eval). All values are
exact, ties included, and the value of a class depends on the scores of that class alone, so
computing in chunks of classes changes no digit.

The results are those of scikit-learn, which the tests compare with. At the size of AudioSet's eval
sets they come 15 to 22 times faster (142,000 frames of 456 classes, 18,000 clips of 527 classes,
measured with tools/benchmarks/metrics.py on two shared cores).

Sources:

- d' and lwlrap: Hershey et al. 2021, "The benefit of temporally-strong labels in audio event
  classification", section 3.2, https://arxiv.org/abs/2105.07031
- AUC as a Mann-Whitney statistic: Hanley and McNeil 1982,
  https://doi.org/10.1148/radiology.143.1.7063747
- lwlrap: Fonseca et al. 2019, https://arxiv.org/abs/1906.02975
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
      auc: float64, area under the ROC curve. NaN without a positive or without a negative.
      d_prime: float64, d' of `auc`; corrected at 0 and 1, see `d_prime`.
      average_precision: float64. NaN where `auc` is.
    """

    positives: np.ndarray
    negatives: np.ndarray
    auc: np.ndarray
    d_prime: np.ndarray
    average_precision: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """bool `[classes]`: the classes with positives and negatives, which the means are over."""
        return (self.positives > 0) & (self.negatives > 0)

    def means(self) -> dict[str, float]:
        """Unweighted means over the used classes; NaN where no class is used.

        `d_prime` is the mean of the classes' d', as in the paper. `d_prime_of_mean_auc` is the d'
        of their mean AUC, as PANNs (https://arxiv.org/abs/1912.10211) and AST
        (https://arxiv.org/abs/2104.01778) report it; a mean AUC of 0 or 1 is corrected with the
        number of all pairs.

        Example:
          >>> labels = np.array([[1, 1], [0, 0], [1, 0], [0, 0]])
          >>> scores = np.array([[0.9, 0.2], [0.8, 0.1], [0.7, 0.3], [0.1, 0.0]])
          >>> class_metrics(labels, scores).means()["auc"]  # of 3/4 and 2/3
          0.7083333333333333
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


def class_metrics(
    labels: np.ndarray, scores: np.ndarray, *, equal_parts: np.ndarray | None = None
) -> ClassMetrics:
    """AUC, d' and average precision of each class, from one ranking.

    With P positive and N negative scores of a class,

        AUC = (pairs where the positive scores higher + half of the pairs that tie) / (P * N)
        AP = mean over the positives of the precision at their own score

    where the precision at a score t is the share of positives among the samples that score at least
    t, as in scikit-learn's `average_precision_score`.

    >>> labels = np.array([[1], [0], [1], [0], [-1]])
    >>> scores = np.array([[0.9], [0.8], [0.7], [0.1], [0.5]])
    >>> computed = class_metrics(labels, scores)
    >>> computed.auc.tolist()  # three of the four pairs are in order
    [0.75]
    >>> computed.average_precision.round(4).tolist()  # the mean of 1 and 2/3
    [0.8333]

    Args:
      labels: int8 or bool `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      scores: float `[samples, classes]`, higher where a class is more likely present.
      equal_parts: bool `[samples, classes]`, divides the negatives of a class into two parts that
        count alike, whatever their sizes: the AUC is the mean of the AUCs against each part. A
        class whose negatives all lie in one part is as without. By default every negative counts
        alike.

    Raises:
      errors.InputError: shapes that differ, scores that are not finite, or other label values.
    """
    labels, scores = _checked(labels, scores)
    if equal_parts is not None and equal_parts.shape != labels.shape:
        raise errors.InputError(
            f"equal_parts of shape {equal_parts.shape} with labels of shape {labels.shape}"
        )
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
                part = None if equal_parts is None else equal_parts[kind == NEGATIVE, k]
                auc[k], precision[k] = _auc_and_precision(positive, negative, part)
    pairs = positives * negatives
    return ClassMetrics(positives, negatives, auc, d_prime(auc, pairs), precision)


def _auc_and_precision(
    positive: np.ndarray, negative: np.ndarray, part: np.ndarray | None = None
) -> tuple[float, float]:
    """AUC and average precision of one class from the scores of its positives and negatives.

    Only the positives are sorted, because there are few of them; each negative is looked up among
    them. `part`, bool `[negatives]`, divides the negatives into two parts that count alike.
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

    def in_order(lower: np.ndarray, upper: np.ndarray) -> float:
        """The share of pairs in order, where ties count half: a quotient of exact integers."""
        pairs = num_positive * len(lower)
        return (2 * pairs - int(lower.sum()) - int(upper.sum())) / (2 * pairs)

    weight = None
    if part is None or part.all() or not part.any():
        auc = in_order(below, at_or_below)
    else:
        auc = (
            in_order(below[part], at_or_below[part]) + in_order(below[~part], at_or_below[~part])
        ) / 2
        weight = num_negative / 2 / np.where(part, part.sum(), (~part).sum())

    # negatives_from[k]: negatives that score at least as high as the k-th positive.
    counts = np.bincount(at_or_below, weight, minlength=num_positive + 1)
    negatives_from = np.cumsum(counts[::-1])[::-1][1:]
    first_equal = np.searchsorted(positive, positive)
    positives_from = num_positive - first_equal
    negatives_from = negatives_from[first_equal]
    return auc, float(np.mean(positives_from / (positives_from + negatives_from)))


@dataclasses.dataclass(frozen=True)
class Curve:
    """The ROC and precision-recall curve of one class, float64 `[points]`, by falling threshold.

    A point is left out where recall is the same before and after it: it lies on the straight line
    between its neighbours in the ROC curve.

    Attributes:
      threshold: samples that score at least this are detected; the first one is infinite.
      recall: share of the positives that are detected, the ROC curve's true positive rate.
      false_positive_rate: share of the negatives that are detected.
      precision: share of the detected samples that are positive; 1 where nothing is detected.
    """

    threshold: np.ndarray
    recall: np.ndarray
    false_positive_rate: np.ndarray
    precision: np.ndarray


def curve(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """The ROC and the precision-recall curve of one class.

    >>> points = curve(np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7]))
    >>> points.threshold.tolist()
    [inf, 0.9, 0.8, 0.7]
    >>> points.recall.tolist(), points.false_positive_rate.tolist()
    ([0.0, 0.5, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0])

    Args:
      labels: int8 or bool `[samples]`, 1 positive, 0 negative, -1 unknown.
      scores: float `[samples]`.

    Raises:
      errors.InputError: as `class_metrics`, or no positive or no negative.
    """
    labels, scores = (array[:, 0] for array in _checked(*_columns(labels, scores)))
    known = labels != UNKNOWN
    values, index = np.unique(scores[known], return_inverse=True)
    hits, misses = (
        np.concatenate([[0], np.cumsum(np.bincount(index[of_kind], minlength=len(values))[::-1])])
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
    """The separation of two unit normals that have a given AUC.

        d' = sqrt(2) * Phi^-1(AUC)

    where Phi^-1 is the inverse of the standard normal distribution function (section 3.2 of the
    paper).

    >>> float(d_prime(0.5))
    0.0
    >>> d_prime([0.76, 0.9]).round(3).tolist()
    [0.999, 1.812]
    >>> d_prime(1.0, pairs=6).round(3).tolist()  # as an AUC of 1 - 0.5 / 6
    1.956

    Args:
      auc: in [0, 1], of any shape; NaN stays NaN.
      pairs: positives times negatives, of the same shape. Where given, an AUC of 0 or 1 is replaced
        by the value half a pair away, as Macmillan and Kaplan 1985 do for rates
        (https://doi.org/10.1037/0033-2909.98.1.185). d' then stays finite, and a perfectly
        separated class contributes no more than its number of samples supports.

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
    """Label ranking average precision, one value for each positive label.

    Attributes:
      sample: int64 `[labels]`, the sample of each positive label.
      label: int64 `[labels]`, its class.
      precision: float64 `[labels]`, share of positives among the classes that score at least as
        high in that sample.
      num_classes: of the vocabulary.

    Example:
      >>> ranking = ranking_precision(np.array([[1, 0, 1]]), np.array([[0.9, 0.5, 0.1]]))
      >>> round(ranking.overall(), 4), ranking.per_class().round(4).tolist()  # no positive: NaN
      (0.8333, [1.0, nan, 0.6667])
    """

    sample: np.ndarray
    label: np.ndarray
    precision: np.ndarray
    num_classes: int

    def overall(self) -> float:
        """lwlrap: the mean over all positive labels; NaN without a positive label."""
        return float(np.mean(self.precision)) if len(self.precision) else float("nan")

    def per_class(self) -> np.ndarray:
        """float64 `[classes]`: the mean over each class's positives; NaN without a positive.

        The mean of these values, weighted by the positives of the classes, is `overall`.
        """
        total = np.bincount(self.label, self.precision, minlength=self.num_classes)
        count = np.bincount(self.label, minlength=self.num_classes)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def ranking_precision(
    labels: np.ndarray, scores: np.ndarray, *, known_only: bool = False
) -> RankingPrecision:
    """Precision at the rank of every positive label within its own sample.

        precision(i, k) = positives of sample i that score at least s[i, k]
                          / classes of sample i that score at least s[i, k]

    Ties count as in scikit-learn: the rank of a label includes every class of equal score.

    >>> ranking = ranking_precision(np.array([[1, 0, 1]]), np.array([[0.9, 0.5, 0.1]]))
    >>> ranking.precision.round(4).tolist()  # ranks 1 and 3 of three classes
    [1.0, 0.6667]

    Args:
      labels: int8 or bool `[samples, classes]`, 1 positive.
      scores: float `[samples, classes]`.
      known_only: whether classes of unknown label are left out of the ranking of a sample. By
        default all classes are ranked, and all that are not positive count as irrelevant, as in the
        literature.

    Raises:
      errors.InputError: as `class_metrics`.
    """
    labels, scores = _checked(labels, scores)
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


def lwlrap(labels: np.ndarray, scores: np.ndarray, *, known_only: bool = False) -> float:
    """Label-weighted label-ranking average precision; the paper's omega_wrap.

        lwlrap = (1 / L) * sum over the L positive labels (i, k) of precision(i, k)

    with `precision` as in `ranking_precision`. Every positive label has the same weight, whatever
    its sample or class. It equals scikit-learn's `label_ranking_average_precision_score` with each
    sample weighted by its number of positives.

    >>> labels = np.array([[1, 0, 1], [0, 1, 0]])
    >>> scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    >>> round(lwlrap(labels, scores), 4)  # the mean of 1, 2/3 and 1/2
    0.7222

    Args:
      labels: int8 or bool `[samples, classes]`, 1 positive.
      scores: float `[samples, classes]`.
      known_only: whether classes of unknown label are left out of the rankings.

    Returns:
      A value in (0, 1]; NaN without a positive label.

    Raises:
      errors.InputError: as `class_metrics`.
    """
    return ranking_precision(labels, scores, known_only=known_only).overall()


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise errors.InputError(
            f"labels of shape {labels.shape} with scores of shape {scores.shape}: both must be "
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
    return labels, scores
