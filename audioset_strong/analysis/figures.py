"""Figures of a report: Table 1 as dots, curves over checkpoints, d' of each class.

Every function returns a matplotlib figure without a window; `drawing.save` writes it.
"""

import textwrap
from collections.abc import Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from audioset_strong.analysis import tables
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics

METRIC_TITLES = {"d_prime": "d'", "lwlrap": "lwlrap"}
# One colour per row in every figure, also distinct to colour-blind readers: Okabe and Ito 2008,
# https://jfly.uni-koeln.de/color/
COLOURS = dict(
    zip(
        (row.name for row in tables.ROWS),
        ("#999999", "#56B4E9", "#0072B2", "#000000", "#E69F00", "#D55E00"),
        strict=True,
    )
)
_PAPER = "#CC79A7"
_CLASSES_SHOWN = 40
_NAME_LENGTH = 40  # longer class names are cut


def table1(runs: Sequence[tables.EvaluatedRun]) -> matplotlib.figure.Figure:
    """Draws Table 1 as dots with 95% bootstrap intervals, the paper's d' as open diamonds.

    Args:
      runs: see `tables.read_runs`; a line each, in their order.
    """
    figure = new_figure(9.5, 5.6)
    axes = figure.subplots(len(tables.METRICS), len(tables.SETS), sharey=True)
    for i, metric in enumerate(tables.METRICS):
        for axis, set_name in zip(axes[i], tables.SETS, strict=True):
            _draw_intervals(axis, runs, set_name=set_name, metric=metric)
            if i == 0:
                axis.set_title(eval_metrics.display_name(set_name))
    axes[0, 0].plot([], [], "o-", color="#444444", label="this run, 95% interval")
    axes[0, 0].plot([], [], "D", color=_PAPER, mfc="none", label="paper (AudioSet, ResNet-50)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_intervals(
    axis: matplotlib.axes.Axes,
    runs: Sequence[tables.EvaluatedRun],
    *,
    set_name: str,
    metric: str,
) -> None:
    heights = range(len(runs) - 1, -1, -1)
    for run, y in zip(runs, heights, strict=True):
        low, high = (run.value(set_name, f"{metric}_{end}") for end in ("low", "high"))
        colour = COLOURS[run.row.name]
        axis.plot([low, high], [y, y], color=colour, linewidth=2, zorder=2)
        axis.plot(run.value(set_name, metric), y, "o", color=colour, markersize=7, zorder=3)
        paper = run.row.paper.get(f"{set_name}/{metric}")
        if paper is not None:
            # Larger than the dot, so that both are visible where they agree.
            axis.plot(paper, y, "D", color=_PAPER, mfc="none", markersize=9, zorder=4)
    axis.set_yticks(list(heights), [run.row.title for run in runs])
    axis.set_ylim(-0.6, len(runs) - 0.4)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(METRIC_TITLES[metric])


def checkpoints(runs: Sequence[tables.EvaluatedRun]) -> matplotlib.figure.Figure:
    """Draws d' and lwlrap of every checkpoint against the step.

    Args:
      runs: see `tables.read_runs`; a ring marks the checkpoint that represents each of them.
    """
    figure = new_figure(9.5, 6.4)
    axes = figure.subplots(len(tables.METRICS), len(tables.SETS), sharex=True)
    for i, metric in enumerate(tables.METRICS):
        for axis, set_name in zip(axes[i], tables.SETS, strict=True):
            for run in runs:
                rows = run.results
                curve = rows[(rows["set"] == set_name) & (rows["metric"] == metric)]
                curve = curve.sort_values("step")
                colour = COLOURS[run.row.name]
                label = run.row.title if axis is axes[0, 0] else None
                axis.plot(curve["step"], curve["value"], ".-", color=colour, label=label)
                chosen = run.value(set_name, metric)
                axis.plot(run.step, chosen, "o", color=colour, mfc="none", markersize=11)
            axis.grid(alpha=0.3)
            axis.set_ylabel(METRIC_TITLES[metric])
            if i == 0:
                axis.set_title(eval_metrics.display_name(set_name))
            else:
                axis.set_xlabel("step")
                whole = matplotlib.ticker.MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10])
                axis.xaxis.set_major_locator(whole)
    figure.legend(loc="outside lower center", ncols=len(runs), frameon=False)
    return figure


def per_class(
    before: tables.EvaluatedRun, after: tables.EvaluatedRun, *, set_name: str
) -> matplotlib.figure.Figure:
    """Draws d' of each class under two models, joined by a line, in the order of the change.

    Args:
      before: the run to start from.
      after: the run to compare it with.
      set_name: one of `tables.SETS`, in `per_class` of both runs.

    Returns:
      A figure with the classes that have a d' under both models, at most 40: those that change
      most.
    """
    merged = before.per_class[set_name].merge(
        after.per_class[set_name], on="mid", suffixes=("_before", "_after")
    )
    merged = merged.dropna(subset=["d_prime_before", "d_prime_after"])
    merged["change"] = merged["d_prime_after"] - merged["d_prime_before"]
    most = merged["change"].abs().nlargest(_CLASSES_SHOWN).index
    shown = merged.loc[most].sort_values("change").reset_index(drop=True)
    figure = new_figure(8.5, 1.8 + 0.24 * len(shown))
    axis = figure.subplots()
    y = np.arange(len(shown))
    axis.hlines(y, shown["d_prime_before"], shown["d_prime_after"], color="#bbbbbb", zorder=1)
    for run, column in ((before, "d_prime_before"), (after, "d_prime_after")):
        axis.plot(shown[column], y, "o", color=COLOURS[run.row.name], label=run.row.title, zorder=2)
    names = [
        textwrap.shorten(n, _NAME_LENGTH, placeholder=" ...") for n in shown["display_name_before"]
    ]
    axis.set_yticks(y, names, parse_math=False)
    axis.set_ylim(-0.8, len(shown) - 0.2)
    axis.grid(alpha=0.3)
    axis.set_xlabel(f"{eval_metrics.display_name(set_name)} d'")
    shown_of = f", {len(shown)} of {len(merged)} classes" if len(shown) < len(merged) else ""
    figure.suptitle(f"{before.row.title} and {after.row.title} by class{shown_of}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
