"""Confidence intervals by bootstrap: the metrics of clips drawn with replacement.

Clips are drawn rather than frames, because the ten frames of a clip are not independent. A
replicate is a weight for every clip, namely how often it was drawn, so samples are ranked only
once.

Source: Efron 1979, "Bootstrap methods: another look at the jackknife",
https://doi.org/10.1214/aos/1176344552
"""

import numpy as np
from scipy import sparse

from audioset_strong.evaluation import metrics

_REPLICATES_AT_A_TIME = 128


def draw(num_clips: int, replicates: int, *, seed: int = 0) -> np.ndarray:
    """How often each bootstrap replicate draws each clip.

    >>> weights = draw(10, 3)
    >>> weights.shape, weights.sum(axis=0).tolist()
    ((10, 3), [10, 10, 10])

    Args:
      num_clips: number of clips, and of draws in each replicate.
      replicates: number of replicates.
      seed: equal seeds give equal draws.

    Returns:
      int64 `[num_clips, replicates]`; every column sums to `num_clips`.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(num_clips, np.full(num_clips, 1 / num_clips), replicates).T


def d_prime(
    labels: np.ndarray, scores: np.ndarray, *, clip: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean d' of each replicate, over the classes that have positives and negatives in it.

    Args:
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      scores: float `[samples, classes]`.
      clip: int `[samples]`, the clip of each sample as a row of `weights`.
      weights: `[clips, replicates]`, see `draw`.

    Returns:
      float64 `[replicates]`; NaN where a replicate has no class with positives and negatives.
    """
    chunks = [
        np.ascontiguousarray(weights[:, begin : begin + _REPLICATES_AT_A_TIME], np.float64)
        for begin in range(0, weights.shape[1], _REPLICATES_AT_A_TIME)
    ]
    total, used = np.zeros((2, weights.shape[1]))
    for k in range(scores.shape[1]):
        positive, negative = labels[:, k] == metrics.POSITIVE, labels[:, k] == metrics.NEGATIVE
        if positive.any() and negative.any():
            auc, pairs = _auc(
                scores[positive, k],
                scores[negative, k],
                positive_clip=clip[positive],
                negative_clip=clip[negative],
                chunks=chunks,
            )
            usable = pairs > 0
            total[usable] += metrics.d_prime(auc[usable], pairs[usable])
            used += usable
    return np.where(used > 0, total / np.maximum(used, 1), np.nan)


def _auc(
    positive: np.ndarray,
    negative: np.ndarray,
    *,
    positive_clip: np.ndarray,
    negative_clip: np.ndarray,
    chunks: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """AUC and number of pairs of one class in each replicate, float64 `[replicates]`.

    Where the number of pairs is 0 the AUC has no meaning.

    Args:
      positive: scores of the positives.
      negative: scores of the negatives.
      positive_clip: the clips that the positives come from.
      negative_clip: the clips that the negatives come from.
      chunks: the weights in parts, each `[clips, some replicates]`.
    """
    num_clips = len(chunks[0])
    values, index = np.unique(positive, return_inverse=True)
    # Each negative counts half below the first value above it and half below the first value at or
    # above it, so ties count half.
    bounds = [np.searchsorted(values, negative, side) for side in ("right", "left")]
    at_value = _counts(index, positive_clip, len(values), num_clips)
    halves = _counts(np.concatenate(bounds), np.tile(negative_clip, 2), len(values) + 1, num_clips)
    aucs, all_pairs = [], []
    for chunk in chunks:
        positives = at_value @ chunk  # [values, replicates]
        below = np.cumsum(halves @ chunk, axis=0) / 2  # [values + 1, replicates]
        pairs = positives.sum(axis=0) * below[-1]
        aucs.append(np.sum(positives * below[:-1], axis=0) / np.maximum(pairs, 1))
        all_pairs.append(pairs)
    return np.concatenate(aucs), np.concatenate(all_pairs)


def _counts(row: np.ndarray, clip: np.ndarray, num_rows: int, num_clips: int) -> sparse.csr_array:
    """How many samples of each clip fall into each row; float64 `[num_rows, num_clips]`."""
    return sparse.coo_array((np.ones(len(row)), (row, clip)), (num_rows, num_clips)).tocsr()


def lwlrap(
    ranking: metrics.RankingPrecision, *, clip: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """lwlrap of each replicate.

    Args:
      ranking: see `metrics.ranking_precision`.
      clip: int `[samples]`, as in `d_prime`.
      weights: `[clips, replicates]`, see `draw`.

    Returns:
      float64 `[replicates]`; NaN where a replicate has no positive label.
    """
    owner = clip[ranking.sample]
    precision = np.bincount(owner, ranking.precision, minlength=len(weights)) @ weights
    labels = np.bincount(owner, minlength=len(weights)) @ weights
    return np.where(labels > 0, precision / np.maximum(labels, 1), np.nan)


def interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a metric.

    >>> low, high = interval(np.arange(101.0))
    >>> round(low, 6), round(high, 6)
    (2.5, 97.5)

    Args:
      values: float `[replicates]`; replicates without a value (NaN) are left out.
      level: share of the replicates inside the interval.

    Returns:
      (low, high); both NaN where no replicate has a value.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
