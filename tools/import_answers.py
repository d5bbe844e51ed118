"""Reads annotators' answers to a selection back, compares the annotators, and merges them.

Example:
  import_answers.py --selection=ask --answers=export.json --answers=anna=anna.csv \\
      --output_dir=metadata

Answers are an export of Label Studio (JSON), a copy of questions.csv with the column answer filled
in (present, absent or unsure), or a folder of label tracks CLIP_ID.txt. What nobody answered stays
unknown. --output_dir gets, for convert.py, negatives.tsv (classes found to be absent) and
strong.tsv (the sounds that were marked); positives.tsv (classes found to be present, without
times); agreement.csv (of each two annotators by class), disagreements.csv (what they do not agree
on), and rates.csv (how often what was asked about is there).
"""

from absl import flags

from audioset_strong.core import cli

_SELECTION = flags.DEFINE_string(
    "selection", None, "Directory that select_clips.py wrote.", required=True
)
_ANSWERS = flags.DEFINE_multi_string(
    "answers",
    None,
    "File or folder of answers, or NAME=PATH to name the annotator; may be repeated.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the metadata.", required=True)
_PREFER = flags.DEFINE_string(
    "prefer", None, "Annotator whose opinion holds where annotators do not agree."
)


def main(argv: list[str]) -> None:
    """Imports the answers and prints what came out."""
    del argv
    from audioset_strong.annotation import writing

    imported = writing.import_answers(
        _SELECTION.value,
        tuple(_ANSWERS.value),
        output_dir=_OUTPUT_DIR.value,
        prefer=_PREFER.value,
    )
    print(imported.summary())


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
