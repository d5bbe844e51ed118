"""Confidence intervals: the metrics again over clips drawn with replacement.

Clips are drawn, not frames: the ten frames of a clip are no independent samples. Each replicate is
a weight for every clip (how often it was drawn), so that nothing is ranked twice.
"""

import numpy as np

from audioset_strong.evaluation import metrics

_CELLS_AT_A_TIME = 1 << 24


def intervals(
    scores: np.ndarray,
    labels: np.ndarray,
    clip: np.ndarray,
    replicates: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of d' (mean over classes) and lwlrap.

    Args:
      scores: float `[samples, classes]`.
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      clip: int `[samples]`, which clip each sample belongs to.
      replicates: draws of the clips.
      level: probability that the interval holds.
      seed: of the draws.

    Returns:
      {"d_prime": (low, high), "lwlrap": (low, high)}; what is undefined is left out.
    """
    clips, clip = np.unique(clip, return_inverse=True)
    if not len(clips):
        return {}
    random = np.random.default_rng(seed)
    weights = random.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), replicates)
    tails = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    for name, values in (
        ("d_prime", _d_prime(scores, labels, clip, weights)),
        ("lwlrap", _lwlrap(scores, labels, clip, weights)),
    ):
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.quantile(values, tails)
            found[name] = (float(low), float(high))
    return found


def _d_prime(
    scores: np.ndarray, labels: np.ndarray, clip: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean d' of each replicate, over the classes that it leaves usable; float64 `[replicates]`."""
    replicates, num_clips = weights.shape
    total, used = np.zeros(replicates), np.zeros(replicates)
    for k in range(scores.shape[1]):
        positive, negative = labels[:, k] == 1, labels[:, k] == 0
        if not positive.any() or not negative.any():
            continue
        values, place = np.unique(scores[positive, k], return_inverse=True)
        bins = len(values)
        # Weight of the negatives below, and of those equal to, each distinct positive score.
        left = np.searchsorted(values, scores[negative, k], side="left")
        right = np.searchsorted(values, scores[negative, k], side="right")
        clip_p, clip_n = clip[positive], clip[negative]
        step = max(1, _CELLS_AT_A_TIME // max(bins + 1, num_clips, len(clip_n)))
        for begin in range(0, replicates, step):
            chunk = slice(begin, begin + step)
            w = weights[chunk].astype(np.float64)
            positives = _binned(w[:, clip_p], place, bins)
            below = np.cumsum(_binned(w[:, clip_n], right, bins + 1), axis=1)[:, :bins]
            at_or_below = np.cumsum(_binned(w[:, clip_n], left, bins + 1), axis=1)[:, :bins]
            won = np.sum(positives * (below + at_or_below) / 2, axis=1)
            pairs = positives.sum(axis=1) * w[:, clip_n].sum(axis=1)
            usable = pairs > 0
            auc = won[usable] / pairs[usable]
            total[chunk][usable] += metrics.d_prime(auc, pairs[usable])
            used[chunk][usable] += 1
    return np.where(used > 0, total / np.maximum(used, 1), np.nan)


def _binned(weights: np.ndarray, bins: np.ndarray, num_bins: int) -> np.ndarray:
    """Sums `[replicates, samples]` weights into `[replicates, num_bins]`."""
    flat = bins + num_bins * np.arange(len(weights))[:, np.newaxis]
    summed = np.bincount(flat.ravel(), weights.ravel(), minlength=num_bins * len(weights))
    return summed.reshape(len(weights), num_bins)


def _lwlrap(
    scores: np.ndarray, labels: np.ndarray, clip: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """lwlrap of each replicate; float64 `[replicates]`."""
    ranking = metrics.ranking_precision(scores, labels)
    owner = clip[ranking.sample]
    num_clips = weights.shape[1]
    precision = np.bincount(owner, ranking.precision, minlength=num_clips)
    count = np.bincount(owner, minlength=num_clips)
    drawn = weights @ count
    return np.where(drawn > 0, weights @ precision / np.maximum(drawn, 1), np.nan)
