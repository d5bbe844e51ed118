"""The plan of a conversion: which clips, with which labels, from which files, in which order.

A plan depends on its inputs alone, so that runs that were killed and workers on other machines all
follow the same plan. It is kept in columns, because a release has two million clips.
"""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.audio import decoding, features, finding
from audioset_strong.conversion import archive_labels, clip_audio, splitting
from audioset_strong.conversion.request import (
    DEFAULT_SAMPLE_RATE,
    SHARD_BYTES,
    ConversionRequest,
)
from audioset_strong.core import choices, errors
from audioset_strong.labels import metadata, metadata_files, vocabularies
from audioset_strong.records import clip_records

_NO_ROWS = pd.DataFrame(
    {"clip_id": [], "mid": [], "labels": [], "start_ms": [], "end_ms": [], "present": []}
).astype({"clip_id": str, "mid": str, "labels": object, "present": bool})


@dataclasses.dataclass(frozen=True)
class PlannedClip:
    """A clip to convert: its labels as class indices, and its file if there is one.

    Attributes:
      clip_id: YTID_STARTMS.
      start_ms, end_ms: times of the clip in its video.
      weak_labels, segments, negatives: as in `clip_records.Clip`.
      file: path of the audio, or None.
      contents: what that file contains, such as `decoding.CLIP`.
    """

    clip_id: str
    start_ms: int
    end_ms: int
    weak_labels: tuple[int, ...] | None
    segments: tuple[tuple[int, int, int], ...] | None
    negatives: tuple[int, ...] | None
    file: str | None
    contents: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The clips of a conversion as columns, in the order of a hash of their ids.

    Any stride of that order is a fair sample of the clips.

    Attributes:
      clip_ids: YTID_STARTMS each.
      start_ms, end_ms: int64 `[clips]`.
      weak_labels, segments, negatives: labels, see `PlannedClip`.
      files: paths of the audio, or None.
      contents: what each file contains, see `PlannedClip`.
      not_in_metadata: ids in the clip list that none of the selected metadata files names; there is
        nothing to convert for them.
      out_of_vocabulary: mid -> number of its labels, which are left out because the vocabulary
        lacks the mid.
      archive_labels: where in archives weak labels were -> number of clips.
      groups: of clips that a split keeps together; None where those are the videos.
    """

    clip_ids: list[str]
    start_ms: np.ndarray
    end_ms: np.ndarray
    weak_labels: "_Ragged"
    segments: "_Ragged"
    negatives: "_Ragged"
    files: list[str | None]
    contents: list[str]
    not_in_metadata: list[str]
    out_of_vocabulary: collections.Counter[str]
    archive_labels: Mapping[str, int]
    groups: list[str] | None = None

    def held_out(self, share: float) -> np.ndarray:
        """Which clips go to the validation split; bool `[clips]`.

        Args:
          share: see `splitting.is_held_out`.
        """
        if self.groups is None:
            sides = (splitting.is_held_out(clip_id, share) for clip_id in self.clip_ids)
        else:
            pairs = zip(self.clip_ids, self.groups, strict=True)
            sides = (splitting.is_held_out(c, share, group=group) for c, group in pairs)
        return np.fromiter(sides, bool, len(self))

    def __len__(self) -> int:
        return len(self.clip_ids)

    def clip(self, i: int) -> PlannedClip:
        """The i-th clip."""
        weak, negatives = self.weak_labels.rows(i), self.negatives.rows(i)
        return PlannedClip(
            clip_id=self.clip_ids[i],
            start_ms=int(self.start_ms[i]),
            end_ms=int(self.end_ms[i]),
            weak_labels=None if weak is None else tuple(label for (label,) in weak),
            segments=self.segments.rows(i),
            negatives=None if negatives is None else tuple(label for (label,) in negatives),
            file=self.files[i],
            contents=self.contents[i],
        )


class _Ragged:
    """Sorted rows of integers for each clip; "not known" differs from "no rows".

    Args:
      owner: int64 `[rows]`, the clip of each row.
      columns: int64 `[rows]` each; a duplicated row counts once.
      known: bool `[clips]`.
    """

    def __init__(self, owner: np.ndarray, columns: Sequence[np.ndarray], known: np.ndarray):
        table = np.stack([owner, *columns])
        table = table[:, np.lexsort(table[::-1])]
        first = np.ones(table.shape[1], bool)
        first[1:] = (table[:, 1:] != table[:, :-1]).any(axis=0)
        self.known = known
        self.values = np.ascontiguousarray(table[1:, first].T)
        self.offsets = np.searchsorted(table[0, first], np.arange(len(known) + 1))

    def rows(self, i: int) -> Any:
        """The rows of clip i as tuples of integers; None if they are not known."""
        if not self.known[i]:
            return None
        rows = self.values[self.offsets[i] : self.offsets[i + 1]]
        return tuple(map(tuple, rows.tolist()))


def make_plan(request: ConversionRequest, vocabulary: vocabularies.Vocabulary) -> Plan:
    """Reads the metadata, lists the audio, and decides what is to be done.

    Args:
      request: the settings.
      vocabulary: the classes; labels of others are left out and counted.

    Returns:
      The plan, the same for the same inputs.

    Raises:
      errors.InputError: bad metadata or directories, or nothing to convert.
    """
    tables = request.metadata.read()
    index = clip_audio.index(request)
    weak, archive = _weak_labels(request, index, tables)
    strong = _NO_ROWS if tables.strong is None else tables.strong
    negatives, rated = _explicit_negatives(tables)
    _check_ends(request, weak)
    clip_ids, not_in_metadata = _select(
        request, set(weak["clip_id"].tolist()), set(strong["clip_id"].tolist())
    )
    indexer = _Indexer(clip_ids, vocabulary.mids)
    videos = [metadata.split_clip_id(clip_id) for clip_id in clip_ids]
    start_ms = np.array([start for _, start in videos], np.int64)
    end_ms = _end_times(start_ms, indexer.clips, weak)
    paths, contents = clip_audio.find(request, index, videos, end_ms.tolist())
    weak_labels = weak[["clip_id", "labels"]].explode("labels").rename(columns={"labels": "mid"})
    not_converted = np.count_nonzero(indexer.clips.get_indexer(rated.unique()) < 0)
    if not_converted:
        logging.info(
            "explicit negatives of %d clips are ignored: these clips are not converted",
            not_converted,
        )
    return Plan(
        clip_ids=clip_ids,
        start_ms=start_ms,
        end_ms=end_ms,
        weak_labels=indexer.rows(weak_labels, weak["clip_id"]),
        segments=indexer.rows(strong, strong["clip_id"], columns=("start_ms", "end_ms")),
        negatives=indexer.rows(negatives, rated),
        files=paths,
        contents=_contents(clip_ids, contents, archive),
        not_in_metadata=not_in_metadata,
        out_of_vocabulary=indexer.out_of_vocabulary,
        archive_labels=archive.sources if archive else {},
        groups=splitting.groups(request.split_by, clip_ids, paths) if request.split_by else None,
    )


def fingerprint(
    request: ConversionRequest,
    vocabulary: vocabularies.Vocabulary,
    *,
    plan: Plan,
    ancestors: Sequence[Sequence[int]] = (),
) -> str:
    """Hashes everything that decides what the dataset holds.

    Args:
      request: the settings.
      vocabulary: the classes.
      plan: of this request; of the audio files, size and time of change are hashed.
      ancestors: see `DatasetInfo.ancestors`.

    Returns:
      A SHA-256 as hexadecimal digits.
    """
    digest = hashlib.sha256()
    settings = (
        clip_records.SCHEMA_VERSION,
        request.encoding,
        request.decoder,
        request.num_shards or SHARD_BYTES,
        request.min_seconds,
        request.validation_share,
        *_settings_beside_the_defaults(request),
    )
    lists = (vocabulary.mids, vocabulary.names, plan.clip_ids, plan.files, plan.contents)
    for part in (
        settings,
        *lists,
        plan.not_in_metadata,
        ancestors,
        clip_audio.sizes_and_times(plan.files),
    ):
        digest.update(json.dumps(part).encode())
    if plan.groups is not None:
        digest.update(json.dumps(plan.groups).encode())
    digest.update(plan.start_ms.tobytes() + plan.end_ms.tobytes())
    for ragged in (plan.weak_labels, plan.segments, plan.negatives):
        for array in (ragged.known, ragged.offsets, ragged.values):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _settings_beside_the_defaults(request: ConversionRequest) -> list[Any]:
    """Settings that older converters did not have, without those that have their default value.

    So a dataset that an older converter wrote is still recognised as finished.
    """
    rate, front_end = request.sample_rate, request.log_mel_front_end
    custom = front_end is not None and front_end != features.DEFAULT_FRONT_END
    return [
        *([{"sample_rate": rate}] if rate != DEFAULT_SAMPLE_RATE else []),
        *([{"front_end": front_end.to_json()}] if front_end and custom else []),
    ]


class _Indexer:
    """Turns tables of clip ids and mids into rows of class indices for each clip.

    Attributes:
      clips: ids of the clips.
      out_of_vocabulary: mid -> number of its labels left out so far.
    """

    def __init__(self, clip_ids: Sequence[str], mids: Sequence[str]):
        self.clips = pd.Index(clip_ids, dtype=object)
        self.out_of_vocabulary: collections.Counter[str] = collections.Counter()
        self._classes = pd.Index(mids, dtype=object)

    def rows(
        self, table: pd.DataFrame, known: pd.Series, *, columns: Sequence[str] = ()
    ) -> _Ragged:
        """The rows of each clip: `columns` and the class index.

        Args:
          table: clip_id, mid, and the columns.
          known: ids of the clips for which this kind of label is known.
          columns: integers that precede the class index.
        """
        owner = self.clips.get_indexer(table["clip_id"])
        label = self._classes.get_indexer(table["mid"])
        outside = table["mid"][(owner >= 0) & (label < 0)]
        self.out_of_vocabulary.update(outside.value_counts().to_dict())
        kept = (owner >= 0) & (label >= 0)
        values = [table[column].to_numpy(np.int64)[kept] for column in columns]
        return _Ragged(owner[kept], [*values, label[kept]], self._among(known))

    def _among(self, clip_ids: pd.Series) -> np.ndarray:
        """Which of the clips a column lists; bool `[clips]`. `isin` takes several times as long."""
        listed = np.zeros(len(self.clips), bool)
        owner = self.clips.get_indexer(clip_ids)
        listed[owner[owner >= 0]] = True
        return listed


def _weak_labels(
    request: ConversionRequest, index: finding.AudioIndex, tables: metadata_files.LabelTables
) -> tuple[pd.DataFrame, archive_labels.ArchiveLabels | None]:
    """(weak labels; those of archives, with their sources)."""
    if not request.labels_from_archive:
        return _NO_ROWS if tables.weak is None else tables.weak, None
    others = (tables.strong, tables.framed, tables.negatives)
    named = {clip_id for table in others if table is not None for clip_id in table["clip_id"]}
    named.update(request.metadata.clip_ids() or ())
    found = archive_labels.read(index, request.metadata, named)
    return found.table, found


def _contents(
    clip_ids: Sequence[str], contents: list[str], archive: archive_labels.ArchiveLabels | None
) -> list[str]:
    """What the file of each clip contains, where labels of whole members are taken into account."""
    if archive is None:
        return contents
    pairs = zip(clip_ids, contents, strict=True)
    return [decoding.WHOLE if clip_id in archive.whole else kind for clip_id, kind in pairs]


def _explicit_negatives(tables: metadata_files.LabelTables) -> tuple[pd.DataFrame, pd.Series]:
    """(clip_id and mid of the explicit negatives, ids of the clips that were rated)."""
    framed = _NO_ROWS if tables.framed is None else tables.framed
    negatives = _NO_ROWS if tables.negatives is None else tables.negatives
    both = pd.concat([negatives, metadata.negatives_from_framed(framed)], ignore_index=True)
    return both, pd.concat([negatives["clip_id"], framed["clip_id"]])


def _select(
    request: ConversionRequest, weak: set[str], strong: set[str]
) -> tuple[list[str], list[str]]:
    """(ids of the clips to convert in the order of a hash, ids only the clip list names)."""
    selected = {
        choices.ALL: weak | strong,
        choices.WEAK: weak,
        choices.STRONG: strong,
        choices.BOTH: weak & strong,
    }[request.select]
    not_in_metadata: list[str] = []
    clip_list = request.metadata.clip_ids()
    if clip_list is not None:
        not_in_metadata = sorted(set(clip_list) - selected)
        selected = selected & set(clip_list)
    if not selected:
        raise errors.InputError(
            f"no clip to convert: of {len(weak)} weakly and {len(strong)} strongly labelled clips "
            f"select {request.select!r} leaves none"
            + (f" that {request.metadata.clip_list} lists" if clip_list is not None else "")
        )

    def order(clip_id: str) -> bytes:
        return hashlib.sha256(clip_id.encode()).digest()

    return sorted(selected, key=order), not_in_metadata


def _check_ends(request: ConversionRequest, weak: pd.DataFrame) -> None:
    """Raises if two weak files give different ends to a clip."""
    distinct = weak[["clip_id", "end_ms"]].drop_duplicates()
    repeated = distinct["clip_id"][distinct["clip_id"].duplicated()]
    if repeated.empty:
        return
    ends = {
        path: table["end_ms"][table["clip_id"] == repeated.iloc[0]].tolist()
        for path, table in request.metadata.read_each()["weak"].items()
    }
    where = " and ".join(
        f"at {end / 1000:g} s in {path}" for path, found in ends.items() for end in found
    )
    raise errors.InputError(f"clip {repeated.iloc[0]} ends {where}: it must have one end")


def _end_times(start_ms: np.ndarray, clips: pd.Index, weak: pd.DataFrame) -> np.ndarray:
    """End of each clip in its video, ms: weak files state it, other clips last 10 s."""
    end_ms = start_ms + metadata.CLIP_MS
    timed = weak.drop_duplicates("clip_id")
    owner = clips.get_indexer(timed["clip_id"])
    end_ms[owner[owner >= 0]] = timed["end_ms"].to_numpy(np.int64)[owner >= 0]
    return end_ms
