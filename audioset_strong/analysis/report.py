"""The report of an experiment: Table 1 and its figures, from the workdirs of its runs."""

import pathlib

from audioset_strong import errors
from audioset_strong.analysis import figures, tables


def write(runs_dir: str, output_dir: str) -> list[pathlib.Path]:
    """Writes table1.csv, table1.md and the figures.

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
        written = [out / "table1.csv", out / "table1.md"]
        table.to_csv(written[0], index=False)
        written[1].write_text(tables.to_markdown(table))
        drawn = {"table1": figures.table1(runs), "checkpoints": figures.checkpoints(runs)}
        by_name = {run.row.name: run for run in runs}
        if "weak_1_8m" in by_name and "plus_strong" in by_name:
            for set_name in tables.SETS:
                drawn[f"per_class_{set_name}"] = figures.per_class(
                    by_name["weak_1_8m"], by_name["plus_strong"], set_name
                )
        for name, figure in drawn.items():
            written.append(out / f"{name}.png")
            figures.save(figure, written[-1])
    except OSError as error:
        raise errors.InputError(f"cannot write to {out}: {error.strerror}") from error
    return written
