"""What is written about one recording, while its scores come in.

csv       NAME.scores.csv: a frame a row, a class a column
jsonl     NAME.scores.jsonl: a frame a line
events    NAME.events.csv: an event a row
audacity  NAME.labels.txt: the events as a label track (File > Import > Labels)
text      NAME.txt: top classes and events, to be read
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

from audioset_strong.core import drawing
from audioset_strong.inference import event_detection, predictor, timeline, waveform_scorer
from audioset_strong.labels import vocabularies


@dataclasses.dataclass(frozen=True)
class Result:
    """What is known of a recording at its end.

    Attributes:
      path: of the recording.
      seconds: its length.
      top: (class index, clip score), best first.
      events: by start.
    """

    path: str
    seconds: float
    top: list[tuple[int, float]]
    events: list[event_detection.Event]


def unique_names(vocabulary: vocabularies.Vocabulary) -> list[str]:
    """Display names; where two classes share one, with their mids behind."""
    counts = collections.Counter(vocabulary.names)
    return [
        name if counts[name] == 1 else f"{name} {mid}"
        for mid, name in zip(vocabulary.mids, vocabulary.names, strict=True)
    ]


class Writer:
    """Writes one file; it gets its name at the end, so that no reader sees half of it."""

    suffix: str

    def __init__(self, base: str, names: Sequence[str], hop_s: float):
        """Begins.

        Args:
          base: path that the suffix is added to.
          names: of the classes, each another.
          hop_s: from one frame to the next.
        """
        self.path = pathlib.Path(base + self.suffix)
        self._temporary = self.path.with_name(self.path.name + ".tmp")
        self._names, self._hop_s = names, hop_s

    def add(self, times: np.ndarray, chunk: predictor.Chunk) -> None:
        """Takes the next frames, with the times (s) at which they begin."""

    def finish(self, result: Result) -> None:
        """Writes the rest."""
        raise NotImplementedError

    def discard(self) -> None:
        """Removes what is written so far."""
        self._temporary.unlink(missing_ok=True)

    def _open(self) -> TextIO:
        return open(self._temporary, "w", encoding="utf-8", newline="")

    def _rename(self) -> None:
        os.replace(self._temporary, self.path)


class _FrameWriter(Writer):
    """Writes frames as they come."""

    def __init__(self, base: str, names: Sequence[str], hop_s: float):
        super().__init__(base, names, hop_s)
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
    """start_s, end_s, and a column for each class."""

    suffix = ".scores.csv"

    def __init__(self, base: str, names: Sequence[str], hop_s: float):
        super().__init__(base, names, hop_s)
        csv.writer(self._file, lineterminator="\n").writerow(["start_s", "end_s", *names])

    def _frame(self, start_s: float, end_s: float, scores: list[str]) -> None:
        self._file.write(f"{start_s:.3f},{end_s:.3f},{','.join(scores)}\n")


class ScoresJsonLines(_FrameWriter):
    """{"start_s": ..., "end_s": ..., "scores": {name: score}} for each frame."""

    suffix = ".scores.jsonl"

    def __init__(self, base: str, names: Sequence[str], hop_s: float):
        super().__init__(base, names, hop_s)
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
                file.write(f"{e.start_s:.6f}\t{e.end_s:.6f}\t{self._names[e.label]}\n")
        self._rename()


class Text(Writer):
    """Top classes and events, to be read."""

    suffix = ".txt"

    def finish(self, result: Result) -> None:
        with self._open() as file:
            file.write(as_text(result, self._names))
        self._rename()


class Png(Writer):
    """Spectrogram and timelines."""

    suffix = ".png"

    def __init__(self, base: str, names: Sequence[str], hop_s: float):
        super().__init__(base, names, hop_s)
        self._log_mel, self._scores = timeline.Pooled(), timeline.Pooled()

    def add(self, times: np.ndarray, chunk: predictor.Chunk) -> None:
        self._log_mel.add(chunk.log_mel)
        self._scores.add(chunk.scores)

    def finish(self, result: Result) -> None:
        figure = timeline.draw(
            os.path.basename(result.path),
            result.seconds,
            self._log_mel,
            self._scores,
            self._hop_s,
            [label for label, _ in result.top],
            self._names,
            result.events,
        )
        drawing.save(figure, self.path)

    def discard(self) -> None:
        """Nothing is written before the end."""


FORMATS: dict[str, type[Writer]] = {
    "csv": ScoresCsv,
    "jsonl": ScoresJsonLines,
    "events": EventsCsv,
    "audacity": Audacity,
    "text": Text,
    "png": Png,
}


def as_text(result: Result, names: Sequence[str]) -> str:
    """A recording's top classes and events as lines."""
    lines = [f"{result.path}: {result.seconds:.2f} s", "  top classes"]
    lines += [f"    {score:.3f}  {names[label]}" for label, score in result.top]
    lines.append("  events" if result.events else "  no events")
    lines += [
        f"    {e.start_s:9.2f} {e.end_s:9.2f}  {e.peak:.3f}  {names[e.label]}"
        for e in result.events
    ]
    return "\n".join(lines) + "\n"
