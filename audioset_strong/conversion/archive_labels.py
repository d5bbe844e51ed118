"""Weak labels that archives of audio hold themselves, in place of a weak CSV.

A clip has a start in its video, which archives seldom state: those of Hugging Face name the video
alone. Where another metadata file names the clip of that video, it is that one; otherwise the clip
begins at 0. Its labels are those of the whole member, so a member that is longer is no clip.
"""

import collections
import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from absl import logging

from audioset_strong.audio import finding, naming
from audioset_strong.core import errors, files
from audioset_strong.labels import metadata, metadata_files, vocabularies


@dataclasses.dataclass(frozen=True)
class ArchiveLabels:
    """The weak labels in archives.

    Attributes:
      table: clip_id, ytid, start_ms, end_ms, labels, as `metadata.read_weak_csv` gives them. A name
        of a class that no class list has stands there as it is.
      sources: where the labels were -> number of clips.
      whole: ids of the clips whose end nothing states: their labels are of all of their member.
    """

    table: pd.DataFrame
    sources: Mapping[str, int]
    whole: frozenset[str]


def read(
    index: finding.AudioIndex, class_files: metadata_files.MetadataFiles, named: Iterable[str]
) -> ArchiveLabels:
    """Makes weak labels of those in archives.

    What is left out is told in a warning: members without labels, and members that hold a whole
    video of which several clips are named.

    Args:
      index: of the archives, made with `labels`.
      class_files: whose class lists and ontology say what names and indices of classes mean.
      named: ids of the clips that other metadata name.

    Raises:
      errors.InputError: no labels in any archive, or labels that the class lists do not explain.
    """
    of_video = _starts(named)
    translate = _Translator(class_files)
    rows: dict[str, tuple] = {}
    counts: collections.Counter[str] = collections.Counter()
    sources: collections.Counter[str] = collections.Counter()
    whole = set()
    for stem, labels, catalogue in index.labelled():
        if labels is None:
            counts["unlabelled"] += 1
            continue
        _check_text(stem)
        stem = naming.one_form(stem)
        # A name that looks like that of a clip may be that of a video.
        ytid, start_ms, end_ms = (stem, None, None) if stem in of_video else naming.clip_of(stem)
        if start_ms is None:
            starts = of_video.get(ytid, {0})
            if len(starts) > 1:
                counts["several"] += 1
                continue
            counts["at_0"] += ytid not in of_video
        begin_ms = min(starts) if start_ms is None else start_ms
        clip_id = metadata.make_clip_id(ytid, begin_ms)
        if clip_id not in rows:
            known = end_ms is not None and end_ms > begin_ms
            end = end_ms if known else begin_ms + metadata.CLIP_MS
            rows[clip_id] = (clip_id, ytid, begin_ms, end, translate(labels, catalogue.classes))
            sources[catalogue.labels_are] += 1
            if not known and (start_ms is not None or ytid not in of_video):
                whole.add(clip_id)
    if not rows:
        raise errors.InputError(
            f"--labels_from_archive: no labels in the archives ({counts['unlabelled']} members "
            "without, none with labels, apart from those that are ignored for their names)"
        )
    _report(counts, sources)
    columns = ["clip_id", "ytid", "start_ms", "end_ms", "labels"]
    table = pd.DataFrame(list(rows.values()), columns=columns)
    return ArchiveLabels(table, dict(sources), frozenset(whole))


def _starts(clip_ids: Iterable[str]) -> Mapping[str, set[int]]:
    """Video id -> where its clips begin, in ms."""
    starts = collections.defaultdict(set)
    for clip_id in clip_ids:
        ytid, start_ms = metadata.split_clip_id(clip_id)
        starts[naming.one_form(ytid)].add(start_ms)
    return starts


def _check_text(stem: str) -> None:
    shown = files.printable(stem)
    if shown != stem:
        raise errors.InputError(
            f"--labels_from_archive: {shown}: this name of a member is not UTF-8 text"
        )


def _report(counts: Mapping[str, int], sources: Mapping[str, int]) -> None:
    for source, number in sources.items():
        logging.info("weak labels of %d clips are from archives: %s", number, source)
    if counts["unlabelled"]:
        logging.warning("%d members of archives have no labels", counts["unlabelled"])
    if counts["several"]:
        logging.warning(
            "the labels of %d members are left out: each is a whole video, of which the metadata "
            "names several clips",
            counts["several"],
        )
    if counts["at_0"]:
        logging.warning(
            "%d members of archives do not state where in the video their clip begins, nor does "
            "other metadata: their clips are named YTID_0, and those that last over 10 s left out",
            counts["at_0"],
        )


class _Translator:
    """Turns the labels of archives into mids."""

    def __init__(self, sources: metadata_files.MetadataFiles):
        self._sources = sources
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}  # many clips have the same labels
        self._lists: dict[tuple[int, int], Sequence[str]] = {}
        names = sources.class_names()
        self._mids: dict[str, set[str]] = collections.defaultdict(set)
        for mid, name in zip(names.mids, names.names, strict=True):
            self._mids[name].add(mid)
        for vocabulary in self._vocabularies():  # lists differ in some names
            for mid, name in zip(vocabulary.mids, vocabulary.names, strict=True):
                self._mids[name].add(mid)

    def __call__(self, labels: tuple[str, ...], classes: tuple[int, int] | None) -> tuple[str, ...]:
        if classes is not None:
            if classes not in self._lists:
                self._lists[classes] = self._list_of(*classes)
            mids = self._lists[classes]
            if max(map(int, labels)) >= len(mids):
                raise errors.InputError(
                    f"--labels_from_archive: class {max(map(int, labels))} of {len(mids)} classes"
                )
            return tuple(mids[int(label)] for label in labels)
        if labels not in self._known:
            self._known[labels] = tuple(dict.fromkeys(map(self._mid, labels)))
        return self._known[labels]

    def _mid(self, label: str) -> str:
        label = unicodedata.normalize("NFC", label)  # as in the class lists
        mids = self._mids.get(label, {label})
        if len(mids) > 1:
            raise errors.InputError(
                f"--labels_from_archive: {label!r} is the name of {' and of '.join(sorted(mids))} "
                "in the class lists; give lists in which it is one class"
            )
        return next(iter(mids))

    def _list_of(self, least: int, most: int) -> Sequence[str]:
        """The mids of the class list that indices of this many classes count in."""
        lists = {v.mids for v in self._vocabularies() if least <= len(v) <= most}
        if len(lists) != 1:
            sizes = ", ".join(str(len(v)) for v in self._vocabularies())
            wanted = str(most) if least == most else f"{least} to {most}"
            raise errors.InputError(
                f"--labels_from_archive: labels are indices of {wanted} classes; give one "
                f"--class_labels of that length (there are lists of {sizes})"
            )
        return next(iter(lists))

    def _vocabularies(self) -> list[vocabularies.Vocabulary]:
        return [vocabularies.Vocabulary.from_files([path]) for path in self._sources.class_labels]
