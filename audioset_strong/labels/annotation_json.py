"""Annotations in JSON: JAMS, and the export of Label Studio; see `annotation_files`."""

import collections
import dataclasses
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audioset_strong.core import choices, errors
from audioset_strong.labels import metadata
from audioset_strong.labels.annotations import Annotation, LabelRows, class_name

# Namespaces of JAMS whose observations are sounds from a time on; Scaper's first versions, and with
# them URBAN-SED, have "sound_event". A tag is the observation's value itself.
_SCAPER = ("scaper", "sound_event")
_TAGS = ("tag_open", "tag_urbansound", "tag_audioset")
# Where a task of Label Studio lists the classes to look for; as dynamic labels, value="$classes".
CLASSES_KEY = "classes"
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How to read what can be read in several ways.

    Attributes:
      point_seconds: how long the sound at a point label lasts; None to refuse such labels.
      label_column: the column of the class in Raven's tables; None for the usual one.
      annotator: whose annotations of Label Studio to take, an id or e-mail address; None if no task
        has those of several.

    Raises:
      errors.InputError: a sound at a point that lasts less than 1 ms, or longer than a clip.

    Example:
      >>> ReadOptions(point_seconds=0.25).point_ms
      250
    """

    point_seconds: float | None = None
    label_column: str | None = None
    annotator: str | None = None

    def __post_init__(self) -> None:
        seconds = self.point_seconds
        if seconds is not None and not 0.001 <= seconds <= metadata.CLIP_MS / 1000:
            raise errors.InputError(f"point_seconds {seconds}: must lie in [0.001, 10]")

    @property
    def point_ms(self) -> int | None:
        """`point_seconds` in ms."""
        return None if self.point_seconds is None else round(self.point_seconds * 1000)


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """What a file holds.

    Attributes:
      annotations: one for each recording.
      left_out: what is no label of a sound -> how often it occurs.
    """

    annotations: tuple[Annotation, ...]
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


def format_of(path: str, value: Any) -> str:
    """Whether a JSON file is JAMS or an export of Label Studio.

    Args:
      path: of the file, for messages.
      value: its content.

    Raises:
      errors.InputError: it is neither.

    Example:
      >>> format_of("export.json", [{"id": 1, "annotations": []}])
      'label_studio'
    """
    if isinstance(value, dict) and {"annotations", "file_metadata"} <= value.keys():
        return choices.JAMS
    if isinstance(value, list):
        return choices.LABEL_STUDIO
    raise errors.InputError(f"{path}: neither JAMS nor an export of Label Studio (JSON)")


def _jams(path: str, value: Any, options: ReadOptions) -> AnnotationFile:
    """The sounds of a JAMS file, which is of the recording of its own name."""
    if not isinstance(value, dict) or not isinstance(value.get("annotations"), list):
        raise errors.InputError(f"{path}: not JAMS: no list of annotations")
    left_out: collections.Counter[str] = collections.Counter()
    sounds = []
    for number, annotation in enumerate(value["annotations"], 1):
        where = f"{path}, annotation {number}"
        namespace = _get(annotation, "namespace", str, where)
        if namespace in (*_SCAPER, *_TAGS):
            sounds.append((where, namespace, annotation))
        else:
            left_out[f"observations of namespace {namespace!r}"] += len(annotation.get("data", ()))
    if not sounds:
        raise errors.InputError(
            f"{path}: no annotation of sounds; namespaces of sounds are "
            f"{', '.join((*_SCAPER, *_TAGS))}"
        )
    if len(sounds) > 1:
        raise errors.InputError(
            f"{path}: annotations {' and '.join(where.split()[-1] for where, *_ in sounds)} are "
            "both of sounds; keep one"
        )
    where, namespace, annotation = sounds[0]
    rows = LabelRows(options.point_ms)
    backgrounds = set()
    for number, observation in enumerate(_observations(annotation, where), 1):
        here = f"{where}, observation {number}"
        start = _get(observation, "time", (int, float), here)
        end = start + _get(observation, "duration", (int, float), here)
        label = observation.get("value")
        if namespace in _SCAPER:
            label = _get(observation, "value", dict, here)
            if label.get("role") == "background":
                left_out["background sounds"] += 1
                backgrounds.add(class_name(str(label.get("label"))))
                continue
            label = label.get("label")
        rows.add(here, start, end, label)
    # Scaper lists the classes that it chose from, and made no sound besides those of the file.
    classes: Any = annotation
    for key in ("sandbox", "scaper", "fg_labels"):
        classes = classes.get(key) if isinstance(classes, dict) else None
    looked_for = None
    if isinstance(classes, list):  # a sound of the background is there, if without times
        looked_for = frozenset(class_name(str(name)) for name in classes) - backgrounds
    return AnnotationFile((Annotation(where, rows.table(), looked_for=looked_for),), left_out)


def _observations(annotation: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    """The observations of an annotation, also where each field has a list of its own."""
    data = annotation.get("data")
    if isinstance(data, dict) and all(isinstance(column, list) for column in data.values()):
        if len({len(column) for column in data.values()}) > 1:
            raise errors.InputError(f"{where}: the lists of its data differ in length")
        return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    if not isinstance(data, list):
        raise errors.InputError(f"{where}: its data is no list of observations")
    return data


def _label_studio(path: str, value: Any, options: ReadOptions) -> AnnotationFile:
    """The regions of the annotations of an export; tasks that nobody annotated have none."""
    if not isinstance(value, list):
        raise errors.InputError(f"{path}: not an export of Label Studio: no list of tasks")
    left_out: collections.Counter[str] = collections.Counter()
    found = []
    for number, task in enumerate(value, 1):
        where = place_of(path, number, task)
        if not isinstance(task, dict) or "annotations" not in task or "data" not in task:
            raise errors.InputError(
                f"{where}: no data and annotations; export as JSON, not as JSON-MIN"
            )
        submitted = submitted_annotations(task, where)
        left_out["skipped annotations"] += len(task["annotations"]) - len(submitted)
        left_out["tasks that nobody annotated"] += not task["annotations"]
        chosen = _of_annotator(submitted, options.annotator, where)
        left_out["annotations of others"] += len(submitted) - (chosen is not None)
        if chosen is None:
            continue
        labels, others = regions(chosen, where, options)
        left_out.update(others)
        found.append(
            Annotation(
                where,
                labels.table(),
                recording=recording_of(task, where),
                looked_for=_classes(_get(task, "data", dict, where).get(CLASSES_KEY), where),
            )
        )
    return AnnotationFile(tuple(found), +left_out)


def place_of(path: str, number: int, task: Any) -> str:
    """Where a task of an export of Label Studio is, for messages: by its id, or else its number.

    Args:
      path: of the export.
      number: of the task in it, from 1 on.
      task: its JSON value, of any form.

    Example:
      >>> place_of("export.json", 3, {"id": 17})
      'export.json, task 17'
    """
    return f"{path}, task {task.get('id', number) if isinstance(task, dict) else number}"


def submitted_annotations(task: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    """The annotations of a task of Label Studio that were not skipped.

    Args:
      task: of an export.
      where: the file and the place in it, for messages.

    Raises:
      errors.InputError: its annotations are no list of objects with a list of results.

    Example:
      >>> task = {"annotations": [{"result": []}, {"result": [], "was_cancelled": True}]}
      >>> submitted_annotations(task, "export.json, task 1")
      [{'result': []}]
    """
    annotations = _get(task, "annotations", list, where)
    for annotation in annotations:
        _get(annotation, "result", list, where)
    return [annotation for annotation in annotations if not annotation.get("was_cancelled")]


def annotator_of(annotation: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of who made an annotation of Label Studio: the id, or id and e-mail address.

    Args:
      annotation: one of `submitted_annotations`.

    Example:
      >>> annotator_of({"completed_by": {"id": 1, "email": "anna@example.org"}, "result": []})
      ('1', 'anna@example.org')
    """
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        names = tuple(str(who[key]) for key in ("id", "email") if who.get(key) is not None)
        return names or ("unknown",)
    return ("unknown" if who is None else str(who),)


def regions(
    annotation: Mapping[str, Any], where: str, options: ReadOptions
) -> tuple[LabelRows, collections.Counter[str]]:
    """The labelled regions of an annotation of Label Studio, and what else it has.

    Args:
      annotation: one of `submitted_annotations`.
      where: the file and the place in it, for messages.
      options: for points.

    Returns:
      The labels, and counts of the other results by type.

    Raises:
      errors.InputError: a region without a label or a time.

    Example:
      >>> value = {"start": 0.5, "end": 1.5, "labels": ["Bark"]}
      >>> results = [{"type": "labels", "value": value}, {"type": "textarea"}]
      >>> labels, others = regions({"result": results}, "export.json, task 1", ReadOptions())
      >>> labels.table()["name"].tolist(), dict(others)
      (['Bark'], {"results of type 'textarea'": 1})
    """
    rows = LabelRows(options.point_ms)
    others: collections.Counter[str] = collections.Counter()
    for result in annotation["result"]:
        here = f"{where}, region {result.get('id', '?') if isinstance(result, dict) else '?'}"
        kind = _get(result, "type", str, here)
        if kind != "labels":
            others[f"results of type {kind!r}"] += 1
            continue
        value = _get(result, "value", dict, here)
        names = value.get("labels")
        if not isinstance(names, list) or not names:
            raise errors.InputError(f"{here}: the region has no label")
        for name in names:
            rows.add(here, value.get("start"), value.get("end"), name)
    return rows, others


def _of_annotator(
    annotations: Sequence[Mapping[str, Any]], annotator: str | None, where: str
) -> Mapping[str, Any] | None:
    """The one annotation of a task to take; None if there is none."""
    if annotator is not None:
        annotations = [each for each in annotations if annotator in annotator_of(each)]
    if len(annotations) > 1:
        who = ", ".join(annotator_of(each)[-1] for each in annotations)
        raise errors.InputError(
            f"{where}: {len(annotations)} annotations (of {who}); choose with --annotator, or keep "
            "one"
        )
    return annotations[0] if annotations else None


def recording_of(task: Mapping[str, Any], where: str) -> str:
    """The file name of the audio of a task of Label Studio.

    Args:
      task: of an export; its data holds a path or an address, under "audio" or as its only text.
      where: the file and the place in it, for messages.

    Raises:
      errors.InputError: it is not clear what the audio is.

    Example:
      >>> recording_of({"data": {"audio": "/data/local-files/?d=ask/aaa_0.wav"}}, "task 1")
      'aaa_0.wav'
    """
    data = _get(task, "data", dict, where)
    texts = [text for text in data.values() if isinstance(text, str)]
    address = data.get("audio", texts[0] if len(texts) == 1 else None)
    if not isinstance(address, str) or not address:
        raise errors.InputError(f"{where}: name its audio 'audio'; its data has {', '.join(data)}")
    parts = urllib.parse.urlsplit(address)
    local = urllib.parse.parse_qs(parts.query).get("d")  # /data/local-files/?d=folder/name.wav
    path = local[0] if local else urllib.parse.unquote(parts.path)
    name = pathlib.PureWindowsPath(path).name
    return _UPLOAD.sub("", name) if "/upload/" in path else name


def _classes(listed: Any, where: str) -> frozenset[str] | None:
    """The names in a list of classes: texts, or objects with a value, as dynamic labels are."""
    if listed is None:
        return None
    values = listed if isinstance(listed, list) else [None]
    names = [each.get("value") if isinstance(each, dict) else each for each in values]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise errors.InputError(f"{where}: {CLASSES_KEY!r} in its data is no list of names")
    return frozenset(class_name(str(name)) for name in names)


def _get(value: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field of a JSON object; raises where it is missing or of another kind."""
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise errors.InputError(f"{where}: {key!r} is missing, or not of the format: {found!r}")
    return found


READERS: Mapping[str, Callable[[str, Any, ReadOptions], AnnotationFile]] = {
    choices.JAMS: _jams,
    choices.LABEL_STUDIO: _label_studio,
}
