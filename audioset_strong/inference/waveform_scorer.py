"""From a waveform to frame scores in one graph: what `predictor.Model` runs and `export` writes.

The interface is YAMNet's (tensorflow/models, research/audioset/yamnet): called with a waveform of
any length it returns scores, embeddings and the log-mel spectrogram.
"""

import ast
import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.configuration import gin_files
from audioset_strong.core import errors
from audioset_strong.inputs.sampling import FRAME_SAMPLES
from audioset_strong.labels import framing
from audioset_strong.training import checkpoints

FRAME_S = framing.FRAME_MS / 1000  # what a frame's score speaks of
EMBEDDING_LAYER = "embedding"


def num_frames(samples: int, hop_samples: int = FRAME_SAMPLES) -> int:
    """Frames that it takes to score every sample of a recording; at least one.

    As YAMNet's: a frame a hop, until the last one's patch reaches the end.
    """
    return 1 + -(-max(samples - features.PATCH_SAMPLES, 0) // hop_samples)


class Scorer(tf.Module):
    """A network behind its front end."""

    def __init__(self, network: keras.Model, front_end: Mapping[str, Any]):
        """Joins the two.

        Args:
          network: log_mel float32 `[n, 96, 64]` -> logits `[n, classes]`, with a layer "embedding".
          front_end: arguments of `features.log_mel`, see `front_end_settings`.

        Raises:
          errors.InputError: a network without that layer.
        """
        super().__init__()
        self._network = with_embedding(network)
        self._log_mel = functools.partial(
            features.log_mel, front_end=features.FrontEnd.from_json(front_end)
        )

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "waveform"),
            tf.TensorSpec([], tf.int32, "hop_frames"),
        ]
    )
    def score(
        self, waveform: tf.Tensor, hop_frames: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores the frames whose patches lie within a waveform.

        Args:
          waveform: float32 `[samples]` at 16 kHz in [-1, 1]; at least 15,600 samples.
          hop_frames: int32, from one frame to the next, in the log-mel's frames of 10 ms.

        Returns:
          scores float32 `[frames, classes]` (sigmoid outputs), embeddings float32
          `[frames, depth]`, log-mel float32 `[n, 64]` of the whole waveform.
        """
        log_mel = self._log_mel(waveform)
        starts = tf.range(0, tf.shape(log_mel)[0] - features.PATCH_FRAMES + 1, hop_frames)
        rows = starts[:, tf.newaxis] + tf.range(features.PATCH_FRAMES)
        logits, embeddings = self._network(tf.gather(log_mel, rows), training=False)
        return tf.sigmoid(logits), tf.cast(embeddings, tf.float32), log_mel

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "waveform")])
    def __call__(self, waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores all of a waveform, a frame every 0.96 s, with silence behind its end.

        Args:
          waveform: float32 `[samples]` at 16 kHz in [-1, 1]; of any length.

        Returns:
          See `score`.
        """
        beyond = tf.maximum(tf.size(waveform) - features.PATCH_SAMPLES, 0)
        hops = -(-beyond // FRAME_SAMPLES)
        length = hops * FRAME_SAMPLES + features.PATCH_SAMPLES
        padded = tf.pad(waveform, [[0, length - tf.size(waveform)]])
        return self.score(padded, tf.constant(features.PATCH_FRAMES))


def with_embedding(network: keras.Model) -> keras.Model:
    """A network that returns logits and embeddings, on the same weights.

    Raises:
      errors.InputError: it has no layer "embedding".
    """
    if EMBEDDING_LAYER not in [layer.name for layer in network.layers]:
        raise errors.InputError(f"the network has no layer {EMBEDDING_LAYER!r}")
    embedding = network.get_layer(EMBEDDING_LAYER).output
    return keras.Model(network.inputs, [network.outputs[0], embedding])


def front_end_settings(workdir: str) -> dict[str, Any]:
    """The arguments of `features.log_mel` that a run was trained with.

    Its defaults, and what the run's gin config binds; what the process has bound does not count.

    Raises:
      errors.InputError: a binding that is no plain value.
    """
    settings: dict[str, Any] = dict(features.DEFAULT_FRONT_END.to_json())
    path = pathlib.Path(workdir) / gin_files.CONFIG_FILE
    text = path.read_text() if path.exists() else ""
    for name, value in re.findall(r"^(?:\w+\.)*log_mel\.(\w+) = (.+)$", text, re.MULTILINE):
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise errors.InputError(
                f"{path}: log_mel.{name} = {value}: must be a plain number for inference"
            ) from error
    return settings


def from_checkpoint(
    workdir: str, checkpoint: str, ema: bool = False
) -> tuple[Scorer, checkpoints.LoadedModel]:
    """A training run's model (or the moving average of its weights) behind its front end."""
    loaded = checkpoints.load_model(workdir, checkpoint, ema)
    return Scorer(loaded.model, front_end_settings(workdir)), loaded
