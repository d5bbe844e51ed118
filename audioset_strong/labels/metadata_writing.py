"""Writers of the formats of the AudioSet release, which `metadata` reads."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from audioset_strong.core import files
from audioset_strong.labels import metadata

_ROWS_AT_ONCE = 1 << 16


def seconds(ms: int) -> str:
    """A time as the release's strong files write it: seconds with one to three decimals.

    Example:
      >>> seconds(5280), seconds(2000)
      ('5.28', '2.0')
    """
    text = f"{ms / 1000:.3f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def weak_line(ytid: str, start_ms: int, end_ms: int, mids: Iterable[str]) -> str:
    """A clip as a line of the release's weak CSVs, without a line end.

    Args:
      ytid: video id.
      start_ms: start of the clip in its video.
      end_ms: end of the clip in its video.
      mids: the labels.

    Example:
      >>> weak_line("aaa", 30_000, 40_000, ["/m/b", "/m/a"])
      'aaa, 30.000, 40.000, "/m/a,/m/b"'
    """
    labels = ",".join(sorted(mids))
    return f'{ytid}, {start_ms / 1000:.3f}, {end_ms / 1000:.3f}, "{labels}"'


def write_rows(path: str, header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Writes tab-separated rows; no reader sees half a file.

    Args:
      path: of the file.
      header: names of the columns, or None for a file without a header.
      rows: the fields of each row.

    Raises:
      errors.InputError: a path that cannot be written.

    Example:
      >>> row = ["a_0", seconds(500), seconds(1280), "/m/x"]
      >>> write_rows("strong.tsv", metadata.STRONG_HEADER, [row])
      >>> metadata.read_strong_tsv("strong.tsv").values.tolist()
      [['a_0', 500, 1280, '/m/x']]
    """
    lines = ("\t".join(row) + "\n" for row in itertools.chain([header] if header else [], rows))
    _write_texts(path, lines)


def _write_texts(path: str, texts: Iterable[str]) -> None:
    with (
        files.writing(path),
        files.atomic(path) as name,
        open(name, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(texts)


def write_framed_tsv(path: str, framed: pd.DataFrame) -> None:
    """Writes framed labels in the release's format; `metadata.read_framed_tsv` gives them back.

    Args:
      path: of the file.
      framed: clip_id, start_ms, end_ms, mid, present.

    Raises:
      errors.InputError: a path that cannot be written.

    Example:
      >>> frame = {"clip_id": "a_0", "start_ms": 0, "end_ms": 960, "mid": "/m/x", "present": True}
      >>> write_framed_tsv("framed.tsv", pd.DataFrame([frame]))
      >>> metadata.read_framed_tsv("framed.tsv").values.tolist()
      [['a_0', 0, 960, '/m/x', True]]
    """
    header = "\t".join(metadata.FRAMED_HEADER) + "\n"
    _write_texts(path, itertools.chain([header], _framed_texts(framed)))


def _framed_texts(framed: pd.DataFrame) -> Iterator[str]:
    """The rows of a framed TSV, many in each text."""
    starts, ends = (
        {ms: f"\t{seconds(ms)}" for ms in framed[column].unique().tolist()}
        for column in ("start_ms", "end_ms")
    )
    marks = {True: f"\t{metadata.PRESENT}\n", False: f"\t{metadata.NOT_PRESENT}\n"}
    for first in range(0, len(framed), _ROWS_AT_ONCE):
        part = framed.iloc[first : first + _ROWS_AT_ONCE]
        # Lists, because iterating a column of Arrow strings makes a scalar of every cell.
        columns = [part[name].tolist() for name in metadata.FRAMED_COLUMNS]
        yield "".join(
            f"{clip_id}{starts[start]}{ends[end]}\t{mid}{marks[is_present]}"
            for clip_id, start, end, mid, is_present in zip(*columns, strict=True)
        )
