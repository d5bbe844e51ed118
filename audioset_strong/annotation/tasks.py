"""Questions as tasks for annotators: a table, Label Studio, Audacity."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from xml.sax import saxutils

import numpy as np

from audioset_strong.annotation import choosing, questions
from audioset_strong.annotation.candidates import Candidates, clip_hashes
from audioset_strong.annotation.questions import Question
from audioset_strong.core import choices, errors, files, progress
from audioset_strong.inference import event_detection
from audioset_strong.labels import annotation_json, framing, vocabularies
from audioset_strong.records import clip_records, inspection

TASKS_FILE, CONFIG_FILE, AUDIO_DIRECTORY = "label_studio.json", "label_studio.xml", "audio"
PREDICTED_SUFFIX = ".predicted.txt"
# How Label Studio serves files below its document root, the directory of the selection.
AUDIO_URL = f"/data/local-files/?d={AUDIO_DIRECTORY}"


def write(
    directory: str,
    chosen: choosing.Selection,
    *,
    formats: Collection[str] | None = None,
    audio_url: str = AUDIO_URL,
    threshold: float = 0.5,
    seed: int = 0,
) -> list[str]:
    """Writes `questions.csv` and the tasks.

    Args:
      directory: of the selection; made, and it must not hold another.
      chosen: what `choosing.choose` returned.
      formats: of the tasks, of `choices.TASK_FORMATS`, with the clips' audio; None for all that can
        ask the questions, empty for the table alone.
      audio_url: what stands before the name of a clip's file in Label Studio's tasks.
      threshold: from which score on a frame belongs to an event of the model.
      seed: of the order of the tasks, which does not show what was chosen.

    Returns:
      The paths of what was written.

    Raises:
      errors.InputError: the directory holds a selection, cannot be written, or the dataset keeps no
        audio.
    """
    event_detection.check_threshold(threshold, "--threshold")
    asks = {question.ask for question in chosen.asked}
    if formats is None:
        formats = {choices.TO_LABEL_STUDIO} if choices.PRESENCE in asks else choices.TASK_FORMATS
    if choices.TO_AUDACITY in formats and choices.PRESENCE in asks:
        raise errors.InputError(
            "--formats=audacity: a label track marks events; use --ask=events, or answer in "
            f"{questions.QUESTIONS_FILE} or Label Studio"
        )
    candidates = chosen.candidates
    if formats and candidates.info.encoding == clip_records.LOG_MEL:
        raise errors.InputError(
            f"{candidates.directory}: keeps log-mel, not audio, to which nobody can listen; use "
            "--formats= for the questions alone"
        )
    path = pathlib.Path(directory)
    if (path / questions.QUESTIONS_FILE).exists():
        raise errors.InputError(f"{directory}: holds a selection; choose another --output_dir")
    vocabulary = candidates.info.vocabulary
    events = _events(chosen, threshold) if formats else {}
    with files.writing(directory):
        files.make_directory(directory)
        written = []
        if formats:
            written.append(_write_audio(path / AUDIO_DIRECTORY, chosen))
        if choices.TO_LABEL_STUDIO in formats:
            tasks = label_studio_tasks(
                _shuffled(chosen.asked, seed), vocabulary, events, audio_url=audio_url
            )
            files.write_json(path / TASKS_FILE, tasks)
            files.write_text(path / CONFIG_FILE, label_studio_config(asks, vocabulary))
            written += [path / TASKS_FILE, path / CONFIG_FILE]
        if choices.TO_AUDACITY in formats and chosen.scores is not None:
            _write_tracks(path / AUDIO_DIRECTORY, events, vocabulary)
        if chosen.targets is not None:
            choosing.write_targets(directory, chosen.targets)
            written.append(path / choosing.TARGETS_FILE)
        vocabularies.write_class_list(path / questions.CLASSES_FILE, vocabulary)
        questions.write(path / questions.QUESTIONS_FILE, chosen.asked)  # last: now it is complete
    return [*map(str, written), str(path / questions.QUESTIONS_FILE)]


def _events(chosen: choosing.Selection, threshold: float) -> dict[str, list[event_detection.Event]]:
    """The model's events in each clip of the questions; none without a model."""
    clips, scores = chosen.candidates, chosen.scores
    names = dict.fromkeys(question.clip_id for question in chosen.asked)
    if scores is None:
        return {name: [] for name in names}
    rows = {clip_id: row for row, clip_id in enumerate(clips.clip_ids) if clip_id in names}
    settings = event_detection.settings_for(clips.info.vocabulary, threshold=threshold)
    frame_s = framing.FRAME_MS / 1000
    return {
        name: event_detection.detect(
            scores.probabilities(rows[name]),
            settings,
            seconds=float(clips.seconds[rows[name]]),
            hop_s=frame_s,
            frame_s=frame_s,
        )
        for name in names
    }


def _shuffled(asked: Sequence[Question], seed: int) -> list[Question]:
    """In an order that shows neither scores nor the control group."""
    keys = clip_hashes(tuple(f"{each.label} {each.clip_id}" for each in asked), seed)
    return [asked[i] for i in np.argsort(keys, kind="stable")]


def label_studio_tasks(
    asked: Sequence[Question],
    vocabulary: vocabularies.Vocabulary,
    events: Mapping[str, Sequence[event_detection.Event]],
    *,
    audio_url: str,
) -> list[dict[str, Any]]:
    """Tasks as Label Studio imports them (https://labelstud.io/guide/tasks).

    Args:
      asked: the questions. Those that ask for events become one task a clip, others one each.
      vocabulary: all classes.
      events: clip id -> the model's events, which the annotator corrects.
      audio_url: what stands before the name of a clip's file.

    Returns:
      A JSON value.
    """
    texts = questions.class_texts(vocabulary)
    by_clip: dict[str, list[str]] = {}
    tasks: list[dict[str, Any]] = []
    for question in asked:
        data: dict[str, Any] = {
            "audio": f"{audio_url.rstrip('/')}/{question.clip_id}.wav",
            "clip_id": question.clip_id,
            "ask": question.ask,
        }
        if question.ask == choices.PRESENCE:
            text = texts[question.label]
            more = {"label": question.label, "question": f"Is this sound in the clip: {text}?"}
            tasks.append({"data": data | more})
            continue
        if question.clip_id not in by_clip:
            by_clip[question.clip_id] = []
            regions = [
                _region(i, event, texts[vocabulary.mids[event.label]])
                for i, event in enumerate(events[question.clip_id])
            ]
            predictions = [{"model_version": "model", "result": regions}] if regions else []
            data[annotation_json.CLASSES_KEY] = by_clip[question.clip_id]
            tasks.append({"data": data, "predictions": predictions})
        by_clip[question.clip_id].append(texts[question.label])
    order = list(texts.values())
    for classes in by_clip.values():
        classes.sort(key=order.index)
    return tasks


def _region(number: int, event: event_detection.Event, text: str) -> dict[str, Any]:
    value = {"start": event.start_s, "end": event.end_s, "channel": 0, "labels": [text]}
    region = {"id": f"model{number}", "from_name": "label", "to_name": "audio", "type": "labels"}
    return region | {"value": value, "score": round(event.mean, 4)}


def label_studio_config(asks: Collection[str], vocabulary: vocabularies.Vocabulary) -> str:
    """The labelling interface of a project, to be pasted into its settings.

    Args:
      asks: what the tasks ask, of `choices.ASKS`.
      vocabulary: the classes to choose from.
    """
    parts = ["<View>"]
    if choices.PRESENCE in asks:
        answers = "".join(f"<Choice value={_quoted(each)}/>" for each in questions.ANSWERS)
        parts += [
            '  <Header value="$question"/>',
            '  <Choices name="answer" toName="audio" choice="single-radio" required="true">'
            f"{answers}</Choices>",
        ]
    if choices.EVENTS in asks:
        parts.append('  <Filter name="filter" toName="label"/>')
        parts.append('  <Labels name="label" toName="audio">')
        parts += [
            f"    <Label value={_quoted(text)}/>"
            for text in questions.class_texts(vocabulary).values()
        ]
        parts.append("  </Labels>")
    parts += ['  <Audio name="audio" value="$audio"/>', "</View>"]
    return "\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    return saxutils.quoteattr(text)


def _write_audio(directory: pathlib.Path, chosen: choosing.Selection) -> pathlib.Path:
    """Writes the clips' audio as wav files; a clip that is there already is left as it is."""
    clips: Candidates = chosen.candidates
    names = list(dict.fromkeys(question.clip_id for question in chosen.asked))
    with progress.Bar("writing audio", len(names), unit="clip") as bar:
        for clip in inspection.find_clips(clips.directory, clips.info, names):
            inspection.export_wav(clip, str(directory))
            bar.update()
    return directory


def _write_tracks(
    directory: pathlib.Path,
    events: Mapping[str, Sequence[event_detection.Event]],
    vocabulary: vocabularies.Vocabulary,
) -> None:
    """Writes the model's events as a label track beside each clip's audio."""
    texts = questions.class_texts(vocabulary)
    for name, found in events.items():
        lines = [event.label_line(texts[vocabulary.mids[event.label]]) for event in found]
        files.write_text(directory / f"{name}{PREDICTED_SUFFIX}", "".join(lines))
