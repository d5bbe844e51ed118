"""The report as one HTML page that needs no other file: tables, figures, classes, configs.

`templates/report.html` is the page; this module computes what goes into it. jinja2 escapes every
text, so that a class may be called "<b>".
"""

import base64
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import jinja2
import markupsafe
import pandas as pd

from audioset_strong.analysis import (
    comparisons,
    figures,
    paper_table,
    sweep_optima,
    sweep_tables,
    table_notes,
    table_texts,
    tables,
)
from audioset_strong.core import files

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_CLASS_COLUMNS = {
    "display_name": "class",
    "positives": "positives",
    "negatives": "negatives",
    "negatives_explicit": "of them explicit",
    "d_prime": "d'",
    "auc": "AUC",
    "average_precision": "AP",
    "d_prime_complementary": "d' (complementary negatives)",
    "auc_complementary": "AUC",
    "average_precision_complementary": "AP",
    "lwlrap": "lwlrap",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
      name: of its PNG file, without the extension.
      title: the heading above it.
      caption: the text below it.
    """

    name: str
    title: str
    caption: str


def render(
    runs: Sequence[tables.EvaluatedRun],
    table: pd.DataFrame,
    *,
    compared: comparisons.Comparisons,
    sweeps: Sequence[sweep_tables.SweepResults],
    optima: Sequence[Sequence[sweep_tables.SweepResults]],
    pictures: Sequence[Picture],
    class_pictures: Sequence[Picture],
    directory: files.Place,
) -> str:
    """Renders the page.

    Args:
      runs: the evaluated runs.
      table: see `tables.table1`.
      compared: the rows that are compared.
      sweeps: the sweeps that the report covers.
      optima: those whose best points are told, by the figure that they share.
      pictures: figures of the runs and the sweeps, in the order of the page.
      class_pictures: figures of the classes.
      directory: holds the PNG files.

    Returns:
      The HTML text.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html").render(
        table1=[
            _table1_row(line, mark)
            | {
                "above": paper_table.BEYOND_TITLE
                if table_texts.begins_beyond(table, line["row"])
                else ""
            }
            for (_, line), mark in zip(table.iterrows(), table_notes.marks(table), strict=True)
        ],
        notes=" ".join(table_notes.notes(table)),
        orders=paper_table.orders_sentence(paper_table.orders(table)),
        comparisons=comparisons.lines(compared),
        comparison_notes=[
            *([comparisons.legend(compared)] if len(compared.shown()) else []),
            *compared.notes,
        ],
        separate_best=_separate_best(tables.separate_best(runs)),
        pictures=[_figure(picture, directory) for picture in pictures],
        optima=[_optima(group) for group in optima],
        sweeps=[_sweep(results) for results in sweeps],
        class_pictures=[_figure(picture, directory) for picture in class_pictures],
        classes=[_classes(run, set_name) for run in runs for set_name in run.per_class],
        runs=runs,
    )


def _table1_row(line: pd.Series, mark: str) -> dict[str, object]:
    names = [f"{s}_{m}" for s, m in itertools.product(tables.SETS, tables.METRICS)]
    return {
        "title": line["training_set"],
        "mark": mark,
        "mu": "" if pd.isna(line["mu"]) else format(line["mu"], "g"),
        "start": table_notes.start_in_words(line["start"]),
        "step": line["chosen_by"] if pd.isna(line["step"]) else line["step"],
        "ours": [_value(line, name) for name in names],
        "paper": [table_texts.paper_figure(line, name) for name in names],
    }


def _value(line: pd.Series, name: str) -> dict[str, str]:
    """A metric and its interval, as text."""
    if pd.isna(line[name]):
        return {"text": "-", "interval": ""}
    low, high = line[f"{name}_low"], line[f"{name}_high"]
    interval = "" if pd.isna(low) else f"{low:.2f} to {high:.2f}"
    return {"text": f"{line[name]:.3f}", "interval": interval}


def _separate_best(best: pd.DataFrame) -> markupsafe.Markup | None:
    if best.empty:
        return None
    shown = best.assign(
        set=best["set"].str.replace("_", " "), metric=best["metric"].map(figures.METRIC_TITLES)
    )
    shown.columns = pd.Index(
        ["training set", "set", "metric", "best", "at step", "selected", "at step", "paper's best"]
    )
    return _to_html(shown)


def _figure(picture: Picture, directory: files.Place) -> dict[str, str]:
    png = files.read_bytes(directory / f"{picture.name}.png")
    return {
        "title": picture.title,
        "caption": picture.caption,
        "base64": base64.b64encode(png).decode(),
    }


def _optima(sweeps: Sequence[sweep_tables.SweepResults]) -> dict[str, str]:
    return {
        "title": f"The best {sweep_tables.short(sweeps[0].axis)} for each metric",
        "html": _to_html(sweep_optima.table(sweeps)),
        "note": sweep_optima.note(sweeps),
    }


def _sweep(results: sweep_tables.SweepResults) -> dict[str, object]:
    selected = results.selection
    metric = sweep_optima.selected_by([results])
    candidates = pd.DataFrame(selected["candidates"])
    as_given = {name: candidates[name].map(str) for name in results.bindings}
    shown = candidates.assign(**as_given).rename(
        columns={"mean": f"mean {metric}", "count": "seeds"} | _short_names(results.bindings)
    )
    over = f" over {sweep_tables.short(results.axis)}" if results.axis else ""
    return {
        "title": f"Sweep {results.title}{over}: the selected point",
        "chosen": f"{results.selected_run}, step {selected['step']}: "
        f"{metric} {selected['value']:.3f}",
        "rule": selected["rule"],
        "num_candidates": len(shown),
        "candidates": _to_html(shown),
    }


def _short_names(bindings: Sequence[str]) -> dict[str, str]:
    """Bindings without their modules, unless two of them would then be equal."""
    short = [sweep_tables.short(name) for name in bindings]
    return {k: v for k, v in zip(bindings, short, strict=True) if short.count(v) == 1}


def _classes(run: tables.EvaluatedRun, set_name: str) -> dict[str, str]:
    table = run.per_class[set_name]
    shown = table[[c for c in _CLASS_COLUMNS if c in table]].rename(columns=_CLASS_COLUMNS)
    title = f"{run.row.title}, {set_name.replace('_', ' ')}, step {run.step}"
    return {"title": title, "html": _to_html(shown)}


def _to_html(table: pd.DataFrame) -> markupsafe.Markup:
    # Safe: `to_html` escapes the cells and the header itself.
    html = table.to_html(index=False, border=0, na_rep="-", float_format="{:.3f}".format)
    return markupsafe.Markup(html)
