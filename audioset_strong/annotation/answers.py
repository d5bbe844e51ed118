"""What annotators answered: exports of Label Studio, filled tables, folders of label tracks."""

import collections
import dataclasses
import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from absl import logging

from audioset_strong.annotation import questions, tasks
from audioset_strong.annotation.questions import Question
from audioset_strong.core import choices, errors
from audioset_strong.labels import annotation_files, annotation_json, table_files, vocabularies
from audioset_strong.labels.annotation_files import ReadOptions

_BEYOND_MS = 100  # by which a region may extend beyond the end of its clip


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether one annotator found one class in one clip.

    Attributes:
      annotator: who.
      clip_id: the clip.
      label: mid of the class.
      answer: `questions.PRESENT`, `ABSENT` or `UNSURE`.
      asked: whether the class was asked about. It was not where an annotator who marked all sounds
        of a clip marked no sound of a class that others found there.
      where: file and place, for messages.
    """

    annotator: str
    clip_id: str
    label: str
    answer: str
    asked: bool
    where: str


@dataclasses.dataclass(frozen=True)
class MarkedClip:
    """All sounds that one annotator marked in one clip.

    Attributes:
      annotator: who.
      clip_id: the clip.
      segments: (start in ms, end in ms, mid), sorted.
      where: file and place, for messages.
    """

    annotator: str
    clip_id: str
    segments: tuple[tuple[int, int, str], ...]
    where: str


@dataclasses.dataclass(frozen=True)
class Selection:
    """The questions of a selection's directory, and its classes.

    Attributes:
      asked: (clip id, mid) -> question.
      vocabulary: the classes of the dataset.
    """

    asked: Mapping[tuple[str, str], Question]
    vocabulary: vocabularies.Vocabulary

    @classmethod
    def read(cls, directory: str) -> "Selection":
        """Reads what `tasks.write` wrote.

        Raises:
          errors.InputError: no selection there, or a malformed one.
        """
        path = os.path.join(directory, questions.QUESTIONS_FILE)
        asked = {(each.clip_id, each.label): each for each in questions.read(path).values()}
        classes = os.path.join(directory, questions.CLASSES_FILE)
        return cls(asked, vocabularies.Vocabulary.from_files([classes]))


class Answers:
    """The answers of all annotators.

    Attributes:
      skipped: what holds no answer -> how often it occurs.
    """

    def __init__(self, selection: Selection):
        """Starts without an answer.

        Args:
          selection: what was asked.
        """
        self._selection = selection
        self._by_clip: dict[str, list[Question]] = collections.defaultdict(list)
        for question in selection.asked.values():
            self._by_clip[question.clip_id].append(question)
        texts = questions.class_texts(selection.vocabulary)
        self._mids = {text: mid for mid, text in texts.items()}
        self._verdicts: dict[tuple[str, str, str], Verdict] = {}
        self._marked: dict[tuple[str, str], MarkedClip] = {}
        self.skipped: collections.Counter[str] = collections.Counter()

    @property
    def verdicts(self) -> list[Verdict]:
        """Answers to single questions, in the order in which they were read."""
        return list(self._verdicts.values())

    @property
    def marked(self) -> list[MarkedClip]:
        """Clips of which all sounds were marked, in the order in which they were read."""
        return list(self._marked.values())

    def read(self, path: str) -> None:
        """Adds the answers of a file or folder.

        Args:
          path: an export of Label Studio (JSON); a copy of `questions.csv` with answers; or a
            folder of label tracks CLIP_ID.txt. Of the last two the annotator is the name of the
            file or folder without its suffix; NAME=PATH gives another. The annotators of an export
            are those of its accounts; with NAME= they are called NAME/ACCOUNT.

        Raises:
          errors.InputError: an answer that is malformed, of a clip or class that was not asked
            about, or against another answer of the same annotator.
        """
        given, name = path, ""
        if "=" in path and not os.path.exists(path):
            name, _, path = path.partition("=")
        if not os.path.exists(path):
            raise errors.InputError(f"{given}: no such file or directory (--answers)")
        annotator = name or os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
        if os.path.isdir(path):
            self._read_tracks(path, annotator)
            return
        text = table_files.read_text(path)
        if text.lstrip().startswith(("[", "{")):
            exported = table_files.parse_json(path, text)
            if not isinstance(exported, list):
                raise errors.InputError(
                    f"{path}: not an export of Label Studio as JSON, which is a list of tasks"
                )
            self._read_export(path, exported, f"{name}/" if name else "")
        else:
            self._read_table(path, annotator)

    def _read_table(self, path: str, annotator: str) -> None:
        for where, question in questions.read(path).items():
            if not question.answer:
                self.skipped["questions without an answer"] += 1
                continue
            self._add_verdict(
                annotator, question.clip_id, question.label, question.answer, where=where
            )

    def _read_tracks(self, path: str, annotator: str) -> None:
        read = 0
        for name in sorted(os.listdir(path)):
            track = os.path.join(path, name)
            if name.startswith(".") or name.endswith(".wav"):  # the clips, to listen to
                continue
            if name.endswith(tasks.PREDICTED_SUFFIX):  # the model's, for the annotator to correct
                self.skipped[f"tracks *{tasks.PREDICTED_SUFFIX} of the model in {path}"] += 1
                continue
            if not name.endswith(".txt") or os.path.isdir(track):
                self.skipped[f"files or folders in {path} that are no track CLIP_ID.txt"] += 1
                continue
            options = ReadOptions()
            (found,) = annotation_files.read(track, options, format=choices.AUDACITY).annotations
            rows = found.labels[["start_ms", "end_ms", "name", "where"]]
            self._add_marked(
                annotator,
                name.removesuffix(".txt"),
                list(rows.itertuples(index=False, name=None)),
                where=track,
            )
            read += 1
        if not read:
            raise errors.InputError(f"{path}: no label track CLIP_ID.txt in it")

    def _read_export(self, path: str, exported: Sequence[Any], prefix: str) -> None:
        for number, task in enumerate(exported, 1):
            where = annotation_json.place_of(path, number, task)
            data = task.get("data") if isinstance(task, dict) else None
            if not isinstance(data, dict) or not isinstance(data.get("clip_id"), str):
                raise errors.InputError(
                    f"{where}: not a task of a selection, exported as JSON: no clip_id in its data"
                )
            submitted = annotation_json.submitted_annotations(task, where)
            self.skipped["skipped tasks"] += len(task["annotations"]) - len(submitted)
            self.skipped["tasks that nobody annotated"] += not task["annotations"]
            drafts = task.get("drafts")
            self.skipped["drafts that were not submitted"] += (
                len(drafts) if isinstance(drafts, list) else 0
            )
            for annotation in submitted:
                annotator = prefix + annotation_json.annotator_of(annotation)[-1]
                self._add_annotation(annotator, data, annotation, where)
        self.skipped = +self.skipped

    def _add_annotation(
        self, annotator: str, data: Mapping[str, Any], annotation: Mapping[str, Any], where: str
    ) -> None:
        """Adds what one annotator submitted for a task."""
        labels, others = annotation_json.regions(annotation, where, ReadOptions())
        rows = labels.table()[["start_ms", "end_ms", "name", "where"]]
        if data.get("ask") != choices.EVENTS:
            others.pop("results of type 'choices'", None)  # the answer
        if others:
            logging.warning("%s: %s left out", where, ", ".join(others))
        if data.get("ask") == choices.EVENTS:
            marked = list(rows.itertuples(index=False, name=None))
            self._add_marked(annotator, data["clip_id"], marked, where=where)
            return
        if len(rows):
            logging.warning("%s: %d regions left out; a yes or no was asked for", where, len(rows))
        picked = [
            choice
            for result in annotation["result"]
            if result["type"] == "choices"
            for choice in result.get("value", {}).get("choices", ())
        ]
        if not picked:
            self.skipped["annotations without an answer"] += 1
            return
        if len(picked) > 1 or picked[0] not in questions.ANSWERS:
            raise errors.InputError(
                f"{where}: the answer {', '.join(map(repr, picked))} must be one of "
                f"{', '.join(questions.ANSWERS)}"
            )
        self._add_verdict(
            annotator, data["clip_id"], str(data.get("label")), picked[0], where=where
        )

    def _add_verdict(
        self, annotator: str, clip_id: str, label: str, answer: str, *, where: str
    ) -> None:
        if (clip_id, label) not in self._selection.asked:
            raise errors.InputError(f"{where}: nobody was asked about {label} in clip {clip_id}")
        verdict = Verdict(annotator, clip_id, label, answer, asked=True, where=where)
        _remember(self._verdicts, (annotator, clip_id, label), verdict)

    def _add_marked(
        self,
        annotator: str,
        clip_id: str,
        rows: Sequence[tuple[int, int, str, str]],
        *,
        where: str,
    ) -> None:
        if clip_id not in self._by_clip:
            raise errors.InputError(f"{where}: nobody was asked about clip {clip_id}")
        length_ms = round(self._by_clip[clip_id][0].seconds * 1000)
        segments = set()
        for start_ms, end_ms, name, here in rows:
            mid = self._mids.get(name, name if name in self._selection.vocabulary.index else None)
            if mid is None:
                raise errors.InputError(f"{here}: {name!r} is no class of the dataset")
            if end_ms > length_ms + _BEYOND_MS or start_ms >= length_ms:
                raise errors.InputError(
                    f"{here}: {name!r} lasts to {end_ms / 1000:g} s, but the clip ends at "
                    f"{length_ms / 1000:g} s"
                )
            segments.add((start_ms, min(end_ms, length_ms), mid))
        marked = MarkedClip(annotator, clip_id, tuple(sorted(segments)), where)
        _remember(self._marked, (annotator, clip_id), marked)

    def all_verdicts(self) -> list[Verdict]:
        """The verdicts, with those that the marked sounds imply.

        Raises:
          errors.InputError: an annotator answered against what they marked.
        """
        verdicts = dict(self._verdicts)
        # Clip -> the classes that anybody marked there.
        found: dict[str, set[str]] = collections.defaultdict(set)
        for clip in self.marked:
            found[clip.clip_id].update(mid for *_, mid in clip.segments)
        for clip in self.marked:
            asked = {question.label for question in self._by_clip[clip.clip_id]}
            own = {mid for *_, mid in clip.segments}
            for mid in sorted(asked | found[clip.clip_id]):
                answer = questions.PRESENT if mid in own else questions.ABSENT
                key = clip.annotator, clip.clip_id, mid
                before = verdicts.get(key)
                if before is None:
                    verdicts[key] = Verdict(*key, answer, asked=mid in asked, where=clip.where)
                elif before.answer not in (answer, questions.UNSURE):
                    raise errors.InputError(
                        f"{before.where}: {clip.annotator} says that {mid} is {before.answer} in "
                        f"{clip.clip_id}, but marked otherwise in {clip.where}"
                    )
        return list(verdicts.values())


def _remember(kept: MutableMapping[Any, Any], key: tuple[str, ...], found: Any) -> None:
    """Keeps an answer; the same annotator may give it again, but no other one."""
    before = kept.setdefault(key, found)
    if dataclasses.replace(before, where="") != dataclasses.replace(found, where=""):
        raise errors.InputError(
            f"{found.where}: {found.annotator} answered otherwise in {before.where}, on clip "
            f"{found.clip_id}; keep one"
        )
