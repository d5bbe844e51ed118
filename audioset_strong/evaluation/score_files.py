"""Files of scores: npz or Parquet, of evaluate.py or of any other system.

An npz holds the arrays of `scoring.Scores` under their names; `score_tables` describes the Parquet
table.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from absl import logging

from audioset_strong.core import choices, errors, files
from audioset_strong.evaluation import score_tables, scoring

FORMATS = NPZ, PARQUET = choices.SCORE_FORMATS
# What NumPy raises where a file is not an npz, is damaged, or lacks an array.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


def save(scores: scoring.Scores, path: str) -> None:
    """Writes scores and labels; the suffix of the path decides the format.

    Args:
      scores: with their labels.
      path: of the file, ending in ".parquet" or ".npz"; it appears whole or not at all.

    Raises:
      OSError: it cannot be written.
    """
    with files.replacing(path) as file:
        if _format(path) == PARQUET:
            score_tables.write(scores, file)
        else:
            arrays = {name: getattr(scores, name) for name in scoring.ARRAYS}
            np.savez_compressed(
                file, mids=np.array(scores.mids), clip_ids=np.array(scores.clip_ids), **arrays
            )


def load(path: str) -> scoring.Scores:
    """Reads and checks what `save` wrote.

    Raises:
      errors.InputError: no such file, not scores with labels, or bad values.
    """
    mids, clip_ids, arrays = _read(path, tuple(scoring.ARRAYS))
    scores = scoring.Scores(mids, clip_ids, **arrays)
    scores.check(path)
    return scores


class ScoreFile:
    """The scores of a file, to be joined with labels from elsewhere.

    Attributes:
      path: of the file: an npz of mids `[classes]`, clip_ids `[clips]` and frame_scores float
        `[clips, 10, classes]`, or a Parquet table; in any order.
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
        scoring.check_unique(self.mids, f"{path}: class")
        scoring.check_unique(self.clip_ids, f"{path}: clip")
        self._column = {mid: k for k, mid in enumerate(self.mids)}
        self._row = {clip_id: i for i, clip_id in enumerate(self.clip_ids)}

    def with_labels(
        self,
        batches: Iterable[Mapping[str, np.ndarray]],
        *,
        mids: tuple[str, ...],
        on_batch: scoring.OnBatch = None,
    ) -> scoring.Scores:
        """The scores together with the labels of a dataset.

        Clips and classes that the dataset lacks are left out, with a warning.

        Args:
          batches: of the evaluation grid; only their labels are used.
          mids: the classes of the dataset.
          on_batch: called with the number of clips of each batch, for progress.

        Raises:
          errors.InputError: a clip or class of the dataset that the file has no scores of, or
            another number of frames.
        """
        columns = self._indices(mids, self._column, "class")

        def predict(batch: Mapping[str, np.ndarray]) -> np.ndarray:
            frames = batch["frame_valid"].shape[1]
            if self._scores.shape[1] != frames:
                raise errors.InputError(
                    f"{self.path}: {self._scores.shape[1]} frames a clip; the dataset has {frames}"
                )
            rows = self._indices(scoring.clip_ids(batch), self._row, "clip")
            return self._scores[rows][:, :, columns]

        scores = scoring.score(predict, batches, mids=mids, name=self.path, on_batch=on_batch)
        self._warn_of_unused("classes", len(self.mids) - len(scores.mids))
        self._warn_of_unused("clips", len(self.clip_ids) - len(scores.clip_ids))
        return scores

    def _warn_of_unused(self, noun: str, count: int) -> None:
        if count > 0:
            logging.warning("%s: %d %s are not in the dataset: left out", self.path, count, noun)

    def _indices(self, names: Iterable[str], index: Mapping[str, int], noun: str) -> list[int]:
        missing = [name for name in names if name not in index]
        if missing:
            raise errors.InputError(f"{self.path}: no scores of {noun} {missing[0]} of the dataset")
        return [index[name] for name in names]


def _format(path: str) -> str:
    return PARQUET if pathlib.PurePath(path).suffix == f".{PARQUET}" else NPZ


def _read(
    path: str, names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, np.ndarray]]:
    """The mids, the clip ids and the named arrays of a file."""
    try:
        with files.local_copy(path) as local:
            return (score_tables.read if _format(path) == PARQUET else _read_npz)(local, names)
    except FileNotFoundError as error:
        raise errors.InputError(f"{path}: no such file") from error
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise errors.InputError(f"{path}: not scores in {_format(path)} format: {error}") from error


def _read_npz(
    path: str, names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, np.ndarray]]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in names}
        mids = tuple(str(mid) for mid in file["mids"])
        clip_ids = tuple(str(clip_id) for clip_id in file["clip_ids"])
    return mids, clip_ids, arrays
