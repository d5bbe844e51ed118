"""The files that are written about one recording, while its scores come in.

csv       NAME.scores.csv: one row for each frame, one column for each class
jsonl     NAME.scores.jsonl: one line for each frame
events    NAME.events.csv: one row for each event
audacity  NAME.labels.txt: the events as a label track (File > Import > Labels)
text      NAME.txt: top classes and events, for people
png       NAME.png: spectrogram and timelines of the top classes
"""

import collections
import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import drawing, files
from audioset_strong.inference import event_detection, predictor, timeline, waveform_scorer
from audioset_strong.labels import vocabularies


@dataclasses.dataclass(frozen=True)
class Result:
    """The summary of a recording.

    Attributes:
      path: of the recording.
      seconds: length of the recording.
      top: (class index, clip score), best first.
      events: in the order of their starts.
    """

    path: str
    seconds: float
    top: list[tuple[int, float]]
    events: list[event_detection.Event]


def unique_names(vocabulary: vocabularies.Vocabulary) -> list[str]:
    """Display names that are unique: where classes share a name, their mids are appended.

    >>> unique_names(vocabularies.Vocabulary(("/m/a", "/m/b", "/m/c"), ("Bark", "Bark", "Purr")))
    ['Bark /m/a', 'Bark /m/b', 'Purr']
    """
    counts = collections.Counter(vocabulary.names)
    return [
        name if counts[name] == 1 else f"{name} {mid}"
        for mid, name in zip(vocabulary.mids, vocabulary.names, strict=True)
    ]


class Writer:
    """Writes one file, which gets its name at the end, so that no reader sees half of it."""

    suffix: str

    def __init__(self, base: str, *, names: Sequence[str], hop_s: float, front_end: FrontEnd):
        """Starts the file.

        Args:
          base: path that the suffix is appended to.
          names: unique names of the classes.
          hop_s: seconds from the start of one frame to the start of the next.
          front_end: of the model.
        """
        self.path = base + self.suffix
        self._temporary = files.local_temporary(self.path)
        self._names, self._hop_s, self._front_end = names, hop_s, front_end

    def add(self, times: np.ndarray, chunk: predictor.Chunk) -> None:
        """Takes the next frames and their starts in seconds."""

    def finish(self, result: Result) -> None:
        """Writes the rest."""
        raise NotImplementedError

    def discard(self) -> None:
        """Removes what is written so far."""
        pathlib.Path(self._temporary).unlink(missing_ok=True)

    def _open(self) -> TextIO:
        return open(self._temporary, "w", encoding="utf-8", newline="")

    def _rename(self) -> None:
        files.rename(self._temporary, self.path)


class _FrameWriter(Writer):
    """Writes frames as they come."""

    def __init__(self, base: str, *, names: Sequence[str], hop_s: float, front_end: FrontEnd):
        super().__init__(base, names=names, hop_s=hop_s, front_end=front_end)
        self._file = self._open()

    def add(self, times: np.ndarray, chunk: predictor.Chunk) -> None:
        ends = np.minimum(times + waveform_scorer.FRAME_S, chunk.seconds)
        for start, end, scores in zip(times.tolist(), ends.tolist(), chunk.scores, strict=True):
            self._frame(start, end, [f"{score:.6g}" for score in scores.tolist()])

    def _frame(self, start_s: float, end_s: float, scores: list[str]) -> None:
        raise NotImplementedError

    def finish(self, result: Result) -> None:
        self._file.close()
        self._rename()

    def discard(self) -> None:
        self._file.close()
        super().discard()


class ScoresCsv(_FrameWriter):
    """start_s, end_s, and one column for each class."""

    suffix = ".scores.csv"

    def __init__(self, base: str, *, names: Sequence[str], hop_s: float, front_end: FrontEnd):
        super().__init__(base, names=names, hop_s=hop_s, front_end=front_end)
        csv.writer(self._file, lineterminator="\n").writerow(["start_s", "end_s", *names])

    def _frame(self, start_s: float, end_s: float, scores: list[str]) -> None:
        self._file.write(f"{start_s:.3f},{end_s:.3f},{','.join(scores)}\n")


class ScoresJsonLines(_FrameWriter):
    """{"start_s": ..., "end_s": ..., "scores": {name: score}} for each frame."""

    suffix = ".scores.jsonl"

    def __init__(self, base: str, *, names: Sequence[str], hop_s: float, front_end: FrontEnd):
        super().__init__(base, names=names, hop_s=hop_s, front_end=front_end)
        self._keys = [json.dumps(name, ensure_ascii=False) for name in names]

    def _frame(self, start_s: float, end_s: float, scores: list[str]) -> None:
        members = ", ".join(f"{k}: {v}" for k, v in zip(self._keys, scores, strict=True))
        self._file.write(
            f'{{"start_s": {start_s:.3f}, "end_s": {end_s:.3f}, "scores": {{{members}}}}}\n'
        )


class EventsCsv(Writer):
    """start_s, end_s, name, peak and mean score."""

    suffix = ".events.csv"

    def finish(self, result: Result) -> None:
        with self._open() as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["start_s", "end_s", "name", "peak", "mean"])
            for e in result.events:
                times = (f"{e.start_s:.3f}", f"{e.end_s:.3f}")
                writer.writerow([*times, self._names[e.label], f"{e.peak:.6g}", f"{e.mean:.6g}"])
        self._rename()


class Audacity(Writer):
    """An Audacity label track: start, end and name, tab-separated."""

    suffix = ".labels.txt"

    def finish(self, result: Result) -> None:
        with self._open() as file:
            for e in result.events:
                file.write(e.label_line(self._names[e.label]))
        self._rename()


class Text(Writer):
    """Top classes and events, for people."""

    suffix = ".txt"

    def finish(self, result: Result) -> None:
        with self._open() as file:
            file.write(as_text(result, self._names))
        self._rename()


class Png(Writer):
    """Spectrogram and timelines."""

    suffix = ".png"

    def __init__(self, base: str, *, names: Sequence[str], hop_s: float, front_end: FrontEnd):
        super().__init__(base, names=names, hop_s=hop_s, front_end=front_end)
        self._log_mel, self._scores = timeline.Pooled(), timeline.Pooled()

    def add(self, times: np.ndarray, chunk: predictor.Chunk) -> None:
        self._log_mel.add(chunk.log_mel)
        self._scores.add(chunk.scores)

    def finish(self, result: Result) -> None:
        figure = timeline.draw(
            os.path.basename(result.path),
            seconds=result.seconds,
            log_mel=self._log_mel,
            scores=self._scores,
            hop_s=self._hop_s,
            front_end=self._front_end,
            classes=[label for label, _ in result.top],
            names=self._names,
            events=result.events,
        )
        drawing.save(figure, self.path)

    def discard(self) -> None:
        """Does nothing: the file is written at the end only."""


FORMATS: dict[str, type[Writer]] = {
    "csv": ScoresCsv,
    "jsonl": ScoresJsonLines,
    "events": EventsCsv,
    "audacity": Audacity,
    "text": Text,
    "png": Png,
}


def as_text(result: Result, names: Sequence[str]) -> str:
    """The top classes and events of a recording, one line each."""
    lines = [f"{result.path}: {result.seconds:.2f} s", "  top classes"]
    lines += [f"    {score:.3f}  {names[label]}" for label, score in result.top]
    lines.append("  events" if result.events else "  no events")
    lines += [
        f"    {e.start_s:9.2f} {e.end_s:9.2f}  {e.peak:.3f}  {names[e.label]}"
        for e in result.events
    ]
    return "\n".join(lines) + "\n"
