"""Comma- and tab-separated text files, parsed whole, with every complaint about a line of them.

`metadata` reads the release's files through it. A file is UTF-8 text, with or without a byte-order
mark, with line ends of any kind; its letters are brought into one form (Unicode's NFC), so that a
name typed on two systems is one name. Lines that are blank or begin with "#" are skipped, but not
those whose "#" a spreadsheet wrote.
"""

import csv
import io
import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.core import errors, files

# What spreadsheets write where a cell, such as an id that begins with "-", fails as a formula.
_SPREADSHEET = ("#NAME?", "#REF!", "#VALUE!", "#N/A", "#NUM!", "#NULL!", "#DIV/0!")
_EXTRA = "extra"  # one column more than there should be, which holds the rest of a longer row


def read_text(path: str) -> str:
    r"""The text of a file, without byte-order mark and with "\n" line ends.

    Raises:
      errors.InputError: the file is missing, unreadable, empty, or not UTF-8 text.
    """
    return _read_bytes(path).decode()


def parse_json(path: str, text: str) -> Any:
    """The value of a text in JSON.

    Args:
      path: of the file, for messages.
      text: its content.

    Raises:
      errors.InputError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise errors.InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error


def _read_bytes(path: str) -> bytes:
    """The bytes that `read_text` decodes. Nothing is copied unless it has to be replaced."""
    with files.reading(path):
        raw = files.read_bytes(path)
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not raw or raw.isspace():
        raise errors.InputError(f"{path}: empty file")
    bad = raw.find(b"\0")  # UTF-16 without a byte-order mark is valid UTF-8
    if bad < 0 and not raw.isascii():
        try:
            text = raw.decode()
            if not unicodedata.is_normalized("NFC", text):
                return unicodedata.normalize("NFC", text).encode()
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
        text = line.decode()
        if not (is_comment(text) or text == "\n"):
            return number, begin, text
        number, begin = number + 1, begin + len(line)
    return number, begin, ""


def is_comment(line: str) -> bool:
    """Whether a line, or its first field, is a comment.

    >>> is_comment("# YTID, start"), is_comment("#NAME?,30.0,40.0"), is_comment("-abc,30.0,40.0")
    (True, False, False)
    """
    return line.startswith("#") and not line.startswith(_SPREADSHEET)


def separator_of(path: str) -> tuple[str, str]:
    """(tab or comma, text) of the first line of a file that may be separated by either."""
    *_, first = _first_row(_read_bytes(path))
    return ("\t" if "\t" in first else ","), first


class TableFile:
    """The rows of a file as text, and the complaints about them.

    Attributes:
      rows: str columns, indexed by line number.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        *,
        columns: Sequence[str],
        separator: str,
        header: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
    ):
        """Parses a file.

        Args:
          path: of the file.
          kind: what the file should be, for messages.
          columns: of each row, as the file calls them.
          separator: of the columns. Where it is a comma, fields that hold a comma are quoted.
          header: how the header begins; the file may lack one.
          names: column -> its name in `rows`, where that differs.

        Raises:
          errors.InputError: see `read_text`; or the first row has too few columns.
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
                f"{path}, line {number}: {line.rstrip()[:80]!r} is not a row of {kind}; "
                f"its columns are {', '.join(columns)}"
            )
        fields = [(names or {}).get(column, column) for column in columns]
        rows = _parse(raw, begin, [*fields, _EXTRA], separator)
        if rows is None:
            rows, self._bad = _parse_by_line(
                raw, begin, [*fields, _EXTRA], separator=separator, number=number
            )
        rows.index = pd.RangeIndex(number, number + len(rows))
        blank = np.logical_and.reduce([rows[name] == "" for name in fields])
        spreadsheet = any(error.encode() in raw for error in _SPREADSHEET)
        comment = rows[fields[0]].str.startswith("#")
        if spreadsheet:
            comment &= np.array([is_comment(text) for text in rows[fields[0]]], bool)
        self.rows = rows[~(blank | comment)]
        for name, column in zip(fields, columns, strict=True) if spreadsheet else ():
            self.complain(
                self.rows[name].isin(_SPREADSHEET),
                lambda row, name=name, column=column: (
                    f"{column} {getattr(row, name)!r} is what a spreadsheet made of it; take the "
                    "original file, or import the column as text"
                ),
            )
        for name, column in zip(fields, columns, strict=True):
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

    def complain(self, bad: pd.Series | np.ndarray, describe: Callable) -> None:
        """Marks rows as bad.

        Args:
          bad: bool `[rows]`.
          describe: row -> what is wrong with it. A row keeps its first complaint.
        """
        for row in self.rows[np.asarray(bad)].itertuples():
            self._bad.setdefault(row.Index, describe(row))

    def finish(self, *, skip_bad_rows: bool) -> pd.DataFrame:
        """The good rows; the complaints about the others are in `attrs["bad_rows"]`.

        Raises:
          errors.InputError: there is a bad row, and bad rows are not to be skipped.
        """
        complaints = [f"{self._path}, line {line}: {self._bad[line]}" for line in sorted(self._bad)]
        if complaints and not skip_bad_rows:
            rest = len(complaints) - 1
            more = f" (and {rest} more bad rows)" if rest else ""
            raise errors.InputError(complaints[0] + more)
        for complaint in complaints:
            logging.warning("skipped: %s", complaint)
        if complaints:
            logging.warning("%s: %d bad rows skipped", self._path, len(complaints))
        table = self.rows[~self.rows.index.isin(self._bad)] if complaints else self.rows
        table = table.reset_index(drop=True)
        table.attrs["bad_rows"] = complaints
        return table


def _dialect(separator: str) -> dict:
    """The options with which both `csv` and pandas split a line."""
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
    """The rows from byte `begin` on, with "" for missing fields; None where a line is not a row.

    A line is not a row if it has more columns than names, or a quote that spans lines.
    """
    if begin == len(raw):
        return pd.DataFrame({name: pd.Series(dtype=str) for name in names})
    file = io.BytesIO(raw)
    file.seek(begin)
    try:
        with warnings.catch_warnings():
            # pandas truncates a first row that is too long and only warns.
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
    raw: bytes, begin: int, names: Sequence[str], *, separator: str, number: int
) -> tuple[pd.DataFrame, dict[int, str]]:
    """As `_parse`, with a row for every line whatever it holds, and complaints by line number."""
    rows, bad = [], {}
    for offset, line in enumerate(raw[begin:].decode().removesuffix("\n").split("\n")):
        try:
            fields = _split(line, separator)
        except csv.Error as error:
            fields = [line]
            if not is_comment(line):
                bad[number + offset] = f"{line[:80]!r} does not fall into columns ({error})"
        fields[len(names) - 1 :] = [separator.join(fields[len(names) - 1 :])]
        rows.append(fields + [""] * (len(names) - len(fields)))
    return pd.DataFrame(rows, columns=list(names), dtype=str), bad


def matches(column: pd.Series, pattern: str) -> np.ndarray:
    """Whether each text of a column matches a pattern as a whole.

    Args:
      column: of text.
      pattern: a regular expression.

    Returns:
      bool `[rows]`.
    """
    fullmatch = re.compile(pattern).fullmatch
    return np.array([fullmatch(text) is not None for text in column.tolist()], bool)


def is_among(column: pd.Series, values: Iterable[str]) -> np.ndarray:
    """Whether each text of a column is one of several.

    As `column.isin(values)`, which with pandas 3 makes a scalar of every value.

    Returns:
      bool `[rows]`.
    """
    distinct = values.unique() if isinstance(values, pd.Series) else list(dict.fromkeys(values))
    return pd.Index(distinct, dtype=column.dtype).get_indexer(column) >= 0
