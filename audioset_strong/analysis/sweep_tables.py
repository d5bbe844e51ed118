"""Results of sweeps: read from disk, averaged over seeds, and which point is best for a metric."""

import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from audioset_strong.analysis import paper_table, tables
from audioset_strong.core import errors, files
from audioset_strong.evaluation import eval_metrics, selection
from audioset_strong.evaluation.results import COLUMNS

RESULTS_FILE = "results.csv"
SEED = "train.seed"  # points that differ in it alone are repetitions of one experiment
STRONG_FRACTION = "weak_strong_mixture.strong_video_fraction"  # the horizontal axis of Fig. 3
FIG3 = "fig3"
_COLUMNS = ("run", *COLUMNS)
_SELECTION = ("workdir", "step", "set", "metric", "value", "rule", "candidates")


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
            "finished audioset_strong_sweep"
        )
    wrong = f"{path}: not the results of audioset_strong_sweep"
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
            f"--sweep_dir={directory}: no selection by audioset_strong_sweep (no {missing[0]!r} in "
            "selection.json); run audioset_strong_sweep again"
        )
    results = sweep_results(directory, table, selected=selected)
    if results.selected_run not in set(table["run"]):
        raise errors.InputError(
            f"{path}: lacks the run {results.selected_run!r} that selection.json names; run "
            "audioset_strong_sweep again"
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


def curves(results: SweepResults) -> list[tuple[str, pd.DataFrame]]:
    """The curves of a sweep: points that differ only in the seed and in the binding of the axis.

    Args:
      results: of a sweep with an axis.

    Returns:
      The name of each curve, with the rows of `SweepResults.table` that are `shown`.
    """
    table = shown(results.table)
    others = [name for name in results.bindings if name != results.axis]
    if not others:
        return [(results.title, table)]
    named = []
    for key, rows in table.groupby(others, sort=False, dropna=False):
        values = (f"{short(name)} = {value}" for name, value in zip(others, key, strict=True))
        named.append((", ".join([results.title, *values]), rows))
    return named


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


def short(binding: str) -> str:
    """A binding without its module.

    Example:
      >>> short("weak_strong_mixture.mu")
      'mu'
    """
    return binding.rpartition(".")[2]


def _bindings(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in (*_COLUMNS, SEED)]
