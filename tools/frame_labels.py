"""Writes framed labels, in the release's format, from strong labels and explicit negatives.

Example:
  frame_labels.py --strong_tsv=audioset_eval_strong.tsv --negatives=negatives.tsv \\
      --output=eval_strong_framed_posneg.tsv

Of every clip each class is framed that has a frame with the class PRESENT, or is an explicit
negative of the clip; its other frames are NOT_PRESENT. Rows are sorted by clip, label and time.
"""

from absl import flags

from audioset_strong.core import cli

_STRONG_TSV = flags.DEFINE_multi_string(
    "strong_tsv", None, "Strong label TSV; may be repeated.", required=True
)
_NEGATIVES = flags.DEFINE_multi_string(
    "negatives", [], "TSV or CSV of segment id and absent label(s); may be repeated."
)
_CLIPS = flags.DEFINE_string("clips", None, "File of segment ids: only these are written.")
_OUTPUT = flags.DEFINE_string("output", None, "The TSV to write.", required=True)
_FRAME_MS = flags.DEFINE_integer("frame_ms", 960, "Length of a frame.")
_HOP_MS = flags.DEFINE_integer("hop_ms", None, "From frame to frame; by default a frame's length.")
_RULE = flags.DEFINE_enum(
    "rule",
    "released",
    ["released", "paper"],
    "What makes a frame PRESENT: one segment that overlaps it by half of the shorter of the two, "
    "as in the released labels; or the union of the class's segments, as the paper words it.",
)
_POSITIVES_ONLY = flags.DEFINE_bool("positives_only", False, "Write the PRESENT rows only.")
_SKIP_BAD_ROWS = flags.DEFINE_bool(
    "skip_bad_rows", False, "Leave malformed metadata rows out, and list them."
)


def main(argv: list[str]) -> None:
    """Writes the file and says what is in it."""
    del argv
    from audioset_strong.labels import framed_labels

    table = framed_labels.frame_files(
        _OUTPUT.value,
        _STRONG_TSV.value,
        _NEGATIVES.value,
        _CLIPS.value,
        _FRAME_MS.value,
        _HOP_MS.value,
        _RULE.value,
        _POSITIVES_ONLY.value,
        _SKIP_BAD_ROWS.value,
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
