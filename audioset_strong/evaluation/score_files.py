"""Files of scores: npz or Parquet, of evaluate.py or of any other system.

An npz holds the arrays of `scoring.Scores` under their names, or `frame_logits` in place of
`frame_scores` where the scores are logits; `score_tables` describes the Parquet table. So the name
says what the scores are. evaluate.py keeps logits, which give its metrics to the last digit.
"""

import dataclasses
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
_SCORES, _LOGITS = "frame_scores", "frame_logits"  # arrays of an npz, of which it has one
_VALID = "frame_valid"
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
            arrays = {name: getattr(scores, name) for name in scoring.LABELS}
            arrays[_LOGITS if scores.are_logits else _SCORES] = scores.frame_scores
            np.savez_compressed(
                file, mids=np.array(scores.mids), clip_ids=np.array(scores.clip_ids), **arrays
            )


def load(path: str, *, logits: bool = False) -> scoring.Scores:
    """Reads and checks what `save` wrote.

    Args:
      path: of the file.
      logits: whether scores that the file calls probabilities are logits.

    Raises:
      errors.InputError: no such file, not scores with labels, or bad values.
    """
    content = _read(path, tuple(scoring.ARRAYS))
    are_logits = _are_logits(path, content, logits)
    scores = scoring.Scores(content.mids, content.clip_ids, **content.arrays, are_logits=are_logits)
    scores.check(path)
    return scores


class ScoreFile:
    """The scores of a file, to be joined with labels from elsewhere.

    Attributes:
      path: of the file: an npz of mids `[classes]`, clip_ids `[clips]` and frame_scores float
        `[clips, 10, classes]`, probabilities, or frame_logits instead, and perhaps frame_valid bool
        `[clips, 10]`; or a Parquet table; in any order.
      mids: its classes.
      clip_ids: its clips.
      frame_valid: bool `[clips, frames]`, frames that lie inside the clip; None where the file does
        not tell.
    """

    def __init__(self, path: str, *, logits: bool = False):
        """Reads a file.

        Args:
          path: of the file.
          logits: whether scores that the file calls probabilities are logits.

        Raises:
          errors.InputError: no such file, or bad values in it.
        """
        self.path = path
        content = _read(path, (_SCORES,), optional=(_VALID,))
        self.mids, self.clip_ids = content.mids, content.clip_ids
        self._scores = content.arrays[_SCORES]
        self._are_logits = _are_logits(path, content, logits)
        self.frame_valid: np.ndarray | None = content.arrays.get(_VALID)
        expected = (len(self.clip_ids), len(self.mids))
        if self._scores.ndim != 3 or self._scores.shape[::2] != expected:
            raise errors.InputError(
                f"{path}: frame_scores has shape {self._scores.shape}; must be [clips, frames, "
                f"classes] of {expected[0]} clips and {expected[1]} classes"
            )
        valid = self.frame_valid
        if valid is not None and (valid.shape != self._scores.shape[:2] or valid.dtype != bool):
            raise errors.InputError(
                f"{path}: {_VALID} is {valid.dtype} {valid.shape}; must be bool "
                f"{self._scores.shape[:2]}, [clips, frames]"
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
        columns = self._indices(mids, self._column, "classes")

        def predict(batch: Mapping[str, np.ndarray]) -> np.ndarray:
            frames = batch["frame_valid"].shape[1]
            if self._scores.shape[1] != frames:
                raise errors.InputError(
                    f"{self.path}: {self._scores.shape[1]} frames a clip; the labels have {frames}"
                )
            rows = self._indices(scoring.clip_ids(batch), self._row, "clips")
            return self._scores[rows][:, :, columns]

        scores = scoring.score(
            predict,
            batches,
            mids=mids,
            are_logits=self._are_logits,
            name=self.path,
            on_batch=on_batch,
        )
        self._warn_of_unused("classes", len(self.mids) - len(scores.mids))
        self._warn_of_unused("clips", len(self.clip_ids) - len(scores.clip_ids))
        return scores

    def frame_scores(self, clip_ids: Sequence[str], mids: Sequence[str]) -> tuple[np.ndarray, bool]:
        """The scores of some clips and classes, without labels.

        Args:
          clip_ids: the clips.
          mids: the classes.

        Returns:
          float `[clips, frames, classes]`, and whether they are logits. Values are not checked.

        Raises:
          errors.InputError: a clip or class that the file has no scores of.
        """
        columns = self._indices(mids, self._column, "classes")
        rows = self._indices(clip_ids, self._row, "clips")
        frames = range(self._scores.shape[1])
        return self._scores[np.ix_(rows, frames, columns)], self._are_logits

    def _warn_of_unused(self, noun: str, count: int) -> None:
        if count > 0:
            logging.warning("%s: %d %s are not in the dataset: left out", self.path, count, noun)

    def _indices(self, names: Sequence[str], index: Mapping[str, int], noun: str) -> list[int]:
        missing = [name for name in names if name not in index]
        if missing:
            raise errors.InputError(
                f"{self.path}: no scores of {len(missing)} of {len(names)} {noun} of the dataset, "
                f"such as {missing[0]}; its own {noun} are {', '.join([*index][:3])}, ..."
            )
        return [index[name] for name in names]


def _format(path: str) -> str:
    return PARQUET if pathlib.PurePath(path).suffix == f".{PARQUET}" else NPZ


@dataclasses.dataclass(frozen=True)
class _Content:
    """What a file holds: classes, clips, and arrays as in `scoring.ARRAYS`."""

    mids: tuple[str, ...]
    clip_ids: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    are_logits: bool


def _are_logits(path: str, content: _Content, told: bool) -> bool:
    """Whether the scores of a file are logits, by its own word or by that of the user.

    Raises:
      errors.InputError: the user says so of values that are all from 0 to 1.
    """
    scores = content.arrays[_SCORES]
    is_number = np.issubdtype(scores.dtype, np.number)  # if not, a later check tells
    if told and not content.are_logits and is_number and np.all((scores >= 0) & (scores <= 1)):
        raise errors.InputError(
            f"--logits: all scores of {path} are from 0 to 1, as probabilities are; leave it out"
        )
    return told or content.are_logits


def _read(path: str, names: Sequence[str], *, optional: Sequence[str] = ()) -> _Content:
    """The mids, the clip ids and the named arrays of a file, and optional ones if it has them."""
    try:
        with files.local_copy(path) as local:
            if _format(path) == PARQUET:
                return _Content(*score_tables.read(local, names, optional=optional))
            return _read_npz(local, names, optional)
    except FileNotFoundError as error:
        raise errors.InputError(f"{path}: no such file") from error
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise errors.InputError(f"{path}: not scores in {_format(path)} format: {error}") from error


def _read_npz(path: str, names: Sequence[str], optional: Sequence[str]) -> _Content:
    with np.load(path) as file:
        names = [*names, *(name for name in optional if name in file.files)]
        are_logits = _LOGITS in file.files
        stored = {name: _LOGITS if are_logits and name == _SCORES else name for name in names}
        arrays = {name: file[key] for name, key in stored.items()}
        mids = tuple(str(mid) for mid in file["mids"])
        clip_ids = tuple(str(clip_id) for clip_id in file["clip_ids"])
    return _Content(mids, clip_ids, arrays, are_logits)
