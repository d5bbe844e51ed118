"""Trains and evaluates a model at every point of a grid of gin bindings.

Example, the mu sweep of section 4.1 with three seeds:
  sweep.py --output_dir=sweeps/plus_strong --data_dir=data --gin_file=table1/plus_strong.gin \\
      --init_from=runs/weak_1_8m --vary='weak_strong_mixture.mu = 0.0, 0.2, 0.4, 0.6, 0.8, 1.0' \\
      --vary='train.seed = 0, 1, 2' --validation_data=data/train_strong_validation \\
      --eval_data=data/eval

Every point has a workdir in OUTPUT_DIR/runs. What is finished is not repeated, and points may be
added later. The best point on the validation data is written to OUTPUT_DIR/selection.json, all
results to results.csv, curves to PNG files and for TensorBoard's HParams tab. report.py accepts
OUTPUT_DIR in place of the workdir of a row of Table 1.

With --print_commands nothing is run: start the printed command lines on a cluster, then call this
again with the same flags, but without this one, to collect the results.
"""

import shlex

from absl import flags

from audioset_strong.core import cli

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the sweep.", required=True)
_DATA_DIR = cli.data_dir_flag()
_VARY = flags.DEFINE_multi_string(
    "vary",
    [],
    "Binding and values, 'weak_strong_mixture.mu = 0.0, 0.5, 1.0'; repeat it for a grid.",
)
_GIN = cli.gin_flags()
_INIT_FROM = flags.DEFINE_string("init_from", None, "See train.py.")
_EVAL_DATA = flags.DEFINE_multi_string("eval_data", [], "See evaluate.py; may be repeated.")
_VALIDATION_DATA = flags.DEFINE_multi_string(
    "validation_data", [], "See evaluate.py; may be repeated. Points are compared on it."
)
_METRIC = flags.DEFINE_string(
    "metric", "strong_validation/d_prime", "Metric by which checkpoints and points are selected."
)
_SELECT_ON = flags.DEFINE_string("select_on", None, "See evaluate.py.")
_METADATA = cli.metadata_flags("framed_tsv", descriptions={"framed_tsv": "See evaluate.py"})
_MAX_PARALLEL = flags.DEFINE_integer("max_parallel", 1, "Number of runs at a time.", lower_bound=1)
_PRINT_COMMANDS = flags.DEFINE_bool("print_commands", False, "Print the command lines and exit.")


def main(argv: list[str]) -> None:
    """Runs the sweep, draws its curves and prints the best point."""
    del argv
    from audioset_strong.experiments import sweeps

    gin_files, gin_params = _GIN()
    sweep = sweeps.Sweep(
        output_dir=_OUTPUT_DIR.value,
        vary=sweeps.parse_vary(_VARY.value),
        data_dir=_DATA_DIR.value,
        gin_files=tuple(gin_files),
        gin_params=tuple(gin_params),
        init_from=_INIT_FROM.value,
        eval_data=tuple(_EVAL_DATA.value),
        validation_data=tuple(_VALIDATION_DATA.value),
        metric=_METRIC.value,
        framed_tsvs=tuple(_METADATA()["framed_tsvs"]),
        select_on=_SELECT_ON.value,
    )
    if _PRINT_COMMANDS.value:
        for job in sweeps.commands(sweep):
            print(shlex.join(job.command))
        return
    sweeps.check_bindings(sweep)
    table = sweeps.run(sweep, _MAX_PARALLEL.value)
    written = sweeps.draw(sweep, table)
    sweeps.write_hparams(sweep, table)
    best = sweeps.select(sweep, table)
    print(
        f"best of {table['run'].nunique()} runs: {best['workdir']}, step {best['step']}, ", end=""
    )
    print(f"{best['set']}/{best['metric']} {best['value']:.4f}")
    print("\n".join(str(path) for path in written))
    print(f"tensorboard --logdir {_OUTPUT_DIR.value}/hparams")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
