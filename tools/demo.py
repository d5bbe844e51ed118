"""Runs the paper's whole experiment on the embedded corpus, in under 10 minutes on 2 cores.

Makes the corpus, converts it to TFRecords, trains the six models of Table 1, evaluates every
checkpoint, and writes the table and the figures. An interrupted demo continues where it stopped.

Sizes:
  small     every stage runs for a few steps; nothing is learnt
  standard  the six models
  full      the six models with three seeds, the share mu of strong and diffuse examples picked from
            a sweep, and Fig. 3; under an hour on 2 cores
"""

import pathlib
import sys

from absl import flags

from audioset_strong.core import choices, cli

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "demo_output", "Directory that everything is written to."
)
_SIZE = flags.DEFINE_enum(
    "size", choices.STANDARD, choices.DEMO_SIZES, "How much of the experiment is run, see above."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the corpus and of the training.", lower_bound=0)
_MAX_PARALLEL = flags.DEFINE_integer(
    "max_parallel", 2, "Models trained at a time, one core each.", lower_bound=1
)


def main(argv: list[str]) -> None:
    """Runs the stages, then prints Table 1 and where to find everything."""
    del argv
    from audioset_strong.experiments import demo

    report = demo.run(
        _OUTPUT_DIR.value, _SIZE.value, seed=_SEED.value, max_parallel=_MAX_PARALLEL.value
    )
    print((report / "table1.md").read_text())
    print(demo.in_words(report, _SIZE.value))
    print()
    runs, scripts = report.parent / "runs", pathlib.Path(sys.executable).parent
    print(f"Look at it:  {report / 'index.html'}; {scripts}/tensorboard --logdir {runs}")
    command = scripts / "audioset_strong"
    print(f"Try it:      {command} predict --model={runs / 'plus_strong'} RECORDING")
    print(f"Go on:       {command}, for all commands; {_tutorial()}")


def _tutorial() -> str:
    """Where to read on: a clone has the documentation, an installed wheel has the help texts."""
    path = pathlib.Path(cli.__file__).parents[2] / "docs" / "tutorial.md"
    if path.exists():
        return f"{path}, for your own recordings"
    return "convert --help, for your own recordings"


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
