"""Event metrics of a trained model: PSDS1, PSDS2, and F1 of events and segments.

Example:
  evaluate_events.py --model=runs/plus_strong --eval_data=data/eval --output_dir=events

Needs the package sed_scores_eval (the extra events). Clips with strong labels are scored, one frame
every --hop_s. Written to OUTPUT_DIR: results.csv (metric, value), per_class.csv and psd_roc.png.

psds1 and psds2 take the standard deviation between classes off their mean, so that weak models get
0. psds1_macro is without that penalty, and is what work on AudioSet's strong labels quotes.
"""

from absl import flags

from audioset_strong.core import choices, cli

_MODEL = cli.model_flags()
_EVAL_DATA = flags.DEFINE_multi_string(
    "eval_data", None, "Converted dataset to evaluate on; may be repeated.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Directory of the tables and the picture.", required=True
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    choices.EVERY_EVENT,
    choices.EVENT_PROTOCOLS,
    "What is measured. every_event: all clips with strong labels and all classes with events. "
    "pretrained_sed: as in PretrainedSED (arXiv 2409.09546), the 407 classes with events in both "
    "AudioSet's training and its eval set, and the clips with an event of them.",
)
_HOP_S = flags.DEFINE_float(
    "hop_s",
    None,
    "Seconds from one frame to the next, up to 0.96; by default 0.16, for pretrained_sed 0.04.",
)
_MEDIAN_S = flags.DEFINE_float(
    "median_s",
    None,
    "Length in seconds of the median filter over the scores; 0 for no filter. By default 0.48, for "
    "pretrained_sed 0.36.",
)
_THRESHOLD = flags.DEFINE_float("threshold", 0.5, "Score of a detection, for the F1 without _best.")


def main(argv: list[str]) -> None:
    """Scores, measures, and prints the metrics."""
    del argv
    from audioset_strong.inference import event_evaluation

    model, ema = _MODEL()
    measured = event_evaluation.evaluate_events(
        model,
        _EVAL_DATA.value,
        output_dir=_OUTPUT_DIR.value,
        protocol=_PROTOCOL.value,
        hop_s=_HOP_S.value,
        median_s=_MEDIAN_S.value,
        threshold=_THRESHOLD.value,
        ema=ema,
    )
    print(event_evaluation.as_text(measured))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
