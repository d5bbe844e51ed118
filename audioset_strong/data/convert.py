"""Conversion: audio and metadata -> TFRecord shards with their info and a manifest of every clip.

A plan is made first: which clips, with which labels, from which files, in which shard. It depends
on the inputs alone, so shards can be written in any order and by runs that are killed: a shard is
written under a temporary name and renamed when it is whole, its manifest rows are stamped beside
it, and a second run writes only the shards without a stamp.
"""

import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pebble
import tensorflow as tf
from absl import logging

from audioset_strong import errors, progress
from audioset_strong.data import audio, audio_index, dataset_info
from audioset_strong.data import clip as clip_lib
from audioset_strong.labels import metadata
from audioset_strong.labels import vocabulary as vocabulary_lib

SAMPLE_RATE = 16_000
MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("clip_id", "status", "reason", "file", "shard", "seconds")
SELECTIONS = ("all", "weak", "strong", "both")
WRITTEN, MISSING, HELD_OUT = "written", "missing", "held_out"
TOO_SHORT, SILENT, UNDECODABLE = "too_short", "silent", "undecodable"

_WORK_DIR = ".work"  # stamps of an unfinished conversion
_AHEAD = 8  # clips decoded ahead of the writer, for each worker


@dataclasses.dataclass(frozen=True)
class Request:
    """What to convert; the fields are the flags of `tools/convert.py`.

    Attributes:
      audio_dirs: directories with audio files.
      class_labels: class lists; their union is the vocabulary.
      output_dir: the dataset goes to `output_dir/name`.
      name: of the dataset.
      weak_csvs, strong_tsvs, framed_tsvs, negatives: metadata files.
      clip_list: file of segment ids to keep, or None for all.
      select: which clips: named by "all" (any) of the files, by a "weak" or a "strong" one, or by
        "both" kinds.
      num_shards: of the dataset.
      encoding: of the audio.
      num_workers: decoding processes.
      validation_share: share of the videos, by a hash of their id, that goes to
        `output_dir/name_validation` instead.
      min_seconds: shorter audio is left out as too short.
      clip_timeout_s: a clip that takes longer to decode is given up.
      skip_bad_rows: leave malformed metadata rows out instead of stopping.
      overwrite: replace another conversion of that name.
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
    num_shards: int = 16
    encoding: str = clip_lib.PCM16
    num_workers: int = 0
    validation_share: float = 0.0
    min_seconds: float = 0.1
    clip_timeout_s: float = 60.0
    skip_bad_rows: bool = False
    overwrite: bool = False
    command: str = ""

    def metadata_files(self) -> tuple[str, ...]:
        """Every file whose content decides what is written, besides the audio."""
        listed = (*self.class_labels, *self.weak_csvs, *self.strong_tsvs, *self.framed_tsvs)
        return (*listed, *self.negatives, *((self.clip_list,) if self.clip_list else ()))


@dataclasses.dataclass(frozen=True)
class _Planned:
    """A clip to convert: its labels as class indices, and its file where there is one."""

    clip_id: str
    start_ms: int
    end_ms: int
    weak_labels: tuple[int, ...] | None
    segments: tuple[tuple[int, int, int], ...] | None
    negatives: tuple[int, ...] | None
    file: str | None
    named_by_start: bool


def convert(request: Request) -> list[dataset_info.DatasetInfo]:
    """Converts, or goes on with the conversion that was interrupted.

    Returns:
      The infos of the dataset and, with a validation share, of the validation dataset.

    Raises:
      errors.InputError: bad settings, metadata or directories, before any work; or an output
        directory that holds another conversion.
    """
    _check(request)
    vocabulary = vocabulary_lib.Vocabulary.from_files(request.class_labels)
    outside: collections.Counter[str] = collections.Counter()
    planned = _plan(request, vocabulary, outside)
    if outside:
        most = ", ".join(f"{mid} ({count})" for mid, count in outside.most_common(5))
        logging.warning("%d labels are of no class listed: %s", outside.total(), most)
    sources = {path: _sha256(path) for path in request.metadata_files()}
    held = [is_held_out(clip.clip_id, request.validation_share) for clip in planned]
    parts = [(request.name, "train" if request.validation_share else "all", False)]
    if request.validation_share:
        parts.append((f"{request.name}_validation", "validation", True))
    infos = []
    for name, split, wanted in parts:
        chosen = [clip for clip, out in zip(planned, held, strict=True) if out == wanted]
        if not chosen:
            raise errors.InputError(
                f"{name}: no clip falls on this side of validation_share "
                f"{request.validation_share}; take another share or more clips"
            )
        others = [] if wanted else [c for c, out in zip(planned, held, strict=True) if out]
        info = dataset_info.DatasetInfo(
            name=name,
            split=split,
            schema_version=clip_lib.SCHEMA_VERSION,
            sample_rate=SAMPLE_RATE,
            encoding=request.encoding,
            vocabulary=vocabulary,
            command=request.command,
            sources=sources,
            labels_outside=dict(sorted(outside.items())),
        )
        infos.append(_write_dataset(request, info, chosen, others))
    return infos


def is_held_out(clip_id: str, share: float) -> bool:
    """Whether a clip belongs to the validation split: decided by its video, the same everywhere."""
    ytid, _ = metadata.split_segment_id(clip_id)
    digest = hashlib.sha256(b"split/" + ytid.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _check(request: Request) -> None:
    if not request.audio_dirs:
        raise errors.InputError("no --audio_dir given")
    if not (request.weak_csvs or request.strong_tsvs or request.framed_tsvs):
        raise errors.InputError("no clip named: give --weak_csv, --strong_tsv or --framed_tsv")
    if request.select not in SELECTIONS:
        raise errors.InputError(f"select {request.select!r}: one of {', '.join(SELECTIONS)}")
    if request.encoding not in clip_lib.ENCODINGS:
        raise errors.InputError(
            f"encoding {request.encoding!r}: one of {', '.join(clip_lib.ENCODINGS)}"
        )
    if request.num_shards < 1:
        raise errors.InputError(f"num_shards {request.num_shards}: must be at least 1")
    if not 0.0 <= request.validation_share < 1.0:
        raise errors.InputError(f"validation_share {request.validation_share}: must lie in [0, 1)")


def _plan(
    request: Request, vocabulary: vocabulary_lib.Vocabulary, outside: collections.Counter[str]
) -> list[_Planned]:
    """The clips to convert, in the order of a hash of their ids: every shard is a fair sample."""

    def read(reader, paths: Sequence[str], unique: str | None = None) -> pd.DataFrame | None:
        tables = [reader(path, skip_bad_rows=request.skip_bad_rows) for path in paths]
        if not tables:
            return None
        table = pd.concat(tables, ignore_index=True)
        return table.drop_duplicates(unique) if unique else table

    weak = read(metadata.read_weak_csv, request.weak_csvs, "segment_id")
    strong = read(metadata.read_strong_tsv, request.strong_tsvs)
    framed = read(metadata.read_framed_tsv, request.framed_tsvs)
    negatives = read(metadata.read_negatives, request.negatives)

    weak_ids = set(weak["segment_id"]) if weak is not None else set()
    strong_ids = set(strong["segment_id"]) if strong is not None else set()
    framed_ids = set(framed["segment_id"]) if framed is not None else set()
    wanted = {
        "all": weak_ids | strong_ids | framed_ids,
        "weak": weak_ids,
        "strong": strong_ids,
        "both": weak_ids & strong_ids,
    }[request.select]
    if request.clip_list:
        wanted &= set(metadata.read_clip_list(request.clip_list))
    if not wanted:
        raise errors.InputError(
            f"no clip to convert: select {request.select!r} of {len(weak_ids)} weakly and "
            f"{len(strong_ids)} strongly labelled clips leaves none"
        )

    def indices(mids: Sequence[str]) -> tuple[int, ...]:
        known = [vocabulary.index[mid] for mid in mids if mid in vocabulary.index]
        if len(known) < len(mids):
            outside.update(mid for mid in mids if mid not in vocabulary.index)
        return tuple(sorted(set(known)))

    ends: dict[str, int] = {}
    weak_labels: dict[str, tuple[int, ...]] = {}
    if weak is not None:
        for clip_id, end_ms, mids in zip(
            weak["segment_id"], weak["end_ms"], weak["labels"], strict=True
        ):
            if clip_id in wanted:
                ends[clip_id] = int(end_ms)
                weak_labels[clip_id] = indices(mids)
    segments: dict[str, list[tuple[int, int, int]]] = {clip_id: [] for clip_id in strong_ids}
    if strong is not None:
        for row in strong[strong["segment_id"].isin(wanted)].itertuples(index=False):
            label = indices([row.mid])
            segments[row.segment_id] += [(row.start_ms, row.end_ms, index) for index in label]
    clip_negatives: dict[str, list[int]] = collections.defaultdict(list)
    tables = [negatives] if negatives is not None else []
    if framed is not None:
        tables.append(metadata.negatives_from_framed(framed))
        for clip_id in framed_ids:
            clip_negatives[clip_id] = []
    for table in tables:
        for clip_id, mid in zip(table["segment_id"], table["mid"], strict=True):
            if clip_id in wanted:
                clip_negatives[clip_id] += indices([mid])

    found = audio_index.AudioIndex(request.audio_dirs)
    planned = []
    for clip_id in sorted(wanted, key=lambda text: hashlib.sha256(text.encode()).digest()):
        ytid, start_ms = metadata.split_segment_id(clip_id)
        end_ms = ends.get(clip_id, start_ms + metadata.CLIP_MS)
        file = found.find(ytid, start_ms, end_ms)
        listed = segments.get(clip_id)
        planned.append(
            _Planned(
                clip_id=clip_id,
                start_ms=start_ms,
                end_ms=end_ms,
                weak_labels=weak_labels.get(clip_id),
                segments=None if listed is None else tuple(sorted(listed)),
                negatives=tuple(sorted(set(clip_negatives[clip_id])))
                if clip_id in clip_negatives
                else None,
                file=file[0] if file else None,
                named_by_start=bool(file and file[1]),
            )
        )
    if not any(clip.file for clip in planned):
        raise errors.InputError(
            f"none of the {len(planned)} clips has a file among the {len(found)} in "
            f"{', '.join(request.audio_dirs)}; files are found by names such as YTID_30000.wav"
        )
    return planned


def _write_dataset(
    request: Request,
    info: dataset_info.DatasetInfo,
    clips: list[_Planned],
    held_out: list[_Planned],
) -> dataset_info.DatasetInfo:
    directory = pathlib.Path(request.output_dir) / info.name
    info.fingerprint = _fingerprint(request, info, clips)
    done = _claim(directory, info.fingerprint, request.overwrite)
    if done:
        logging.info("%s: already converted", directory)
        return done
    work = directory / _WORK_DIR
    num_shards = min(request.num_shards, len(clips))
    shards = [clips[i::num_shards] for i in range(num_shards)]
    names = [f"{info.name}-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
    pending = [
        (name, shard)
        for name, shard in zip(names, shards, strict=True)
        if not ((work / f"{name}.json").exists() and (directory / name).exists())
    ]
    pending_clips = sum(len(shard) for _, shard in pending)
    failures = 0
    with progress.bar(
        f"converting {info.name}", len(clips), "clip", initial=len(clips) - pending_clips
    ) as bar:
        decoded = _decode_all((clip for _, shard in pending for clip in shard), request)
        for name, shard in pending:
            stamp = _write_shard(directory, name, shard, decoded, request.encoding, bar)
            failures += sum(row[1] != WRITTEN for row in stamp["rows"])
            bar.note(f"{failures} failed")
    stamps = [json.loads((work / f"{name}.json").read_text()) for name in names]
    _summarise(info, names, stamps)
    if not info.num_clips:
        raise errors.InputError(
            f"{directory}: none of {len(clips)} clips could be converted; first reason: "
            f"{stamps[0]['rows'][0][0]}: {stamps[0]['rows'][0][2]}"
        )
    rows = [row for stamp in stamps for row in stamp["rows"]]
    rows += [[clip.clip_id, HELD_OUT, "validation split", "", "", ""] for clip in held_out]
    _write_manifest(directory / MANIFEST, rows)
    info.save(str(directory))
    shutil.rmtree(work)
    return info


def _claim(
    directory: pathlib.Path, fingerprint: str, overwrite: bool
) -> dataset_info.DatasetInfo | None:
    """Prepares the output directory; returns the info when its conversion is already complete."""
    work = directory / _WORK_DIR
    plan = work / "plan.json"
    info_path = directory / dataset_info.FILE_NAME
    if info_path.exists():
        held = dataset_info.DatasetInfo.load(str(directory))
        if held.fingerprint == fingerprint:
            return held
    elif plan.exists() and json.loads(plan.read_text())["fingerprint"] == fingerprint:
        return None
    if (info_path.exists() or plan.exists()) and not overwrite:
        raise errors.InputError(
            f"{directory} holds another conversion (other metadata, audio files or settings); "
            "take another --name or --output_dir, or --overwrite it"
        )
    try:
        for path in directory.glob("*.tfrecord*"):
            path.unlink()
        info_path.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        plan.write_text(json.dumps({"fingerprint": fingerprint}))
    except OSError as error:
        raise errors.InputError(f"cannot write to {directory}: {error.strerror}") from error
    return None


def _write_shard(
    directory: pathlib.Path,
    name: str,
    clips: list[_Planned],
    decoded: Iterator[tuple[bytes, str, str]],
    encoding: str,
    bar: progress.Bar,
) -> dict:
    """Writes one shard from the next `len(clips)` decoded ones, and its stamp after it."""
    rows = []
    labels: list[dict] = []
    temporary = directory / _WORK_DIR / f"{name}.tmp"
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for planned in clips:
                pcm, status, reason = next(decoded)
                seconds = len(pcm) / 2 / SAMPLE_RATE
                if status == WRITTEN:
                    clip = clip_lib.Clip(
                        planned.clip_id,
                        np.frombuffer(pcm, np.int16),
                        SAMPLE_RATE,
                        planned.weak_labels,
                        planned.segments,
                        planned.negatives,
                    )
                    writer.write(clip_lib.serialize(clip, encoding))
                    labels.append(
                        {
                            "weak": clip.weak_labels,
                            "segments": None
                            if clip.segments is None
                            else [label for _, _, label in clip.segments],
                            "negatives": clip.negatives,
                            "samples": len(clip.audio),
                        }
                    )
                shard = name if status == WRITTEN else ""
                rows.append(
                    [planned.clip_id, status, reason, planned.file or "", shard, f"{seconds:.3f}"]
                )
                bar.update()
        stamp = {"rows": rows, "labels": labels}
        os.replace(temporary, directory / name)
        stamp_path = directory / _WORK_DIR / f"{name}.json"
        partial = stamp_path.with_suffix(".partial")
        partial.write_text(json.dumps(stamp))
        partial.replace(stamp_path)
    except (OSError, tf.errors.OpError) as error:
        raise errors.InputError(f"cannot write {directory / name}: {error}") from error
    return stamp


def _decode_all(clips: Iterator[_Planned], request: Request) -> Iterator[tuple[bytes, str, str]]:
    """(int16 bytes, status, reason) of each clip, in order, decoded by worker processes.

    A decoder that crashes or hangs takes its process with it and costs its clip alone.
    """
    workers = request.num_workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")  # forking after TensorFlow began is not safe
    pending: collections.deque = collections.deque()
    with pebble.ProcessPool(max_workers=workers, context=context) as pool:
        try:
            for clip in clips:
                if clip.file is None:
                    pending.append((b"", MISSING, "no audio file"))
                else:
                    arguments = (
                        clip.file,
                        clip.named_by_start,
                        clip.start_ms / 1000,
                        (clip.end_ms - clip.start_ms) / 1000,
                        request.min_seconds,
                        SAMPLE_RATE,
                    )
                    pending.append(
                        pool.schedule(
                            audio.decode_clip, args=arguments, timeout=request.clip_timeout_s
                        )
                    )
                if len(pending) >= _AHEAD * workers:
                    yield _result(pending.popleft(), request.clip_timeout_s)
            while pending:
                yield _result(pending.popleft(), request.clip_timeout_s)
        finally:
            pool.stop()


def _result(
    pending: tuple[bytes, str, str] | pebble.ProcessFuture, timeout_s: float
) -> tuple[bytes, str, str]:
    if isinstance(pending, tuple):
        return pending
    try:
        return pending.result()
    except concurrent.futures.TimeoutError:
        return b"", UNDECODABLE, f"the decoder took longer than {timeout_s:g} s"
    except pebble.ProcessExpired as error:
        return b"", UNDECODABLE, f"the decoder crashed (exit code {error.exitcode})"


def _summarise(info: dataset_info.DatasetInfo, names: list[str], stamps: list[dict]) -> None:
    """Fills the info's counts from the shards' stamps."""
    classes = len(info.vocabulary)
    labels = [entry for stamp in stamps for entry in stamp["labels"]]

    def count(key: str, once: bool) -> tuple[int, list[int]]:
        known = [entry[key] for entry in labels if entry[key] is not None]
        flat = [label for listed in known for label in (set(listed) if once else listed)]
        return len(known), np.bincount(np.array(flat, int), minlength=classes).tolist()

    info.shards = [
        {"file": name, "clips": len(stamp["labels"])}
        for name, stamp in zip(names, stamps, strict=True)
    ]
    info.num_clips = len(labels)
    info.hours = sum(entry["samples"] for entry in labels) / info.sample_rate / 3600
    info.weak_clips, info.weak_counts = count("weak", once=True)
    info.strong_clips, info.strong_counts = count("segments", once=True)
    _, info.segment_counts = count("segments", once=False)
    info.negative_clips, info.negative_counts = count("negatives", once=True)


def _write_manifest(path: pathlib.Path, rows: list[list[str]]) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows(sorted(rows))
    temporary.replace(path)


def _fingerprint(request: Request, info: dataset_info.DatasetInfo, clips: list[_Planned]) -> str:
    """Hash of all that decides the content of the shards, the audio's own bytes excepted."""
    digest = hashlib.sha256()
    settings = (request.encoding, request.num_shards, request.min_seconds, info.schema_version)
    digest.update(repr(settings).encode())
    digest.update(repr((info.vocabulary.mids, info.vocabulary.names)).encode())
    for clip in clips:
        digest.update(repr(clip).encode())
    return digest.hexdigest()


def _sha256(path: str) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
