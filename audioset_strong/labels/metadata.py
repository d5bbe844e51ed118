"""Readers of every metadata file of the AudioSet release, and writers of its formats.

Each reader returns a pandas table with the documented columns. Times become integer milliseconds,
the resolution of the release, so that everything after works without rounding. Columns are parsed
whole; a row that is wrong is named by file, line and value. Malformed rows raise `InputError`, or,
with `skip_bad_rows`, are left out, logged, and listed in `table.attrs["bad_rows"]`.
"""

import csv
import io
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence

import pandas as pd
from absl import logging

from audioset_strong import errors

MID_PATTERN = r"/[a-z]+/[a-z0-9_]+"
CLIP_MS = 10_000  # clips last at most this; segment times are relative to the clip
PRESENT, NOT_PRESENT = "PRESENT", "NOT_PRESENT"
STRONG_HEADER = ("segment_id", "start_time_seconds", "end_time_seconds", "label")
FRAMED_HEADER = (*STRONG_HEADER, "present")
NEGATIVES_HEADER = ("segment_id", "label")
_BAD_ROWS_SHOWN = 10


def segment_id(ytid: str, start_ms: int) -> str:
    """The release's clip id: video id and start of the clip in ms."""
    return f"{ytid}_{start_ms}"


def split_segment_id(clip_id: str) -> tuple[str, int]:
    """(video id, start in ms) of a clip id; the video id may itself hold underscores.

    Raises:
      errors.InputError: text that is no such id.
    """
    ytid, _, start = clip_id.rpartition("_")
    if not ytid or not start.isdigit():
        raise errors.InputError(f"segment id {clip_id!r}: must be YTID_STARTMS")
    return ytid, int(start)


def open_text(path: str) -> io.StringIO:
    """The text of a metadata file, its byte-order mark and CRLF line ends removed.

    Raises:
      errors.InputError: a file that is missing, unreadable, empty, or not UTF-8 text.
    """
    try:
        raw = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise errors.InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
    if not text.strip():
        raise errors.InputError(f"{path}: empty file")
    return io.StringIO(text)


class _Table:
    """A file's rows as text columns, and the complaints about them."""

    def __init__(
        self,
        path: str,
        columns: Sequence[str],
        separator: str,
        header: Sequence[str] | None = None,
        header_required: bool = False,
        like: str = "",
    ):
        self.path = str(path)
        self._bad: dict[int, str] = {}
        text = open_text(path)
        skipped = 0
        position = 0
        for line in text:
            if not line.startswith("#"):
                break
            skipped += 1
            position = text.tell()
        first = [field.strip() for field in line.rstrip("\n").split(separator)]
        if header and first[: len(header)] == list(header):
            skipped += 1
        else:
            if header_required or len(first) < len(columns):
                expected = separator.join(header or columns).replace("\t", "<TAB>")
                raise errors.InputError(
                    f"{path}, line {skipped + 1}: {line.rstrip()[:80]!r} is not the beginning of "
                    f"{like or 'this format'}: expected {expected!r}"
                )
            text.seek(position)
        # One column more than there should be, so that a longer row can be told from a right one.
        names = [*columns, "_extra"]
        try:
            self.rows = pd.read_csv(
                text,
                sep=separator,
                names=names,
                header=None,
                index_col=False,
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                skip_blank_lines=False,
                skipinitialspace=separator == ",",
                quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            if isinstance(error, pd.errors.EmptyDataError):
                self.rows = pd.DataFrame({name: pd.Series(dtype=str) for name in names})
            else:
                raise errors.InputError(self._parser_message(error, skipped)) from error
        self.rows.index = self.rows.index + skipped + 1  # line numbers of the file
        blank = (self.rows[columns[0]].fillna("") == "") & (self.rows[columns[-1]].fillna("") == "")
        self.rows = self.rows[~blank]
        self.complain(
            self.rows[columns[-1]].isna() | (self.rows[columns[-1]] == ""),
            lambda row: f"fewer than the {len(columns)} columns {', '.join(columns)}",
        )
        self.complain(
            self.rows["_extra"].notna() & (self.rows["_extra"] != ""),
            lambda row: f"more than the {len(columns)} columns {', '.join(columns)}: {row.extra!r}",
        )

    def _parser_message(self, error: Exception, skipped: int) -> str:
        match = re.search(r"in line (\d+)", str(error))
        where = f", line {int(match[1]) + skipped}" if match else ""
        return f"{self.path}{where}: {' '.join(str(error).split())}"

    def complain(self, bad: pd.Series, say: Callable) -> None:
        """Marks rows as bad; `say` tells why, from a row."""
        if bad.any():
            for row in self.rows[bad].rename(columns={"_extra": "extra"}).itertuples():
                self._bad.setdefault(row.Index, say(row))

    def finish(self, skip_bad_rows: bool) -> pd.DataFrame:
        """The good rows; raises at the first bad one unless these are to be skipped."""
        told = [f"{self.path}, line {line}: {self._bad[line]}" for line in sorted(self._bad)]
        if told and not skip_bad_rows:
            more = f" (and {len(told) - 1} more bad rows)" if len(told) > 1 else ""
            raise errors.InputError(told[0] + more)
        if told:
            logging.warning("%s: %d bad rows skipped", self.path, len(told))
            for text in told[:_BAD_ROWS_SHOWN]:
                logging.warning("%s", text)
        table = self.rows.drop(index=list(self._bad)).drop(columns="_extra")
        table = table.reset_index(drop=True)
        table.attrs["bad_rows"] = told
        return table


def _milliseconds(table: _Table, column: str) -> pd.Series:
    """A column of seconds as int64 ms; complains about what is no time."""
    text = table.rows[column].fillna("")
    seconds = pd.to_numeric(text, errors="coerce")
    bad = seconds.isna() | (seconds < 0) | (seconds > 1e9)
    table.complain(
        bad, lambda row: f"{column} {getattr(row, column)!r} is no time in seconds of 0 or more"
    )
    return (seconds.where(~bad, 0.0) * 1000).round().astype("int64")


def _check_order(table: _Table, start: pd.Series, end: pd.Series, limit_ms: int | None) -> None:
    table.rows["start_ms"], table.rows["end_ms"] = start, end
    table.complain(
        end <= start,
        lambda row: f"end {row.end_ms / 1000:.3f} s is not after start {row.start_ms / 1000:.3f} s",
    )
    if limit_ms is not None:
        table.complain(
            end > limit_ms,
            lambda row: (
                f"end {row.end_ms / 1000:.3f} s lies beyond the clip's {limit_ms / 1000:.0f} s"
            ),
        )


def _check_mids(table: _Table, column: str) -> None:
    table.complain(
        ~table.rows[column].fillna("").str.fullmatch(MID_PATTERN),
        lambda row: f"{getattr(row, column)!r} is no mid such as /m/09x0r",
    )


def _check_ids(table: _Table, column: str) -> None:
    table.complain(
        ~table.rows[column].fillna("").str.fullmatch(r"\S+_\d+"),
        lambda row: f"segment id {getattr(row, column)!r} is not YTID_STARTMS",
    )


def _check_unique(table: _Table, columns: Sequence[str]) -> None:
    table.complain(
        table.rows.duplicated(list(columns), keep="first"),
        lambda row: (
            "the same row stands further up: "
            + ", ".join(str(getattr(row, column)) for column in columns)
        ),
    )


def read_weak_csv(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Weak labels: `balanced_train_segments.csv` and its like.

    Args:
      path: lines of `YTID, start_seconds, end_seconds, "mid,mid,..."` after `#` comments.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      segment_id str, ytid str, start_ms int64, end_ms int64 (of the clip in its video), labels
      (tuple of mids).

    Raises:
      errors.InputError: a file of another format, or a malformed or repeated row.
    """
    columns = ("ytid", "start", "end", "mids")
    table = _Table(path, columns, ",", like="a weak label CSV")
    rows = table.rows
    _check_order(table, _milliseconds(table, "start"), _milliseconds(table, "end"), None)
    table.complain(
        ~rows["mids"].fillna("").str.fullmatch(f"{MID_PATTERN}(,{MID_PATTERN})*"),
        lambda row: f"labels {row.mids!r} are no comma-separated mids such as /m/09x0r",
    )
    rows["segment_id"] = rows["ytid"] + "_" + rows["start_ms"].astype(str)
    _check_unique(table, ["segment_id"])
    good = table.finish(skip_bad_rows)
    # Most rows share a few label lists: each is split once.
    lists = {text: tuple(text.split(",")) for text in good["mids"].unique()}
    good["labels"] = good["mids"].map(lists)
    return _select(good, ["segment_id", "ytid", "start_ms", "end_ms", "labels"])


def read_strong_tsv(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Strong labels: `audioset_train_strong.tsv` and its like, with or without the header.

    Args:
      path: lines of segment_id, start_time_seconds, end_time_seconds, label, tab-separated.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      segment_id str, start_ms int64, end_ms int64 (within the clip), mid str. Segments of one
      label may overlap; an identical row twice is an error.

    Raises:
      errors.InputError: a file of another format, or a malformed row.
    """
    table = _Table(path, STRONG_HEADER, "\t", STRONG_HEADER, like="a strong label TSV")
    _check_ids(table, "segment_id")
    _check_mids(table, "label")
    start = _milliseconds(table, "start_time_seconds")
    end = _milliseconds(table, "end_time_seconds")
    _check_order(table, start, end, CLIP_MS)
    _check_unique(table, ["segment_id", "start_ms", "end_ms", "label"])
    good = table.finish(skip_bad_rows).rename(columns={"label": "mid"})
    return _select(good, ["segment_id", "start_ms", "end_ms", "mid"])


def read_framed_tsv(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Framed labels: `audioset_eval_strong_framed_posneg.tsv` and its like.

    Args:
      path: as a strong TSV, with a fifth column PRESENT or NOT_PRESENT.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      segment_id str, start_ms int64, end_ms int64 (of the frame), mid str, present bool.

    Raises:
      errors.InputError: a file of another format, or a malformed row.
    """
    table = _Table(path, FRAMED_HEADER, "\t", FRAMED_HEADER, like="a framed label TSV")
    _check_ids(table, "segment_id")
    _check_mids(table, "label")
    table.complain(
        ~table.rows["present"].isin([PRESENT, NOT_PRESENT]),
        lambda row: f"present {row.present!r} is neither {PRESENT} nor {NOT_PRESENT}",
    )
    start = _milliseconds(table, "start_time_seconds")
    end = _milliseconds(table, "end_time_seconds")
    _check_order(table, start, end, CLIP_MS)
    _check_unique(table, ["segment_id", "start_ms", "end_ms", "label"])
    good = table.finish(skip_bad_rows).rename(columns={"label": "mid"})
    good["present"] = good["present"] == PRESENT
    return _select(good, ["segment_id", "start_ms", "end_ms", "mid", "present"])


def read_negatives(path: str, skip_bad_rows: bool = False) -> pd.DataFrame:
    """Clip-level explicit negatives: classes that a rater found absent from the whole clip.

    Args:
      path: TSV or CSV of segment_id and label, with or without a header; the label field may hold
        several comma-separated mids.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      segment_id str, mid str; a pair a row.

    Raises:
      errors.InputError: a file of another format, or a malformed row.
    """
    with open_text(path) as file:
        separator = "\t" if "\t" in file.readline() else ","
    table = _Table(path, NEGATIVES_HEADER, separator, NEGATIVES_HEADER, like="a list of negatives")
    _check_ids(table, "segment_id")
    table.complain(
        ~table.rows["label"].fillna("").str.fullmatch(f"{MID_PATTERN}(,{MID_PATTERN})*"),
        lambda row: f"labels {row.label!r} are no comma-separated mids such as /m/09x0r",
    )
    _check_unique(table, ["segment_id", "label"])
    good = table.finish(skip_bad_rows)
    bad_rows = good.attrs["bad_rows"]
    pairs = good.assign(mid=good["label"].str.split(",")).explode("mid").drop_duplicates()
    pairs = pairs.reset_index(drop=True)
    pairs.attrs["bad_rows"] = bad_rows
    return _select(pairs, ["segment_id", "mid"])


def negatives_from_framed(framed: pd.DataFrame) -> pd.DataFrame:
    """Clip-level negatives that framed labels imply: classes absent from every frame of a clip.

    Args:
      framed: what `read_framed_tsv` returned.

    Returns:
      segment_id str, mid str.
    """
    present = framed.groupby(["segment_id", "mid"], sort=True)["present"].any().reset_index()
    return present.loc[~present["present"], ["segment_id", "mid"]].reset_index(drop=True)


def read_class_labels(path: str) -> pd.DataFrame:
    """`class_labels_indices.csv`: index int64, mid str, display_name str.

    Raises:
      errors.InputError: a file of another format, a malformed row, or indices that do not count up.
    """
    columns = ("index", "mid", "display_name")
    table = _Table(path, columns, ",", columns, header_required=True, like="a class list")
    _check_mids(table, "mid")
    _check_unique(table, ["mid"])
    rows = table.rows
    rows["position"] = range(len(rows))
    table.complain(
        rows["index"] != rows["position"].astype(str),
        lambda row: f"index {row[1]!r} should be {row.position}",
    )
    good = table.finish(False)
    good["index"] = good["index"].astype("int64")
    return _select(good, list(columns))


def read_mid_to_display_name(path: str) -> pd.DataFrame:
    """`mid_to_display_name.tsv`: mid str, display_name str.

    Raises:
      errors.InputError: a file of another format, or a malformed row.
    """
    columns = ("mid", "display_name")
    table = _Table(path, columns, "\t", like="a list of display names")
    _check_mids(table, "mid")
    _check_unique(table, ["mid"])
    return _select(table.finish(False), list(columns))


def read_clip_list(path: str) -> list[str]:
    """Segment ids: one a line, or the first column of a TSV or CSV with the header segment_id.

    Raises:
      errors.InputError: a line that is no segment id.
    """
    ids = []
    for number, line in enumerate(open_text(path), 1):
        field = re.split(r"[\t,]", line.strip())[0]
        if not field or line.startswith("#") or (number == 1 and field == "segment_id"):
            continue
        if not re.fullmatch(r"\S+_\d+", field):
            raise errors.InputError(f"{path}, line {number}: {field!r} is not YTID_STARTMS")
        ids.append(field)
    return ids


def _select(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    selected = table[columns]
    selected.attrs = dict(table.attrs)
    return selected


def seconds(ms: int) -> str:
    """A time as the release's strong files write it: seconds with up to three decimals."""
    text = f"{ms / 1000:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def write_rows(path: str, header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Writes tab-separated rows, by rename, so that no reader sees half a file."""
    target = pathlib.Path(path)
    temporary = target.with_name(target.name + ".tmp")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        if header:
            file.write("\t".join(header) + "\n")
        file.writelines("\t".join(row) + "\n" for row in rows)
    temporary.replace(target)
