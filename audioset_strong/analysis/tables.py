"""Table 1: what the six models reach on the weak and on the strong eval."""

import dataclasses
import io
import itertools
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audioset_strong.core import errors, files
from audioset_strong.evaluation import selection
from audioset_strong.evaluation.results import EVAL_DIR, read_results
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.workdirs import CONFIG_FILE

SETS = ("weak_eval", "strong_eval")
METRICS = ("d_prime", "lwlrap")
SCRATCH = "scratch"
IMPLICIT = "d_prime_implicit"  # measured even where there are no explicit negatives


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the paper's Table 1.

    Attributes:
      name: of the gin file and of the workdir.
      title: as printed in the paper.
      paper: the paper's figures, by "<set>/<metric>", measured on AudioSet with ResNet-50. Only
        those that could be verified are included.
      fine_tuned: whether the paper's model starts from Weak-1.8M.
    """

    name: str
    title: str
    paper: dict[str, float]
    fine_tuned: bool = False


ROWS = (
    Row("weak_67k", "Weak-67k", {}),
    Row("diffuse_67k", "Diffuse-67k", {"weak_eval/d_prime": 0.82, "strong_eval/d_prime": 0.88}),
    Row("strong_67k", "Strong-67k", {"weak_eval/d_prime": 0.96, "strong_eval/d_prime": 1.05}),
    Row("weak_1_8m", "Weak-1.8M", {"strong_eval/d_prime": 1.13}),
    Row(
        "plus_diffuse",
        "+Diffuse",
        {"weak_eval/d_prime": 1.21, "strong_eval/d_prime": 1.28},
        fine_tuned=True,
    ),
    Row(
        "plus_strong",
        "+Strong",
        {"weak_eval/d_prime": 1.28, "strong_eval/d_prime": 1.39},
        fine_tuned=True,
    ),
)


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated run and the checkpoint that represents it in Table 1.

    Attributes:
      row: the row of Table 1 that it fills.
      workdir: where it was trained and evaluated.
      step: of the checkpoint.
      selected: whether the checkpoint was selected on validation data; if not, it is the last one
        that was evaluated.
      info: the facts of the run, from its `run.json`.
      results: step, set, metric and value of every checkpoint.
      best: "<set>/<metric>" -> step and value of the checkpoint that is best by this metric, as
        `selection.select` found; empty where nothing was selected.
      per_class: set -> a table of the checkpoint's metrics, one row per class.
      config: the gin bindings that the run was trained with, for people to read; empty where it
        was trained without gin.
    """

    row: Row
    workdir: files.Place
    step: int
    selected: bool
    info: RunInfo
    results: pd.DataFrame
    best: dict[str, dict]
    per_class: dict[str, pd.DataFrame]
    config: str

    @property
    def mu(self) -> float | None:
        """Share of diffuse or strong examples; None where the run has no mixture (section 4)."""
        return self.info.mu

    def value(self, set_name: str, metric: str) -> float:
        """A metric of the checkpoint.

        Args:
          set_name: one of `SETS`, or the name of another set in `results`.
          metric: a name in `results`, such as "d_prime" or "d_prime_low".

        Returns:
          Its value; NaN where it was not measured.
        """
        rows = self.results
        found = rows.loc[
            (rows["step"] == self.step) & (rows["set"] == set_name) & (rows["metric"] == metric),
            "value",
        ]
        return float(found.iloc[0]) if len(found) else float("nan")


def read_runs(runs_dir: str) -> list[EvaluatedRun]:
    """Reads the runs of Table 1 that have been evaluated, in the order of the table.

    Args:
      runs_dir: holds a workdir, or the directory of a sweep, for each row, named like its gin file
        ("strong_67k").

    Returns:
      The evaluated runs; rows without one are left out.

    Raises:
      errors.InputError: no row has an evaluated run, or a file of a run is missing or damaged.
    """
    found = (_read_run(row, _workdir(files.place(runs_dir) / row.name)) for row in ROWS)
    runs = [run for run in found if run is not None]
    if not runs:
        names = ", ".join(row.name for row in ROWS)
        raise errors.InputError(
            f"{runs_dir}: contains no evaluated run; name the workdirs {names}, and run "
            "evaluate.py on them first"
        )
    return runs


def _workdir(path: files.Place) -> files.Place:
    """The workdir of a row: the path itself or, if a sweep is there, the point it selected."""
    selected = selection.read(str(path))
    return path / selected["workdir"] if selected and "workdir" in selected else path


def _read_run(row: Row, workdir: files.Place) -> EvaluatedRun | None:
    """The run in a workdir; None where nothing was evaluated."""
    results = read_results(str(workdir))
    if results.empty:
        return None
    info = RunInfo.read(str(workdir))
    selected = selection.read(str(workdir))
    step = selected["step"] if selected else int(results["step"].max())
    return EvaluatedRun(
        row=row,
        workdir=workdir,
        step=step,
        selected=selected is not None,
        info=info,
        results=results,
        best=(selected or {}).get("best_of_each_metric", {}),
        per_class=_read_per_class(workdir, results, step=step),
        config=_read_config(workdir / CONFIG_FILE),
    )


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
                f"{path}: missing, although step {step} was evaluated; run evaluate.py again"
            ) from error
    return tables


def _read_config(path: files.Place) -> str:
    if not files.exists(path):
        return ""
    with files.reading(path):
        return files.read_text(path)


def table1(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Builds Table 1 of the paper: one line per row, including rows without a run.

    Args:
      runs: see `read_runs`.

    Returns:
      row, training_set, mu, start (what the weights started from), step, chosen_by; then for each
      set and metric <set>_<metric> with its 95% bootstrap interval, _low and _high;
      <set>_d_prime_implicit, d' on implicit negatives; and finally the paper's own
      figures, paper_<set>_<metric>.
    """
    by_name = {run.row.name: run for run in runs}
    table = pd.DataFrame([_table1_line(row, by_name.get(row.name)) for row in ROWS])
    table["step"] = table["step"].astype("Int64")
    return table


def _table1_line(row: Row, run: EvaluatedRun | None) -> dict[str, object]:
    def value(set_name: str, metric: str) -> float:
        return run.value(set_name, metric) if run else float("nan")

    line: dict[str, object] = {
        "row": row.name,
        "training_set": row.title,
        "mu": run.mu if run else None,
        "start": (run.info.init_from or SCRATCH) if run else None,
        "step": run.step if run else None,
        "chosen_by": ("validation" if run.selected else "last") if run else "not run",
    }
    for set_name in SETS:
        for metric in METRICS:
            for end in ("", "_low", "_high"):
                line[f"{set_name}_{metric}{end}"] = value(set_name, metric + end)
        line[f"{set_name}_{IMPLICIT}"] = value(set_name, IMPLICIT)
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
      value and step, the same metric of the checkpoint that represents the run in Table 1.
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
                }
            )
    return pd.DataFrame(lines)


def notes(table: pd.DataFrame) -> list[str]:
    """Sentences on what Table 1 lacks: d' of some runs, validation data, or the right start.

    Args:
      table: see `table1`.
    """
    sentences = []
    for set_name in SETS:
        implicit = f"{set_name}_{IMPLICIT}"
        rows = table[table[f"{set_name}_d_prime"].isna() & table[implicit].notna()]
        if len(rows):
            values = ", ".join(
                f"{title} {value:.3f}"
                for title, value in zip(rows["training_set"], rows[implicit], strict=True)
            )
            sentences.append(
                f"No d' on the {set_name.replace('_', ' ')} where it has no explicit negatives; "
                f"d' on implicit ones (everything not labelled), not comparable with the "
                f"paper's: {values}."
            )
    last = table.loc[table["chosen_by"] == "last", "training_set"]
    if len(last):
        sentences.append(
            f"Without validation data, the last checkpoint is shown for {', '.join(last)}."
        )
    fine_tuned = table["row"].isin([row.name for row in ROWS if row.fine_tuned])
    from_scratch = table.loc[fine_tuned & (table["start"] == SCRATCH), "training_set"]
    if len(from_scratch):
        sentences.append(
            f"Trained from scratch, not from Weak-1.8M as in the paper: {', '.join(from_scratch)}."
        )
    return sentences


def to_markdown(table: pd.DataFrame) -> str:
    """Renders Table 1 as Markdown, with bootstrap intervals and the paper's figures beside ours.

    By hand, because pandas' `to_markdown` needs `tabulate` and formats a column at a time, whereas
    a cell here joins a value with its interval from two other columns.

    Args:
      table: see `table1`.
    """

    def cell(line: pd.Series, name: str) -> str:
        if np.isnan(line[name]):
            return "-"
        bounds = line[f"{name}_low"], line[f"{name}_high"]
        if np.isnan(bounds).any():
            return f"{line[name]:.3f}"
        return f"{line[name]:.3f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"

    def paper(line: pd.Series, name: str) -> str:
        return "-" if np.isnan(line[name]) else f"{line[name]:.2f}"

    header = (
        "training set",
        "mu",
        "start",
        "step",
        "weak eval d'",
        "weak eval lwlrap",
        "strong eval d'",
        "strong eval lwlrap",
        "paper: weak eval d'",
        "paper: strong eval d'",
    )
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * 3 + "---:|" * (len(header) - 3),
    ]
    for _, line in table.iterrows():
        cells = [
            line["training_set"],
            "" if pd.isna(line["mu"]) else f"{line['mu']:g}",
            "" if pd.isna(line["start"]) else line["start"],
            line["chosen_by"] if pd.isna(line["step"]) else str(line["step"]),
            *(cell(line, f"{s}_{m}") for s in SETS for m in METRICS),
            *(paper(line, f"paper_{s}_d_prime") for s in SETS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    legend = (
        "In brackets: 95% bootstrap intervals over clips. The paper's columns are its own figures, "
        "measured on AudioSet with ResNet-50; they are not a target for this run."
    )
    return "\n".join([*lines, "", legend, *notes(table)]) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    """Renders Table 1 as a LaTeX tabular (booktabs), with intervals and the paper's figures.

    By hand for the same reason as `to_markdown`.

    Args:
      table: see `table1`.
    """

    def number(value: float) -> str:
        return f"{value:.2f}".replace("-", "$-$")  # a hyphen in text is not a minus

    def cell(line: pd.Series, name: str) -> str:
        value, paper = line[name], line[f"paper_{name}"]
        bounds = [line[f"{name}_low"], line[f"{name}_high"]]
        parts = ["--" if np.isnan(value) else number(value)]
        if not np.isnan([value, *bounds]).any():
            parts.append(rf"{{\scriptsize [{', '.join(map(number, bounds))}]}}")
        if not np.isnan(paper):
            parts.append(f"({number(paper)})")
        return " ".join(parts)

    lines = [
        "% In brackets 95% bootstrap intervals over clips; in parentheses the paper's own figures,",
        "% measured on AudioSet with ResNet-50. Needs the package booktabs.",
        r"\begin{tabular}{lcccc}",
        r"\toprule",
        r" & \multicolumn{2}{c}{Weak eval} & \multicolumn{2}{c}{Strong eval} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
        r"Training set & $d'$ & lwlrap & $d'$ & lwlrap \\",
        r"\midrule",
    ]
    for _, line in table.iterrows():
        cells = [cell(line, f"{set_name}_{metric}") for set_name in SETS for metric in METRICS]
        lines.append(" & ".join([_latex(line["training_set"]), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda match: words.get(match[0], "\\" + match[0]), text)
