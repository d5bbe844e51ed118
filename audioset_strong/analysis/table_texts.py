"""Table 1 as text: Markdown and LaTeX."""

import re

import numpy as np
import pandas as pd

from audioset_strong.analysis import table_notes
from audioset_strong.analysis.paper_table import (
    BEYOND_TITLE,
    METRICS,
    ROWS,
    SETS,
    orders,
    orders_sentence,
)


def begins_beyond(table: pd.DataFrame, row: str) -> bool:
    """Whether a row is the first beyond the paper, above which a title stands.

    Args:
      table: see `tables.table1`.
      row: the name of one of its rows.
    """
    return len(table) > len(ROWS) and table["row"].iloc[len(ROWS)] == row


def paper_figure(line: pd.Series, name: str) -> str:
    """The paper's figure of a row as text; "" where it has none.

    Args:
      line: of `tables.table1`.
      name: like "weak_eval_d_prime".
    """
    value = line[f"paper_{name}"]
    return "" if np.isnan(value) else f"{value:.2f}"


def to_markdown(table: pd.DataFrame) -> str:
    """Renders Table 1 as Markdown, with intervals and the paper's figures beside ours.

    By hand, because pandas' `to_markdown` needs `tabulate` and formats a column at a time, whereas
    a cell here joins a value with its interval from two other columns.

    Args:
      table: see `tables.table1`.
    """

    def cell(line: pd.Series, name: str) -> str:
        if np.isnan(line[name]):
            return "-"
        bounds = line[f"{name}_low"], line[f"{name}_high"]
        if np.isnan(bounds).any():
            return f"{line[name]:.3f}"
        return f"{line[name]:.3f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"

    figures = ("weak eval d'", "weak eval lwlrap", "strong eval d'", "strong eval lwlrap")
    header = ("training set", "mu", "start", "step", *figures, *(f"paper: {f}" for f in figures))
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * 3 + "---:|" * (len(header) - 3),
    ]
    for (_, line), mark in zip(table.iterrows(), table_notes.marks(table), strict=True):
        if begins_beyond(table, line["row"]):
            lines.append(f"| **{BEYOND_TITLE}** |" + " |" * (len(header) - 1))
        cells = [
            line["training_set"] + (f" [{mark}]" if mark else ""),
            "" if pd.isna(line["mu"]) else f"{line['mu']:g}",
            table_notes.start_in_words(line["start"]),
            line["chosen_by"] if pd.isna(line["step"]) else str(line["step"]),
            *(cell(line, f"{s}_{m}") for s in SETS for m in METRICS),
            *(paper_figure(line, f"{s}_{m}") for s in SETS for m in METRICS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    intervals = [f"{s}_{m}_low" for s in SETS for m in METRICS]
    legend = (
        "The paper's columns are its own figures, measured on AudioSet with ResNet-50; they are "
        "not a target for this run."
    )
    if table[intervals].notna().any(axis=None):
        legend = f"In brackets: 95% intervals over clips. {legend}"
    below = [legend, *table_notes.notes(table), orders_sentence(orders(table))]
    return "\n".join([*lines, "", *filter(None, below)]) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    """Renders Table 1 as a LaTeX tabular (booktabs), with intervals and the paper's figures.

    By hand for the same reason as `to_markdown`.

    Args:
      table: see `tables.table1`.
    """

    def number(value: float) -> str:
        return f"{value:.2f}".replace("-", "$-$")  # a hyphen in text is not a minus

    def cell(line: pd.Series, name: str) -> str:
        value, paper = line[name], line[f"paper_{name}"]
        bounds = [line[f"{name}_low"], line[f"{name}_high"]]
        parts = ["--" if np.isnan(value) else number(value)]
        if not np.isnan([value, *bounds]).any():
            parts.append(rf"{{\scriptsize [{', '.join(map(number, bounds))}]}}")
        return " ".join([*parts, *([] if np.isnan(paper) else [f"({number(paper)})"])])

    lines = [
        "% In brackets 95% intervals over clips; in parentheses the paper's own figures,",
        "% measured on AudioSet with ResNet-50. Needs the package booktabs.",
        r"\begin{tabular}{lcccc}",
        r"\toprule",
        r" & \multicolumn{2}{c}{Weak eval} & \multicolumn{2}{c}{Strong eval} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
        r"Training set & $d'$ & lwlrap & $d'$ & lwlrap \\",
        r"\midrule",
    ]
    notes = []
    for (_, line), mark in zip(table.iterrows(), table_notes.marks(table), strict=True):
        if begins_beyond(table, line["row"]):
            lines += [r"\midrule", rf"\multicolumn{{5}}{{l}}{{\emph{{{BEYOND_TITLE}}}}} \\"]
        cells = [cell(line, f"{set_name}_{metric}") for set_name in SETS for metric in METRICS]
        raised = rf"\textsuperscript{{{mark}}}" if mark else ""
        lines.append(" & ".join([_latex(line["training_set"]) + raised, *cells]) + r" \\")
        if mark:
            text = f"{raised} Measured otherwise: {_latex(line['not_comparable'])}."
            notes.append(rf"\multicolumn{{5}}{{l}}{{\footnotesize {text}}} \\")
    return "\n".join([*lines, r"\bottomrule", *notes, r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda match: words.get(match[0], "\\" + match[0]), text)
