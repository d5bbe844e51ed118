"""Finds the audio file of each clip among the layouts that people's downloads have."""

import os
from collections.abc import Iterator, Sequence

from audioset_strong import errors

EXTENSIONS = frozenset(
    (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".webm", ".mp4", ".mkv", ".aiff")
)


class AudioIndex:
    """File names of audio directories, listed once; a clip is found by its id, not by a search.

    Recognised names, in any subfolder, each also with a "Y" before the video id: YTID_START,
    YTID_START_END (both in ms, in whole seconds or as 30.000), YTID.
    """

    def __init__(self, directories: Sequence[str]):
        """Lists the directories.

        Raises:
          errors.InputError: one that is missing or unreadable, or that hold no audio file at all.
        """
        self._paths: dict[str, str] = {}
        for directory in directories:
            for path in _audio_files(directory):
                stem = os.path.splitext(os.path.basename(path))[0]
                self._paths.setdefault(stem, path)
        if not self._paths:
            raise errors.InputError(
                f"no audio file in {', '.join(directories)} "
                f"(looked for {', '.join(sorted(EXTENSIONS))})"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, ytid: str, start_ms: int, end_ms: int) -> tuple[str, bool] | None:
        """The file of a clip.

        Args:
          ytid: video id.
          start_ms: of the clip in its video.
          end_ms: likewise.

        Returns:
          (path, whether the name tells the start). A file named by the video id alone may hold the
          clip or the full-length video. None where there is no file.
        """
        starts, ends = _spellings(start_ms), _spellings(end_ms)
        for prefix in ("", "Y"):
            for start in starts:
                path = self._paths.get(f"{prefix}{ytid}_{start}")
                if path:
                    return path, True
            for start, end in zip(starts, ends, strict=True):
                path = self._paths.get(f"{prefix}{ytid}_{start}_{end}")
                if path:
                    return path, True
        for prefix in ("", "Y"):
            path = self._paths.get(f"{prefix}{ytid}")
            if path:
                return path, False
        return None


def _spellings(ms: int) -> list[str]:
    """How file names write a time: 30000, 30 (or 30.5), 30.000."""
    return [str(ms), f"{ms / 1000:g}", f"{ms / 1000:.3f}"]


def _audio_files(directory: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise errors.InputError(f"{error.filename}: cannot be listed ({error.strerror})")

    if not os.path.isdir(directory):
        raise errors.InputError(f"{directory}: no such directory (--audio_dir)")
    for folder, subfolders, names in os.walk(directory, onerror=fail, followlinks=True):
        subfolders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield os.path.join(folder, name)
