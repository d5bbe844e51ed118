"""`dataset_info.json`: what a dataset of shards is, for everything that comes after conversion."""

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from audioset_strong.core import errors, files
from audioset_strong.labels import vocabularies
from audioset_strong.records import clip_records

FILE_NAME = "dataset_info.json"
KNOWN_CLIPS = ("weak_clips", "strong_clips", "negative_clips")


@dataclasses.dataclass
class DatasetInfo:
    """Describes the shards of one directory.

    Attributes:
      name: of the dataset; its shards' names begin with it.
      split: "all", "train" or "validation" (which side of the hash of the video id).
      schema_version: of the records.
      sample_rate: Hz.
      encoding: of the audio, see `clip.ENCODINGS`.
      vocabulary: what the records' class indices mean.
      shards: of each the "file" name and the number of "clips"; also "weak_clips", "strong_clips"
        and "negative_clips", as below, unless an older converter wrote them.
      num_clips: in all shards.
      statuses: clips of the manifest by their status; those "written" are in the shards.
      hours: of audio.
      weak_clips, strong_clips, negative_clips: clips for which that kind of label is known.
      weak_counts, strong_counts, negative_counts: clips labelled so, for each class.
      segment_counts: strong segments of each class.
      command: the command line that wrote the dataset.
      sources: metadata file -> sha256.
      fingerprint: hash of what the dataset was converted from, and how.
      labels_outside: mid -> number of labels left out because the vocabulary lacks it.
      ancestors: for each class the indices of those that it is a kind of, see
        `ontology.Ontology.ancestor_indices`; empty where no ontology was given.
    """

    name: str
    split: str
    schema_version: int
    sample_rate: int
    encoding: str
    vocabulary: vocabularies.Vocabulary
    shards: list[dict] = dataclasses.field(default_factory=list)
    num_clips: int = 0
    statuses: dict[str, int] = dataclasses.field(default_factory=dict)
    hours: float = 0.0
    weak_clips: int = 0
    strong_clips: int = 0
    negative_clips: int = 0
    weak_counts: list[int] = dataclasses.field(default_factory=list)
    strong_counts: list[int] = dataclasses.field(default_factory=list)
    segment_counts: list[int] = dataclasses.field(default_factory=list)
    negative_counts: list[int] = dataclasses.field(default_factory=list)
    command: str = ""
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    labels_outside: dict[str, int] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    ancestors: list[list[int]] = dataclasses.field(default_factory=list)

    def shard_paths(self, directory: str) -> list[str]:
        """The shards' paths, in order."""
        return [os.path.join(directory, shard["file"]) for shard in self.shards]

    def save(self, directory: str) -> None:
        """Writes the info, by rename: where the file is, it is whole.

        Raises:
          errors.InputError: it cannot be written.
        """
        values = dataclasses.asdict(self) | {"vocabulary": self.vocabulary.to_json()}
        path = os.path.join(directory, FILE_NAME)
        with files.writing(path):
            files.write_text(path, json.dumps(values, indent=1) + "\n")

    @classmethod
    def load(cls, directory: str) -> "DatasetInfo":
        """Reads the info of a dataset, and checks that its shards are there.

        Args:
          directory: local, or of any file system that `tf.io.gfile` knows.

        Raises:
          errors.InputError: no dataset there, one of another schema version, or a missing shard.
        """
        path = os.path.join(directory, FILE_NAME)
        try:
            text = files.read_text(path)
        except FileNotFoundError as error:
            raise errors.InputError(
                f"{directory}: no converted dataset (no {FILE_NAME}); convert.py writes one"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise errors.InputError(f"{path}: cannot be read ({files.reason(error)})") from error
        try:
            values = json.loads(text)
            version = values["schema_version"]
            if version != clip_records.SCHEMA_VERSION:
                raise errors.InputError(
                    f"{path}: schema version {version}, this code reads "
                    f"{clip_records.SCHEMA_VERSION}; convert the dataset again"
                )
            vocabulary = vocabularies.Vocabulary.from_json(values.pop("vocabulary"))
            info = cls(**values, vocabulary=vocabulary)
            listed = {shard["file"] for shard in info.shards}
        except (ValueError, TypeError, KeyError) as error:
            raise errors.InputError(f"{path}: no dataset info: {error!r}") from error
        missing = listed - set(files.names(directory))
        if missing:
            shard = os.path.join(directory, min(missing))
            raise errors.InputError(f"{shard}: missing, though {path} lists it")
        return info


def count(clips: Sequence[Any], num_classes: int) -> dict[str, Any]:
    """Those fields of a `DatasetInfo` that add up over shards.

    Args:
      clips: anything with the weak_labels, segments and negatives of a `clip.Clip`.
      num_classes: size of the vocabulary.

    Returns:
      num_clips and the fields *_clips, integers; the fields *_counts, lists of an integer a class.
    """

    def per_class(label_lists: Iterable[Iterable[int]]) -> list[int]:
        labels = np.fromiter(itertools.chain.from_iterable(label_lists), np.int64)
        return np.bincount(labels, minlength=num_classes).tolist()

    weak = [clip.weak_labels for clip in clips if clip.weak_labels is not None]
    negatives = [clip.negatives for clip in clips if clip.negatives is not None]
    segments = [[s[2] for s in clip.segments] for clip in clips if clip.segments is not None]
    return {
        "num_clips": len(clips),
        "weak_clips": len(weak),
        "strong_clips": len(segments),
        "negative_clips": len(negatives),
        "weak_counts": per_class(map(set, weak)),
        "strong_counts": per_class(map(set, segments)),
        "segment_counts": per_class(segments),
        "negative_counts": per_class(map(set, negatives)),
    }
