"""Figures of a report: Table 1 as dots, curves over checkpoints.

Every function returns a matplotlib figure without a window; `drawing.save` writes it.
"""

from collections.abc import Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker

from audioset_strong.analysis import table_notes, tables
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics

METRIC_TITLES = {metric: eval_metrics.metric_title(metric) for metric in tables.METRICS}
# One colour per row in every figure, also distinct to colour-blind readers: Okabe and Ito 2008,
# https://jfly.uni-koeln.de/color/
COLOURS = dict(
    zip(
        (row.name for row in tables.ROWS),
        ("#999999", "#56B4E9", "#0072B2", "#000000", "#E69F00", "#D55E00"),
        strict=True,
    )
)
# Rows beyond the paper: Paul Tol's muted scheme, https://personal.sron.nl/~pault/
COLOURS |= dict(
    zip(
        (row.name for row in tables.BEYOND_ROWS),
        (
            "#117733",
            "#44AA99",
            "#999933",
            "#DDCC77",
            "#882255",
            "#AA4499",
            "#332288",
            "#88CCEE",
            "#CC6677",
        ),
        strict=True,
    )
)
PAPER = "#CC79A7"


def table1(runs: Sequence[tables.EvaluatedRun]) -> matplotlib.figure.Figure:
    """Draws Table 1 as dots with 95% intervals, the paper's figures as open diamonds.

    Args:
      runs: see `tables.read_runs`; a line each, in their order. Those that do not compare with the
        others have the marks of the table.
    """
    marks = table_notes.marks(tables.table1(runs).set_index("row"))
    titles = [f"{run.row.title} {f'[{m}]' if (m := marks[run.row.name]) else ''}" for run in runs]
    figure = new_figure(9.5, 5.6 + 0.5 * max(len(runs) - len(tables.ROWS), 0))
    axes = figure.subplots(len(tables.METRICS), len(tables.SETS), sharey=True)
    for i, metric in enumerate(tables.METRICS):
        for axis, set_name in zip(axes[i], tables.SETS, strict=True):
            _draw_intervals(axis, runs, titles, set_name=set_name, metric=metric)
            if i == 0:
                axis.set_title(eval_metrics.display_name(set_name))
    axes[0, 0].plot([], [], "o-", color="#444444", label="this run, 95% interval")
    axes[0, 0].plot([], [], "D", color=PAPER, mfc="none", label="paper (AudioSet, ResNet-50)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_intervals(
    axis: matplotlib.axes.Axes,
    runs: Sequence[tables.EvaluatedRun],
    titles: Sequence[str],
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
        # Larger than the dot, so that both are visible where they agree.
        paper = run.row.paper.get(f"{set_name}/{metric}")
        if paper is not None:
            axis.plot(paper, y, "D", color=PAPER, mfc="none", markersize=9, zorder=4)
    axis.set_yticks(list(heights), titles)
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
    figure.legend(loc="outside lower center", ncols=min(len(runs), 6), frameon=False)
    return figure
