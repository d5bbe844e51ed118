"""Confidence intervals of metrics by the jackknife over clips.

With C clips, a metric T of all of them and T(c) of all but clip c, each clip has the pseudo-value

    u(c) = C * T - (C - 1) * T(c)

Their mean is T less its bias of order 1/C; their standard deviation over the root of C is its
standard error. The interval is mean +- t * standard error, with Student's t. It is about the value
that an eval set of ever more clips like these would give: d' is convex in the AUC, so that few
positives make it too high on average, and the interval lies lower than the metric by that bias.

tools/benchmarks/interval_coverage.py measures how often the intervals hold that value.

Sources: see `leave_one_out`; the interval is Tukey's. Efron and Stein 1981 show that the standard
error is rather too large than too small: https://doi.org/10.1214/aos/1176345462
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from audioset_strong.evaluation.leave_one_out import LeftOut

MIN_CLIPS = 30
LEVEL = 0.95


def corrected(left_out: LeftOut) -> tuple[float, float]:
    """A metric less its bias, and its standard error.

    >>> value, error = corrected(LeftOut(2.0, np.array([1.5, 2.0, 2.5])))  # of 1, 2 and 3
    >>> round(value, 4), round(error, 4)
    (2.0, 0.5774)

    Args:
      left_out: the metric, with and without each clip.

    Returns:
      (value, standard error); NaN where it has no value without some clip. The error of a single
      clip is NaN, too.
    """
    num_clips = len(left_out.without)
    pseudo = num_clips * left_out.value - (num_clips - 1) * left_out.without
    spread = pseudo.std(ddof=1) if num_clips > 1 else np.nan
    return float(pseudo.mean()), float(spread / np.sqrt(num_clips))


def interval(
    left_out: LeftOut, *, other_errors: Sequence[tuple[float, float]] = (), level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval of a metric.

    Args:
      left_out: the metric, with and without each clip.
      other_errors: standard errors from other sources than the clips, see `combined`.
      level: how often it should hold the value that it is about.

    Returns:
      (low, high); None where it could not be relied on: too few positives, fewer than `MIN_CLIPS`
      clips, no value without some clip, or too large a bias.
    """
    num_clips = len(left_out.without)
    if num_clips < MIN_CLIPS or not left_out.enough_positives:
        return None
    centre, error = corrected(left_out)
    of_clips = min(left_out.degrees, num_clips - 1)
    error, degrees = combined([(error, of_clips), *other_errors])
    half = quantile(degrees, level) * error
    if not abs(left_out.value - centre) <= left_out.max_bias * half:
        return None
    return centre - half, centre + half


def combined(errors: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The standard error of a sum, and its degrees of freedom.

    The degrees are those of Satterthwaite 1946, "An approximate distribution of estimates of
    variance components", https://doi.org/10.2307/3002019

    >>> error, degrees = combined([(3.0, 10), (4.0, 10)])
    >>> round(error, 4), round(degrees, 4)
    (5.0, 18.546)

    Args:
      errors: standard errors of independent parts, each with its degrees of freedom.
    """
    variances, degrees = np.array(errors).T ** [[2], [1]]
    total = variances.sum()
    if total == 0:
        return 0.0, float(degrees[0])
    return float(np.sqrt(total)), float(total**2 / np.sum(variances**2 / degrees))


def quantile(degrees: float, level: float = LEVEL) -> float:
    """How many standard errors an interval reaches to each side, by Student's t.

    >>> round(quantile(4), 3)
    2.776
    """
    return float(special.stdtrit(degrees, (1 + level) / 2))
