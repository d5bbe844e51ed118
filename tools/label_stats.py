"""Counts the labels of metadata files: tables as CSV files, and figures.

Example:
  label_stats.py --weak_csv=balanced_train_segments.csv --strong_tsv=audioset_train_strong.tsv \\
      --class_labels=class_labels_indices.csv --class_labels=mid_to_display_name.tsv \\
      --output_dir=stats

Each kind of file may be left out or given several times. The tables hold the number of labels of
each class and clip and the lengths of segments; for clips that have weak and strong labels, they
also hold the priors of both kinds (Fig. 2 of the paper) and the odds ratios between them. Framed
labels are counted as frames, and as the explicit negatives of clips that section 3.3 counts.
"""

from absl import flags

from audioset_strong.core import choices, cli

_METADATA = cli.metadata_flags(
    "weak_csv",
    "strong_tsv",
    "framed_tsv",
    "negatives",
    "class_labels",
    "ontology",
    "clip_list",
    "skip_bad_rows",
    descriptions={
        "class_labels": "List of classes, for their display names",
        "ontology": "ontology.json, for the names of classes that are in no list.",
    },
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Directory of the tables and figures.", required=True
)
_TOP_K = flags.DEFINE_integer("top_k", 5, "How many labels to list for each label.")
_RANK_BY = flags.DEFINE_enum(
    "rank_by",
    choices.ODDS_RATIO,
    choices.RANKINGS,
    "What they are ranked by: the odds ratio, as in section 3.1 of the paper, or the lower bound "
    "of its 95% interval, which prefers pairs that many clips have.",
)


def main(argv: list[str]) -> None:
    """Writes the statistics and prints the summary."""
    del argv
    from audioset_strong.analysis import label_report
    from audioset_strong.labels import metadata_files

    request = label_report.LabelStatsRequest(
        metadata_files.MetadataFiles(**_METADATA()),
        _OUTPUT_DIR.value,
        top_k=_TOP_K.value,
        rank_by=_RANK_BY.value,
    )
    summary, written = label_report.write(request)
    print(summary.to_string(index=False, float_format="{:.2f}".format))
    print("\n".join(str(path) for path in written))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
