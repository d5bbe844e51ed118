"""Zip archives: the directory at their end lists the members; each is compressed by itself.

PKWARE's APPNOTE. Where the end is missing, the headers before the members are followed.
"""

import struct
import zipfile
from collections.abc import Iterator

from audioset_strong.audio import naming
from audioset_strong.audio.archives import members
from audioset_strong.core import errors

_LOCAL = struct.Struct("<4s5H3I2H")  # the header before a member
_UNKNOWN = 0xFFFFFFFF  # the size is in a field of Zip64
_ENCRYPTED, _SIZE_FOLLOWS, _UTF8 = 0x1, 0x8, 0x800  # flags
_OTHER_METHOD = -1


def catalogue(path: str, *, labels: bool) -> members.Catalogue:
    """Lists the audio files in a zip archive.

    Args:
      path: of the archive, local or remote.
      labels: whether to read the JSON files beside the audio files.

    Raises:
      errors.InputError: it is no zip archive, or so much of it is lost that no member is found.
      OSError: it cannot be read.
    """
    found = members.Catalogue(labels_are="WebDataset JSON")
    places, by_stem = [], {}
    for name, place in _entries(path, found):
        if labels and name.endswith(".json") and place[3] <= members.MAX_JSON:
            try:
                content = members.unzipped(path, *place[1:])
            except members.DamagedMemberError:
                continue
            by_stem[name.removesuffix(".json")] = members.labels_in_json(content)
        elif naming.is_audio(name):
            found.names.append(name)
            places.append(place)
    found.places = members.place_array(places)
    if labels:
        found.labels = members.labels_beside(found.names, by_stem)
    return found


def _entries(path: str, found: members.Catalogue) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and place of each member."""
    with members.open_file(path) as file:
        try:
            listed = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            entries = list(_recovered(path))
            if not entries:
                raise errors.InputError(f"{path}: not a zip archive ({error})") from error
            last = entries[-1][0]
            found.problems.append(
                f"its end, which lists the members, is missing or damaged: {len(entries)} were "
                f"found from its beginning, the last one {last}; what came behind is lost"
            )
            yield from entries
            return
    for info in listed:
        method = _OTHER_METHOD if info.flag_bits & _ENCRYPTED else info.compress_type
        sizes = (info.compress_size, info.file_size, info.CRC)
        yield info.filename, (members.ZIPPED, info.header_offset, *sizes, method)


def _recovered(path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The members in a row from the beginning, as far as their headers state their sizes."""
    offset, end = 0, members.version_of(path)[0]
    while offset + _LOCAL.size <= end:
        header = _LOCAL.unpack(members.read_at(path, offset, _LOCAL.size))
        mark, _, flags, method, _, _, crc, stored, size, name_bytes, extra = header
        begin = offset + _LOCAL.size + name_bytes + extra
        if mark != b"PK\3\4" or flags & _SIZE_FOLLOWS or _UNKNOWN in (stored, size):
            return
        if begin + stored > end:
            return
        name = members.read_at(path, offset + _LOCAL.size, name_bytes)
        encoding = "utf-8" if flags & _UTF8 else "cp437"
        method = _OTHER_METHOD if flags & _ENCRYPTED else method
        place = (members.ZIPPED, offset, stored, size, crc, method)
        yield name.decode(encoding, "replace"), place
        offset = begin + stored
