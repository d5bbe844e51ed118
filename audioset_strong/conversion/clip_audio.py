"""The audio of clips: which file, or which member of an archive, each is taken from."""

import collections
import os
from collections.abc import Sequence

from audioset_strong.audio import decoding, finding, naming
from audioset_strong.audio.archives import members
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.core import errors, files

INDEX_DIR = ".archives"  # in the output directory: lists of what large archives hold


def index(request: ConversionRequest) -> finding.AudioIndex:
    """Lists the audio that a request names.

    Raises:
      errors.InputError: see `finding.AudioIndex`.
    """
    return finding.AudioIndex(
        request.audio_dirs,
        request.audio_pattern,
        labels=request.labels_from_archive,
        kept_in=os.path.join(request.output_dir, INDEX_DIR),
    )


def find(
    request: ConversionRequest,
    index: finding.AudioIndex,
    videos: Sequence[tuple[str, int]],
    end_ms: Sequence[int],
) -> tuple[list[str | None], list[str]]:
    """Finds the audio of clips.

    Args:
      request: the settings.
      index: of the audio.
      videos: (video id, start in ms) of each clip.
      end_ms: of each clip.

    Returns:
      (path of each clip's file or None, what each file contains, see `plans.PlannedClip`).

    Raises:
      errors.InputError: there is no audio of any clip, or a name may stand for two of them.
    """
    paths: list[str | None] = []
    contents = []
    for (ytid, start), end in zip(videos, end_ms, strict=True):
        path, named_by_start = index.find(ytid, start, end) or (None, False)
        paths.append(path)
        contents.append(decoding.CLIP if named_by_start else decoding.EITHER)
    if not any(paths):
        raise errors.InputError(
            f"none of the {len(paths)} clips has a file among the {len(index)} in "
            f"{', '.join(request.audio_dirs)}; files are found by names such as YTID_30000.wav"
            + (f", here by --audio_pattern={request.audio_pattern}" * bool(request.audio_pattern))
        )
    _check_names(videos, paths)
    # A file cannot be each of several clips; it can be the video of which they are parts.
    uses = collections.Counter(
        path for path, kind in zip(paths, contents, strict=True) if kind == decoding.EITHER
    )
    contents = [
        decoding.VIDEO if path and uses[path] > 1 else kind
        for path, kind in zip(paths, contents, strict=True)
    ]
    return paths, contents


def _check_names(videos: Sequence[tuple[str, int]], paths: Sequence[str | None]) -> None:
    """Raises if a file NAME_10 or NAME_10_20 may be of a video, or a clip of the video NAME."""
    ytids = {ytid for ytid, _ in videos}
    doubtful = {
        ytid
        for ytid in ytids
        if "_" in ytid and any(name != ytid and name in ytids for name in _beginnings(ytid))
    }
    if not doubtful:
        return
    for (ytid, start_ms), path in zip(videos, paths, strict=True):
        stem = naming.one_form(os.path.basename(naming.split_extension(path or "")[0]))
        if stem in doubtful and stem != ytid:
            raise errors.InputError(
                f"{path}: rename it, it may be the recording {stem}, or the clip of {ytid} at "
                f"{start_ms / 1000:g} s"
            )


def _beginnings(ytid: str) -> tuple[str, str]:
    """A name without its last part, and without its last two."""
    return ytid.rpartition("_")[0], ytid.rsplit("_", 2)[0]


def sizes_and_times(paths: Sequence[str | None]) -> list[tuple[int, int]]:
    """(bytes, ns of the last change) of each local file, and of each archive once."""
    found: list[tuple[int, int]] = []
    archives: set[str] = set()
    for path in paths:
        if isinstance(path, members.MemberPath):
            if path.archive not in archives:
                archives.add(path.archive)
                found.append(members.version_of(path.archive))
        elif path and not files.is_remote(path):
            try:
                status = os.stat(path)
                found.append((status.st_size, status.st_mtime_ns))
            except OSError:  # such as a dangling link; the clip's manifest row says why
                found.append((-1, -1))
    return found
