"""What annotators said of recordings, in whatever format, as AudioSet's metadata.

`annotation_files` reads the formats. Recordings are cut into clips of up to ten seconds. Each has
the labels that lie in it as weak and strong labels. A class is an explicit negative of a clip only
if the annotator looked for it in the recording and there is no label of it in the clip. All other
classes are unknown.
"""

import dataclasses
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.labels import metadata, vocabularies

OWN_MID = "/own/"  # how mids of classes that are in no class list begin
_BEYOND_MS = 100  # by which a label may extend beyond the end of its recording
_COLUMNS = ("start_ms", "end_ms", "name", "where")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What one annotator said of one recording.

    Attributes:
      where: the file, and the place in it, for messages.
      labels: start_ms int64, end_ms int64 (in the recording), name str, where str; one row a label.
      recording: the recording's file name, with or without its suffix; None where it is told by the
        name of the file of labels.
      looked_for: names of the classes that were looked for; None where the format does not tell.
      complete: whether every class that any of the annotations name was looked for.
    """

    where: str
    labels: pd.DataFrame
    recording: str | None = None
    looked_for: frozenset[str] | None = None
    complete: bool = False


class LabelRows:
    """Collects the labels of a recording, and checks each.

    Example:
      >>> rows = LabelRows(point_ms=200)
      >>> rows.add("yard.txt, line 1", "0.5", "1.25", "Bark")
      >>> rows.add("yard.txt, line 2", 3, 3, "Knock")
      >>> rows.table()[["start_ms", "end_ms", "name"]].values.tolist()
      [[500, 1250, 'Bark'], [3000, 3200, 'Knock']]
    """

    def __init__(self, point_ms: int | None = None):
        """Starts without a label.

        Args:
          point_ms: how long the sound at a point label lasts, whose start and end are equal; None
            to refuse such labels.
        """
        self._point_ms = point_ms
        self._rows: list[tuple[int, int, str, str]] = []

    def add(self, where: str, start: object, end: object, name: object) -> None:
        """Adds a label.

        Args:
          where: the file and the place in it, for messages.
          start: in seconds from the start of the recording, a number or its text.
          end: likewise.
          name: of the class.

        Raises:
          errors.InputError: a value of another kind, or a label that ends before it starts.
        """
        if not isinstance(name, str) or not name.strip():
            raise errors.InputError(f"{where}: {name!r} is not the name of a class")
        start_ms, end_ms = _milliseconds(start, where), _milliseconds(end, where)
        if end_ms == start_ms and self._point_ms is not None:
            end_ms += self._point_ms
        if end_ms <= start_ms:
            raise errors.InputError(
                f"{where}: {name.strip()!r} must end after it starts: from {start} to {end} s"
                + "; point labels need --point_seconds (import_labels)" * (end_ms == start_ms)
            )
        self._rows.append((start_ms, end_ms, class_name(name), where))

    def table(self) -> pd.DataFrame:
        """The labels, as in `Annotation.labels`."""
        table = pd.DataFrame(self._rows, columns=list(_COLUMNS))
        kinds = {"start_ms": np.int64, "end_ms": np.int64, "name": str, "where": str}
        return table.astype(kinds)


def class_name(text: str) -> str:
    """The name of a class as it is compared: with single blanks, accents in Unicode's form NFC.

    >>> class_name(" cafe\\u0301  noise") == "caf\\u00e9 noise"
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def _milliseconds(value: object, where: str) -> int:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < 1e9:
        raise errors.InputError(f"{where}: {value!r} is not a time in seconds")
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
    annotations: Mapping[str, tuple[int, Annotation]], classes: Mapping[str, tuple[str, str]]
) -> LabelledClips:
    """Cuts recordings and their labels into clips of ten seconds; the last clip may be shorter.

    Args:
      annotations: recording -> (its length in ms, what was said of it).
      classes: what `name_classes` returned for all names of labels and of classes looked for.

    Raises:
      errors.InputError: a label ends after its recording, or begins at its end.

    Example:
      >>> rows = LabelRows()
      >>> rows.add("yard.txt, line 1", 8, 12, "Bark")
      >>> heard = Annotation("yard.txt", rows.table(), looked_for=frozenset({"Bark", "Howl"}))
      >>> clips = cut_into_clips({"yard": (25_000, heard)}, name_classes(["Bark", "Howl"]))
      >>> clips.strong.values.tolist()
      [['yard_0', 8000, 10000, '/own/bark'], ['yard_10000', 0, 2000, '/own/bark']]
      >>> clips.negatives.values.tolist(), clips.unlabelled
      ([['yard_0', '/own/howl'], ['yard_10000', '/own/howl']], 1)
    """
    every_mid = {mid for mid, _ in classes.values()}
    weak, strong, negatives = [], [], []
    unlabelled = 0
    for recording, (length_ms, annotation) in annotations.items():
        table = annotation.labels
        _check_inside(table, recording, length_ms)
        looked_for = {classes[name][0] for name in annotation.looked_for or ()}
        if annotation.complete:
            looked_for = every_mid
        for begin in range(0, length_ms, metadata.CLIP_MS):
            end = min(begin + metadata.CLIP_MS, length_ms)
            inside = table[(table["start_ms"] < end) & (table["end_ms"] > begin)]
            clip_id = metadata.make_clip_id(recording, begin)
            segments = {
                (max(row.start_ms - begin, 0), min(row.end_ms, end) - begin, classes[row.name][0])
                for row in inside.itertuples()
            }
            labels = tuple(sorted({mid for _, _, mid in segments}))
            if not labels:
                unlabelled += 1
                continue
            weak.append((clip_id, recording, begin, end, labels))
            strong += [(clip_id, *segment) for segment in sorted(segments)]
            negatives += [(clip_id, mid) for mid in sorted(looked_for.difference(labels))]
    return LabelledClips(
        pd.DataFrame(weak, columns=["clip_id", "ytid", "start_ms", "end_ms", "labels"]),
        pd.DataFrame(strong, columns=["clip_id", "start_ms", "end_ms", "mid"]),
        pd.DataFrame(negatives, columns=["clip_id", "mid"]),
        unlabelled,
    )


def _check_inside(labels: pd.DataFrame, recording: str, length_ms: int) -> None:
    """Raises if a label lies behind the end of its recording."""
    late = (labels["end_ms"] > length_ms + _BEYOND_MS) | (labels["start_ms"] >= length_ms)
    for row in labels[late].itertuples():
        raise errors.InputError(
            f"{row.where}: label {row.name!r} lasts from {row.start_ms / 1000:g} to "
            f"{row.end_ms / 1000:g} s, but the recording {recording} ends at "
            f"{length_ms / 1000:g} s"
        )
