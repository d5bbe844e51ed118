"""Evaluates every checkpoint of training runs once, during the training or afterwards.

Example, beside a running train.py:
  evaluate.py --workdir=runs/strong_67k --eval_data=data/eval \\
      --validation_data=data/train_strong_validation

Each dataset is read once for each checkpoint, and gives a weak and a strong eval where its clips
have such labels. Each model gets log-mel of the front end that it was trained with. Results go to
WORKDIR/eval: results.csv, TensorBoard events, tables and pictures of all classes, and the curves of
chosen ones. At the end the best checkpoint on the validation data is written to
WORKDIR/selection.json. Started again, it continues where it stopped.

A checkpoint or workdir that cannot be evaluated is told, left out, and tried again when its files
change. The others go on. At the end the exit code is 2 if anything was left out. Several of these
processes may follow the same workdirs; each checkpoint is evaluated by one of them.
"""

import contextlib

from absl import flags

from audioset_strong.core import choices, cli

_WORKDIR = cli.workdir_flag(multiple=True)
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", [], "Dataset of the sets weak_eval and strong_eval; may be repeated."
)
_VALIDATION_DATA = flags.DEFINE_multi_string(
    "validation_data", [], "Held-out dataset to select checkpoints on; may be repeated."
)
_RUN_ONCE = flags.DEFINE_bool(
    "run_once", None, "Evaluate the checkpoints that are there, then stop."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Evaluate only this checkpoint, a path or a name such as step-500, and select none.",
)
_TIMEOUT_S = flags.DEFINE_float(
    "timeout_s", None, "Stop after this many seconds without a new checkpoint.", lower_bound=0
)
_EMA = flags.DEFINE_bool(
    "ema", None, "Evaluate the moving average of the weights; results go to WORKDIR/eval_ema."
)
_SAVE_SCORES = flags.DEFINE_enum(
    "save_scores",
    None,
    choices.SCORE_FORMATS,
    "Format to keep all scores in, for measure_scores.py.",
)
_PLOT_CLASSES = flags.DEFINE_multi_string(
    "plot_classes",
    None,
    "Mid or display name of a class whose ROC and precision-recall curves are drawn; may be "
    "repeated.",
)
_NEGATIVE_WEIGHTING = flags.DEFINE_enum(
    "negative_weighting",
    None,
    choices.NEGATIVE_WEIGHTINGS,
    "How the strong eval mixes the explicit and the complementary negatives of a class: pooled, "
    "the default, counts every frame alike, equal lets the two kinds count alike.",
)
_METADATA = cli.metadata_flags(
    "framed_tsv",
    descriptions={
        "framed_tsv": "Framed label TSV, such as audioset_eval_strong_framed_posneg.tsv, whose "
        "labels replace the strong labels of EVAL_DATA"
    },
)
_SELECT_ON = flags.DEFINE_string(
    "select_on",
    None,
    "Set to select checkpoints on although it is not held-out validation data, such as "
    "strong_eval; selection and report then say so.",
)
_GIN = cli.gin_flags("select.metric = 'strong_validation/lwlrap'")


def main(argv: list[str]) -> None:
    """Parses the bindings, evaluates, and prints where the results are."""
    del argv
    # Imported here so that --help does not wait for TensorFlow.
    from audioset_strong.configuration import evaluation_bindings, gin_files
    from audioset_strong.core import errors
    from audioset_strong.evaluation import following, results

    gin_files.parse(*_GIN())
    framed_tsvs = _METADATA()["framed_tsvs"]
    datasets = {"eval": _EVAL_DATA.value, "validation": _VALIDATION_DATA.value}
    arguments = evaluation_bindings.evaluation_arguments(
        eval_sets={name: paths for name, paths in datasets.items() if paths} or None,
        framed_tsvs={"eval": framed_tsvs} if framed_tsvs else None,
        run_once=_RUN_ONCE.value,
        checkpoint=_CHECKPOINT.value,
        timeout_s=_TIMEOUT_S.value,
        ema=_EMA.value,
        save_scores=_SAVE_SCORES.value,
        plot_classes=_PLOT_CLASSES.value,
        negative_weighting=_NEGATIVE_WEIGHTING.value,
        select_on=_SELECT_ON.value,
    )
    left_out = None
    try:
        following.evaluate_workdirs(_WORKDIR.value, **arguments)
    except following.LeftOutError as error:
        left_out = error
    for workdir in _WORKDIR.value:
        with contextlib.suppress(errors.InputError):  # a workdir that was left out, and told
            print(results.summary(workdir, ema=arguments["ema"]))
    if left_out:
        raise left_out


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
