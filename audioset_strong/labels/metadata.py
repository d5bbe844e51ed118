"""Readers of every metadata file of the AudioSet release; `metadata_writing` writes its formats.

The files are those of https://research.google.com/audioset/download.html and, for strong labels,
https://research.google.com/audioset/download_strong.html.

Each reader returns a pandas table with the documented columns. Times become integer milliseconds,
the resolution of the release, so that no later step has to round. The first malformed row raises
`InputError`, which names file, line and value. With `skip_bad_rows`, malformed rows are left out
instead, logged one by one, and listed in `table.attrs["bad_rows"]`. `table_files` says which text
files are accepted.
"""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.labels.table_files import (
    TableFile,
    is_comment,
    matches,
    read_text,
    separator_of,
)

CLIP_MS = 10_000  # clips last at most this; segment times are relative to the clip
_SEGMENT_ID_COLUMN = "segment_id"  # the release's name for the clip id
_NAMES = {_SEGMENT_ID_COLUMN: "clip_id"}
PRESENT, NOT_PRESENT = "PRESENT", "NOT_PRESENT"
STRONG_HEADER = (_SEGMENT_ID_COLUMN, "start_time_seconds", "end_time_seconds", "label")
FRAMED_HEADER = (*STRONG_HEADER, "present")
FRAMED_COLUMNS = ["clip_id", "start_ms", "end_ms", "mid", "present"]
NEGATIVES_HEADER = (_SEGMENT_ID_COLUMN, "label")

_MID = r"/[a-z]+/[a-z0-9_]+"
_MIDS = f"{_MID}(?:,{_MID})*"
_SEGMENT_ID = r"\S+_[0-9]+"
_MAX_SECONDS = 1e9  # longer than any video, and far below the limit of int64 milliseconds


def make_clip_id(ytid: str, start_ms: int) -> str:
    """The release's clip id.

    Args:
      ytid: the video id.
      start_ms: start of the clip in the video, in ms.

    Example:
      >>> make_clip_id("b_b", 30_000)
      'b_b_30000'
    """
    return f"{ytid}_{start_ms}"


def split_clip_id(clip_id: str) -> tuple[str, int]:
    """(video id, start in ms) of a clip id; the video id may contain underscores.

    Raises:
      errors.InputError: the text is not a clip id.

    Example:
      >>> split_clip_id("b_b_30000")
      ('b_b', 30000)
    """
    ytid, _, start = clip_id.rpartition("_")
    if not ytid or not (start.isascii() and start.isdigit()):
        raise errors.InputError(f"clip id {clip_id!r}: must be YTID_STARTMS")
    return ytid, int(start)


def _milliseconds(table: TableFile, column: str) -> pd.Series:
    """A column of seconds as int64 ms; complains about values that are not times."""
    codes, texts = pd.factorize(table.rows[column])  # each distinct time is parsed once
    seconds = np.asarray(pd.to_numeric(texts, errors="coerce"), np.float64)
    good = (seconds >= 0) & (seconds <= _MAX_SECONDS)
    table.complain(
        ~good[codes],
        lambda row: f"{column} {getattr(row, column)!r} is not a time in seconds, 0 or more",
    )
    ms = np.round(np.where(good, seconds, 0.0) * 1000).astype(np.int64)
    return pd.Series(ms[codes], table.rows.index)


def _add_times(table: TableFile, start: str, end: str, *, limit_ms: int | None = None) -> None:
    """Adds start_ms and end_ms; complains about intervals that are empty or beyond the limit."""
    start_ms, end_ms = _milliseconds(table, start), _milliseconds(table, end)
    table.complain(
        end_ms <= start_ms,
        lambda row: f"{end} {getattr(row, end)} is not after {start} {getattr(row, start)}",
    )
    if limit_ms is not None:
        table.complain(
            end_ms > limit_ms,
            lambda row: (
                f"{end} {getattr(row, end)} lies beyond the clip's {limit_ms / 1000:g} seconds"
            ),
        )
    table.rows = table.rows.assign(start_ms=start_ms, end_ms=end_ms)


def _check_mids(table: TableFile, column: str, pattern: str = _MID) -> None:
    expected = "a mid" if pattern == _MID else "a mid, nor a comma-separated list of mids,"
    table.complain(
        ~matches(table.rows[column], pattern),
        lambda row: f"{getattr(row, column)!r} is not {expected} such as /m/09x0r",
    )


def _check_clip_ids(table: TableFile) -> None:
    table.complain(
        ~matches(table.rows["clip_id"], _SEGMENT_ID),
        lambda row: f"segment_id {row.clip_id!r} is not YTID_STARTMS",
    )


def _check_unique(table: TableFile, columns: Sequence[str]) -> None:
    table.complain(
        table.rows.duplicated(list(columns)),
        lambda row: (
            "duplicate row: "
            + ", ".join(str(getattr(row, column)) for column in columns)
            + " is already in a line above"
        ),
    )


def read_weak_csv(path: str, *, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Weak labels: files such as `balanced_train_segments.csv`.

    Args:
      path: lines of `YTID, start_seconds, end_seconds, "mid,mid,..."` after `#` comments.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, ytid str, start_ms int64, end_ms int64 (of the clip in its video), labels
      (tuple of distinct mids); one row per clip.

    Raises:
      errors.InputError: a file of another format, or a malformed or duplicate row.

    Example:
      >>> from audioset_strong.labels.metadata_writing import weak_line, write_rows
      >>> write_rows("weak.csv", None, [[weak_line("a", 30_000, 40_000, ["/m/x", "/m/y"])]])
      >>> read_weak_csv("weak.csv").values.tolist()
      [['a_30000', 'a', 30000, 40000, ('/m/x', '/m/y')]]
    """
    columns = ("ytid", "start_seconds", "end_seconds", "positive_labels")
    table = TableFile(path, "a weak label CSV", columns=columns, separator=",")
    _add_times(table, "start_seconds", "end_seconds")
    _check_mids(table, "positive_labels", _MIDS)
    rows = table.rows
    starts = zip(rows["ytid"].tolist(), rows["start_ms"].tolist(), strict=True)
    rows["clip_id"] = [make_clip_id(ytid, start_ms) for ytid, start_ms in starts]
    _check_clip_ids(table)
    _check_unique(table, ["clip_id"])
    good = table.finish(skip_bad_rows=skip_bad_rows)
    texts = good["positive_labels"].tolist()
    # Interned, so that a mid is one string however many clips it labels.
    lists = {text: tuple(dict.fromkeys(map(sys.intern, text.split(",")))) for text in set(texts)}
    good["labels"] = pd.Series([lists[text] for text in texts], good.index, dtype=object)
    return _select(good, ["clip_id", "ytid", "start_ms", "end_ms", "labels"])


def read_strong_tsv(path: str, *, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Strong labels: files such as `audioset_train_strong.tsv`, with or without a header.

    Args:
      path: lines of segment_id, start_time_seconds, end_time_seconds, label, tab-separated.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, start_ms int64, end_ms int64 (within the clip), mid str; one row per segment.
      Segments of one label may overlap, and be as short as 1 ms.

    Raises:
      errors.InputError: a file of another format, or a malformed or duplicate row.

    Example:
      >>> from audioset_strong.labels.metadata_writing import write_rows
      >>> write_rows("strong.tsv", STRONG_HEADER, [["a_30000", "0.5", "1.28", "/m/x"]])
      >>> read_strong_tsv("strong.tsv").values.tolist()
      [['a_30000', 500, 1280, '/m/x']]
    """
    table = _tsv(path, "a strong label TSV", STRONG_HEADER)
    good = _finish_segments(table, skip_bad_rows=skip_bad_rows)
    return _select(good, ["clip_id", "start_ms", "end_ms", "mid"])


def read_framed_tsv(path: str, *, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Framed labels: files such as `audioset_eval_strong_framed_posneg.tsv`.

    Args:
      path: as a strong TSV, with a fifth column PRESENT or NOT_PRESENT.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, start_ms int64, end_ms int64 (of the frame), mid str, present bool; one row per
      frame and label.

    Raises:
      errors.InputError: a file of another format, or a malformed or duplicate row.

    Example:
      >>> from audioset_strong.labels.metadata_writing import write_rows
      >>> write_rows("framed.tsv", FRAMED_HEADER, [["a_0", "0.96", "1.92", "/m/x", PRESENT]])
      >>> read_framed_tsv("framed.tsv").values.tolist()
      [['a_0', 960, 1920, '/m/x', True]]
    """
    table = _tsv(path, "a framed label TSV", FRAMED_HEADER)
    table.complain(
        ~table.rows["present"].isin([PRESENT, NOT_PRESENT]),
        lambda row: f"present {row.present!r} is neither {PRESENT} nor {NOT_PRESENT}",
    )
    good = _finish_segments(table, skip_bad_rows=skip_bad_rows)
    good["present"] = good["present"] == PRESENT
    return _select(good, FRAMED_COLUMNS)


def _tsv(path: str, kind: str, header: Sequence[str]) -> TableFile:
    return TableFile(path, kind, columns=header, separator="\t", header=header, names=_NAMES)


def _finish_segments(table: TableFile, *, skip_bad_rows: bool) -> pd.DataFrame:
    """The checks that strong and framed TSVs have in common."""
    _check_clip_ids(table)
    _check_mids(table, "label")
    _add_times(table, "start_time_seconds", "end_time_seconds", limit_ms=CLIP_MS)
    _check_unique(table, ["clip_id", "start_ms", "end_ms", "label"])
    return table.finish(skip_bad_rows=skip_bad_rows).rename(columns={"label": "mid"})


def read_negatives(path: str, *, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Clip-level explicit negatives: classes that a rater found to be absent from a whole clip.

    Args:
      path: TSV or CSV of segment_id and label, with or without a header; a label field may hold
        several mids, separated by commas.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, mid str; one row per pair.

    Raises:
      errors.InputError: a file of another format, or a malformed or duplicate row.

    Example:
      >>> from audioset_strong.labels.metadata_writing import write_rows
      >>> write_rows("negatives.tsv", NEGATIVES_HEADER, [["a_0", "/m/x,/m/y"]])
      >>> read_negatives("negatives.tsv").values.tolist()
      [['a_0', '/m/x'], ['a_0', '/m/y']]
    """
    separator, _ = separator_of(path)
    table = TableFile(
        path,
        "a list of negatives",
        columns=NEGATIVES_HEADER,
        separator=separator,
        header=(_SEGMENT_ID_COLUMN,),
        names=_NAMES,
    )
    _check_clip_ids(table)
    _check_mids(table, "label", _MIDS)
    _check_unique(table, ["clip_id", "label"])
    good = table.finish(skip_bad_rows=skip_bad_rows)
    pairs = good.assign(mid=good["label"].str.split(",")).explode("mid").astype({"mid": str})
    pairs = pairs.drop_duplicates(["clip_id", "mid"], ignore_index=True)
    return _select(pairs, ["clip_id", "mid"])


def negatives_from_framed(framed: pd.DataFrame) -> pd.DataFrame:
    """Clip-level negatives that framed labels imply: classes absent from all frames of a clip.

    Args:
      framed: what `read_framed_tsv` returned.

    Returns:
      clip_id str, mid str; sorted.

    Example:
      >>> framed = pd.DataFrame(
      ...     {"clip_id": "a_0", "mid": ["/m/x", "/m/x", "/m/y"], "present": [False, True, False]}
      ... )
      >>> negatives_from_framed(framed).values.tolist()
      [['a_0', '/m/y']]
    """
    present = framed.groupby(["clip_id", "mid"], sort=True)["present"].any().reset_index()
    return present.loc[~present["present"], ["clip_id", "mid"]].reset_index(drop=True)


def read_class_list(path: str) -> pd.DataFrame:
    """A list of classes, such as `class_labels_indices.csv` or `mid_to_display_name.tsv`.

    Args:
      path: CSV or TSV. A header names the columns mid and display_name, in any order, and possibly
        index and others. A file without a header has the two columns mid and display_name.

    Returns:
      mid str, display_name str; one row per class, in the order of the file.

    Raises:
      errors.InputError: a file of another format, a malformed or duplicate row, or indices that do
        not count up from 0.

    Example:
      >>> from audioset_strong.labels.metadata_writing import write_rows
      >>> write_rows("classes.tsv", None, [["/m/0bt9lr", "Dog"], ["/m/05tny_", "Bark"]])
      >>> read_class_list("classes.tsv")["display_name"].tolist()
      ['Dog', 'Bark']
    """
    separator, first = separator_of(path)
    columns = ["mid", "display_name"]
    header = [field.strip().strip('"') for field in first.split(separator)]
    has_header = set(columns) <= set(header)
    table = TableFile(
        path,
        "a list of classes",
        columns=header if has_header else columns,
        separator=separator,
        header=header if has_header else (),
        names=_NAMES,
    )
    _check_mids(table, "mid")
    _check_unique(table, ["mid"])
    if "index" in table.rows:
        expected = pd.Series(range(len(table.rows)), table.rows.index).astype(str)
        found = table.rows["index"]
        table.complain(
            found != expected,
            lambda row: f"index {found[row.Index]!r} should be {expected[row.Index]}",
        )
    return _select(table.finish(skip_bad_rows=False), columns)


def read_clip_list(path: str) -> list[str]:
    """Clip ids, one per line, or in the first column of a CSV or TSV with the header segment_id.

    Returns:
      The distinct ids, in the order of the file.

    Raises:
      errors.InputError: a line that is not a clip id, or no clip id at all.

    Example:
      >>> from audioset_strong.labels.metadata_writing import write_rows
      >>> write_rows("clips.txt", None, [["a_0"], ["b_30000"], ["a_0"]])
      >>> read_clip_list("clips.txt")
      ['a_0', 'b_30000']
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        field = line.replace("\t", ",").partition(",")[0].strip()
        if not field or is_comment(line) or (not ids and field == _SEGMENT_ID_COLUMN):
            continue
        try:
            split_clip_id(field)
        except errors.InputError as error:
            raise errors.InputError(f"{path}, line {number}: {error}") from error
        ids[field] = None
    if not ids:
        raise errors.InputError(f"{path}: no clip id in it")
    return list(ids)


def _select(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    selected = table[columns]
    selected.attrs = dict(table.attrs)
    return selected
