"""Writes Table 1 and its figures from the evaluated workdirs of an experiment.

Example:
  report.py --runs_dir=runs --output_dir=report --sweep_dir=sweeps/plus_strong \\
      --sweep_dir=fig3/plus_strong --sweep_dir=fig3/plus_diffuse

RUNS_DIR contains a workdir for each row of Table 1, named like its gin file: weak_67k, diffuse_67k,
strong_67k, weak_1_8m, plus_diffuse, plus_strong. The directory of a sweep.py may take its place.
Rows without a workdir stay empty.

Each SWEEP_DIR, the --output_dir of a sweep.py, adds its curves and the list of its points. Its
selected point stands in the row that SWEEP_DIR is named like, such as sweeps/plus_strong, whatever
RUNS_DIR holds there. Sweeps over weak_strong_mixture.strong_video_fraction take no row; they are
drawn together as Fig. 3, those over weak_strong_mixture.mu as mu_sweep.png, with Weak-1.8M and
+Diffuse of the table as dashed lines.

Rows are compared pairwise, on the same clips: differences with 95% intervals, and the classes that
gain or lose beyond chance. Other seeds of a row, ROW-seed=N beside ROW or in its sweep, count too.

The report consists of table1.md, table1.csv and table1.tex, figures as PNG, their points and the
best checkpoint for each metric as CSV, comparisons.md and .csv, and index.html: a page with all of
this, the metrics of each class and the configurations.
"""

from absl import flags

from audioset_strong.core import cli

_RUNS_DIR = flags.DEFINE_string("runs_dir", None, "Directory of the workdirs.", required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Directory that the report is written to.", required=True
)
_SWEEP_DIR = flags.DEFINE_multi_string(
    "sweep_dir", [], "Directory of a sweep to include; may be repeated."
)
_COMPARE = flags.DEFINE_multi_string(
    "compare",
    [],
    "ROW,ROW: rows to compare, the second taken from the first; may be repeated. By default those "
    "that section 4.2 compares.",
)


def main(argv: list[str]) -> None:
    """Writes the report and prints its tables."""
    del argv
    from audioset_strong.analysis import report
    from audioset_strong.core import files

    written = report.write(
        _RUNS_DIR.value, _OUTPUT_DIR.value, sweep_dirs=_SWEEP_DIR.value, compare=_COMPARE.value
    )
    for name in ("table1.md", "comparisons.md"):
        if files.exists(files.place(_OUTPUT_DIR.value) / name):
            print(files.read_text(files.place(_OUTPUT_DIR.value) / name))
    print("\n".join(str(path) for path in written))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
