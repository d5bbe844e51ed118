"""Metrics of saved scores, without a model: of evaluate.py --save_scores, or of another system.

Example:
  score.py --scores=runs/strong_67k/eval/scores/eval-500.npz
  score.py --scores=theirs.npz --eval_data=data/eval --output_dir=theirs

With --eval_data the labels are the dataset's, and the file need hold nothing but mids [classes],
clip_ids [clips] and frame_scores [clips, 10, classes], scores of 0.96 s frames, in any order.
Written to OUTPUT_DIR: results.csv (set, metric, value) and per_class_<set>.csv.
"""

from absl import flags

from audioset_strong import cli

_SCORES = flags.DEFINE_string("scores", None, "The npz of scores.", required=True)
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", [], "Dataset whose labels to take; may be repeated. By default the file's own."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where to write CSVs.")
_REPLICATES = flags.DEFINE_integer(
    "bootstrap_replicates", 200, "Of the 95% intervals; 0 for none.", lower_bound=0
)


def main(argv: list[str]) -> None:
    """Measures, prints a table and writes it."""
    del argv
    from audioset_strong.evaluation import saved

    measured = saved.measure(_SCORES.value, _EVAL_DATA.value, _REPLICATES.value)
    print(saved.to_text(measured))
    if _OUTPUT_DIR.value:
        saved.write(measured, _OUTPUT_DIR.value)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
