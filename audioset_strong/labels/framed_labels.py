"""Framed labels: the release's framed TSV, made from strong labels and negatives, and read back."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

from audioset_strong.core import errors
from audioset_strong.labels import framing, metadata, vocabularies

_BATCH_OVERLAPS = 1 << 21  # frames times segments of a batch: 16 MB as int64


def frame_grid(frame_ms: int = framing.FRAME_MS, hop_ms: int | None = None) -> np.ndarray:
    """Starts of the frames that lie wholly in a 10 s clip, in ms; int64 `[frames]`.

    Args:
      frame_ms: length of a frame.
      hop_ms: from one frame's start to the next; a frame's length where it is None.

    Raises:
      errors.InputError: no length from 1 ms to 10 s, or a hop below 1 ms.
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
    clips: Collection[str] | None = None,
    frame_ms: int = framing.FRAME_MS,
    hop_ms: int | None = None,
    rule: str = framing.RELEASED,
) -> pd.DataFrame:
    """Every frame of every clip under every class that is known of the clip (section 3.2).

    A class is known where one of its segments makes a frame positive, the others then being
    negative, and where it is an explicit negative of the clip.

    Args:
      strong: clip_id, start_ms, end_ms, mid.
      negatives: clip_id, mid: clip-level explicit negatives.
      clips: only these; all of the tables where it is None.
      frame_ms: length of a frame.
      hop_ms: from one frame's start to the next; a frame's length where it is None.
      rule: of `framing.frame_labels`.

    Returns:
      clip_id str, start_ms int64, end_ms int64, mid str, present bool; sorted by clip, label
      and time.

    Raises:
      errors.InputError: an impossible frame length, hop or rule.
    """
    grid = frame_grid(frame_ms, hop_ms)
    if negatives is None:
        negatives = strong.iloc[:0]
    if clips is not None:
        strong = strong[strong["clip_id"].isin(clips)]
        negatives = negatives[negatives["clip_id"].isin(clips)]

    # One row for each pair of clip and class. To the framing rule every pair is a clip of its own,
    # with a single class: nothing is spent on the hundreds of classes that a clip does not have.
    keys = pd.concat([table[["clip_id", "mid"]] for table in (strong, negatives)])
    clip_code, clip_ids = pd.factorize(keys["clip_id"], sort=True)
    mid_code, mids = pd.factorize(keys["mid"], sort=True)
    pair_code, pair = np.unique(clip_code * len(mids) + mid_code, return_inverse=True)
    positive = _positive_frames(
        pair[: len(strong)],
        strong["start_ms"].to_numpy(),
        strong["end_ms"].to_numpy(),
        len(pair_code),
        grid,
        frame_ms,
        rule,
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
    output: str,
    strong_tsvs: Sequence[str],
    negatives: Sequence[str] = (),
    clip_list: str | None = None,
    frame_ms: int = framing.FRAME_MS,
    hop_ms: int | None = None,
    rule: str = framing.RELEASED,
    positives_only: bool = False,
    skip_bad_rows: bool = False,
) -> pd.DataFrame:
    """Writes the framed TSV of metadata files.

    What the rows do not show is logged: labels whose segments make no frame positive, explicit
    negatives that a segment contradicts, clips of the list without any row.

    Args:
      output: the TSV to write.
      strong_tsvs: strong label TSVs; a segment may be in several.
      negatives: clip-level explicit negatives.
      clip_list: file of segment ids; only these clips are written.
      frame_ms: see `frame_table`.
      hop_ms: see `frame_table`.
      rule: see `frame_table`.
      positives_only: whether to leave out the rows that are NOT_PRESENT.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      The table that was written, see `frame_table`.

    Raises:
      errors.InputError: malformed files, impossible settings, or an output that cannot be written.
    """
    frame_grid(frame_ms, hop_ms)  # a mistake in the settings is told before the files are read

    def read(reader: Callable, paths: Sequence[str]) -> pd.DataFrame:
        tables = [reader(path, skip_bad_rows=skip_bad_rows) for path in paths]
        return pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)

    clips = set(metadata.read_clip_list(clip_list)) if clip_list else None
    strong = read(metadata.read_strong_tsv, strong_tsvs)
    absent = read(metadata.read_negatives, negatives) if negatives else strong.iloc[:0]
    table = frame_table(strong, absent, clips, frame_ms, hop_ms, rule)

    framed, sounding = _pairs(table[table["present"]]), _pairs(strong)
    if clips is not None:
        sounding = sounding[sounding.isin(clips, level="clip_id")]
    _warn("labels whose segments make no frame PRESENT", sounding.difference(framed))
    _warn("explicit negatives with PRESENT frames", framed.intersection(_pairs(absent)))
    if clips is not None:
        _warn("clips of the list without a row", pd.Index(clips).difference(table["clip_id"]))

    if positives_only:
        table = table[table["present"]].reset_index(drop=True)
    metadata.write_framed_tsv(output, table)
    return table


@dataclasses.dataclass(frozen=True)
class FramedClips:
    """The labels of framed TSVs, clip by clip.

    Attributes:
      source: names the files in messages.
      clip_ids: those with rows, sorted.
      fingerprint: equal for equal labels.
    """

    source: str
    clip_ids: tuple[str, ...]
    fingerprint: str
    _clip: np.ndarray  # int64 [rows], index of the clip, rising
    _frame: np.ndarray  # int64 [rows]
    _label: np.ndarray  # int64 [rows], class index
    _present: np.ndarray  # bool [rows]
    _num_classes: int
    _ancestors: np.ndarray | None

    @functools.cached_property
    def _index(self) -> Mapping[str, int]:
        return {clip_id: i for i, clip_id in enumerate(self.clip_ids)}

    def labels(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The labels of clips.

        Args:
          clip_ids: `[clips]`; some of them may have no rows.

        Returns:
          bool `[clips]`, whether a clip has rows; int8 `[clips, 10, classes]`, 1 positive, 0
          negative, -1 unknown; bool `[clips, classes]`, classes that are absent from every frame
          of a clip that the files tell of: explicit negatives.
        """
        place = np.array([self._index.get(clip_id, -1) for clip_id in clip_ids], np.int64)
        listed = place >= 0
        labels = np.full((len(place), len(frame_grid()), self._num_classes), -1, np.int8)
        first, last = (np.searchsorted(self._clip, place, side=end) for end in ("left", "right"))
        for i in np.flatnonzero(listed):
            rows = slice(first[i], last[i])
            labels[i, self._frame[rows], self._label[rows]] = self._present[rows]
        sounding = (labels == 1).any(axis=1)
        negative = (labels == 0).any(axis=1) & ~sounding
        if self._ancestors is not None:
            positive = framing.propagate_to_ancestors(labels == 1, self._ancestors).numpy()
            implied = framing.three_valued_labels(positive, negative).numpy()
            labels = np.maximum(labels, implied)
        return listed, labels, negative


def read_framed_clips(
    paths: Sequence[str], mids: Sequence[str], ancestors: np.ndarray | None = None
) -> FramedClips:
    """Reads framed TSVs such as `audioset_eval_strong_framed_posneg.tsv` for evaluation.

    Labels of other classes are left out, with a warning that counts them.

    Args:
      paths: the files; no clip, frame and class in two of them.
      mids: the classes.
      ancestors: bool `[classes, classes]`, to smear positive labels with; see `framing.propagate_to_ancestors`.

    Raises:
      errors.InputError: a malformed file, frames off the 0.96 s grid, a frame that is both PRESENT
        and NOT_PRESENT, or no label of the classes.
    """
    source = ", ".join(paths)
    table = pd.concat([metadata.read_framed_tsv(path) for path in paths], ignore_index=True)
    off = (table["end_ms"] - table["start_ms"] != framing.FRAME_MS) | ~table["start_ms"].isin(
        frame_grid()
    )
    twice = table.duplicated(["clip_id", "start_ms", "mid"])
    for wrong, what in (
        (off, f"no frame of the grid of {framing.FRAME_MS / 1000:g} s"),
        (twice, "is there twice"),
    ):
        if wrong.any():
            row = table[wrong].iloc[0]
            start, end = (metadata.seconds(int(row[name])) for name in ("start_ms", "end_ms"))
            raise errors.InputError(
                f"{source}: {row['clip_id']}, {row['mid']} from {start} to {end} s: {what}"
            )
    label = pd.Index(mids, dtype=object).get_indexer(pd.Index(table["mid"], dtype=object))
    if (label < 0).any():
        outside = collections.Counter(table["mid"][label < 0].tolist())
        if (label < 0).all():
            raise errors.InputError(
                f"{source}: none of its labels is one of the {len(mids)} classes"
            )
        logging.warning("%s: left out %s", source, vocabularies.describe(outside, str))
        table, label = table[label >= 0], label[label >= 0]
    clip, clip_ids = pd.factorize(table["clip_id"], sort=True)
    frame = (table["start_ms"] // framing.FRAME_MS).to_numpy()
    present = table["present"].to_numpy()
    order = np.lexsort((label, frame, clip))
    clip, frame, label, present = (column[order] for column in (clip, frame, label, present))
    digest = hashlib.sha256("\n".join([*clip_ids, *mids]).encode())
    for column in (clip, frame, label, present):
        digest.update(column.astype(np.int64).tobytes())
    return FramedClips(
        source=source,
        clip_ids=tuple(clip_ids),
        fingerprint=digest.hexdigest()[:16],
        _clip=clip,
        _frame=frame,
        _label=label,
        _present=present,
        _num_classes=len(mids),
        _ancestors=ancestors,
    )


def _pairs(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["clip_id", "mid"]].drop_duplicates())


def _warn(what: str, found: pd.Index) -> None:
    if len(found):
        first = found[0] if isinstance(found[0], str) else " ".join(found[0])
        logging.warning("%s: %d, the first %s", what, len(found), first)


def _positive_frames(
    pair: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    num_pairs: int,
    grid: np.ndarray,
    frame_ms: int,
    rule: str,
) -> np.ndarray:
    """The framing rule on segments that belong to pairs; bool `[num_pairs, frames]`.

    Pairs are padded to the most segments of their batch, so they are taken in the order of how
    many they have.
    """
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
            np.tile(grid, (len(batch), 1)),
            frame_ms,
            num_classes=1,
            rule=rule,
        )
        positive[batch] = tf.squeeze(frames, -1).numpy()
    return positive
