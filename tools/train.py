"""Trains one model from TFRecord datasets, or continues the run that the workdir holds.

Example, the Strong-67k row of Table 1:
  train.py --workdir=runs/strong_67k --data_dir=data --gin_file=table1/strong_67k.gin

Gin files are looked up in the working directory and in the project's gin folder. The directory of
the datasets is not part of a run and may change before the run continues. Checkpoints go to
WORKDIR/checkpoints, TensorBoard events to WORKDIR/train, and the facts of the run to
WORKDIR/run.json. Evaluate with evaluate.py, in another process, during the training or after it.
"""

from absl import flags

from audioset_strong.core import choices, cli

_WORKDIR = cli.workdir_flag()
_DATA_DIR = cli.data_dir_flag()
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Checkpoint, or workdir with a selected one, to fine-tune from."
)
_EXTEND = flags.DEFINE_bool(
    "extend", False, "Let a run that has begun, or is finished, have more steps than before."
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    choices.ONE_DEVICE,
    choices.STRATEGIES,
    "One device; all GPUs of this machine; one process per machine, which find each other by "
    "TF_CONFIG; TPUs.",
)
_TPU = flags.DEFINE_string("tpu", None, "Name or address of the TPU; by default this TPU VM's.")
_PROFILE_STEPS = flags.DEFINE_list(
    "profile_steps", None, "First and last step to profile for TensorBoard, like 100,110."
)
flags.register_validator(
    "profile_steps",
    lambda steps: steps is None or (len(steps) == 2 and all(step.isdigit() for step in steps)),
    "must be two steps, like 100,110",
)
_GIN = cli.gin_flags()


def main(argv: list[str]) -> None:
    """Parses the bindings and trains."""
    del argv
    # Imported here so that --help does not wait for TensorFlow.
    from audioset_strong.configuration import gin_files, training_bindings
    from audioset_strong.training import distribution, loop

    # First, so that workers can tell each other what is wrong.
    strategy = distribution.make(_STRATEGY.value, _TPU.value)
    with distribution.ending_together(strategy):
        config_text = gin_files.parse(*_GIN())
        run = training_bindings.training_run(_DATA_DIR.value)
    loop.train(
        _WORKDIR.value,
        run.sources,
        run.settings,
        front_end=run.front_end,
        augmentation=run.augmentation,
        stream=run.stream,
        framing_rule=run.framing_rule,
        init_from=_INIT_FROM.value,
        extend=_EXTEND.value,
        strategy=strategy,
        profile_steps=[int(step) for step in _PROFILE_STEPS.value or ()] or None,
        config_text=config_text,
    )


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
