"""Measures saved scores without a model: those of evaluate.py, or those of another system.

Example:
  measure_scores.py --scores=runs/strong_67k/eval/scores/eval-500.npz
  measure_scores.py --scores=theirs.parquet --eval_data=data/eval --output_dir=theirs
  measure_scores.py --scores=theirs.parquet --framed_tsv=audioset_eval_strong_framed_posneg.tsv

With --eval_data the labels are those of the dataset. With --framed_tsv the strong labels are those
of the released file, which is enough for the strong eval by itself. The file of another system
holds the scores of 0.96 s frames in any order: an npz of mids [classes], clip_ids [clips] and
frame_scores [clips, 10, classes], or a Parquet file with a row for each frame and the columns
clip_id, frame (0 to 9) and one for each class, named by its mid.

Scores are probabilities, from 0 to 1, because the weak eval takes the mean of a clip's. With
--logits they are logits, of which the sigmoid is taken first; so are an npz's frame_logits and the
columns logit:MID of a Parquet file, as evaluate.py writes them. Logits are better where they can be
had: a float32 probability of nearly 1 is rounded to 1, and then ties.
OUTPUT_DIR gets results.csv (set, metric, value), and per_class_<set>.csv with its picture.
"""

from absl import flags

from audioset_strong.core import choices, cli

_SCORES = flags.DEFINE_string(
    "scores", None, "The npz or Parquet file of scores, probabilities or logits.", required=True
)
_LOGITS = flags.DEFINE_bool(
    "logits", False, "The scores are logits, though their names in SCORES do not say so."
)
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", [], "Dataset to take the labels from; may be repeated. By default those in SCORES."
)
_METADATA = cli.metadata_flags(
    "framed_tsv",
    "weak_csv",
    descriptions={
        "framed_tsv": "Framed label TSV with the strong labels",
        "weak_csv": "Segment list such as eval_segments.csv, which tells where the clips of "
        "--framed_tsv end if SCORES does not: frames behind the end do not count",
    },
)
_PLOT_CLASSES = flags.DEFINE_multi_string(
    "plot_classes",
    [],
    "Mid or display name of a class whose ROC and precision-recall curves go to "
    "OUTPUT_DIR/curves_<set>.png and .csv; may be repeated.",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where to write tables and pictures.")
_INTERVALS = flags.DEFINE_bool("intervals", True, "Whether to compute 95% intervals.")
_NEGATIVE_WEIGHTING = flags.DEFINE_enum(
    "negative_weighting",
    choices.POOLED,
    choices.NEGATIVE_WEIGHTINGS,
    "How the strong eval mixes the explicit and the complementary negatives of a class: pooled "
    "counts every frame alike, equal lets the two kinds count alike.",
)


def main(argv: list[str]) -> None:
    """Measures, prints a table and writes it."""
    del argv
    from audioset_strong.core import errors
    from audioset_strong.evaluation import class_plots, offline

    if _PLOT_CLASSES.value and not _OUTPUT_DIR.value:
        raise errors.InputError("--plot_classes: needs --output_dir to write the curves to")
    labelled = offline.read(
        _SCORES.value, eval_data=_EVAL_DATA.value, logits=_LOGITS.value, **_METADATA()
    )
    curve_mids = class_plots.find_classes(_PLOT_CLASSES.value, labelled.vocabulary)
    results = offline.measure(
        labelled,
        with_intervals=_INTERVALS.value,
        negative_weighting=_NEGATIVE_WEIGHTING.value,
    )
    print(offline.to_text(results))
    if _OUTPUT_DIR.value:
        offline.write(labelled, results, output_dir=_OUTPUT_DIR.value, curve_mids=curve_mids)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
