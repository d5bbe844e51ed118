"""Weak eval and strong eval: from scores and labels to the numbers that are reported.

A metric without suffix takes the negatives of section 3.2: explicit ones, and in the strong eval
complementary ones too. `_implicit` counts everything that is not labelled positive as negative, as
PANNs, AST and most other work do. `_explicit` and `_complementary` (strong eval) take one kind of
negatives alone. `_low` and `_high` are the bounds of the 95% bootstrap interval over clips.
"""

import dataclasses

import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.evaluation import intervals, metrics, scoring

KINDS = WEAK, STRONG = "weak", "strong"  # of labels, and of the evals that they give


def set_name(kind: str, name: str) -> str:
    """What the weak or strong eval on an eval set is called in results.

    >>> set_name(WEAK, "validation")
    'weak_validation'
    """
    return f"{kind}_{name}"


def display_name(set_name: str) -> str:
    """The name of a set in titles.

    >>> display_name("strong_eval")
    'Strong eval'
    """
    return set_name.replace("_", " ").capitalize()


@dataclasses.dataclass(frozen=True)
class EvalResult:
    """The metrics of a model on one eval set.

    Attributes:
      values: metric name -> value; undefined metrics are left out.
      per_class: a row for each class: mid, positives, negatives, auc, d_prime, average_precision,
        lwlrap, and negatives, auc, d_prime and average_precision with the suffix `_implicit`.
    """

    values: dict[str, float]
    per_class: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Samples:
    """The samples of one eval set, and which clip each comes from.

    Attributes:
      scores: float `[samples, classes]`.
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      explicit: bool `[samples, classes]`, explicit negatives of the sample's clip.
      clip: int64 `[samples]`, index of the clip.
    """

    scores: np.ndarray
    labels: np.ndarray
    explicit: np.ndarray
    clip: np.ndarray


def _weak_samples(scores: scoring.Scores) -> Samples:
    """The weak eval: a sample is a clip, scored by the mean over its frames.

    Clips without weak labels are left out. A class that is both positive and explicitly negative in
    a clip counts as positive.
    """
    known = scores.weak_known & scores.frame_valid.any(axis=1)
    positive = scores.weak_labels[known]
    explicit = scores.explicit_negatives()[known]
    labels = np.full(positive.shape, metrics.UNKNOWN, np.int8)
    labels[explicit] = metrics.NEGATIVE
    labels[positive] = metrics.POSITIVE
    return Samples(scores.clip_scores()[known], labels, explicit, np.nonzero(known)[0])


def _strong_samples(scores: scoring.Scores) -> Samples:
    """The strong eval: a sample is a 0.96 s frame inside a clip with strong labels."""
    known = scores.strong_known[:, np.newaxis] & scores.frame_valid
    clip = np.nonzero(known)[0]
    return Samples(
        scores.frame_scores[known],
        scores.frame_labels[known],
        scores.explicit_negatives()[clip],
        clip,
    )


def eval_samples(scores: scoring.Scores, kind: str, *, name: str) -> Samples:
    """The samples of the weak or the strong eval.

    Args:
      scores: of one model on one dataset.
      kind: `WEAK` or `STRONG`.
      name: of the eval set, for messages.

    Raises:
      errors.InputError: no clip has labels of that kind.
    """
    samples = _weak_samples(scores) if kind == WEAK else _strong_samples(scores)
    if not len(samples.clip):
        raise errors.InputError(f"{name}: no clip with {kind} labels")
    return samples


def measure(scores: scoring.Scores, kind: str, *, name: str, replicates: int = 0) -> EvalResult:
    """Measures the weak or the strong eval.

    Args:
      scores: of one model on one dataset.
      kind: `WEAK` or `STRONG`.
      name: of the eval set, for messages.
      replicates: of the bootstrap of d' and lwlrap; 0 for no intervals.

    Raises:
      errors.InputError: no clip has labels of that kind, or no class has both positives and
        negatives.
    """
    samples = eval_samples(scores, kind, name=name)
    implicit = metrics.class_metrics(samples.labels == metrics.POSITIVE, samples.scores)
    known = metrics.class_metrics(samples.labels, samples.scores)
    if not implicit.used.any():
        raise errors.InputError(
            f"{name}: no usable class: none of {len(scores.mids)} has both positives and negatives"
        )
    ranking = metrics.ranking_precision(samples.labels, samples.scores)
    class_lwlrap = ranking.per_class()
    values = _means(known) | _means(implicit, "_implicit")
    values["lwlrap"] = ranking.overall()
    values["lwlrap_balanced"] = float(np.nanmean(class_lwlrap))
    values["lwlrap_known"] = metrics.lwlrap(samples.labels, samples.scores, known_only=True)
    if kind == STRONG:
        values |= _by_kind_of_negative(samples)
    values["samples"] = float(len(samples.labels))
    if replicates:
        values |= _bounds(samples, ranking, replicates)
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
    return EvalResult(values, per_class)


def _means(computed: metrics.ClassMetrics, suffix: str = "") -> dict[str, float]:
    """The means and how many classes they are taken over; nothing where no class is usable."""
    if not computed.used.any():
        return {}
    at_limit = np.isin(computed.auc[computed.used], (0.0, 1.0))
    named = computed.means() | {
        "classes": float(computed.used.sum()),
        "classes_at_limit": float(at_limit.sum()),
    }
    return {name + suffix: value for name, value in named.items()}


def _by_kind_of_negative(samples: Samples) -> dict[str, float]:
    """d' and its classes with one kind of negatives alone: explicit or complementary ones."""
    values = {}
    negative = samples.labels == metrics.NEGATIVE
    for name, left_out in (
        ("explicit", ~samples.explicit),
        ("complementary", samples.explicit),
    ):
        labels = np.where(negative & left_out, np.int8(metrics.UNKNOWN), samples.labels)
        means = _means(metrics.class_metrics(labels, samples.scores), f"_{name}")
        for metric in (f"d_prime_{name}", f"classes_{name}"):
            if metric in means:
                values[metric] = means[metric]
    return values


def _bounds(
    samples: Samples, ranking: metrics.RankingPrecision, replicates: int
) -> dict[str, float]:
    """Bounds of d_prime, d_prime_implicit and lwlrap, as "<metric>_low" and "<metric>_high"."""
    clips, clip = np.unique(samples.clip, return_inverse=True)
    weights = intervals.draw(len(clips), replicates)
    implicit = (samples.labels == metrics.POSITIVE).astype(np.int8)
    replicated = {
        name: intervals.d_prime(labels, samples.scores, clip=clip, weights=weights)
        for name, labels in (("d_prime", samples.labels), ("d_prime_implicit", implicit))
    }
    replicated["lwlrap"] = intervals.lwlrap(ranking, clip=clip, weights=weights)
    bounds: dict[str, float] = {}
    for name, values in replicated.items():
        low, high = intervals.interval(values)
        if not np.isnan(low):
            bounds |= {f"{name}_low": low, f"{name}_high": high}
    return bounds
