"""Makes metadata for convert.py from your own recordings and what people annotated in them.

Examples:
  import_labels.py --audio_dir=recordings --labels_dir=labels --output_dir=metadata
  import_labels.py --audio_dir=audio --labels_dir=validation.tsv --looked_for=classes.txt \\
      --output_dir=metadata

Recordings may be of any length and format. The content of a file of labels tells its format:

  audacity      label tracks (File > Export > Export Labels): NAME.txt for the recording NAME.wav;
                also NAME.wav.txt and the NAME.wav.labels.txt that predict.py writes
  dcase         TSV with the columns filename, onset, offset, event_label (DCASE task 4, DESED)
  raven         selection tables, also those of BirdNET: NAME.Table.1.selections.txt, or with the
                column Begin File
  jams          NAME.jams (URBAN-SED, Scaper)
  label_studio  the JSON export of Label Studio

A label track of Audacity must label all sounds of its recording: a class without a label counts as
absent. Of other formats a class is absent only where they, or --looked_for, say that it was looked
for: Scaper's list of classes, the list "classes" in the data of a task of Label Studio. What nobody
looked for stays unknown. The tool cuts recordings into clips of ten seconds and writes weak.csv,
strong.tsv, negatives.tsv and class_labels.csv.
"""

from absl import flags

from audioset_strong.core import choices, cli

_AUDIO_DIR = flags.DEFINE_string(
    "audio_dir", None, "Directory of recordings, searched with its subfolders.", required=True
)
_LABELS_DIR = flags.DEFINE_string(
    "labels_dir",
    None,
    "Directory of files of labels, or one such file; by default the directory of the recordings.",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the metadata.", required=True)
_FORMAT = flags.DEFINE_enum(
    "format", None, choices.ANNOTATION_FORMATS, "Format of all files of labels; else it is found."
)
_LOOKED_FOR = flags.DEFINE_string(
    "looked_for",
    None,
    "File of the classes that were looked for in every recording, a name a line or a class list: "
    "those without a label are absent.",
)
_LABEL_COLUMN = flags.DEFINE_string(
    "label_column",
    None,
    "Column of Raven's tables that holds the class; by default Annotation, Label, Common Name, "
    "Species, Class or Tags.",
)
_ANNOTATOR = flags.DEFINE_string(
    "annotator",
    None,
    "Whose annotations of Label Studio to take, an id or e-mail address, where tasks have several.",
)
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
    from audioset_strong.labels import annotation_files

    imported = importing.import_labels(
        _AUDIO_DIR.value,
        _LABELS_DIR.value or _AUDIO_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        class_labels=_METADATA()["class_labels"],
        format=_FORMAT.value,
        options=annotation_files.ReadOptions(
            point_seconds=_POINT_SECONDS.value,
            label_column=_LABEL_COLUMN.value,
            annotator=_ANNOTATOR.value,
        ),
        looked_for=_LOOKED_FOR.value,
    )
    print(
        f"{imported.recordings} of {imported.all_recordings} recordings have labels: "
        f"{imported.clips} clips, {imported.segments} segments, {len(imported.classes)} classes, "
        f"{imported.negatives} explicit negatives; "
        f"{imported.unlabelled} clips without a label are left out"
    )
    if imported.missing:
        print(
            f"labels of {len(imported.missing)} recordings that are not there are left out, such "
            f"as {imported.missing[0]}"
        )
    for mid, name in zip(imported.classes.mids, imported.classes.names, strict=True):
        print(f"  {mid}  {name}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
