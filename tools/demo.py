"""Runs the paper's whole experiment on the embedded corpus, in under 10 minutes on 2 cores.

Makes the corpus, converts it to TFRecords, trains the six models of Table 1, evaluates every
checkpoint, and writes the table and the figures. An interrupted demo continues where it stopped.
"""

from absl import flags

from audioset_strong.core import cli

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "demo_output", "Directory that everything is written to."
)
_SIZE = flags.DEFINE_enum(
    "size", "full", ["full", "small"], "full, or small: a quick run of a few steps."
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
    print(f"Table:       {report / 'table1.csv'} and table1.md")
    print("Figures:     " + ", ".join(str(path) for path in sorted(report.glob("*.png"))))
    print(f"TensorBoard: tensorboard --logdir {report.parent / 'runs'}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
