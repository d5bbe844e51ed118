"""TensorFlow Lite models, front end included, of built-in operators only.

A model takes one window, float32 `[15600]` (0.975 s at 16 kHz in [-1, 1]), so that every shape in
it is fixed, as delegates like it; a recording is scored window by window, a hop of 15,360 samples
apart. It returns what the SavedModel does: scores `[1, classes]`, embeddings `[1, depth]`, log-mel
`[96, 64]`.
"""

import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from audioset_strong.audio import features
from audioset_strong.inference import waveform_scorer

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
KINDS = (FLOAT32, FLOAT16, INT8)


def convert(network: keras.Model, front_end: Mapping[str, Any]) -> dict[str, bytes]:
    """Converts a network with its front end.

    Args:
      network: log_mel float32 `[n, 96, 64]` -> logits `[n, classes]`, with a layer "embedding".
      front_end: all arguments of `features.log_mel`.

    Returns:
      The model for each of `KINDS`: "float32"; "float16", weights of half the size; "int8", the
      network's weights as 8-bit integers, its activations quantised while it runs (dynamic range).
      The front end computes in float32 in all of them.
    """
    window = _Window(network, front_end)
    # The converter cannot fold Keras 3 variables ("missing attribute 'value'"): it gets constants.
    frozen = _Frozen(
        convert_to_constants.convert_variables_to_constants_v2(
            window.__call__.get_concrete_function()
        )
    )
    models = {}
    with tempfile.TemporaryDirectory() as directory:
        # By way of a SavedModel, which keeps the names of the signature.
        tf.saved_model.save(frozen, directory, frozen.__call__.get_concrete_function())
        for kind in KINDS:
            converter = tf.lite.TFLiteConverter.from_saved_model(directory)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if kind != FLOAT32:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind == FLOAT16:
                converter.target_spec.supported_types = [tf.float16]
            models[kind] = converter.convert()
    return models


def write(models: Mapping[str, bytes], directory: pathlib.Path) -> None:
    """Writes each model to KIND.tflite."""
    directory.mkdir(parents=True, exist_ok=True)
    for kind, model in models.items():
        (directory / f"{kind}.tflite").write_bytes(model)


class _Window(tf.Module):
    """One window through front end and network."""

    def __init__(self, network: keras.Model, front_end: Mapping[str, Any]):
        super().__init__()
        self._network = waveform_scorer.with_embedding(network)
        self._front_end = front_end

    @tf.function(input_signature=[tf.TensorSpec([features.PATCH_SAMPLES], tf.float32, "waveform")])
    def __call__(self, waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        log_mel = _log_mel(waveform, **self._front_end)
        logits, embeddings = self._network(log_mel[tf.newaxis], training=False)
        return tf.sigmoid(logits), tf.cast(embeddings, tf.float32), log_mel


class _Frozen(tf.Module):
    """A function without variables, under a signature of its own."""

    def __init__(self, function: Any):
        super().__init__()
        self._function = function

    @tf.function(input_signature=[tf.TensorSpec([features.PATCH_SAMPLES], tf.float32, "waveform")])
    def __call__(self, waveform: tf.Tensor) -> list[tf.Tensor]:
        return self._function(waveform)


def _log_mel(
    waveform: tf.Tensor,
    sample_rate: int,
    window_samples: int,
    hop_samples: int,
    fft_length: int,
    num_bands: int,
    lower_hz: float,
    upper_hz: float,
    offset: float,
) -> tf.Tensor:
    """`features.log_mel`, in a form that outlives quantisation.

    Rounded constants or inputs lose the quiet bands beside a loud one. So the mel bands are sums
    over each band's few bins, since "int8" would quantise a matrix product, its inputs too; and the
    Hann window comes in two parts, since "float16" rounds each constant.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    coarse = window.astype(np.float16).astype(np.float32)
    frames = tf.signal.frame(waveform, window_samples, hop_samples)
    windowed = frames * coarse + frames * (window - coarse).astype(np.float32)
    spectrum = tf.signal.rfft(windowed, [fft_length])
    bins = fft_length // 2 + 1
    with tf.init_scope():  # at once, whatever graph is being built
        matrix = tf.signal.linear_to_mel_weight_matrix(
            num_bands, bins, sample_rate, lower_hz, upper_hz
        ).numpy()
    first = (matrix > 0).argmax(axis=0)
    taps = np.arange((matrix > 0).sum(axis=0).max())
    rows = np.minimum(first[:, np.newaxis] + taps, bins - 1)  # [bands, taps]
    # A band's weights are above zero in neighbouring bins only; behind them stand zeros.
    band_weights = matrix[rows, np.arange(num_bands)[:, np.newaxis]]
    mel = tf.reduce_sum(tf.gather(tf.abs(spectrum), rows, axis=-1) * band_weights, axis=-1)
    return tf.math.log(mel + offset)
