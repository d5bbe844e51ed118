"""Your own recordings with Audacity labels -> metadata that the converter reads."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from audioset_strong.audio import decoding, finding, streams
from audioset_strong.core import errors, files
from audioset_strong.labels import audacity, metadata, vocabularies

WEAK_FILE, STRONG_FILE, NEGATIVES_FILE = "weak.csv", "strong.tsv", "negatives.tsv"
CLASSES_FILE = "class_labels.csv"
_TRACK_SUFFIX = ".txt"
_OWN_SUFFIX = ".labels"  # predict writes RECORDING.wav.labels.txt


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
      recordings: number of recordings with a label track.
      all_recordings: number of recordings found.
      clips: number of clips in the metadata.
      unlabelled: number of clips of these recordings that have no label, and are left out.
      segments: number of strong labels.
      classes: the vocabulary.
    """

    recordings: int
    all_recordings: int
    clips: int
    unlabelled: int
    segments: int
    classes: vocabularies.Vocabulary


def import_labels(
    audio_dir: str,
    labels_dir: str,
    *,
    output_dir: str,
    class_labels: Sequence[str] = (),
    point_seconds: float | None = None,
) -> Imported:
    """Writes weak.csv, strong.tsv, negatives.tsv and class_labels.csv.

    Args:
      audio_dir: directory of recordings, searched with its subfolders.
      labels_dir: directory of label tracks, NAME.txt for the recording NAME.wav, or NAME.wav.txt,
        or NAME.wav.labels.txt as `predict` writes it; a recording without a track is left out. A
        track is complete: what it does not label is absent.
      output_dir: where the files go.
      class_labels: class lists; a label whose name is in one of them gets its mid.
      point_seconds: how long the sound at a point label lasts, which has no length of its own; None
        to refuse such labels.

    Returns:
      What was imported.

    Raises:
      errors.InputError: no recording or track, a track without a recording, names that cannot be
        clip ids, a malformed track, or a directory that cannot be written.
    """
    if point_seconds is not None and not 0.001 <= point_seconds <= metadata.CLIP_MS / 1000:
        raise errors.InputError(f"point_seconds {point_seconds}: must lie in [0.001, 10]")
    recordings = _recordings(audio_dir)
    paths = _tracks(labels_dir, recordings, audio_dir)
    point_ms = None if point_seconds is None else round(point_seconds * 1000)
    tracks = {}
    for name, path in paths.items():
        length_ms = _length_ms(recordings[name])
        track = audacity.read_track(path, point_ms=point_ms)
        if point_ms is not None:  # the sound at a point near the end is cut off there
            cut = (track["end_ms"] - track["start_ms"] == point_ms) & (track["end_ms"] > length_ms)
            track.loc[cut & (track["start_ms"] < length_ms), "end_ms"] = length_ms
        tracks[name] = (length_ms, track)
    known = vocabularies.Vocabulary.from_files(class_labels) if class_labels else None
    names = {name for _, track in tracks.values() for name in track["name"]}
    if not names:
        raise errors.InputError(f"{labels_dir}: no label in any of the {len(paths)} tracks")
    classes = audacity.name_classes(names, known)
    clips = audacity.cut_into_clips(tracks, classes)
    _check_found(clips, recordings, audio_dir)
    vocabulary = vocabularies.Vocabulary(*zip(*sorted(set(classes.values())), strict=True))
    _write(pathlib.Path(output_dir), clips, vocabulary)
    return Imported(
        recordings=len(tracks),
        all_recordings=len(recordings),
        clips=len(clips.weak),
        unlabelled=clips.unlabelled,
        segments=len(clips.strong),
        classes=vocabulary,
    )


def _recordings(audio_dir: str) -> dict[str, str]:
    """Name -> path of each recording."""
    found: dict[str, str] = {}
    for _, path in finding.listed_files(audio_dir):
        stem, extension = os.path.splitext(os.path.basename(path))
        if extension.lower() not in finding.EXTENSIONS:
            continue
        name, shown = finding.one_form(stem), files.printable(path)
        if shown != path:
            raise errors.InputError(f"{shown}: rename it, its name is not UTF-8 text")
        if not re.fullmatch(r"[^\s,\"#]+", name):
            raise errors.InputError(f"{path}: rename it without tabs, commas, quotes and #")
        if name in found:
            raise errors.InputError(
                f"{path}: rename it, {found[name]} has the same name without its suffix"
            )
        found[name] = path
    if not found:
        raise errors.InputError(f"{audio_dir}: no recording in it")
    return found


def _tracks(labels_dir: str, recordings: Mapping[str, str], audio_dir: str) -> dict[str, str]:
    """Recording -> path of its label track."""
    by_file = {finding.one_form(os.path.basename(path)): name for name, path in recordings.items()}
    tracks: dict[str, str] = {}
    try:
        names = sorted(os.listdir(labels_dir))
    except OSError as error:
        raise errors.InputError(f"{labels_dir}: {files.reason(error)}") from error
    for file in names:
        if file.startswith(".") or not file.endswith(_TRACK_SUFFIX):
            continue
        path = os.path.join(labels_dir, file)
        stem = finding.one_form(file.removesuffix(_TRACK_SUFFIX))
        name = stem if stem in recordings else by_file.get(stem.removesuffix(_OWN_SUFFIX))
        if name is None:
            raise errors.InputError(f"{files.printable(path)}: no recording {stem} in {audio_dir}")
        if name in tracks:
            raise errors.InputError(
                f"{path}: {recordings[name]} has another label track, {tracks[name]}; keep one"
            )
        tracks[name] = path
    if not tracks:
        raise errors.InputError(f"{labels_dir}: no label track (NAME{_TRACK_SUFFIX}) in it")
    return tracks


def _length_ms(path: str) -> int:
    try:
        length_ms = round(streams.seconds(path) * 1000)
    except decoding.AudioError as error:
        raise errors.InputError(f"{path}: no audio that can be read ({error})") from error
    if not length_ms:
        raise errors.InputError(f"{path}: no audio that can be read")
    return length_ms


def _check_found(
    clips: audacity.LabelledClips, recordings: Mapping[str, str], audio_dir: str
) -> None:
    """Raises if the converter would take another recording for that of a clip, by its name."""
    index = finding.AudioIndex([audio_dir])
    for row in clips.weak.itertuples():
        path, _ = index.find(row.ytid, row.start_ms, row.end_ms) or ("", False)
        if path != recordings[row.ytid]:
            raise errors.InputError(
                f"{path}: rename it, its name looks like the clip of {row.ytid} at "
                f"{row.start_ms / 1000:g} s"
            )


def _write(
    out: pathlib.Path, clips: audacity.LabelledClips, vocabulary: vocabularies.Vocabulary
) -> None:
    weak = [
        metadata.weak_line(row.ytid, row.start_ms, row.end_ms, row.labels) + "\n"
        for row in clips.weak.itertuples()
    ]
    strong = [
        (row.clip_id, metadata.seconds(row.start_ms), metadata.seconds(row.end_ms), row.mid)
        for row in clips.strong.itertuples()
    ]
    with files.writing(out):
        files.make_directory(out)
        header = "# YTID, start_seconds, end_seconds, positive_labels\n"
        files.write_text(out / WEAK_FILE, header + "".join(weak))
        vocabularies.write_class_list(out / CLASSES_FILE, vocabulary)
    metadata.write_rows(str(out / STRONG_FILE), metadata.STRONG_HEADER, strong)
    negatives = clips.negatives.itertuples(index=False, name=None)
    metadata.write_rows(str(out / NEGATIVES_FILE), metadata.NEGATIVES_HEADER, negatives)
