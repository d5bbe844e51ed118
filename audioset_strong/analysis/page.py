"""The report as one HTML page that needs no other file: table, figures, classes, configs."""

import base64
import html
import pathlib
from collections.abc import Mapping, Sequence

import pandas as pd

from audioset_strong.analysis import tables
from audioset_strong.training import config

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 66rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th { background: #f3f3f3; position: sticky; top: 0; }
th[rowspan]:first-child, td:first-child { text-align: left; } th[colspan] { text-align: center; }
.interval, .note { color: #777; font-size: 0.85rem; }
.paper { color: #a04a80; }
img { max-width: 100%; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; }
summary { cursor: pointer; margin: 0.4rem 0; }
.classes { max-height: 30rem; overflow: auto; }
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


def render(
    runs: Sequence[tables.Run], table: pd.DataFrame, figures: Mapping[str, pathlib.Path]
) -> str:
    """The page.

    Args:
      runs: the evaluated runs.
      table: what `tables.table1` returned.
      figures: caption -> PNG file.
    """
    pictures = "\n".join(
        f"<h2>{html.escape(caption)}</h2>\n<img alt='{html.escape(caption)}' "
        f"src='data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}'>"
        for caption, path in figures.items()
    )
    notes = html.escape(" ".join(tables.without_explicit_negatives(table)), quote=False)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>audioset_strong: Table 1</title><style>{_STYLE}</style></head>
<body>
<h1>Weak, diffuse and strong labels: Table 1</h1>
<div class="wide">{_table1(table)}</div>
<p class="note">Grey: 95% bootstrap intervals over clips. The paper's columns are its own figures,
measured on AudioSet with ResNet-50; they are no target of this run. {notes}</p>
{pictures}
<h2>By class</h2>
{"".join(_classes(run, set_name) for run in runs for set_name in tables.SETS)}
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


def _classes(run: tables.Run, set_name: str) -> str:
    table = run.per_class(set_name)
    shown = table[[c for c in _PER_CLASS if c in table]].rename(columns=_PER_CLASS)
    body = shown.to_html(index=False, border=0, na_rep="-", float_format="{:.3f}".format)
    title = f"{run.row.title}, {set_name.replace('_', ' ')}, step {run.step}"
    return f"<details><summary>{title}</summary><div class='classes'>{body}</div></details>\n"


def _config(run: tables.Run) -> str:
    text = (run.workdir / config.CONFIG_FILE).read_text()
    title = html.escape(run.row.title)
    return f"<details><summary>{title}</summary><pre>{html.escape(text)}</pre></details>\n"
