"""Curves of sweeps, such as Fig. 3."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from audioset_strong.analysis import figures, sweep_optima, sweep_tables, tables
from audioset_strong.analysis.sweep_tables import SweepResults
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics

BASELINES = ("weak_1_8m", "plus_diffuse")  # rows of Table 1 that curves are compared with
_MOST_TICKS = 8  # so many values of a setting have a tick each
_MARKERS = "osD^v"
_STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 14,
    "mec": "black",
    "mew": 0.8,
    "linestyle": "",
    "zorder": 4,
}
_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 19,
    "mfc": "none",
    "mew": 1.5,
    "linestyle": "",
}
_MORE_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#999999", "#D55E00")


def draw(
    sweeps: Sequence[SweepResults], baselines: Sequence[tables.EvaluatedRun] = ()
) -> matplotlib.figure.Figure:
    """Draws d' and lwlrap against the varied setting, with a row of panels for each set.

    Points are means over seeds, error bars standard deviations. A star marks the best point of each
    curve, see `sweep_optima.optima`, and a ring the selected one. Fig. 3 has neither: it compares
    all points.

    Args:
      sweeps: of one `figure_name`; each combination of their other bindings is a curve.
      baselines: runs drawn as dashed lines.
    """
    sets = _sets(sweeps)
    figure = new_figure(9.5, 1.0 + 2.7 * len(sets))
    panels = figure.subplots(len(sets), len(tables.METRICS), sharex=True, squeeze=False)
    curves = _curves(sweeps)
    for row, set_name in zip(panels, sets, strict=True):
        for panel, metric in zip(row, tables.METRICS, strict=True):
            _draw_panel(panel, curves, baselines=baselines, set_name=set_name, metric=metric)
    for panel in panels[-1]:
        if sweeps[0].figure_name == sweep_tables.FIG3:
            panel.set_xlabel("share of strongly labelled clips")
            panel.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
            panel.set_xlim(left=0.0)
        else:
            panel.set_xlabel(sweep_tables.short(sweeps[0].axis))
            swept = sorted({value for each in sweeps for value in each.table[each.axis]})
            if len(swept) <= _MOST_TICKS:
                panel.set_xticks(swept)
    _draw_legend(figure, curves, baselines=baselines, selected_by=sweep_optima.selected_by(sweeps))
    return figure


def _draw_panel(
    panel: matplotlib.axes.Axes,
    curves: Sequence["_Curve"],
    *,
    baselines: Sequence[tables.EvaluatedRun],
    set_name: str,
    metric: str,
) -> None:
    instead = f"d_prime{eval_metrics.COMPLEMENTARY}"
    if metric == "d_prime" and any(curve.has(set_name, instead) for curve in curves):
        metric = instead
    for curve in curves:
        curve.draw(panel, set_name=set_name, metric=metric)
    for run in baselines:
        level = run.value(set_name, metric)
        if np.isfinite(level):
            panel.axhline(level, color=figures.COLOURS[run.row.name], linestyle="--", zorder=1)
    if not panel.lines:
        panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes)
    panel.set_title(eval_metrics.display_name(set_name))
    panel.set_ylabel(eval_metrics.metric_title(metric))
    panel.grid(alpha=0.3)


def _draw_legend(
    figure: matplotlib.figure.Figure,
    curves: Sequence["_Curve"],
    *,
    baselines: Sequence[tables.EvaluatedRun],
    selected_by: str,
) -> None:
    handles = [Line2D([], [], color=c.colour, marker=c.marker, label=c.label) for c in curves]
    for run in baselines:
        colour = figures.COLOURS[run.row.name]
        handles.append(Line2D([], [], color=colour, linestyle="--", label=run.row.title))
    if any(len(curve.best) for curve in curves):
        grey: dict[str, Any] = {"color": "0.6"}
        handles.append(Line2D([], [], label="best of its curve", **grey, **_STAR))
        ring = _RING | {"markersize": 12}
        handles.append(Line2D([], [], label=f"selected by {selected_by}", **grey, **ring))
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # so that a $ in a name is printed as it is


def _sets(sweeps: Sequence[SweepResults]) -> list[str]:
    """The sets to draw. Fig. 3 shows only the eval sets, if any of them was measured."""
    measured = list(dict.fromkeys(name for each in sweeps for name in each.table["set"]))
    ordered = sorted(measured, key=lambda name: [*tables.SETS, name].index(name))
    if sweeps[0].figure_name == sweep_tables.FIG3:
        return [name for name in ordered if name in tables.SETS] or ordered
    return ordered


@dataclasses.dataclass(frozen=True)
class _Curve:
    """A curve and the points that are marked in it."""

    label: str
    colour: str
    marker: str
    axis: str
    points: pd.DataFrame  # see `sweep_tables.summarise`
    best: pd.DataFrame  # see `sweep_optima.optima`
    selected: pd.DataFrame  # the selected ones among the points

    def has(self, set_name: str, metric: str) -> bool:
        return not _of(self.points, set_name, metric).empty

    def draw(self, panel: matplotlib.axes.Axes, *, set_name: str, metric: str) -> None:
        points = _of(self.points, set_name, metric).sort_values(self.axis)
        if points.empty:
            return
        panel.errorbar(
            points[self.axis],
            points["mean"],
            yerr=points["std"],
            color=self.colour,
            marker=self.marker,
            markersize=5,
            capsize=3,
        )
        best, selected = (_of(each, set_name, metric) for each in (self.best, self.selected))
        panel.plot(best["best"], best["mean"], color=self.colour, **_STAR)
        panel.plot(selected[self.axis], selected["mean"], color=self.colour, **_RING)


def _of(rows: pd.DataFrame, set_name: str, metric: str) -> pd.DataFrame:
    return rows[(rows["set"] == set_name) & (rows["metric"] == metric)]


def _curves(sweeps: Sequence[SweepResults]) -> list[_Curve]:
    """The curves of all sweeps. The first curve of a row of Table 1 has the colour of the row."""
    rows_colours = [figures.COLOURS[each.row] for each in sweeps if each.row in figures.COLOURS]
    more = itertools.cycle(c for c in _MORE_COLOURS if c not in rows_colours)
    curves: list[_Curve] = []
    for each in sweeps:
        marked = slice(None) if sweep_optima.has_optima(each) else slice(0)
        best = sweep_optima.optima(each)[marked]
        picked = each.table.loc[each.table["run"] == each.selected_run, each.bindings]
        own = iter([figures.COLOURS[each.row]] if each.row in figures.COLOURS else [])
        for label, rows in sweep_tables.curves(each):
            points = sweep_tables.summarise(rows)
            curves.append(
                _Curve(
                    label=label,
                    colour=next(own, None) or next(more),
                    marker=_MARKERS[len(curves) % len(_MARKERS)],
                    axis=each.axis,
                    points=points,
                    best=best[best["curve"] == label],
                    selected=points.merge(picked.drop_duplicates(), on=each.bindings)[marked],
                )
            )
    return curves
