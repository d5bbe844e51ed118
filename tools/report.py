"""Writes Table 1 and its figures from the evaluated workdirs of an experiment.

Example:
  report.py --runs_dir=runs --output_dir=report

RUNS_DIR holds a workdir for each row, named like its gin file: weak_67k, diffuse_67k, strong_67k,
weak_1_8m, plus_diffuse, plus_strong, or the directory of a sweep.py of it; rows that are not there
stay empty. Written are table1.md, table1.csv, table1.tex, PNG figures, and index.html, a page with
all of it, the classes and the configurations.
"""

import pathlib

from absl import flags

from audioset_strong import cli

_RUNS_DIR = flags.DEFINE_string("runs_dir", None, "Directory of the workdirs.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the report goes.", required=True)


def main(argv: list[str]) -> None:
    """Writes the report and prints the table."""
    del argv
    from audioset_strong.analysis import report

    written = report.write(_RUNS_DIR.value, _OUTPUT_DIR.value)
    print((pathlib.Path(_OUTPUT_DIR.value) / "table1.md").read_text())
    print("\n".join(str(path) for path in written))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
