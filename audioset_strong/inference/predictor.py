"""A trained model on recordings of any kind.

The Python interface of the project:

    model = audioset_strong.load_model("runs/plus_strong")
    prediction = model.predict(waveform, sample_rate)
    print(prediction.top(5))
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr
import tensorflow as tf

from audioset_strong.audio import decoding, features, streams
from audioset_strong.core import errors
from audioset_strong.inference import event_detection, waveform_scorer
from audioset_strong.labels import framing, vocabularies

_TIME_TOLERANCE_S = 1e-6


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive frames of a recording, as `Model.stream` gives them.

    Attributes:
      scores: float32 `[frames, classes]`.
      embeddings: float32 `[frames, depth]`.
      log_mel: float32 `[stft_frames, bands]`, the spectrogram from the start of the first frame to
        the start of the next chunk; in the last chunk, to the end of the recording.
      seconds: of audio read so far.
    """

    scores: np.ndarray
    embeddings: np.ndarray
    log_mel: np.ndarray
    seconds: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The scores of one recording.

    Attributes:
      scores: float32 `[frames, classes]` in [0, 1]; row i describes the 0.96 s from times[i] on.
      embeddings: float32 `[frames, depth]`, the network's last layer before the classes.
      times: float64 `[frames]`, the start of each frame in seconds.
      hop_s: seconds from the start of one frame to the start of the next.
      seconds: length of the recording.
      vocabulary: the classes, in the order of the scores' last axis.

    Example:
      >>> two = vocabularies.Vocabulary(("/m/d", "/m/c"), ("Dog", "Cat"))
      >>> scores = np.array([[0.1, 0.2], [0.9, 0.2], [0.8, 0.2]], np.float32)
      >>> times = np.array([0.0, 0.96, 1.92])
      >>> heard = Prediction(scores, scores, times, hop_s=0.96, seconds=2.88, vocabulary=two)
      >>> heard.clip_scores().round(2).tolist()
      [0.6, 0.2]
      >>> [(name, round(score, 2)) for name, score in heard.top(1)]
      [('Dog', 0.6)]
      >>> [(heard.class_names[e.label], e.start_s, e.end_s) for e in heard.events(0.5)]
      [('Dog', 0.96, 2.88)]
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
        """The scores of the whole recording, float64 `[classes]`: means over the frames inside."""
        inside = int(frames_inside(self.times, self.seconds).sum())
        return self.scores[:inside].mean(axis=0, dtype=np.float64)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k classes with the highest clip scores, as (display name, score), best first."""
        clip_scores = self.clip_scores()
        order = np.argsort(-clip_scores, kind="stable")[:k]
        return [(self.class_names[i], float(clip_scores[i])) for i in order]

    def events(
        self,
        threshold: float | np.ndarray = 0.5,
        *,
        hysteresis: float = 1.0,
        median_hops: int = 1,
    ) -> list[event_detection.Event]:
        """When which sounds are heard; see `event_detection.EventSettings`.

        Args:
          threshold: of all classes, or float `[classes]`.
          hysteresis: share of the threshold down to which an event continues.
          median_hops: length of the median filter in scores, one every hop; odd.

        Returns:
          The events in the order of their starts; `class_names[event.label]` is the class.

        Raises:
          errors.InputError: invalid settings.
        """
        thresholds = np.broadcast_to(threshold, len(self.vocabulary))
        settings = event_detection.EventSettings(
            thresholds, hysteresis=hysteresis, median_hops=median_hops
        )
        return event_detection.detect(
            self.scores,
            settings,
            seconds=self.seconds,
            hop_s=self.hop_s,
            frame_s=waveform_scorer.FRAME_S,
        )


def frames_inside(times: np.ndarray, seconds: float) -> np.ndarray:
    """Whether frames count for their recording: at least half of a frame must lie inside it.

    This is the rule of evaluation, `framing.frames_inside`, except that the first frame always
    counts, so that every recording has a score.

    Args:
      times: float `[frames]`, the frames' starts in seconds.
      seconds: length of the recording.

    Returns:
      bool `[frames]`.

    Example:
      >>> frames_inside(np.array([0.0, 0.96, 1.92]), seconds=2.0).tolist()
      [True, True, False]
    """
    inside = framing.frames_inside(times, waveform_scorer.FRAME_S, seconds + _TIME_TOLERANCE_S)
    return inside | (times == 0)


class Model:
    """A trained model that turns waveforms into frame scores; `model_loading.load_model` makes one.

    Example, in `demo_output` or another directory with a trained model:
      >>> from audioset_strong.inference import model_loading
      >>> model = model_loading.load_model("runs/plus_strong")
      >>> noise = np.random.default_rng(0).normal(size=40_000).astype(np.float32) / 10
      >>> model.predict(noise, 16_000).scores.shape == (3, len(model.class_names))
      True
      >>> [chunk.scores.shape[0] for chunk in model.stream([noise, noise], batch_size=4)]
      [4, 2]
      >>> import soundfile
      >>> soundfile.write("noise.wav", noise, 16_000)
      >>> model.predict_file("noise.wav").times.tolist()
      [0.0, 0.96, 1.92]
      >>> sum(len(block) for block in model.blocks("noise.wav"))
      40000

    Attributes:
      vocabulary: the classes.
      front_end: that the model was trained with.
      path: what it was loaded from.
    """

    def __init__(
        self,
        scorer: Any,
        vocabulary: vocabularies.Vocabulary,
        *,
        front_end: features.FrontEnd,
        path: str,
    ):
        """Wraps a scorer.

        Args:
          scorer: a `WaveformScorer`, or an exported one that was loaded.
          vocabulary: the classes.
          front_end: of the scorer.
          path: names the model in messages.
        """
        self._scorer = scorer
        self.vocabulary = vocabulary
        self.front_end = front_end
        self.path = path

    @property
    def class_names(self) -> tuple[str, ...]:
        """Display names of the classes, in the order of the scores' last axis."""
        return self.vocabulary.names

    def predict(
        self,
        waveform: np.ndarray,
        sample_rate: float,
        *,
        hop_s: float = waveform_scorer.FRAME_S,
    ) -> Prediction:
        """Scores a waveform.

        Args:
          waveform: float `[samples]`, mono, in [-1, 1].
          sample_rate: Hz; resampled where it differs from the front end's, 16 kHz by default.
          hop_s: seconds from the start of one frame to the start of the next; a multiple of the
            front end's hop (0.01 s by default), up to 0.96.

        Raises:
          errors.InputError: a waveform that is empty, of another shape or type, not finite or not
            in [-1, 1]; an invalid sample rate or hop.
        """
        mono = check_waveform(waveform)
        rate = _check_rate(sample_rate)
        if rate != self.front_end.sample_rate:
            mono = soxr.resample(mono, rate, self.front_end.sample_rate, quality="HQ")
        return self._collect(self.stream([mono], hop_s=hop_s), hop_s, len(waveform) / rate)

    def predict_file(self, path: str, *, hop_s: float = waveform_scorer.FRAME_S) -> Prediction:
        """Scores an audio or video file of any format.

        Args:
          path: local, or on a file system of `tf.io.gfile`.
          hop_s: see `predict`.

        Raises:
          errors.InputError: an invalid hop, or a file without usable audio.
        """
        try:
            return self._collect(self.stream(self.blocks(path), hop_s=hop_s), hop_s)
        except decoding.AudioError as error:
            raise errors.InputError(f"{path}: {error}") from error

    def blocks(self, path: str) -> Iterator[np.ndarray]:
        """Decodes a recording at the front end's sample rate; see `streams.blocks`."""
        return streams.blocks(path, self.front_end.sample_rate)

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        *,
        hop_s: float = waveform_scorer.FRAME_S,
        batch_size: int = 32,
    ) -> Iterator[Chunk]:
        """Scores a recording piece by piece, in memory that does not grow with its length.

        Args:
          blocks: float32 `[samples]` each, consecutive, at the front end's sample rate.
          hop_s: see `predict`.
          batch_size: frames scored at a time.

        Yields:
          Chunks of `batch_size` frames, the last one of fewer. Silence follows the end of the
          recording.

        Raises:
          errors.InputError: an invalid hop, no sample at all, or scores that are not finite.
        """
        hop_stft_frames = waveform_scorer.hop_in_stft_frames(hop_s, self.front_end)
        if batch_size < 1:
            raise errors.InputError(f"batch_size {batch_size}: must be at least 1")
        patch = self.front_end.patch_samples
        hop = hop_stft_frames * self.front_end.hop_samples
        batch_hop = batch_size * hop
        needed = batch_hop - hop + patch
        samples = frames = 0
        buffer = np.zeros(0, np.float32)
        for block in blocks:
            samples += len(block)
            buffer = np.concatenate([buffer, block])
            # Something is always left for the last chunk.
            while len(buffer) > max(needed, batch_hop):
                yield self._score(
                    buffer[:needed], hop_stft_frames, samples=samples, own_samples=batch_hop
                )
                frames += batch_size
                buffer = buffer[batch_hop:]
        if not samples:
            raise errors.InputError("an empty waveform: there must be at least one sample")
        left = waveform_scorer.num_frames(samples, hop, patch_samples=patch) - frames
        padded = np.zeros((left - 1) * hop + patch, np.float32)
        padded[: len(buffer)] = buffer
        yield self._score(padded, hop_stft_frames, samples=samples, own_samples=len(buffer))

    def _score(
        self, waveform: np.ndarray, hop_stft_frames: int, *, samples: int, own_samples: int
    ) -> Chunk:
        """Scores one chunk, whose own spectrogram ends after `own_samples` samples."""
        scores, embeddings, log_mel = self._scorer.score(
            tf.constant(waveform, tf.float32), tf.constant(hop_stft_frames)
        )
        if not np.isfinite(scores).all():
            raise errors.InputError(f"{self.path}: gives scores that are not finite")
        return Chunk(
            scores=scores.numpy(),
            embeddings=embeddings.numpy(),
            log_mel=log_mel.numpy()[: -(-own_samples // self.front_end.hop_samples)],
            seconds=samples / self.front_end.sample_rate,
        )

    def _collect(
        self, chunks: Iterator[Chunk], hop_s: float, seconds: float | None = None
    ) -> Prediction:
        collected = list(chunks)
        scores = np.concatenate([chunk.scores for chunk in collected])
        return Prediction(
            scores=scores,
            embeddings=np.concatenate([chunk.embeddings for chunk in collected]),
            times=frame_starts(0, len(scores), hop_s=hop_s, front_end=self.front_end),
            hop_s=hop_s,
            seconds=collected[-1].seconds if seconds is None else seconds,
            vocabulary=self.vocabulary,
        )


def frame_starts(
    first: int, count: int, *, hop_s: float, front_end: features.FrontEnd
) -> np.ndarray:
    """Starts of consecutive frames in seconds.

    >>> frame_starts(2, 3, hop_s=0.48, front_end=features.DEFAULT_FRONT_END).tolist()
    [0.96, 1.44, 1.92]

    Args:
      first: index of the first frame.
      count: of frames.
      hop_s: see `Model.predict`.
      front_end: of the model.

    Returns:
      float64 `[count]`.
    """
    hop = waveform_scorer.hop_in_stft_frames(hop_s, front_end) * front_end.hop_samples
    return np.arange(first, first + count) * hop / front_end.sample_rate


def check_waveform(waveform: Any) -> np.ndarray:
    """Checks a waveform and converts it to float32 `[samples]`.

    Raises:
      errors.InputError: see `Model.predict`.

    Example:
      >>> check_waveform([0.5, -0.25])
      array([ 0.5 , -0.25], dtype=float32)
    """
    array = np.asarray(waveform)
    if not np.issubdtype(array.dtype, np.floating):
        raise errors.InputError(
            f"a waveform of {array.dtype}: must be float in [-1, 1]"
            + (" (divide int16 samples by 32768)" if array.dtype == np.int16 else "")
        )
    if array.ndim != 1:
        raise errors.InputError(
            f"a waveform of shape {array.shape}: must be [samples]; mix the channels down first"
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
        limits = f"{decoding.MIN_RATE} to {decoding.MAX_RATE}"
        raise errors.InputError(f"sample rate {sample_rate!r}: must be in Hz, {limits}")
    return rate
