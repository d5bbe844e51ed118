"""Files of annotations in the formats that people annotate in.

audacity      a label track, as Audacity's "Export Labels" writes it
dcase         a TSV with the columns filename, onset, offset, event_label: DCASE task 4, DESED
raven         a selection table of Raven Pro or Raven Lite, or of BirdNET
jams          JAMS, as URBAN-SED and Scaper have it (https://jams.readthedocs.io)
label_studio  the JSON export of Label Studio (https://labelstud.io)

The content tells the format. The formats are read here because the libraries that know them, `jams`
and `crowsetta`, name no line of a bad file; `jams` refuses the namespace of URBAN-SED and of
Scaper's first versions, too.
"""

import pathlib
import re
from collections.abc import Iterator, Mapping

from audioset_strong.core import choices, errors
from audioset_strong.labels import annotation_json, metadata, table_files
from audioset_strong.labels.annotation_json import AnnotationFile, ReadOptions
from audioset_strong.labels.annotations import Annotation, LabelRows

SUFFIXES = (".txt", ".tsv", ".jams", ".json")
_DCASE = ("filename", "onset", "offset", "event_label")
_BEGIN, _END, _OFFSET = "begin time (s)", "end time (s)", "file offset (s)"
_RAVEN = (_BEGIN, _END)
# Columns of Raven's tables that hold the class, the first that a table has; and those that hold the
# recording.
_RAVEN_LABELS = ("annotation", "label", "common name", "species", "class", "tags")
_NO_CALL = "nocall"  # BirdNET's row of a recording in which it found nothing
_RAVEN_FILES = ("begin path", "begin file")
_NEEDS_FILE = "selections of several recordings need the column 'Begin File'"
_RAVEN_SUFFIX = re.compile(
    r"(\.Table\.\d+)?\.selections$|\.BirdNET\.(selection\.table|results)$", re.IGNORECASE
)
_OWN_SUFFIX = ".labels"  # predict writes RECORDING.wav.labels.txt


def read(path: str, options: ReadOptions, *, format: str | None = None) -> AnnotationFile:
    """Reads a file of annotations.

    Args:
      path: of the file.
      options: for labels that can be read in several ways.
      format: one of `choices.ANNOTATION_FORMATS`; None to find it out.

    Returns:
      The annotations of one or more recordings, and counts of what the file holds besides.

    Raises:
      errors.InputError: the file cannot be read, or a line of it has another form.

    Example:
      >>> from audioset_strong.labels import metadata_writing
      >>> metadata_writing.write_rows("yard.txt", None, [["0.5", "1.25", "Bark"]])
      >>> (annotation,) = read("yard.txt", ReadOptions()).annotations  # a label track of Audacity
      >>> annotation.labels.values.tolist()
      [[500, 1250, 'Bark', 'yard.txt, line 1']]
    """
    text = _text(path)
    is_json = format in annotation_json.READERS if format else text.lstrip()[:1] in ("{", "[")
    if is_json:
        value = table_files.parse_json(path, text)
        format = format or annotation_json.format_of(path, value)
        return annotation_json.READERS[format](path, value, options)
    format = format or _format(path, text)
    if not text and format != choices.AUDACITY:
        raise errors.InputError(f"{path}: empty file")
    return _READERS[format](path, text, options)


def recording_names(path: str) -> tuple[str, ...]:
    """What the recording of a file of annotations may be called, by the name of the file.

    >>> recording_names("labels/yard.Table.1.selections.txt")
    ('yard.Table.1.selections', 'yard')
    """
    stem = pathlib.PurePath(path).stem
    names = (stem, stem.removesuffix(_OWN_SUFFIX), _RAVEN_SUFFIX.sub("", stem))
    return tuple(dict.fromkeys(names))


def _text(path: str) -> str:
    """The content of a file; "" for an empty one, which is a label track without a label."""
    try:
        return metadata.read_text(path)
    except errors.InputError as error:
        if not str(error).endswith("empty file") or not path.endswith(".txt"):
            raise
        return ""


def _format(path: str, text: str) -> str:
    """The format that the content shows, which is not JSON."""
    columns = _columns(text.lstrip("\n").partition("\n")[0])
    if set(_DCASE) <= set(columns):
        return choices.DCASE
    if set(_RAVEN) <= set(columns):
        return choices.RAVEN
    if columns[0] == metadata.STRONG_HEADER[0]:
        raise errors.InputError(f"{path}: in AudioSet's own format; give it to convert as it is")
    return choices.AUDACITY


def _columns(line: str) -> list[str]:
    return [field.strip().lower() for field in line.split("\t")]


def _audacity(path: str, text: str, options: ReadOptions) -> AnnotationFile:
    r"""Lines of start, end and name. Those of frequency ranges begin with "\"."""
    rows = LabelRows(options.point_ms)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        fields = line.split("\t", 2)
        where = f"{path}, line {number}"
        if len(fields) < 3 or not fields[2].strip():
            raise errors.InputError(
                f"{where}: {line[:80]!r} must be start, end, name, tab-separated"
            )
        rows.add(where, *fields)
    return AnnotationFile((Annotation(path, rows.table(), complete=True),))


def _rows(path: str, text: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line, column -> field) of each row of a table with a header."""
    header: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        if not header:
            header = _columns(line)
            for name in needed:
                if name not in header:
                    raise errors.InputError(
                        f"{where}: no column {name!r}; it has {', '.join(header)[:200]}"
                    )
            continue
        fields = [field.strip() for field in line.split("\t")]
        if any(fields[len(header) :]):
            raise errors.InputError(
                f"{where}: {len(fields)} columns, but the header names {len(header)}"
            )
        fields += [""] * (len(header) - len(fields))
        yield where, dict(zip(header, fields, strict=False))


def _dcase(path: str, text: str, options: ReadOptions) -> AnnotationFile:
    """Rows of recordings. A row without times and label is of a recording without events."""
    recordings = _Recordings(options.point_ms)
    for where, row in _rows(path, text, _DCASE):
        name, *label = (row[column] for column in _DCASE)
        if not name:
            raise errors.InputError(f"{where}: no filename")
        labels = recordings.labels(where, name)
        if any(label):
            labels.add(where, *label)
    return recordings.file()


class _Recordings:
    """Collects the labels of the recordings that a table names."""

    def __init__(self, point_ms: int | None):
        self._point_ms = point_ms
        self._found: dict[str, tuple[str, str, LabelRows]] = {}

    def labels(self, where: str, path: str) -> LabelRows:
        """Those of the recording of a path.

        Raises:
          errors.InputError: one in another folder has the same file name.
        """
        new = (where, path, LabelRows(self._point_ms))
        _, first, labels = self._found.setdefault(_base_name(path), new)
        if pathlib.PureWindowsPath(path) != pathlib.PureWindowsPath(first):
            raise errors.InputError(
                f"{where}: {path!r} has the file name of {first!r}; rename one of the recordings"
            )
        return labels

    def file(self) -> AnnotationFile:
        return AnnotationFile(
            tuple(
                Annotation(where, labels.table(), recording=name)
                for name, (where, _, labels) in self._found.items()
            )
        )


def _raven(path: str, text: str, options: ReadOptions) -> AnnotationFile:
    """Rows of selections. Each view (waveform, spectrogram) repeats them."""
    rows = list(_rows(path, text, _RAVEN))
    columns = _columns(text.lstrip("\n").partition("\n")[0])
    label = _raven_label(path, columns, options.label_column)
    file = next((name for name in _RAVEN_FILES if name in columns), None)
    if file is None or not rows:  # the table of the recording that the file is named after
        labels = LabelRows(options.point_ms)
        for where, row in rows:
            if row.get(_OFFSET) and _times_in_file(where, row)[0] != float(row[_BEGIN]):
                raise errors.InputError(f"{where}: which file is it in? {_NEEDS_FILE}")
            if row[label] != _NO_CALL:
                labels.add(where, row[_BEGIN], row[_END], row[label])
        return AnnotationFile((Annotation(path, labels.table()),))
    if _OFFSET not in columns and len({_base_name(row[file]) for _, row in rows}) > 1:
        raise errors.InputError(
            f"{path}: selections of several recordings need the column 'File Offset (s)', where "
            "they begin in their own"
        )
    recordings = _Recordings(options.point_ms)
    for where, row in rows:
        if not row[file]:
            raise errors.InputError(f"{where}: no {file}")
        if row.get("end file") and _base_name(row["end file"]) != _base_name(row[file]):
            raise errors.InputError(
                f"{where}: the selection ends in another file, {row['end file']!r}; split it"
            )
        labels = recordings.labels(where, row[file])
        if row[label] != _NO_CALL:
            labels.add(where, *_times_in_file(where, row), row[label])
    return recordings.file()


def _raven_label(path: str, columns: list[str], given: str | None) -> str:
    if given is not None:
        if given.strip().lower() not in columns:
            raise errors.InputError(
                f"{path}, line 1: no column {given!r} (--label_column); it has {', '.join(columns)}"
            )
        return given.strip().lower()
    found = next((name for name in _RAVEN_LABELS if name in columns), None)
    if found is None:
        raise errors.InputError(
            f"{path}, line 1: name the column of the class with --label_column; it has "
            f"{', '.join(columns)}"
        )
    return found


def _times_in_file(where: str, row: Mapping[str, str]) -> tuple[object, object]:
    """Start and end of a selection in the recording in which it begins."""
    if _OFFSET not in row:
        return row[_BEGIN], row[_END]
    try:
        begin, end, offset = (float(row[name]) for name in (_BEGIN, _END, _OFFSET))
    except ValueError as error:
        raise errors.InputError(
            f"{where}: {_BEGIN}, {_END} and {_OFFSET} must be seconds ({error})"
        ) from error
    return offset, offset + end - begin


def _base_name(path: str) -> str:
    """The last part of a path of any system."""
    return pathlib.PureWindowsPath(path).name


_READERS = {choices.AUDACITY: _audacity, choices.DCASE: _dcase, choices.RAVEN: _raven}
