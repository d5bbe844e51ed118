"""Metrics without each clip in turn: what intervals and comparisons are computed from.

A clip is left out as a whole, because its frames are not independent. Leaving out each of 14,000
clips changes each class a little; the new values follow from one ranking of the class, so no sample
is ranked twice. They are exact: those of `metrics` on the remaining clips, ties included.

Source: the jackknife. Quenouille 1956, "Notes on bias in estimation",
https://doi.org/10.1093/biomet/43.3-4.353, and Tukey 1958, "Bias and confidence in not-quite large
samples", https://doi.org/10.1214/aoms/1177706647
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from audioset_strong.evaluation import metrics

# What the harmonic mean of the classes' clips with positives must reach for an interval of a mean
# over them. Correcting the bias adds to the variance, which the standard error does not count; what
# it adds grows with the inverse of the number of positives. Found by interval_coverage.py.
MIN_POSITIVE_CLIPS = {"d_prime": 6, "average_precision": 15}
# How large a bias may be for an interval, as a share of its half-width. At 1 the metric lies just
# inside. That of average precision is estimated less exactly.
MAX_BIAS = {"d_prime": 1.0, "average_precision": 0.5}
_CLASSES_AT_A_TIME = 32


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A metric, and what it is without each clip.

    Attributes:
      value: of all clips.
      without: float64 `[clips]`; NaN where the other clips have no value.
      enough_positives: whether it may have an interval, see `MIN_POSITIVE_CLIPS`.
      degrees: of freedom of its standard error; at most the number of clips less one.
      max_bias: with which it may have an interval, see `MAX_BIAS`.
    """

    value: float
    without: np.ndarray
    enough_positives: bool = True
    degrees: float = np.inf
    max_bias: float = 1.0


@dataclasses.dataclass(frozen=True)
class ClassLeftOut:
    """d' and average precision of one class.

    Attributes:
      clips: int64 `[n]`, the clips in which the label of the class is known; without any other
        clip, the values are those of all clips.
      num_negative_clips: clips with a negative.
      num_positive_clips: clips with a positive; they may have negatives too.
      d_prime: of all clips.
      average_precision: of all clips.
      d_prime_without: float64 `[n]`, without each of `clips`; NaN where no positive or no negative
        is left.
      average_precision_without: float64 `[n]`, likewise.
    """

    clips: np.ndarray
    num_negative_clips: int
    num_positive_clips: int
    d_prime: float
    average_precision: float
    d_prime_without: np.ndarray
    average_precision_without: np.ndarray


def classes(
    labels: np.ndarray, scores: np.ndarray, *, clip: np.ndarray, precision: bool = True
) -> Iterator[ClassLeftOut | None]:
    """d' and average precision of each class, without each clip.

    >>> labels, scores = np.array([[1], [0], [1]]), np.array([[0.9], [0.7], [0.5]])
    >>> (found,) = classes(labels, scores, clip=np.arange(3))
    >>> found.average_precision_without.round(4).tolist()  # 1/2, none without the negative, 1
    [0.5, nan, 1.0]

    Args:
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      scores: float `[samples, classes]`.
      clip: int `[samples]`, the clip of each sample.
      precision: whether to compute average precision too, which takes as long again.

    Yields:
      For each class its values; None where it has no positive or no negative.
    """
    for begin in range(0, scores.shape[1], _CLASSES_AT_A_TIME):
        chunk = slice(begin, begin + _CLASSES_AT_A_TIME)
        # Transposed copies: a class's samples must lie side by side.
        columns = np.ascontiguousarray(scores[:, chunk].T)
        kinds = np.ascontiguousarray(labels[:, chunk].T)
        for column, kind in zip(columns, kinds, strict=True):
            known = kind != metrics.UNKNOWN
            positive = kind[known] == metrics.POSITIVE
            usable = positive.any() and not positive.all()
            if usable:
                ranked = _Ranked.of(column[known], positive, clip[known])
                yield _one_class(ranked, precision=precision)
            else:
                yield None


def mean(found: list[ClassLeftOut | None], metric: str, *, num_clips: int) -> LeftOut:
    """The mean over classes of d' or average precision, without each clip.

    A class that loses its last positive or negative with a clip is not in the mean without it, as
    if the clip had never been there.

    Args:
      found: of `classes`, at least one of them not None.
      metric: a key of `MIN_POSITIVE_CLIPS`.
      num_clips: number of clips.
    """
    used = [each for each in found if each is not None]
    values = np.array([getattr(each, metric) for each in used])
    total, count = np.full(num_clips, values.sum()), np.full(num_clips, len(used))
    for each, value in zip(used, values, strict=True):
        without = getattr(each, f"{metric}_without")
        lost = np.isnan(without)
        total[each.clips] += np.where(lost, 0, without) - value
        count[each.clips] -= lost
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    fewest = 1 / np.mean([1 / each.num_positive_clips for each in used])
    return LeftOut(
        float(values.mean()),
        means,
        enough_positives=bool(fewest >= MIN_POSITIVE_CLIPS[metric]),
        degrees=_degrees(used, metric),
        max_bias=MAX_BIAS[metric],
    )


def _degrees(used: list[ClassLeftOut], metric: str) -> float:
    """The degrees of freedom of the standard error of a mean over classes.

    A class's variance has as many as the rarer kind of its clips, less one. Where few classes with
    few positives make up most of the variance of the mean, it has few degrees too (Satterthwaite
    1946, https://doi.org/10.2307/3002019).
    """
    variances, degrees = np.zeros((2, len(used)))
    for k, each in enumerate(used):
        change = getattr(each, f"{metric}_without") - getattr(each, metric)
        variances[k] = np.nansum(change**2)
        degrees[k] = max(min(each.num_negative_clips, each.num_positive_clips) - 1, 1)
    total = variances.sum()
    return float(total**2 / np.sum(variances**2 / degrees)) if total > 0 else np.inf


def lwlrap(ranking: metrics.RankingPrecision, *, clip: np.ndarray, num_clips: int) -> LeftOut:
    """lwlrap without each clip.

    Args:
      ranking: see `metrics.ranking_precision`, of at least one positive label.
      clip: int `[samples]`, as in `classes`.
      num_clips: number of clips.
    """
    owner = clip[ranking.sample]
    precision = np.bincount(owner, ranking.precision, minlength=num_clips)
    labels = np.bincount(owner, minlength=num_clips)
    left = labels.sum() - labels
    without = np.where(left > 0, (precision.sum() - precision) / np.maximum(left, 1), np.nan)
    return LeftOut(ranking.overall(), without)


@dataclasses.dataclass(frozen=True)
class _Ranked:
    """The samples of one class by rising score.

    Attributes:
      score: float `[samples]`, rising.
      positive: bool `[samples]`.
      owner: int `[samples]`, the clip of each sample.
      below: int64 `[2, samples]`, how many negatives and positives score lower.
      up_to: int64 `[2, samples]`, how many negatives and positives score at most as high.
      counts: negatives and positives.
    """

    score: np.ndarray
    positive: np.ndarray
    owner: np.ndarray
    below: np.ndarray
    up_to: np.ndarray
    counts: tuple[int, int]

    @classmethod
    def of(cls, score: np.ndarray, positive: np.ndarray, owner: np.ndarray) -> "_Ranked":
        order = np.argsort(score)
        score, positive, owner = score[order], positive[order], owner[order]
        is_last = np.append(score[1:] != score[:-1], True)  # of samples with equal scores
        ends = np.nonzero(is_last)[0]
        group = np.cumsum(is_last) - is_last
        sums = np.zeros((2, len(ends) + 1), np.int64)
        sums[1, 1:] = np.cumsum(positive)[ends]
        sums[0, 1:] = ends + 1 - sums[1, 1:]
        counts = int(sums[0, -1]), int(sums[1, -1])
        return cls(score, positive, owner, sums[:, group], sums[:, group + 1], counts)


def _one_class(ranked: _Ranked, *, precision: bool) -> ClassLeftOut:
    """The values of one class with positives and negatives."""
    positive, owner = ranked.positive, ranked.owner
    num_negative, num_positive = ranked.counts
    # Twice the pairs in order that a sample is in, because ties count half.
    twice = np.where(
        positive,
        ranked.below[0] + ranked.up_to[0],
        2 * num_positive - ranked.below[1] - ranked.up_to[1],
    )
    negatives, positives, pairs = (
        np.bincount(owner, weights) for weights in (~positive, positive, twice / 2)
    )
    # Pairs within the clip are in the sum twice, once for each of their samples.
    pairs -= _pairs_within(ranked, np.minimum(negatives, positives) > 0)
    clips = np.nonzero(negatives + positives)[0]
    left_positives = (num_positive - positives)[clips]
    left = left_positives * (num_negative - negatives)[clips]
    total, all_pairs = float(twice[positive].sum()) / 2, num_positive * num_negative
    auc = np.where(left > 0, (total - pairs[clips]) / np.maximum(left, 1), np.nan)
    average, averages = np.nan, np.full(len(clips), np.nan)
    if precision:
        sums, every = _precisions_without(ranked)
        average = every / num_positive
        averages = np.where(left > 0, sums[clips] / np.maximum(left_positives, 1), np.nan)
    return ClassLeftOut(
        clips,
        int(np.count_nonzero(negatives)),
        int(np.count_nonzero(positives)),
        float(metrics.d_prime(total / all_pairs, all_pairs)),
        average,
        metrics.d_prime(auc, left),
        averages,
    )


def _pairs_within(ranked: _Ranked, mixed: np.ndarray) -> np.ndarray:
    """Pairs in order of a positive and a negative of the same clip, float64 `[clips]`.

    Args:
      ranked: the samples.
      mixed: bool `[clips]`, clips with both kinds.
    """
    inside = np.zeros(len(mixed))
    chosen = np.nonzero(mixed[ranked.owner])[0]
    if not len(chosen):
        return inside
    chosen = chosen[np.argsort(ranked.owner[chosen], kind="stable")]
    clips, start, count = np.unique(ranked.owner[chosen], return_index=True, return_counts=True)
    row = np.repeat(np.arange(len(clips)), count)
    column = np.arange(len(chosen)) - np.repeat(start, count)
    # A row for each clip, filled up with NaN, which compares as neither higher nor equal.
    of_kind = np.full((2, len(clips), count.max()), np.nan)
    of_kind[ranked.positive[chosen].astype(int), row, column] = ranked.score[chosen]
    high, low = of_kind[1][:, :, np.newaxis], of_kind[0][:, np.newaxis, :]
    inside[clips] = np.sum(high > low, axis=(1, 2)) + np.sum(high == low, axis=(1, 2)) / 2
    return inside


def _precisions_without(ranked: _Ranked) -> tuple[np.ndarray, float]:
    """The sum of the precisions of the positives of all other clips, float64 `[clips]`.

    Going up the scores, the number of samples that a clip takes away from a positive's precision
    falls by one at each of its samples. So the positives lie in a few runs, each with so many
    positives and so many negatives less, and the sum over a run is a difference of prefix sums.

    Returns:
      The sums, and the sum over all positives.
    """
    places = np.nonzero(ranked.positive)[0]
    above = np.array(ranked.counts)[:, np.newaxis] - ranked.below[:, places]

    # A sample below all positives takes nothing away. By clip, then by falling score; few enough
    # clips for 16 bits are sorted in linear time.
    start = int(np.searchsorted(ranked.up_to[1], 1))
    owner, rank, positive = (
        array[start:][::-1] for array in (ranked.owner, ranked.up_to[1], ranked.positive)
    )
    order = np.argsort(owner.astype(np.min_scalar_type(owner.max())), kind="stable")
    owner, rank, positive = owner[order], rank[order], positive[order]
    index = np.arange(len(order))
    is_first = np.append(True, owner[1:] != owner[:-1])
    first = np.maximum.accumulate(np.where(is_first, index, 0))
    so_far = np.cumsum(positive)
    less_positives = so_far - so_far[first] + positive[first]
    less_negatives = index - first + 1 - less_positives
    run_end = np.where(np.append(is_first[1:], True), 0, np.append(rank[1:], 0))

    # A line of prefix sums for each pair of numbers that occurs.
    width = int(less_negatives.max()) + 1
    code = less_positives * width + less_negatives
    occurs = np.bincount(code) > 0
    precision = _precision(above)
    sums = np.zeros((np.count_nonzero(occurs), len(places) + 1))
    for line, value in zip(sums, np.nonzero(occurs)[0].tolist(), strict=True):
        np.cumsum(_precision(above, *divmod(value, width)) - precision, out=line[1:])
    line = (np.cumsum(occurs) - 1)[code]
    change = sums[line, rank] - sums[line, run_end]

    # The clip's own positives are in these runs too. At equal scores, the last one's counts hold.
    is_last = np.append((rank[1:] != rank[:-1]) | is_first[1:], True)
    last = np.minimum.accumulate(np.where(is_last, index, len(index))[::-1])[::-1][positive]
    left = above[:, rank[positive] - 1] - [less_negatives[last], less_positives[last]]
    change[positive] -= left[1] / np.maximum(left.sum(axis=0), 1)
    total = float(precision.sum())
    return total + np.bincount(owner, change, minlength=ranked.owner.max() + 1), total


def _precision(above: np.ndarray, less_positives: int = 0, less_negatives: int = 0) -> np.ndarray:
    """The precision of each positive, with so many samples less from it on upwards.

    Args:
      above: int64 `[2, positives]`, negatives and positives that score at least as high.
      less_positives: how many of these positives are gone.
      less_negatives: how many of these negatives are gone.
    """
    hits = np.maximum(above[1] - less_positives, 0)
    misses = np.maximum(above[0] - less_negatives, 0)
    return hits / np.maximum(hits + misses, 1)
