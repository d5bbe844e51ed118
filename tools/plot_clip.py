"""Draws one clip with all of its labels: Fig. 1 of the paper.

Examples:
  plot_clip.py --dataset=data/eval --clip=YTID_30000 --output=clip.png
  plot_clip.py --audio=YTID_30000.wav --clip=YTID_30000 --weak_csv=eval_segments.csv \\
      --strong_tsv=audioset_eval_strong.tsv --class_labels=mid_to_display_name.tsv \\
      --output=clip.png

The panels below the spectrogram show the weak labels, the segments of the strong labels, and the
framed labels with their negatives. Complementary negatives are of classes that are present in
another frame of the clip; explicit negatives, of classes that a rater found absent from the clip.
"""

from absl import flags

from audioset_strong.core import choices, cli

_CLIP = flags.DEFINE_string("clip", None, "Id of the clip, YTID_STARTMS.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The PNG to write.", required=True)
_DATASET = cli.dataset_flag(required=False)
_AUDIO = flags.DEFINE_string("audio", None, "Audio file of the clip, or of its whole video.")
_METADATA = cli.metadata_flags(
    "weak_csv",
    "strong_tsv",
    "framed_tsv",
    "negatives",
    "class_labels",
    "skip_bad_rows",
    descriptions={
        "framed_tsv": "Framed label TSV, read for its explicit negatives",
        "class_labels": "List of classes, for their display names",
    },
)
_RULE = flags.DEFINE_enum(
    "rule",
    choices.RELEASED,
    choices.FRAMING_RULES,
    "The rule that makes the framed labels, see frame_labels.py.",
)


def main(argv: list[str]) -> None:
    """Reads the clip and draws it."""
    del argv
    from audioset_strong.analysis import label_clip, label_figures
    from audioset_strong.core import drawing, errors
    from audioset_strong.labels import metadata_files

    if bool(_DATASET.value) == bool(_AUDIO.value):
        raise errors.InputError("give either --dataset, or --audio with metadata files")
    if _DATASET.value:
        clip, vocabulary = label_clip.from_dataset(_DATASET.value, _CLIP.value)
    else:
        files = metadata_files.MetadataFiles(**_METADATA())
        clip, vocabulary = label_clip.from_files(_AUDIO.value, _CLIP.value, files=files)
    figure = label_figures.clip(clip, vocabulary, rule=_RULE.value)
    drawing.save(figure, _OUTPUT.value)
    print(_OUTPUT.value)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
