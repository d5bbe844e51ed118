"""The table of questions: which clips to label, and which of their classes are asked about.

`questions.csv` has a row for each clip and class:

clip_id, label, name  the clip, and the class by mid and display name
ask                   "events": mark all sounds of the clip; "presence": is the class in it?
group                 "chosen", or "control" for clips that were drawn at random
score                 the model's score, where there is one
seconds               length of the clip
answer                empty; annotators who work in the table write present, absent or unsure
"""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Iterable, Mapping

from audioset_strong.core import choices, errors, files
from audioset_strong.labels import metadata, vocabularies

QUESTIONS_FILE, CLASSES_FILE = "questions.csv", "class_labels.csv"
CHOSEN, CONTROL = "chosen", "control"
GROUPS = (CHOSEN, CONTROL)
ANSWERS = PRESENT, ABSENT, UNSURE = ("present", "absent", "unsure")
COLUMNS = ("clip_id", "label", "name", "ask", "group", "score", "seconds", "answer")


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked about one class of one clip.

    Attributes:
      clip_id: the clip.
      label: mid of the class.
      name: its display name.
      ask: one of `choices.ASKS`.
      group: one of `GROUPS`.
      score: the model's, NaN if there is none.
      seconds: length of the clip.
      answer: one of `ANSWERS`, or "".
    """

    clip_id: str
    label: str
    name: str
    ask: str
    group: str = CHOSEN
    score: float = math.nan
    seconds: float = metadata.CLIP_MS / 1000
    answer: str = ""

    def row(self) -> tuple[str, ...]:
        """The fields of `COLUMNS`."""
        score = "" if math.isnan(self.score) else f"{self.score:.6g}"
        fields = (self.clip_id, self.label, self.name, self.ask, self.group, score)
        return (*fields, f"{self.seconds:.3f}", self.answer)


def write(path: str | os.PathLike[str], asked: Iterable[Question]) -> None:
    """Writes a table of questions; `read` gives it back.

    Args:
      path: of the CSV.
      asked: the questions.

    Raises:
      errors.InputError: the path cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(question.row() for question in asked)
    with files.writing(path):
        files.write_text(path, text.getvalue())


def read(path: str) -> dict[str, Question]:
    """Reads a table of questions.

    Args:
      path: of the CSV; columns may be in any order, and there may be others.

    Returns:
      "PATH, line N" -> question.

    Raises:
      errors.InputError: the file cannot be read, or a row is malformed or there twice.
    """
    reader = csv.DictReader(io.StringIO(metadata.read_text(path)))
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise errors.InputError(
            f"{path}, line 1: not a table of questions: no column {', '.join(sorted(missing))}"
        )
    found: dict[str, Question] = {}
    first: dict[tuple[str, str], str] = {}
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise errors.InputError(
                    f"{where}: must have {len(reader.fieldnames or ())} columns"
                )
            question = _question(where, row)
            pair = question.clip_id, question.label
            if pair in first:
                raise errors.InputError(
                    f"{where}: {pair[0]} and {pair[1]} are already in {first[pair]}"
                )
            first[pair] = where
            found[where] = question
    except csv.Error as error:
        raise errors.InputError(f"{path}, line {reader.line_num}: not CSV ({error})") from error
    return found


def _question(where: str, row: Mapping[str, str]) -> Question:
    """The question of a row, checked."""
    try:
        metadata.split_clip_id(row["clip_id"])
    except errors.InputError as error:
        raise errors.InputError(f"{where}: {error}") from error
    answer = row["answer"].strip().lower()
    for column, value, allowed in (
        ("ask", row["ask"], choices.ASKS),
        ("group", row["group"], GROUPS),
        ("answer", answer, (*ANSWERS, "")),
    ):
        if value not in allowed:
            raise errors.InputError(
                f"{where}: {column} {value!r} must be one of {', '.join(filter(None, allowed))}"
            )
    score, seconds = (_number(where, column, row[column]) for column in ("score", "seconds"))
    if not seconds > 0:
        raise errors.InputError(f"{where}: seconds {row['seconds']!r} must be above 0")
    return Question(
        clip_id=row["clip_id"],
        label=row["label"],
        name=row["name"],
        ask=row["ask"],
        group=row["group"],
        score=score,
        seconds=seconds,
        answer=answer,
    )


def _number(where: str, column: str, text: str) -> float:
    """A field as a number, NaN where it is empty."""
    try:
        return float(text or "nan")
    except ValueError as error:
        raise errors.InputError(f"{where}: {column} {text!r} is not a number") from error


def class_texts(vocabulary: vocabularies.Vocabulary) -> dict[str, str]:
    """mid -> how annotators see the class: its name, with the mid where two have one name.

    >>> class_texts(vocabularies.Vocabulary(("/m/a", "/m/b", "/m/c"), ("Bark", "Bark", "Hiss")))
    {'/m/a': 'Bark /m/a', '/m/b': 'Bark /m/b', '/m/c': 'Hiss'}

    Args:
      vocabulary: the classes.
    """
    names = [" ".join(name.split()) for name in vocabulary.names]
    return {
        mid: name if names.count(name) == 1 else f"{name} {mid}"
        for mid, name in zip(vocabulary.mids, names, strict=True)
    }
