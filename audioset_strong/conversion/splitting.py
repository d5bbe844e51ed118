"""The split into training and validation: whole videos, or whole groups of clips, on one side.

AudioSet's clips are of different videos, so that a video is a fair unit. Other collections have
several recordings of one site, session, device or speaker, and a model that has heard the one half
knows the other: then whole groups must go to one side.
"""

import collections
import hashlib
import os
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audioset_strong.core import errors, files
from audioset_strong.labels import metadata, table_files

_TABLE = re.compile(r"(?P<path>.+\.(?:csv|tsv)):(?P<column>[^:]+)")
_WRONG = "must be FILE.csv:COLUMN (or FILE.tsv:COLUMN), or a regular expression"


def is_held_out(clip_id: str, share: float, *, group: str | None = None) -> bool:
    """Whether a clip belongs to the validation split, the same in every conversion.

    >>> is_held_out("abcdefghijk_30000", 0.99), is_held_out("abcdefghijk_30000", 0.01)
    (True, False)

    Args:
      clip_id: YTID_STARTMS.
      share: of the videos or groups, in [0, 1); a larger share holds out more of them and none
        fewer.
      group: that decides; the clip's video decides where it is None.
    """
    key = metadata.split_clip_id(clip_id)[0] if group is None else group
    digest = hashlib.sha256(b"split/" + key.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def check(split_by: str) -> None:
    """Checks that it names a column of a table, or is a regular expression.

    Raises:
      errors.InputError: it does not.
    """
    if _TABLE.fullmatch(split_by):
        return
    if split_by.endswith((".csv", ".tsv")):
        raise errors.InputError(f"--split_by={split_by}: names no column; {_WRONG}")
    try:
        re.compile(split_by)
    except re.error as error:
        raise errors.InputError(f"--split_by={split_by}: {error}; {_WRONG}") from error


def groups(split_by: str, clip_ids: Sequence[str], paths: Sequence[str | None]) -> list[str]:
    """The group of each clip.

    >>> groups(r"site\\d+", ["a_0", "b_0"], ["audio/site1/a.wav", "audio/site2/b.wav"])
    ['site1', 'site2']

    Args:
      split_by: "FILE.csv:COLUMN", a table whose first column holds clip ids or video ids; or a
        regular expression that is searched in the path of each clip's file. Its groups in
        parentheses are the group of clips, the whole match where it has none.
      clip_ids: YTID_STARTMS each.
      paths: of the clips' files; None where there is none.

    Raises:
      errors.InputError: a bad table, a clip without a group, or a video of two groups.
    """
    table = _TABLE.fullmatch(split_by)
    found = (
        _from_table(table["path"], table["column"], clip_ids, paths)
        if table
        else _from_paths(split_by, clip_ids, paths)
    )
    videos = [metadata.split_clip_id(clip_id)[0] for clip_id in clip_ids]
    of_video: dict[str, str] = {}
    for video, group in zip(videos, found, strict=True):
        if group is not None and of_video.setdefault(video, group) != group:
            raise errors.InputError(
                f"--split_by={split_by}: clips of video {video} are of the groups "
                f"{of_video[video]!r} and {group!r}; a video must be of one"
            )
    return [of_video.get(video, video) for video in videos]


def _from_paths(
    pattern: str, clip_ids: Sequence[str], paths: Sequence[str | None]
) -> list[str | None]:
    """What a pattern finds in each path; None for clips without a file, which go nowhere."""
    search = re.compile(pattern).search
    found: list[str | None] = []
    for clip_id, path in zip(clip_ids, paths, strict=True):
        match = search(path) if path else None
        if path and not match:
            raise errors.InputError(
                f"--split_by={pattern}: does not match {path}, the file of {clip_id}"
            )
        parts = [part for part in match.groups() if part is not None] if match else []
        found.append(("/".join(parts) or match[0]) if match else None)
    return found


def _from_table(
    path: str, column: str, clip_ids: Sequence[str], paths: Sequence[str | None]
) -> list[str | None]:
    """The values of a column, by clip id or else by video id; None for clips without a file."""
    separator, first = table_files.separator_of(path)
    header = [name.strip() for name in first.strip().split(separator)]
    if column not in header[1:]:
        names = ", ".join(header[1:]) or "none"
        raise errors.InputError(f"--split_by={path}:{column}: no such column; there are: {names}")
    table = table_files.TableFile(
        path, "a table of groups", columns=header, separator=separator, header=header
    )
    rows = table.finish(skip_bad_rows=False)
    key = rows[header[0]]
    repeated = key[key.duplicated()]
    if len(repeated):
        raise errors.InputError(f"{path}: {header[0]} {repeated.iloc[0]} is listed twice")
    by_name = pd.Series(rows[column].to_numpy(), key).to_dict()
    found: list[str | None] = []
    for clip_id, file in zip(clip_ids, paths, strict=True):
        group = by_name.get(clip_id, by_name.get(metadata.split_clip_id(clip_id)[0]))
        if group is None and file:
            raise errors.InputError(f"{path}: neither lists clip {clip_id} nor its video")
        found.append(group)
    return found


def files_on_both_sides(paths: Sequence[str | None], held_out: np.ndarray) -> list[str]:
    """Audio files that clips of both sides are taken from.

    Args:
      paths: of the clips' files; None where there is none.
      held_out: bool `[clips]`.

    Returns:
      A path of each such file, in the order of `paths`. Local files are the same under any link.
    """
    sides: collections.defaultdict[object, set[bool]] = collections.defaultdict(set)
    shared: dict[object, str] = {}
    for path, side in zip(paths, held_out.tolist(), strict=True):
        if path:
            key = _identity(path)
            sides[key].add(side)
            if len(sides[key]) == 2:
                shared.setdefault(key, path)
    return list(shared.values())


def _identity(path: str) -> object:
    if files.is_remote(path):
        return path
    try:
        status = os.stat(path)
    except OSError:  # such as a dangling link; the clip's manifest row says why
        return path
    return status.st_dev, status.st_ino
