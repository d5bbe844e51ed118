"""Confidence intervals: the metrics again over clips drawn with replacement.

Clips are drawn, not frames: the ten frames of a clip are no independent samples. A replicate is a
weight for every clip (how often it was drawn), so that nothing is ranked twice.
"""

import numpy as np
from scipy import sparse

from audioset_strong.evaluation import metrics

_REPLICATES_AT_A_TIME = 128


def draw(num_clips: int, replicates: int, seed: int = 0) -> np.ndarray:
    """How often each replicate draws each clip; int64 `[clips, replicates]`, columns sum to clips.

    Args:
      num_clips: to draw from, and to draw.
      replicates: of the bootstrap.
      seed: equal seeds give equal draws.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(num_clips, np.full(num_clips, 1 / num_clips), replicates).T


def d_prime(
    scores: np.ndarray, labels: np.ndarray, clip: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean d' of each replicate, over the classes that it leaves usable.

    Args:
      scores: float `[samples, classes]`.
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      clip: int `[samples]`, the row of `weights` that each sample's clip has.
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
                scores[positive, k], scores[negative, k], clip[positive], clip[negative], chunks
            )
            usable = pairs > 0
            total[usable] += metrics.d_prime(auc[usable], pairs[usable])
            used += usable
    return np.where(used > 0, total / np.maximum(used, 1), np.nan)


def _auc(
    positive: np.ndarray,
    negative: np.ndarray,
    positive_clip: np.ndarray,
    negative_clip: np.ndarray,
    chunks: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """One class's AUC and pairs in each replicate, float64 `[replicates]`; 0 pairs: no AUC.

    Args:
      positive, negative: scores.
      positive_clip, negative_clip: the clips that they come from.
      chunks: of the weights, each `[clips, some replicates]`.
    """
    num_clips = len(chunks[0])
    values, place = np.unique(positive, return_inverse=True)
    # Half of a negative lies below the first value above it, half below the first at or above it:
    # ties are won by half.
    bounds = [np.searchsorted(values, negative, side) for side in ("right", "left")]
    at_value = _counts(place, positive_clip, len(values), num_clips)
    halves = _counts(np.concatenate(bounds), np.tile(negative_clip, 2), len(values) + 1, num_clips)
    aucs, all_pairs = [], []
    for drawn in chunks:
        positives = at_value @ drawn  # [values, replicates]
        below = np.cumsum(halves @ drawn, axis=0) / 2  # [values + 1, replicates]
        pairs = positives.sum(axis=0) * below[-1]
        aucs.append(np.sum(positives * below[:-1], axis=0) / np.maximum(pairs, 1))
        all_pairs.append(pairs)
    return np.concatenate(aucs), np.concatenate(all_pairs)


def _counts(row: np.ndarray, clip: np.ndarray, num_rows: int, num_clips: int) -> sparse.csr_array:
    """How many samples of each clip fall into each row; float64 `[num_rows, num_clips]`."""
    return sparse.coo_array((np.ones(len(row)), (row, clip)), (num_rows, num_clips)).tocsr()


def lwlrap(ranking: metrics.RankingPrecision, clip: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """lwlrap of each replicate.

    Args:
      ranking: of the samples.
      clip: int `[samples]`, as in `d_prime`.
      weights: `[clips, replicates]`, see `draw`.

    Returns:
      float64 `[replicates]`; NaN where a replicate has no positive label.
    """
    owner = clip[ranking.sample]
    precision = np.bincount(owner, ranking.precision, minlength=len(weights)) @ weights
    labels = np.bincount(owner, minlength=len(weights)) @ weights
    return np.where(labels > 0, precision / np.maximum(labels, 1), np.nan)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a metric, (low, high).

    Args:
      values: float `[replicates]`; replicates without a value (NaN) are left out.
      level: probability that the interval holds.

    Returns:
      NaN twice where no replicate has a value.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
