"""Tar archives, plain and of WebDataset: members in a row, each behind a header of its own.

POSIX.1-2001 (pax) and GNU. The headers are followed from the first to the last; nothing else is
read. A damaged header costs its member: the next good one is searched for.
"""

import tarfile
from collections.abc import Iterator
from typing import Any

from audioset_strong.audio import naming
from audioset_strong.audio.archives import members
from audioset_strong.core import errors

_BLOCK = tarfile.BLOCKSIZE
_SEARCHED = 2048 * _BLOCK  # at a time, for the header behind damage
# What a file that is compressed as a whole begins with.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def catalogue(path: str, *, labels: bool) -> members.Catalogue:
    """Lists the audio files in a tar archive.

    Args:
      path: of the archive, local or remote.
      labels: whether to read the JSON files beside the audio files.

    Raises:
      errors.InputError: it is no tar archive, or compressed as a whole.
      OSError: it cannot be read.
    """
    head = members.read_at(path, 0, 8)
    for mark, program in _COMPRESSED.items():
        if head.startswith(mark):
            raise errors.InputError(
                f"{path}: compressed with {program} as a whole, so that no member can be read "
                "without all that come before it; decompress it once, audio hardly shrinks"
            )
    found = members.Catalogue(labels_are="WebDataset JSON")
    places, by_stem = [], {}
    end = members.version_of(path)[0]
    links = []
    for info in _headers(path, end, found.problems):
        name = info.name.removeprefix("./")
        if not info.isreg():
            if (info.islnk() or info.issym()) and naming.is_audio(name):
                links.append(name)
            continue
        if name.endswith(".json") and labels and info.size <= members.MAX_JSON:
            content = members.read_at(path, info.offset_data, info.size)
            by_stem[name.removesuffix(".json")] = members.labels_in_json(content)
        if not naming.is_audio(name):
            continue
        if info.sparse is not None:
            found.problems.append(f"{name} has holes (a sparse file) and is left out")
            continue
        found.names.append(name)
        places.append((members.STORED, info.offset_data, info.size))
    if links:
        found.problems.append(f"{len(links)} links, such as {links[0]}, are left out: not followed")
    found.places = members.place_array(places)
    if labels:
        found.labels = members.labels_beside(found.names, by_stem)
    return found


def _headers(path: str, end: int, problems: list[str]) -> Iterator[tarfile.TarInfo]:
    """The headers of an archive; what is wrong with it is added to `problems`.

    A member that is cut off is among them, so that its clip is told.
    """
    with members.open_file(path) as file:
        try:
            tar: Any = tarfile.open(fileobj=file, mode="r:", errors="surrogateescape")  # noqa: SIM115
        except tarfile.TarError as error:
            raise errors.InputError(f"{path}: not a tar archive ({error})") from error
        last = "its beginning"
        while True:
            begin = tar.offset
            try:
                info = tar.next()
            except tarfile.TarError:
                info = None
            if info is not None:
                last = info.name
                yield info
                tar.members = []  # tarfile would keep them all
                if info.isreg() and info.offset_data + info.size > end:
                    there = max(end - info.offset_data, 0)
                    problems.append(
                        f"cut off after {there} of the {info.size} bytes of {last}; what came "
                        "behind is lost"
                    )
                    return
                continue
            following, zeros = _next_header(file, begin, end)
            if following is None:
                if not zeros:
                    problems.append(f"has no mark of its end: it may be cut off behind {last}")
                return
            if not zeros:
                problems.append(f"damaged behind {last}: {following - begin} bytes are passed over")
            tar.offset = following


def _next_header(file: Any, begin: int, end: int) -> tuple[int | None, bool]:
    """(offset of the next good header, whether there are only zeros before it).

    Archives that were joined have zeros between them. Without a header there is the end of the
    archive, which is marked with zeros.
    """
    zeros = begin < end
    for position in range(begin, end, _SEARCHED):
        file.seek(position)
        content = file.read(_SEARCHED)
        if content.count(0) == len(content):
            continue
        for at in range(0, len(content), _BLOCK):
            block = content[at : at + _BLOCK]
            if block.count(0) == len(block):
                continue
            try:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.TarError:
                zeros = False
                continue
            return position + at, zeros
    return None, zeros
