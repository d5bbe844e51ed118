"""Table 1: what the six models reach on the weak and on the strong eval."""

import dataclasses
import functools
import io
import itertools
from collections.abc import Mapping, Sequence

import pandas as pd

from audioset_strong.analysis import table_notes
from audioset_strong.analysis.paper_table import (
    ALL_ROWS,
    BEYOND_ROWS,
    METRICS,
    ROWS,
    SETS,
    Row,
)
from audioset_strong.core import errors, files
from audioset_strong.evaluation import eval_metrics, held_out, selection
from audioset_strong.evaluation.measured_on import MeasuredOn
from audioset_strong.evaluation.results import EVAL_DIR, read_measured_on, read_results
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.workdirs import CONFIG_FILE

_KINDS_OF_NEGATIVES = ("explicit", "complementary")
# d' on other negatives than the paper's, which is measured where explicit ones are missing.
OTHER_D_PRIME = [f"d_prime{suffix}" for suffix in eval_metrics.NEGATIVES if suffix]


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated run and the checkpoint that represents it in Table 1.

    Attributes:
      row: the row of Table 1 that it fills.
      workdir: where it was trained and evaluated.
      step: of the checkpoint.
      chosen_by: "validation" if it was selected on held-out validation data, "last" if it is the
        last one that was evaluated, or what else it was "chosen on".
      chosen_metric: that it was selected by, as in titles; "" if it was not.
      info: the facts of the run, from its `run.json`.
      results: step, set, metric and value of every checkpoint.
      measured_on: name of an eval set -> what it is.
      best: "<set>/<metric>" -> step and value of the checkpoint that is best by this metric, as
        `selection.select` found; empty where nothing was selected.
      per_class: set -> a table of the checkpoint's metrics, one row per class.
      config: the gin bindings that the run was trained with, for people to read; empty where it
        was trained without gin.
      sweep: directory of the sweep that selected the run; "" for a run of its own.
    """

    row: Row
    workdir: files.Place
    step: int
    chosen_by: str
    chosen_metric: str
    info: RunInfo
    results: pd.DataFrame
    measured_on: Mapping[str, MeasuredOn]
    best: dict[str, dict]
    per_class: dict[str, pd.DataFrame]
    config: str
    sweep: str

    @property
    def mu(self) -> float | None:
        """Share of diffuse or strong examples; None where the run has no mixture (section 4)."""
        return self.info.mu

    def difference(self, other: "EvaluatedRun") -> str | None:
        """In what its eval sets of Table 1 were not measured like those of another run, in words.

        Returns:
          The first difference; None where their figures compare.
        """
        mine, theirs = (run.measured_on.get(held_out.EVAL) for run in (self, other))
        if mine is None or theirs is None:
            return None
        front_end = self.info.front_end.difference(other.info.front_end)
        return mine.difference(theirs) or (f"FrontEnd.{front_end}" if front_end else None)

    def value(self, set_name: str, metric: str) -> float:
        """A metric of the checkpoint.

        Args:
          set_name: one of `SETS`, or the name of another set in `results`.
          metric: a name in `results`, such as "d_prime" or "d_prime_low".

        Returns:
          Its value; NaN where it was not measured.
        """
        return self._values.get((set_name, metric), float("nan"))

    @functools.cached_property
    def _values(self) -> dict[tuple[str, str], float]:
        """The metrics of the checkpoint by set and name."""
        rows = self.results[self.results["step"] == self.step]
        return dict(zip(zip(rows["set"], rows["metric"], strict=True), rows["value"], strict=True))


def read_runs(runs_dir: str, *, sweeps: Mapping[str, str] | None = None) -> list[EvaluatedRun]:
    """Reads the runs of Table 1 that have been evaluated, in the order of the table.

    Args:
      runs_dir: holds a workdir, or the directory of a sweep, for each row, named like its gin file
        ("strong_67k"; "autopool" of the rows beyond the paper).
      sweeps: row -> directory of a sweep whose selected point stands there instead.

    Returns:
      The evaluated runs; rows without one are left out.

    Raises:
      errors.InputError: no row has an evaluated run, or a file of a run is missing or damaged.
    """
    places = {row.name: files.place(runs_dir) / row.name for row in ALL_ROWS}
    places |= {name: files.place(directory) for name, directory in (sweeps or {}).items()}
    found = (read_run(row, places[row.name]) for row in ALL_ROWS)
    runs = [run for run in found if run is not None]
    if not runs:
        names = ", ".join(row.name for row in ROWS)
        raise errors.InputError(
            f"{runs_dir}: contains no evaluated run; name the workdirs {names}, and run "
            "audioset_strong_evaluate on them first"
        )
    return runs


def read_run(row: Row, path: files.Place) -> EvaluatedRun | None:
    """Reads the run in a workdir, or the selected one of a sweep; None where none was evaluated.

    Raises:
      errors.InputError: a file of the run is missing or damaged.
    """
    chosen = selection.read(str(path)) or {}
    workdir = path / chosen["workdir"] if "workdir" in chosen else path
    results = read_results(str(workdir))
    if results.empty:
        return None
    info = RunInfo.read(str(workdir))
    selected = selection.read(str(workdir))
    step = selected["step"] if selected else int(results["step"].max())
    chosen_by, chosen_metric = _choice(selected)
    return EvaluatedRun(
        row=row,
        workdir=workdir,
        step=step,
        chosen_by=chosen_by,
        chosen_metric=chosen_metric,
        info=info,
        results=results,
        measured_on=read_measured_on(str(workdir)),
        best=(selected or {}).get("best_of_each_metric", {}),
        per_class=_read_per_class(workdir, results, step=step),
        config=_read_config(workdir / CONFIG_FILE),
        sweep=str(path) if workdir != path else "",
    )


def _choice(selected: Mapping | None) -> tuple[str, str]:
    """How a checkpoint was chosen, and by which metric, in words."""
    if selected is None:
        return table_notes.LAST, ""
    metric = eval_metrics.metric_title(selected.get("metric", ""))
    if selected.get("held_out"):
        return table_notes.VALIDATION, metric
    older = "" if "held_out" in selected else table_notes.BY_OLDER
    return f"chosen on {selected.get('set', 'unknown data')}{older}", metric


def differences(runs: Sequence[EvaluatedRun]) -> dict[str, str]:
    """The runs that were not measured like most others, and in what they differ.

    Args:
      runs: in the order of the table; of several groups of one size the first is the measure.

    Returns:
      Name of the row -> the difference, in words.
    """

    def alike(run: EvaluatedRun) -> int:
        return sum(run.difference(other) is None for other in runs)

    measure = max(runs, key=alike)
    found = {run.row.name: run.difference(measure) for run in runs}
    return {name: words for name, words in found.items() if words}


def _read_per_class(
    workdir: files.Place, results: pd.DataFrame, *, step: int
) -> dict[str, pd.DataFrame]:
    """The per-class tables of those sets of Table 1 that the checkpoint was evaluated on."""
    evaluated = set(results.loc[results["step"] == step, "set"])
    tables = {}
    for set_name in (name for name in SETS if name in evaluated):
        path = workdir / EVAL_DIR / "per_class" / f"{set_name}-{step}.csv"
        try:
            # Only what is empty is no number: a class may be called "None".
            text = io.StringIO(files.read_text(path))
            table = pd.read_csv(
                text, dtype={"display_name": str}, keep_default_na=False, na_values=[""]
            )
            tables[set_name] = table.fillna({"display_name": ""})
        except FileNotFoundError as error:
            raise errors.InputError(
                f"{path}: missing, although step {step} was evaluated; run "
                "audioset_strong_evaluate again"
            ) from error
    return tables


def _read_config(path: files.Place) -> str:
    if not files.exists(path):
        return ""
    with files.reading(path):
        return files.read_text(path)


def table1(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Builds Table 1 of the paper: one line per row, including rows without a run.

    Rows beyond the paper follow, those that have a run.

    Args:
      runs: see `read_runs`.

    Returns:
      row, training_set, mu, start (what the weights started from), step, chosen_by,
      chosen_metric, sweep (that selected the run), eval_set (its clips and datasets),
      not_comparable (in what the row was measured otherwise than the others; "" where it was not);
      then for each set and metric <set>_<metric> with its 95% interval, _low and _high;
      <set>_classes, the classes that d' is the mean of, and <set>_classes_<kind>, those with
      explicit or complementary negatives; d' on other negatives, <set>_d_prime_complementary and
      _implicit; and finally the paper's own figures, paper_<set>_<metric>, NaN beyond the paper.
    """
    by_name = {run.row.name: run for run in runs}
    found = differences(runs)
    rows = [*ROWS, *(row for row in BEYOND_ROWS if row.name in by_name)]
    lines = [_table1_line(row, by_name.get(row.name), found.get(row.name, "")) for row in rows]
    table = pd.DataFrame(lines)
    table["step"] = table["step"].astype("Int64")
    return table


def _table1_line(row: Row, run: EvaluatedRun | None, difference: str) -> dict[str, object]:
    def value(set_name: str, metric: str) -> float:
        return run.value(set_name, metric) if run else float("nan")

    measured_on = run.measured_on.get(held_out.EVAL) if run else None
    line: dict[str, object] = {
        "row": row.name,
        "training_set": row.title,
        "mu": run.mu if run else None,
        "start": (run.info.init_from or table_notes.SCRATCH) if run else None,
        "step": run.step if run else None,
        "chosen_by": run.chosen_by if run else table_notes.NOT_RUN,
        "chosen_metric": run.chosen_metric if run else "",
        "sweep": run.sweep if run else "",
        "eval_set": measured_on.description() if measured_on else "",
        "not_comparable": difference,
    }
    for set_name in SETS:
        for metric in METRICS:
            for end in ("", "_low", "_high"):
                line[f"{set_name}_{metric}{end}"] = value(set_name, metric + end)
        kinds = (f"classes_{kind}" for kind in _KINDS_OF_NEGATIVES)
        for metric in ("classes", *kinds, *OTHER_D_PRIME):
            line[f"{set_name}_{metric}"] = value(set_name, metric)
    for set_name, metric in itertools.product(SETS, METRICS):
        paper = row.paper.get(f"{set_name}/{metric}", float("nan"))
        line[f"paper_{set_name}_{metric}"] = paper
    return line


def separate_best(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Lists the best checkpoint for each metric by itself, as the paper does beside its table.

    Section 4.1: choosing mu and checkpoint for each metric separately gives higher values.

    Args:
      runs: see `read_runs`; runs without a selection are left out.

    Returns:
      training_set, set, metric; best and best_step, the best value and the step of its checkpoint;
      value and step, the same metric of the checkpoint that represents the run in Table 1; and
      paper_best, the paper's best, where it tells one.
    """
    lines = []
    for run, set_name, metric in itertools.product(runs, SETS, METRICS):
        best = run.best.get(f"{set_name}/{metric}")
        if best:
            lines.append(
                {
                    "training_set": run.row.title,
                    "set": set_name,
                    "metric": metric,
                    "best": best["value"],
                    "best_step": best["step"],
                    "value": run.value(set_name, metric),
                    "step": run.step,
                    "paper_best": run.row.paper_best.get(f"{set_name}/{metric}", float("nan")),
                }
            )
    return pd.DataFrame(lines)
