"""Finds the audio file of each clip in the layouts that downloads of AudioSet commonly have."""

import glob
import itertools
import os
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence

from absl import logging

from audioset_strong.core import errors, files

_SOUND = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav")
_VIDEO = (".mka", ".mkv", ".mov", ".mp4", ".webm")
EXTENSIONS = frozenset((*_SOUND, *_VIDEO))
_START_AND_END = re.compile(r"_\d+(?:\.\d+)?_(\d+(?:\.\d+)?)$")


class AudioIndex:
    """The files of audio directories, listed once and looked up by clip.

    Recognised names, in any subfolder, are YTID_START, YTID_START_END and YTID, each also with a
    "Y" before the video id. START is in ms, or in seconds as 30, 30.0 or 30.000; END is ignored.
    Hidden files and folders are passed over; `one_form` says which names are alike.
    """

    def __init__(self, directories: Sequence[str], pattern: str | None = None):
        """Lists the directories.

        Args:
          directories: directories, glob patterns of directories or files, or paths of any file
            system that `tf.io.gfile` knows (gs://, s3://, ...). Of files with the same name the
            first one counts, in the order of the directories, then of the paths.
          pattern: how the files are named, if not in a recognised way: a format string of ytid,
            start_ms, end_ms (integers), start_s and end_s (floats), such as
            "{ytid:.2}/{ytid}_{start_s:.0f}.wav". With a slash it is the path below the directory,
            otherwise the name in any subfolder; without an extension it matches all of them.

        Raises:
          errors.InputError: a directory that is missing or unreadable, no audio file in any of
            them, or a pattern of another form.
        """
        self._pattern = None
        extensions = EXTENSIONS
        if pattern is not None:
            self._pattern, extension = _split_pattern(pattern)
            extensions = frozenset([extension]) if extension else EXTENSIONS
        by_path = pattern is not None and "/" in pattern
        self._paths: dict[str, str] = {}  # by the name without extension, or the path below root
        self._by_start: dict[str, str] = {}  # by the name without end and extension
        shadowed = []
        for root, path in itertools.chain.from_iterable(map(listed_files, directories)):
            stem, extension = os.path.splitext(path)
            if extension.lower() not in extensions:
                continue
            key = one_form(stem[len(root) :].strip("/") if by_path else os.path.basename(stem))
            if key in self._paths:
                shadowed.append((path, self._paths[key]))
                continue
            self._paths[key] = path
            if match := _START_AND_END.search(key):
                self._by_start.setdefault(key[: match.start(1)], path)
        if not self._paths:
            raise errors.InputError(
                f"no audio file in {', '.join(directories)} "
                f"(looked for {', '.join(sorted(extensions))})"
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
        if self._pattern is not None:
            path = self._paths.get(one_form(_fill(self._pattern, ytid, start_ms, end_ms)))
            return (path, "{start_" in self._pattern) if path else None
        for prefix in ("", "Y"):
            for start in _spellings(start_ms):
                stem = f"{prefix}{ytid}_{start}"
                path = self._paths.get(stem) or self._by_start.get(f"{stem}_")
                if path:
                    return path, True
        path = self._paths.get(ytid) or self._paths.get(f"Y{ytid}")
        return (path, False) if path else None


def one_form(name: str) -> str:
    """A file name as the ids of clips write it.

    Accents are in Unicode's form NFC: file systems keep names as they were typed, or in form NFD.
    Blanks, which clip ids cannot hold, are underscores.

    >>> one_form("my dog")
    'my_dog'
    """
    name = name.replace(" ", "_")
    return name if name.isascii() else unicodedata.normalize("NFC", name)


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
    stem, extension = os.path.splitext(pattern)
    if extension.lower() not in EXTENSIONS:
        stem, extension = pattern, ""
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
    return stem.lstrip("/"), extension.lower()


def listed_files(directory: str) -> Iterator[tuple[str, str]]:
    """Lists the files below a directory, or below all matches of a glob pattern.

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
        raise errors.InputError(f"{directory}: no such directory (--audio_dir)")


def _glob(pattern: str) -> list[str]:
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
