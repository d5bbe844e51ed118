"""Lets a trained model score the clips of training sets, for other models to learn from.

Example:
  teach.py --model=runs/weak_1_8m --dataset=data/train_weak --name=first
  train.py --workdir=runs/teacher_masking --data_dir=data --init_from=runs/weak_1_8m \\
      --gin_file=beyond/teacher_masking.gin --gin_param="weak_strong_mixture.teacher = 'first'"

Writes DATASET/teacher-NAME.parquet. Training takes from it which labels may be missing, which are
then left out of the loss, and in which windows of a clip its weak labels hold. docs/beyond.md tells
how. A student may be the teacher of the next one, under another name. A file of the same name is
replaced.
"""

from absl import flags

from audioset_strong.core import cli

_MODEL = flags.DEFINE_string(
    "model", None, "Checkpoint, workdir with a selected one, or export.", required=True
)
_DATASET = flags.DEFINE_multi_string(
    "dataset", None, "Directory of a dataset with weak labels; may be repeated.", required=True
)
_NAME = flags.DEFINE_string(
    "name", None, "Name of the teacher, by which gin files call it.", required=True
)
_EMA = flags.DEFINE_bool("ema", False, "Take the moving average of the weights.")
_MAX_MISSING_SHARE = flags.DEFINE_float(
    "max_missing_share",
    0.1,
    "Share of the clips without a class that can be told to miss its label; students ask for this "
    "share or a smaller one.",
)


def main(argv: list[str]) -> None:
    """Scores the datasets, and prints where the scores are."""
    del argv
    from audioset_strong.evaluation import teaching

    paths = teaching.teach(
        _MODEL.value,
        _DATASET.value,
        name=_NAME.value,
        ema=_EMA.value,
        max_missing_share=_MAX_MISSING_SHARE.value,
    )
    print("\n".join(paths))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
