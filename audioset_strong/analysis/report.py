"""The report of an experiment: Table 1 and its figures, from the workdirs of its runs."""

import pathlib

from audioset_strong import errors
from audioset_strong.analysis import drawing, figures, page, tables

_CAPTIONS = {
    "table1": "Table 1 as a picture",
    "checkpoints": "Every checkpoint; rings mark the selected ones",
    "per_class_weak_eval": "Weak eval by class: before and after fine-tuning",
    "per_class_strong_eval": "Strong eval by class: before and after fine-tuning",
}


def write(runs_dir: str, output_dir: str) -> list[pathlib.Path]:
    """Writes Table 1 (CSV, Markdown, LaTeX), the figures, and index.html with everything in it.

    Args:
      runs_dir: holds the evaluated workdirs, named like the rows' gin files.
      output_dir: created where it does not exist.

    Returns:
      The files written.

    Raises:
      errors.InputError: no evaluated run, or a directory that cannot be written.
    """
    runs = tables.read_runs(runs_dir)
    out = pathlib.Path(output_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
        table = tables.table1(runs)
        written = [out / f"table1.{suffix}" for suffix in ("csv", "md", "tex")]
        table.to_csv(written[0], index=False)
        written[1].write_text(tables.to_markdown(table))
        written[2].write_text(tables.to_latex(table))
        drawn = {"table1": figures.table1(runs), "checkpoints": figures.checkpoints(runs)}
        by_name = {run.row.name: run for run in runs}
        if "weak_1_8m" in by_name and "plus_strong" in by_name:
            for set_name in tables.SETS:
                drawn[f"per_class_{set_name}"] = figures.per_class(
                    by_name["weak_1_8m"], by_name["plus_strong"], set_name
                )
        pictures = {name: out / f"{name}.png" for name in drawn}
        for name, figure in drawn.items():
            drawing.save(figure, pictures[name])
        captioned = {_CAPTIONS[name]: path for name, path in pictures.items()}
        index = out / "index.html"
        index.write_text(page.render(runs, table, captioned))
        written += [*pictures.values(), index]
    except OSError as error:
        raise errors.InputError(f"cannot write to {out}: {error.strerror}") from error
    return written
