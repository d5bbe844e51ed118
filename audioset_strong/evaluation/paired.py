"""Differences between two rows, measured on the same clips.

Both rows are measured on the same clips, so what makes a clip easy or hard for both does not count:
the jackknife is applied to the difference itself, with the same clip left out of both rows.

A row may have several runs, which differ in the seed. Its value is then their mean, and a
difference of rows A and B varies with the clips and with the runs:

    variance = jackknife over clips of (mean of A's runs - mean of B's runs)
               + variance between A's runs / runs of A + variance between B's runs / runs of B

The three are added as if a clip were equally hard for all runs of a row; what differs from run to
run is then in the first term too, so that the interval is rather too wide. Its degrees of freedom
are Welch's and Satterthwaite's. A row with one run tells nothing of other seeds: an interval from
single runs is about these models, not about the way they were trained.

Sources:
  Welch 1947, "The generalization of Student's problem", https://doi.org/10.1093/biomet/34.1-2.28
  Benjamini and Hochberg 1995, "Controlling the false discovery rate",
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from audioset_strong.evaluation import intervals
from audioset_strong.evaluation.leave_one_out import ClassLeftOut, LeftOut

MIN_CLASS_CLIPS = 5  # clips with positives, and clips with negatives, of a class that is tested


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of two rows.

    Attributes:
      value: first row minus second.
      low: of the 95% interval; NaN where there is none, see `intervals.interval`.
      high: likewise.
      runs: of the first and of the second row.
    """

    value: float
    low: float
    high: float
    runs: tuple[int, int]


def difference(first: Sequence[LeftOut], second: Sequence[LeftOut]) -> Difference:
    """The difference of a metric between two rows, with its 95% interval.

    >>> runs = [LeftOut(2.0, np.full(40, 2.0))], [LeftOut(1.5, np.full(40, 1.5))]
    >>> difference(*runs)
    Difference(value=0.5, low=0.5, high=0.5, runs=(1, 1))

    Args:
      first: the metric of each run of the first row, all over the same clips.
      second: that of the second row's runs, over these clips too.
    """
    paired = subtract(mean_of_runs(first), mean_of_runs(second))
    counts = len(first), len(second)
    found = intervals.interval(paired, other_errors=_between(first, second))
    return Difference(paired.value, *(found or (np.nan, np.nan)), counts)


def _between(*rows: Sequence[LeftOut]) -> list[tuple[float, float]]:
    """Standard errors and degrees of freedom of the means of several runs, by how they differ."""
    return [
        (float(np.std([run.value for run in runs], ddof=1) / np.sqrt(len(runs))), len(runs) - 1)
        for runs in rows
        if len(runs) > 1
    ]


def mean_of_runs(runs: Sequence[LeftOut]) -> LeftOut:
    """The mean of a metric over runs, with and without each clip."""
    return LeftOut(
        float(np.mean([run.value for run in runs])),
        np.mean([run.without for run in runs], axis=0),
        enough_positives=all(run.enough_positives for run in runs),
        degrees=min(run.degrees for run in runs),
        max_bias=min(run.max_bias for run in runs),
    )


def subtract(first: LeftOut, second: LeftOut) -> LeftOut:
    """The difference of a metric, with and without each clip."""
    return LeftOut(
        first.value - second.value,
        first.without - second.without,
        enough_positives=first.enough_positives and second.enough_positives,
        degrees=min(first.degrees, second.degrees),
        max_bias=min(first.max_bias, second.max_bias),
    )


def class_tests(
    first: Sequence[Sequence[ClassLeftOut | None]], second: Sequence[Sequence[ClassLeftOut | None]]
) -> pd.DataFrame:
    """Tests of each class's difference in d', for the class and for all classes together.

    Not tested are classes with fewer than `MIN_CLASS_CLIPS` clips with positives or with negatives,
    for which a standard error means little. The test is Student's, of the corrected difference over
    its standard error; the part of the error that is due to the clips has as many degrees of
    freedom as the rarer kind of clips has, less one.

    Args:
      first: the classes of each run of the first row, see `leave_one_out.classes`.
      second: those of the second row's runs, on the same clips.

    Returns:
      A row for each class that has a d': class (its index); clips with positives (clips_positive)
      and negatives (clips_negative); first, second and difference of d'; the difference's standard
      error; p_value; and false_discovery_rate, the p-value corrected for the number of classes.
      The last two are NaN where the class is not tested.
    """
    rows = []
    rows_of_runs = (zip(*row, strict=True) for row in (first, second))
    for k, (ours, theirs) in enumerate(zip(*rows_of_runs, strict=True)):
        if ours[0] is None:
            continue
        runs = [
            [LeftOut(run.d_prime, run.d_prime_without) for run in row] for row in (ours, theirs)
        ]
        means = [mean_of_runs(row) for row in runs]
        counts = ours[0].num_positive_clips, ours[0].num_negative_clips
        change = subtract(*means)
        centre, of_clips = intervals.corrected(change)
        degrees = max(min(counts) - 1, 1)
        error, degrees = intervals.combined([(of_clips, degrees), *_between(*runs)])
        tested = min(counts) >= MIN_CLASS_CLIPS
        p = _p_value(centre, error, degrees=degrees) if tested else np.nan
        rows.append((k, *counts, means[0].value, means[1].value, change.value, error, p))
    names = ["class", "clips_positive", "clips_negative", "first", "second", "difference", "error"]
    table = pd.DataFrame(rows, columns=[*names, "p_value"])
    return table.assign(false_discovery_rate=false_discovery_rates(table["p_value"].to_numpy()))


def _p_value(centre: float, error: float, *, degrees: float) -> float:
    """How likely a difference this large would be if there were none, by Student's t."""
    if np.isnan(error):
        return np.nan
    if error == 0:
        return float(centre == 0)
    return float(2 * special.stdtr(degrees, -abs(centre) / error))


def false_discovery_rates(p_values: np.ndarray) -> np.ndarray:
    """The p-values corrected for their number, after Benjamini and Hochberg.

    Of the classes with a corrected value of at most q, a share of at most q is expected to be there
    by chance.

    >>> false_discovery_rates(np.array([0.01, np.nan, 0.04, 0.03])).round(4).tolist()
    [0.03, nan, 0.04, 0.04]

    Args:
      p_values: float `[classes]`; NaN is left out and stays NaN.

    Returns:
      float64 `[classes]`.
    """
    rates = np.full(len(p_values), np.nan)
    given = np.nonzero(~np.isnan(p_values))[0]
    falling = given[np.argsort(-p_values[given], kind="stable")]
    ranks = np.arange(len(falling), 0, -1)
    corrected = np.minimum.accumulate(p_values[falling] * len(falling) / ranks)
    rates[falling] = np.minimum(corrected, 1)
    return rates
