"""Counts the labels of metadata files: tables as CSV files, and figures.

Example:
  label_stats.py --weak_csv=balanced_train_segments.csv --strong_tsv=audioset_train_strong.tsv \\
      --class_labels=class_labels_indices.csv --class_labels=mid_to_display_name.tsv \\
      --output_dir=stats

Any of the files may be left out, and each may be given several times. Written are the labels of
each class and clip, the lengths of segments, and, over the clips with weak and strong labels, the
priors of both (Fig. 2 of the paper) and the odds ratios between them.
"""

from absl import flags

from audioset_strong.core import cli

_WEAK_CSV = flags.DEFINE_multi_string("weak_csv", [], "Weak label CSV; may be repeated.")
_STRONG_TSV = flags.DEFINE_multi_string("strong_tsv", [], "Strong label TSV; may be repeated.")
_FRAMED_TSV = flags.DEFINE_multi_string("framed_tsv", [], "Framed label TSV; may be repeated.")
_NEGATIVES = flags.DEFINE_multi_string(
    "negatives", [], "TSV or CSV of segment id and absent label(s); may be repeated."
)
_CLASS_LABELS = flags.DEFINE_multi_string(
    "class_labels", [], "List of classes, for their names; may be repeated."
)
_ONTOLOGY = flags.DEFINE_string("ontology", None, "ontology.json, for names in no list of classes.")
_CLIPS = flags.DEFINE_string("clips", None, "File of segment ids: only these are counted.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the files go.", required=True)
_TOP_K = flags.DEFINE_integer("top_k", 5, "Labels listed for each label, by odds ratio.")
_SKIP_BAD_ROWS = flags.DEFINE_bool(
    "skip_bad_rows", False, "Leave malformed metadata rows out, and list them."
)


def main(argv: list[str]) -> None:
    """Writes the statistics and prints the summary."""
    del argv
    from audioset_strong.analysis import label_report

    summary, written = label_report.write(
        label_report.Request(
            output_dir=_OUTPUT_DIR.value,
            weak_csvs=tuple(_WEAK_CSV.value),
            strong_tsvs=tuple(_STRONG_TSV.value),
            framed_tsvs=tuple(_FRAMED_TSV.value),
            negatives=tuple(_NEGATIVES.value),
            class_labels=tuple(_CLASS_LABELS.value),
            ontology=_ONTOLOGY.value,
            clip_list=_CLIPS.value,
            top_k=_TOP_K.value,
            skip_bad_rows=_SKIP_BAD_ROWS.value,
        )
    )
    print(summary.to_string(index=False, float_format="{:.2f}".format))
    print("\n".join(str(path) for path in written))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
