"""The report of an experiment: Table 1, sweeps and figures, from the workdirs of the runs."""

import pathlib
from collections.abc import Sequence

import matplotlib.figure
import pandas as pd

from audioset_strong.analysis import figures, page, sweep_figures, tables
from audioset_strong.core import drawing, errors
from audioset_strong.evaluation import eval_metrics

_BEFORE, _AFTER = "weak_1_8m", "plus_strong"  # the rows whose classes are compared


def write(runs_dir: str, output_dir: str, sweep_dirs: Sequence[str] = ()) -> list[pathlib.Path]:
    """Writes Table 1 (CSV, Markdown, LaTeX), the figures, and index.html with everything in it.

    Args:
      runs_dir: holds the evaluated workdirs, named like the rows' gin files.
      output_dir: created where it does not exist.
      sweep_dirs: of finished sweeps. Those over `weak_strong_mixture.strong_fraction` give fig3.png, those over
        `weak_strong_mixture.mu` mu_sweep.png, and so on; CSV files beside them hold the points.

    Returns:
      The files written.

    Raises:
      errors.InputError: no evaluated run, a directory that holds no sweep, or one that cannot be
        written; nothing is written then.
    """
    runs = tables.read_runs(runs_dir)
    sweeps = sweep_figures.read(sweep_dirs)
    table, best = tables.table1(runs), tables.separate_best(runs)
    texts = {
        "table1.csv": table.to_csv(index=False),
        "table1.md": tables.to_markdown(table),
        "table1.tex": tables.to_latex(table),
    }
    if len(best):
        texts["best_checkpoints.csv"] = best.to_csv(index=False)
    drawn = _run_figures(runs)
    for group in _together(sweeps):
        baselines = [run for run in runs if run.row.name in sweep_figures.BASELINES]
        picture = _sweep_picture(group, baselines)
        drawn[picture] = sweep_figures.draw(group, baselines)
        texts[f"{picture.name}.csv"] = _points(group).to_csv(index=False)
    class_drawn = _class_figures(runs)
    out = pathlib.Path(output_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text)
        for picture, figure in (drawn | class_drawn).items():
            drawing.save(figure, out / f"{picture.name}.png")
        rendered = page.render(runs, table, sweeps, list(drawn), list(class_drawn), out)
        (out / "index.html").write_text(rendered)
    except OSError as error:
        raise errors.InputError(f"cannot write to {out}: {error.strerror}") from error
    names = [*texts, *(f"{picture.name}.png" for picture in (*drawn, *class_drawn)), "index.html"]
    return [out / name for name in names]


def _run_figures(runs: Sequence[tables.Run]) -> dict[page.Picture, matplotlib.figure.Figure]:
    return {
        page.Picture(
            "table1",
            "Table 1 as a picture",
            "Bars are 95% bootstrap intervals over clips, diamonds the paper's own d'.",
        ): figures.table1(runs),
        page.Picture(
            "checkpoints", "Every checkpoint", "Rings mark the checkpoints that stand in the table."
        ): figures.checkpoints(runs),
    }


def _class_figures(runs: Sequence[tables.Run]) -> dict[page.Picture, matplotlib.figure.Figure]:
    by_name = {run.row.name: run for run in runs}
    if _BEFORE not in by_name or _AFTER not in by_name:
        return {}
    before, after = by_name[_BEFORE], by_name[_AFTER]

    def known(run: tables.Run, set_name: str) -> bool:
        return set_name in run.per_class and bool(run.per_class[set_name]["d_prime"].notna().any())

    return {
        page.Picture(
            f"per_class_{set_name}",
            f"{eval_metrics.title_of(set_name)} by class: before and after fine-tuning",
            "Classes in the order of the change of d', which the grey lines show.",
        ): figures.per_class(before, after, set_name)
        for set_name in tables.SETS
        if known(before, set_name) and known(after, set_name)
    }


def _points(sweeps: Sequence[sweep_figures.SweepResults]) -> pd.DataFrame:
    """What the curves show, as numbers."""
    points = pd.concat(
        [sweep_figures.summarise(each.table).assign(sweep=each.title) for each in sweeps]
    )
    points = points[points["metric"].isin(tables.METRICS)]
    last = ["set", "metric", "mean", "std", "seeds"]
    return points[["sweep", *points.columns.drop(["sweep", *last]), *last]]


def _together(
    sweeps: Sequence[sweep_figures.SweepResults],
) -> list[list[sweep_figures.SweepResults]]:
    """The sweeps that are drawn, those of one figure together."""
    names = dict.fromkeys(each.figure_name for each in sweeps if each.figure_name)
    return [[each for each in sweeps if each.figure_name == name] for name in names]


def _sweep_picture(
    sweeps: Sequence[sweep_figures.SweepResults], baselines: Sequence[tables.Run]
) -> page.Picture:
    seeds = pd.concat([sweep_figures.summarise(each.table)["seeds"] for each in sweeps])
    least, most = seeds.min(), seeds.max()
    counted = f"{most}" if least == most else f"{least} to {most}"
    caption = f"Means over seeds ({counted} at each point); error bars are standard deviations."
    if baselines:
        caption += f" Dashed: {' and '.join(run.row.title for run in baselines)} of Table 1."
    name = sweeps[0].figure_name
    if name == sweep_figures.FIG3:
        title = "Fig. 3: how many strong labels are needed"
        caption = f"d' and lwlrap against the share of strongly labelled clips. {caption}"
    else:
        setting = sweep_figures.short(sweeps[0].axis)
        title = f"The sweep of {setting}"
        caption = f"d' and lwlrap against {setting}; a ring marks the selected point. {caption}"
    return page.Picture(name, title, caption)
