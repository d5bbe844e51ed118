"""Weak eval and strong eval: from scores and labels to the numbers that are reported.

Names: a metric without suffix takes the negatives of section 3.2 (explicit ones; in the strong eval
complementary ones too). `_implicit` takes everything not labelled positive as negative, as PANNs,
AST and most other work do. `_explicit` and `_complementary` (strong eval) take one of the two kinds
alone.
"""

import dataclasses

import numpy as np
import pandas as pd

from audioset_strong import errors
from audioset_strong.evaluation import bootstrap, metrics, scoring

WEAK, STRONG = "weak", "strong"
MAIN_METRICS = ("d_prime", "lwlrap")


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
class _Samples:
    """Samples of one eval set, and which clip each comes from."""

    scores: np.ndarray  # [samples, classes]
    labels: np.ndarray  # int8 [samples, classes]
    explicit: np.ndarray  # bool [samples, classes], negatives that are explicit
    clip: np.ndarray  # int64 [samples]


def weak_samples(scores: scoring.Scores) -> _Samples:
    """The weak eval: a sample is a clip, scored by the mean over its frames.

    Clips whose weak labels are not known are left out. A class both positive and explicitly
    negative in one clip counts as positive.
    """
    known = scores.weak_known & scores.frame_valid.any(axis=1)
    positive = scores.weak_labels[known]
    explicit = scores.negative_labels[known] & scores.negatives_known[known, np.newaxis]
    labels = np.where(positive, 1, np.where(explicit, 0, -1)).astype(np.int8)
    return _Samples(scores.clip_scores()[known], labels, explicit & ~positive, np.nonzero(known)[0])


def strong_samples(scores: scoring.Scores) -> _Samples:
    """The strong eval: a sample is a 0.96 s frame inside a clip whose strong labels are known."""
    known = scores.strong_known[:, np.newaxis] & scores.frame_valid
    clip = np.nonzero(known)[0]
    labels = scores.frame_labels[known]
    explicit = (scores.negative_labels & scores.negatives_known[:, np.newaxis])[clip]
    return _Samples(scores.frame_scores[known], labels, explicit & (labels == 0), clip)


def measure(scores: scoring.Scores, kind: str, what: str) -> Measured:
    """Measures the weak or the strong eval.

    Args:
      scores: of one model on one dataset.
      kind: "weak" or "strong".
      what: names the eval set in messages.

    Raises:
      errors.InputError: no sample of that kind, or no class with both positives and negatives.
    """
    samples = weak_samples(scores) if kind == WEAK else strong_samples(scores)
    if not len(samples.clip):
        raise errors.InputError(f"{what}: no clip with {kind} labels")
    labels = samples.labels
    implicit = metrics.class_metrics(samples.scores, labels == 1)
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
        negative = labels == 0
        for name, kept in (
            ("explicit", negative & samples.explicit),
            ("complementary", negative & ~samples.explicit),
        ):
            part = np.where((labels == 1) | kept, labels, -1).astype(np.int8)
            separate = _named(metrics.class_metrics(samples.scores, part))
            values |= {
                f"{metric}_{name}": separate[metric]
                for metric in ("d_prime", "classes")
                if metric in separate
            }
    values["samples"] = float(len(labels))
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


def intervals(scores: scoring.Scores, kind: str, replicates: int = 200) -> dict[str, float]:
    """95% bootstrap intervals over clips, as {"<metric>_low": ..., "<metric>_high": ...}.

    For d' and lwlrap, and d' on implicit negatives.

    Args:
      scores: of one model on one dataset.
      kind: "weak" or "strong".
      replicates: draws of the clips.
    """
    samples = weak_samples(scores) if kind == WEAK else strong_samples(scores)
    found = bootstrap.intervals(samples.scores, samples.labels, samples.clip, replicates)
    implicit = bootstrap.intervals(
        samples.scores, (samples.labels == 1).astype(np.int8), samples.clip, replicates
    )
    if "d_prime" in implicit:
        found["d_prime_implicit"] = implicit["d_prime"]
    return {
        f"{name}_{end}": bound
        for name, bounds in found.items()
        for end, bound in zip(("low", "high"), bounds, strict=True)
    }
