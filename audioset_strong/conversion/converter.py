"""Conversion: audio and metadata -> TFRecord shards with their info and a manifest of every clip.

The plan says what goes into each shard, so shards can be written in any order, anywhere, and by
runs that are killed: a second run writes only those without a stamp. Manifest and info are made
from the stamps, when all are there.
"""

import collections
import contextlib
import csv
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.audio import decoding
from audioset_strong.conversion import plans, shard_writing
from audioset_strong.core import errors, files, progress
from audioset_strong.labels import metadata, ontology, vocabularies
from audioset_strong.records import clip_records, dataset_info

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("clip_id", "status", "reason", "file", "shard", "seconds")
# The statuses of clips that no shard is to hold; the others are those of `shards`.
HELD_OUT, UNNAMED = "held_out", "unnamed"

_PLAN, _LOCK = "plan.json", "lock"  # in the work directory: whose it is, and who works on it


def convert(request: plans.Request) -> list[dataset_info.DatasetInfo]:
    """Converts, or goes on with the conversion that was interrupted.

    Returns:
      The infos of the dataset and, with a validation share, of the validation dataset.

    Raises:
      errors.InputError: bad settings, metadata or directories, or an output directory that holds
        something else, before any work; no clip that can be converted; a disk that is full.
    """
    request.check()
    listed = vocabularies.Vocabulary.from_files(request.class_labels)
    vocabulary = vocabularies.Vocabulary.from_files(
        request.class_labels, request.combine_class_labels
    )
    ancestors = []
    if request.ontology:
        ancestors = ontology.Ontology.read(request.ontology).ancestor_indices(vocabulary.mids)
    plan = plans.make_plan(request, vocabulary)
    if plan.outside:
        described = vocabularies.describe(plan.outside, listed.name)
        logging.warning("left out, since they are not in the vocabulary: %s", described)
    common: dict[str, Any] = {
        "schema_version": clip_records.SCHEMA_VERSION,
        "sample_rate": shard_writing.SAMPLE_RATE,
        "encoding": request.encoding,
        "vocabulary": vocabulary,
        "command": request.command,
        "sources": {path: _sha256(path) for path in request.metadata_files()},
        "labels_outside": dict(sorted(plan.outside.items())),
        "ancestors": ancestors,
    }
    fingerprint = plans.fingerprint(request, vocabulary, plan, ancestors)

    def describe(name: str, split: str) -> dataset_info.DatasetInfo:
        return dataset_info.DatasetInfo(
            name=name, split=split, fingerprint=f"{split}-{fingerprint}", **common
        )

    others = [[clip_id, UNNAMED, "no metadata file selected names it"] for clip_id in plan.unnamed]
    parts = [(describe(request.name, "all"), np.arange(len(plan)), others)]
    if request.validation_share:
        out = np.array(
            [is_held_out(clip_id, request.validation_share) for clip_id in plan.clip_ids]
        )
        kept, held = np.flatnonzero(~out), np.flatnonzero(out)
        name = f"{request.name}_validation"
        others += [[plan.clip_ids[i], HELD_OUT, f"goes to {name}"] for i in held]
        parts = [
            (describe(request.name, "train"), kept, others),
            (describe(name, "validation"), held, []),
        ]
    for info, chosen, _ in parts:
        if not len(chosen):
            raise errors.InputError(
                f"{info.name}: no clip falls on this side of validation_share "
                f"{request.validation_share}; take another share or more clips"
            )
        _check_target(os.path.join(request.output_dir, info.name), info, request.overwrite)
    return [_write_dataset(request, plan, *part) for part in parts]


def is_held_out(clip_id: str, share: float) -> bool:
    """Whether a clip belongs to the validation split: decided by its video, the same everywhere."""
    ytid, _ = metadata.split_clip_id(clip_id)
    digest = hashlib.sha256(b"split/" + ytid.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _write_dataset(
    request: plans.Request,
    plan: plans.Plan,
    info: dataset_info.DatasetInfo,
    chosen: np.ndarray,
    other_rows: Sequence[Sequence[str]],
) -> dataset_info.DatasetInfo:
    """Writes the dataset of the plan's chosen clips, or what is missing of it.

    Args:
      request: the settings.
      plan: all clips.
      info: of the dataset, but for what is counted.
      chosen: int64, indices into the plan.
      other_rows: manifest rows of clips that are not converted here.

    Returns:
      The whole info.
    """
    directory = os.path.join(request.output_dir, info.name)
    finished = _finished(directory, info.fingerprint)
    if finished:
        logging.info("%s: already converted", directory)
        # There is one left where the run was killed at the very end.
        _remove_work(directory)
        return finished
    num_shards = min(request.num_shards, len(chosen))
    stem = os.path.join(directory, info.name)
    shards = {
        f"{stem}-{i:05d}-of-{num_shards:05d}.tfrecord": chosen[i::num_shards]
        for i in range(num_shards)
    }
    with _claimed(directory, info):
        there = set(files.names(directory))
        stamped = set(files.names(os.path.join(directory, shard_writing.WORK_DIR)))
        pending = {
            path: indices
            for path, indices in shards.items()
            if os.path.basename(path) not in there
            or os.path.basename(shard_writing.stamp_path(path)) not in stamped
        }
        done = len(chosen) - sum(map(len, pending.values()))
        with progress.bar(f"converting {info.name}", len(chosen), "clip", initial=done) as bar:
            write = _write_with_beam if request.runner else _write_here
            write(request, plan, pending, len(info.vocabulary), bar)
        with files.writing(directory):
            first_reason = _finish(directory, info, list(shards), other_rows)
        if not info.num_clips:
            manifest = os.path.join(directory, MANIFEST)
            raise errors.InputError(
                f"none of the {len(chosen)} clips could be converted, see {manifest}; "
                f"the first reason: {first_reason}"
            )
        info.save(directory)
        _remove_work(directory)
    return info


def _write_here(
    request: plans.Request,
    plan: plans.Plan,
    shards: Mapping[str, np.ndarray],
    num_classes: int,
    bar: progress.Bar,
) -> None:
    """Writes shards with local processes.

    Args:
      request: the settings.
      plan: all clips.
      shards: path -> indices of its clips in the plan; all in one directory.
      num_classes: size of the vocabulary.
      bar: counts the clips.
    """
    if not shards:
        return
    chunks = (
        chunk
        for indices in shards.values()
        for chunk in shard_writing.chunks(plan.clip(i) for i in indices)
    )
    num_workers = request.num_workers or len(os.sched_getaffinity(0))
    with (
        shard_writing.scratch(os.path.dirname(next(iter(shards)))) as scratch,
        contextlib.closing(
            shard_writing.convert_chunks(chunks, request, num_workers, scratch)
        ) as pieces,
    ):
        counted = _counted(pieces, bar)
        for path, indices in shards.items():
            chosen = itertools.islice(counted, shard_writing.num_chunks(len(indices)))
            shard_writing.write_shard(path, chosen, num_classes)


def _write_with_beam(
    request: plans.Request,
    plan: plans.Plan,
    shards: Mapping[str, np.ndarray],
    num_classes: int,
    bar: progress.Bar,
) -> None:
    """The same with an Apache Beam runner."""
    from audioset_strong.conversion import beam_runner

    jobs = (
        beam_runner.Job(_absolute(path), [plan.clip(i) for i in indices], request, num_classes)
        for path, indices in shards.items()
    )
    beam_runner.run(jobs, request.runner or "", request.beam_options)
    bar.update(sum(map(len, shards.values())))


def _absolute(path: str) -> str:
    return path if decoding.is_remote(path) else os.path.abspath(path)


def _counted(
    pieces: Iterable[shard_writing.Piece], bar: progress.Bar
) -> Iterator[shard_writing.Piece]:
    seconds, failed = 0.0, 0
    for piece in pieces:
        seconds += sum(outcome.samples for outcome in piece.outcomes) / shard_writing.SAMPLE_RATE
        failed += sum(outcome.status != decoding.WRITTEN for outcome in piece.outcomes)
        bar.note(f"{seconds / 3600:.1f} hours, {failed} failed")
        bar.update(len(piece.clips))
        yield piece


def _finish(
    directory: str,
    info: dataset_info.DatasetInfo,
    shards: Sequence[str],
    other_rows: Sequence[Sequence[str]],
) -> str:
    """Makes manifest and counts from the shards' stamps; returns the first clip's reason."""
    samples = 0
    totals: dict[str, Any] = {}
    statuses = collections.Counter(status for _, status, _ in other_rows)
    first_reason = ""
    temporary = os.path.join(directory, shard_writing.WORK_DIR, MANIFEST)
    with tf.io.gfile.GFile(temporary, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for path in shards:  # a stamp at a time: all of them need not fit into memory
            stamp = json.loads(files.read_text(shard_writing.stamp_path(path)))
            writer.writerows(stamp["rows"])
            statuses.update(status for _, status, *_ in stamp["rows"])
            first_reason = first_reason or stamp["rows"][0][2]
            samples += stamp["samples"]
            counts = stamp["counts"]
            known = {key: counts[key] for key in dataset_info.KNOWN_CLIPS}
            shard = {"file": os.path.basename(path), "clips": counts["num_clips"]}
            info.shards.append(shard | known)
            for key, count in counts.items():
                totals[key] = np.add(totals.get(key, 0), count)
        empty = [""] * (len(MANIFEST_COLUMNS) - 3)
        writer.writerows([*row, *empty] for row in other_rows)
    files.rename(temporary, os.path.join(directory, MANIFEST))
    info.statuses = dict(sorted(statuses.items()))
    info.hours = samples / info.sample_rate / 3600
    for key, total in totals.items():
        setattr(info, key, total.tolist())
    return first_reason


def _finished(directory: str, fingerprint: str) -> dataset_info.DatasetInfo | None:
    """The info of the same conversion where it is complete."""
    try:
        held = dataset_info.DatasetInfo.load(directory)
    except errors.InputError:  # none, or one that is damaged
        return None
    return held if held.fingerprint == fingerprint else None


def _begun(directory: str) -> str | None:
    """The fingerprint of the conversion that was begun in a directory."""
    try:
        text = files.read_text(os.path.join(directory, shard_writing.WORK_DIR, _PLAN))
    except FileNotFoundError:
        return None
    return json.loads(text)["fingerprint"]


def _check_target(directory: str, info: dataset_info.DatasetInfo, overwrite: bool) -> None:
    """Raises where a directory holds anything but the same conversion, begun or complete."""
    with files.writing(directory):
        there = files.names(directory)
        if overwrite or not there or _finished(directory, info.fingerprint):
            return
        begun = _begun(directory)
        if begun == info.fingerprint:
            return
        if begun or dataset_info.FILE_NAME in there:
            raise errors.InputError(
                f"{directory} holds another conversion (other metadata, audio files or settings, "
                "or shards are missing); take another --name or --output_dir, or --overwrite it"
            )
        if there != [shard_writing.WORK_DIR]:
            raise errors.InputError(
                f"{directory} holds something else; take another --name or --output_dir"
            )


@contextlib.contextmanager
def _claimed(directory: str, info: dataset_info.DatasetInfo) -> Iterator[None]:
    """Keeps other processes out of a directory, and clears it of any other conversion."""
    work = os.path.join(directory, shard_writing.WORK_DIR)
    with contextlib.ExitStack() as stack:
        with files.writing(directory):
            tf.io.gfile.makedirs(work)
            if not decoding.is_remote(directory):
                _lock(stack.enter_context(open(os.path.join(work, _LOCK), "w")), directory)
            left = [os.path.join(work, name) for name in files.names(work)]
            left += [
                os.path.join(directory, name)
                for name in files.names(directory)
                if name.startswith(dataset_info.FILE_NAME)
            ]
            for path in left:
                if path.endswith(files.TEMPORARY):
                    tf.io.gfile.remove(path)
            if _begun(directory) != info.fingerprint:
                _clear(directory, info.name)
                files.write_json(os.path.join(work, _PLAN), {"fingerprint": info.fingerprint})
        yield


def _lock(file: IO, directory: str) -> None:
    """Takes hold of the lock file of a directory until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise errors.InputError(f"{directory}: another process is converting into it") from error
    except OSError:
        logging.warning("%s: the file system has no locks", directory)


def _clear(directory: str, name: str) -> None:
    """Removes a conversion, its info first, that nothing may take the rest for a dataset."""
    there = files.names(directory)
    for file in (
        *(file for file in (dataset_info.FILE_NAME, MANIFEST) if file in there),
        *(file for file in there if file.startswith(f"{name}-") and file.endswith(".tfrecord")),
    ):
        tf.io.gfile.remove(os.path.join(directory, file))
    work = os.path.join(directory, shard_writing.WORK_DIR)
    for file in files.names(work):
        if file != _LOCK:
            tf.io.gfile.remove(os.path.join(work, file))


def _remove_work(directory: str) -> None:
    """Removes what only an unfinished conversion needs."""
    with contextlib.suppress(FileNotFoundError):
        tf.io.gfile.rmtree(os.path.join(directory, shard_writing.WORK_DIR))


def _sha256(path: str) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
