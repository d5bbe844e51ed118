"""What sweeps found: their results read back, means over seeds, and curves such as Fig. 3."""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.figure
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from audioset_strong.analysis import figures, tables
from audioset_strong.core import errors
from audioset_strong.core.drawing import new_figure
from audioset_strong.evaluation import eval_metrics, evaluator, selection

RESULTS_FILE = "results.csv"
SEED = "train.seed"  # points that differ in it alone are repetitions of one experiment
STRONG_FRACTION = "weak_strong_mixture.strong_fraction"  # the horizontal axis of Fig. 3
FIG3 = "fig3"
BASELINES = ("weak_1_8m", "plus_diffuse")  # rows of Table 1 that curves are held against
_COLUMNS = ("run", *evaluator.COLUMNS)
_SELECTION = ("workdir", "step", "set", "metric", "value", "rule", "candidates")
_MARKERS = "osD^v"
_MORE_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#999999", "#D55E00")


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """A finished sweep.

    Attributes:
      row: name of its directory, which may be that of a row of Table 1.
      title: of its curves.
      table: run, a column for each binding, step, set, metric, value; see `sweep.collect`.
      selection: what `sweep.select` returned.
    """

    row: str
    title: str
    table: pd.DataFrame
    selection: Mapping

    @property
    def bindings(self) -> list[str]:
        """What is varied, but for the seed."""
        return _bindings(self.table)

    @property
    def axis(self) -> str:
        """The binding along the horizontal axis, "" where no numbers are varied.

        It is the share of strong clips, or else the first numeric one.
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
        """Of the file with its curves, "" for none; sweeps that share it are drawn together."""
        if self.axis == STRONG_FRACTION:
            return FIG3
        return f"{short(self.axis)}_sweep" if self.axis else ""

    @property
    def selected_run(self) -> str:
        """The name of the selected point's workdir."""
        return pathlib.PurePosixPath(self.selection["workdir"]).name


def of(directory: str, table: pd.DataFrame, selected: Mapping) -> SweepResults:
    """The results of a sweep in a directory; one in a row's place has the row's title."""
    row = pathlib.Path(directory).resolve().name
    title = next((known.title for known in tables.ROWS if known.name == row), row)
    return SweepResults(row, title, table, selected)


def read(directories: Sequence[str]) -> list[SweepResults]:
    """Reads what sweep.py wrote to each directory.

    Raises:
      errors.InputError: a directory that is given twice or holds no finished sweep.
    """
    places = [pathlib.Path(directory).resolve() for directory in directories]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise errors.InputError(f"--sweep_dir={directories[i]}: given twice")
    found = [_read(directory) for directory in directories]
    names = [(results.title, results.figure_name) for results in found]
    return [
        # In one figure, equal names are told apart by the whole path.
        results if names.count(name) == 1 else dataclasses.replace(results, title=directory)
        for results, name, directory in zip(found, names, directories, strict=True)
    ]


def _read(directory: str) -> SweepResults:
    path = pathlib.Path(directory) / RESULTS_FILE
    if not path.is_file():
        raise errors.InputError(
            f"--sweep_dir={directory}: no {RESULTS_FILE} there; give the --output_dir of a "
            "sweep.py that has ended"
        )
    wrong = f"{path}: no results of sweep.py"
    try:
        table = pd.read_csv(path)
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
            f"--sweep_dir={directory}: no selection of sweep.py there (no {missing[0]!r} in "
            "selection.json); run sweep.py again"
        )
    results = of(directory, table, selected)
    if results.selected_run not in set(table["run"]):
        raise errors.InputError(
            f"{path}: no run {results.selected_run!r}, which selection.json names; run sweep.py "
            "again"
        )
    return results


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds at every point, for curves with error bars.

    Args:
      table: what `sweep.collect` returned.

    Returns:
      The bindings but the seed, set, metric, mean, std (with n - 1; 0 for a single seed), seeds.
    """
    by = [*_bindings(table), "set", "metric"]
    grouped = table.groupby(by, sort=False, dropna=False)["value"]
    summary = grouped.agg(mean="mean", std="std", seeds="count")
    return summary.fillna({"std": 0.0}).reset_index()


def draw(
    sweeps: Sequence[SweepResults], baselines: Sequence[tables.Run] = ()
) -> matplotlib.figure.Figure:
    """d' and lwlrap against what is swept: a row of panels for each set.

    Points are means over seeds, error bars standard deviations. A ring marks the selected point,
    but in Fig. 3, where all points are to be compared.

    Args:
      sweeps: of one `figure_name`; every combination of their other bindings is a curve.
      baselines: runs drawn as dashed lines.
    """
    sets = _sets(sweeps)
    figure = new_figure(9.5, 1.0 + 2.7 * len(sets))
    panels = figure.subplots(len(sets), len(tables.METRICS), sharex=True, squeeze=False)
    lines = _curves(sweeps)
    for row, set_name in zip(panels, sets, strict=True):
        for panel, metric in zip(row, tables.METRICS, strict=True):
            for curve in lines:
                curve.draw(panel, set_name, metric)
            for run in baselines:
                level = run.value(set_name, metric)
                if np.isfinite(level):
                    panel.axhline(
                        level, color=figures.COLOURS[run.row.name], linestyle="--", zorder=1
                    )
            if not panel.lines:
                panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes)
            panel.set_title(eval_metrics.title_of(set_name))
            panel.set_ylabel(figures.METRIC_TITLES[metric])
            panel.grid(alpha=0.3)
    fig3 = sweeps[0].figure_name == FIG3
    for panel in panels[-1]:
        panel.set_xlabel("share of strongly labelled clips" if fig3 else short(sweeps[0].axis))
        if fig3:
            panel.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
            panel.set_xlim(left=0.0)
    handles = [Line2D([], [], color=c.colour, marker=c.marker, label=c.label) for c in lines]
    for run in baselines:
        colour = figures.COLOURS[run.row.name]
        handles.append(Line2D([], [], color=colour, linestyle="--", label=run.row.title))
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a name is a $
    return figure


def _sets(sweeps: Sequence[SweepResults]) -> list[str]:
    """The sets that `draw` shows; of those of Fig. 3 the eval sets, where there are any."""
    there = list(dict.fromkeys(name for each in sweeps for name in each.table["set"]))
    ordered = sorted(there, key=lambda name: [*tables.SETS, name].index(name))
    if sweeps[0].figure_name == FIG3:
        return [name for name in ordered if name in tables.SETS] or ordered
    return ordered


def short(binding: str) -> str:
    """A binding without its module: "mu" for "weak_strong_mixture.mu"."""
    return binding.rpartition(".")[2]


def _bindings(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in (*_COLUMNS, SEED)]


@dataclasses.dataclass(frozen=True)
class _Curve:
    """The points of a sweep that differ in the horizontal axis and the seed only."""

    label: str
    colour: str
    marker: str
    axis: str
    points: pd.DataFrame  # of `summarise`
    selected: pd.DataFrame  # those of them that are selected

    def draw(self, panel: matplotlib.axes.Axes, set_name: str, metric: str) -> None:
        def here(rows: pd.DataFrame) -> pd.DataFrame:
            return rows[(rows["set"] == set_name) & (rows["metric"] == metric)]

        points, selected = here(self.points).sort_values(self.axis), here(self.selected)
        if points.empty:
            return
        panel.errorbar(
            *(points[self.axis], points["mean"], points["std"]),
            color=self.colour,
            marker=self.marker,
            markersize=5,
            capsize=3,
        )
        panel.plot(
            *(selected[self.axis], selected["mean"], "o"),
            color=self.colour,
            mfc="none",
            markersize=12,
        )


def _curves(sweeps: Sequence[SweepResults]) -> list[_Curve]:
    """The curves of all sweeps; the first one of a row of Table 1 has the row's colour."""
    rows_colours = [figures.COLOURS[each.row] for each in sweeps if each.row in figures.COLOURS]
    more = itertools.cycle(c for c in _MORE_COLOURS if c not in rows_colours)
    curves: list[_Curve] = []
    for each in sweeps:
        summary = summarise(each.table)
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
