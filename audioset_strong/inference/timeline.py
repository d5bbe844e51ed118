"""A picture of a recording: its spectrogram above the scores of its top classes over time.

After YAMNet's visualisation
(https://github.com/tensorflow/models/tree/master/research/audioset/yamnet), for recordings of any
length: rows that share a column of pixels are pooled while they come in.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import matplotlib.patches
import numpy as np

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import drawing
from audioset_strong.inference import event_detection, waveform_scorer

_COLUMNS = 2000  # more than a figure has pixels
_EVENT_COLOUR = "#D55E00"
_LONGEST_NAME = 34  # characters
_TICKS_HZ = (250, 500, 1000, 2000, 4000)


class Pooled:
    """Rows over time in bounded memory: each kept row is the maximum of `size` neighbours."""

    def __init__(self, columns: int = _COLUMNS):
        self._columns = columns
        self._rest: np.ndarray | None = None  # rows that do not fill a pool yet
        self._pools: list[np.ndarray] = []
        self._count = 0
        self.size = 1  # rows in a pool

    def add(self, rows: np.ndarray) -> None:
        """Takes the next rows, `[n, values]`."""
        if self._rest is not None:
            rows = np.concatenate([self._rest, rows])
        whole = len(rows) // self.size * self.size
        self._rest = rows[whole:].copy()
        self._take(self._pool(rows[:whole], self.size))
        while self._count > 2 * self._columns:
            joined = np.concatenate(self._pools)
            even = self._count // 2 * 2
            if even < self._count:  # the last pool waits, repeated to its old size
                last = np.repeat(joined[even:], self.size, axis=0)
                self._rest = np.concatenate([last, self._rest])
            self._pools, self._count = [], 0
            self.size *= 2
            self._take(self._pool(joined[:even], 2))

    def rows(self) -> np.ndarray:
        """The pools so far, `[pools, values]`; the last one may be of fewer rows."""
        rest = [] if self._rest is None or not len(self._rest) else [self._rest.max(0)[np.newaxis]]
        return np.concatenate([*self._pools, *rest])

    def _take(self, pooled: np.ndarray) -> None:
        self._pools.append(pooled)
        self._count += len(pooled)

    @staticmethod
    def _pool(rows: np.ndarray, size: int) -> np.ndarray:
        return rows.reshape(len(rows) // size, size, rows.shape[1]).max(axis=1)


def draw(
    title: str,
    *,
    seconds: float,
    log_mel: Pooled,
    scores: Pooled,
    hop_s: float,
    front_end: FrontEnd,
    classes: Sequence[int],
    names: Sequence[str],
    events: Sequence[event_detection.Event] = (),
) -> matplotlib.figure.Figure:
    """Draws a recording.

    Args:
      title: such as the name of the file.
      seconds: length of the recording.
      log_mel: rows of its log-mel spectrogram.
      scores: rows of its scores of all classes.
      hop_s: seconds from the start of one frame of scores to the start of the next.
      front_end: of the spectrogram.
      classes: indices of those to show, the first one on top.
      names: display names of all classes.
      events: outlined where they are of these classes.
    """
    height = max(0.28 * len(classes), 0.6)
    figure = drawing.new_figure(9.5, 3.6 + height)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, height])
    _draw_spectrogram(top, log_mel, front_end)
    top.set_title(title, fontsize=10, loc="left")
    image = _draw_scores(bottom, scores, hop_s=hop_s, classes=classes, names=names)
    bottom.set_xlim(0.0, seconds)
    if _outline(bottom, events, classes):
        patch = matplotlib.patches.Patch(fill=False, edgecolor=_EVENT_COLOUR, label="event")
        top.legend(handles=[patch], loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    figure.colorbar(image, ax=[top, bottom], label="score", fraction=0.03, pad=0.01)
    return figure


def _draw_scores(
    axis: Any, scores: Pooled, *, hop_s: float, classes: Sequence[int], names: Sequence[str]
) -> Any:
    """Draws the scores of some classes, one row each; returns the image."""
    rows = scores.rows()
    lead_s = (waveform_scorer.FRAME_S - hop_s) / 2  # a frame stands for the hop at its centre
    image = axis.imshow(
        rows[:, list(classes)].T,
        aspect="auto",
        cmap="Greys",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
        extent=(lead_s, lead_s + len(rows) * scores.size * hop_s, len(classes) - 0.5, -0.5),
    )
    shown = [names[label] for label in classes]
    shown = [n if len(n) <= _LONGEST_NAME else n[: _LONGEST_NAME - 1] + "\u2026" for n in shown]
    axis.set_yticks(range(len(classes)), shown, fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("time (s)")
    return image


def _outline(axis: Any, events: Sequence[event_detection.Event], classes: Sequence[int]) -> bool:
    """Outlines events in the rows of their classes; returns whether there were any."""
    row_of = {label: row for row, label in enumerate(classes)}
    outlined = [event for event in events if event.label in row_of]
    for event in outlined:
        axis.add_patch(
            matplotlib.patches.Rectangle(
                (event.start_s, row_of[event.label] - 0.42),
                event.end_s - event.start_s,
                0.84,
                fill=False,
                edgecolor=_EVENT_COLOUR,
                linewidth=1.4,
                clip_on=False,
            )
        )
    return bool(outlined)


def _draw_spectrogram(axis: Any, log_mel: Pooled, front_end: FrontEnd) -> None:
    rows = log_mel.rows()
    hop_s = front_end.hop_samples / front_end.sample_rate * log_mel.size
    bands = rows.shape[1]
    axis.imshow(
        rows.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0.0, len(rows) * hop_s, -0.5, bands - 0.5),
        interpolation="nearest",
    )
    ticks_hz = [hz for hz in _TICKS_HZ if front_end.lower_hz <= hz <= front_end.upper_hz]
    low, high = np.log1p(np.array([front_end.lower_hz, front_end.upper_hz]) / 700)
    position = (np.log1p(np.array(ticks_hz) / 700) - low) / (high - low)
    axis.set_yticks(position * (bands + 1) - 1, [str(hz) for hz in ticks_hz], fontsize=8)
    axis.set_ylabel("Hz")
