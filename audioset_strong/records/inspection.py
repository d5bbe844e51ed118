"""Looks into the shards of a dataset: shows clips, and checks every record."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import soundfile

from audioset_strong.conversion import converter
from audioset_strong.core import errors, files, progress
from audioset_strong.labels import vocabularies
from audioset_strong.records import clip_records, dataset_info


def clips(
    directory: str, info: dataset_info.DatasetInfo, clip_ids: Sequence[str] = ()
) -> Iterator[clip_records.Clip]:
    """The clips of a dataset in the order of its shards, or those that are named.

    Raises:
      errors.InputError: a name that the manifest lacks or has no audio of, an unreadable shard.
    """
    if not clip_ids:
        for path in info.shard_paths(directory):
            yield from clip_records.read_clips(path, info.encoding)
        return
    wanted = {row["clip_id"]: row for row in manifest_rows(directory) if row["clip_id"] in clip_ids}
    for clip_id in clip_ids:
        row = wanted.get(clip_id)
        if row is None:
            raise errors.InputError(f"{clip_id}: {directory} has no clip of that name")
        if not row["shard"]:
            raise errors.InputError(f"{clip_id}: {row['status']} ({row['reason']})")
        path = os.path.join(directory, row["shard"])
        yield from (c for c in clip_records.read_clips(path, info.encoding) if c.clip_id == clip_id)


def describe(clip: clip_records.Clip, vocabulary: vocabularies.Vocabulary) -> str:
    """A clip and its labels in words, for people."""

    def name(label: int) -> str:
        known = 0 <= label < len(vocabulary)
        return vocabulary.names[label] if known else f"class {label}, which is none"

    def names(labels: Sequence[int] | None) -> str:
        return "not known" if labels is None else "; ".join(map(name, labels)) or "none"

    if clip.log_mel is None:
        sound = f"peak {np.abs(clip.audio.astype(np.int32)).max(initial=0) / 32768:.3f}"
    else:
        sound = f"{len(clip.log_mel.values)} frames of log-mel"
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
    """Writes a clip's audio to `directory/CLIP_ID.wav`, 16 bit, and returns that path.

    Raises:
      errors.InputError: it cannot be written, or there is no audio, for the dataset keeps log-mel.
    """
    if clip.log_mel is not None:
        raise errors.InputError(
            f"{clip.clip_id}: cannot be exported, for this dataset keeps log-mel instead of audio"
        )
    path = pathlib.Path(directory) / f"{clip.clip_id}.wav"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip.audio, clip.sample_rate, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise errors.InputError(f"{path}: cannot be written ({error})") from error
    return str(path)


def verify(directory: str, info: dataset_info.DatasetInfo) -> list[str]:
    """Reads every record of a dataset and tells what is wrong, a line for each problem.

    Checked: the records' checksums and features, the range of labels and times, clip ids that
    occur once, and `dataset_info.json` and `manifest.csv` against what is there.
    """
    problems: list[str] = []
    found: dict[str, str] = {}  # clip id -> shard
    totals: dict[str, Any] = {}
    samples = 0
    with progress.bar(f"verifying {info.name}", info.num_clips, "clip") as bar:
        for shard, path in zip(info.shards, info.shard_paths(directory), strict=True):
            read = 0
            sound: list[clip_records.Clip] = []  # without their audio
            try:
                for clip in clip_records.read_clips(path, info.encoding):
                    where = f"{path}, record {read}, {clip.clip_id}"
                    wrong = _problems(clip, info)
                    problems += [f"{where}: {problem}" for problem in wrong]
                    if clip.clip_id in found:
                        problems.append(f"{where}: also in {found[clip.clip_id]}")
                    found[clip.clip_id] = shard["file"]
                    samples += clip.num_samples
                    read += 1
                    if not wrong:
                        sound.append(dataclasses.replace(clip, audio=clip.audio[:0], log_mel=None))
                    bar.update()
            except errors.InputError as error:
                problems.append(str(error))
            if read != shard["clips"]:
                problems.append(f"{path}: {read} clips, where there should be {shard['clips']}")
            counts = dataset_info.count(sound, len(info.vocabulary))
            for key, counted in counts.items():
                totals[key] = np.add(totals.get(key, 0), counted)
            for key in dataset_info.KNOWN_CLIPS:
                if shard.get(key, counts[key]) != counts[key]:
                    problems.append(
                        f"{path}: {counts[key]} {key}, where there should be {shard[key]}"
                    )
    totals["hours"] = np.float64(samples / info.sample_rate / 3600)
    for key, total in totals.items():
        if not np.array_equal(total, getattr(info, key)):
            problems.append(f"{dataset_info.FILE_NAME}: {key} is not what the shards hold")
    return problems + _manifest_problems(directory, found)


def _problems(clip: clip_records.Clip, info: dataset_info.DatasetInfo) -> list[str]:
    """What is wrong with a clip that could be read."""
    problems = []
    if clip.sample_rate != info.sample_rate:
        problems.append(f"{clip.sample_rate} Hz in a dataset of {info.sample_rate} Hz")
    if not clip.num_samples:
        problems.append("no audio")
    if clip.log_mel is not None and not np.isfinite(clip.log_mel.values).all():
        problems.append("log-mel that is not finite")
    segments = clip.segments or ()
    listed = {
        "weak label": clip.weak_labels or (),
        "label of a segment": [label for _, _, label in segments],
        "negative": clip.negatives or (),
    }
    for kind, labels in listed.items():
        outside = [label for label in labels if not 0 <= label < len(info.vocabulary)]
        if outside:
            problems.append(f"{kind} {outside[0]} is none of the {len(info.vocabulary)} classes")
    for start, end, _ in segments:
        if not 0 <= start < end:
            problems.append(f"segment from {start} to {end} ms")
    return problems


def manifest_rows(directory: str) -> Iterator[dict[str, str]]:
    """The rows of a dataset's manifest, by column.

    Raises:
      tf.errors.OpError: there is none, or it cannot be read.
    """
    path = os.path.join(directory, converter.MANIFEST)
    yield from csv.DictReader(io.StringIO(files.read_text(path), newline=""))


def _manifest_problems(directory: str, found: Mapping[str, str]) -> list[str]:
    """Clips whose row of the manifest and whose record do not agree."""
    problems = []
    missing = dict(found)
    try:
        for row in manifest_rows(directory):
            shard = missing.pop(row["clip_id"], "")
            if shard != row["shard"]:
                problems.append(
                    f"{converter.MANIFEST}: {row['clip_id']} should be in "
                    f"{row['shard'] or 'no shard'}, but is in {shard or 'none'}"
                )
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        return [f"{converter.MANIFEST}: cannot be read ({error!r})"]
    return problems + [f"{converter.MANIFEST}: no row of {clip_id}" for clip_id in sorted(missing)]
