"""Your own recordings with Audacity labels -> metadata that the converter reads."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from audioset_strong.audio import finding, streams
from audioset_strong.core import errors, files
from audioset_strong.labels import audacity, metadata, vocabularies

WEAK_FILE, STRONG_FILE, NEGATIVES_FILE = "weak.csv", "strong.tsv", "negatives.tsv"
CLASSES_FILE = "class_labels.csv"
_TRACK_SUFFIX = ".txt"


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
    audio_dir: str, labels_dir: str, *, output_dir: str, class_labels: Sequence[str] = ()
) -> Imported:
    """Writes weak.csv, strong.tsv, negatives.tsv and class_labels.csv.

    Args:
      audio_dir: directory of recordings, searched with its subfolders.
      labels_dir: directory of label tracks, NAME.txt for the recording NAME; a recording without
        a track is left out. A track is complete: what it does not label is absent.
      output_dir: where the files go.
      class_labels: class lists; a label whose name is in one of them gets its mid.

    Returns:
      What was imported.

    Raises:
      errors.InputError: no recording or track, a track without a recording, names that cannot be
        clip ids, a malformed track, or a directory that cannot be written.
    """
    recordings = _recordings(audio_dir)
    try:
        paths = sorted(pathlib.Path(labels_dir).glob(f"*{_TRACK_SUFFIX}"))
    except OSError as error:
        raise errors.InputError(f"{labels_dir}: {files.reason(error)}") from error
    if not paths:
        raise errors.InputError(f"{labels_dir}: no label track (NAME{_TRACK_SUFFIX}) in it")
    tracks = {}
    for path in paths:
        if path.stem not in recordings:
            raise errors.InputError(f"{path}: no recording {path.stem} in {audio_dir}")
        seconds = streams.seconds(recordings[path.stem])
        if not seconds:
            raise errors.InputError(f"{recordings[path.stem]}: no audio that can be read")
        tracks[path.stem] = (round(seconds * 1000), audacity.read_track(str(path)))
    known = vocabularies.Vocabulary.from_files(class_labels) if class_labels else None
    names = {name for _, track in tracks.values() for name in track["name"]}
    if not names:
        raise errors.InputError(f"{labels_dir}: no label in any of the {len(paths)} tracks")
    classes = audacity.name_classes(names, known)
    clips = audacity.cut_into_clips(tracks, classes)
    clash = set(clips.weak["clip_id"]) & set(recordings)
    if clash:
        raise errors.InputError(
            f"{recordings[min(clash)]}: rename it, its name looks like a clip of another recording"
        )
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
    for path in sorted(pathlib.Path(audio_dir).rglob("*")):
        if path.suffix.lower() not in finding.EXTENSIONS:
            continue
        if not re.fullmatch(r"[^\s,\"#]+", path.stem):
            raise errors.InputError(f"{path}: rename it without spaces, commas, quotes and #")
        if path.stem in found:
            raise errors.InputError(
                f"{path}: rename it, {found[path.stem]} has the same name without its suffix"
            )
        found[path.stem] = str(path)
    if not found:
        raise errors.InputError(f"{audio_dir}: no recording in it")
    return found


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
