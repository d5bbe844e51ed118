"""Figures of compared rows: differences with their intervals, and which classes gain or lose.

Every function returns a matplotlib figure without a window; `drawing.save` writes it.
"""

import itertools
import textwrap

import matplotlib.axes
import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from audioset_strong.analysis import comparisons, figures, tables
from audioset_strong.analysis.paper_table import TITLES
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics

_CLASSES_SHOWN = 40
_NAME_LENGTH = 40  # longer class names are cut
_CHANGES = {comparisons.GAIN: "#009E73", comparisons.LOSS: "#CC3311", "": "#bbbbbb"}


def differences(compared: comparisons.Comparisons) -> matplotlib.figure.Figure:
    """Draws the pairs that the report shows: differences with 95% intervals, the paper's beside.

    Args:
      compared: at least one pair of which was compared.
    """
    shown = compared.shown()
    pairs = list(dict.fromkeys(zip(shown["first"], shown["second"], strict=True)))
    figure = new_figure(9.5, 2.2 + 0.7 * len(pairs))
    axes = figure.subplots(len(tables.METRICS), len(tables.SETS), sharey=True)
    cells = itertools.product(enumerate(tables.METRICS), enumerate(tables.SETS))
    for (i, metric), (j, set_name) in cells:
        rows = shown[(shown["set"] == set_name) & (shown["metric"] == metric)]
        _draw_differences(axes[i, j], rows, pairs)
        axes[i, j].set_xlabel(f"difference in {figures.METRIC_TITLES[metric]}")
        if i == 0:
            axes[i, j].set_title(eval_metrics.display_name(set_name))
    axes[0, 0].plot([], [], "o-", color="#444444", label="these runs, 95% interval")
    axes[0, 0].plot([], [], "D", color=figures.PAPER, mfc="none", label="paper")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_differences(
    axis: matplotlib.axes.Axes, rows: pd.DataFrame, pairs: list[comparisons.Pair]
) -> None:
    heights = {pair: len(pairs) - 1 - i for i, pair in enumerate(pairs)}
    for row in rows.to_dict("records"):
        y = heights[row["first"], row["second"]]
        colour = figures.COLOURS[row["first"]]
        axis.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2, zorder=2)
        axis.plot(row["difference"], y, "o", color=colour, markersize=7, zorder=3)
        if not np.isnan(row["paper"]):
            axis.plot(row["paper"], y, "D", color=figures.PAPER, mfc="none", markersize=9, zorder=4)
    axis.axvline(0, color="#888888", linewidth=1, zorder=1)
    names = [f"{TITLES[first]} over {TITLES[second]}" for first, second in pairs]
    axis.set_yticks(list(heights.values()), names)
    axis.set_ylim(-0.6, len(pairs) - 0.4)
    axis.grid(axis="x", alpha=0.3)


def per_class(
    classes: pd.DataFrame, pair: comparisons.Pair, *, set_name: str
) -> matplotlib.figure.Figure:
    """Draws d' of each class under two rows, joined by a line, in the order of the change.

    Lines of classes that gain or lose beyond chance are coloured.

    Args:
      classes: see `comparisons.Comparisons.classes`.
      pair: that they are of.
      set_name: one of `tables.SETS`.

    Returns:
      A figure with the classes of `classes`, at most 40: those that change most.
    """
    most = classes["difference"].abs().nlargest(_CLASSES_SHOWN).index
    shown = classes.loc[most].sort_values("difference").reset_index(drop=True)
    figure = new_figure(8.5, 1.9 + 0.24 * len(shown))
    axis = figure.subplots()
    y = np.arange(len(shown))
    colours = [_CHANGES[change] for change in shown["change"]]
    widths = np.where(shown["change"] == "", 1.0, 2.5)
    axis.hlines(y, shown["second"], shown["first"], color=colours, linewidth=widths, zorder=1)
    for name, column in zip(pair, ("first", "second"), strict=True):
        colour = figures.COLOURS[name]
        axis.plot(shown[column], y, "o", color=colour, label=TITLES[name], zorder=2)
    names = [textwrap.shorten(n, _NAME_LENGTH, placeholder=" ...") for n in shown["display_name"]]
    axis.set_yticks(y, names, parse_math=False)
    axis.set_ylim(-0.8, len(shown) - 0.2)
    axis.grid(alpha=0.3)
    d_prime = eval_metrics.metric_title(classes["metric"].iloc[0])
    axis.set_xlabel(f"{eval_metrics.display_name(set_name)} {d_prime}")
    shown_of = f", {len(shown)} of {len(classes)} classes" if len(shown) < len(classes) else ""
    figure.suptitle(f"{TITLES[pair[0]]} and {TITLES[pair[1]]} by class{shown_of}")
    handles = axis.get_legend_handles_labels()[0]
    counts = classes["change"].value_counts()
    handles += [
        Line2D(
            [],
            [],
            color=_CHANGES[change],
            linewidth=2.5,
            label=f"{change} beyond chance: {counts[change]}",
        )
        for change in (comparisons.GAIN, comparisons.LOSS)
        if change in counts
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure
