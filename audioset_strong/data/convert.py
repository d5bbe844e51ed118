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
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from audioset_strong import errors, progress
from audioset_strong.data import audio, dataset_info
from audioset_strong.data import clip as clip_lib
from audioset_strong.data import plan as plan_lib
from audioset_strong.data import shards as shards_lib
from audioset_strong.labels import metadata, ontology
from audioset_strong.labels import vocabulary as vocabulary_lib

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("clip_id", "status", "reason", "file", "shard", "seconds")
# The statuses of clips that no shard is to hold; the others are those of `shards`.
HELD_OUT, UNNAMED = "held_out", "unnamed"

_PLAN = "plan.json"  # in the work directory: whose it is


def convert(request: plan_lib.Request) -> list[dataset_info.DatasetInfo]:
    """Converts, or goes on with the conversion that was interrupted.

    Returns:
      The infos of the dataset and, with a validation share, of the validation dataset.

    Raises:
      errors.InputError: bad settings, metadata or directories, or an output directory that holds
        something else, before any work; no clip that can be converted; a disk that is full.
    """
    request.check()
    listed = vocabulary_lib.Vocabulary.from_files(request.class_labels)
    vocabulary = vocabulary_lib.Vocabulary.from_files(
        request.class_labels, request.combine_class_labels
    )
    ancestors = []
    if request.ontology:
        ancestors = ontology.Ontology.read(request.ontology).ancestor_indices(vocabulary.mids)
    plan = plan_lib.make_plan(request, vocabulary)
    if plan.outside:
        described = vocabulary_lib.describe(plan.outside, listed.name)
        logging.warning("left out, since they are not in the vocabulary: %s", described)
    common: dict[str, Any] = {
        "schema_version": clip_lib.SCHEMA_VERSION,
        "sample_rate": shards_lib.SAMPLE_RATE,
        "encoding": request.encoding,
        "vocabulary": vocabulary,
        "command": request.command,
        "sources": {path: _sha256(path) for path in request.metadata_files()},
        "labels_outside": dict(sorted(plan.outside.items())),
        "ancestors": ancestors,
    }
    fingerprint = plan_lib.fingerprint(request, vocabulary, plan, ancestors)

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
        _check_target(pathlib.Path(request.output_dir) / info.name, info, request.overwrite)
    return [_write_dataset(request, plan, *part) for part in parts]


def is_held_out(clip_id: str, share: float) -> bool:
    """Whether a clip belongs to the validation split: decided by its video, the same everywhere."""
    ytid, _ = metadata.split_segment_id(clip_id)
    digest = hashlib.sha256(b"split/" + ytid.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _write_dataset(
    request: plan_lib.Request,
    plan: plan_lib.Plan,
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
    directory = pathlib.Path(request.output_dir) / info.name
    finished = _finished(directory, info.fingerprint)
    if finished:
        logging.info("%s: already converted", directory)
        # There is one left where the run was killed at the very end.
        shutil.rmtree(directory / shards_lib.WORK_DIR, ignore_errors=True)
        return finished
    num_shards = min(request.num_shards, len(chosen))
    shards = {
        directory / f"{info.name}-{i:05d}-of-{num_shards:05d}.tfrecord": chosen[i::num_shards]
        for i in range(num_shards)
    }
    with _claimed(directory, info):
        pending = {
            path: indices
            for path, indices in shards.items()
            if not (shards_lib.stamp_path(path).exists() and path.exists())
        }
        done = len(chosen) - sum(map(len, pending.values()))
        with progress.bar(f"converting {info.name}", len(chosen), "clip", initial=done) as bar:
            write = _write_with_beam if request.runner else _write_here
            write(request, plan, pending, len(info.vocabulary), bar)
        with shards_lib.writing(directory):
            first_reason = _finish(directory, info, list(shards), other_rows)
        if not info.num_clips:
            raise errors.InputError(
                f"none of the {len(chosen)} clips could be converted, see {directory / MANIFEST}; "
                f"the first reason: {first_reason}"
            )
        info.save(str(directory))
        shutil.rmtree(directory / shards_lib.WORK_DIR)
    return info


def _write_here(
    request: plan_lib.Request,
    plan: plan_lib.Plan,
    shards: Mapping[pathlib.Path, np.ndarray],
    num_classes: int,
    bar: progress.Bar,
) -> None:
    """Writes shards with local processes.

    Args:
      request: the settings.
      plan: all clips.
      shards: path -> indices of its clips in the plan.
      num_classes: size of the vocabulary.
      bar: counts the clips.
    """
    clips = (plan.clip(i) for indices in shards.values() for i in indices)
    num_workers = request.num_workers or len(os.sched_getaffinity(0))
    with contextlib.closing(shards_lib.decode_clips(clips, request, num_workers)) as decoded:
        counted = _counted(decoded, bar)
        for path, indices in shards.items():
            chosen = itertools.islice(counted, len(indices))
            shards_lib.write_shard(path, chosen, request.encoding, num_classes)


def _write_with_beam(
    request: plan_lib.Request,
    plan: plan_lib.Plan,
    shards: Mapping[pathlib.Path, np.ndarray],
    num_classes: int,
    bar: progress.Bar,
) -> None:
    """The same with an Apache Beam runner."""
    from audioset_strong.data import beam_runner

    jobs = (
        beam_runner.Job(str(path.resolve()), [plan.clip(i) for i in indices], request, num_classes)
        for path, indices in shards.items()
    )
    beam_runner.run(jobs, request.runner or "", request.beam_options)
    bar.update(sum(map(len, shards.values())))


def _counted(
    clips: Iterable[shards_lib.DecodedClip], bar: progress.Bar
) -> Iterator[shards_lib.DecodedClip]:
    seconds, failed = 0.0, 0
    for clip in clips:
        seconds += len(clip.pcm) / 2 / shards_lib.SAMPLE_RATE
        failed += clip.status != audio.WRITTEN
        bar.note(f"{seconds / 3600:.1f} hours, {failed} failed")
        bar.update()
        yield clip


def _finish(
    directory: pathlib.Path,
    info: dataset_info.DatasetInfo,
    shards: Sequence[pathlib.Path],
    other_rows: Sequence[Sequence[str]],
) -> str:
    """Makes manifest and counts from the shards' stamps; returns the first clip's reason."""
    samples = 0
    totals: dict[str, Any] = {}
    statuses = collections.Counter(status for _, status, _ in other_rows)
    first_reason = ""
    temporary = directory / shards_lib.WORK_DIR / MANIFEST
    with open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for path in shards:  # a stamp at a time: all of them need not fit into memory
            stamp = json.loads(shards_lib.stamp_path(path).read_text())
            writer.writerows(stamp["rows"])
            statuses.update(status for _, status, *_ in stamp["rows"])
            first_reason = first_reason or stamp["rows"][0][2]
            samples += stamp["samples"]
            info.shards.append({"file": path.name, "clips": stamp["counts"]["num_clips"]})
            for key, count in stamp["counts"].items():
                totals[key] = np.add(totals.get(key, 0), count)
        empty = [""] * (len(MANIFEST_COLUMNS) - 3)
        writer.writerows([*row, *empty] for row in other_rows)
    temporary.replace(directory / MANIFEST)
    info.statuses = dict(sorted(statuses.items()))
    info.hours = samples / info.sample_rate / 3600
    for key, total in totals.items():
        setattr(info, key, total.tolist())
    return first_reason


def _finished(directory: pathlib.Path, fingerprint: str) -> dataset_info.DatasetInfo | None:
    """The info of the same conversion where it is complete."""
    try:
        held = dataset_info.DatasetInfo.load(str(directory))
    except errors.InputError:  # none, or one that is damaged
        return None
    return held if held.fingerprint == fingerprint else None


def _begun(directory: pathlib.Path) -> str | None:
    """The fingerprint of the conversion that was begun in a directory."""
    plan = directory / shards_lib.WORK_DIR / _PLAN
    return json.loads(plan.read_text())["fingerprint"] if plan.exists() else None


def _check_target(directory: pathlib.Path, info: dataset_info.DatasetInfo, overwrite: bool) -> None:
    """Raises where a directory holds anything but the same conversion, begun or complete."""
    with shards_lib.writing(directory):
        if overwrite or not directory.exists() or _finished(directory, info.fingerprint):
            return
        begun = _begun(directory)
        if begun == info.fingerprint:
            return
        if begun or (directory / dataset_info.FILE_NAME).exists():
            raise errors.InputError(
                f"{directory} holds another conversion (other metadata, audio files or settings, "
                "or shards are missing); take another --name or --output_dir, or --overwrite it"
            )
        if any(path.name != shards_lib.WORK_DIR for path in directory.iterdir()):
            raise errors.InputError(
                f"{directory} holds something else; take another --name or --output_dir"
            )


@contextlib.contextmanager
def _claimed(directory: pathlib.Path, info: dataset_info.DatasetInfo) -> Iterator[None]:
    """Keeps other processes out of a directory, and clears it of any other conversion."""
    work = directory / shards_lib.WORK_DIR
    with contextlib.ExitStack() as stack:
        with shards_lib.writing(directory):
            work.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(work / "lock", "w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise errors.InputError(
                    f"{directory}: another process is converting into it"
                ) from error
            except OSError:
                logging.warning("%s: the file system has no locks", directory)
            for left in work.glob("*.tmp"):
                left.unlink()
            if _begun(directory) != info.fingerprint:
                for path in (
                    directory / dataset_info.FILE_NAME,
                    work / _PLAN,
                    directory / MANIFEST,
                ):
                    path.unlink(missing_ok=True)
                for path in (*directory.glob(f"{info.name}-*.tfrecord"), *work.glob("*.tfrecord*")):
                    path.unlink()
                shards_lib.write_json(work / _PLAN, {"fingerprint": info.fingerprint})
        yield


def _sha256(path: str) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
