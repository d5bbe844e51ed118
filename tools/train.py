"""Trains one model from TFRecord datasets, or resumes the run that the workdir holds.

Example, the Strong-67k row of Table 1:
  train.py --workdir=runs/strong_67k --data_dir=data --gin_file=table1/strong_67k.gin

Gin files are looked up from the working directory and in the project's gin folder. Checkpoints go
to WORKDIR/checkpoints, TensorBoard events to WORKDIR/train. Evaluate with evaluate.py, in another
process, while the training runs or after it.
"""

from absl import flags

from audioset_strong.core import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of this run.", required=True)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Directory of the datasets that the gin files name.", required=True
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Checkpoint, or workdir with a selected one, to fine-tune from."
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "one_device",
    ["one_device", "mirrored", "multi_worker", "tpu"],
    "One device; all GPUs here; a process a machine, by TF_CONFIG; TPUs.",
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
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Gin file; may be repeated.")
_GIN_PARAM = flags.DEFINE_multi_string(
    "gin_param", [], "Gin binding, e.g. 'weak_strong_mixture.mu = 0.5'; may be repeated."
)


def main(argv: list[str]) -> None:
    """Parses the bindings, claims the workdir and trains."""
    del argv
    # Imported here so that --help does not wait for TensorFlow.
    from audioset_strong.configuration import gin_files
    from audioset_strong.training import distribution, loop

    bindings = [f"train.data_dir = {_DATA_DIR.value!r}", *_GIN_PARAM.value]
    if _INIT_FROM.value:
        bindings.append(f"train.init_from = {_INIT_FROM.value!r}")
    text = gin_files.parse(_GIN_FILE.value, bindings)
    loop.check_bindings()
    strategy = distribution.make(_STRATEGY.value, _TPU.value)
    if distribution.is_chief(strategy):
        gin_files.claim_workdir(_WORKDIR.value, text)
    steps = [int(step) for step in _PROFILE_STEPS.value or ()] or None
    loop.train(_WORKDIR.value, strategy=strategy, profile_steps=steps)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
