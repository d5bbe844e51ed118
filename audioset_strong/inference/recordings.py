"""Scores many recordings, each to files of its own."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from audioset_strong.audio import decoding, streams
from audioset_strong.core import errors, progress
from audioset_strong.inference import event_detection, predictor, waveform_scorer, writers

MEAN, MAX = "mean", "max"


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of each recording.

    Attributes:
      events: how scores become events.
      output_dir: of the files; None for none.
      formats: keys of `writers.FORMATS`.
      hop_s: from one frame to the next.
      top_k: classes that a recording is summed up by.
      top_by: the classes' score for that, "mean" over the frames, as in evaluation, or "max", which
        finds short sounds in long recordings.
      batch_size: frames scored at a time.
      overwrite: whether files that are there already are replaced.
    """

    events: event_detection.Settings
    output_dir: str | None = None
    formats: tuple[str, ...] = ()
    hop_s: float = waveform_scorer.FRAME_S
    top_k: int = 5
    top_by: str = MEAN
    batch_size: int = 32
    overwrite: bool = False

    def check(self) -> None:
        """Raises InputError where a setting is none."""
        predictor.check_hop(self.hop_s)
        for name in self.formats:
            if name not in writers.FORMATS:
                raise errors.InputError(
                    f"format {name!r}: must be one of {', '.join(writers.FORMATS)}"
                )
        if self.formats and self.output_dir is None:
            raise errors.InputError("formats need a directory to write to (--output_dir)")
        if self.output_dir is not None and not self.formats:
            raise errors.InputError("an output directory, but no format to write (--formats)")
        if self.top_by not in (MEAN, MAX):
            raise errors.InputError(f"top_by {self.top_by!r}: must be {MEAN} or {MAX}")
        for name in ("top_k", "batch_size"):
            if getattr(self, name) < 1:
                raise errors.InputError(f"{name} {getattr(self, name)}: must be at least 1")


def predict(
    model: predictor.Model,
    paths: Sequence[str],
    request: Request,
    on_result: Callable[[writers.Result], None] = lambda result: None,
) -> list[tuple[str, str]]:
    """Scores recordings one after the other; a broken one does not stop the others.

    Args:
      model: that scores them.
      paths: audio or video files; one that is named twice is scored once.
      request: what is wanted.
      on_result: called for each recording that is done.

    Returns:
      (path, reason) of those without usable audio.

    Raises:
      errors.InputError: before any work: no recording, a setting that is none, or a file to be
        written that is there already. Later: a file that cannot be written.
    """
    request.check()
    bases = output_bases(paths, request.output_dir or ".")
    suffixes = [writers.FORMATS[name].suffix for name in request.formats]
    if not request.overwrite:
        for base in bases.values():
            for path in (base + suffix for suffix in suffixes):
                if os.path.exists(path):
                    raise errors.InputError(
                        f"{path}: there already; take another --output_dir, or --overwrite"
                    )
    names = writers.unique_names(model.vocabulary)
    broken = []
    total = round(sum(streams.seconds(path) or 0.0 for path in bases))
    with progress.bar("predicting", total or None, "s") as bar:
        for path, base in bases.items():
            bar.note(os.path.basename(path))
            try:
                with _writing(request, base, names) as open_writers:
                    result = _predict_one(model, path, request, open_writers, bar)
                    for writer in open_writers:
                        writer.finish(result)
            except decoding.AudioError as error:
                broken.append((path, str(error)))
                continue
            except OSError as error:
                raise errors.InputError(
                    f"{error.filename or base}: cannot be written ({error.strerror})"
                ) from error
            on_result(result)
    return broken


def output_bases(paths: Sequence[str], output_dir: str) -> dict[str, str]:
    """Where the files of each recording go: its path below the common parent of all.

    File extensions are kept, so that no two recordings share a name.

    Raises:
      errors.InputError: no recording.
    """
    if not paths:
        raise errors.InputError("no recording given")
    given: dict[str, str] = {}  # absolute path -> as it was given
    for path in paths:
        given.setdefault(os.path.abspath(path.replace("://", "/")), path)
    parent = os.path.commonpath([os.path.dirname(path) for path in given])
    return {
        path: os.path.join(output_dir, os.path.relpath(absolute, parent))
        for absolute, path in given.items()
    }


@contextlib.contextmanager
def _writing(request: Request, base: str, names: Sequence[str]) -> Iterator[list[writers.Writer]]:
    """Writers that leave nothing behind where scoring fails."""
    opened: list[writers.Writer] = []
    try:
        if request.formats:
            pathlib.Path(base).parent.mkdir(parents=True, exist_ok=True)
        for name in request.formats:
            opened.append(writers.FORMATS[name](base, names, request.hop_s))
        yield opened
    except BaseException:
        for writer in opened:
            writer.discard()
        raise


def _predict_one(
    model: predictor.Model,
    path: str,
    request: Request,
    open_writers: Sequence[writers.Writer],
    bar: progress.Bar,
) -> writers.Result:
    detector = event_detection.Detector(request.events, request.hop_s, waveform_scorer.FRAME_S)
    classes = len(model.vocabulary)
    total, highest = np.zeros(classes), np.zeros(classes)
    frames = counted = 0
    seconds = 0.0
    for chunk in model.stream(streams.blocks(path), request.hop_s, request.batch_size):
        times = predictor.frame_times(frames, len(chunk.scores), request.hop_s)
        inside = predictor.frames_inside(times, chunk.seconds)
        total += chunk.scores[inside].sum(axis=0, dtype=np.float64)
        highest = np.maximum(highest, chunk.scores.max(axis=0))
        counted += int(inside.sum())
        frames += len(times)
        detector.add(chunk.scores)
        for writer in open_writers:
            writer.add(times, chunk)
        bar.update(int(chunk.seconds) - int(seconds))
        seconds = chunk.seconds
    clip_scores = total / counted if request.top_by == MEAN else highest
    order = np.argsort(-clip_scores, kind="stable")[: request.top_k]
    top = [(int(label), float(clip_scores[label])) for label in order]
    return writers.Result(path, seconds, top, detector.finish(seconds))
