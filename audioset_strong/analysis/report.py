"""The report of an experiment: Table 1, sweeps and figures, from the workdirs of the runs."""

from collections.abc import Sequence

import matplotlib.figure
import pandas as pd

from audioset_strong.analysis import figures, page, sweep_figures, tables
from audioset_strong.core import drawing, files
from audioset_strong.evaluation import eval_metrics

_BEFORE, _AFTER = "weak_1_8m", "plus_strong"  # the rows that are compared class by class


def write(runs_dir: str, output_dir: str, *, sweep_dirs: Sequence[str] = ()) -> list[files.Place]:
    """Writes Table 1 (CSV, Markdown, LaTeX), the figures, and index.html with everything in it.

    Args:
      runs_dir: holds the evaluated workdirs, named like the rows' gin files.
      output_dir: created where it does not exist.
      sweep_dirs: directories of finished sweeps. Those over
        `weak_strong_mixture.strong_video_fraction` give fig3.png, those over
        `weak_strong_mixture.mu` give mu_sweep.png, and so on; the points of each figure are written
        to a CSV file of the same name.

    Returns:
      The files written.

    Raises:
      errors.InputError: there is no evaluated run, a sweep directory is not that of a sweep, or
        the report cannot be written. The first two are found before anything is written.
    """
    runs = tables.read_runs(runs_dir)
    sweeps = sweep_figures.read(sweep_dirs)
    table = tables.table1(runs)
    texts = _texts(table, tables.separate_best(runs))
    drawn = _run_figures(runs)
    for group in _by_figure(sweeps):
        baselines = [run for run in runs if run.row.name in sweep_figures.BASELINES]
        picture = _sweep_picture(group, baselines)
        drawn[picture] = sweep_figures.draw(group, baselines)
        texts[f"{picture.name}.csv"] = _points(group).to_csv(index=False)
    class_drawn = _class_figures(runs)
    out = files.place(output_dir)
    with files.writing(out):
        files.make_directory(out)
        for name, text in texts.items():
            files.write_text(out / name, text)
        for picture, figure in (drawn | class_drawn).items():
            drawing.save(figure, out / f"{picture.name}.png")
        html = page.render(
            runs,
            table,
            sweeps=sweeps,
            pictures=list(drawn),
            class_pictures=list(class_drawn),
            directory=out,
        )
        files.write_text(out / "index.html", html)
    names = [*texts, *(f"{picture.name}.png" for picture in (*drawn, *class_drawn)), "index.html"]
    return [out / name for name in names]


def _texts(table: pd.DataFrame, best: pd.DataFrame) -> dict[str, str]:
    """The tables as text, by file name."""
    texts = {
        "table1.csv": table.to_csv(index=False),
        "table1.md": tables.to_markdown(table),
        "table1.tex": tables.to_latex(table),
    }
    if len(best):
        texts["best_checkpoints.csv"] = best.to_csv(index=False)
    return texts


def _run_figures(
    runs: Sequence[tables.EvaluatedRun],
) -> dict[page.Picture, matplotlib.figure.Figure]:
    return {
        page.Picture(
            "table1",
            "Table 1 as a picture",
            "Bars are 95% bootstrap intervals over clips, diamonds the paper's own d'.",
        ): figures.table1(runs),
        page.Picture(
            "checkpoints", "Every checkpoint", "Rings mark the checkpoints that are in the table."
        ): figures.checkpoints(runs),
    }


def _class_figures(
    runs: Sequence[tables.EvaluatedRun],
) -> dict[page.Picture, matplotlib.figure.Figure]:
    by_name = {run.row.name: run for run in runs}
    if _BEFORE not in by_name or _AFTER not in by_name:
        return {}
    before, after = by_name[_BEFORE], by_name[_AFTER]

    def known(run: tables.EvaluatedRun, set_name: str) -> bool:
        return set_name in run.per_class and bool(run.per_class[set_name]["d_prime"].notna().any())

    return {
        page.Picture(
            f"per_class_{set_name}",
            f"{eval_metrics.display_name(set_name)} by class: before and after fine-tuning",
            "Classes in order of the change in d', shown by the grey lines.",
        ): figures.per_class(before, after, set_name=set_name)
        for set_name in tables.SETS
        if known(before, set_name) and known(after, set_name)
    }


def _points(sweeps: Sequence[sweep_figures.SweepResults]) -> pd.DataFrame:
    """The points of the curves."""
    points = pd.concat(
        [sweep_figures.summarise(each.table).assign(sweep=each.title) for each in sweeps]
    )
    points = points[points["metric"].isin(tables.METRICS)]
    last = ["set", "metric", "mean", "std", "seeds"]
    return points[["sweep", *points.columns.drop(["sweep", *last]), *last]]


def _by_figure(
    sweeps: Sequence[sweep_figures.SweepResults],
) -> list[list[sweep_figures.SweepResults]]:
    """Groups the sweeps that share a figure; those without a figure are left out."""
    names = dict.fromkeys(each.figure_name for each in sweeps if each.figure_name)
    return [[each for each in sweeps if each.figure_name == name] for name in names]


def _sweep_picture(
    sweeps: Sequence[sweep_figures.SweepResults], baselines: Sequence[tables.EvaluatedRun]
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
