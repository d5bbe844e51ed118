"""All metrics at the size of AudioSet's eval sets: seconds and peak memory, beside scikit-learn.

Example:
  metrics.py --weak_clips=18000 --strong_frames=142000

Scores and labels are drawn at random, with priors as uneven as AudioSet's. Weak: clips x 527, all
labels known. Strong: frames x 456, most labels unknown. Implicit: the same frames with all labels
known. Each side computes ROC AUC and average precision of every class and lwlrap, scikit-learn in a
loop over the classes. The third line of a case is what intervals need, all of this without each ten
samples in turn. Each measurement runs in a process of its own, whose peak memory counts what it
imports and the arrays. The last line is all of it as JSON.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
from absl import flags

from audioset_strong.core import cli

_WEAK_CLIPS = flags.DEFINE_integer("weak_clips", 18_000, "Clips of the weak eval.", lower_bound=2)
_STRONG_FRAMES = flags.DEFINE_integer(
    "strong_frames", 142_000, "Frames of the strong eval.", lower_bound=2
)
_KNOWN = flags.DEFINE_float(
    "known", 0.3, "Share of known labels in the strong eval.", lower_bound=0.01, upper_bound=1
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of ours; the fastest counts.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of scores and labels.")


def _problem(samples: int, classes: int, known: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 and labels int8, both `[samples, classes]`."""
    rng = np.random.default_rng(seed)
    priors = 0.4 / np.arange(1, classes + 1)  # 2.7 labels a sample
    scores = rng.standard_normal((samples, classes), np.float32)
    labels = np.empty((samples, classes), np.int8)
    for k, prior in enumerate(priors):
        positive = rng.random(samples) < prior
        labels[:, k] = np.where(positive | (rng.random(samples) < known), positive, -1)
        scores[:, k] += positive
    # Sigmoids, as a model's: many of the low ones tie.
    np.round(1 / (1 + np.exp(4 - 2 * scores)), 5, out=scores)
    return scores, labels


def _ours(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    from audioset_strong.evaluation import metrics

    computed = metrics.class_metrics(labels, scores)
    return computed.auc, computed.average_precision, metrics.lwlrap(labels, scores)


def _without_clips(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    from scipy import special

    from audioset_strong.evaluation import leave_one_out, metrics

    clip = np.arange(len(scores)) // 10
    classes = list(leave_one_out.classes(labels, scores, clip=clip))
    ranking = metrics.ranking_precision(labels, scores)
    lwlrap = leave_one_out.lwlrap(ranking, clip=clip, num_clips=clip[-1] + 1)
    auc, precision = np.full((2, len(classes)), np.nan)
    for k, found in enumerate(classes):
        if found is not None:
            auc[k], precision[k] = special.ndtr(found.d_prime / np.sqrt(2)), found.average_precision
    return auc, precision, lwlrap.value


def _scikit_learn(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    from sklearn import metrics as sk

    auc, precision = np.full((2, scores.shape[1]), np.nan)
    for k, (score, label) in enumerate(zip(scores.T, labels.T, strict=True)):
        known = label >= 0
        if len(np.unique(label[known])) == 2:
            auc[k] = sk.roc_auc_score(label[known], score[known])
            precision[k] = sk.average_precision_score(label[known], score[known])
    positive = labels == 1
    lwlrap = sk.label_ranking_average_precision_score(
        positive, scores, sample_weight=positive.sum(axis=1)
    )
    return auc, precision, lwlrap


def _measure(
    function: Callable, repeats: int, *problem: float
) -> tuple[float, float, tuple[np.ndarray, np.ndarray, float]]:
    """(seconds of the fastest run, peak MB, what the function returned), in this process."""
    scores, labels = _problem(*problem)
    function(scores[:100], labels[:100])  # imports
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        computed = function(scores, labels)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return min(seconds), peak, computed


def main(argv: list[str]) -> None:
    """Measures all of them and prints a table and JSON."""
    del argv
    context = multiprocessing.get_context("spawn")
    cases = (
        ("weak", _WEAK_CLIPS.value, 527, 1.0),
        ("strong", _STRONG_FRAMES.value, 456, _KNOWN.value),
        ("implicit", _STRONG_FRAMES.value, 456, 1.0),
    )
    rows = []
    print(
        "eval       samples  classes   by                   s   times faster   peak MB   difference"
    )
    for name, samples, classes, known in cases:
        baseline = None
        for function, repeats in ((_scikit_learn, 1), (_ours, _REPEATS.value), (_without_clips, 1)):
            with context.Pool(1) as pool:
                seconds, peak, computed = pool.apply(
                    _measure, (function, repeats, samples, classes, known, _SEED.value)
                )
            baseline = baseline or (seconds, computed)
            difference = max(
                float(np.nanmax(np.abs(np.subtract(a, b))))
                for a, b in zip(computed, baseline[1], strict=True)
            )
            row = {
                "eval": name,
                "samples": samples,
                "classes": classes,
                "by": function.__name__[1:],
                "seconds": seconds,
                "times_faster": baseline[0] / seconds,
                "peak_mb": peak,
                "largest_difference": difference,
            }
            rows.append(row)
            print(
                f"{name:<8} {samples:>9,} {classes:>8}   {row['by']:<13} {seconds:>8.2f} "
                f"{row['times_faster']:>14.1f} {peak:>9.0f} {difference:>12.1e}"
            )
    print(json.dumps(rows))


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
