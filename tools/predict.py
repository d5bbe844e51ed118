"""Scores recordings of any length and format with a trained model.

Examples:
  predict.py --model=runs/plus_strong street.wav
  predict.py --model=export --output_dir=out --formats=csv,audacity,png recordings/*.flac

The model is a checkpoint, the workdir of a training run (its selected checkpoint), or what
export.py wrote. Each recording's top classes and events are printed; --formats writes files, named
by the recording, below --output_dir:

  csv       scores of all classes, a frame a row      (NAME.scores.csv)
  jsonl     the same, a frame a line                  (NAME.scores.jsonl)
  events    start, end, class, peak and mean score    (NAME.events.csv)
  audacity  the events as an Audacity label track     (NAME.labels.txt)
  text      what is printed                           (NAME.txt)
  png       spectrogram and timelines                 (NAME.png)

A recording that cannot be read does not stop the others; it is told at the end.
"""

from absl import flags

from audioset_strong.core import cli

_MODEL = flags.DEFINE_string(
    "model", None, "Checkpoint, workdir with a selected one, or exported model.", required=True
)
_EMA = flags.DEFINE_bool("ema", False, "Take the moving average of a checkpoint's weights.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the files.")
_FORMATS = flags.DEFINE_list("formats", [], "Files to write: csv, jsonl, events, audacity, ...")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files that are there already.")
_HOP_S = flags.DEFINE_float("hop_s", 0.96, "Seconds from one frame to the next, up to 0.96.")
_TOP_K = flags.DEFINE_integer("top_k", 5, "Classes that a recording is summed up by.")
_TOP_BY = flags.DEFINE_enum(
    "top_by", "mean", ["mean", "max"], "Their score: mean over the recording, or highest."
)
_THRESHOLD = flags.DEFINE_float("threshold", 0.5, "Score that an event needs.")
_THRESHOLDS = flags.DEFINE_string(
    "thresholds", None, "CSV with columns mid and threshold, for single classes."
)
_HYSTERESIS = flags.DEFINE_float(
    "hysteresis", 1.0, "An event goes on above this share of the threshold."
)
_MEDIAN_FRAMES = flags.DEFINE_integer(
    "median_frames", 1, "Length of the median filter over the scores; odd."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Frames scored at a time.")


def main(argv: list[str]) -> None:
    """Scores the recordings, prints what is in them."""
    from audioset_strong.core import errors
    from audioset_strong.inference import event_detection, predictor, recordings, writers

    model = predictor.load_model(_MODEL.value, _EMA.value)
    request = recordings.Request(
        events=event_detection.settings_for(
            model.vocabulary,
            _THRESHOLD.value,
            _THRESHOLDS.value,
            _HYSTERESIS.value,
            _MEDIAN_FRAMES.value,
        ),
        output_dir=_OUTPUT_DIR.value,
        formats=tuple(_FORMATS.value),
        hop_s=_HOP_S.value,
        top_k=_TOP_K.value,
        top_by=_TOP_BY.value,
        batch_size=_BATCH_SIZE.value,
        overwrite=_OVERWRITE.value,
    )
    names = writers.unique_names(model.vocabulary)
    files = argv[1:]
    broken = recordings.predict(
        model, files, request, lambda result: print(writers.as_text(result, names), end="")
    )
    if broken:
        told = "; ".join(f"{path}: {reason}" for path, reason in broken)
        raise errors.InputError(f"{len(broken)} of {len(files)} could not be read: {told}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main, positional=True)


if __name__ == "__main__":
    run()
