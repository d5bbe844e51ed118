"""Makes metadata for convert.py from your own recordings and their Audacity labels.

Example:
  import_labels.py --audio_dir=recordings --labels_dir=labels --output_dir=metadata

Recordings may be of any length and format. NAME.txt is the label track of the recording NAME.wav,
as Audacity's File > Export > Export Labels writes it: start, end, name. So are NAME.wav.txt and the
NAME.wav.labels.txt that predict.py writes. A track must label all sounds of its recording: a class
without a label counts as absent. The tool cuts recordings into clips of ten seconds and writes
weak.csv, strong.tsv, negatives.tsv and class_labels.csv.
"""

from absl import flags

from audioset_strong.core import cli

_AUDIO_DIR = flags.DEFINE_string(
    "audio_dir", None, "Directory of recordings, searched with its subfolders.", required=True
)
_LABELS_DIR = flags.DEFINE_string(
    "labels_dir", None, "Directory of label tracks; by default the one of the recordings."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the metadata.", required=True)
_POINT_SECONDS = flags.DEFINE_float(
    "point_seconds",
    None,
    "How long the sound at a point label lasts, whose start and end are equal; without this flag "
    "such labels are refused.",
)
_METADATA = cli.metadata_flags(
    "class_labels",
    descriptions={
        "class_labels": "List of classes, such as a model's class_map.csv: labels of these names "
        "get its mids, other labels become classes of their own"
    },
)


def main(argv: list[str]) -> None:
    """Imports the labels and prints what came out."""
    del argv
    from audioset_strong.conversion import importing

    imported = importing.import_labels(
        _AUDIO_DIR.value,
        _LABELS_DIR.value or _AUDIO_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        class_labels=_METADATA()["class_labels"],
        point_seconds=_POINT_SECONDS.value,
    )
    print(
        f"{imported.recordings} of {imported.all_recordings} recordings have labels: "
        f"{imported.clips} clips, {imported.segments} segments, {len(imported.classes)} classes; "
        f"{imported.unlabelled} clips without a label are left out"
    )
    for mid, name in zip(imported.classes.mids, imported.classes.names, strict=True):
        print(f"  {mid}  {name}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
