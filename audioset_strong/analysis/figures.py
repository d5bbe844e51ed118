"""Figures of a report: Table 1 as dots, the checkpoints' curves, the classes one by one.

Every function returns a matplotlib figure that belongs to no window; `drawing.save` writes it.
"""

import textwrap
from collections.abc import Sequence

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from audioset_strong.analysis import tables
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics

METRIC_TITLES = {"d_prime": "d'", "lwlrap": "lwlrap"}
# One colour a row in every figure, told apart by colour-blind eyes too (Okabe and Ito 2008).
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


def table1(runs: Sequence[tables.Run]) -> matplotlib.figure.Figure:
    """Table 1 as dots with 95% bootstrap intervals; the paper's own d' as open diamonds."""
    figure = new_figure(9.5, 5.6)
    axes = figure.subplots(len(tables.METRICS), len(tables.SETS), sharey=True)
    place = {run.row.name: len(runs) - 1 - i for i, run in enumerate(runs)}
    for i, metric in enumerate(tables.METRICS):
        for axis, set_name in zip(axes[i], tables.SETS, strict=True):
            for run in runs:
                value = run.value(set_name, metric)
                low, high = (run.value(set_name, f"{metric}_{end}") for end in ("low", "high"))
                y = place[run.row.name]
                colour = COLOURS[run.row.name]
                axis.plot([low, high], [y, y], color=colour, linewidth=2, zorder=2)
                axis.plot(value, y, "o", color=colour, markersize=7, zorder=3)
                paper = run.row.paper.get(f"{set_name}/{metric}")
                if paper is not None:
                    # Around the dot, where both agree.
                    axis.plot(paper, y, "D", color=_PAPER, mfc="none", markersize=9, zorder=4)
            axis.set_yticks(list(place.values()), [run.row.title for run in runs])
            axis.set_ylim(-0.6, len(runs) - 0.4)
            axis.grid(axis="x", alpha=0.3)
            axis.set_xlabel(METRIC_TITLES[metric])
            if i == 0:
                axis.set_title(eval_metrics.title_of(set_name))
    axes[0, 0].plot([], [], "o-", color="#444444", label="this run, 95% interval")
    axes[0, 0].plot([], [], "D", color=_PAPER, mfc="none", label="paper (AudioSet, ResNet-50)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def checkpoints(runs: Sequence[tables.Run]) -> matplotlib.figure.Figure:
    """d' and lwlrap of every checkpoint against the step; a ring marks the one that was chosen."""
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
                axis.set_title(eval_metrics.title_of(set_name))
            else:
                axis.set_xlabel("step")
                whole = matplotlib.ticker.MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10])
                axis.xaxis.set_major_locator(whole)
    figure.legend(loc="outside lower center", ncols=len(runs), frameon=False)
    return figure


def per_class(before: tables.Run, after: tables.Run, set_name: str) -> matplotlib.figure.Figure:
    """d' of each class under two models, joined by a line, classes in the order of the change.

    Only classes with a d' under both are drawn; of more than 40 those that change most.
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
    axis.set_xlabel(f"{eval_metrics.title_of(set_name)} d'")
    left_out = f", {len(shown)} of {len(merged)} classes" if len(shown) < len(merged) else ""
    figure.suptitle(f"{before.row.title} and {after.row.title} by class{left_out}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
