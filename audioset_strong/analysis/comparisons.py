"""Differences between rows of Table 1: the paper's decomposition, any other pair, and by class.

Section 4.2 splits what strong labels add: +Strong over Weak-1.8M is +Strong over +Diffuse, which is
the temporal precision alone, plus +Diffuse over Weak-1.8M, which is everything else. Both rows of a
pair are measured on the same clips, see `paired`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from audioset_strong.analysis import sweep_tables, tables
from audioset_strong.analysis.paper_table import BEYOND_ROWS, TITLES
from audioset_strong.core import errors, files
from audioset_strong.evaluation import eval_metrics, left_out_files, paired
from audioset_strong.evaluation.left_out_files import SetLeftOut
from audioset_strong.evaluation.results import left_out_path, results_directory

Pair = tuple[str, str]  # names of two rows; the second is taken from the first

# What the paper compares, and what it says that the difference is due to.
PAPER_PAIRS: dict[Pair, str] = {
    ("plus_strong", "weak_1_8m"): "fine-tuning with strong labels",
    ("plus_strong", "plus_diffuse"): "of it: temporal precision",
    ("plus_diffuse", "weak_1_8m"): "of it: everything else",
    ("strong_67k", "diffuse_67k"): "temporal precision, from scratch",
}
# What each row beyond the paper changes.
_BEYOND_PAIRS = [(row.name, row.baseline) for row in BEYOND_ROWS]
GAIN, LOSS = "gain", "loss"
FALSE_DISCOVERY_RATE = 0.05


@dataclasses.dataclass(frozen=True)
class ComparedRow:
    """The runs of a row, and what they are without each clip.

    Attributes:
      main: the run that stands in Table 1.
      runs: all runs of the row, which differ in the seed; `main` is one of them.
      left_out: set -> that of each run; sets that a run lacks it of are left out.
      lacking: a line for each run that lacks it of a set.
    """

    main: tables.EvaluatedRun
    runs: Sequence[tables.EvaluatedRun]
    left_out: Mapping[str, Sequence[SetLeftOut]]
    lacking: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Comparisons:
    """Compared rows.

    Attributes:
      pairs: those that the report shows.
      table: of all pairs: first, second (names of rows), set, metric, difference, low, high (of the
        95% interval), first_runs, second_runs, clips, and paper, the paper's own difference.
      classes: pair and set -> a row for each class, see `_tested_classes`; of `pairs` alone.
      notes: why pairs could not be compared, a line each.
    """

    pairs: Sequence[Pair]
    table: pd.DataFrame
    classes: Mapping[tuple[Pair, str], pd.DataFrame]
    notes: Sequence[str]

    def shown(self) -> pd.DataFrame:
        """The rows of `table` that the report shows: those of `pairs`, in their order."""
        listed = pd.Series(list(zip(self.table["first"], self.table["second"], strict=True)))
        return self.table[listed.isin(self.pairs).to_numpy(bool)]


def parse_pairs(texts: Sequence[str], runs: Sequence[tables.EvaluatedRun]) -> list[Pair]:
    """Reads the values of --compare.

    Args:
      texts: like "plus_strong,weak_1_8m".
      runs: of the report.

    Raises:
      errors.InputError: not two different rows, or a row without an evaluated run.
    """
    evaluated = {run.row.name for run in runs}
    pairs: list[Pair] = []
    for text in texts:
        first, _, second = (name.strip() for name in text.partition(","))
        for name in (first, second):
            if name not in TITLES:
                raise errors.InputError(
                    f"--compare={text}: {name!r} is no row; give two of {', '.join(TITLES)}, like "
                    "--compare=plus_strong,weak_1_8m"
                )
            if name not in evaluated:
                raise errors.InputError(f"--compare={text}: {name} has no evaluated run")
        if first == second:
            raise errors.InputError(f"--compare={text}: give two different rows")
        pairs.append((first, second))
    return list(dict.fromkeys(pairs))


def compare(
    runs_dir: str, runs: Sequence[tables.EvaluatedRun], *, pairs: Sequence[Pair] = ()
) -> Comparisons:
    """Compares rows on the sets of Table 1.

    Args:
      runs_dir: where the runs were read from.
      runs: see `tables.read_runs`.
      pairs: to be shown, see `parse_pairs`; by default `PAPER_PAIRS`, and each row beyond the paper
        with its baseline, as far as there are runs.

    Raises:
      errors.InputError: a file that comparisons need is damaged.
    """
    rows = {run.row.name: _read_row(runs_dir, run) for run in runs}
    default = (*PAPER_PAIRS, *_BEYOND_PAIRS)
    shown = list(pairs) or [pair for pair in default if rows.keys() >= set(pair)]
    covered = {frozenset(pair) for pair in shown}
    others = [
        (second, first)
        for first, second in itertools.combinations(rows, 2)
        if frozenset((first, second)) not in covered
    ]
    notes = [line for row in rows.values() for line in row.lacking]
    lines: list[dict[str, object]] = []
    classes = {}
    for pair, set_name in itertools.product([*shown, *others], tables.SETS):
        first, second = (rows[name] for name in pair)
        kept = all(set_name in row.left_out for row in (first, second))
        obstacle = _obstacle(first, second, set_name)
        if obstacle:
            notes.append(obstacle)
        elif kept:
            lines += _differences(first, second, set_name)
        if pair in shown and not obstacle:
            table = _tested_classes(first, second, set_name) if kept else None
            if table is None:
                table = _untested_classes(first, second, set_name)
            if table is not None:
                classes[pair, set_name] = table
    columns = ["first", "second", "set", "metric", "difference", "low", "high"]
    columns += ["first_runs", "second_runs", "clips", "paper"]
    table = pd.DataFrame(lines, columns=columns)
    return Comparisons(shown, table, classes, list(dict.fromkeys(notes)))


def _read_row(runs_dir: str, main: tables.EvaluatedRun) -> ComparedRow:
    runs = [main, *_other_seeds(runs_dir, main)]
    left_out: dict[str, list[SetLeftOut]] = {}
    lacking = []
    for run in runs:
        directory = results_directory(str(run.workdir))
        for set_name in main.per_class:
            path = left_out_path(directory, set_name, run.step)
            try:
                left_out.setdefault(set_name, []).append(left_out_files.load(path))
            except FileNotFoundError:
                lacking.append(
                    f"{run.row.title} is not compared: {run.workdir} has no file for it, which "
                    f"audioset_strong_evaluate --checkpoint=step-{run.step} writes."
                )
    whole = {name: found for name, found in left_out.items() if len(found) == len(runs)}
    return ComparedRow(main, runs, whole, list(dict.fromkeys(lacking)))


def _other_seeds(runs_dir: str, main: tables.EvaluatedRun) -> list[tables.EvaluatedRun]:
    """The runs of a row that differ from its main one in the seed alone.

    They are the other seeds of the selected point where the row is a sweep, and the workdirs named
    ROW-seed=N beside the row.
    """
    place = files.place(runs_dir)
    name = main.row.name
    workdirs = [place / each for each in files.names(place) if each.startswith(f"{name}-seed=")]
    if main.sweep:
        (sweep,) = sweep_tables.read([main.sweep])
        workdirs += [files.place(main.sweep) / run for run in sweep.selected_seeds()]
    found = (tables.read_run(main.row, workdir) for workdir in sorted(workdirs, key=str))
    return [run for run in found if run is not None and run.workdir != main.workdir]


def _obstacle(first: ComparedRow, second: ComparedRow, set_name: str) -> str:
    """Why two rows cannot be compared on a set; "" where they can."""
    titles = f"{first.main.row.title} and {second.main.row.title}"
    where = f"on the {set_name.replace('_', ' ')}"
    difference = first.main.difference(second.main)
    if difference:
        return f"{titles} are not compared {where}, for they were not measured alike: {difference}."
    kept = [each for row in (first, second) for each in row.left_out.get(set_name, ())]
    for attribute, what in (
        ("clip_ids", "clips"),
        ("mids", "classes"),
        ("fingerprint", "data or labels"),
    ):
        if len({getattr(each, attribute) for each in kept}) > 1:
            return f"{titles} are not compared {where}: they were evaluated on different {what}."
    return ""


def _differences(first: ComparedRow, second: ComparedRow, set_name: str) -> list[dict[str, object]]:
    """The differences of two rows on a set, a line for each metric that both have."""
    lines = []
    for metric in (*tables.METRICS, *tables.OTHER_D_PRIME):
        values = [
            [kept.metrics[metric] for kept in row.left_out[set_name] if metric in kept.metrics]
            for row in (first, second)
        ]
        if not all(values):
            continue
        found = paired.difference(*values)
        names = first.main.row.name, second.main.row.name
        papers = [row.main.row.paper.get(f"{set_name}/{metric}", np.nan) for row in (first, second)]
        lines.append(
            dict(zip(("first", "second"), names, strict=True))
            | {"set": set_name, "metric": metric, "difference": found.value}
            | {"low": found.low, "high": found.high}
            | {"first_runs": found.runs[0], "second_runs": found.runs[1]}
            | {"clips": len(first.left_out[set_name][0].clip_ids)}
            | {"paper": round(papers[0] - papers[1], 2)}
        )
    return lines


def _tested_classes(first: ComparedRow, second: ComparedRow, set_name: str) -> pd.DataFrame | None:
    """The classes of two rows, and which of them gain or lose beyond chance.

    Returns:
      mid, display_name; metric, the name of the d' that is compared; clips_positive,
      clips_negative; first, second and difference of d', means over the runs; p_value,
      false_discovery_rate, see `paired.class_tests`; and change: "gain" or "loss" where that rate
      is at most `FALSE_DISCOVERY_RATE`, else "". None where no class has known negatives.
    """
    kept = [row.left_out[set_name] for row in (first, second)]
    if not all(each.classes for row in kept for each in row):
        return None
    table = paired.class_tests(*([each.classes for each in row] for row in kept))
    mids = np.array(kept[0][0].mids)[table["class"]]
    known = first.main.per_class[set_name].set_index("mid")
    beyond_chance = table["false_discovery_rate"] <= FALSE_DISCOVERY_RATE
    direction = np.where(table["difference"] > 0, GAIN, LOSS)
    table = table.assign(change=np.where(beyond_chance, direction, ""))
    table.insert(0, "mid", mids)
    table.insert(1, "display_name", known["display_name"].reindex(mids).to_numpy())
    table.insert(2, "metric", eval_metrics.class_d_prime(known))
    return table.drop(columns="class")


def _untested_classes(
    first: ComparedRow, second: ComparedRow, set_name: str
) -> pd.DataFrame | None:
    """The same table without tests, from the per-class tables of the main runs."""
    if not all(set_name in row.main.per_class for row in (first, second)):
        return None
    ours, theirs = (row.main.per_class[set_name].set_index("mid") for row in (first, second))
    d_prime = eval_metrics.class_d_prime(ours)
    if not {d_prime, "display_name"} <= {*ours.columns} & {*theirs.columns}:
        return None
    table = pd.DataFrame({"display_name": ours["display_name"], "first": ours[d_prime]})
    table = table.join(theirs[d_prime].rename("second"), how="inner")
    table = table.dropna(subset=["first", "second"]).reset_index()
    table["difference"] = table["first"] - table["second"]
    return table.assign(metric=d_prime, p_value=np.nan, change="") if len(table) else None


@dataclasses.dataclass(frozen=True)
class Line:
    """A pair of rows as text.

    Attributes:
      title: of the difference.
      meaning: what the paper puts it down to; "" for other pairs.
      runs: of both rows.
      cells: a value, its interval and the paper's value for each set and metric; "" where unknown.
    """

    title: str
    meaning: str
    runs: str
    cells: Sequence[tuple[str, str, str]]


def lines(comparisons: Comparisons) -> list[Line]:
    """The pairs that the report shows, as text, in the order of `SETS` and `METRICS` of Table 1."""
    found = []
    for pair, table in comparisons.shown().groupby(["first", "second"], sort=False):
        first, second = pair
        runs = table.iloc[0]["first_runs"], table.iloc[0]["second_runs"]
        found.append(
            Line(
                f"{TITLES[first]} over {TITLES[second]}",
                PAPER_PAIRS.get((first, second), ""),
                f"{runs[0]}, {runs[1]}",
                [_cell(table, *key) for key in itertools.product(tables.SETS, tables.METRICS)],
            )
        )
    return found


def _cell(table: pd.DataFrame, set_name: str, metric: str) -> tuple[str, str, str]:
    rows = table[(table["set"] == set_name) & (table["metric"] == metric)]
    if rows.empty:
        return "", "", ""
    row = rows.iloc[0]
    interval = "" if np.isnan(row["low"]) else f"{row['low']:+.2f} to {row['high']:+.2f}"
    return (
        f"{row['difference']:+.3f}",
        interval,
        "" if np.isnan(row["paper"]) else f"{row['paper']:+.2f}",
    )


def legend(comparisons: Comparisons) -> str:
    """What the intervals are about."""
    shown = comparisons.shown()
    text = "95% intervals of the difference, from the same clips for both rows"
    if (shown[["first_runs", "second_runs"]].to_numpy() > 1).any():
        text += "; rows with several runs are their means, and how the runs differ counts too"
    if (shown[["first_runs", "second_runs"]].to_numpy() == 1).any():
        text += "; a row with one run says nothing of how training would turn out another time"
    return f"{text}."


def to_markdown(comparisons: Comparisons) -> str:
    """The pairs that the report shows, as Markdown, and why others are missing."""
    header = ["difference", "paper: due to", "runs"]
    header += [
        f"{set_name.replace('_', ' ')} {name}"
        for set_name, name in itertools.product(tables.SETS, ("d'", "lwlrap"))
    ]
    text = [" | ".join(header), "|".join(["---"] * 3 + ["---:"] * (len(header) - 3))]
    for line in lines(comparisons):
        cells = [
            value + (f" [{interval}]" if interval else "") + (f" (paper {paper})" if paper else "")
            for value, interval, paper in line.cells
        ]
        text.append(" | ".join([line.title, line.meaning, line.runs, *(c or "-" for c in cells)]))
    table = [f"| {row} |" for row in text] if len(text) > 2 else []
    notes = [legend(comparisons)] if table else []
    return "\n".join([*table, "", " ".join([*notes, *comparisons.notes])]).strip() + "\n"
