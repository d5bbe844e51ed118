"""Where in a Parquet file the bytes of each value of a column lie.

Libraries read Parquet by row groups. A row group of audio has a hundred clips, and clips are
converted in another order than they lie in, so a library would read a hundred clips for one. Here
the pages of a column are followed without decoding their values, which gives the place of each.

Sources: the format of Apache Parquet (parquet.thrift, Encodings.md), Thrift's compact protocol,
and Snappy's format_description.txt. Google's Snappy, and all that follow it, compress 64 KiB at a
time; where no part refers to another one, each can be decompressed by itself. The format does not
promise it, so every reference is looked at.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from audioset_strong.audio.archives import members
from audioset_strong.core import errors

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3  # types of pages
_PLAIN, _INDICES, _RLE = 0, (2, 8), 3  # encodings
_PART = 65_536  # bytes that Snappy compresses at a time
_WINDOW = 1 << 20
_HEADER = 1 << 14
_MAX_HEADER = 1 << 26
_DAMAGE = (IndexError, KeyError, TypeError, RecursionError, struct.error)

Place = tuple[int, ...]


class UnknownLayoutError(Exception):
    """The column is written in a way that is not known here; the text says which."""


@dataclasses.dataclass(frozen=True)
class Column:
    """Where a column of a row group lies.

    Attributes:
      offset: of its first page in the file.
      size: of its pages in bytes.
      rows: of the row group.
      codec: Parquet's name of its compression.
      max_definition_level: how many of its parents, and itself, may be null.
    """

    offset: int
    size: int
    rows: int
    codec: str
    max_definition_level: int


def value_places(path: str, column: Column) -> list[Place | None]:
    """The place of the value in each row, see `members.MemberPath`; None where it is null.

    Args:
      path: of the file.
      column: of byte arrays that are not repeated.

    Raises:
      UnknownLayoutError: another compression or encoding than are usual for bytes, or damage.
    """
    try:
        return list(_value_places(path, column))
    except (*_DAMAGE, members.DamagedMemberError) as error:
        raise UnknownLayoutError(f"damaged pages ({type(error).__name__})") from error


def _value_places(path: str, column: Column) -> Iterator[Place | None]:
    dictionary: list[Place] = []
    position, end = column.offset, column.offset + column.size
    while position < end:
        header, begin = _page_header(path, position)
        kind, unpacked, stored = header[1], header[2], header[3]
        if not 0 <= stored <= end - begin or unpacked < 0:
            raise IndexError
        position = begin + stored
        if kind == _DICTIONARY:
            content = _content(path, column.codec, begin, stored, unpacked)
            dictionary = list(_plain(content, 0, header[7][1]))
        elif kind == _DATA:
            content = _content(path, column.codec, begin, stored, unpacked)
            levels, at = b"", 0
            if column.max_definition_level:
                if header[5][3] != _RLE:
                    raise UnknownLayoutError(f"levels of encoding {header[5][3]}")
                (size,) = struct.unpack("<I", content.read(0, 4))
                levels, at = content.read(4, size), 4 + size
            count, encoding = header[5][1], header[5][2]
            yield from _values(content, at, count, encoding, levels, column, dictionary)
        elif kind == _DATA_V2:
            facts = header[8]
            repeated, defined = facts.get(6, 0), facts.get(5, 0)
            levels = members.read_at(path, begin + repeated, defined)
            before = repeated + defined
            codec = column.codec if facts.get(7, True) else "UNCOMPRESSED"
            content = _content(path, codec, begin + before, stored - before, unpacked - before)
            yield from _values(content, 0, facts[1], facts[4], levels, column, dictionary)


def _values(
    content: "_Stored | _Snappy",
    at: int,
    count: int,
    encoding: int,
    levels: bytes,
    column: Column,
    dictionary: list[Place],
) -> Iterator[Place | None]:
    """The places of the values of a data page, from a position in its content on."""
    if count > column.rows:
        raise IndexError
    top = column.max_definition_level
    defined = [level == top for level in _hybrid(levels, top.bit_length(), count)] if top else None
    present = count if defined is None else sum(defined)
    places: Iterator[Place]
    if encoding == _PLAIN:
        places = _plain(content, at, present)
    elif encoding in _INDICES:
        rest = content.read(at, content.size - at)
        places = (dictionary[i] for i in _hybrid(rest[1:], rest[0] if rest else 0, present))
    else:
        raise UnknownLayoutError(f"encoding {encoding}")
    for i in range(count):
        yield next(places) if defined is None or defined[i] else None


def _plain(content: "_Stored | _Snappy", at: int, count: int) -> Iterator[Place]:
    """Values one behind the other, each behind its length."""
    for _ in range(count):
        (size,) = struct.unpack("<I", content.read(at, 4))
        if at + 4 + size > content.size:
            raise IndexError
        yield content.place(at + 4, size)
        at += 4 + size


class _Stored:
    """The content of a page that is not compressed."""

    def __init__(self, path: str, begin: int, size: int):
        self._path, self._begin, self.size = path, begin, size

    def read(self, at: int, size: int) -> bytes:
        return members.read_at(self._path, self._begin + at, size)

    def place(self, at: int, size: int) -> Place:
        return members.STORED, self._begin + at, size


class _Snappy:
    """The content of a page that Snappy compressed, in parts of 64 KiB."""

    def __init__(self, path: str, begin: int, stored: int, size: int):
        self._path, self.size = path, size
        self._starts, produced = _snappy_parts(_Window(path), begin, begin + stored)
        if produced != size:
            raise UnknownLayoutError("Snappy of another size than its header states")

    def _parts(self, at: int, size: int) -> tuple[int, int, int, int]:
        """(offset, bytes, bytes after decompression, bytes to skip) of the parts with a range."""
        first, last = at // _PART, (at + max(size, 1) - 1) // _PART
        begin, end = self._starts[first], self._starts[last + 1]
        unpacked = min((last + 1) * _PART, self.size) - first * _PART
        return begin, end - begin, unpacked, at - first * _PART

    def read(self, at: int, size: int) -> bytes:
        if not size:
            return b""
        begin, stored, unpacked, skipped = self._parts(at, size)
        content = unpacked_snappy(self._path, begin, stored, unpacked)
        return content[skipped : skipped + size]

    def place(self, at: int, size: int) -> Place:
        return members.SNAPPY, *self._parts(at, size), size


def _content(path: str, codec: str, begin: int, stored: int, unpacked: int) -> _Stored | _Snappy:
    if codec == "UNCOMPRESSED":
        return _Stored(path, begin, stored)
    if codec == "SNAPPY":
        return _Snappy(path, begin, stored, unpacked)
    raise UnknownLayoutError(f"compressed with {codec}")


def unpacked_snappy(path: str, offset: int, stored: int, size: int) -> bytes:
    """Consecutive parts of a Snappy stream in a file, decompressed.

    Args:
      path: of the file.
      offset: of the first part.
      stored: bytes of the parts.
      size: of the result in bytes.

    Raises:
      DamagedMemberError: they are damaged.
    """
    stream = members.read_behind(_snappy_length(size), path, offset, stored)
    try:
        return pa.decompress(stream, size, codec="snappy", asbytes=True)
    except pa.ArrowException as error:
        raise members.DamagedMemberError(errors.first_line(error)) from error


def _snappy_length(size: int) -> bytes:
    """What a Snappy stream begins with: its length after decompression."""
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*length, size])


class _Window:
    """Single bytes of a file, of which a window is kept in memory."""

    def __init__(self, path: str):
        self._path = path
        self._begin, self._bytes = 0, b""

    def byte(self, position: int) -> int:
        at = position - self._begin
        if not 0 <= at < len(self._bytes):
            self._begin, self._bytes = position, members.read_at(self._path, position, _WINDOW)
            at = 0
        return self._bytes[at]

    def number(self, position: int, width: int) -> int:
        """Some bytes as a number, the lowest first."""
        return sum(self.byte(position + i) << (8 * i) for i in range(width))


def _snappy_parts(window: _Window, begin: int, end: int) -> tuple[list[int], int]:
    """(offsets in the file of the parts of a Snappy stream, and of its end; bytes unpacked).

    Raises:
      UnknownLayoutError: something lies across the boundary of two parts, or refers across it.
    """
    position, produced, starts = begin, 0, []
    while window.byte(position) & 0x80:  # the length
        position += 1
    position += 1
    while position < end:
        if produced % _PART == 0:
            starts.append(position)
        tag = window.byte(position)
        kind, value = tag & 3, tag >> 2
        position += 1
        back = 0
        if kind == 0:  # bytes as they are
            extra = max(value - 59, 0)
            if extra:
                value = window.number(position, extra)
            position += extra + value + 1
            size = value + 1
        elif kind == 1:  # bytes again that came before
            back = (tag >> 5) << 8 | window.byte(position)
            position += 1
            size = (value & 7) + 4
        else:
            width = 2 if kind == 2 else 4
            back = window.number(position, width)
            position += width
            size = value + 1
        begun = produced % _PART
        if begun + size > _PART or back > begun:
            raise UnknownLayoutError("Snappy in parts that need each other")
        produced += size
    if position != end:
        raise IndexError
    return [*starts, end], produced


def _hybrid(content: bytes, width: int, count: int) -> list[int]:
    """Decodes integers of `width` bits in runs and in packed groups of eight (RLE/bit-packing)."""
    values: list[int] = []
    at, mask = 0, (1 << width) - 1
    while len(values) < count:
        if not width:
            values += [0] * (count - len(values))
            break
        head, at = _varint(content, at)
        if head & 1:
            size = (head >> 1) * width
            packed = int.from_bytes(content[at : at + size], "little")
            wanted = min((head >> 1) * 8, count - len(values))
            values += [packed >> (i * width) & mask for i in range(wanted)]
            at += size
        else:
            size = -(-width // 8)
            value = int.from_bytes(content[at : at + size], "little")
            values += [value] * min(head >> 1, count - len(values))
            at += size
    return values[:count]


def _page_header(path: str, position: int) -> tuple[dict[int, Any], int]:
    """(the header of a page by the numbers of its fields, offset of the page behind it)."""
    size = _HEADER
    while True:
        content = members.read_at(path, position, size)
        try:
            header, length = _thrift_struct(content, 0)
            return header, position + length
        except IndexError:
            if len(content) < size or size >= _MAX_HEADER:
                raise
            size *= 16


def _thrift_struct(content: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Reads a struct of Thrift's compact protocol: (number of each field -> value, its end)."""
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = content[at]
        at += 1
        if not head:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(content, at)
        fields[number], at = _thrift_value(content, at, head & 15)


def _thrift_value(content: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true, false
        return kind == 1, at
    if kind == 3:
        return content[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(content, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(content, at)
        if at + size > len(content):
            raise IndexError
        return None, at + size
    if kind == 12:
        return _thrift_struct(content, at)
    raise UnknownLayoutError(f"field of type {kind} in a page header")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _zigzag(content: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(content, at)
    return value >> 1 ^ -(value & 1), at
