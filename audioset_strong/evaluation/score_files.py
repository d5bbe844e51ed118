"""Scores in files: npz or Parquet, of evaluate.py or of any other system.

An npz holds the arrays of `scoring.Scores` under their names. A Parquet file holds a row for each
clip and frame, so that data frames of any language read and write it: `clip_id`, `frame` (0 to 9),
and a column of scores for each class, named by its mid. Those of evaluate.py have the labels, too:
`frame_valid`, `weak_known`, `negatives_known`, `strong_known`, and for each class `weak:<mid>`,
`negative:<mid>` and `strong:<mid>`; what speaks of the clip stands in each of its rows.
"""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from absl import logging
from pyarrow import parquet

from audioset_strong.core import errors
from audioset_strong.evaluation import scoring

FORMATS = NPZ, PARQUET = ("npz", "parquet")
_CLIP, _FRAME = "clip_id", "frame"
_CLIPS_AT_A_TIME = 2000
# Arrays with a column for each class -> what its name begins with.
_PREFIXES = {
    "frame_scores": "",
    "weak_labels": "weak:",
    "negative_labels": "negative:",
    "frame_labels": "strong:",
}
_FLAGS = tuple(name for name in scoring.ARRAYS if name not in _PREFIXES)
# What numpy raises where a file is no npz, is damaged, or lacks an array.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error),
)

_Named = tuple[tuple[str, ...], tuple[str, ...], dict[str, np.ndarray]]


def save(scores: scoring.Scores, path: str) -> None:
    """Writes scores and labels, as the name's ending says, so that no reader sees half of them."""
    temporary = f"{path}.tmp.{_format(path)}"
    if _format(path) == PARQUET:
        _save_parquet(scores, temporary)
    else:
        arrays = {name: getattr(scores, name) for name in scoring.ARRAYS}
        np.savez_compressed(
            temporary, mids=np.array(scores.mids), clip_ids=np.array(scores.clip_ids), **arrays
        )
    os.replace(temporary, path)


def load(path: str) -> scoring.Scores:
    """Reads what `save` wrote, and checks it.

    Raises:
      errors.InputError: no such file, none of scores and labels, or bad values in it.
    """
    mids, clip_ids, arrays = _read(path, tuple(scoring.ARRAYS))
    scores = scoring.Scores(mids, clip_ids, **arrays)
    scores.check(path)
    return scores


class ScoreFile:
    """The scores of a file, to be held against labels from elsewhere.

    Attributes:
      path: of the file: an npz of mids `[classes]`, clip_ids `[clips]` and frame_scores float
        `[clips, 10, classes]`, or a Parquet file; in any order.
      mids: its classes.
      clip_ids: its clips.
    """

    def __init__(self, path: str):
        """Reads a file.

        Raises:
          errors.InputError: no such file, or bad values in it.
        """
        self.path = path
        self.mids, self.clip_ids, arrays = _read(path, ("frame_scores",))
        self._scores = arrays["frame_scores"]
        expected = (len(self.clip_ids), len(self.mids))
        if self._scores.ndim != 3 or self._scores.shape[::2] != expected:
            raise errors.InputError(
                f"{path}: frame_scores has shape {self._scores.shape}; must be [clips, frames, "
                f"classes] of {expected[0]} clips and {expected[1]} classes"
            )
        for noun, names in (("class", self.mids), ("clip", self.clip_ids)):
            if scoring.twice(names) is not None:
                raise errors.InputError(f"{path}: {noun} {scoring.twice(names)} is there twice")
        self._column = {mid: k for k, mid in enumerate(self.mids)}
        self._row = {clip_id: i for i, clip_id in enumerate(self.clip_ids)}

    def against(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        mids: tuple[str, ...],
        on_batch: scoring.OnBatch = None,
    ) -> scoring.Scores:
        """The scores with the labels of a dataset.

        What the dataset lacks is left out, with a warning.

        Args:
          batches: of `sampling.grid_patches`; of the patches only the labels are used.
          mids: the classes of the dataset.
          on_batch: called with the clips of each batch, for progress.

        Raises:
          errors.InputError: a clip or class of the dataset that the file has no scores of, or
            another number of frames.
        """
        columns = self._places(mids, self._column, "class")

        def predict(batch: Mapping[str, np.ndarray]) -> np.ndarray:
            frames = batch["frame_valid"].shape[1]
            if self._scores.shape[1] != frames:
                raise errors.InputError(
                    f"{self.path}: {self._scores.shape[1]} frames a clip; the dataset has {frames}"
                )
            rows = self._places(scoring.clip_ids(batch), self._row, "clip")
            return self._scores[rows][:, :, columns]

        scores = scoring.score(predict, batches, mids, self.path, on_batch)
        for noun, held, used in (
            ("classes", self.mids, scores.mids),
            ("clips", self.clip_ids, scores.clip_ids),
        ):
            if len(held) > len(used):
                logging.warning(
                    "%s: %d %s are not in the dataset: left out",
                    *(self.path, len(held) - len(used), noun),
                )
        return scores

    def _places(self, names: Iterable[str], index: Mapping[str, int], noun: str) -> list[int]:
        missing = [name for name in names if name not in index]
        if missing:
            raise errors.InputError(f"{self.path}: no scores of {noun} {missing[0]} of the dataset")
        return [index[name] for name in names]


def _format(path: str) -> str:
    return PARQUET if pathlib.PurePath(path).suffix == f".{PARQUET}" else NPZ


def _read(path: str, names: Sequence[str]) -> _Named:
    """The mids, the clip ids and the named arrays of a file."""
    try:
        return (_read_parquet if _format(path) == PARQUET else _read_npz)(path, names)
    except FileNotFoundError as error:
        raise errors.InputError(f"{path}: no such file") from error
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise errors.InputError(f"{path}: no {_format(path)} of scores: {error}") from error


def _read_npz(path: str, names: Sequence[str]) -> _Named:
    with np.load(path) as file:
        arrays = {name: file[name] for name in names}
        mids = tuple(str(mid) for mid in file["mids"])
        clip_ids = tuple(str(clip_id) for clip_id in file["clip_ids"])
    return mids, clip_ids, arrays


def _save_parquet(scores: scoring.Scores, path: str) -> None:
    frames = scores.frame_scores.shape[1]
    writer = None
    for begin in range(0, len(scores.clip_ids), _CLIPS_AT_A_TIME):
        part = slice(begin, begin + _CLIPS_AT_A_TIME)
        clip_ids = np.array(scores.clip_ids[part], object)
        columns = {
            _CLIP: np.repeat(clip_ids, frames),
            _FRAME: np.tile(np.arange(frames, dtype=np.int32), len(clip_ids)),
        }
        for name, (_, axes) in scoring.ARRAYS.items():
            rows = getattr(scores, name)[part]
            if "frames" not in axes:
                rows = np.repeat(rows, frames, axis=0)
            if name in _FLAGS:
                columns[name] = rows.reshape(-1)
            else:
                by_class = np.ascontiguousarray(rows.reshape(-1, len(scores.mids)).T)
                columns |= {
                    _PREFIXES[name] + mid: column
                    for mid, column in zip(scores.mids, by_class, strict=True)
                }
        table = pa.table(columns)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def _read_parquet(path: str, names: Sequence[str]) -> _Named:
    with parquet.ParquetFile(path) as file:
        listed = file.schema_arrow.names
        for needed in (_CLIP, _FRAME, *(name for name in names if name in _FLAGS)):
            if needed not in listed:
                raise ValueError(f"it has no column {needed!r}")
        prefixes = tuple(prefix for prefix in _PREFIXES.values() if prefix)
        known = {_CLIP, _FRAME, *_FLAGS}
        others = ("__index_level_", *prefixes)  # the former is a data frame's index
        mids = tuple(name for name in listed if name not in known and not name.startswith(others))
        clip_ids, order = _clips_and_order(
            file.read([_CLIP]).column(0).to_pandas(), file.read([_FRAME]).column(0).to_pandas()
        )
        shape = (len(clip_ids), len(order) // max(len(clip_ids), 1))

        def read(columns: Sequence[str], per_frame: bool) -> np.ndarray:
            """`[clips, (frames,) columns]`, and without its last axis where it is of one flag."""
            table = file.read(list(columns))
            found = np.stack([table.column(name).to_numpy() for name in columns], axis=-1)[order]
            found = found.reshape(*shape, len(columns))
            return found if per_frame else found[:, 0]

        arrays = {}
        for name in names:
            per_frame = "frames" in scoring.ARRAYS[name][1]
            if name in _FLAGS:
                arrays[name] = read([name], per_frame)[..., 0]
            elif mids:
                arrays[name] = read([_PREFIXES[name] + mid for mid in mids], per_frame)
            else:
                raise ValueError("it has no column of scores")
    return mids, clip_ids, arrays


def _clips_and_order(clip: pd.Series, frame: pd.Series) -> tuple[tuple[str, ...], np.ndarray]:
    """The clips, as they first appear, and the order of the rows by clip and frame.

    Raises:
      ValueError: a frame that is missing or there twice.
    """
    place, clip_ids = pd.factorize(clip)
    order = np.lexsort((frame, place))
    frames = len(frame) // max(len(clip_ids), 1)
    wanted = np.tile(np.arange(frames), len(clip_ids))
    found = frame.to_numpy()[order]
    if len(found) != len(wanted) or not np.array_equal(
        place[order], np.repeat(np.arange(len(clip_ids)), frames)
    ):
        counts = clip.value_counts(sort=False)
        odd = counts[counts != counts.mode()[0]]
        name, count = (odd.index[0], odd.iloc[0]) if len(odd) else (clip_ids[0], len(found))
        raise ValueError(f"clip {name} has {count} rows; all clips must have as many frames")
    if not np.array_equal(found, wanted):
        row = order[np.flatnonzero(found != wanted)[0]]
        raise ValueError(
            f"clip {clip.iloc[row]}: frame {frame.iloc[row]} is there twice or out of 0 to "
            f"{frames - 1}"
        )
    return tuple(str(clip_id) for clip_id in clip_ids), order
