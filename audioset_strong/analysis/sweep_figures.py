"""Results of sweeps: read from disk, averaged over seeds, and drawn as curves such as Fig. 3."""

import dataclasses
import io
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from audioset_strong.analysis import figures, paper_table, tables
from audioset_strong.core import errors, files
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics, selection
from audioset_strong.evaluation.results import COLUMNS

RESULTS_FILE = "results.csv"
SEED = "train.seed"  # points that differ in it alone are repetitions of one experiment
STRONG_FRACTION = "weak_strong_mixture.strong_video_fraction"  # the horizontal axis of Fig. 3
FIG3 = "fig3"
BASELINES = ("weak_1_8m", "plus_diffuse")  # rows of Table 1 that curves are compared with
_COLUMNS = ("run", *COLUMNS)
_SELECTION = ("workdir", "step", "set", "metric", "value", "rule", "candidates")
_MARKERS = "osD^v"
_MORE_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#999999", "#D55E00")


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """A finished sweep.

    Attributes:
      directory: of the sweep.
      row: name of its directory, which may be that of a row of Table 1.
      title: of its curves.
      table: run, a column for each binding, step, set, metric, value; see `sweeps.collect`.
      selection: the selected point; see `sweeps.select`.
    """

    directory: str
    row: str
    title: str
    table: pd.DataFrame
    selection: Mapping

    @property
    def bindings(self) -> list[str]:
        """The bindings that are varied, without the seed."""
        return _bindings(self.table)

    @property
    def axis(self) -> str:
        """The binding along the horizontal axis; "" if no number is varied.

        This is the share of strong clips if it is varied, otherwise the first numeric binding.
        """
        numeric = [
            name
            for name in self.bindings
            if pd.api.types.is_numeric_dtype(self.table[name])
            and not pd.api.types.is_bool_dtype(self.table[name])
            and self.table[name].nunique() > 1
        ]
        return STRONG_FRACTION if STRONG_FRACTION in numeric else next(iter(numeric), "")

    @property
    def figure_name(self) -> str:
        """Name of the figure with its curves, shared by comparable sweeps; "" if it has none."""
        if self.axis == STRONG_FRACTION:
            return FIG3
        return f"{short(self.axis)}_sweep" if self.axis else ""

    @property
    def selected_run(self) -> str:
        """Name of the selected point's workdir."""
        return pathlib.PurePosixPath(self.selection["workdir"]).name

    def selected_seeds(self) -> list[str]:
        """The selected point's workdir and those that differ in the seed alone, below the sweep."""
        points = self.table.drop_duplicates("run").set_index("run")[self.bindings].astype(str)
        same = (points == points.loc[self.selected_run]).all(axis=1)
        folder = pathlib.PurePosixPath(self.selection["workdir"]).parent
        return [str(folder / run) for run in points.index[same]]


def sweep_results(directory: str, table: pd.DataFrame, *, selected: Mapping) -> SweepResults:
    """Names the results of a sweep.

    Args:
      directory: of the sweep. If its name is that of a row of Table 1, the row's title is used.
      table: see `SweepResults`.
      selected: see `SweepResults.selection`.
    """
    row = files.place(directory if files.is_remote(directory) else os.path.abspath(directory)).name
    title = paper_table.TITLES.get(row, row)
    return SweepResults(directory, row, title, table, selected)


def read(directories: Sequence[str]) -> list[SweepResults]:
    """Reads the results that sweep.py wrote to each directory.

    Args:
      directories: the output directories of finished sweeps.

    Raises:
      errors.InputError: a directory is given twice, or does not contain a finished sweep.
    """
    repeated = files.first_repeated(directories)
    if repeated:
        raise errors.InputError(f"--sweep_dir={repeated[1]}: given twice; remove one")
    found = [_read(directory) for directory in directories]
    names = [(results.title, results.figure_name) for results in found]
    return [
        # Equal names in one figure would be ambiguous: use the whole path instead.
        results if names.count(name) == 1 else dataclasses.replace(results, title=directory)
        for results, name, directory in zip(found, names, directories, strict=True)
    ]


def rows_of_table1(sweeps: Sequence[SweepResults], runs_dir: str) -> dict[str, str]:
    """Which sweeps stand in Table 1 with their selected point: row -> directory of the sweep.

    Those do whose directory is named like a row, wherever it lies. Sweeps over the share of strong
    clips do not: they ask how many strong labels are needed, not how the row is trained best.

    Args:
      sweeps: see `read`.
      runs_dir: of the other rows. A sweep in it comes before others of the same row.

    Raises:
      errors.InputError: several sweeps of one row, of which none is in `runs_dir`.
    """
    chosen: dict[str, str] = {}
    for row in paper_table.TITLES:
        named = [
            each.directory for each in sweeps if each.row == row and each.axis != STRONG_FRACTION
        ]
        place = str(files.place(runs_dir) / row)
        inside = [each for each in named if files.first_repeated([place, each])]
        if len(named) > 1 and not inside:
            raise errors.InputError(
                f"--sweep_dir={named[1]}: {named[0]} is another sweep of {row}, and only one can "
                f"stand in Table 1; move that one to {place}, or rename the other"
            )
        if named:
            chosen[row] = (inside or named)[0]
    return chosen


def _read(directory: str) -> SweepResults:
    path = files.place(directory) / RESULTS_FILE
    if not files.exists(path):
        raise errors.InputError(
            f"--sweep_dir={directory}: contains no {RESULTS_FILE}; give the --output_dir of a "
            "finished sweep.py"
        )
    wrong = f"{path}: not the results of sweep.py"
    try:
        table = pd.read_csv(io.StringIO(files.read_text(path)))
        missing = [name for name in _COLUMNS if name not in table]
        if missing:
            raise errors.InputError(f"{wrong}: no column {missing[0]!r}")
        table = table.astype({"run": str, "step": np.int64, "value": np.float64})
    except ValueError as error:
        raise errors.InputError(f"{wrong}: {error}") from error
    selected = selection.read(directory) or {}
    missing = [name for name in _SELECTION if name not in selected]
    if missing:
        raise errors.InputError(
            f"--sweep_dir={directory}: no selection by sweep.py (no {missing[0]!r} in "
            "selection.json); run sweep.py again"
        )
    results = sweep_results(directory, table, selected=selected)
    if results.selected_run not in set(table["run"]):
        raise errors.InputError(
            f"{path}: lacks the run {results.selected_run!r} that selection.json names; run "
            "sweep.py again"
        )
    return results


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Computes mean and standard deviation over seeds at every point.

    Args:
      table: see `SweepResults`.

    Returns:
      The bindings without the seed, set, metric, mean, std (divided by n - 1; 0 for a single seed)
      and seeds, their number.
    """
    by = [*_bindings(table), "set", "metric"]
    grouped = table.groupby(by, sort=False, dropna=False)["value"]
    summary = grouped.agg(mean="mean", std="std", seeds="count")
    return summary.fillna({"std": 0.0}).reset_index()


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the metrics that are shown.

    Args:
      table: set, metric and other columns.

    Returns:
      The rows of `tables.METRICS`. Of a set without d', because it has no explicit negatives, those
      of d' on complementary negatives instead.
    """
    instead = f"d_prime{eval_metrics.COMPLEMENTARY}"
    with_d_prime = table.loc[table["metric"] == "d_prime", "set"]
    lacking = (table["metric"] == instead) & ~table["set"].isin(with_d_prime)
    return table[table["metric"].isin(tables.METRICS) | lacking]


def draw(
    sweeps: Sequence[SweepResults], baselines: Sequence[tables.EvaluatedRun] = ()
) -> matplotlib.figure.Figure:
    """Draws d' and lwlrap against the varied setting, with a row of panels for each set.

    Points are means over seeds, error bars standard deviations. A ring marks the selected point,
    except in Fig. 3, which compares all points.

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
        if sweeps[0].figure_name == FIG3:
            panel.set_xlabel("share of strongly labelled clips")
            panel.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
            panel.set_xlim(left=0.0)
        else:
            panel.set_xlabel(short(sweeps[0].axis))
    _draw_legend(figure, curves, baselines=baselines)
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
) -> None:
    handles = [Line2D([], [], color=c.colour, marker=c.marker, label=c.label) for c in curves]
    for run in baselines:
        colour = figures.COLOURS[run.row.name]
        handles.append(Line2D([], [], color=colour, linestyle="--", label=run.row.title))
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # so that a $ in a name is printed as it is


def _sets(sweeps: Sequence[SweepResults]) -> list[str]:
    """The sets to draw. Fig. 3 shows only the eval sets, if any of them was measured."""
    measured = list(dict.fromkeys(name for each in sweeps for name in each.table["set"]))
    ordered = sorted(measured, key=lambda name: [*tables.SETS, name].index(name))
    if sweeps[0].figure_name == FIG3:
        return [name for name in ordered if name in tables.SETS] or ordered
    return ordered


def short(binding: str) -> str:
    """A binding without its module.

    Example:
      >>> short("weak_strong_mixture.mu")
      'mu'
    """
    return binding.rpartition(".")[2]


def _bindings(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in (*_COLUMNS, SEED)]


@dataclasses.dataclass(frozen=True)
class _Curve:
    """The points of a sweep that differ only in the seed and in the binding of the axis."""

    label: str
    colour: str
    marker: str
    axis: str
    points: pd.DataFrame  # see `summarise`
    selected: pd.DataFrame  # the selected ones among them

    def has(self, set_name: str, metric: str) -> bool:
        points = self.points
        return bool(((points["set"] == set_name) & (points["metric"] == metric)).any())

    def draw(self, panel: matplotlib.axes.Axes, *, set_name: str, metric: str) -> None:
        def here(rows: pd.DataFrame) -> pd.DataFrame:
            return rows[(rows["set"] == set_name) & (rows["metric"] == metric)]

        points, selected = here(self.points).sort_values(self.axis), here(self.selected)
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
        panel.plot(
            selected[self.axis],
            selected["mean"],
            "o",
            color=self.colour,
            mfc="none",
            markersize=12,
        )


def _curves(sweeps: Sequence[SweepResults]) -> list[_Curve]:
    """The curves of all sweeps. The first curve of a row of Table 1 has the colour of the row."""
    rows_colours = [figures.COLOURS[each.row] for each in sweeps if each.row in figures.COLOURS]
    more = itertools.cycle(c for c in _MORE_COLOURS if c not in rows_colours)
    curves: list[_Curve] = []
    for each in sweeps:
        summary = summarise(shown(each.table))
        others = [name for name in each.bindings if name != each.axis]
        groups = summary.groupby(others, sort=False, dropna=False) if others else [((), summary)]
        picked = each.table.loc[each.table["run"] == each.selected_run, each.bindings]
        own = iter([figures.COLOURS[each.row]] if each.row in figures.COLOURS else [])
        for key, points in groups:
            named = zip(others, key, strict=True)
            selected = points.merge(picked.drop_duplicates(), on=each.bindings)
            curves.append(
                _Curve(
                    label=", ".join([each.title, *(f"{short(k)} = {v}" for k, v in named)]),
                    colour=next(own, None) or next(more),
                    marker=_MARKERS[len(curves) % len(_MARKERS)],
                    axis=each.axis,
                    points=points,
                    selected=selected.iloc[:0] if each.figure_name == FIG3 else selected,
                )
            )
    return curves
