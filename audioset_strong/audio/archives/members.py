"""Members of archives: audio that lies in a larger file, and is read from there.

The members of an archive are listed once, with the place of each. A worker then reads the bytes of
one member, and nothing else, whatever the kind and the size of the archive.
"""

import dataclasses
import functools
import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from audioset_strong.core import files

# How a member lies in its archive, and what the other numbers of its place are.
STORED = 0  # offset, bytes
SNAPPY = 1  # offset, bytes, bytes after decompression, those to be skipped, bytes of the member
ZIPPED = 2  # offset of the header, bytes, bytes of the member, CRC-32, method of compression
PARQUET_ROW = 3  # row group, row in it
HDF5_ROW = 4  # row
PLACE_NUMBERS = 6

# What is known about the labels of a member: mids or display names; None if nothing is.
Labels: TypeAlias = tuple[str, ...] | None

MAX_JSON = 1 << 20  # bytes of a JSON file with labels; larger ones hold something else
_JSON_KEYS = (("labels",), ("tag",), ("original_data", "class_labels"))
_OPEN_FILES = 16


class DamagedMemberError(Exception):
    """A member whose bytes cannot be had; the text says why."""


class MemberPath(str):
    """The path of a member, ARCHIVE/NAME, that knows where in the archive its bytes are.

    Attributes:
      archive: path of the archive.
      place: how and where the member lies in it: one of the numbers above, then what it needs.
    """

    __slots__ = ("_places", "_row", "archive")

    archive: str
    _places: np.ndarray
    _row: int

    def __new__(cls, path: str, archive: str, places: np.ndarray, row: int) -> "MemberPath":
        """Makes a path.

        Args:
          path: the text.
          archive: path of the archive.
          places: int64 `[members, PLACE_NUMBERS]`, shared with the other members.
          row: of this member in `places`.
        """
        self = super().__new__(cls, path)
        self.archive, self._places, self._row = archive, places, row
        return self

    @property
    def place(self) -> tuple[int, ...]:
        return tuple(self._places[self._row].tolist())

    def __reduce__(self) -> tuple[Any, ...]:
        place = self._places[self._row : self._row + 1].copy()  # not those of all other members
        return MemberPath, (str(self), self.archive, place, 0)


@dataclasses.dataclass
class Catalogue:
    """The members of an archive.

    Attributes:
      names: of the members, with folders; they need not end in an extension.
      places: int64 `[members, PLACE_NUMBERS]`, see `MemberPath`.
      labels: of each member; None if they were not asked for.
      labels_are: what the labels are in this kind of archive, for reports, such as
        "Parquet column labels".
      classes: (smallest, largest) number of classes where the labels are indices of classes,
        written as decimal numbers; None where they are mids or names.
      problems: what is wrong with the archive as a whole, in words.
    """

    names: list[str] = dataclasses.field(default_factory=list)
    places: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, PLACE_NUMBERS), np.int64)
    )
    labels: list[Labels] | None = None
    labels_are: str = ""
    classes: tuple[int, int] | None = None
    problems: list[str] = dataclasses.field(default_factory=list)


def place_array(places: Sequence[Sequence[int]]) -> np.ndarray:
    """Places of different lengths as the rows of one array."""
    array = np.zeros((len(places), PLACE_NUMBERS), np.int64)
    for row, place in zip(array, places, strict=True):
        row[: len(place)] = place
    return array


def labels_beside(names: Sequence[str], by_stem: Mapping[str, Labels]) -> list[Labels]:
    """The labels of each member, from the JSON files that are called like it but for the extension.

    Args:
      names: of the members.
      by_stem: name of a JSON file without its extension -> the labels in it.
    """
    return [by_stem.get(name.rpartition(".")[0]) for name in names]


def split_labels(text: str) -> list[str]:
    """The labels in a text: mids with commas between them, or one name.

    >>> split_labels("/m/0a,/m/0b"), split_labels("Ducks, geese")
    (['/m/0a', '/m/0b'], ['Ducks, geese'])
    """
    return text.split(",") if text.startswith("/") else [text]


def labels_in_json(content: bytes) -> Labels:
    """The labels in the JSON file that WebDataset archives have beside each audio file.

    LAION's archives have a list `tag`, those of AudioSet `original_data.class_labels`; others have
    `labels`.

    >>> labels_in_json(b'{"tag": ["Dog", "Bark"], "text": "a dog barks"}')
    ('Dog', 'Bark')
    """
    try:
        values = json.loads(content)
    except ValueError:
        return None
    for keys in _JSON_KEYS:
        found: Any = values
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            found = split_labels(found)
        if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            return tuple(dict.fromkeys(one.strip() for one in found))
    return None


class _RemoteFile(io.RawIOBase):
    """A file of `tf.io.gfile` for libraries that seek."""

    def __init__(self, path: str):
        self._size, _ = files.size_and_time(path)
        with files.remote(path) as gfiles:
            self._file = gfiles.GFile(path, "rb")
        self._path, self._position = path, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        with files.remote(self._path):
            self._file.seek(min(self._position, self._size))
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def open_file(path: str) -> BinaryIO:
    """Opens an archive, local or remote, for libraries that read and seek."""
    if files.is_remote(path):
        return io.BufferedReader(_RemoteFile(path), 1 << 20)
    return open(path, "rb")


def version_of(path: str) -> tuple[int, int]:
    """(size in bytes, time of the last change in ns) of an archive."""
    return files.size_and_time(path)


@functools.lru_cache(_OPEN_FILES)
def _opened(path: str, version: tuple[int, int] | None) -> BinaryIO:
    """An archive that stays open for its next member."""
    del version
    return open_file(path)


def read_at(path: str, offset: int, size: int) -> bytes:
    """Some bytes of an archive; fewer at its end. It stays open for the next call."""
    if files.is_remote(path):
        file = _opened(path, None)
        file.seek(offset)
        return file.read(size)
    number = _opened(path, version_of(path)).fileno()
    content = os.pread(number, size, offset)
    while len(content) < size:  # Linux gives 2 GiB at most at a time
        more = os.pread(number, size - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def read_exactly(path: str, offset: int, size: int) -> bytes:
    """As `read_at`.

    Raises:
      DamagedMemberError: the archive ends earlier.
    """
    content = read_at(path, offset, size)
    _check_size(len(content), size)
    return content


def read_behind(prefix: bytes, path: str, offset: int, size: int) -> np.ndarray:
    """As `read_exactly`, behind other bytes: uint8 `[bytes]`, which were copied once only."""
    content = np.empty(len(prefix) + size, np.uint8)
    content[: len(prefix)] = np.frombuffer(prefix, np.uint8)
    if files.is_remote(path):
        content[len(prefix) :] = np.frombuffer(read_exactly(path, offset, size), np.uint8)
        return content
    file = _opened(path, version_of(path)).fileno()
    _check_size(os.preadv(file, [content[len(prefix) :].data], offset), size)
    return content


def _check_size(there: int, size: int) -> None:
    if there < size:
        raise DamagedMemberError(
            f"the archive ends after {there} of the {size} bytes of the member"
        )


def unzipped(path: str, header: int, stored: int, size: int, crc: int, method: int) -> bytes:
    """A member of a zip file, checked against its CRC-32.

    Raises:
      DamagedMemberError: damaged, or compressed in an unusual way.
    """
    local = read_exactly(path, header, 30)
    if local[:4] != b"PK\3\4":
        raise DamagedMemberError("its header in the zip file is damaged")
    skipped = 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    content = read_exactly(path, header + skipped, stored)
    if method == 8:
        try:
            content = zlib.decompress(content, -zlib.MAX_WBITS, max(size, 1))
        except zlib.error as error:
            raise DamagedMemberError(f"damaged in the zip file ({error})") from error
    elif method != 0:
        raise DamagedMemberError(
            f"encrypted, or compressed with method {method} of zip; store or deflate it"
        )
    if len(content) != size or zlib.crc32(content) != crc:
        raise DamagedMemberError("damaged in the zip file (its checksum is another)")
    return content
