"""Event metrics of a trained model: PSDS1, PSDS2, and F1 of events and segments.

Example:
  evaluate_events.py --model=runs/plus_strong --eval_data=data/eval --output_dir=events

Needs the package sed_scores_eval (pip install 'audioset_strong[events]'). The clips with strong
labels are scored, a frame every --hop_s. Written to OUTPUT_DIR: results.csv (metric, value),
per_class.csv and psd_roc.png.
"""

from absl import flags

from audioset_strong.core import cli

_MODEL = flags.DEFINE_string(
    "model", None, "Checkpoint, workdir with a selected one, or exported model.", required=True
)
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", None, "Converted dataset to evaluate on; may be repeated.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where to write tables and picture.", required=True
)
_HOP_S = flags.DEFINE_float("hop_s", 0.16, "Seconds from one frame to the next, up to 0.96.")
_MEDIAN_S = flags.DEFINE_float(
    "median_s", 0.48, "Length of the median filter over the scores, in seconds; 0 for none."
)
_THRESHOLD = flags.DEFINE_float("threshold", 0.5, "Score of a detection, of the F1 without _best.")
_EMA = flags.DEFINE_bool("ema", False, "Take the moving average of a checkpoint's weights.")


def main(argv: list[str]) -> None:
    """Scores, measures, and prints the metrics."""
    del argv
    from audioset_strong.inference import event_evaluation

    measured = event_evaluation.evaluate_events(
        _MODEL.value,
        _EVAL_DATA.value,
        _OUTPUT_DIR.value,
        _HOP_S.value,
        _MEDIAN_S.value,
        _THRESHOLD.value,
        _EMA.value,
    )
    print(event_evaluation.as_text(measured))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
