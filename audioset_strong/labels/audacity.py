"""Audacity's label tracks as AudioSet's metadata.

Audacity's "Export Labels" writes a label track as tab-separated lines of start, end (in seconds)
and name. A track labels its whole recording. So the clips of a recording, up to ten seconds long,
have weak and strong labels, and a class without a label in a clip is an explicit negative of it.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.labels import metadata, vocabularies

OWN_MID = "/own/"  # how mids of classes that are in no class list begin
_BEYOND_MS = 100  # by which a label may extend beyond the end of its recording
_COLUMNS = ("start_ms", "end_ms", "name")


def read_track(path: str, *, point_ms: int | None = None) -> pd.DataFrame:
    r"""Reads a label track.

    Lines of frequency ranges, which begin with "\", are skipped.

    Args:
      path: lines of start and end in seconds and a name, tab-separated.
      point_ms: how long the sound at a point label lasts, whose start and end are equal; None if
        the track may have no such labels.

    Returns:
      start_ms int64, end_ms int64, name str; one row per label. An empty file gives no rows: the
      recording has none of the sounds.

    Raises:
      errors.InputError: the file cannot be read, or a line has another form.
    """
    try:
        text = metadata.read_text(path)
    except errors.InputError as error:
        if not str(error).endswith("empty file"):
            raise
        text = ""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        fields = line.split("\t", 2)
        where = f"{path}, line {number}"
        if len(fields) < 3 or not fields[2].strip():
            raise errors.InputError(
                f"{where}: {line[:80]!r} must be start, end, name, tab-separated"
            )
        start_ms, end_ms = (_milliseconds(field, where) for field in fields[:2])
        if end_ms == start_ms and point_ms is not None:
            end_ms += point_ms
        if end_ms <= start_ms:
            raise errors.InputError(
                f"{where}: {fields[2].strip()!r} must end after it starts: from {fields[0]} to "
                f"{fields[1]} s" + "; point labels need --point_seconds" * (end_ms == start_ms)
            )
        rows.append((start_ms, end_ms, " ".join(fields[2].split())))
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    return table.astype({"start_ms": np.int64, "end_ms": np.int64, "name": str})


def _milliseconds(field: str, where: str) -> int:
    try:
        seconds = float(field)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e9:
        raise errors.InputError(f"{where}: {field!r} is not a time in seconds")
    return round(seconds * 1000)


def name_classes(
    names: Iterable[str], known: vocabularies.Vocabulary | None = None
) -> dict[str, tuple[str, str]]:
    """Finds the class of each label name.

    Args:
      names: display names, in upper or lower case, or mids.
      known: existing classes. A name that is not among them becomes a new class.

    Returns:
      name -> (mid, display name).

    Raises:
      errors.InputError: two names that probably mean one class, such as "Dog bark" and "dog-bark".

    Example:
      >>> name_classes(["Dog", "Door bell"], vocabularies.Vocabulary(("/m/0bt9lr",), ("Dog",)))
      {'Dog': ('/m/0bt9lr', 'Dog'), 'Door bell': ('/own/door_bell', 'Door bell')}
    """
    by_name: dict[str, tuple[str, str]] = {}
    for mid, name in zip(known.mids, known.names, strict=True) if known else ():
        by_name.setdefault(name.casefold(), (mid, name))
        by_name[mid] = (mid, name)
    classes: dict[str, tuple[str, str]] = {}
    own: dict[str, str] = {}
    for name in sorted(set(names)):
        if (found := by_name.get(name) or by_name.get(name.casefold())) is not None:
            classes[name] = found
            continue
        mid = OWN_MID + "".join(map(_letter, name.lower()))
        if own.setdefault(mid, name) != name:
            raise errors.InputError(
                f"labels {own[mid]!r} and {name!r}: are they one class? spell them alike"
            )
        classes[name] = (mid, name)
    return classes


def _letter(letter: str) -> str:
    if re.fullmatch("[a-z0-9]", letter):
        return letter
    return "_" if letter.isascii() else f"{ord(letter):x}"


@dataclasses.dataclass(frozen=True)
class LabelledClips:
    """Labels of recordings, cut into clips.

    Attributes:
      weak: clip_id, ytid (the recording), start_ms, end_ms (of the clip), labels (tuple of
        mids); only clips with a label.
      strong: clip_id, start_ms, end_ms (within the clip), mid.
      negatives: clip_id, mid; of the same clips.
      unlabelled: number of clips without a label, which AudioSet's formats cannot express.
    """

    weak: pd.DataFrame
    strong: pd.DataFrame
    negatives: pd.DataFrame
    unlabelled: int


def cut_into_clips(
    tracks: Mapping[str, tuple[int, pd.DataFrame]], classes: Mapping[str, tuple[str, str]]
) -> LabelledClips:
    """Cuts recordings and their labels into clips of ten seconds; the last clip may be shorter.

    Args:
      tracks: recording -> (its length in ms, what `read_track` returned).
      classes: what `name_classes` returned.

    Raises:
      errors.InputError: a label ends after its recording, or begins at its end.
    """
    mids = sorted({mid for mid, _ in classes.values()})
    weak, strong, negatives = [], [], []
    unlabelled = 0
    for recording, (length_ms, track) in tracks.items():
        late = (track["end_ms"] > length_ms + _BEYOND_MS) | (track["start_ms"] >= length_ms)
        for row in track[late].itertuples():
            raise errors.InputError(
                f"{recording}: label {row.name!r} lasts from {row.start_ms / 1000:g} to "
                f"{row.end_ms / 1000:g} s, but the recording ends at {length_ms / 1000:g} s"
            )
        for begin in range(0, length_ms, metadata.CLIP_MS):
            end = min(begin + metadata.CLIP_MS, length_ms)
            inside = track[(track["start_ms"] < end) & (track["end_ms"] > begin)]
            clip_id = metadata.make_clip_id(recording, begin)
            segments = sorted(
                {
                    (
                        max(row.start_ms - begin, 0),
                        min(row.end_ms, end) - begin,
                        classes[row.name][0],
                    )
                    for row in inside.itertuples()
                }
            )
            labels = tuple(sorted({mid for _, _, mid in segments}))
            if not labels:
                unlabelled += 1
                continue
            weak.append((clip_id, recording, begin, end, labels))
            strong += [(clip_id, *segment) for segment in segments]
            negatives += [(clip_id, mid) for mid in mids if mid not in labels]
    return LabelledClips(
        pd.DataFrame(weak, columns=["clip_id", "ytid", "start_ms", "end_ms", "labels"]),
        pd.DataFrame(strong, columns=["clip_id", "start_ms", "end_ms", "mid"]),
        pd.DataFrame(negatives, columns=["clip_id", "mid"]),
        unlabelled,
    )
