"""The plan of a conversion: which clips, with which labels, from which files, in which order.

A plan depends on its inputs alone, so that runs which are killed and workers on other machines all
follow the same one. It is held in columns: a release has two million clips.
"""

import collections
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.audio import decoding, finding
from audioset_strong.core import errors
from audioset_strong.labels import metadata, vocabularies
from audioset_strong.records import clip_records

SELECTIONS = ("all", "weak", "strong", "both")

_NO_ROWS = pd.DataFrame(
    {"clip_id": [], "mid": [], "labels": [], "start_ms": [], "end_ms": [], "present": []}
).astype({"clip_id": str, "mid": str, "labels": object, "present": bool})


@dataclasses.dataclass(frozen=True)
class Request:
    """What to convert; the fields are the flags of `tools/convert.py`.

    Attributes:
      audio_dirs: where the audio files are, see `audio_index.AudioIndex`.
      class_labels: class lists, which make the vocabulary.
      output_dir: the dataset goes to `output_dir/name`; local, or of any file system that
        `tf.io.gfile` knows.
      name: of the dataset.
      weak_csvs, strong_tsvs: metadata files, which name the clips.
      framed_tsvs, negatives: metadata files, read for the explicit negatives of these clips.
      clip_list: file of segment ids to keep, or None for all.
      select: which clips: named by "all" (any) of the files, by a "weak" or a "strong" one, or by
        "both" kinds.
      combine_class_labels: "union" or "intersection" of the class lists.
      ontology: ontology.json, for label smearing; what it implies for the classes goes into the
        dataset's info, the records stay as they are.
      audio_pattern: how the audio files are named, see `audio_index.AudioIndex`.
      num_shards: of the dataset.
      encoding: of the audio.
      decoder: what decodes common formats, see `audio.load`.
      num_workers: decoding processes; 0 for one a core.
      runner: of Apache Beam, such as "DirectRunner", instead of local processes.
      beam_options: flags for that runner.
      validation_share: share of the videos, by a hash of their id, that goes to
        `output_dir/name_validation` instead.
      min_seconds: shorter audio is left out as too short.
      clip_timeout_s: a clip that takes longer to decode is given up.
      skip_bad_rows: leave malformed metadata rows out instead of stopping.
      overwrite: replace another conversion of that name.
      command: the command line, for the record.
    """

    audio_dirs: tuple[str, ...]
    class_labels: tuple[str, ...]
    output_dir: str
    name: str
    weak_csvs: tuple[str, ...] = ()
    strong_tsvs: tuple[str, ...] = ()
    framed_tsvs: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    clip_list: str | None = None
    select: str = "all"
    combine_class_labels: str = vocabularies.UNION
    ontology: str | None = None
    audio_pattern: str | None = None
    num_shards: int = 16
    encoding: str = clip_records.PCM16
    decoder: str = decoding.LIBSNDFILE
    num_workers: int = 0
    runner: str | None = None
    beam_options: tuple[str, ...] = ()
    validation_share: float = 0.0
    min_seconds: float = 0.1
    clip_timeout_s: float = 60.0
    skip_bad_rows: bool = False
    overwrite: bool = False
    command: str = ""

    def metadata_files(self) -> tuple[str, ...]:
        """Every file whose content decides what is written, besides the audio."""
        listed = (*self.class_labels, *self.weak_csvs, *self.strong_tsvs, *self.framed_tsvs)
        single = (path for path in (self.clip_list, self.ontology) if path)
        return (*listed, *self.negatives, *single)

    def check(self) -> None:
        """Raises `errors.InputError` for settings that are impossible whatever the files hold."""
        if not self.audio_dirs:
            raise errors.InputError("no --audio_dir given")
        if not (self.weak_csvs or self.strong_tsvs):
            raise errors.InputError("no clip named: give --weak_csv or --strong_tsv")
        choices = {
            "select": SELECTIONS,
            "encoding": clip_records.ENCODINGS,
            "decoder": decoding.DECODERS,
        }
        for field, known in choices.items():
            value = getattr(self, field)
            if value not in known:
                raise errors.InputError(f"{field} {value!r}: must be one of {', '.join(known)}")
        if not self.name or os.path.basename(self.name) != self.name or self.name[0] == ".":
            raise errors.InputError(f"name {self.name!r}: must be the name of a directory")
        if not 1 <= self.num_shards <= 99_999:
            raise errors.InputError(f"num_shards {self.num_shards}: must lie in [1, 99999]")
        if self.num_workers < 0:
            raise errors.InputError(f"num_workers {self.num_workers}: must not be negative")
        if not 0.0 <= self.validation_share < 1.0:
            raise errors.InputError(f"validation_share {self.validation_share}: must lie in [0, 1)")
        if self.min_seconds < 0:
            raise errors.InputError(f"min_seconds {self.min_seconds}: must not be negative")
        if not self.clip_timeout_s > 0:
            raise errors.InputError(f"clip_timeout_s {self.clip_timeout_s}: must be positive")


@dataclasses.dataclass(frozen=True)
class PlannedClip:
    """A clip to convert: its labels as class indices, and its file where there is one.

    Attributes:
      clip_id: segment id.
      start_ms, end_ms: of the clip in its video.
      weak_labels, segments, negatives: as in `clip.Clip`.
      file: path of the audio, or None.
      holds: what that file holds: `audio.CLIP`, `audio.VIDEO` or `audio.EITHER`.
    """

    clip_id: str
    start_ms: int
    end_ms: int
    weak_labels: tuple[int, ...] | None
    segments: tuple[tuple[int, int, int], ...] | None
    negatives: tuple[int, ...] | None
    file: str | None
    holds: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The clips of a conversion as columns, in the order of a hash of their ids.

    Any stride of that order is a fair sample of the clips.

    Attributes:
      clip_ids: segment ids.
      start_ms, end_ms: int64 `[clips]`.
      weak_labels, segments, negatives: labels, see `PlannedClip`.
      files: paths of the audio, or None.
      holds: what each file holds.
      unnamed: ids of the clip list that no metadata file selected names; there is nothing to
        convert.
      outside: mid -> number of labels that are left out since it is none of the classes.
    """

    clip_ids: list[str]
    start_ms: np.ndarray
    end_ms: np.ndarray
    weak_labels: "_Ragged"
    segments: "_Ragged"
    negatives: "_Ragged"
    files: list[str | None]
    holds: list[str]
    unnamed: list[str]
    outside: collections.Counter[str]

    def __len__(self) -> int:
        return len(self.clip_ids)

    def clip(self, i: int) -> PlannedClip:
        """One of the clips."""
        weak, negatives = self.weak_labels.rows(i), self.negatives.rows(i)
        return PlannedClip(
            clip_id=self.clip_ids[i],
            start_ms=int(self.start_ms[i]),
            end_ms=int(self.end_ms[i]),
            weak_labels=None if weak is None else tuple(label for (label,) in weak),
            segments=self.segments.rows(i),
            negatives=None if negatives is None else tuple(label for (label,) in negatives),
            file=self.files[i],
            holds=self.holds[i],
        )


class _Ragged:
    """Rows of integers for each clip, sorted; not known is told from none.

    Args:
      owner: int64 `[rows]`, the clip of each row.
      columns: int64 `[rows]` each; a row that a clip has twice counts once.
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
        """The rows of clip i as tuples of integers; None where they are not known."""
        if not self.known[i]:
            return None
        listed = self.values[self.offsets[i] : self.offsets[i + 1]]
        return tuple(map(tuple, listed.tolist()))


def make_plan(request: Request, vocabulary: vocabularies.Vocabulary) -> Plan:
    """Reads the metadata, lists the audio, and decides what is to be done.

    Raises:
      errors.InputError: bad metadata or directories, or nothing to convert.
    """

    def read(reader: Callable[..., pd.DataFrame], paths: Sequence[str]) -> pd.DataFrame:
        tables = [reader(path, skip_bad_rows=request.skip_bad_rows) for path in paths]
        return pd.concat(tables, ignore_index=True) if tables else _NO_ROWS

    weak = read(metadata.read_weak_csv, request.weak_csvs)
    strong = read(metadata.read_strong_tsv, request.strong_tsvs)
    framed = read(metadata.read_framed_tsv, request.framed_tsvs)
    negatives = read(metadata.read_negatives, request.negatives)

    wanted, unnamed = _select(request, set(weak["clip_id"]), set(strong["clip_id"]))
    clip_ids = sorted(wanted, key=lambda clip_id: hashlib.sha256(clip_id.encode()).digest())
    clips = pd.Index(clip_ids, dtype=object)
    classes = pd.Index(vocabulary.mids, dtype=object)
    outside: collections.Counter[str] = collections.Counter()

    def labels(table: pd.DataFrame, known: pd.Series, times: Sequence[str] = ()) -> _Ragged:
        owner = clips.get_indexer(table["clip_id"])
        label = classes.get_indexer(table["mid"])
        outside.update(table["mid"][(owner >= 0) & (label < 0)].value_counts().to_dict())
        kept = (owner >= 0) & (label >= 0)
        columns = [table[time].to_numpy(np.int64)[kept] for time in times]
        return _Ragged(owner[kept], [*columns, label[kept]], clips.isin(known))

    weak_labels = labels(
        weak[["clip_id", "labels"]].explode("labels").rename(columns={"labels": "mid"}),
        weak["clip_id"],
    )
    segments = labels(strong, strong["clip_id"], ("start_ms", "end_ms"))
    rated = pd.concat([negatives["clip_id"], framed["clip_id"]])
    clip_negatives = labels(
        pd.concat([negatives, metadata.negatives_from_framed(framed)], ignore_index=True), rated
    )
    unused = rated[~rated.isin(clips)].nunique()
    if unused:
        logging.info("explicit negatives of %d clips are not used: not asked for", unused)

    videos = [metadata.split_clip_id(clip_id) for clip_id in clip_ids]
    start_ms = np.array([start for _, start in videos], np.int64)
    end_ms = start_ms + metadata.CLIP_MS
    timed = weak.drop_duplicates("clip_id")
    owner = clips.get_indexer(timed["clip_id"])
    end_ms[owner[owner >= 0]] = timed["end_ms"].to_numpy(np.int64)[owner >= 0]
    files, holds = _find_audio(request, videos, end_ms.tolist())
    return Plan(
        clip_ids=clip_ids,
        start_ms=start_ms,
        end_ms=end_ms,
        weak_labels=weak_labels,
        segments=segments,
        negatives=clip_negatives,
        files=files,
        holds=holds,
        unnamed=unnamed,
        outside=outside,
    )


def fingerprint(
    request: Request,
    vocabulary: vocabularies.Vocabulary,
    plan: Plan,
    ancestors: Sequence[Sequence[int]] = (),
) -> str:
    """Hash of all that decides what the dataset holds; of audio files, the size and time."""
    digest = hashlib.sha256()
    settings = (
        clip_records.SCHEMA_VERSION,
        request.encoding,
        request.decoder,
        request.num_shards,
        request.min_seconds,
        request.validation_share,
    )
    lists = (vocabulary.mids, vocabulary.names, plan.clip_ids, plan.files, plan.holds)
    for part in (settings, *lists, plan.unnamed, ancestors, _sizes_and_times(plan.files)):
        digest.update(json.dumps(part).encode())
    digest.update(plan.start_ms.tobytes() + plan.end_ms.tobytes())
    for ragged in (plan.weak_labels, plan.segments, plan.negatives):
        for array in (ragged.known, ragged.offsets, ragged.values):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _select(request: Request, weak: set[str], strong: set[str]) -> tuple[set[str], list[str]]:
    """(ids of the clips to convert, ids of the clip list that are not among them)."""
    wanted = {
        "all": weak | strong,
        "weak": weak,
        "strong": strong,
        "both": weak & strong,
    }[request.select]
    unnamed: list[str] = []
    if request.clip_list:
        listed = set(metadata.read_clip_list(request.clip_list))
        unnamed = sorted(listed - wanted)
        wanted = wanted & listed
    if not wanted:
        raise errors.InputError(
            f"no clip to convert: of {len(weak)} weakly and {len(strong)} strongly labelled clips "
            f"select {request.select!r} leaves none"
            + (f" that {request.clip_list} lists" if request.clip_list else "")
        )
    return wanted, unnamed


def _find_audio(
    request: Request, videos: Sequence[tuple[str, int]], end_ms: Sequence[int]
) -> tuple[list[str | None], list[str]]:
    """The file of each clip, or None, and what it holds."""
    index = finding.AudioIndex(request.audio_dirs, request.audio_pattern)
    files: list[str | None] = []
    holds = []
    for (ytid, start), end in zip(videos, end_ms, strict=True):
        path, named_by_start = index.find(ytid, start, end) or (None, False)
        files.append(path)
        holds.append(decoding.CLIP if named_by_start else decoding.EITHER)
    if not any(files):
        raise errors.InputError(
            f"none of the {len(files)} clips has a file among the {len(index)} in "
            f"{', '.join(request.audio_dirs)}; files are found by names such as YTID_30000.wav"
            + (f", here by --audio_pattern={request.audio_pattern}" * bool(request.audio_pattern))
        )
    # A file cannot be each of several clips; it can be the video of which they are parts.
    uses = collections.Counter(
        path for path, held in zip(files, holds, strict=True) if held == decoding.EITHER
    )
    holds = [
        decoding.VIDEO if path and uses[path] > 1 else held
        for path, held in zip(files, holds, strict=True)
    ]
    return files, holds


def _sizes_and_times(files: Sequence[str | None]) -> list[tuple[int, int]]:
    """(bytes, ns of the last change) of each local file."""
    listed = []
    for path in files:
        if path and not decoding.is_remote(path):
            try:
                status = os.stat(path)
                listed.append((status.st_size, status.st_mtime_ns))
            except OSError:  # a dangling link, say; decoding it gives the clip's reason
                listed.append((-1, -1))
    return listed
