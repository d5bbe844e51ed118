"""The report of an experiment: Table 1, sweeps and figures, from the workdirs of the runs."""

import itertools
from collections.abc import Sequence

import matplotlib.figure
import pandas as pd
from absl import logging

from audioset_strong.analysis import (
    comparison_figures,
    comparisons,
    figures,
    page,
    paper_table,
    sweep_figures,
    sweep_optima,
    sweep_tables,
    table_notes,
    table_texts,
    tables,
)
from audioset_strong.core import drawing, errors, files
from audioset_strong.evaluation import eval_metrics


def write(
    runs_dir: str, output_dir: str, *, sweep_dirs: Sequence[str] = (), compare: Sequence[str] = ()
) -> list[files.Place]:
    """Writes Table 1 (CSV, Markdown, LaTeX), the figures, and index.html with everything in it.

    Args:
      runs_dir: holds the evaluated workdirs, named like the rows' gin files.
      output_dir: created where it does not exist.
      sweep_dirs: directories of finished sweeps. The selected point of a sweep stands in the row
        that its directory is named like, see `sweep_tables.rows_of_table1`. Sweeps over
        `weak_strong_mixture.strong_video_fraction` give fig3.png, those over
        `weak_strong_mixture.mu` give mu_sweep.png, and so on; the points of each figure are written
        to a CSV file of the same name, and where each metric is best to <setting>_sweep_optima.csv.
      compare: pairs of rows to compare, like "plus_strong,weak_1_8m"; by default the paper's
        (section 4.2), and each row beyond the paper with its baseline. All pairs are in
        comparisons.csv.

    Returns:
      The files written.

    Raises:
      errors.InputError: there is no evaluated run, a sweep directory is not that of a sweep, a
        pair is not one of evaluated rows, or the report cannot be written. All but the last are
        found before anything is written.
    """
    sweeps = sweep_tables.read(sweep_dirs)
    runs = _read_runs(runs_dir, sweeps)
    table = tables.table1(runs)
    for sentence in table_notes.not_comparable(table):
        logging.warning("%s", sentence)
    pairs = comparisons.parse_pairs(compare, runs)
    compared = comparisons.compare(runs_dir, runs, pairs=pairs)
    texts = _texts(table, tables.separate_best(runs), paper_table.orders(table))
    texts |= _comparison_texts(compared)
    drawn = _run_figures(runs)
    if len(compared.shown()):
        drawn[
            page.Picture(
                "comparisons",
                "Differences between rows",
                comparisons.legend(compared),
            )
        ] = comparison_figures.differences(compared)
    for group in _by_figure(sweeps):
        baselines = _baselines(runs, group)
        picture = _sweep_picture(group, baselines)
        drawn[picture] = sweep_figures.draw(group, baselines)
        texts[f"{picture.name}.csv"] = _points(group).to_csv(index=False)
        if sweep_optima.has_optima(group[0]):
            best = pd.concat([sweep_optima.optima(each) for each in group])
            texts[f"{picture.name}_optima.csv"] = best.to_csv(index=False)
    class_drawn = _class_figures(compared, pairs or compared.pairs[:1])
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
            compared=compared,
            sweeps=sweeps,
            optima=[group for group in _by_figure(sweeps) if sweep_optima.has_optima(group[0])],
            pictures=list(drawn),
            class_pictures=list(class_drawn),
            directory=out,
        )
        files.write_text(out / "index.html", html)
    names = [*texts, *(f"{picture.name}.png" for picture in (*drawn, *class_drawn)), "index.html"]
    return [out / name for name in names]


def _read_runs(
    runs_dir: str, sweeps: Sequence[sweep_tables.SweepResults]
) -> list[tables.EvaluatedRun]:
    """The runs of Table 1, some of them those that sweeps selected."""
    chosen = sweep_tables.rows_of_table1(sweeps, runs_dir)
    runs = tables.read_runs(runs_dir, sweeps=chosen)
    missing = chosen.keys() - {run.row.name for run in runs}
    if missing:
        directory = chosen[min(missing)]
        raise errors.InputError(
            f"--sweep_dir={directory}: the workdir of its selected point has no results; copy the "
            "sweep with its runs/"
        )
    return runs


def _texts(table: pd.DataFrame, best: pd.DataFrame, orders: pd.DataFrame) -> dict[str, str]:
    """The tables as text, by file name."""
    texts = {
        "table1.csv": table.to_csv(index=False),
        "table1.md": table_texts.to_markdown(table),
        "table1.tex": table_texts.to_latex(table),
    }
    if len(orders):
        texts["paper_orders.csv"] = orders.to_csv(index=False)
    if len(best):
        texts["best_checkpoints.csv"] = best.to_csv(index=False)
    return texts


def _comparison_texts(compared: comparisons.Comparisons) -> dict[str, str]:
    """The compared rows as text, by file name."""
    texts = {
        f"classes_{'_'.join(pair)}_{set_name}.csv": classes.to_csv(index=False)
        for (pair, set_name), classes in compared.classes.items()
        if classes["p_value"].notna().any()
    }
    if len(compared.table):
        texts["comparisons.csv"] = compared.table.to_csv(index=False)
    if compared.pairs:
        texts["comparisons.md"] = comparisons.to_markdown(compared)
    return texts


def _run_figures(
    runs: Sequence[tables.EvaluatedRun],
) -> dict[page.Picture, matplotlib.figure.Figure]:
    return {
        page.Picture(
            "table1",
            "Table 1 as a picture",
            "Bars are 95% intervals over clips, diamonds the paper's own figures.",
        ): figures.table1(runs),
        page.Picture(
            "checkpoints", "Every checkpoint", "Rings mark the checkpoints that are in the table."
        ): figures.checkpoints(runs),
    }


def _class_figures(
    compared: comparisons.Comparisons, pairs: Sequence[comparisons.Pair]
) -> dict[page.Picture, matplotlib.figure.Figure]:
    """The classes of some pairs: of the first one under the names that the sets have."""
    drawn = {}
    for pair, set_name in itertools.product(pairs, tables.SETS):
        classes = compared.classes.get((pair, set_name))
        if classes is None:
            continue
        name = f"per_class_{set_name}" + ("" if pair == pairs[0] else f"_{'_'.join(pair)}")
        first, second = (paper_table.TITLES[each] for each in pair)
        tested = classes["p_value"].notna().sum()
        caption = "Classes in order of the change in d', shown by the lines."
        if tested:
            caption += (
                f" Coloured: classes that gain or lose beyond chance, of {tested} that could be "
                "tested. At most 5% of them are expected to be there by chance."
            )
        title = f"{eval_metrics.display_name(set_name)} by class: {first} over {second}"
        figure = comparison_figures.per_class(classes, pair, set_name=set_name)
        drawn[page.Picture(name, title, caption)] = figure
    return drawn


def _points(sweeps: Sequence[sweep_tables.SweepResults]) -> pd.DataFrame:
    """The points of the curves."""
    points = pd.concat(
        [
            sweep_tables.summarise(sweep_tables.shown(each.table)).assign(sweep=each.title)
            for each in sweeps
        ]
    )
    last = ["set", "metric", "mean", "std", "seeds"]
    return points[["sweep", *points.columns.drop(["sweep", *last]), *last]]


def _by_figure(
    sweeps: Sequence[sweep_tables.SweepResults],
) -> list[list[sweep_tables.SweepResults]]:
    """Groups the sweeps that share a figure; those without a figure are left out."""
    names = dict.fromkeys(each.figure_name for each in sweeps if each.figure_name)
    return [[each for each in sweeps if each.figure_name == name] for name in names]


def _baselines(
    runs: Sequence[tables.EvaluatedRun], sweeps: Sequence[sweep_tables.SweepResults]
) -> list[tables.EvaluatedRun]:
    """The runs that curves are compared with; outside Fig. 3 none that has a curve itself."""
    found = [run for run in runs if run.row.name in sweep_figures.BASELINES]
    if sweeps[0].figure_name == sweep_tables.FIG3:
        return found
    return [run for run in found if run.row.name not in {each.row for each in sweeps}]


def _sweep_picture(
    sweeps: Sequence[sweep_tables.SweepResults], baselines: Sequence[tables.EvaluatedRun]
) -> page.Picture:
    seeds = pd.concat([sweep_tables.summarise(each.table)["seeds"] for each in sweeps])
    least, most = seeds.min(), seeds.max()
    counted = f"{most}" if least == most else f"{least} to {most}"
    caption = f"Means over seeds ({counted} at each point); error bars are standard deviations."
    if baselines:
        caption += f" Dashed: {' and '.join(run.row.title for run in baselines)} of Table 1."
    name = sweeps[0].figure_name
    if name == sweep_tables.FIG3:
        title = "Fig. 3: how many strong labels are needed"
        caption = f"d' and lwlrap against the share of strongly labelled clips. {caption}"
    else:
        setting = sweep_tables.short(sweeps[0].axis)
        title = f"The sweep of {setting}"
        picked = sweep_optima.selected_by(sweeps)
        caption = (
            f"d' and lwlrap against {setting}. A star marks the best point of each curve, on the "
            f"set of its panel; a ring the point that was selected by {picked}. {caption}"
        )
    return page.Picture(name, title, caption)
