"""`dataset_info.json`: what a dataset of shards is, for everything that comes after conversion."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from audioset_strong.audio import features
from audioset_strong.core import errors, files
from audioset_strong.labels import vocabularies
from audioset_strong.records import clip_records

FILE_NAME = "dataset_info.json"
KNOWN_CLIPS = ("weak_clips", "strong_clips", "negative_clips")
SPLITS = ALL, TRAIN, VALIDATION = "all", "train", "validation"


@dataclasses.dataclass
class DatasetInfo:
    """Describes the shards of one directory.

    Attributes:
      name: of the dataset; its shards' names begin with it.
      split: "all", "train" or "validation" (which side of the split into training and validation).
      schema_version: of the records.
      sample_rate: of the audio, in Hz.
      encoding: of the audio, see `clip_records.ENCODINGS`.
      vocabulary: what the records' class indices mean.
      shards: for each shard its "file" name and its number of "clips"; also its "weak_clips",
        "strong_clips" and "negative_clips", as below, unless an older converter wrote the dataset.
      num_clips: number of clips in all shards.
      statuses: status -> number of clips with that status in the manifest; clips with the status
        "written" are in the shards.
      hours: total length of the audio.
      weak_clips, strong_clips, negative_clips: number of clips for which that kind of label is
        known.
      weak_counts, strong_counts, negative_counts: for each class, the number of clips with such a
        label.
      segment_counts: for each class, the number of strong segments.
      command: the command line that wrote the dataset.
      sources: metadata file -> its sha256.
      fingerprint: hash of what the dataset was converted from, and how.
      labels_outside: mid -> number of labels left out because the vocabulary lacks the mid.
      ancestors: for each class the indices of its ancestors, see
        `ontology.Ontology.ancestor_indices`; empty if no ontology was given.
      front_end: the settings of the log-mel in records of encoding "log_mel"; None for the other
        encodings. Datasets written before this field existed have the default front end.
      split_by: what the split kept together, see `splitting.groups`; "" for videos.
      files_on_both_sides: number of audio files with clips both in training and in validation.
      archive_labels: where in archives of audio weak labels were -> number of clips, of both sides
        of a split and whether converted or not; empty where weak labels are from CSVs.

    Raises:
      errors.InputError: a front end that does not fit the encoding or the sample rate.
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
    front_end: features.FrontEnd | None = None
    split_by: str = ""
    files_on_both_sides: int = 0
    archive_labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.encoding != clip_records.LOG_MEL:
            if self.front_end is not None:
                raise errors.InputError(f"{self.encoding} records take no front end")
            return
        self.front_end = self.front_end or features.DEFAULT_FRONT_END
        if self.front_end.sample_rate != self.sample_rate:
            raise errors.InputError(
                f"front end of {self.front_end.sample_rate} Hz for log-mel of audio of "
                f"{self.sample_rate} Hz"
            )

    def shard_paths(self, directory: str) -> list[str]:
        """The shards' paths, in order."""
        return [os.path.join(directory, shard["file"]) for shard in self.shards]

    def to_json(self) -> dict[str, Any]:
        """The info as `dataset_info.json` holds it; `from_json` reads it back."""
        front_end = self.front_end.to_json() if self.front_end else None
        return dataclasses.asdict(self) | {
            "vocabulary": self.vocabulary.to_json(),
            "front_end": front_end,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DatasetInfo":
        """Reads what `to_json` returned.

        Raises:
          errors.InputError: another schema version, or an impossible front end.
          ValueError, TypeError, KeyError: something else.
        """
        version = values["schema_version"]
        if version != clip_records.SCHEMA_VERSION:
            raise errors.InputError(
                f"schema version {version}, this code reads {clip_records.SCHEMA_VERSION}; convert "
                "the dataset again"
            )
        front_end = values.get("front_end")
        read = {
            "vocabulary": vocabularies.Vocabulary.from_json(values["vocabulary"]),
            "front_end": None if front_end is None else features.FrontEnd.from_json(front_end),
        }
        return cls(**{**values, **read})

    def save(self, directory: str) -> None:
        """Writes the info; the file appears whole or not at all.

        Raises:
          errors.InputError: it cannot be written.
        """
        path = os.path.join(directory, FILE_NAME)
        with files.writing(path):
            files.write_json(path, self.to_json())

    @classmethod
    def load(cls, directory: str) -> "DatasetInfo":
        """Reads the info of a dataset, and checks that its shards exist.

        Args:
          directory: local, or on any file system that `tf.io.gfile` knows.

        Raises:
          errors.InputError: no dataset there, a dataset of another schema version, or a missing
            shard.
        """
        path = os.path.join(directory, FILE_NAME)
        if files.is_remote(directory):
            files.gfile(directory)  # refuses the path where its file system is missing
        try:
            info = cls.from_json(files.read_json(path))
            listed = {shard["file"] for shard in info.shards}
        except FileNotFoundError as error:
            raise errors.InputError(
                f"{directory}: no converted dataset (no {FILE_NAME}); "
                "audioset_strong_convert writes one"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise errors.InputError(f"{path}: cannot be read ({files.reason(error)})") from error
        except errors.InputError as error:
            raise errors.InputError(f"{path}: {error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise errors.InputError(f"{path}: not a dataset info: {error!r}") from error
        missing = listed - set(files.names(directory))
        if missing:
            shard = os.path.join(directory, min(missing))
            raise errors.InputError(f"{shard}: missing, although {path} lists it")
        return info


def count(clips: Sequence[Any], num_classes: int) -> dict[str, Any]:
    """Counts the fields of a `DatasetInfo` that add up over shards.

    Args:
      clips: anything with the weak_labels, segments and negatives of a `clip_records.Clip`.
      num_classes: size of the vocabulary.

    Returns:
      num_clips and the fields *_clips as integers; the fields *_counts as lists of one integer per
      class.
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
