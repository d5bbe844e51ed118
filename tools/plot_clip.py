"""Draws one clip with all of its labels: Fig. 1 of the paper.

Examples:
  plot_clip.py --data_dir=data/eval --clip=YTID_30000 --output=clip.png
  plot_clip.py --audio=YTID_30000.wav --clip=YTID_30000 --weak_csv=eval_segments.csv \\
      --strong_tsv=audioset_eval_strong.tsv --class_labels=mid_to_display_name.tsv \\
      --output=clip.png

Below the spectrogram stand the weak labels, the segments of the strong ones, and the framed labels
with their negatives: complementary ones, of classes that are in another frame of the clip, and
explicit ones, of classes that were found absent from the clip.
"""

from absl import flags

from audioset_strong.core import cli

_CLIP = flags.DEFINE_string("clip", None, "Segment id, YTID_STARTMS.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The PNG to write.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Directory of a converted dataset.")
_AUDIO = flags.DEFINE_string("audio", None, "Audio file of the clip, or of its whole video.")
_WEAK_CSV = flags.DEFINE_multi_string("weak_csv", [], "Weak label CSV; may be repeated.")
_STRONG_TSV = flags.DEFINE_multi_string("strong_tsv", [], "Strong label TSV; may be repeated.")
_FRAMED_TSV = flags.DEFINE_multi_string(
    "framed_tsv", [], "Framed label TSV, read for its explicit negatives; may be repeated."
)
_NEGATIVES = flags.DEFINE_multi_string(
    "negatives", [], "TSV or CSV of segment id and absent label(s); may be repeated."
)
_CLASS_LABELS = flags.DEFINE_multi_string(
    "class_labels", [], "List of classes, for their names; may be repeated."
)
_RULE = flags.DEFINE_enum(
    "rule", "released", ["released", "paper"], "Of the framed labels, see frame_labels.py."
)
_SKIP_BAD_ROWS = flags.DEFINE_bool(
    "skip_bad_rows", False, "Leave malformed metadata rows out, and list them."
)


def main(argv: list[str]) -> None:
    """Reads the clip and draws it."""
    del argv
    import pathlib

    from audioset_strong.analysis import label_clip, label_figures
    from audioset_strong.core import drawing, errors

    if bool(_DATA_DIR.value) == bool(_AUDIO.value):
        raise errors.InputError("give either --data_dir, or --audio with metadata files")
    if _DATA_DIR.value:
        clip, vocabulary = label_clip.from_dataset(_DATA_DIR.value, _CLIP.value)
    else:
        clip, vocabulary = label_clip.from_files(
            _AUDIO.value,
            _CLIP.value,
            weak_csvs=_WEAK_CSV.value,
            strong_tsvs=_STRONG_TSV.value,
            framed_tsvs=_FRAMED_TSV.value,
            negatives=_NEGATIVES.value,
            class_labels=_CLASS_LABELS.value,
            skip_bad_rows=_SKIP_BAD_ROWS.value,
        )
    figure = label_figures.clip(clip, vocabulary, _RULE.value)
    try:
        drawing.save(figure, pathlib.Path(_OUTPUT.value))
    except OSError as error:
        raise errors.InputError(f"{_OUTPUT.value}: cannot be written ({error.strerror})") from error
    print(_OUTPUT.value)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
