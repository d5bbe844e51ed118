"""Readers of every metadata file of the AudioSet release, and writers of its formats.

Each reader returns a pandas table with the documented columns. Times become integer milliseconds,
the resolution of the release, so that everything after works without rounding. Columns are parsed
and checked whole; a row that is wrong is named by file, line and value. The first malformed row
raises `InputError`, or, with `skip_bad_rows`, all of them are left out, logged one by one, and
listed in `table.attrs["bad_rows"]`.

A file is UTF-8 text, with or without a byte-order mark, with line ends of any kind. Lines that are
blank or begin with "#" are passed over.
"""

import csv
import io
import pathlib
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.core import errors

CLIP_MS = 10_000  # clips last at most this; segment times are relative to the clip
# What the release's files call the clip id; here it is `clip_id` everywhere else.
_SEGMENT_ID_COLUMN = "segment_id"
PRESENT, NOT_PRESENT = "PRESENT", "NOT_PRESENT"
STRONG_HEADER = (_SEGMENT_ID_COLUMN, "start_time_seconds", "end_time_seconds", "label")
FRAMED_HEADER = (*STRONG_HEADER, "present")
NEGATIVES_HEADER = (_SEGMENT_ID_COLUMN, "label")

_MID = r"/[a-z]+/[a-z0-9_]+"
_MIDS = f"{_MID}(?:,{_MID})*"
_SEGMENT_ID = r"\S+_[0-9]+"
_MAX_SECONDS = 1e9  # longer than any video, and far from where int64 milliseconds end
_EXTRA = "extra"  # a column more than there should be, so that a longer row shows


def make_clip_id(ytid: str, start_ms: int) -> str:
    """The release's clip id: video id and start of the clip in ms."""
    return f"{ytid}_{start_ms}"


def split_clip_id(clip_id: str) -> tuple[str, int]:
    """(video id, start in ms) of a clip id; the video id may itself hold underscores.

    Raises:
      errors.InputError: text that is no such id.
    """
    ytid, _, start = clip_id.rpartition("_")
    if not ytid or not (start.isascii() and start.isdigit()):
        raise errors.InputError(f"segment id {clip_id!r}: must be YTID_STARTMS")
    return ytid, int(start)


def read_text(path: str) -> str:
    r"""The text of a metadata file: without byte-order mark, lines ended by "\n".

    Raises:
      errors.InputError: a file that is missing, unreadable, empty, or not UTF-8 text.
    """
    return _read_bytes(path).decode()


def _read_bytes(path: str) -> bytes:
    """What `read_text` decodes. No copy is made where nothing has to be replaced."""
    try:
        raw = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.InputError(f"{path}: cannot be read ({error.strerror})") from error
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not raw or raw.isspace():
        raise errors.InputError(f"{path}: empty file")
    bad = raw.find(b"\0")  # UTF-16 without a mark would pass for UTF-8
    if bad < 0 and not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            bad = error.start
    if bad >= 0:
        line = raw.count(b"\n", 0, bad) + 1
        raise errors.InputError(f"{path}, line {line}: not UTF-8 text (byte 0x{raw[bad]:02x})")
    return raw


def _first_row(raw: bytes) -> tuple[int, int, str]:
    """(line number, offset, text) of the first line that is neither blank nor a comment."""
    number, begin = 1, 0
    for line in io.BytesIO(raw):
        if not (line.startswith(b"#") or line == b"\n"):
            return number, begin, line.decode()
        number, begin = number + 1, begin + len(line)
    return number, begin, ""


class _Table:
    """A file's rows as text, and the complaints about them.

    Attributes:
      rows: str columns, indexed by the number of the line in the file.
    """

    def __init__(
        self,
        path: str,
        what: str,
        columns: Sequence[str],
        separator: str,
        header: Sequence[str] = (),
    ):
        """Parses a file.

        Args:
          path: of the file.
          what: it should be, for messages.
          columns: of each row.
          separator: of the columns. Fields that hold a comma are quoted where it is one.
          header: how a first line begins that is no row; the file may lack it.

        Raises:
          errors.InputError: see `read_text`; or a first row of too few columns.
        """
        self._path = path
        self._bad: dict[int, str] = {}
        raw = _read_bytes(path)
        number, begin, line = _first_row(raw)
        try:
            first = [field.strip() for field in _split(line, separator)]
        except csv.Error:
            first = []
        if header and first[: len(header)] == list(header):
            number, begin = number + 1, begin + len(line.encode())
        elif line and len(first) < len(columns):
            raise errors.InputError(
                f"{path}, line {number}: {line.rstrip()[:80]!r} is no row of {what}; "
                f"its columns are {', '.join(columns)}"
            )
        names = ["clip_id" if name == _SEGMENT_ID_COLUMN else name for name in columns]
        rows = _parse(raw, begin, [*names, _EXTRA], separator)
        if rows is None:
            rows, self._bad = _parse_by_line(raw, begin, [*names, _EXTRA], separator, number)
        rows.index = pd.RangeIndex(number, number + len(rows))
        blank = np.logical_and.reduce([rows[name] == "" for name in names])
        self.rows = rows[~(blank | rows[names[0]].str.startswith("#"))]
        for name, column in zip(names, columns, strict=True):
            self.complain(
                self.rows[name] == "",
                lambda row, column=column: f"no {column}; the columns are {', '.join(columns)}",
            )
        self.complain(
            self.rows[_EXTRA] != "",
            lambda row: (
                f"{row.extra!r} is an unexpected extra column; the columns are {', '.join(columns)}"
            ),
        )

    def complain(self, bad: pd.Series | np.ndarray, say: Callable) -> None:
        """Marks rows as bad; `say` tells why, from a row. Of a row the first complaint counts."""
        for row in self.rows[np.asarray(bad)].itertuples():
            self._bad.setdefault(row.Index, say(row))

    def finish(self, skip_bad_rows: bool) -> pd.DataFrame:
        """The good rows; raises at the first bad one unless these are to be skipped."""
        told = [f"{self._path}, line {line}: {self._bad[line]}" for line in sorted(self._bad)]
        if told and not skip_bad_rows:
            more = f" (and {len(told) - 1} more bad rows)" if len(told) > 1 else ""
            raise errors.InputError(told[0] + more)
        for text in told:
            logging.warning("skipped: %s", text)
        if told:
            logging.warning("%s: %d bad rows skipped", self._path, len(told))
        table = self.rows[~self.rows.index.isin(self._bad)] if told else self.rows
        table = table.reset_index(drop=True)
        table.attrs["bad_rows"] = told
        return table


def _dialect(separator: str) -> dict:
    """How `csv` and pandas alike take a line apart."""
    comma = separator == ","
    return {
        "quoting": csv.QUOTE_MINIMAL if comma else csv.QUOTE_NONE,
        "skipinitialspace": comma,
    }


def _split(line: str, separator: str) -> list[str]:
    """The fields of one line; raises csv.Error where its quotes do not match."""
    reader = csv.reader([line], delimiter=separator, strict=True, **_dialect(separator))
    return next(reader, [])


def _parse(raw: bytes, begin: int, names: Sequence[str], separator: str) -> pd.DataFrame | None:
    """The rows from byte `begin` on, "" for what is missing; None where a line is not a row.

    That is so where a line has more columns than names, or a quote runs on into the next line.
    """
    if begin == len(raw):
        return pd.DataFrame({name: pd.Series(dtype=str) for name in names})
    file = io.BytesIO(raw)
    file.seek(begin)
    try:
        with warnings.catch_warnings():
            # A first row that is too long is cut off, with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            rows = pd.read_csv(
                file,
                sep=separator,
                names=names,
                header=None,
                index_col=False,
                dtype=str,
                na_filter=False,
                skip_blank_lines=False,
                **_dialect(separator),
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning):
        return None
    lines = raw.count(b"\n", begin) + (not raw.endswith(b"\n"))
    return rows if len(rows) == lines else None


def _parse_by_line(
    raw: bytes, begin: int, names: Sequence[str], separator: str, number: int
) -> tuple[pd.DataFrame, dict[int, str]]:
    """As `_parse`, a row for every line whatever it holds; and what is wrong, by line number."""
    rows, bad = [], {}
    for offset, line in enumerate(raw[begin:].decode().removesuffix("\n").split("\n")):
        try:
            fields = _split(line, separator)
        except csv.Error as error:
            fields = [line]
            if not line.startswith("#"):
                bad[number + offset] = f"{line[:80]!r} does not fall into columns ({error})"
        fields[len(names) - 1 :] = [separator.join(fields[len(names) - 1 :])]
        rows.append(fields + [""] * (len(names) - len(fields)))
    return pd.DataFrame(rows, columns=list(names), dtype=str), bad


def _matches(column: pd.Series, pattern: str) -> np.ndarray:
    """Whether each text of a column is of a pattern."""
    fullmatch = re.compile(pattern).fullmatch
    return np.array([fullmatch(text) is not None for text in column.tolist()], bool)


def _milliseconds(table: _Table, column: str) -> pd.Series:
    """A column of seconds as int64 ms; complains about what is no time."""
    codes, texts = pd.factorize(table.rows[column])  # each distinct time is parsed once
    seconds = np.asarray(pd.to_numeric(texts, errors="coerce"), np.float64)
    good = (seconds >= 0) & (seconds <= _MAX_SECONDS)
    table.complain(
        ~good[codes],
        lambda row: f"{column} {getattr(row, column)!r} is no time in seconds, 0 or more",
    )
    ms = np.round(np.where(good, seconds, 0.0) * 1000).astype(np.int64)
    return pd.Series(ms[codes], table.rows.index)


def _add_times(table: _Table, start: str, end: str, limit_ms: int | None = None) -> None:
    """Adds start_ms and end_ms; complains about what is no interval within the limit."""
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


def _check_mids(table: _Table, column: str, pattern: str = _MID) -> None:
    what = "mid" if pattern == _MID else "mid, nor a comma-separated list of them,"
    table.complain(
        ~_matches(table.rows[column], pattern),
        lambda row: f"{getattr(row, column)!r} is no {what} such as /m/09x0r",
    )


def _check_clip_ids(table: _Table) -> None:
    table.complain(
        ~_matches(table.rows["clip_id"], _SEGMENT_ID),
        lambda row: f"segment_id {row.clip_id!r} is not YTID_STARTMS",
    )


def _check_unique(table: _Table, columns: Sequence[str]) -> None:
    table.complain(
        table.rows.duplicated(list(columns)),
        lambda row: (
            "duplicate row: "
            + ", ".join(str(getattr(row, column)) for column in columns)
            + " stands further up"
        ),
    )


def read_weak_csv(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Weak labels: `balanced_train_segments.csv` and its like.

    Args:
      path: lines of `YTID, start_seconds, end_seconds, "mid,mid,..."` after `#` comments.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, ytid str, start_ms int64, end_ms int64 (of the clip in its video), labels
      (tuple of distinct mids); a clip a row.

    Raises:
      errors.InputError: a file of another format, or a malformed or repeated row.
    """
    columns = ("ytid", "start_seconds", "end_seconds", "positive_labels")
    table = _Table(path, "a weak label CSV", columns, ",")
    _add_times(table, "start_seconds", "end_seconds")
    _check_mids(table, "positive_labels", _MIDS)
    rows = table.rows
    starts = zip(rows["ytid"].tolist(), rows["start_ms"].tolist(), strict=True)
    rows["clip_id"] = [make_clip_id(ytid, start_ms) for ytid, start_ms in starts]
    _check_clip_ids(table)
    _check_unique(table, ["clip_id"])
    good = table.finish(skip_bad_rows)
    texts = good["positive_labels"].tolist()
    # Interned, so that a mid is one string however many clips it labels.
    lists = {text: tuple(dict.fromkeys(map(sys.intern, text.split(",")))) for text in set(texts)}
    good["labels"] = pd.Series([lists[text] for text in texts], good.index, dtype=object)
    return _select(good, ["clip_id", "ytid", "start_ms", "end_ms", "labels"])


def read_strong_tsv(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Strong labels: `audioset_train_strong.tsv` and its like, with or without the header.

    Args:
      path: lines of segment_id, start_time_seconds, end_time_seconds, label, tab-separated.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, start_ms int64, end_ms int64 (within the clip), mid str; a segment a row.
      Segments of one label may overlap, and be as short as 1 ms.

    Raises:
      errors.InputError: a file of another format, or a malformed or repeated row.
    """
    table = _Table(path, "a strong label TSV", STRONG_HEADER, "\t", STRONG_HEADER)
    good = _finish_segments(table, skip_bad_rows)
    return _select(good, ["clip_id", "start_ms", "end_ms", "mid"])


def read_framed_tsv(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Framed labels: `audioset_eval_strong_framed_posneg.tsv` and its like.

    Args:
      path: as a strong TSV, with a fifth column PRESENT or NOT_PRESENT.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, start_ms int64, end_ms int64 (of the frame), mid str, present bool; a frame
      and label a row.

    Raises:
      errors.InputError: a file of another format, or a malformed or repeated row.
    """
    table = _Table(path, "a framed label TSV", FRAMED_HEADER, "\t", FRAMED_HEADER)
    table.complain(
        ~table.rows["present"].isin([PRESENT, NOT_PRESENT]),
        lambda row: f"present {row.present!r} is neither {PRESENT} nor {NOT_PRESENT}",
    )
    good = _finish_segments(table, skip_bad_rows)
    good["present"] = good["present"] == PRESENT
    return _select(good, ["clip_id", "start_ms", "end_ms", "mid", "present"])


def _finish_segments(table: _Table, skip_bad_rows: bool) -> pd.DataFrame:
    """What the rows of strong and framed TSVs have in common."""
    _check_clip_ids(table)
    _check_mids(table, "label")
    _add_times(table, "start_time_seconds", "end_time_seconds", CLIP_MS)
    _check_unique(table, ["clip_id", "start_ms", "end_ms", "label"])
    return table.finish(skip_bad_rows).rename(columns={"label": "mid"})


def read_negatives(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Clip-level explicit negatives: classes that a rater found absent from the whole clip.

    Args:
      path: TSV or CSV of segment_id and label, with or without a header; a label field may hold
        several mids, separated by commas.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      clip_id str, mid str; a pair a row, each once.

    Raises:
      errors.InputError: a file of another format, or a malformed or repeated row.
    """
    *_, first = _first_row(_read_bytes(path))
    separator = "\t" if "\t" in first else ","
    table = _Table(path, "a list of negatives", NEGATIVES_HEADER, separator, (_SEGMENT_ID_COLUMN,))
    _check_clip_ids(table)
    _check_mids(table, "label", _MIDS)
    _check_unique(table, ["clip_id", "label"])
    good = table.finish(skip_bad_rows)
    pairs = good.assign(mid=good["label"].str.split(",")).explode("mid").astype({"mid": str})
    pairs = pairs.drop_duplicates(["clip_id", "mid"], ignore_index=True)
    return _select(pairs, ["clip_id", "mid"])


def negatives_from_framed(framed: pd.DataFrame) -> pd.DataFrame:
    """Clip-level negatives that framed labels imply: classes absent from every frame of a clip.

    Args:
      framed: what `read_framed_tsv` returned.

    Returns:
      clip_id str, mid str; sorted.
    """
    present = framed.groupby(["clip_id", "mid"], sort=True)["present"].any().reset_index()
    return present.loc[~present["present"], ["clip_id", "mid"]].reset_index(drop=True)


def read_class_list(path: str) -> pd.DataFrame:
    """A list of classes: `class_labels_indices.csv`, `mid_to_display_name.tsv`, or another.

    Args:
      path: CSV or TSV. With a header it has the columns mid and display_name anywhere, and maybe
        index; without one it has the two columns mid and display_name.

    Returns:
      mid str, display_name str; a class a row, in the order of the file.

    Raises:
      errors.InputError: a file of another format, a malformed or repeated row, indices that do not
        count up from 0.
    """
    *_, first = _first_row(_read_bytes(path))
    separator = "\t" if "\t" in first else ","
    columns = ["mid", "display_name"]
    header = [field.strip().strip('"') for field in first.split(separator)]
    has_header = set(columns) <= set(header)
    table = _Table(
        path,
        "a list of classes",
        header if has_header else columns,
        separator,
        header if has_header else (),
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
    """Segment ids: one a line, or the first column of a CSV or TSV, whose header is segment_id.

    Returns:
      The ids in the order of the file, each once.

    Raises:
      errors.InputError: a line that is no segment id, or no line at all.
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        field = line.replace("\t", ",").partition(",")[0].strip()
        if not field or line.startswith("#") or (not ids and field == _SEGMENT_ID_COLUMN):
            continue
        try:
            split_clip_id(field)
        except errors.InputError as error:
            raise errors.InputError(f"{path}, line {number}: {error}") from error
        ids[field] = None
    if not ids:
        raise errors.InputError(f"{path}: no segment id in it")
    return list(ids)


def _select(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    selected = table[columns]
    selected.attrs = dict(table.attrs)
    return selected


def seconds(ms: int) -> str:
    """A time as the release's strong files write it: seconds with one to three decimals."""
    text = f"{ms / 1000:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def weak_line(ytid: str, start_ms: int, end_ms: int, mids: Iterable[str]) -> str:
    """A clip as a line of the release's weak CSVs, without a line end; `read_weak_csv` reads it."""
    listed = ",".join(sorted(mids))
    return f'{ytid}, {start_ms / 1000:.3f}, {end_ms / 1000:.3f}, "{listed}"'


def write_rows(path: str, header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Writes tab-separated rows, by rename, so that no reader sees half a file.

    Raises:
      errors.InputError: a path that cannot be written.
    """
    target = pathlib.Path(path)
    temporary = target.with_name(target.name + ".tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            if header:
                file.write("\t".join(header) + "\n")
            file.writelines("\t".join(row) + "\n" for row in rows)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise errors.InputError(f"{path}: cannot be written ({error.strerror})") from error


def write_framed_tsv(path: str, framed: pd.DataFrame) -> None:
    """Writes framed labels in the release's format; `read_framed_tsv` gives them back.

    Args:
      path: of the file.
      framed: clip_id, start_ms, end_ms, mid, present.

    Raises:
      errors.InputError: a path that cannot be written.
    """
    times = {ms: seconds(ms) for column in ("start_ms", "end_ms") for ms in framed[column].unique()}
    rows = zip(
        framed["clip_id"],
        framed["start_ms"].map(times),
        framed["end_ms"].map(times),
        framed["mid"],
        np.where(framed["present"], PRESENT, NOT_PRESENT).tolist(),
        strict=True,
    )
    write_rows(path, FRAMED_HEADER, rows)
