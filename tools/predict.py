"""Scores recordings of any length and format with a trained model.

Examples:
  predict.py --model=runs/plus_strong street.wav
  predict.py --model=runs/plus_strong recordings 'more/**/*.flac'
  predict.py --model=export --output_dir=out --formats=csv,audacity,png recordings

The model is a checkpoint, the workdir of a training run (its selected checkpoint), or what
export.py wrote. In folders, with all that is below them, in archives (zip, tar, Parquet, HDF5) and
under glob patterns, audio and video is found by its extension, such as .wav; hidden files are
passed over. A recording that is named twice is scored once.

Each recording's top classes and events are printed; --formats writes files, named after the
recording, below --output_dir, in folders like those of the recordings:

  csv       scores of all classes, one row a frame    (NAME.scores.csv)
  jsonl     the same, one line a frame                (NAME.scores.jsonl)
  events    start, end, class, peak and mean score    (NAME.events.csv)
  audacity  the events as an Audacity label track     (NAME.labels.txt)
  text      what is printed                           (NAME.txt)
  png       spectrogram and timelines                 (NAME.png)

A recording that cannot be read does not stop the others; it is listed at the end. A name that
begins with a dash is written with ./ before it, or after --.
"""

from absl import flags

from audioset_strong.core import choices, cli

_MODEL = cli.model_flags()
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the files.")
_FORMATS = flags.DEFINE_list("formats", [], "Files to write, any of the formats above.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace existing files.")
_HOP_S = flags.DEFINE_float("hop_s", 0.96, "Seconds from one frame to the next, up to 0.96.")
_TOP_K = flags.DEFINE_integer("top_k", 5, "Number of top classes to print for each recording.")
_TOP_BY = flags.DEFINE_enum(
    "top_by", choices.MEAN, choices.POOLINGS, "Rank classes by their mean or their highest score."
)
_THRESHOLD = flags.DEFINE_float("threshold", 0.5, "Score that an event needs.")
_THRESHOLDS = flags.DEFINE_string(
    "thresholds", None, "CSV with columns mid and threshold, for some classes."
)
_HYSTERESIS = flags.DEFINE_float(
    "hysteresis", 1.0, "An event continues down to this share of the threshold."
)
_MEDIAN_HOPS = flags.DEFINE_integer(
    "median_hops", 1, "Length of the median filter in scores, one every hop; odd."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Frames scored at a time.")


def main(argv: list[str]) -> None:
    """Scores the recordings and prints what is in them."""
    from audioset_strong.audio import finding
    from audioset_strong.core import errors

    paths = finding.recordings(argv[1:])
    if not paths:
        raise errors.InputError("no recording given: name files, folders or glob patterns")
    from audioset_strong.inference import (
        event_detection,
        model_loading,
        recordings,
        writers,
    )

    path, ema = _MODEL()
    model = model_loading.load_model(path, ema=ema)
    request = recordings.PredictionRequest(
        events=event_detection.settings_for(
            model.vocabulary,
            threshold=_THRESHOLD.value,
            thresholds_file=_THRESHOLDS.value,
            hysteresis=_HYSTERESIS.value,
            median_hops=_MEDIAN_HOPS.value,
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
    broken = recordings.predict(
        model,
        paths,
        request=request,
        on_result=lambda result: print(writers.as_text(result, names), end=""),
    )
    if broken:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in broken)
        raise errors.InputError(f"{len(broken)} of {len(paths)} could not be read: {reasons}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main, positional=True)


if __name__ == "__main__":
    run()
