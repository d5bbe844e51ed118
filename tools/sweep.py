"""Trains and evaluates a model at every point of a grid of gin bindings.

Example, the mu sweep of section 4.1 with three seeds:
  sweep.py --output_dir=runs/plus_strong --data_dir=data --gin_file=table1/plus_strong.gin \\
      --init_from=runs/weak_1_8m --vary='weak_strong_mixture.mu = 0.0, 0.2, 0.4, 0.6, 0.8, 1.0' \\
      --vary='train.seed = 0, 1, 2' --validation_data=data/train_strong_validation \\
      --eval_data=data/eval

Every point has a workdir in OUTPUT_DIR/runs; what is done is not done again, and points may be
added later. The best point on the validation data goes to OUTPUT_DIR/selection.json, all results to
results.csv, curves to PNG files and TensorBoard's HParams. report.py takes OUTPUT_DIR for a row of
Table 1. With --print_commands nothing runs: take the printed lines to a cluster, then call this
again without it, with the same flags, to collect.
"""

import shlex

from absl import flags

from audioset_strong.core import cli

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the sweep.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As train.py's.", required=True)
_VARY = flags.DEFINE_multi_string(
    "vary", [], "Binding and values, 'weak_strong_mixture.mu = 0.0, 0.5, 1.0'; repeated for a grid."
)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "As train.py's; may be repeated.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "As train.py's; may be repeated.")
_INIT_FROM = flags.DEFINE_string("init_from", None, "As train.py's.")
_EVAL_DATA = flags.DEFINE_multi_string("eval_data", [], "As evaluate.py's; may be repeated.")
_VALIDATION_DATA = flags.DEFINE_multi_string(
    "validation_data", [], "As evaluate.py's; may be repeated. Points are compared on it."
)
_METRIC = flags.DEFINE_string(
    "metric", "strong_validation/d_prime", "By which checkpoints and points are picked."
)
_MAX_PARALLEL = flags.DEFINE_integer("max_parallel", 1, "Runs at a time.", lower_bound=1)
_PRINT_COMMANDS = flags.DEFINE_bool("print_commands", False, "Print the command lines and end.")


def main(argv: list[str]) -> None:
    """Runs the sweep, draws its curves and says which point is best."""
    del argv
    from audioset_strong.experiments import sweeps

    sweep = sweeps.Sweep(
        output_dir=_OUTPUT_DIR.value,
        vary=sweeps.parse_vary(_VARY.value),
        data_dir=_DATA_DIR.value,
        gin_files=tuple(_GIN_FILE.value),
        gin_params=tuple(_GIN_PARAM.value),
        init_from=_INIT_FROM.value,
        eval_data=tuple(_EVAL_DATA.value),
        validation_data=tuple(_VALIDATION_DATA.value),
        metric=_METRIC.value,
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
    print(f"{sweep.metric} {best['value']:.4f}")
    print("\n".join(str(path) for path in written))
    print(f"tensorboard --logdir {_OUTPUT_DIR.value}/hparams")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
