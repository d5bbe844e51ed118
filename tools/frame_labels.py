"""Writes framed labels, in the release's format, from strong labels and explicit negatives.

Example:
  frame_labels.py --strong_tsv=audioset_eval_strong.tsv --negatives=negatives.tsv \\
      --output=eval_strong_framed_posneg.tsv

A clip gets rows for each class that is PRESENT in one of its frames or is an explicit negative of
the clip; all other frames of that class are NOT_PRESENT. Rows are sorted by clip, label and time.
"""

from absl import flags

from audioset_strong.core import choices, cli

_METADATA = cli.metadata_flags(
    "strong_tsv", "negatives", "clip_list", "skip_bad_rows", required=("strong_tsv",)
)
_OUTPUT = flags.DEFINE_string("output", None, "The TSV to write.", required=True)
_FRAME_MS = flags.DEFINE_integer("frame_ms", 960, "Length of a frame, in ms.")
_HOP_MS = flags.DEFINE_integer(
    "hop_ms", None, "From the start of one frame to the next, in ms; by default a frame's length."
)
_RULE = flags.DEFINE_enum(
    "rule",
    choices.RELEASED,
    choices.FRAMING_RULES,
    "What makes a frame PRESENT. released: one segment overlaps it by at least half of the shorter "
    "of the two, which reproduces the released labels. paper: the union of the class's segments "
    "counts, as the paper words it.",
)
_POSITIVES_ONLY = flags.DEFINE_bool("positives_only", False, "Write the PRESENT rows only.")


def main(argv: list[str]) -> None:
    """Writes the file and says what is in it."""
    del argv
    from audioset_strong.labels import framed_labels, metadata_files

    table = framed_labels.frame_files(
        metadata_files.MetadataFiles(**_METADATA()),
        _OUTPUT.value,
        frame_ms=_FRAME_MS.value,
        hop_ms=_HOP_MS.value,
        rule=_RULE.value,
        positives_only=_POSITIVES_ONLY.value,
    )
    present = int(table["present"].sum())
    print(
        f"{_OUTPUT.value}: {table['clip_id'].nunique()} clips, "
        f"{table['mid'].nunique()} classes, {present} rows PRESENT, "
        f"{len(table) - present} NOT_PRESENT"
    )


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
