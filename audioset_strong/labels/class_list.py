"""Writes lists of classes; `metadata.read_class_list` reads them."""

import csv
import os

from audioset_strong.labels import vocabularies


def write(path: str | os.PathLike, vocabulary: vocabularies.Vocabulary) -> None:
    """Writes index, mid, display_name, as `class_labels_indices.csv` and YAMNet's class map."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "mid", "display_name"])
        for i, (mid, name) in enumerate(zip(vocabulary.mids, vocabulary.names, strict=True)):
            writer.writerow([i, mid, name])
