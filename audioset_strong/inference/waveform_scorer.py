"""From a waveform to frame scores in one graph: what `predictor.Model` runs and `export` writes.

The interface is YAMNet's (https://github.com/tensorflow/models/tree/master/research/audioset/yamnet):
called with a waveform of any length it returns scores, embeddings and the log-mel spectrogram.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.labels import framing
from audioset_strong.models import embedding
from audioset_strong.training import checkpoints

FRAME_S = framing.FRAME_MS / 1000  # length of the interval that a score describes
# What an exported model's signature calls its three outputs, in this order.
OUTPUTS = ("scores", "embeddings", "log_mel")


def num_frames(samples: int, hop_samples: int, *, patch_samples: int) -> int:
    """Number of frames that it takes to score every sample of a recording; at least one.

    As in YAMNet: one frame every hop, until a patch reaches the end of the recording.

    >>> num_frames(160_000, 15_360, patch_samples=15_600)
    11

    Args:
      samples: length of the recording.
      hop_samples: samples from the start of one frame to the start of the next.
      patch_samples: samples that one score is computed from, see `FrontEnd.patch_samples`.
    """
    return 1 + -(-max(samples - patch_samples, 0) // hop_samples)


def hop_in_stft_frames(hop_s: float, front_end: features.FrontEnd) -> int:
    """Converts the hop between two scores to STFT frames.

    >>> hop_in_stft_frames(0.24, features.DEFAULT_FRONT_END)
    24

    Args:
      hop_s: seconds from the start of one frame to the start of the next.
      front_end: of the model.

    Raises:
      errors.InputError: the hop is not a multiple of the front end's hop, or longer than a frame,
        which would leave gaps.
    """
    samples = hop_s * front_end.sample_rate
    # Any other value than a finite number of the right size becomes 0, which is refused.
    small = 0.0 < samples < 2 * front_end.frame_samples
    hop = round(samples / front_end.hop_samples) if small else 0
    off_grid = abs(hop * front_end.hop_samples - samples) > 1e-9 * front_end.frame_samples
    if not 1 <= hop <= front_end.stft_frames_per_patch or off_grid:
        step_s = front_end.hop_samples / front_end.sample_rate
        raise errors.InputError(
            f"hop {hop_s} s: must be a multiple of {step_s:g} s, up to {FRAME_S:g} s"
        )
    return hop


class WaveformScorer(tf.Module):
    """A network and the front end that it was trained with, as one function of a waveform.

    Attributes:
      front_end: computes the network's input.
    """

    def __init__(self, network: keras.Model, front_end: features.FrontEnd):
        """Combines network and front end.

        Args:
          network: log-mel float32 `[n, *front_end.patch_shape]` -> logits `[n, classes]`, with a
            layer "embedding".
          front_end: that the network was trained with.

        Raises:
          errors.InputError: the network has no such layer, or takes patches of another shape.
        """
        super().__init__()
        shape = tuple(network.inputs[0].shape[1:])
        if shape != front_end.patch_shape:
            raise errors.InputError(
                f"the network takes log-mel patches of {shape[0]} x {shape[1]} values, but the "
                f"front end gives {front_end.patch_shape[0]} x {front_end.patch_shape[1]}"
            )
        self._network = embedding.with_embedding(network)
        self.front_end = front_end

    # Nothing here is for AutoGraph to convert, which would take longer than building the graph.
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "waveform"),
            tf.TensorSpec([], tf.int32, "hop_stft_frames"),
        ],
        autograph=False,
    )
    def score(
        self, waveform: tf.Tensor, hop_stft_frames: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores the frames whose patches lie within a waveform.

        Args:
          waveform: float32 `[samples]` in [-1, 1] at the front end's sample rate; at least
            `front_end.patch_samples` samples.
          hop_stft_frames: int32 scalar, STFT frames from the start of one frame to the next.

        Returns:
          scores float32 `[frames, classes]` (sigmoid outputs), embeddings float32
          `[frames, depth]`, log-mel float32 `[stft_frames, bands]` of the whole waveform.
        """
        log_mel = features.log_mel(waveform, self.front_end)
        scores, embeddings = self.score_log_mel(log_mel, hop_stft_frames)
        return scores, embeddings, log_mel

    def score_log_mel(
        self, log_mel: tf.Tensor, hop_stft_frames: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores the frames whose patches lie within a log-mel spectrogram.

        Args:
          log_mel: float32 `[stft_frames, bands]`.
          hop_stft_frames: int32 scalar, STFT frames from the start of one frame to the next.

        Returns:
          scores float32 `[frames, classes]`, embeddings float32 `[frames, depth]`; see
          `score_patches`.
        """
        length = self.front_end.stft_frames_per_patch
        starts = tf.range(0, tf.shape(log_mel)[0] - length + 1, hop_stft_frames)
        patches = tf.gather(log_mel, starts[:, tf.newaxis] + tf.range(length))
        return score_patches(self._network, patches)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "waveform")], autograph=False)
    def __call__(self, waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores a whole waveform, one frame every 0.96 s; silence follows its end.

        Args:
          waveform: float32 `[samples]` of any length, in [-1, 1] at the front end's sample rate.

        Returns:
          See `score`.
        """
        patch, hop = self.front_end.patch_samples, self.front_end.frame_samples
        hops = -(-tf.maximum(tf.size(waveform) - patch, 0) // hop)
        padded = tf.pad(waveform, [[0, hops * hop + patch - tf.size(waveform)]])
        return self.score(padded, tf.constant(self.front_end.stft_frames_per_patch))


def score_patches(network: keras.Model, patches: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a network on log-mel patches.

    Args:
      network: see `embedding.with_embedding`.
      patches: float32 `[frames, stft_frames, bands]`.

    Returns:
      scores float32 `[frames, classes]` (sigmoid outputs), embeddings float32 `[frames, depth]`. A
      patch with a NaN has NaN for all of them.
    """
    logits, embeddings = network(patches, training=False)
    # A rectifier may make a number of NaN. What is written here TensorFlow Lite has built in.
    unclear = tf.reduce_any(tf.not_equal(patches, patches), axis=[1, 2])[:, tf.newaxis]
    nan = tf.constant(float("nan"))
    return (
        tf.where(unclear, nan, tf.sigmoid(tf.cast(logits, tf.float32))),
        tf.where(unclear, nan, tf.cast(embeddings, tf.float32)),
    )


def named(outputs: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """The three outputs of a model by their names, for a signature."""
    return dict(zip(OUTPUTS, outputs, strict=True))


def from_checkpoint(
    workdir: str, checkpoint: str, *, ema: bool = False
) -> tuple[WaveformScorer, checkpoints.LoadedModel]:
    """Loads the model of a training run together with the front end of that run.

    Args:
      workdir: of the run, or an export.
      checkpoint: path of one of its checkpoints.
      ema: whether to take the moving average of the weights.

    Raises:
      errors.InputError: there is no such model, no `run.json`, or no moving average.
    """
    loaded = checkpoints.load_model(workdir, checkpoint, ema=ema)
    return WaveformScorer(loaded.model, loaded.run.front_end), loaded
