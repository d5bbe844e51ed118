"""Evaluates every checkpoint of training runs once, as they come or after the fact.

Example, beside a running train.py:
  evaluate.py --workdir=runs/strong_67k --eval_data=data/eval \\
      --validation_data=data/train_strong_validation

Each dataset is read once a checkpoint and gives a weak and a strong eval, as far as its clips have
labels. Results go to WORKDIR/eval: results.csv, TensorBoard events, tables and pictures of all
classes, the curves of chosen ones. At the end the best checkpoint on the validation data is written
to WORKDIR/selection.json. Run again, it goes on where it was.
"""

from absl import flags

from audioset_strong.core import cli

_WORKDIR = flags.DEFINE_multi_string(
    "workdir", None, "Workdir of a train.py run; may be repeated.", required=True
)
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", [], "Dataset of the sets weak_eval and strong_eval; may be repeated."
)
_VALIDATION_DATA = flags.DEFINE_multi_string(
    "validation_data", [], "Held-out dataset to select checkpoints on; may be repeated."
)
_RUN_ONCE = flags.DEFINE_bool("run_once", None, "Evaluate the checkpoints there are, then end.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Evaluate this one only, a path or a name such as step-500; select none."
)
_TIMEOUT_S = flags.DEFINE_float(
    "timeout_s", None, "End after so many seconds without a new checkpoint.", lower_bound=0
)
_EMA = flags.DEFINE_bool(
    "ema", None, "Evaluate the weights' moving average; results go to WORKDIR/eval_ema."
)
_SAVE_SCORES = flags.DEFINE_enum(
    "save_scores", None, ["npz", "parquet"], "Keep all scores in such files, for measure_scores.py."
)
_PLOT_CLASSES = flags.DEFINE_multi_string(
    "plot_classes",
    None,
    "Mid or display name of a class whose ROC and precision-recall curves are drawn; may be "
    "repeated.",
)
_FRAMED_TSV = flags.DEFINE_multi_string(
    "framed_tsv",
    [],
    "Framed label TSV, such as audioset_eval_strong_framed_posneg.tsv, whose labels take the place "
    "of EVAL_DATA's strong labels; may be repeated.",
)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Gin file; may be repeated.")
_GIN_PARAM = flags.DEFINE_multi_string(
    "gin_param", [], "Gin binding, e.g. 'select.metric = \"strong_validation/lwlrap\"'."
)


def main(argv: list[str]) -> None:
    """Parses the bindings, evaluates and says where the results are."""
    del argv
    # Imported here so that --help does not wait for TensorFlow.
    from audioset_strong.configuration import gin_files
    from audioset_strong.evaluation import evaluator

    gin_files.parse(_GIN_FILE.value, _GIN_PARAM.value)
    datasets = {"eval": _EVAL_DATA.value, "validation": _VALIDATION_DATA.value}
    arguments = {
        "eval_sets": {name: paths for name, paths in datasets.items() if paths} or None,
        "run_once": _RUN_ONCE.value,
        "checkpoint": _CHECKPOINT.value,
        "timeout_s": _TIMEOUT_S.value,
        "ema": _EMA.value,
        "save_scores": _SAVE_SCORES.value,
        "plot_classes": _PLOT_CLASSES.value,
        "framed_tsvs": {"eval": _FRAMED_TSV.value} if _FRAMED_TSV.value else None,
    }
    # What no flag gives is left to gin.
    given = {name: value for name, value in arguments.items() if value is not None}
    evaluator.evaluate_workdirs(_WORKDIR.value, **given)
    for workdir in _WORKDIR.value:
        print(evaluator.summary(workdir, bool(_EMA.value)))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
