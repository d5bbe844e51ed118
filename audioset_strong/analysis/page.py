"""The report as one HTML page that needs no other file: tables, figures, classes, configs."""

import base64
import dataclasses
import html
import pathlib
from collections.abc import Sequence

import pandas as pd

from audioset_strong.analysis import figures, sweep_figures, tables

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 66rem; margin: 2rem auto;
       padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide, figure { overflow-x: auto; } figure { margin: 0; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; font-variant-numeric: tabular-nums; }
th { background: #f3f3f3; } td { background: #fff; }
tr:first-child th:first-child, td:first-child { text-align: left; position: sticky; left: 0; }
td:first-child { border-right: 1px solid #eee; }
th[colspan] { text-align: center; }
.interval, .note, figcaption { color: #595959; font-size: 0.85rem; }
.paper { color: #a04a80; }
img { width: 100%; min-width: 40rem; display: block; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; }
summary { cursor: pointer; margin: 0.4rem 0; }
.scroll { max-height: 30rem; overflow: auto; }
.scroll thead th { position: sticky; top: 0; z-index: 1; }
.scroll thead th:first-child { z-index: 2; }
.scroll th { white-space: normal; }
.classes td:first-child { white-space: normal; min-width: 8rem; max-width: 20rem; }
"""
_PER_CLASS = {
    "display_name": "class",
    "positives": "positives",
    "negatives": "negatives",
    "d_prime": "d'",
    "auc": "AUC",
    "average_precision": "AP",
    "lwlrap": "lwlrap",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
      name: of its PNG file, without the ending.
      title: the heading above it.
      caption: the text below it.
    """

    name: str
    title: str
    caption: str


def render(
    runs: Sequence[tables.Run],
    table: pd.DataFrame,
    sweeps: Sequence[sweep_figures.SweepResults],
    pictures: Sequence[Picture],
    class_pictures: Sequence[Picture],
    directory: pathlib.Path,
) -> str:
    """The page.

    Args:
      runs: the evaluated runs.
      table: what `tables.table1` returned.
      sweeps: those that the report tells of.
      pictures: of the runs and the sweeps, in their order.
      class_pictures: of the classes.
      directory: of the PNG files.
    """
    notes = html.escape(" ".join(tables.notes(table)), quote=False)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>audioset_strong: Table 1</title><style>{_STYLE}</style></head>
<body>
<h1>Weak, diffuse and strong labels: Table 1</h1>
<div class="wide">{_table1(table)}</div>
<p class="note">Grey: 95% bootstrap intervals over clips. The paper's columns are its own figures,
measured on AudioSet with ResNet-50; they are no target of this run. {notes}</p>
{_separate_best(tables.separate_best(runs))}
{"".join(_picture(picture, directory) for picture in pictures)}
{"".join(_sweep(results) for results in sweeps)}
{"".join(_picture(picture, directory) for picture in class_pictures)}
<h2>By class</h2>
{"".join(_classes(run, set_name) for run in runs for set_name in run.per_class)}
<h2>Configurations</h2>
{"".join(_config(run) for run in runs)}
</body>
</html>
"""


def _table1(table: pd.DataFrame) -> str:
    def ours(line: pd.Series, name: str) -> str:
        if pd.isna(line[name]):
            return "<td>-</td>"
        low, high = line[f"{name}_low"], line[f"{name}_high"]
        interval = "" if pd.isna(low) else f" <span class='interval'>{low:.2f} to {high:.2f}</span>"
        return f"<td>{line[name]:.3f}{interval}</td>"

    def paper(line: pd.Series, name: str) -> str:
        return "<td>-</td>" if pd.isna(line[name]) else f"<td class='paper'>{line[name]:.2f}</td>"

    rows = []
    for _, line in table.iterrows():
        step = line["chosen_by"] if pd.isna(line["step"]) else line["step"]
        rows.append(
            f"<tr><td>{html.escape(line['training_set'])}</td>"
            f"<td>{'' if pd.isna(line['mu']) else format(line['mu'], 'g')}</td><td>{step}</td>"
            + "".join(ours(line, f"{s}_{m}") for s in tables.SETS for m in tables.METRICS)
            + "".join(paper(line, f"paper_{s}_d_prime") for s in tables.SETS)
            + "</tr>"
        )
    return (
        "<table><tr><th rowspan=2>training set</th><th rowspan=2>mu</th><th rowspan=2>step</th>"
        "<th colspan=2>weak eval</th><th colspan=2>strong eval</th><th colspan=2>paper</th></tr>"
        "<tr><th>d'</th><th>lwlrap</th><th>d'</th><th>lwlrap</th><th>weak d'</th>"
        "<th>strong d'</th></tr>" + "\n".join(rows) + "</table>"
    )


def _separate_best(best: pd.DataFrame) -> str:
    if best.empty:
        return ""
    shown = best.assign(
        set=best["set"].str.replace("_", " "), metric=best["metric"].map(figures.METRIC_TITLES)
    )
    shown.columns = ["training set", "set", "metric", "best", "at step", "selected", "at step"]
    return f"""<h2>The best checkpoint for each metric by itself</h2>
<div class="wide">{_to_html(shown)}</div>
<p class="note">Best: of all checkpoints, chosen on the very set that it is measured on. Selected:
what the checkpoint in the table above reaches, which was chosen on validation data.</p>
"""


def _picture(picture: Picture, directory: pathlib.Path) -> str:
    title = html.escape(picture.title)
    png = base64.b64encode((directory / f"{picture.name}.png").read_bytes()).decode()
    return f"""<h2>{title}</h2>
<figure><img alt="{title}" src="data:image/png;base64,{png}"></figure>
<p class="note">{html.escape(picture.caption, quote=False)}</p>
"""


def _sweep(results: sweep_figures.SweepResults) -> str:
    selected = results.selection
    metric = f"{selected['set'].replace('_', ' ')} "
    metric += figures.METRIC_TITLES.get(selected["metric"], selected["metric"])
    candidates = pd.DataFrame(selected["candidates"])
    as_given = {name: candidates[name].map(str) for name in results.bindings}
    shown = candidates.assign(**as_given).rename(
        columns={"mean": f"mean {metric}", "count": "seeds"} | _short(results.bindings)
    )
    chosen = f"{results.selected_run}, step {selected['step']}: {metric} {selected['value']:.3f}"
    over = f" over {sweep_figures.short(results.axis)}" if results.axis else ""
    title = f"Sweep {results.title}{over}: the selected point"
    return f"""<h2>{html.escape(title)}</h2>
<p><strong>{html.escape(chosen, quote=False)}</strong>. Rule: {html.escape(selected["rule"])}.</p>
<details{" open" if len(shown) <= 12 else ""}><summary>{len(shown)} candidates, best first</summary>
<div class="scroll">{_to_html(shown)}</div></details>
"""


def _short(bindings: Sequence[str]) -> dict[str, str]:
    """Names without their modules, where these tell them apart."""
    short = [sweep_figures.short(name) for name in bindings]
    return {k: v for k, v in zip(bindings, short, strict=True) if short.count(v) == 1}


def _classes(run: tables.Run, set_name: str) -> str:
    table = run.per_class[set_name]
    shown = table[[c for c in _PER_CLASS if c in table]].rename(columns=_PER_CLASS)
    title = html.escape(f"{run.row.title}, {set_name.replace('_', ' ')}, step {run.step}")
    return f"""<details><summary>{title}</summary>
<div class="scroll classes">{_to_html(shown)}</div></details>
"""


def _config(run: tables.Run) -> str:
    title = html.escape(run.row.title)
    return f"<details><summary>{title}</summary><pre>{html.escape(run.config)}</pre></details>\n"


def _to_html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="-", float_format="{:.3f}".format)
