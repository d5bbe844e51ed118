"""Conversion: audio and metadata -> TFRecord shards with their info and a manifest of every clip.

The plan says what goes into each shard, so shards can be written in any order, anywhere, and by
runs that are killed: the next run writes only the shards without a stamp, out of the pieces that
are there and those that are missing. Manifest, index and info are made when all shards exist.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from audioset_strong.conversion import (
    beam_options,
    finishing,
    plans,
    shard_layout,
    shard_writing,
    splitting,
    work_directory,
)
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.core import errors, files, locks, progress
from audioset_strong.labels import ontology, vocabularies
from audioset_strong.records import clip_index, clip_records, dataset_info, manifest

# The files of a whole dataset; without the first there is none.
_WHOLE = (dataset_info.FILE_NAME, manifest.FILE_NAME, clip_index.FILE_NAME)
_OLDER_NUM_SHARDS = 16  # of a conversion by an older version that was told no number


@dataclasses.dataclass(frozen=True)
class _Part:
    """One of the datasets that a conversion writes.

    Attributes:
      info: of the dataset, except for the fields that are counted.
      clips: int64, indices into the plan.
      other_rows: manifest rows of clips that are not converted into this dataset.
    """

    info: dataset_info.DatasetInfo
    clips: np.ndarray
    other_rows: Sequence[Sequence[str]]


def convert(request: ConversionRequest) -> list[dataset_info.DatasetInfo]:
    """Converts, or resumes a conversion that was interrupted.

    Args:
      request: what to convert.

    Returns:
      The infos of the dataset and, with a validation share, of the validation dataset.

    Raises:
      errors.InputError: before any work, bad settings, metadata or directories, or an output
        directory that holds something else; later, no clip that can be converted, or a full disk.
    """
    request.check()
    if request.runner:
        beam_options.check(request.runner, request.beam_options)
    vocabulary = request.metadata.vocabulary()
    ancestors = []
    if request.metadata.ontology:
        graph = ontology.Ontology.read(request.metadata.ontology)
        ancestors = graph.ancestor_indices(vocabulary.mids)
    plan = plans.make_plan(request, vocabulary)
    if plan.out_of_vocabulary:
        listed = vocabularies.Vocabulary.from_files(request.metadata.class_labels)
        described = vocabularies.list_counts(plan.out_of_vocabulary, listed.name)
        logging.warning("left out, since they are not in the vocabulary: %s", described)

    def fingerprint_of(request: ConversionRequest) -> str:
        return plans.fingerprint(request, vocabulary, plan=plan, ancestors=ancestors)

    fingerprint = fingerprint_of(request)
    older = dataclasses.replace(request, num_shards=_OLDER_NUM_SHARDS)
    there = _stored_fingerprint(os.path.join(request.output_dir, request.name))
    if request.num_shards is None and there and not there.endswith(fingerprint):
        older_fingerprint = fingerprint_of(older)
        if there.endswith(older_fingerprint):
            request, fingerprint = older, older_fingerprint
    info = dataset_info.DatasetInfo(
        name=request.name,
        split=dataset_info.ALL,
        schema_version=clip_records.SCHEMA_VERSION,
        sample_rate=request.sample_rate,
        encoding=request.encoding,
        vocabulary=vocabulary,
        command=request.command,
        sources={path: _sha256(path) for path in request.metadata.paths()},
        labels_outside=dict(sorted(plan.out_of_vocabulary.items())),
        fingerprint=fingerprint,
        ancestors=ancestors,
        front_end=request.log_mel_front_end,
        split_by=request.split_by or "",
        archive_labels=dict(plan.archive_labels),
    )
    parts = _parts(request, plan, info)
    for part in parts:
        _check_target(_directory(request, part.info), part.info, overwrite=request.overwrite)
    return [_write_dataset(request, plan, part) for part in parts]


def _parts(
    request: ConversionRequest, plan: plans.Plan, info: dataset_info.DatasetInfo
) -> list[_Part]:
    """The datasets to write: one, or with a validation share two."""

    def of_split(name: str, split: str) -> dataset_info.DatasetInfo:
        fingerprint = f"{split}-{info.fingerprint}"
        return dataclasses.replace(info, name=name, split=split, fingerprint=fingerprint, shards=[])

    reason = "no metadata file selected names it"
    others = [[clip_id, manifest.NOT_IN_METADATA, reason] for clip_id in plan.not_in_metadata]
    if not request.validation_share:
        return [_Part(of_split(request.name, dataset_info.ALL), np.arange(len(plan)), others)]
    held_out = plan.held_out(request.validation_share)
    train, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    name = f"{request.name}_validation"
    shared = splitting.files_on_both_sides(plan.files, held_out)
    if shared:
        info = dataclasses.replace(info, files_on_both_sides=len(shared))
        logging.warning(
            "%d audio files have clips both in %s and in %s, the first %s; --split_by keeps what "
            "belongs together on one side",
            len(shared),
            request.name,
            name,
            shared[0],
        )
    others += [[plan.clip_ids[i], manifest.HELD_OUT, f"goes to {name}"] for i in validation]
    parts = [
        _Part(of_split(request.name, dataset_info.TRAIN), train, others),
        _Part(of_split(name, dataset_info.VALIDATION), validation, []),
    ]
    for part in parts:
        if not len(part.clips):
            raise errors.InputError(
                f"{part.info.name}: with validation_share {request.validation_share} it would have "
                "no clips; take another share or more clips"
            )
    return parts


def _directory(request: ConversionRequest, info: dataset_info.DatasetInfo) -> str:
    return os.path.join(request.output_dir, info.name)


def _write_dataset(
    request: ConversionRequest, plan: plans.Plan, part: _Part
) -> dataset_info.DatasetInfo:
    """Writes a dataset, or what is missing of it, and returns its complete info."""
    info = part.info
    directory = _directory(request, info)
    finished = _finished(directory, info.fingerprint)
    if finished:
        logging.info("%s: already converted", directory)
        with files.writing(directory):  # a run that was killed at the very end left it behind
            work_directory.remove(directory, info.fingerprint)
        return finished
    shards = shard_layout.layout(directory, info.name, part.clips, plan=plan, request=request)
    with _claimed(directory, info, overwrite=request.overwrite):
        pending = _pending(directory, shards)
        done = len(part.clips) - sum(map(len, pending.values()))
        with progress.Bar(
            f"converting {info.name}", len(part.clips), unit="clip", initial=done
        ) as bar:
            write = _write_with_beam if request.runner else _write_locally
            write(request, plan, info=info, shards=pending, bar=bar)
        with files.writing(directory):
            _remove_temporaries(directory, info.name)  # of workers that died
            first_reason = finishing.finish(
                directory, info, shards=list(shards), others=part.other_rows
            )
        if not info.num_clips:
            raise errors.InputError(
                f"none of the {len(part.clips)} clips could be converted, see "
                f"{os.path.join(directory, manifest.FILE_NAME)}; the first reason: {first_reason}"
            )
        info.save(directory)
        with files.writing(directory):
            work_directory.remove(directory, info.fingerprint)
    return info


def _pending(directory: str, shards: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The shards that are not written yet, or have no stamp."""
    existing = set(files.names(directory))
    stamps = set(files.names(work_directory.of(directory)))
    return {
        path: indices
        for path, indices in shards.items()
        if os.path.basename(path) not in existing
        or os.path.basename(work_directory.stamp_path(path)) not in stamps
    }


def _write_locally(
    request: ConversionRequest,
    plan: plans.Plan,
    *,
    info: dataset_info.DatasetInfo,
    shards: Mapping[str, np.ndarray],
    bar: progress.Bar,
) -> None:
    """Writes shards with local processes.

    Args:
      request: the settings.
      plan: all clips.
      info: of the dataset.
      shards: path -> indices of its clips in the plan; all in one directory.
      bar: counts the clips.
    """
    if not shards:
        return
    directory = _directory(request, info)
    with files.writing(directory):
        scratch = work_directory.scratch(directory, info.fingerprint)
    chunks = (
        chunk
        for path, indices in shards.items()
        for chunk in shard_writing.chunks(path, (plan.clip(i) for i in indices))
    )
    num_workers = request.num_workers or len(os.sched_getaffinity(0))
    with contextlib.closing(
        shard_writing.convert_chunks(chunks, request, num_workers=num_workers, scratch=scratch)
    ) as pieces:
        counted = _counted(pieces, request.sample_rate, bar=bar)
        for path, indices in shards.items():
            shard_writing.write_shard(
                path,
                itertools.islice(counted, shard_writing.num_chunks(len(indices))),
                fingerprint=info.fingerprint,
                num_classes=len(info.vocabulary),
                sample_rate=request.sample_rate,
            )


def _write_with_beam(
    request: ConversionRequest,
    plan: plans.Plan,
    *,
    info: dataset_info.DatasetInfo,
    shards: Mapping[str, np.ndarray],
    bar: progress.Bar,
) -> None:
    """Writes shards with an Apache Beam runner; parameters as of `_write_locally`."""
    from audioset_strong.conversion import beam_runner  # imports Apache Beam

    beam_shards = (
        beam_runner.BeamShard(
            path=path if files.is_remote(path) else os.path.abspath(path),
            clips=[plan.clip(i) for i in indices],
            request=request,
            num_classes=len(info.vocabulary),
            fingerprint=info.fingerprint,
            working_directory=os.getcwd(),
        )
        for path, indices in shards.items()
    )
    if shards:
        beam_runner.run(beam_shards, request.runner or "", options=request.beam_options)
    bar.update(sum(map(len, shards.values())))


def _counted(
    pieces: Iterable[shard_writing.Piece], sample_rate: int, *, bar: progress.Bar
) -> Iterator[shard_writing.Piece]:
    """Passes pieces on and shows their progress on a bar."""
    seconds, failed = 0.0, 0
    for piece in pieces:
        seconds += sum(outcome.samples for outcome in piece.outcomes) / sample_rate
        failed += sum(outcome.status != manifest.WRITTEN for outcome in piece.outcomes)
        bar.note(f"{seconds / 3600:.1f} hours, {failed} failed")
        bar.update(len(piece.clips))
        yield piece


def _finished(directory: str, fingerprint: str) -> dataset_info.DatasetInfo | None:
    """The info of the same conversion if it is complete."""
    try:
        stored = dataset_info.DatasetInfo.load(directory)
    except errors.InputError:  # there is none, or it is damaged
        return None
    return stored if stored.fingerprint == fingerprint else None


def _stored_fingerprint(directory: str) -> str | None:
    """The fingerprint of the conversion that was begun or finished in a directory."""
    with contextlib.suppress(errors.InputError):  # there is no info, or it is damaged
        return dataset_info.DatasetInfo.load(directory).fingerprint
    with contextlib.suppress(OSError, errors.InputError):  # told later
        return work_directory.begun(directory)
    return None


def _check_target(directory: str, info: dataset_info.DatasetInfo, *, overwrite: bool) -> None:
    """Raises if a directory holds anything but the same conversion, begun or complete."""
    with files.writing(directory):
        existing = files.names(directory)
        if overwrite or not existing or _finished(directory, info.fingerprint):
            return
        begun = work_directory.begun(directory)
        if begun == info.fingerprint:
            return
        if begun or dataset_info.FILE_NAME in existing:
            raise errors.InputError(
                f"{directory} holds another conversion (other metadata, audio files or settings, "
                "or shards are missing); take another --name or --output_dir, or --overwrite it"
            )
        if existing != [work_directory.NAME]:
            raise errors.InputError(
                f"{directory} holds something else; take another --name or --output_dir"
            )


@contextlib.contextmanager
def _claimed(directory: str, info: dataset_info.DatasetInfo, *, overwrite: bool) -> Iterator[None]:
    """Keeps other processes out of a directory, and clears it of any other conversion.

    The lock file is in the work directory, and disappears with it when the conversion is complete.
    """
    work = work_directory.of(directory)
    with files.writing(directory):
        files.make_directory(work)
    with locks.locked(work, busy=f"converting into {directory}"):
        _check_target(directory, info, overwrite=overwrite)  # another one may have ended just now
        with files.writing(directory):
            _remove_temporaries(directory, info.name)
            if work_directory.begun(directory) != info.fingerprint:
                _clear(directory, info.name)
                work_directory.begin(directory, info.fingerprint)
        yield


def _remove_temporaries(directory: str, name: str) -> None:
    """Removes the half-written files of a run or a worker that was killed."""
    ours = (f"{name}-", *_WHOLE)
    work = work_directory.of(directory)
    folders = [work] if files.is_remote(work) else [folder for folder, *_ in os.walk(work)]
    paths = [os.path.join(folder, file) for folder in folders for file in files.names(folder)]
    paths += [
        os.path.join(directory, file) for file in files.names(directory) if file.startswith(ours)
    ]
    for path in paths:
        if path.endswith(files.TEMPORARY):
            files.remove(path)


def _clear(directory: str, name: str) -> None:
    """Removes a conversion: first its info, so that nobody takes the rest for a dataset."""
    existing = files.names(directory)
    for file in (
        *(file for file in _WHOLE if file in existing),
        *(file for file in existing if file.startswith(f"{name}-") and file.endswith(".tfrecord")),
    ):
        files.remove(os.path.join(directory, file))
    work = work_directory.of(directory)
    for file in files.names(work):
        path = os.path.join(work, file)
        if os.path.isdir(path):  # of pieces, which are local
            files.remove_tree(path)
        elif file != locks.LOCK:
            files.remove(path)


def _sha256(path: str) -> str:
    return hashlib.sha256(files.read_bytes(path)).hexdigest()
