"""A trained model on recordings of any kind.

The Python interface of the project:

    model = audioset_strong.load_model("runs/plus_strong")
    prediction = model.predict(waveform, sample_rate)
    print(prediction.top(5))
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr
import tensorflow as tf

from audioset_strong.audio import decoding, features, streams
from audioset_strong.core import errors
from audioset_strong.inference import event_detection, waveform_scorer
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints

SAVED_MODEL_FILE = "saved_model.pb"
_HOP_MS = 1000 * features.HOP_SAMPLES // features.SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive frames of a recording, as `Model.stream` gives them.

    Attributes:
      scores: float32 `[frames, classes]`.
      embeddings: float32 `[frames, depth]`.
      log_mel: float32 `[n, 64]`, the spectrogram, at 10 ms, from the first frame's start to where
        the next chunk begins; the last one's to the end of the recording.
      seconds: of audio read so far.
    """

    scores: np.ndarray
    embeddings: np.ndarray
    log_mel: np.ndarray
    seconds: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says about one recording.

    Attributes:
      scores: float32 `[frames, classes]` in [0, 1]; of frame i about the 0.96 s from times[i] on.
      embeddings: float32 `[frames, depth]`, the network's last layer before the classes.
      times: float64 `[frames]`, where each frame begins, in seconds.
      hop_s: from one frame to the next.
      seconds: length of the recording.
      vocabulary: the classes, in the order of the scores' last axis.
    """

    scores: np.ndarray
    embeddings: np.ndarray
    times: np.ndarray
    hop_s: float
    seconds: float
    vocabulary: vocabularies.Vocabulary

    @property
    def class_names(self) -> tuple[str, ...]:
        """Display names, in the order of the scores' last axis."""
        return self.vocabulary.names

    def clip_scores(self) -> np.ndarray:
        """The recording's scores, float64 `[classes]`: means of the frames inside it."""
        inside = int(frames_inside(self.times, self.seconds).sum())
        return self.scores[:inside].mean(axis=0, dtype=np.float64)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k classes of highest clip score, as (display name, score), best first."""
        clip_scores = self.clip_scores()
        order = np.argsort(-clip_scores, kind="stable")[:k]
        return [(self.class_names[i], float(clip_scores[i])) for i in order]

    def events(
        self,
        threshold: float | np.ndarray = 0.5,
        hysteresis: float = 1.0,
        median_frames: int = 1,
    ) -> list[event_detection.Event]:
        """When which sounds are heard; see `events.Settings`.

        Args:
          threshold: of all classes, or float `[classes]`.
          hysteresis: share of the threshold above which an event goes on.
          median_frames: length of the median filter, odd.

        Returns:
          By start; `class_names[event.label]` is the class.

        Raises:
          errors.InputError: settings that make no events.
        """
        thresholds = np.broadcast_to(threshold, len(self.vocabulary))
        settings = event_detection.Settings(thresholds, hysteresis, median_frames)
        return event_detection.detect(
            self.scores, settings, self.seconds, self.hop_s, waveform_scorer.FRAME_S
        )


def frames_inside(times: np.ndarray, seconds: float) -> np.ndarray:
    """Whether a frame counts for its recording: where at least half of it lies inside.

    As in evaluation (`sampling.grid_patches`); the first frame always counts.

    Args:
      times: float `[frames]`, starts in seconds.
      seconds: length of the recording.

    Returns:
      bool `[frames]`.
    """
    inside = times + waveform_scorer.FRAME_S / 2 <= seconds + 1e-6
    return inside | (times == 0)


class Model:
    """A trained model: waveforms in, frame scores out. `load_model` makes one.

    Attributes:
      vocabulary: the classes.
      path: what it was loaded from.
    """

    def __init__(self, owner: Any, vocabulary: vocabularies.Vocabulary, path: str):
        """Wraps what scores.

        Args:
          owner: a `scorer.Scorer`, or an exported one loaded again.
          vocabulary: the classes.
          path: names the model in messages.
        """
        self._scorer = owner
        self.vocabulary = vocabulary
        self.path = path

    @property
    def class_names(self) -> tuple[str, ...]:
        """Display names of the classes, in the order of the scores' last axis."""
        return self.vocabulary.names

    def predict(
        self, waveform: np.ndarray, sample_rate: float, hop_s: float = waveform_scorer.FRAME_S
    ) -> Prediction:
        """Scores a waveform.

        Args:
          waveform: float `[samples]`, mono, in [-1, 1].
          sample_rate: Hz; whatever differs from 16 kHz is resampled.
          hop_s: seconds from one frame to the next, a multiple of 0.01 up to 0.96.

        Raises:
          errors.InputError: a waveform that is empty, of another shape or dtype, not finite or not
            in [-1, 1]; a rate or hop that is none.
        """
        mono = check_waveform(waveform)
        rate = _check_rate(sample_rate)
        if rate != features.SAMPLE_RATE:
            mono = soxr.resample(mono, rate, features.SAMPLE_RATE, quality="HQ")
        return self._collect(self.stream([mono], hop_s), hop_s, len(waveform) / rate)

    def predict_file(self, path: str, hop_s: float = waveform_scorer.FRAME_S) -> Prediction:
        """Scores an audio or video file of any format.

        Raises:
          errors.InputError: a hop that is none, or a file without usable audio.
        """
        try:
            return self._collect(self.stream(streams.blocks(path), hop_s), hop_s)
        except decoding.AudioError as error:
            raise errors.InputError(f"{path}: {error}") from error

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        hop_s: float = waveform_scorer.FRAME_S,
        batch_size: int = 32,
    ) -> Iterator[Chunk]:
        """Scores a recording piece by piece, in memory that does not grow with its length.

        Args:
          blocks: float32 `[samples]` each, one after the other, at 16 kHz.
          hop_s: seconds from one frame to the next, a multiple of 0.01 up to 0.96.
          batch_size: frames scored at a time.

        Yields:
          Chunks of `batch_size` frames, the last one of fewer; behind the recording's end there is
          silence.

        Raises:
          errors.InputError: a hop that is none, no sample at all, or scores that are no numbers.
        """
        hop_frames = check_hop(hop_s)
        if batch_size < 1:
            raise errors.InputError(f"batch_size {batch_size}: must be at least 1")
        hop = hop_frames * features.HOP_SAMPLES
        batch_hop = batch_size * hop
        needed = batch_hop - hop + features.PATCH_SAMPLES
        samples = frames = 0

        def chunk(waveform: np.ndarray, spectra: int) -> Chunk:
            scores, embeddings, log_mel = self._scorer.score(
                tf.constant(waveform, tf.float32), tf.constant(hop_frames)
            )
            if not np.isfinite(scores).all():
                raise errors.InputError(f"{self.path}: gives scores that are no numbers")
            return Chunk(
                scores.numpy(),
                embeddings.numpy(),
                log_mel.numpy()[:spectra],
                samples / features.SAMPLE_RATE,
            )

        held = np.zeros(0, np.float32)
        for block in blocks:
            samples += len(block)
            held = np.concatenate([held, block])
            while len(held) > needed:  # so that there is always something left for the last one
                yield chunk(held[:needed], batch_size * hop_frames)
                frames += batch_size
                held = held[batch_hop:]
        if not samples:
            raise errors.InputError("an empty waveform: there must be at least one sample")
        left = waveform_scorer.num_frames(samples, hop) - frames
        padded = np.zeros((left - 1) * hop + features.PATCH_SAMPLES, np.float32)
        padded[: len(held)] = held
        yield chunk(padded, -(-len(held) // features.HOP_SAMPLES))

    def _collect(
        self, chunks: Iterator[Chunk], hop_s: float, seconds: float | None = None
    ) -> Prediction:
        listed = list(chunks)
        scores = np.concatenate([chunk.scores for chunk in listed])
        return Prediction(
            scores=scores,
            embeddings=np.concatenate([chunk.embeddings for chunk in listed]),
            times=frame_times(0, len(scores), hop_s),
            hop_s=hop_s,
            seconds=listed[-1].seconds if seconds is None else seconds,
            vocabulary=self.vocabulary,
        )


def frame_times(first: int, count: int, hop_s: float) -> np.ndarray:
    """Starts of `count` frames from the `first` on, float64 seconds."""
    return np.arange(first, first + count) * check_hop(hop_s) * _HOP_MS / 1000


def check_hop(hop_s: float) -> int:
    """A hop in the log-mel's frames of 10 ms.

    Raises:
      errors.InputError: no multiple of 0.01 s, or one that would leave gaps.
    """
    hop_frames = round(hop_s * 1000 / _HOP_MS) if np.isfinite(hop_s) else 0
    if abs(hop_frames * _HOP_MS - hop_s * 1000) > 1e-6 or not (
        1 <= hop_frames <= features.PATCH_FRAMES
    ):
        raise errors.InputError(
            f"hop {hop_s} s: must be a multiple of 0.01 s, from 0.01 to {waveform_scorer.FRAME_S}"
        )
    return hop_frames


def check_waveform(waveform: Any) -> np.ndarray:
    """A waveform as float32 `[samples]`.

    Raises:
      errors.InputError: see `Model.predict`.
    """
    array = np.asarray(waveform)
    if not np.issubdtype(array.dtype, np.floating):
        raise errors.InputError(
            f"a waveform of {array.dtype}: must be float in [-1, 1]"
            + (" (divide int16 samples by 32768)" if array.dtype == np.int16 else "")
        )
    if array.ndim != 1:
        raise errors.InputError(
            f"a waveform of shape {array.shape}: must be [samples]; mix channels down before"
        )
    if not array.size:
        raise errors.InputError("an empty waveform: there must be at least one sample")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise errors.InputError(
            f"a waveform with {array[bad[0]]} at sample {bad[0]}: all must be finite"
        )
    largest = float(np.abs(array).max())
    if largest > decoding.MAX_ABSOLUTE:
        raise errors.InputError(
            f"a waveform with samples up to {largest:g}: must be scaled to [-1, 1]"
        )
    return array.astype(np.float32)


def _check_rate(sample_rate: float) -> float:
    try:
        rate = float(sample_rate)
    except (TypeError, ValueError):
        rate = 0.0
    if not decoding.MIN_RATE <= rate <= decoding.MAX_RATE:
        raise errors.InputError(f"sample rate {sample_rate!r}: must be in Hz, 1000 to 768000")
    return rate


def load_model(path: str | os.PathLike, ema: bool = False) -> Model:
    """Loads a trained model.

    Args:
      path: a checkpoint (".../checkpoints/step-500"), the workdir of a training run, which stands
        for the checkpoint that its evaluation selected, or a directory that tools/export.py wrote.
      ema: whether to take the moving average of a checkpoint's weights. What was exported is
        settled.

    Raises:
      errors.InputError: no model there, one that cannot be read, or without moving average.
    """
    name = os.fspath(path)
    if (pathlib.Path(name) / SAVED_MODEL_FILE).exists():
        if ema:
            raise errors.InputError(f"{name}: exported already; export it with --ema instead")
        return _load_saved_model(name)
    if (
        not pathlib.Path(name).exists()
        and not pathlib.Path(f"{name.removesuffix('.index')}.index").exists()
    ):
        raise errors.InputError(f"{name}: no such model; give a checkpoint, workdir or export")
    workdir, checkpoint = checkpoints.resolve(name)
    made, loaded = waveform_scorer.from_checkpoint(workdir, checkpoint, ema)
    return Model(made, loaded.vocabulary, name)


def _load_saved_model(path: str) -> Model:
    try:
        loaded = tf.saved_model.load(path)
        class_map_path, _ = loaded.class_map_path, loaded.score  # YAMNet itself has no `score`
        class_map = class_map_path().numpy().decode()
    except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise errors.InputError(f"{path}: no SavedModel of export.py ({reason})") from error
    vocabulary = vocabularies.Vocabulary.from_files([class_map])
    return Model(loaded, vocabulary, path)
