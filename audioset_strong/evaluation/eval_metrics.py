"""Weak eval and strong eval: from scores and labels to the numbers that are reported.

Names: a metric without suffix takes the negatives of section 3.2 (explicit ones; in the strong eval
complementary ones too). `_implicit` takes everything not labelled positive as negative, as PANNs,
AST and most other work do. `_explicit` and `_complementary` (strong eval) take one of the two kinds
alone. `_low` and `_high` bound the 95% bootstrap interval over clips.
"""

import dataclasses

import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.evaluation import intervals, metrics, scoring

WEAK, STRONG = "weak", "strong"


def title_of(set_name: str) -> str:
    """A set's name for people: "Strong eval" for strong_eval."""
    return set_name.replace("_", " ").capitalize()


@dataclasses.dataclass(frozen=True)
class Measured:
    """One eval set, measured.

    Attributes:
      values: metric name -> value; what is undefined is left out.
      per_class: one row a class: mid, positives, negatives, auc, d_prime, average_precision,
        lwlrap, and the `_implicit` ones.
    """

    values: dict[str, float]
    per_class: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of one eval set, and which clip each comes from.

    Attributes:
      scores: float `[samples, classes]`.
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      explicit: bool `[samples, classes]`, explicit negatives of the sample's clip.
      clip: int64 `[samples]`.
    """

    scores: np.ndarray
    labels: np.ndarray
    explicit: np.ndarray
    clip: np.ndarray


def _weak_samples(scores: scoring.Scores) -> Samples:
    """The weak eval: a sample is a clip, scored by the mean over its frames.

    Clips whose weak labels are not known are left out. A class both positive and explicitly
    negative in one clip counts as positive.
    """
    known = scores.weak_known & scores.frame_valid.any(axis=1)
    positive = scores.weak_labels[known]
    explicit = scores.explicit_negatives()[known]
    labels = np.full(positive.shape, metrics.UNKNOWN, np.int8)
    labels[explicit] = metrics.NEGATIVE
    labels[positive] = metrics.POSITIVE
    return Samples(scores.clip_scores()[known], labels, explicit, np.nonzero(known)[0])


def _strong_samples(scores: scoring.Scores) -> Samples:
    """The strong eval: a sample is a 0.96 s frame inside a clip whose strong labels are known."""
    known = scores.strong_known[:, np.newaxis] & scores.frame_valid
    clip = np.nonzero(known)[0]
    return Samples(
        scores.frame_scores[known],
        scores.frame_labels[known],
        scores.explicit_negatives()[clip],
        clip,
    )


def samples_of(scores: scoring.Scores, kind: str, what: str) -> Samples:
    """What the weak or the strong eval counts.

    Args:
      scores: of one model on one dataset.
      kind: "weak" or "strong".
      what: names the eval set in messages.

    Raises:
      errors.InputError: no sample of that kind.
    """
    samples = _weak_samples(scores) if kind == WEAK else _strong_samples(scores)
    if not len(samples.clip):
        raise errors.InputError(f"{what}: no clip with {kind} labels")
    return samples


def measure(scores: scoring.Scores, kind: str, what: str, replicates: int = 0) -> Measured:
    """Measures the weak or the strong eval.

    Args:
      scores: of one model on one dataset.
      kind: "weak" or "strong".
      what: names the eval set in messages.
      replicates: of the bootstrap of d' and lwlrap; 0 for no intervals.

    Raises:
      errors.InputError: no sample of that kind, or no class with both positives and negatives.
    """
    samples = samples_of(scores, kind, what)
    labels, positive = samples.labels, samples.labels == metrics.POSITIVE
    implicit = metrics.class_metrics(samples.scores, positive)
    known = metrics.class_metrics(samples.scores, labels)
    if not implicit.used.any():
        raise errors.InputError(
            f"{what}: no usable class: none of {len(scores.mids)} has both positives and negatives"
        )
    ranking = metrics.ranking_precision(samples.scores, labels)
    class_lwlrap = ranking.per_class()
    values = _named(known) | _named(implicit, "_implicit")
    values["lwlrap"] = ranking.overall()
    values["lwlrap_balanced"] = float(np.nanmean(class_lwlrap))
    values["lwlrap_known"] = metrics.lwlrap(samples.scores, labels, known_only=True)
    if kind == STRONG:
        negative = labels == metrics.NEGATIVE
        for name, left_out in (
            ("explicit", ~samples.explicit),
            ("complementary", samples.explicit),
        ):
            part = np.where(negative & left_out, np.int8(metrics.UNKNOWN), labels)
            separate = _named(metrics.class_metrics(samples.scores, part), f"_{name}")
            values |= {
                metric: value
                for metric, value in separate.items()
                if metric in (f"d_prime_{name}", f"classes_{name}")
            }
    values["samples"] = float(len(labels))
    if replicates:
        values |= _intervals(samples, ranking, replicates)
    per_class = pd.DataFrame(
        {
            "mid": scores.mids,
            "positives": known.positives,
            "negatives": known.negatives,
            "auc": known.auc,
            "d_prime": known.d_prime,
            "average_precision": known.average_precision,
            "lwlrap": class_lwlrap,
            "negatives_implicit": implicit.negatives,
            "auc_implicit": implicit.auc,
            "d_prime_implicit": implicit.d_prime,
            "average_precision_implicit": implicit.average_precision,
        }
    )
    return Measured(values, per_class)


def _named(computed: metrics.ClassMetrics, suffix: str = "") -> dict[str, float]:
    """The means and how many classes they are over; nothing where no class is usable."""
    if not computed.used.any():
        return {}
    at_limit = np.isin(computed.auc[computed.used], (0.0, 1.0))
    named = computed.means() | {
        "classes": float(computed.used.sum()),
        "classes_at_limit": float(at_limit.sum()),
    }
    return {name + suffix: value for name, value in named.items()}


def _intervals(
    samples: Samples, ranking: metrics.RankingPrecision, replicates: int
) -> dict[str, float]:
    """Bounds of d_prime, d_prime_implicit and lwlrap, as "<metric>_low" and "<metric>_high"."""
    clips, clip = np.unique(samples.clip, return_inverse=True)
    weights = intervals.draw(len(clips), replicates)
    implicit = (samples.labels == metrics.POSITIVE).astype(np.int8)
    replicated = {
        "d_prime": intervals.d_prime(samples.scores, samples.labels, clip, weights),
        "d_prime_implicit": intervals.d_prime(samples.scores, implicit, clip, weights),
        "lwlrap": intervals.lwlrap(ranking, clip, weights),
    }
    bounds: dict[str, float] = {}
    for name, values in replicated.items():
        low, high = intervals.interval(values)
        if not np.isnan(low):
            bounds |= {f"{name}_low": low, f"{name}_high": high}
    return bounds
