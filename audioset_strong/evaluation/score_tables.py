"""Scores as a Parquet table, which data frames of any language can read and write.

The table has a row for each clip and frame, in any order: `clip_id`, `frame` (0 to 9), and a column
of probabilities for each class, named by its mid, or one of logits, named `logit:<mid>`, which is
what evaluate.py keeps. Tables that this module writes have the labels too:
`frame_valid`, `weak_known`, `negatives_known`, `strong_known`, and for each class `weak:<mid>`,
`negative:<mid>` and `strong:<mid>`. Clip-level values are repeated in every row of the clip.
"""

from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from audioset_strong.evaluation import scoring

_CLIP, _FRAME = "clip_id", "frame"
_CLIPS_AT_A_TIME = 2000
_INDEX = "__index_level_"  # the beginning of the column that pandas keeps an index in
# Arrays with a column for each class, and what the names of their columns begin with.
_PREFIXES = {
    "frame_scores": "",
    "weak_labels": "weak:",
    "negative_labels": "negative:",
    "frame_labels": "strong:",
}
_LOGIT = "logit:"  # the prefix of scores that are logits
_FLAGS = tuple(name for name in scoring.ARRAYS if name not in _PREFIXES)


def write(scores: scoring.Scores, file: BinaryIO) -> None:
    """Writes scores and labels as Parquet."""
    writer = None
    for begin in range(0, len(scores.clip_ids), _CLIPS_AT_A_TIME):
        table = pa.table(_columns(scores, slice(begin, begin + _CLIPS_AT_A_TIME)))
        writer = writer or parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def _columns(scores: scoring.Scores, clips: slice) -> dict[str, np.ndarray]:
    """The columns of some of the clips, each `[clips * frames]`."""
    frames = scores.frame_scores.shape[1]
    clip_ids = np.array(scores.clip_ids[clips], object)
    prefixes = _prefixes(scores.are_logits)
    columns = {
        _CLIP: np.repeat(clip_ids, frames),
        _FRAME: np.tile(np.arange(frames, dtype=np.int32), len(clip_ids)),
    }
    for name, (_, axes) in scoring.ARRAYS.items():
        rows = getattr(scores, name)[clips]
        if "frames" not in axes:
            rows = np.repeat(rows, frames, axis=0)
        if name in _FLAGS:
            columns[name] = rows.reshape(-1)
        else:
            by_class = np.ascontiguousarray(rows.reshape(-1, len(scores.mids)).T)
            columns |= {
                prefixes[name] + mid: column
                for mid, column in zip(scores.mids, by_class, strict=True)
            }
    return columns


def _prefixes(are_logits: bool) -> dict[str, str]:
    return _PREFIXES | ({"frame_scores": _LOGIT} if are_logits else {})


def read(
    path: str, names: Sequence[str], *, optional: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, np.ndarray], bool]:
    """Reads a Parquet table of scores.

    Args:
      path: of the file.
      names: of the arrays to read, see `scoring.ARRAYS`.
      optional: flags to read where the table has them.

    Returns:
      The mids, the clip ids as they first appear, the arrays by name, and whether the scores are
      logits.

    Raises:
      ValueError: missing columns, or frames that are missing or duplicated.
      pyarrow.ArrowException, OSError: the file cannot be read.
    """
    with parquet.ParquetFile(path) as file:
        names = [*names, *(name for name in optional if name in file.schema_arrow.names)]
        mids, are_logits = _mids(file.schema_arrow.names, names)
        prefixes = _prefixes(are_logits)
        clip_ids, order = _clips_and_order(
            file.read([_CLIP]).column(0).to_pandas(), file.read([_FRAME]).column(0).to_pandas()
        )
        shape = (len(clip_ids), len(order) // max(len(clip_ids), 1))
        arrays = {}
        for name in names:
            columns = [name] if name in _FLAGS else [prefixes[name] + mid for mid in mids]
            table = file.read(columns)
            stacked = np.stack([table.column(column).to_numpy() for column in columns], axis=-1)
            array = stacked[order].reshape(*shape, len(columns))
            if "frames" not in scoring.ARRAYS[name][1]:
                array = array[:, 0]  # repeated in every row of the clip
            arrays[name] = array[..., 0] if name in _FLAGS else array
    return mids, clip_ids, arrays, are_logits


def _mids(columns: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The classes of a table that has the flags among some arrays, and whether it has logits."""
    for needed in (_CLIP, _FRAME, *(name for name in names if name in _FLAGS)):
        if needed not in columns:
            raise ValueError(f"it has no column {needed!r}")
    logits = tuple(name.removeprefix(_LOGIT) for name in columns if name.startswith(_LOGIT))
    if logits:
        return logits, True
    known = {_CLIP, _FRAME, *_FLAGS}
    others = (_INDEX, *(prefix for prefix in _PREFIXES.values() if prefix))
    mids = tuple(name for name in columns if name not in known and not name.startswith(others))
    if not mids:
        raise ValueError("it has no column of scores")
    return mids, False


def _clips_and_order(clip: pd.Series, frame: pd.Series) -> tuple[tuple[str, ...], np.ndarray]:
    """The clips as they first appear, and the order of the rows by clip and frame.

    Raises:
      ValueError: a frame that is missing or duplicated.
    """
    clip_index, clip_ids = pd.factorize(clip)
    order = np.lexsort((frame, clip_index))
    frames = len(frame) // max(len(clip_ids), 1)
    expected = np.tile(np.arange(frames), len(clip_ids))
    found = frame.to_numpy()[order]
    if len(found) != len(expected) or not np.array_equal(
        clip_index[order], np.repeat(np.arange(len(clip_ids)), frames)
    ):
        counts = clip.value_counts(sort=False)
        odd = counts[counts != counts.mode()[0]]
        name, count = (odd.index[0], odd.iloc[0]) if len(odd) else (clip_ids[0], len(found))
        raise ValueError(f"clip {name} has {count} rows; all clips must have as many frames")
    if not np.array_equal(found, expected):
        row = order[np.flatnonzero(found != expected)[0]]
        raise ValueError(
            f"clip {clip.iloc[row]}: frame {frame.iloc[row]} is duplicated or not one of 0 to "
            f"{frames - 1}"
        )
    return tuple(str(clip_id) for clip_id in clip_ids), order
