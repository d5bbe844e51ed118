"""Your own recordings with labels in any format -> metadata that the converter reads."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from absl import logging

from audioset_strong.audio import decoding, finding, naming, streams
from audioset_strong.core import errors, files
from audioset_strong.labels import (
    annotation_files,
    annotations,
    metadata,
    metadata_writing,
    vocabularies,
)

WEAK_FILE, STRONG_FILE, NEGATIVES_FILE = "weak.csv", "strong.tsv", "negatives.tsv"
CLASSES_FILE = "class_labels.csv"


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
      recordings: number of recordings with labels.
      all_recordings: number of recordings found.
      missing: names of annotated recordings that were not found.
      clips: number of clips in the metadata.
      unlabelled: number of clips of these recordings that have no label, and are left out.
      segments: number of strong labels.
      negatives: number of explicit negatives.
      classes: the vocabulary.
    """

    recordings: int
    all_recordings: int
    missing: tuple[str, ...]
    clips: int
    unlabelled: int
    segments: int
    negatives: int
    classes: vocabularies.Vocabulary


def import_labels(
    audio_dir: str,
    labels: str,
    *,
    output_dir: str,
    class_labels: Sequence[str] = (),
    format: str | None = None,
    options: annotation_files.ReadOptions | None = None,
    looked_for: str | None = None,
) -> Imported:
    """Writes weak.csv, strong.tsv, negatives.tsv and class_labels.csv.

    Args:
      audio_dir: directory of recordings, searched with its subfolders.
      labels: a file of annotations, or a directory of such files (.txt, .tsv, .jams, .json); see
        `annotation_files`. A recording without annotations is left out. Files that do not name
        their recordings are called NAME.txt for the recording NAME.wav, or NAME.wav.txt, or
        NAME.wav.labels.txt as `predict` writes it, or NAME.Table.1.selections.txt as Raven does.
      output_dir: where the files go.
      class_labels: class lists; a label whose name is in one of them gets its mid.
      format: of all the files, one of `choices.ANNOTATION_FORMATS`; None to find it out.
      options: for labels that can be read in several ways.
      looked_for: a file of the classes that were looked for in every recording, see
        `read_class_names`; None where only the annotations tell. Audacity's label tracks are taken
        to be complete: what they do not label is absent.

    Returns:
      What was imported.

    Raises:
      errors.InputError: no recording or annotation, one that does not fit the other, names that
        cannot be clip ids, a malformed line, or a directory that cannot be written.
    """
    options = options or annotation_files.ReadOptions()
    names_looked_for = None if looked_for is None else read_class_names(looked_for)
    recordings = _recordings(audio_dir)
    found, missing = _annotations(labels, recordings, audio_dir, format=format, options=options)
    annotated = {}
    for name, annotation in found.items():
        length_ms = _length_ms(recordings[name])
        if names_looked_for is not None:
            annotation = dataclasses.replace(
                annotation, looked_for=names_looked_for, complete=False
            )
        _end_points(annotation, options.point_ms, length_ms)
        annotated[name] = (length_ms, annotation)
    known = vocabularies.Vocabulary.from_files(class_labels) if class_labels else None
    names = {name for _, each in annotated.values() for name in each.labels["name"]}
    if not names:
        raise errors.InputError(f"{labels}: no label in any of the {len(found)} tracks")
    names.update(*(each.looked_for or () for _, each in annotated.values()))
    classes = annotations.name_classes(names, known)
    clips = annotations.cut_into_clips(annotated, classes)
    _check_found(clips, recordings, audio_dir)
    vocabulary = vocabularies.Vocabulary(*zip(*sorted(set(classes.values())), strict=True))
    _write(pathlib.Path(output_dir), clips, vocabulary)
    return Imported(
        recordings=len(found),
        all_recordings=len(recordings),
        missing=missing,
        clips=len(clips.weak),
        unlabelled=clips.unlabelled,
        segments=len(clips.strong),
        negatives=len(clips.negatives),
        classes=vocabulary,
    )


def read_class_names(path: str) -> frozenset[str]:
    """The names of classes in a file: a class list, see `metadata.read_class_list`, or one a line.

    Raises:
      errors.InputError: the file cannot be read, or is a class list with a malformed row.
    """
    lines = [line.strip() for line in metadata.read_text(path).split("\n")]
    if "display_name" in lines[0] or re.match(r"/[a-z]+/\S+?[\t,]", lines[0]):
        return frozenset(metadata.read_class_list(path)["display_name"])
    return frozenset(annotations.class_name(line) for line in lines if line and line[0] != "#")


def _end_points(annotation: annotations.Annotation, point_ms: int | None, length_ms: int) -> None:
    """Cuts the sounds at points near the end of a recording off there."""
    if point_ms is None:
        return
    table = annotation.labels
    cut = (table["end_ms"] - table["start_ms"] == point_ms) & (table["end_ms"] > length_ms)
    table.loc[cut & (table["start_ms"] < length_ms), "end_ms"] = length_ms


def _recordings(audio_dir: str) -> dict[str, str]:
    """Name -> path of each recording."""
    found: dict[str, str] = {}
    for _, path in finding.listed_files(audio_dir):
        stem, extension = naming.split_extension(os.path.basename(path))
        if not extension:
            continue
        name, shown = naming.one_form(stem), files.printable(path)
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


def _annotations(
    labels: str,
    recordings: Mapping[str, str],
    audio_dir: str,
    *,
    format: str | None,
    options: annotation_files.ReadOptions,
) -> tuple[dict[str, annotations.Annotation], tuple[str, ...]]:
    """Recording -> what was said of it, and the names of annotated recordings that are missing."""
    by_file = {naming.one_form(os.path.basename(path)): name for name, path in recordings.items()}
    found: dict[str, annotations.Annotation] = {}
    missing: dict[str, str] = {}
    left_out: collections.Counter[str] = collections.Counter()
    for path in _label_files(labels):
        content = annotation_files.read(path, options, format=format)
        left_out.update(content.left_out)
        for annotation in content.annotations:
            names = _names(annotation, path)
            name = next((n for n in names if n in recordings), None) or next(
                (by_file[n] for n in names if n in by_file), None
            )
            if name is None and annotation.recording is None:
                raise errors.InputError(
                    f"{files.printable(path)}: no recording {names[-1]} in {audio_dir}"
                )
            if name is None:
                missing.setdefault(names[0], annotation.where)
            elif name in found:
                raise errors.InputError(
                    f"{annotation.where}: {recordings[name]} has other labels, "
                    f"{found[name].where}; keep one"
                )
            else:
                found[name] = annotation
    if not found:
        where = next(iter(missing.items()), None)
        raise errors.InputError(
            f"{labels}: no annotation of a recording in {audio_dir}"
            + (f"; {where[1]} is of {where[0]}" if where else "")
        )
    for what, count in left_out.items():
        logging.warning("%s: %d %s left out", labels, count, what)
    return found, tuple(missing)


def _names(annotation: annotations.Annotation, path: str) -> list[str]:
    """What the recording may be called: as the annotation says, or by the name of its file."""
    if annotation.recording is None:
        return [naming.one_form(name) for name in annotation_files.recording_names(path)]
    name = naming.one_form(annotation.recording)
    stem, extension = naming.split_extension(name)
    return [name, stem] if extension else [name]


def _label_files(labels: str) -> list[str]:
    """The files of annotations: the one that is named, or those in a directory."""
    if os.path.isfile(labels):
        return [labels]
    try:
        names = sorted(os.listdir(labels))
    except OSError as error:
        raise errors.InputError(f"{labels}: {files.reason(error)}") from error
    paths = [
        os.path.join(labels, name)
        for name in names
        if not name.startswith(".") and name.endswith(annotation_files.SUFFIXES)
    ]
    if not paths:
        raise errors.InputError(
            f"{labels}: no file of labels in it ({', '.join(annotation_files.SUFFIXES)})"
        )
    return paths


def _length_ms(path: str) -> int:
    try:
        length_ms = round(streams.seconds(path) * 1000)
    except decoding.AudioError as error:
        raise errors.InputError(f"{path}: no audio that can be read ({error})") from error
    if not length_ms:
        raise errors.InputError(f"{path}: no audio that can be read")
    return length_ms


def _check_found(
    clips: annotations.LabelledClips, recordings: Mapping[str, str], audio_dir: str
) -> None:
    """Raises if the converter would take another recording for that of a clip, by its name.

    It would look into archives in the directory, too, so they are listed here.
    """
    index = finding.AudioIndex([audio_dir])
    for row in clips.weak.itertuples():
        path, _ = index.find(row.ytid, row.start_ms, row.end_ms) or ("", False)
        if path != recordings[row.ytid]:
            raise errors.InputError(
                f"{path}: rename it, its name looks like the clip of {row.ytid} at "
                f"{row.start_ms / 1000:g} s"
            )


def _write(
    out: pathlib.Path, clips: annotations.LabelledClips, vocabulary: vocabularies.Vocabulary
) -> None:
    weak = [
        metadata_writing.weak_line(row.ytid, row.start_ms, row.end_ms, row.labels) + "\n"
        for row in clips.weak.itertuples()
    ]
    strong = [
        (
            row.clip_id,
            metadata_writing.seconds(row.start_ms),
            metadata_writing.seconds(row.end_ms),
            row.mid,
        )
        for row in clips.strong.itertuples()
    ]
    with files.writing(out):
        files.make_directory(out)
        header = "# YTID, start_seconds, end_seconds, positive_labels\n"
        files.write_text(out / WEAK_FILE, header + "".join(weak))
        vocabularies.write_class_list(out / CLASSES_FILE, vocabulary)
    metadata_writing.write_rows(str(out / STRONG_FILE), metadata.STRONG_HEADER, strong)
    negatives = clips.negatives.itertuples(index=False, name=None)
    metadata_writing.write_rows(str(out / NEGATIVES_FILE), metadata.NEGATIVES_HEADER, negatives)
