"""Finds audio in folders and archives: all of it, or the file of each clip.

Clips are found in the layouts that downloads of AudioSet commonly have.
"""

import glob
import os
import re
import string
from collections.abc import Iterator, Sequence

from absl import logging

from audioset_strong.audio import naming
from audioset_strong.audio.archives import catalogues, members
from audioset_strong.audio.naming import one_form
from audioset_strong.core import errors, files

_ROW_BITS = 40  # of the number of a member in its archive
_LOOKED_FOR = ", ".join([*sorted(naming.EXTENSIONS), *catalogues.SUFFIXES])
_START_AND_END = re.compile(r"_\d+(?:\.\d+)?_(\d+(?:\.\d+)?)$")


class AudioIndex:
    """The files of folders and archives, listed once and looked up by clip.

    Recognised names, in any subfolder, are YTID_START, YTID_START_END and YTID, each also with a
    "Y" before the video id. START is in ms, or in seconds as 30, 30.0 or 30.000; END is ignored.
    Hidden files and folders are passed over; `naming.one_form` says which names are alike. The
    path of a member of an archive is ARCHIVE/NAME.
    """

    def __init__(
        self,
        places: Sequence[str],
        pattern: str | None = None,
        *,
        labels: bool = False,
        kept_in: str | None = None,
    ):
        """Lists folders and archives.

        Args:
          places: folders, archives (see `catalogues`), glob patterns of folders, archives or files,
            of any file system that `tf.io.gfile` knows (gs://, s3://, ...). Archives in a folder
            are listed, too. Of files with the same name the first one counts, in the order of the
            places, then of the paths.
          pattern: how the files are named, if not in a recognised way: a format string of ytid,
            start_ms, end_ms (integers), start_s and end_s (floats), such as
            "{ytid:.2}/{ytid}_{start_s:.0f}.wav". With a slash it is the path below the folder or
            in the archive, otherwise the name in any subfolder; without an extension it matches
            all of them.
          labels: whether the labels in archives are wanted, see `labelled`.
          kept_in: directory in which the lists of large archives are kept, or None.

        Raises:
          errors.InputError: a place that is missing or unreadable, no audio in any of them, an
            archive that cannot be read, or a pattern of another form.
        """
        self._pattern, only = None, ""
        if pattern is not None:
            self._pattern, only = _split_pattern(pattern)
        by_path = pattern is not None and "/" in pattern
        # By the name without extension, or the path below the folder: a path; or the number of an
        # archive and that of a member, which take less memory, in one.
        self._paths: dict[str, str | int] = {}
        self._by_start: dict[str, str | int] = {}  # by the name without end and extension
        self._archives: list[tuple[str, members.Catalogue]] = []
        shadowed: list[tuple[str, str]] = []
        for name, found in self._listed(places, labels=labels, kept_in=kept_in):
            stem, extension = naming.split_extension(name)
            if only and extension != only:
                continue
            key = one_form(stem if by_path else os.path.basename(stem))
            if key in self._paths:
                pair = self._path(found), self._path(self._paths[key])
                if _absolute(pair[0]) != _absolute(pair[1]):  # in places that overlap they are one
                    shadowed.append(pair)
                continue
            self._paths[key] = found
            if match := _START_AND_END.search(key):
                self._by_start.setdefault(key[: match.start(1)], found)
        if not self._paths:
            looked_for = only or _LOOKED_FOR
            raise errors.InputError(
                f"no audio file in {', '.join(places)} (looked for {looked_for})"
            )
        if shadowed:
            logging.warning(
                "%d audio files are ignored, because others have the same name: %s, beside %s%s",
                len(shadowed),
                *shadowed[0],
                ", ..." if len(shadowed) > 1 else "",
            )

    def __len__(self) -> int:
        return len(self._paths)

    def _listed(
        self, places: Sequence[str], *, labels: bool, kept_in: str | None
    ) -> Iterator[tuple[str, str | int]]:
        """(name below its folder or in its archive, what `_paths` holds) of each audio file."""
        for root, path, catalogue in _contents(places, labels=labels, kept_in=kept_in):
            if catalogue is None:
                yield path[len(root) :].strip("/"), path
                continue
            number = len(self._archives) << _ROW_BITS
            self._archives.append((path, catalogue))
            for row, name in enumerate(catalogue.names):
                yield name, number | row

    def _path(self, found: str | int) -> str:
        """The path of a file or member."""
        if isinstance(found, str):
            return found
        return _member_path(*self._member(found))

    def _member(self, number: int) -> tuple[str, members.Catalogue, int]:
        """(the archive, what is in it, which of that a member is)."""
        archive, catalogue = self._archives[number >> _ROW_BITS]
        return archive, catalogue, number & ((1 << _ROW_BITS) - 1)

    def labelled(self) -> Iterator[tuple[str, members.Labels, members.Catalogue]]:
        """(name without extension, labels, catalogue) of each member, archive by archive.

        Members that are ignored, since an earlier file has the same name, have no part in it.
        """
        for found in self._paths.values():
            if isinstance(found, int):
                _, catalogue, row = self._member(found)
                name = naming.split_extension(catalogue.names[row])[0]
                labels = catalogue.labels[row] if catalogue.labels else None
                yield os.path.basename(name), labels, catalogue

    def find(self, ytid: str, start_ms: int, end_ms: int) -> tuple[str, bool] | None:
        """The file of a clip.

        Args:
          ytid: video id.
          start_ms: start of the clip in its video.
          end_ms: end of the clip in its video.

        Returns:
          (path, whether the name contains the start). A file named by the video id alone may
          contain the clip or the whole video. None where there is no file.
        """
        ytid = one_form(ytid)
        found = self._found(ytid, start_ms, end_ms)
        return (self._path(found[0]), found[1]) if found else None

    def _found(self, ytid: str, start_ms: int, end_ms: int) -> tuple[str | int, bool] | None:
        if self._pattern is not None:
            found = self._paths.get(one_form(_fill(self._pattern, ytid, start_ms, end_ms)))
            return None if found is None else (found, "{start_" in self._pattern)
        for prefix in ("", "Y"):
            for start in _spellings(start_ms):
                stem = f"{prefix}{ytid}_{start}"
                found = self._paths.get(stem)
                if found is None:
                    found = self._by_start.get(f"{stem}_")
                if found is not None:
                    return found, True
        found = self._paths.get(ytid, self._paths.get(f"Y{ytid}"))
        return None if found is None else (found, False)


def _absolute(path: str) -> str:
    return path if files.is_remote(path) else os.path.abspath(path)


def _spellings(ms: int) -> tuple[str, ...]:
    """How file names write a time: 30000, 30.000, 30 and 30.0, or 30.5."""
    exact = f"{ms / 1000:.3f}"
    short = exact.rstrip("0")
    if short.endswith("."):
        return str(ms), exact, short[:-1], short + "0"
    return str(ms), exact, short


def _fill(pattern: str, ytid: str, start_ms: int, end_ms: int) -> str:
    return pattern.format(
        ytid=ytid,
        start_ms=start_ms,
        end_ms=end_ms,
        start_s=start_ms / 1000,
        end_s=end_ms / 1000,
    )


def _split_pattern(pattern: str) -> tuple[str, str]:
    """(pattern without extension, extension or ""); raises `InputError` for invalid fields."""
    stem, extension = naming.split_extension(pattern)
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(stem)]
        _fill(stem, "ytid", 0, 0)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise errors.InputError(
            f"audio_pattern {pattern!r}: {error!r}; its fields are ytid, start_ms, end_ms, "
            "start_s and end_s, as in '{ytid}_{start_s:.0f}.wav'"
        ) from error
    if "ytid" not in fields:
        raise errors.InputError(f"audio_pattern {pattern!r}: must contain {{ytid}}")
    return stem.lstrip("/"), extension


def recordings(places: Sequence[str]) -> list[str]:
    """The audio files that are named, or lie in folders and archives.

    Args:
      places: files, which are taken as they are, whether there is such a file or not; and folders,
        archives and glob patterns, in which audio is looked for as `AudioIndex` does it.

    Returns:
      The paths in the order of the places, each once; `members.MemberPath`s for those in archives.

    Raises:
      errors.InputError: a folder, an archive or a pattern that is unreadable, or without audio.
    """
    found: dict[str, str] = {}  # absolute path -> the path by which it was met first
    for place in places:
        paths = [place] if _is_one_file(place) else list(_recordings(place))
        if not paths:
            raise errors.InputError(f"no audio file in {place} (looked for {_LOOKED_FOR})")
        for path in paths:
            found.setdefault(_absolute(path), path)
    return list(found.values())


def _is_one_file(place: str) -> bool:
    """Whether a place is a file, or nothing that could be another kind of place."""
    if catalogues.is_archive(place) or (files.is_remote(place) and glob.has_magic(place)):
        return False
    if files.is_remote(place):
        return naming.is_audio(place) or not files.gfile(place).isdir(place)
    return os.path.isfile(place) or not (os.path.isdir(place) or glob.has_magic(place))


def _recordings(place: str) -> Iterator[str]:
    for _, path, catalogue in _contents([place]):
        if catalogue is None:
            yield path
        else:
            for row in range(len(catalogue.names)):
                yield _member_path(path, catalogue, row)


def _contents(
    places: Sequence[str], *, labels: bool = False, kept_in: str | None = None
) -> Iterator[tuple[str, str, members.Catalogue | None]]:
    """(the folder that was listed, path of an audio file or archive, what is in that archive)."""
    listed: set[str] = set()  # archives
    for place in places:
        for root, path in listed_files(place):
            if not catalogues.is_archive(path):
                if naming.is_audio(path):
                    yield root, path, None
                continue
            if _absolute(path) in listed:
                continue
            listed.add(_absolute(path))
            meant = catalogues.is_archive(place)  # not only lying in a folder
            if not meant and path.lower().endswith(catalogues.COMPRESSED_TARS):
                logging.warning("%s: passed over, since it is compressed as a whole", path)
                continue
            catalogue = catalogues.catalogue(path, labels=labels, kept_in=kept_in)
            if catalogue is not None:
                yield root, path, catalogue
            elif meant:
                raise errors.InputError(f"{path}: there is no audio in it")
            else:
                logging.warning("%s: passed over, there is no audio in it", path)


def _member_path(archive: str, catalogue: members.Catalogue, row: int) -> members.MemberPath:
    path = os.path.join(archive, catalogue.names[row].lstrip("/"))
    return members.MemberPath(path, archive, catalogue.places, row)


def listed_files(directory: str) -> Iterator[tuple[str, str]]:
    """Lists a file, the files below a directory, or those below all matches of a glob pattern.

    Names that begin with a dot are passed over: macOS keeps a file ._NAME beside each NAME on disks
    of other systems.

    Yields:
      (the directory that was listed, the path of a file).

    Raises:
      errors.InputError: the directory is missing or unreadable.
    """
    if files.is_remote(directory):
        system = files.gfile(directory)
        is_directory, match, walk = system.isdir, system.glob, system.walk
    else:
        is_directory, match, walk = os.path.isdir, _glob, _walk
    try:
        roots = [directory] if is_directory(directory) else sorted(match(directory))
        for root in roots:
            if not is_directory(root):
                yield os.path.dirname(root), root
                continue
            for folder, subfolders, names in walk(root):
                subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
                for name in sorted(names):
                    if not name.startswith("."):
                        yield root, os.path.join(folder, name)
    except Exception as error:  # every file system raises its own
        where = getattr(error, "filename", None) or directory
        raise errors.InputError(f"{where}: cannot be listed ({files.reason(error)})") from error
    if not roots:
        raise errors.InputError(f"{directory}: no such directory or file")


def _glob(pattern: str) -> list[str]:
    if os.path.isfile(pattern):
        return [pattern]
    return glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else []


def _walk(top: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that follows links, visits no folder twice and raises if it cannot list one."""

    def fail(error: OSError) -> None:
        raise error

    visited = set()
    for folder, subfolders, names in os.walk(top, onerror=fail, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        yield folder, subfolders, names
