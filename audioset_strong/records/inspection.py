"""Looks into the shards of a dataset: shows clips, and checks every record."""

import collections
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute
import soundfile

from audioset_strong.audio import pcm
from audioset_strong.core import errors, files, progress
from audioset_strong.labels import vocabularies
from audioset_strong.records import (
    clip_index,
    clip_records,
    dataset_info,
    index_rows,
    manifest,
    shard_reading,
)


def clips(directory: str, info: dataset_info.DatasetInfo) -> Iterator[clip_records.Clip]:
    """All clips of a dataset, in the order of its shards.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.

    Raises:
      errors.InputError: a shard that cannot be read.
    """
    for path in info.shard_paths(directory):
        yield from shard_reading.read_clips(path, info.encoding, front_end=info.front_end)


def first_clips(
    directory: str, info: dataset_info.DatasetInfo, count: int
) -> Iterator[clip_records.Clip]:
    """The first clips of a dataset, in the order of its shards.

    With an index only their records are read, and TensorFlow is not imported.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.
      count: how many, or fewer where the dataset has fewer.

    Raises:
      errors.InputError: an index, shard or record that cannot be read.
    """
    if not files.exists(os.path.join(directory, clip_index.FILE_NAME)):
        return itertools.islice(clips(directory, info), count)
    index = clip_index.load(directory, info)
    return _clips_of_rows(index, range(min(count, len(index))), info)


def find_clips(
    directory: str, info: dataset_info.DatasetInfo, clip_ids: Sequence[str]
) -> Iterator[clip_records.Clip]:
    """The named clips of a dataset, in the order of the names; only their records are read.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.
      clip_ids: the clips.

    Raises:
      errors.InputError: a clip that the dataset does not have, with the manifest's reason; or an
        index or record that cannot be read.
    """
    index = clip_index.open_index(directory, info)
    rows = []
    for clip_id in clip_ids:
        row = index.find(clip_id)
        if row is None:
            raise errors.InputError(f"{clip_id}: {manifest.why_missing(directory, clip_id)}")
        rows.append(row)
    yield from _clips_of_rows(index, rows, info)


def _clips_of_rows(
    index: clip_index.ClipIndex, rows: Iterable[int], info: dataset_info.DatasetInfo
) -> Iterator[clip_records.Clip]:
    for row in rows:
        record = index.record(row)
        yield clip_records.deserialize(record, info.encoding, front_end=info.front_end)


def find_clip(directory: str, info: dataset_info.DatasetInfo, clip_id: str) -> clip_records.Clip:
    """One clip of a dataset; see `find_clips`."""
    return next(find_clips(directory, info, [clip_id]))


def describe_clip(clip: clip_records.Clip, vocabulary: vocabularies.Vocabulary) -> str:
    """A clip and its labels in words, for people.

    Args:
      clip: read from a dataset.
      vocabulary: of that dataset.

    Returns:
      Several lines.
    """

    def name(label: int) -> str:
        known = 0 <= label < len(vocabulary)
        return vocabulary.names[label] if known else f"class {label}, which does not exist"

    def names(labels: Sequence[int] | None) -> str:
        return "not known" if labels is None else "; ".join(map(name, labels)) or "none"

    if clip.log_mel is None:
        sound = f"peak {np.abs(pcm.to_float(clip.audio)).max(initial=0):.3f}"
    else:
        sound = f"{len(clip.log_mel.values)} STFT frames of log-mel"
    strong = "not known" if clip.segments is None else f"{len(clip.segments)} segments"
    lines = [
        f"{clip.clip_id}: {clip.seconds:.3f} s at {clip.sample_rate} Hz, {sound}",
        f"  weak: {names(clip.weak_labels)}",
        f"  negatives: {names(clip.negatives)}",
        f"  strong: {strong}",
    ]
    for start, end, label in clip.segments or ():
        lines.append(f"    {start / 1000:.3f} to {end / 1000:.3f} s: {name(label)}")
    return "\n".join(lines)


def export_wav(clip: clip_records.Clip, directory: str) -> str:
    """Writes a clip's audio to `directory/CLIP_ID.wav`, as 16-bit PCM.

    Args:
      clip: with audio.
      directory: created if it does not exist.

    Returns:
      The path of the file.

    Raises:
      errors.InputError: the file cannot be written, or the clip was kept without its audio.
    """
    if clip.log_mel is not None:
        raise errors.InputError(
            f"{clip.clip_id}: cannot be exported, because this dataset keeps log-mel, not audio"
        )
    path = pathlib.Path(directory) / f"{clip.clip_id}.wav"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip.audio, clip.sample_rate, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise errors.InputError(f"{path}: cannot be written ({error})") from error
    return str(path)


def verify(directory: str, info: dataset_info.DatasetInfo) -> list[str]:
    """Reads every record of a dataset and says what is wrong.

    Checked are the records' checksums and features, the range of labels and times, that each clip
    id occurs once, and that `dataset_info.json`, `manifest.csv` and `index.parquet` agree with the
    shards. A dataset that has no index yet is none the worse.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.

    Returns:
      A line for each problem; an empty list if there are none.
    """
    index = None
    check = _Verification(info)
    if files.exists(os.path.join(directory, clip_index.FILE_NAME)):
        try:
            index = clip_index.load(directory, info)
        except errors.InputError as error:
            check.problems.append(str(error))
    with progress.Bar(f"verifying {info.name}", info.num_clips, unit="clip") as bar:
        for shard, path in zip(info.shards, info.shard_paths(directory), strict=True):
            rows = check.shard(shard, path, bar)
            if index is not None:
                check.problems += _index_problems(path, index, rows)
    check.totals()
    return check.problems + _manifest_problems(directory, check.shard_of)


class _Verification:
    """What `verify` has found so far.

    Attributes:
      problems: a line each.
      shard_of: clip id -> name of the shard that holds it.
    """

    def __init__(self, info: dataset_info.DatasetInfo):
        self.problems: list[str] = []
        self.shard_of: dict[str, str] = {}
        self._info = info
        self._samples = 0
        self._counts: collections.defaultdict[str, Any] = collections.defaultdict(int)

    def shard(self, shard: Mapping[str, Any], path: str, bar: progress.Bar) -> index_rows.ShardRows:
        """Checks the records of one shard, and its counts; returns their rows of the index."""
        read = 0
        rows = index_rows.ShardRows(shard["file"])
        valid: list[clip_records.Clip] = []  # without their audio
        try:
            for record in shard_reading.read_records(path):
                clip = self._read(record, f"{path}, record {read}")
                rows.add(record)
                if self._clip(clip, f"{path}, record {read}, {clip.clip_id}", shard["file"]):
                    valid.append(dataclasses.replace(clip, audio=clip.audio[:0], log_mel=None))
                read += 1
                bar.update()
        except errors.InputError as error:
            self.problems.append(str(error))
        if read != shard["clips"]:
            self.problems.append(f"{path}: {read} clips, where there should be {shard['clips']}")
        counts = dataset_info.count(valid, len(self._info.vocabulary))
        for key, count in counts.items():
            self._counts[key] = np.add(self._counts[key], count)
        for key in dataset_info.KNOWN_CLIPS:
            if shard.get(key, counts[key]) != counts[key]:
                self.problems.append(
                    f"{path}: {counts[key]} {key}, where there should be {shard[key]}"
                )
        return rows

    def _read(self, record: bytes, where: str) -> clip_records.Clip:
        try:
            return clip_records.deserialize(
                record, self._info.encoding, front_end=self._info.front_end
            )
        except errors.InputError as error:
            raise errors.InputError(f"{where}: {error}") from error

    def _clip(self, clip: clip_records.Clip, where: str, shard: str) -> bool:
        """Checks one clip; returns whether its labels can be counted."""
        problems = _clip_problems(clip, self._info)
        self.problems += [f"{where}: {problem}" for problem in problems]
        if clip.clip_id in self.shard_of:
            self.problems.append(f"{where}: also in {self.shard_of[clip.clip_id]}")
        self.shard_of[clip.clip_id] = shard
        self._samples += clip.num_samples
        return not problems

    def totals(self) -> None:
        """Checks the counts of the info, when all shards are read."""
        hours = np.float64(self._samples / self._info.sample_rate / 3600)
        for key, total in {**self._counts, "hours": hours}.items():
            if not np.array_equal(total, getattr(self._info, key)):
                self.problems.append(
                    f"{dataset_info.FILE_NAME}: {key} does not agree with the shards"
                )


def _clip_problems(clip: clip_records.Clip, info: dataset_info.DatasetInfo) -> list[str]:
    """What is wrong with a clip that could be read."""
    problems = []
    if clip.sample_rate != info.sample_rate:
        problems.append(f"{clip.sample_rate} Hz in a dataset of {info.sample_rate} Hz")
    if not clip.num_samples:
        problems.append("no audio")
    if clip.log_mel is not None and not np.isfinite(clip.log_mel.values).all():
        problems.append("log-mel that is not finite")
    segments = clip.segments or ()
    labels_by_kind = {
        "weak label": clip.weak_labels or (),
        "label of a segment": [label for _, _, label in segments],
        "negative": clip.negatives or (),
    }
    for kind, labels in labels_by_kind.items():
        outside = [label for label in labels if not 0 <= label < len(info.vocabulary)]
        if outside:
            problems.append(f"{kind} {outside[0]}, where there are {len(info.vocabulary)} classes")
    for start, end, _ in segments:
        if not 0 <= start < end:
            problems.append(f"segment from {start} to {end} ms")
        elif start * clip.sample_rate >= 1000 * clip.num_samples > 0:
            problems.append(f"segment from {start} to {end} ms, behind the end of the audio")
    return problems


def _index_problems(
    path: str, index: clip_index.ClipIndex, rows: index_rows.ShardRows
) -> list[str]:
    """The first clip of a shard whose row in the index is not what its record says."""
    found = rows.table().to_pylist()
    name = os.path.basename(path)
    listed = index.table.filter(pyarrow.compute.field("shard") == name).to_pylist()
    for number, (row, record) in enumerate(itertools.zip_longest(listed, found)):
        if row != record:
            clip_id = (record or row)["clip_id"]
            return [f"{clip_index.FILE_NAME}: {clip_id} differs from record {number} of {path}"]
    return []


def _manifest_problems(directory: str, shard_of: Mapping[str, str]) -> list[str]:
    """Clips for which the manifest and the records do not agree."""
    problems = []
    not_listed = dict(shard_of)
    try:
        for row in manifest.read(directory):
            shard = not_listed.pop(row["clip_id"], "")
            if shard != row["shard"]:
                problems.append(
                    f"{manifest.FILE_NAME}: {row['clip_id']} should be in "
                    f"{row['shard'] or 'no shard'}, but is in {shard or 'none'}"
                )
    except errors.InputError as error:
        return [str(error)]
    return problems + [f"{manifest.FILE_NAME}: no row of {clip}" for clip in sorted(not_listed)]
