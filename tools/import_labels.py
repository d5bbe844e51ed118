"""Makes metadata for convert.py of one's own recordings and their Audacity labels.

Example:
  import_labels.py --audio_dir=recordings --labels_dir=labels --output_dir=metadata

Recordings may be of any length and format. NAME.txt is the label track of the recording NAME, as
Audacity's File > Export > Export Labels writes it: start, end, name. It says all that is to be
heard there: what has no label counts as absent. Writes weak.csv, strong.tsv, negatives.tsv and
class_labels.csv; recordings are cut into clips of ten seconds.
"""

from absl import flags

from audioset_strong.core import cli

_AUDIO_DIR = flags.DEFINE_string(
    "audio_dir", None, "Directory of recordings, searched with its subfolders.", required=True
)
_LABELS_DIR = flags.DEFINE_string(
    "labels_dir", None, "Directory of label tracks; by default that of the recordings."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the metadata.", required=True)
_CLASS_LABELS = flags.DEFINE_multi_string(
    "class_labels",
    [],
    "List of classes, such as a model's class_map.csv: labels of these names get its mids, others "
    "become classes of their own; may be repeated.",
)


def main(argv: list[str]) -> None:
    """Imports, then says what came out."""
    del argv
    from audioset_strong.conversion import importing

    imported = importing.import_labels(
        _AUDIO_DIR.value,
        _LABELS_DIR.value or _AUDIO_DIR.value,
        _OUTPUT_DIR.value,
        _CLASS_LABELS.value,
    )
    print(
        f"{imported.recordings} of {imported.all_recordings} recordings have labels: "
        f"{imported.clips} clips, {imported.segments} segments, {len(imported.classes)} classes; "
        f"{imported.unlabelled} clips without any label are left out"
    )
    for mid, name in zip(imported.classes.mids, imported.classes.names, strict=True):
        print(f"  {mid}  {name}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
