"""Table 1: what the six models reach on the weak and on the strong eval."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audioset_strong.configuration import gin_files
from audioset_strong.core import errors
from audioset_strong.evaluation import evaluator, selection

SETS = ("weak_eval", "strong_eval")
METRICS = ("d_prime", "lwlrap")
IMPLICIT = "d_prime_implicit"  # there also without explicit negatives


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the paper's Table 1.

    Attributes:
      name: of the gin file and of the workdir.
      title: as the paper prints it.
      paper: what it reports, by "<set>/<metric>". Only figures that could be verified are here; the
        paper measures them on AudioSet with ResNet-50.
    """

    name: str
    title: str
    paper: dict[str, float]


ROWS = (
    Row("weak_67k", "Weak-67k", {}),
    Row("diffuse_67k", "Diffuse-67k", {"weak_eval/d_prime": 0.82, "strong_eval/d_prime": 0.88}),
    Row("strong_67k", "Strong-67k", {"weak_eval/d_prime": 0.96, "strong_eval/d_prime": 1.05}),
    Row("weak_1_8m", "Weak-1.8M", {"strong_eval/d_prime": 1.13}),
    Row("plus_diffuse", "+Diffuse", {"weak_eval/d_prime": 1.21, "strong_eval/d_prime": 1.28}),
    Row("plus_strong", "+Strong", {"weak_eval/d_prime": 1.28, "strong_eval/d_prime": 1.39}),
)


@dataclasses.dataclass(frozen=True)
class Run:
    """An evaluated run and the checkpoint that stands for it.

    Attributes:
      row: of Table 1.
      workdir: of the run.
      step: of the checkpoint.
      selected: whether it was picked on validation data; otherwise it is the last one evaluated.
      mu: share of diffuse or strong examples, for the fine-tuned rows.
      results: step, set, metric, value of every checkpoint.
      best: "<set>/<metric>" -> step and value of the checkpoint that is best by it, as
        `selection.select` found; empty where nothing was selected.
      per_class: set -> the checkpoint's metrics of each class, see `measures.Measured`.
      config: the bindings that the run was trained with.
    """

    row: Row
    workdir: pathlib.Path
    step: int
    selected: bool
    mu: float | None
    results: pd.DataFrame
    best: dict[str, dict]
    per_class: dict[str, pd.DataFrame]
    config: str

    def value(self, set_name: str, metric: str) -> float:
        """A metric of the checkpoint; NaN where it was not measured."""
        rows = self.results
        found = rows.loc[
            (rows["step"] == self.step) & (rows["set"] == set_name) & (rows["metric"] == metric),
            "value",
        ]
        return float(found.iloc[0]) if len(found) else float("nan")


def read_runs(runs_dir: str) -> list[Run]:
    """The evaluated runs among the six rows' workdirs, in the order of the table.

    Args:
      runs_dir: holds a workdir, or the directory of a sweep, for each row, named like its gin file
        ("strong_67k").

    Raises:
      errors.InputError: none of them is there and evaluated, or a file of one is missing.
    """
    runs = []
    for row in ROWS:
        workdir = _workdir(pathlib.Path(runs_dir) / row.name)
        results = evaluator.read_results(str(workdir))
        if results.empty:
            continue
        picked = selection.read(str(workdir))
        step = picked["step"] if picked else int(results["step"].max())
        bindings = _read_config(workdir)
        runs.append(
            Run(
                row=row,
                workdir=workdir,
                step=step,
                selected=picked is not None,
                mu=_mu(bindings),
                results=results,
                best=(picked or {}).get("best_of_each_metric", {}),
                per_class=_read_per_class(workdir, results, step),
                config=bindings,
            )
        )
    if not runs:
        names = ", ".join(row.name for row in ROWS)
        raise errors.InputError(
            f"{runs_dir}: no evaluated run in it; the workdirs must be named {names}, and "
            "evaluate.py must have run on them"
        )
    return runs


def _workdir(path: pathlib.Path) -> pathlib.Path:
    """The workdir itself, or that of the point which a sweep in its place selected."""
    picked = selection.read(str(path))
    return path / picked["workdir"] if picked and "workdir" in picked else path


def _read_config(workdir: pathlib.Path) -> str:
    try:
        return (workdir / gin_files.CONFIG_FILE).read_text()
    except FileNotFoundError as error:
        raise errors.InputError(
            f"{workdir}: evaluated, but without {gin_files.CONFIG_FILE}"
        ) from error


def _read_per_class(
    workdir: pathlib.Path, results: pd.DataFrame, step: int
) -> dict[str, pd.DataFrame]:
    """The tables of the sets of Table 1 that the checkpoint was evaluated on."""
    there = set(results.loc[results["step"] == step, "set"])
    read = {}
    for set_name in (name for name in SETS if name in there):
        path = workdir / evaluator.EVAL_DIR / "per_class" / f"{set_name}-{step}.csv"
        try:
            # As they stand there: a class may be called "None".
            read[set_name] = pd.read_csv(path, converters={"display_name": str})
        except FileNotFoundError as error:
            raise errors.InputError(f"{path}: missing, though step {step} was evaluated") from error
    return read


def _mu(bindings: str) -> float | None:
    match = re.search(r"^mixture\.mu = (\S+)$", bindings, re.MULTILINE)
    return float(match[1]) if match else None


def table1(runs: list[Run]) -> pd.DataFrame:
    """One line a row of Table 1, also for rows without a run.

    Returns:
      row, training_set, mu, step, chosen_by; then for each set and metric <set>_<metric> with its
      95% bootstrap interval, _low and _high; <set>_d_prime_implicit, d' on implicit negatives;
      last what the paper reports, paper_<set>_<metric>.
    """
    by_name = {run.row.name: run for run in runs}
    lines = []
    for row in ROWS:
        run = by_name.get(row.name)
        line: dict[str, object] = {
            "row": row.name,
            "training_set": row.title,
            "mu": run.mu if run else None,
            "step": run.step if run else None,
            "chosen_by": ("validation" if run.selected else "last") if run else "not run",
        }
        for set_name in SETS:
            for metric in METRICS:
                for end in ("", "_low", "_high"):
                    value = run.value(set_name, metric + end) if run else float("nan")
                    line[f"{set_name}_{metric}{end}"] = value
            implicit = run.value(set_name, IMPLICIT) if run else float("nan")
            line[f"{set_name}_{IMPLICIT}"] = implicit
        for key in (f"{s}/{m}" for s in SETS for m in METRICS):
            line[f"paper_{key.replace('/', '_')}"] = row.paper.get(key, float("nan"))
        lines.append(line)
    table = pd.DataFrame(lines)
    table["step"] = table["step"].astype("Int64")
    return table


def separate_best(runs: Sequence[Run]) -> pd.DataFrame:
    """The best checkpoint for each metric by itself, which the paper reports beside its table.

    Returns:
      training_set, set, metric; best and its step, best_step; and beside them what the checkpoint
      reaches that stands for the run, value and step. No line for runs without a selection.
    """
    lines = []
    for run in runs:
        for set_name in SETS:
            for metric in METRICS:
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
    """Sentences on what the table lacks: runs without d', and those without validation data.

    Args:
      table: what `table1` returned.
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
                f"d' on implicit ones (all that is not labelled), not comparable with the "
                f"paper's: {values}."
            )
    last = table.loc[table["chosen_by"] == "last", "training_set"]
    if len(last):
        sentences.append(f"No validation data: the last checkpoint stands for {', '.join(last)}.")
    return sentences


def to_markdown(table: pd.DataFrame) -> str:
    """Table 1 for people: ours with intervals, the paper's beside it and named as such."""

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
        "|" + "---|" * 2 + "---:|" * (len(header) - 2),
    ]
    for _, line in table.iterrows():
        cells = [
            line["training_set"],
            "" if pd.isna(line["mu"]) else f"{line['mu']:g}",
            line["chosen_by"] if pd.isna(line["step"]) else str(line["step"]),
            *(cell(line, f"{s}_{m}") for s in SETS for m in METRICS),
            *(paper(line, f"paper_{s}_d_prime") for s in SETS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    legend = (
        "In brackets: 95% bootstrap intervals over clips. The paper's columns are its own figures, "
        "measured on AudioSet with ResNet-50; they are no target of this run."
    )
    return "\n".join([*lines, "", legend, *notes(table)]) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    """Table 1 as a LaTeX tabular for booktabs: ours with intervals, the paper's in parentheses."""

    def number(value: float) -> str:
        return f"{value:.2f}".replace("-", "$-$")  # in text a hyphen is no minus

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
