"""Framed labels: the release's framed TSV, made from strong labels and negatives, and read back."""

import collections
import hashlib
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.core import errors
from audioset_strong.core.lazy import tf
from audioset_strong.labels import (
    framing,
    metadata,
    metadata_files,
    metadata_writing,
    table_files,
    vocabularies,
)

_BATCH_OVERLAPS = 1 << 21  # frames times segments of a batch: 16 MB as int64


def frame_grid(frame_ms: int = framing.FRAME_MS, hop_ms: int | None = None) -> np.ndarray:
    """Starts of the frames that lie wholly in a 10 s clip, in ms; int64 `[frames]`.

    Args:
      frame_ms: length of a frame.
      hop_ms: from one frame's start to the next; a frame's length where it is None.

    Raises:
      errors.InputError: a length outside 1 ms to 10 s, or a hop below 1 ms.

    Example:
      >>> frame_grid().tolist()
      [0, 960, 1920, 2880, 3840, 4800, 5760, 6720, 7680, 8640]
    """
    if not 1 <= frame_ms <= metadata.CLIP_MS:
        raise errors.InputError(
            f"frame length {frame_ms} ms: must lie in [1, {metadata.CLIP_MS}], the clip's length"
        )
    hop_ms = frame_ms if hop_ms is None else hop_ms
    if hop_ms < 1:
        raise errors.InputError(f"hop {hop_ms} ms: must be at least 1")
    return np.arange(0, metadata.CLIP_MS - frame_ms + 1, hop_ms, dtype=np.int64)


def frame_table(
    strong: pd.DataFrame,
    negatives: pd.DataFrame | None = None,
    *,
    clips: Collection[str] | None = None,
    frame_ms: int = framing.FRAME_MS,
    hop_ms: int | None = None,
    rule: str = framing.RELEASED,
) -> pd.DataFrame:
    """Every frame of every clip, for every class that is known of the clip (section 3.2).

    A class is known where a segment of it makes a frame positive; the clip's other frames are then
    negative. It is also known where it is an explicit negative of the clip.

    Args:
      strong: clip_id, start_ms, end_ms, mid.
      negatives: clip_id, mid: clip-level explicit negatives.
      clips: ids of the clips to frame; all of them where it is None.
      frame_ms: length of a frame.
      hop_ms: from one frame's start to the next; a frame's length where it is None.
      rule: "released" or "paper", see `framing.frame_labels`.

    Returns:
      clip_id str, start_ms int64, end_ms int64, mid str, present bool; sorted by clip, label
      and time.

    Raises:
      errors.InputError: an impossible frame length, hop or rule.

    Example:
      >>> strong = pd.DataFrame(
      ...     {"clip_id": ["a_0"], "start_ms": [1000], "end_ms": [2000], "mid": ["/m/x"]}
      ... )
      >>> table = frame_table(strong)
      >>> len(table), table.loc[table["present"], "start_ms"].tolist()
      (10, [960])
    """
    grid = frame_grid(frame_ms, hop_ms)
    if negatives is None:
        negatives = strong.iloc[:0]
    if clips is not None:
        strong = strong[table_files.is_among(strong["clip_id"], clips)]
        negatives = negatives[table_files.is_among(negatives["clip_id"], clips)]

    # One row for each pair of clip and class. For the framing rule every pair is a separate clip
    # with a single class: nothing is spent on the hundreds of classes that a clip does not have.
    keys = pd.concat([table[["clip_id", "mid"]] for table in (strong, negatives)])
    clip_code, clip_ids = pd.factorize(keys["clip_id"], sort=True)
    mid_code, mids = pd.factorize(keys["mid"], sort=True)
    pair_code, pair = np.unique(clip_code * len(mids) + mid_code, return_inverse=True)
    positive = _positive_frames(
        pair[: len(strong)],
        strong,
        num_pairs=len(pair_code),
        grid=grid,
        frame_ms=frame_ms,
        rule=rule,
    )
    negative = np.zeros(len(pair_code), bool)
    negative[pair[len(strong) :]] = True
    labels = framing.three_valued_labels(positive[..., np.newaxis], negative[:, np.newaxis])
    labels = labels.numpy()[..., 0]  # [pairs, frames]

    row, frame = np.nonzero(labels >= 0)
    start = grid[frame]
    return pd.DataFrame(
        {
            "clip_id": clip_ids.take(pair_code[row] // max(len(mids), 1)),
            "start_ms": start,
            "end_ms": start + frame_ms,
            "mid": mids.take(pair_code[row] % max(len(mids), 1)),
            "present": labels[row, frame] == 1,
        }
    )


def frame_files(
    files: metadata_files.MetadataFiles,
    output: str,
    *,
    frame_ms: int = framing.FRAME_MS,
    hop_ms: int | None = None,
    rule: str = framing.RELEASED,
    positives_only: bool = False,
) -> pd.DataFrame:
    """Writes the framed TSV of metadata files.

    Logs what the rows do not show: labels whose segments make no frame positive, explicit
    negatives that a segment contradicts, and clips of the clip list without a row.

    Args:
      files: strong TSVs, and maybe negatives and a clip list.
      output: path of the TSV.
      frame_ms: length of a frame.
      hop_ms: from one frame's start to the next; a frame's length where it is None.
      rule: "released" or "paper", see `framing.frame_labels`.
      positives_only: whether to leave out the rows that are NOT_PRESENT.

    Returns:
      The table that was written, see `frame_table`.

    Raises:
      errors.InputError: no strong TSV, malformed files, impossible settings, or an output that
        cannot be written.

    Example:
      >>> metadata_writing.write_rows("strong.tsv", None, [["a_0", "1.0", "2.0", "/m/x"]])
      >>> given = metadata_files.MetadataFiles(strong_tsvs="strong.tsv")
      >>> table = frame_files(given, "framed.tsv", positives_only=True)
      >>> metadata.read_framed_tsv("framed.tsv").values.tolist()
      [['a_0', 960, 1920, '/m/x', True]]
    """
    frame_grid(frame_ms, hop_ms)  # wrong settings are reported before the files are read
    clip_ids = files.clip_ids()
    clips = None if clip_ids is None else set(clip_ids)
    tables = files.read()
    if tables.strong is None:
        raise errors.InputError("no strong labels to frame: give --strong_tsv")
    strong = tables.strong.drop_duplicates(ignore_index=True)
    negatives = strong.iloc[:0] if tables.negatives is None else tables.negatives
    table = frame_table(strong, negatives, clips=clips, frame_ms=frame_ms, hop_ms=hop_ms, rule=rule)
    framed, labelled = _pairs(table, table["present"]), _pairs(strong)
    if clips is not None:
        labelled = labelled[labelled.isin(clips, level="clip_id")]
    _warn("labels whose segments make no frame PRESENT", labelled.difference(framed))
    _warn("explicit negatives with PRESENT frames", framed.intersection(_pairs(negatives)))
    if clips is not None:
        _warn("clips of the list without a row", pd.Index(clips).difference(table["clip_id"]))

    if positives_only:
        table = table[table["present"]].reset_index(drop=True)
    metadata_writing.write_framed_tsv(output, table)
    return table


class FramedClips:
    """The labels of framed TSVs, clip by clip; `read_framed_clips` makes it.

    Example:
      >>> first = {"clip_id": "a_0", "start_ms": 0, "mid": "/m/x", "present": False}
      >>> second = {"clip_id": "a_0", "start_ms": 960, "mid": "/m/x", "present": True}
      >>> framed = FramedClips("framed.tsv", pd.DataFrame([first, second]), mids=["/m/x", "/m/y"])
      >>> has_rows, labels, negatives = framed.labels(["a_0", "b_0"])
      >>> has_rows.tolist(), labels[0, :3].tolist(), negatives[0].tolist()
      ([True, False], [[0, -1], [1, -1], [-1, -1]], [False, False])

    Attributes:
      source: names the files in messages.
      clip_ids: those with rows, sorted.
      fingerprint: equal for equal labels.
    """

    def __init__(
        self,
        source: str,
        table: pd.DataFrame,
        *,
        mids: Sequence[str],
        ancestors: np.ndarray | None = None,
    ):
        """Sorts the rows by clip.

        Args:
          source: names the files in messages.
          table: clip_id, start_ms (on the 0.96 s grid), mid (one of `mids`), present; no clip,
            frame and class twice.
          mids: the classes.
          ancestors: see `read_framed_clips`.
        """
        clip, clip_ids = pd.factorize(table["clip_id"], sort=True)
        frame = (table["start_ms"] // framing.FRAME_MS).to_numpy()
        label = _class_index(table["mid"], mids)
        order = np.lexsort((label, frame, clip))
        columns = (clip, frame, label, table["present"].to_numpy())
        self.source = source
        self.clip_ids: tuple[str, ...] = tuple(clip_ids)
        self._clip, self._frame, self._label, self._present = (c[order] for c in columns)
        self._num_classes = len(mids)
        self._ancestors = ancestors
        self._index = {clip_id: i for i, clip_id in enumerate(self.clip_ids)}
        digest = hashlib.sha256("\n".join([*clip_ids, *mids]).encode())
        for column in (self._clip, self._frame, self._label, self._present):
            digest.update(column.astype(np.int64).tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    def labels(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The labels of clips.

        Args:
          clip_ids: `[clips]`; clips without rows are allowed.

        Returns:
          bool `[clips]`, whether a clip has rows; int8 `[clips, 10, classes]`, 1 positive, 0
          negative, -1 unknown; bool `[clips, classes]`, the explicit negatives: classes that are
          absent from every frame of a clip with rows.
        """
        index = np.array([self._index.get(clip_id, -1) for clip_id in clip_ids], np.int64)
        has_rows = index >= 0
        labels = np.full((len(index), len(frame_grid()), self._num_classes), -1, np.int8)
        first, last = (np.searchsorted(self._clip, index, side=end) for end in ("left", "right"))
        for i in np.flatnonzero(has_rows):
            rows = slice(first[i], last[i])
            labels[i, self._frame[rows], self._label[rows]] = self._present[rows]
        positive_in_clip = (labels == 1).any(axis=1)
        negative = (labels == 0).any(axis=1) & ~positive_in_clip
        if self._ancestors is not None:
            positive = framing.propagate_to_ancestors(labels == 1, self._ancestors).numpy()
            implied = framing.three_valued_labels(positive, negative).numpy()
            labels = np.maximum(labels, implied)
        return has_rows, labels, negative


def read_framed_clips(
    paths: Sequence[str], mids: Sequence[str], *, ancestors: np.ndarray | None = None
) -> FramedClips:
    """Reads framed TSVs such as `audioset_eval_strong_framed_posneg.tsv` for evaluation.

    Labels of other classes are left out, with a warning that counts them.

    Args:
      paths: the files; no clip, frame and class may be in two of them.
      mids: the classes.
      ancestors: bool `[classes, classes]`, to propagate positive labels with, see
        `framing.propagate_to_ancestors`; None leaves the labels as they are.

    Raises:
      errors.InputError: a file that is given twice or malformed, frames off the 0.96 s grid, a
        frame that is both PRESENT and NOT_PRESENT, or no label of the classes.

    Example:
      >>> row = ["a_0", "0.96", "1.92", "/m/x", metadata.PRESENT]
      >>> metadata_writing.write_rows("framed.tsv", None, [row])
      >>> framed = read_framed_clips(["framed.tsv"], mids=["/m/x", "/m/y"])
      >>> framed.clip_ids
      ('a_0',)
    """
    source = ", ".join(paths)
    table = metadata_files.MetadataFiles(framed_tsvs=paths).read().framed
    if table is None:
        raise errors.InputError("no framed labels: give --framed_tsv")
    _check_frames(source, table)
    known = _class_index(table["mid"], mids) >= 0
    if not known.any():
        raise errors.InputError(f"{source}: none of its labels is one of the {len(mids)} classes")
    if not known.all():
        outside = collections.Counter(table["mid"][~known].tolist())
        logging.warning("%s: left out %s", source, vocabularies.list_counts(outside, str))
    return FramedClips(source, table[known], mids=mids, ancestors=ancestors)


def _check_frames(source: str, table: pd.DataFrame) -> None:
    """Raises where a row is not a frame of the grid, or repeats another one."""
    length = table["end_ms"] - table["start_ms"]
    off_grid = (length != framing.FRAME_MS) | ~table["start_ms"].isin(frame_grid())
    duplicated = table.duplicated(["clip_id", "start_ms", "mid"])
    for wrong, problem in (
        (off_grid, f"not a frame of the {framing.FRAME_MS / 1000:g} s grid"),
        (duplicated, "duplicate frame"),
    ):
        if wrong.any():
            row = table[wrong].iloc[0]
            start, end = (
                metadata_writing.seconds(int(row[name])) for name in ("start_ms", "end_ms")
            )
            raise errors.InputError(
                f"{source}: {row['clip_id']}, {row['mid']} from {start} to {end} s: {problem}"
            )


def _class_index(column: pd.Series, mids: Sequence[str]) -> np.ndarray:
    """The class index of each mid; -1 where it is not one of the classes."""
    return pd.Index(mids, dtype=object).get_indexer(pd.Index(column, dtype=object))


def _pairs(table: pd.DataFrame, chosen: pd.Series | slice = slice(None)) -> pd.MultiIndex:
    """The distinct pairs of clip and class in the chosen rows."""
    return pd.MultiIndex.from_frame(table.loc[chosen, ["clip_id", "mid"]].drop_duplicates())


def _warn(description: str, found: pd.Index) -> None:
    if len(found):
        first = found[0] if isinstance(found[0], str) else " ".join(found[0])
        logging.warning("%s: %d, the first %s", description, len(found), first)


def _positive_frames(
    pair: np.ndarray,
    segments: pd.DataFrame,
    *,
    num_pairs: int,
    grid: np.ndarray,
    frame_ms: int,
    rule: str,
) -> np.ndarray:
    """Applies the framing rule to each pair of clip and class; bool `[num_pairs, frames]`.

    The framing rule takes the same number of segments for every pair, so pairs with fewer are
    padded. Pairs are batched by their number of segments, which keeps the padding small.

    Args:
      pair: int64 `[segments]`, the pair of each segment.
      segments: start_ms, end_ms.
      num_pairs: number of pairs; some may have no segment.
      grid: int64 `[frames]`, starts of the frames in ms.
      frame_ms: length of a frame.
      rule: of `framing.frame_labels`.
    """
    start, end = segments["start_ms"].to_numpy(), segments["end_ms"].to_numpy()
    positive = np.zeros((num_pairs, len(grid)), bool)
    count = np.bincount(pair, minlength=num_pairs)
    by_pair = np.argsort(pair, kind="stable")
    first = np.cumsum(count) - count
    order = np.argsort(-count, kind="stable")[: np.count_nonzero(count)]
    while len(order):
        most = int(count[order[0]])
        batch, order = np.split(order, [max(1, _BATCH_OVERLAPS // (most * len(grid)))])
        column = np.arange(most)
        real = column < count[batch, np.newaxis]  # [batch, most]
        segment = by_pair[np.where(real, first[batch, np.newaxis] + column, 0)]
        frames = framing.frame_labels(
            start[segment],
            end[segment],
            np.where(real, 0, -1),
            frame_start=np.tile(grid, (len(batch), 1)),
            frame_length=frame_ms,
            num_classes=1,
            rule=rule,
        )
        positive[batch] = tf.squeeze(frames, -1).numpy()
    return positive
