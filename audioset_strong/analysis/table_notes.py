"""What a reader of Table 1 must know beside its numbers: marks of rows, and sentences below it."""

import pathlib
import string

import pandas as pd

from audioset_strong.analysis import paper_table
from audioset_strong.evaluation import eval_metrics
from audioset_strong.training import workdirs

SCRATCH = "scratch"  # what the weights of a run started from that was not fine-tuned
VALIDATION, LAST, NOT_RUN = "validation", "last", "not run"  # how a row's checkpoint was chosen
BY_OLDER = " by an older version"  # ends what is said of a choice by one


def marks(table: pd.DataFrame) -> pd.Series:
    """The mark of each row that does not compare with the others: "a", "b", ...; else "".

    Args:
      table: see `tables.table1`.
    """
    letters = iter(string.ascii_lowercase)
    return table["not_comparable"].map(lambda words: next(letters) if words else "")


def notes(table: pd.DataFrame) -> list[str]:
    """Sentences on Table 1: what does not compare, which negatives count, what is lacking.

    Args:
      table: see `tables.table1`.
    """
    return [
        *not_comparable(table),
        *_negatives(table),
        *_without_d_prime(table),
        *_choice(table),
        *_start(table),
    ]


def not_comparable(table: pd.DataFrame) -> list[str]:
    """A sentence on each row that was measured otherwise than the others, with its mark.

    Args:
      table: see `tables.table1`.
    """
    return [
        f"[{mark}] {title} does not compare with the other rows: {words}."
        for mark, title, words in zip(
            marks(table), table["training_set"], table["not_comparable"], strict=True
        )
        if mark
    ]


def _negatives(table: pd.DataFrame) -> list[str]:
    """Which negatives the d' of the table counts, and how many classes each kind reaches."""
    sentences = []
    for set_name in paper_table.SETS:
        measured = table[table[f"{set_name}_d_prime"].notna()]
        if measured.empty:
            continue
        kinds = "explicit negatives"
        reach = f"{_counts(measured[f'{set_name}_classes'])} classes"
        if measured[f"{set_name}_classes_explicit"].notna().any():
            kinds += " and complementary ones"
            explicit = _counts(measured[f"{set_name}_classes_explicit"])
            complementary = _counts(measured[f"{set_name}_classes_complementary"])
            reach += f", {explicit} of them with explicit, {complementary} with complementary ones"
        sentences.append(f"d' on the {set_name.replace('_', ' ')} counts {kinds}: {reach}.")
    return sentences


def _counts(column: pd.Series) -> str:
    """The number of classes, or where rows differ the least and the most."""
    known = column.dropna()
    if known.empty:
        return "an unknown number"
    least, most = int(known.min()), int(known.max())
    return f"{most}" if least == most else f"{least} to {most}"


def _without_d_prime(table: pd.DataFrame) -> list[str]:
    """d' on other negatives of the rows that lack explicit ones."""
    sentences = []
    for set_name in paper_table.SETS:
        lacking = table[table[f"{set_name}_d_prime"].isna()]
        others = {
            kind: f"{set_name}_d_prime{suffix}"
            for suffix, kind in eval_metrics.NEGATIVES.items()
            if suffix
        }
        for kind, column in others.items():
            rows = lacking[lacking[column].notna()]
            lacking = lacking[lacking[column].isna()]
            if len(rows):
                values = ", ".join(
                    f"{title} {value:.3f}"
                    for title, value in zip(rows["training_set"], rows[column], strict=True)
                )
                sentences.append(
                    f"No d' on the {set_name.replace('_', ' ')} where it has no explicit "
                    f"negatives; d' on {kind} ones, not comparable with the paper's: {values}."
                )
    return sentences


def _choice(table: pd.DataFrame) -> list[str]:
    """How checkpoints were chosen, where not by the default metric on validation data."""
    sentences = []
    last = table.loc[table["chosen_by"] == LAST, "training_set"]
    if len(last):
        sentences.append(
            f"Without validation data, the last checkpoint is shown for {', '.join(last)}."
        )
    usual = table["chosen_by"].isin([VALIDATION, LAST, NOT_RUN])
    for words, rows in table[~usual].groupby("chosen_by", sort=False):
        why = "not on held-out validation data, which flatters the model"
        if words.endswith(BY_OLDER):
            why = "which did not check that it is held out"
        sentences.append(f"{', '.join(rows['training_set'])}: {words}, {why}.")
    for metric, rows in table[table["chosen_metric"].ne("")].groupby("chosen_metric", sort=False):
        if metric != eval_metrics.metric_title("d_prime"):
            titles = ", ".join(rows["training_set"])
            sentences.append(f"The checkpoint has the highest {metric}: {titles}.")
    sentences += [
        f"{title} is the point that the sweep {sweep} selected."
        for title, sweep in zip(table["training_set"], table["sweep"], strict=True)
        if sweep
    ]
    return sentences


def start_in_words(start: object) -> str:
    """What a row started from, short enough for a table; the CSV has the whole path.

    >>> start_in_words("runs/weak_1_8m"), start_in_words("runs/a/checkpoints/step-500")
    ('weak_1_8m', 'a, step-500')

    Args:
      start: in the table; missing for a row that was not run.
    """
    if not isinstance(start, str):
        return ""
    path = pathlib.PurePosixPath(start)
    name = path.name.removesuffix(".index")
    if path.parent.name in (workdirs.CHECKPOINT_DIR, workdirs.EXPORT_DIR):
        return f"{path.parent.parent.name}, {name}"
    return name


def _start(table: pd.DataFrame) -> list[str]:
    fine_tuned = table["row"].isin([row.name for row in paper_table.ALL_ROWS if row.fine_tuned])
    from_scratch = table.loc[fine_tuned & (table["start"] == SCRATCH), "training_set"]
    if from_scratch.empty:
        return []
    return [f"Trained from scratch, not from Weak-1.8M as in the paper: {', '.join(from_scratch)}."]
