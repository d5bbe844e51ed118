"""Scores many recordings and writes separate files for each."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from audioset_strong.audio import decoding, streams
from audioset_strong.core import choices, errors, files, progress
from audioset_strong.inference import event_detection, predictor, waveform_scorer, writers

MEAN, MAX = choices.POOLINGS


@dataclasses.dataclass(frozen=True)
class PredictionRequest:
    """What to compute and write for each recording.

    Attributes:
      events: how scores become events.
      output_dir: of the files; None to write none.
      formats: keys of `writers.FORMATS`.
      hop_s: seconds from the start of one frame to the start of the next.
      top_k: number of top classes to report for a recording.
      top_by: the score that they are ranked by: "mean" over the frames, as in evaluation, or
        "max", which finds short sounds in long recordings.
      batch_size: frames scored at a time.
      overwrite: whether existing files are replaced.

    Raises:
      errors.InputError: an invalid setting. The hop depends on the model; `predict` checks it.
    """

    events: event_detection.EventSettings
    output_dir: str | None = None
    formats: tuple[str, ...] = ()
    hop_s: float = waveform_scorer.FRAME_S
    top_k: int = 5
    top_by: str = MEAN
    batch_size: int = 32
    overwrite: bool = False

    def __post_init__(self) -> None:
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
    *,
    request: PredictionRequest,
    on_result: Callable[[writers.Result], None] = lambda result: None,
) -> list[tuple[str, str]]:
    """Scores recordings one after the other; a broken one does not stop the others.

    Args:
      model: scores them.
      paths: audio or video files, or members of archives; a path that is named twice is scored
        once. `finding.recordings` lists those of folders.
      request: what to compute and write.
      on_result: called for each finished recording.

    Returns:
      (path, reason) of each recording without usable audio.

    Raises:
      errors.InputError: before any work: no recording, an invalid hop, or a file to be written that
        exists, is a recording, or is to be written about another one, too. Later: a file cannot be
        written, or scores are not finite.
    """
    waveform_scorer.hop_in_stft_frames(request.hop_s, model.front_end)
    directory = request.output_dir or "."
    bases = output_bases(paths, directory)
    _check_outputs(bases, request)
    names = writers.unique_names(model.vocabulary)
    broken = []
    lengths = [streams.known_seconds(path) for path in bases]
    total = None if None in lengths else round(sum(filter(None, lengths)))
    scored_s = end_s = 0.0

    def advance(seconds: float) -> None:
        nonlocal scored_s
        # The total is rounded once, and so is what is done, however many recordings there are.
        bar.update(round(scored_s + seconds) - round(scored_s))
        scored_s += seconds

    with progress.Bar("predicting", total or None, unit="s") as bar:
        for (path, base), length in zip(bases.items(), lengths, strict=True):
            bar.note(files.printable(os.path.basename(path)))
            try:
                with files.writing(directory), _writers(model, request, base, names) as opened:
                    result = _predict_one(
                        model, path, request=request, opened=opened, on_seconds=advance
                    )
                    for writer in opened:
                        writer.finish(result)
            except decoding.AudioError as error:
                broken.append((files.printable(path), str(error)))
            else:
                on_result(result)
            if total is not None and length is not None:
                end_s += length
                advance(end_s - scored_s)  # past what of a damaged recording cannot be scored
    return broken


def output_bases(paths: Sequence[str], output_dir: str) -> dict[str, str]:
    """Where the files of each recording are written: its path below the common parent of all.

    File extensions are kept, so that no two recordings share a name.

    Args:
      paths: of the recordings.
      output_dir: of all files.

    Returns:
      For each recording the path that a format's suffix is appended to.

    Raises:
      errors.InputError: no recording is given.
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


def _check_outputs(bases: Mapping[str, str], request: PredictionRequest) -> None:
    """Raises if a file to be written exists, is a recording, or is to be written twice."""
    recordings = {os.path.abspath(path) for path in bases if not files.is_remote(path)}
    owners: dict[str, str] = {}
    for recording, base in bases.items():
        for folder in pathlib.Path(base).parents if request.formats else ():
            if folder.is_file():  # such as an archive, whose name the folder of its members has
                raise errors.InputError(
                    f"{folder}: cannot be written (it is a file); take another --output_dir"
                )
        for name in request.formats:
            path = base + writers.FORMATS[name].suffix
            if path in owners:
                raise errors.InputError(
                    f"{path}: would be written about {owners[path]} and {recording}; predict them "
                    "one after the other, with an --output_dir each"
                )
            owners[path] = recording
            if os.path.abspath(path) in recordings:
                raise errors.InputError(
                    f"{path}: is a recording, and would be written about {recording}; take another "
                    "--output_dir"
                )
            if not request.overwrite and files.exists(path):
                raise errors.InputError(
                    f"{path}: exists already; take another --output_dir, or --overwrite"
                )


@contextlib.contextmanager
def _writers(
    model: predictor.Model, request: PredictionRequest, base: str, names: Sequence[str]
) -> Iterator[list[writers.Writer]]:
    """Gives a writer for each format; where the block raises, they leave nothing behind."""
    opened: list[writers.Writer] = []
    try:
        if request.formats:
            files.make_directory(os.path.dirname(base) or ".")
        for name in request.formats:
            made = writers.FORMATS[name](
                base, names=names, hop_s=request.hop_s, front_end=model.front_end
            )
            opened.append(made)
        yield opened
    except BaseException:
        for writer in opened:
            writer.discard()
        raise


def _predict_one(
    model: predictor.Model,
    path: str,
    *,
    request: PredictionRequest,
    opened: Sequence[writers.Writer],
    on_seconds: Callable[[float], None],
) -> writers.Result:
    hop_s = request.hop_s
    detector = event_detection.Detector(
        request.events, hop_s=hop_s, frame_s=waveform_scorer.FRAME_S
    )
    classes = len(model.vocabulary)
    total, highest = np.zeros(classes), np.zeros(classes)
    frames = counted = 0
    seconds = 0.0
    chunks = model.stream(model.blocks(path), hop_s=hop_s, batch_size=request.batch_size)
    for chunk in chunks:
        times = predictor.frame_starts(
            frames, len(chunk.scores), hop_s=hop_s, front_end=model.front_end
        )
        inside = predictor.frames_inside(times, chunk.seconds)
        total += chunk.scores[inside].sum(axis=0, dtype=np.float64)
        highest = np.maximum(highest, chunk.scores.max(axis=0))
        counted += int(inside.sum())
        frames += len(times)
        detector.add(chunk.scores)
        for writer in opened:
            writer.add(times, chunk)
        on_seconds(chunk.seconds - seconds)
        seconds = chunk.seconds
    clip_scores = total / counted if request.top_by == MEAN else highest
    order = np.argsort(-clip_scores, kind="stable")[: request.top_k]
    top = [(int(label), float(clip_scores[label])) for label in order]
    return writers.Result(files.printable(path), seconds, top, detector.finish(seconds))
