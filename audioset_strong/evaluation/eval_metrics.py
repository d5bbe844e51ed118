"""Weak eval and strong eval: from scores and labels to the numbers that are reported.

A metric without suffix takes the negatives of section 3.2: explicit ones, and in the strong eval
complementary ones too. Where no class has explicit negatives there is none: the strong eval then
has the suffix `_complementary`, the weak eval `_implicit` only. `_explicit` and `_complementary`
(strong eval) take one kind of negatives alone, and `_implicit` counts everything that is not
labelled positive as negative, as PANNs, AST and most other work do. `_low` and `_high` are the
bounds of the 95% interval over clips, see `intervals`.

"Overall evaluation mixes the scores of the complementary negatives with the explicit negatives to
give balanced measures of performance" (section 3.2). How they are mixed it does not say. "pooled",
the default reading, counts every negative frame alike; "equal" lets the two kinds of a class count
alike, whatever their numbers.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from audioset_strong.core import choices, errors
from audioset_strong.evaluation import intervals, leave_one_out, metrics, scoring
from audioset_strong.evaluation.left_out_files import SetLeftOut

KINDS = WEAK, STRONG = "weak", "strong"  # of labels, and of the evals that they give
WEIGHTINGS = POOLED, EQUAL = choices.NEGATIVE_WEIGHTINGS
COMPLEMENTARY = "_complementary"
# Suffix of d' -> the negatives that it counts; the one nearest to the paper's comes first.
NEGATIVES = {"": "explicit", COMPLEMENTARY: "complementary", "_implicit": "implicit"}
_MEANS = ("d_prime", "d_prime_of_mean_auc", "auc", "mAP")
# Metrics on the negatives of section 3.2, which have another name where none is explicit.
_ON_KNOWN = frozenset((*_MEANS, "classes", "classes_at_limit"))
# All metrics of a model, for each of which higher is better; `measure` gives counts and bounds too.
METRICS = frozenset(
    [name + suffix for name in _MEANS for suffix in NEGATIVES]
    + ["d_prime_explicit", "lwlrap", "lwlrap_balanced", "lwlrap_known"]
)


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
      per_class: a row for each class: mid, positives, negatives, negatives_explicit (how many of
        them are), auc, d_prime, average_precision, lwlrap, and negatives, auc, d_prime and
        average_precision with the suffix `_implicit`. Where no class of a strong eval has explicit
        negatives, auc, d_prime and average_precision have the suffix `_complementary`.
      left_out: the metrics without each clip; None where no intervals were asked for.
    """

    values: dict[str, float]
    per_class: pd.DataFrame
    left_out: SetLeftOut | None = None


@dataclasses.dataclass(frozen=True)
class Samples:
    """The samples of one eval set, and which clip each comes from.

    Attributes:
      scores: float `[samples, classes]`, logits or probabilities; metrics depend on their order.
      labels: int8 `[samples, classes]`, 1 positive, 0 negative, -1 unknown.
      explicit: bool `[samples, classes]`, explicit negatives of the sample's clip.
      clip: int64 `[samples]`, index of the clip.
      are_logits: whether the scores are logits.
    """

    scores: np.ndarray
    labels: np.ndarray
    explicit: np.ndarray
    clip: np.ndarray
    are_logits: bool


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
    clip = np.nonzero(known)[0]
    return Samples(scores.clip_scores()[known], labels, explicit, clip, scores.are_logits)


def _strong_samples(scores: scoring.Scores) -> Samples:
    """The strong eval: a sample is a 0.96 s frame inside a clip with strong labels."""
    known = scores.strong_known[:, np.newaxis] & scores.frame_valid
    clip = np.nonzero(known)[0]
    return Samples(
        scores.frame_scores[known],
        scores.frame_labels[known],
        scores.explicit_negatives()[clip],
        clip,
        scores.are_logits,
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


def measure(
    scores: scoring.Scores,
    kind: str,
    *,
    name: str,
    with_intervals: bool = False,
    negative_weighting: str = POOLED,
) -> EvalResult:
    """Measures the weak or the strong eval.

    Args:
      scores: of one model on one dataset.
      kind: `WEAK` or `STRONG`.
      name: of the eval set, for messages.
      with_intervals: whether to compute 95% intervals, which takes about as long again.
      negative_weighting: "pooled" or "equal", how the explicit and the complementary negatives of a
        class are mixed in the strong eval. With "equal" its d' and mAP have no interval.

    Raises:
      errors.InputError: no clip has labels of that kind, or no class has both positives and
        negatives.
    """
    samples = eval_samples(scores, kind, name=name)
    equal = kind == STRONG and negative_weighting == EQUAL
    implicit = metrics.class_metrics(samples.labels == metrics.POSITIVE, samples.scores)
    known = metrics.class_metrics(
        samples.labels, samples.scores, equal_parts=samples.explicit if equal else None
    )
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
    only_complementary = kind == STRONG and "d_prime_explicit" not in values
    left_out = None
    if with_intervals:
        suffix = COMPLEMENTARY if only_complementary else ""
        left_out = _left_out(scores, samples, ranking, suffix=None if equal else suffix)
        values |= _bounds(left_out.metrics)
    per_class = pd.DataFrame(
        {
            "mid": scores.mids,
            "positives": known.positives,
            "negatives": known.negatives,
            "negatives_explicit": np.count_nonzero(
                samples.explicit & (samples.labels == metrics.NEGATIVE), axis=0
            ),
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
    if only_complementary:
        values, per_class = _named_complementary(values, per_class)
    return EvalResult(values, per_class, left_out)


def _named_complementary(
    values: dict[str, float], per_class: pd.DataFrame
) -> tuple[dict[str, float], pd.DataFrame]:
    """Metrics and classes whose negatives are all complementary, under names that say so."""
    renamed = {
        (name + COMPLEMENTARY if name in _ON_KNOWN else name): value
        for name, value in values.items()
    }
    columns = {name: name + COMPLEMENTARY for name in ("auc", "d_prime", "average_precision")}
    return renamed, per_class.rename(columns=columns)


def class_d_prime(per_class: pd.DataFrame) -> str:
    """The column of a per-class table with the d' that is nearest to the paper's.

    >>> class_d_prime(pd.DataFrame({"d_prime": [np.nan], "d_prime_implicit": [1.0]}))
    'd_prime_implicit'

    Args:
      per_class: of an `EvalResult`.

    Returns:
      "d_prime" with a suffix of `NEGATIVES`; the last of them where no class has any d'.
    """
    columns = [f"d_prime{suffix}" for suffix in NEGATIVES]
    filled = (name for name in columns if name in per_class and per_class[name].notna().any())
    return next(filled, columns[-1])


def metric_title(metric: str) -> str:
    """The name of a metric in titles.

    >>> metric_title("d_prime"), metric_title("d_prime_complementary"), metric_title("lwlrap")
    ("d'", "d' (complementary negatives)", 'lwlrap')
    """
    suffix = metric.removeprefix("d_prime")
    if suffix == metric or suffix not in NEGATIVES:
        return metric
    return f"d' ({NEGATIVES[suffix]} negatives)" if suffix else "d'"


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
        computed = metrics.class_metrics(labels, samples.scores)
        values[f"classes_{name}"] = float(computed.used.sum())
        if computed.used.any():
            values[f"d_prime_{name}"] = computed.means()["d_prime"]
    return values


def _left_out(
    scores: scoring.Scores,
    samples: Samples,
    ranking: metrics.RankingPrecision,
    *,
    suffix: str | None,
) -> SetLeftOut:
    """The metrics that have intervals, with and without each clip.

    Args:
      scores: that are measured.
      samples: of them.
      ranking: of the samples.
      suffix: of the metrics on known negatives; None leaves these out.
    """
    clips, clip = np.unique(samples.clip, return_inverse=True)
    found = {"lwlrap": leave_one_out.lwlrap(ranking, clip=clip, num_clips=len(clips))}
    known: list[leave_one_out.ClassLeftOut | None] = []
    if suffix is not None:
        known = list(leave_one_out.classes(samples.labels, samples.scores, clip=clip))
    positive = (samples.labels == metrics.POSITIVE).astype(np.int8)
    implicit = list(leave_one_out.classes(positive, samples.scores, clip=clip))
    for end, classes in ((suffix, known), ("_implicit", implicit)):
        if any(classes):
            for name, of_class in (("d_prime", "d_prime"), ("mAP", "average_precision")):
                mean = leave_one_out.mean(classes, of_class, num_clips=len(clips))
                found[f"{name}{end}"] = mean
    ids = tuple(scores.clip_ids[i] for i in clips)
    return SetLeftOut(ids, scores.mids, found, known if any(known) else ())


def _bounds(left_out: Mapping[str, leave_one_out.LeftOut]) -> dict[str, float]:
    """The bounds of the metrics that have an interval, as "<metric>_low" and "<metric>_high"."""
    bounds: dict[str, float] = {}
    for name, each in left_out.items():
        found = intervals.interval(each)
        if found is not None:
            bounds |= {f"{name}_low": found[0], f"{name}_high": found[1]}
    return bounds
