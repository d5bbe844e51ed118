"""Metrics of saved scores, without a model: of evaluate.py --save_scores, or of another system.

Example:
  measure_scores.py --scores=runs/strong_67k/eval/scores/eval-500.npz
  measure_scores.py --scores=theirs.parquet --eval_data=data/eval --output_dir=theirs
  measure_scores.py --scores=theirs.parquet --framed_tsv=audioset_eval_strong_framed_posneg.tsv

With --eval_data the labels are the dataset's; with --framed_tsv the strong ones are those of the
release's file, which alone do for the strong eval. Another system's file holds the scores of 0.96 s
frames in any order: an npz of mids [classes], clip_ids [clips] and frame_scores
[clips, 10, classes], or a Parquet file with a row a frame and the columns clip_id, frame (0 to 9)
and one for each class, named by its mid.
Written to OUTPUT_DIR: results.csv (set, metric, value), per_class_<set>.csv and its picture.
"""

from absl import flags

from audioset_strong.core import cli

_SCORES = flags.DEFINE_string("scores", None, "The npz or Parquet file of scores.", required=True)
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", [], "Dataset whose labels to take; may be repeated. By default the file's own."
)
_FRAMED_TSV = flags.DEFINE_multi_string(
    "framed_tsv", [], "Framed label TSV with the strong labels; may be repeated."
)
_PLOT_CLASSES = flags.DEFINE_multi_string(
    "plot_classes",
    [],
    "Mid or display name of a class whose ROC and precision-recall curves go to "
    "OUTPUT_DIR/curves_<set>.png and .csv; may be repeated.",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where to write tables and pictures.")
_REPLICATES = flags.DEFINE_integer(
    "bootstrap_replicates", 200, "Of the 95% intervals; 0 for none.", lower_bound=0
)


def main(argv: list[str]) -> None:
    """Measures, prints a table and writes it."""
    del argv
    from audioset_strong.core import errors
    from audioset_strong.evaluation import class_plots, offline

    if _PLOT_CLASSES.value and not _OUTPUT_DIR.value:
        raise errors.InputError("--plot_classes: goes with --output_dir")
    labelled = offline.read(_SCORES.value, _EVAL_DATA.value, _FRAMED_TSV.value)
    drawn = class_plots.find_classes(_PLOT_CLASSES.value, labelled.vocabulary)
    measured = offline.measure(labelled, _REPLICATES.value)
    print(offline.to_text(measured))
    if _OUTPUT_DIR.value:
        offline.write(labelled, measured, _OUTPUT_DIR.value, drawn)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
