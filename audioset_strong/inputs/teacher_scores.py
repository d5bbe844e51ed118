"""What a teacher says of the clips of a dataset: `teacher-NAME.parquet` beside its shards.

A teacher is a trained model that has scored a dataset (`evaluation.teaching`). The file has a row
for each clip, in the order of the index. It holds what training may ask for, which is little:

- of labels that a clip does not have, and that nobody has called absent: how high the clip stands
  among all such clips of the class. Of each class only the highest are listed.
- of weak labels: the scores of each frame.

Thresholds are set when it is read, so that one file serves many settings. Sources: Fonseca et al.
2020, https://arxiv.org/abs/2005.00878, for labels that are missing; Dinkel et al. 2022,
https://arxiv.org/abs/2204.13430, for pseudo-strong labels.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.inputs import joint_datasets
from audioset_strong.labels.framing import FRAME_MS
from audioset_strong.records.dataset_info import DatasetInfo

FORMAT = 1
_METADATA = b"audioset_strong"
_SCHEMA = pa.schema(
    {
        "clip_id": pa.string(),
        "num_frames": pa.int32(),  # that lie inside the clip
        "missing": pa.list_(pa.int32()),  # classes that may be missing among the weak labels
        "place": pa.list_(pa.int32()),  # of the clip among those without the class; 1 is highest
        "weak_labels": pa.list_(pa.int32()),
        "frame_scores": pa.list_(pa.float32()),  # logits: all frames of a label, then the next
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """Which teacher has scored which dataset.

    Attributes:
      model: path of the teacher.
      weights: fingerprint of its weights.
      front_end: that it was trained with.
      mids: its classes, which are those of the dataset.
      dataset: fingerprint of the dataset, see `joint_datasets.fingerprint`.
      max_missing_share: share of each class's clips without it that are listed.
      candidates: number of the clips of each class without it.
      content: hash of the table.
    """

    model: str
    weights: str
    front_end: FrontEnd
    mids: tuple[str, ...]
    dataset: str
    max_missing_share: float
    candidates: tuple[int, ...]
    content: str = ""

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        front_end = self.front_end.to_json()
        return dataclasses.asdict(self) | {"format": FORMAT, "front_end": front_end}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TeacherFacts":
        """What `to_json` gave, after its way through JSON."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(
            **{name: values[name] for name in names}
            | {
                "front_end": FrontEnd.from_json(values["front_end"]),
                "mids": tuple(values["mids"]),
                "candidates": tuple(values["candidates"]),
            }
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TeacherScores:
    """The scores of a teacher, of all clips of a dataset one after the other.

    Attributes:
      facts: which teacher, which dataset.
      clip_ids: `[clips]`.
      num_frames: int32 `[clips]`, frames that lie inside each clip, one at least.
      missing: int32, classes that may be missing, with `place` int32 of each, and how many each
        clip has, `missing_counts` int32 `[clips]`.
      labels: int32 `[labels]`, weak labels, with `frame_scores` float32 `[labels, frames]`, logits,
        and how many each clip has, `label_counts` int32 `[clips]`.
    """

    facts: TeacherFacts
    clip_ids: pa.StringArray
    num_frames: np.ndarray
    missing: np.ndarray
    place: np.ndarray
    missing_counts: np.ndarray
    labels: np.ndarray
    frame_scores: np.ndarray
    label_counts: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """Segments of clips, of all clips one after the other.

    Attributes:
      counts: int64 `[clips]`, segments of each clip.
      label: int32 `[segments]`.
      start_ms: int32 `[segments]`.
      end_ms: int32 `[segments]`.
    """

    counts: np.ndarray
    label: np.ndarray
    start_ms: np.ndarray
    end_ms: np.ndarray


def path_of(directory: str, name: str) -> str:
    """The file of a teacher.

    Args:
      directory: of the dataset.
      name: of the teacher, letters, digits, "_", "." and "-".

    Raises:
      errors.InputError: another name.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise errors.InputError(
            f"teacher {name!r}: must be a name of letters, digits, '_', '.' and '-'; it is that "
            "given to audioset_strong_teach --name"
        )
    return os.path.join(directory, f"teacher-{name}.parquet")


def write(scores: TeacherScores, file: BinaryIO) -> None:
    """Writes the scores of a teacher to an open file."""
    frames = scores.frame_scores.shape[1]
    columns = [
        scores.clip_ids,
        pa.array(scores.num_frames, pa.int32()),
        _lists(scores.missing_counts, pa.array(scores.missing, pa.int32())),
        _lists(scores.missing_counts, pa.array(scores.place, pa.int32())),
        _lists(scores.label_counts, pa.array(scores.labels, pa.int32())),
        _lists(
            scores.label_counts * frames, pa.array(scores.frame_scores.reshape(-1), pa.float32())
        ),
    ]
    facts = dataclasses.replace(scores.facts, content=_digest(scores))
    schema = _SCHEMA.with_metadata({_METADATA: json.dumps(facts.to_json())})
    parquet.write_table(pa.Table.from_arrays(columns, schema=schema), file, compression="zstd")


def read_facts(directory: str, name: str) -> TeacherFacts:
    """Which teacher a file is of.

    Raises:
      errors.InputError: as `read`, for what can be seen without the scores.
    """
    path = path_of(directory, name)
    return _facts(path, directory, name, _open(path, directory, name).schema_arrow)


def read(directory: str, info: DatasetInfo, name: str) -> TeacherScores:
    """Reads the scores of a teacher.

    Args:
      directory: of the dataset.
      info: of the dataset.
      name: of the teacher.

    Raises:
      errors.InputError: there are none, they are damaged, or of another dataset or class list.
    """
    path = path_of(directory, name)
    file = _open(path, directory, name)
    facts = _facts(path, directory, name, file.schema_arrow)
    again = f"score it again: audioset_strong_teach --dataset={directory} --name={name}"
    if facts.mids != info.vocabulary.mids:
        raise errors.InputError(
            f"{path}: its teacher knows {len(facts.mids)} classes, and the dataset has "
            f"{len(info.vocabulary)} or another order; {again} with a model of these classes"
        )
    if facts.dataset != joint_datasets.fingerprint([directory]):
        raise errors.InputError(
            f"{path}: was made for another dataset, or before this one was converted anew; {again}"
        )
    try:
        table = file.read().combine_chunks()
        counts = [table[c].combine_chunks().value_lengths() for c in ("missing", "weak_labels")]
        labels = _flat(table, "weak_labels")
        scores = TeacherScores(
            facts=facts,
            clip_ids=table["clip_id"].combine_chunks(),
            num_frames=table["num_frames"].to_numpy(),
            missing=_flat(table, "missing"),
            place=_flat(table, "place"),
            missing_counts=counts[0].to_numpy(),
            labels=labels,
            frame_scores=_flat(table, "frame_scores").reshape(len(labels), -1)
            if len(labels)
            else np.zeros((0, 1), np.float32),
            label_counts=counts[1].to_numpy(),
        )
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise errors.InputError(
            f"{path}: is damaged ({errors.first_line(error)}); {again}"
        ) from error
    if _digest(scores) != facts.content:
        raise errors.InputError(f"{path}: is damaged (its checksum differs); {again}")
    return scores


def missing_labels(scores: TeacherScores, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The labels that are missing, as the teacher sees it.

    Args:
      scores: of the teacher.
      share: of the clips without a class, those that the teacher scores highest, of which it is
        said that the label is missing; the threshold on scores is thus a quantile of each class.

    Returns:
      Classes, int32 `[missing]`, and how many each clip has, int64 `[clips]`.

    Raises:
      errors.InputError: a larger share than the file lists.
    """
    facts = scores.facts
    if share > facts.max_missing_share:
        raise errors.InputError(
            f"missing_share = {share}: the scores of {facts.model} list {facts.max_missing_share} "
            "of each class; score the dataset again with a larger --max_missing_share"
        )
    wanted = number_of(share, np.array(facts.candidates))
    chosen = scores.place <= wanted[scores.missing]
    clip = np.repeat(np.arange(len(scores.missing_counts)), scores.missing_counts)
    return scores.missing[chosen], np.bincount(clip[chosen], minlength=len(scores.missing_counts))


def number_of(share: float, candidates: np.ndarray) -> np.ndarray:
    """How many a share of some numbers is, rounded down; int64 like `candidates`."""
    return np.floor(share * candidates + 1e-6).astype(np.int64)


def pseudo_strong(
    scores: TeacherScores, quantile: float, *, clip_ms: np.ndarray | None = None
) -> Segments:
    """Where in its clip each weak label holds, as the teacher hears it.

    A frame has the label if its score reaches the quantile of all frames of clips with this label,
    and the highest of a clip has it in any case, as its weak label says. Frames in a row are one
    segment, and the last one reaches to the end of the clip.

    Args:
      scores: of the teacher.
      quantile: in [0, 1]: with 0 the label holds everywhere, with 1 in the highest frame alone.
      clip_ms: int `[clips]`, lengths of the clips; ten frames by default.
    """
    num_labels, frames = scores.frame_scores.shape
    clip = np.repeat(np.arange(len(scores.label_counts)), scores.label_counts)
    inside = np.arange(frames) < scores.num_frames[clip, np.newaxis]
    values = np.where(inside, scores.frame_scores, -np.inf)
    thresholds = _quantiles(scores.labels, values, inside, quantile)
    holds = inside & (values >= thresholds[scores.labels, np.newaxis])
    if num_labels:
        holds[np.arange(num_labels), values.argmax(axis=1)] = True
    edges = np.diff(np.pad(holds.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, first = np.nonzero(edges == 1)
    _, behind = np.nonzero(edges == -1)
    of_clip = clip[row]
    end = behind * FRAME_MS
    if clip_ms is not None:
        end = np.where(behind == scores.num_frames[of_clip], clip_ms[of_clip], end)
    return Segments(
        counts=np.bincount(of_clip, minlength=len(scores.label_counts)),
        label=scores.labels[row].astype(np.int32),
        start_ms=(first * FRAME_MS).astype(np.int32),
        end_ms=end.astype(np.int32),
    )


def _quantiles(
    labels: np.ndarray, values: np.ndarray, inside: np.ndarray, quantile: float
) -> np.ndarray:
    """The quantile of the scores of each class; float64 `[classes]`."""
    classes = np.broadcast_to(labels[:, np.newaxis], values.shape)[inside]
    chosen = values[inside]
    order = np.argsort(classes, kind="stable")
    counts = np.bincount(classes) if len(classes) else np.zeros(0, np.int64)
    parts = np.split(chosen[order], np.cumsum(counts)[:-1]) if len(counts) else []
    return np.array([np.quantile(part, quantile) if len(part) else np.inf for part in parts])


def _lists(counts: np.ndarray, values: pa.Array) -> pa.ListArray:
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _flat(table: pa.Table, name: str) -> np.ndarray:
    return table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)


def _digest(scores: TeacherScores) -> str:
    """A hash of the table: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    arrays: Sequence[np.ndarray] = (
        scores.num_frames,
        scores.missing,
        scores.place,
        scores.missing_counts,
        scores.labels,
        scores.label_counts,
    )
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.int32).tobytes())
    digest.update(np.ascontiguousarray(scores.frame_scores, np.float32).tobytes())
    digest.update("\n".join(scores.clip_ids.to_pylist()).encode())
    return digest.hexdigest()[:16]


def _open(path: str, directory: str, name: str) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(pa.BufferReader(files.read_bytes(path)))
    except FileNotFoundError as error:
        raise errors.InputError(
            f"{path}: no teacher {name!r} has scored this dataset; let one do it: "
            f"audioset_strong_teach --model=WORKDIR --dataset={directory} --name={name}"
        ) from error
    except (OSError, pa.ArrowException) as error:
        reason = errors.first_line(error)
        raise errors.InputError(f"{path}: not the scores of a teacher ({reason})") from error


def _facts(path: str, directory: str, name: str, schema: pa.Schema) -> TeacherFacts:
    again = f"audioset_strong_teach --dataset={directory} --name={name} writes one"
    try:
        values = json.loads((schema.metadata or {})[_METADATA])
        if values["format"] != FORMAT:
            raise errors.InputError(
                f"{path}: format {values['format']!r}, but this version reads {FORMAT}; {again}"
            )
        return TeacherFacts.from_json(values)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise errors.InputError(
            f"{path}: not the scores of a teacher ({error!r}); {again}"
        ) from error
