"""TensorFlow Lite models, front end included, of built-in operators only.

A model takes one patch, float32 `[front_end.patch_samples]` in [-1, 1] (by default 15,600 samples,
0.975 s at 16 kHz), so that every shape in it is fixed, as delegates require. A recording is scored
patch by patch, 0.96 s apart. The model returns what the SavedModel does, by the same names and in
the same order: scores `[1, classes]`, embeddings `[1, depth]`, log_mel `[stft_frames, bands]`.
"""

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.python.framework import convert_to_constants

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, extras, files, quiet_import
from audioset_strong.inference import waveform_scorer
from audioset_strong.models import embedding

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
KINDS = (FLOAT32, FLOAT16, INT8)
_INTERPRETER_MOVED = (2, 20)


def convert(network: keras.Model, front_end: FrontEnd) -> dict[str, bytes]:
    """Converts a network together with its front end.

    Args:
      network: log-mel float32 `[n, *front_end.patch_shape]` -> logits `[n, classes]`, with a layer
        "embedding".
      front_end: that the network was trained with.

    Returns:
      The model for each of `KINDS`: "float32"; "float16", weights of half the size; "int8", the
      network's weights as 8-bit integers, its activations quantised while it runs (dynamic range).
      The front end computes in float32 in all of them.
    """
    with quiet_import.without_native_notes():
        return _convert(network, front_end)


def _convert(network: keras.Model, front_end: FrontEnd) -> dict[str, bytes]:
    patch = _Patch(network, front_end)
    # The converter cannot fold Keras 3 variables ("missing attribute 'value'"): it gets constants.
    frozen = _Frozen(
        convert_to_constants.convert_variables_to_constants_v2(patch.score.get_concrete_function()),
        front_end,
    )
    models = {}
    with tempfile.TemporaryDirectory() as directory:
        # A SavedModel in between keeps the names of the signature.
        tf.saved_model.save(frozen, directory, frozen.score.get_concrete_function())
        for kind in KINDS:
            converter = tf.lite.TFLiteConverter.from_saved_model(directory)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if kind != FLOAT32:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind == FLOAT16:
                converter.target_spec.supported_types = [tf.float16]
            models[kind] = _in_order(converter.convert())
    return models


def _in_order(model: bytes) -> bytes:
    """A model whose outputs come in the order of `waveform_scorer.OUTPUTS`.

    The converter orders them by names of its own.
    """
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    (signature,) = content.signatureDefs
    tensors = {output.name.decode(): output.tensorIndex for output in signature.outputs}
    graph = content.subgraphs[signature.subgraphIndex]
    graph.outputs = [tensors[name] for name in waveform_scorer.OUTPUTS]
    builder = flatbuffers.Builder(len(model))
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def interpreter(model: str | bytes) -> Any:
    """Loads a model to run it from Python.

    TensorFlow's interpreter has moved to the package ai-edge-litert: TensorFlow 2.20 and newer ones
    warn of their own, which is to go. Older TensorFlow has the only one that is sure to know all
    that its converter writes.

    Args:
      model: the path of a model, or its content.

    Returns:
      The interpreter. `get_signature_runner()(waveform=...)` gives "scores", "embeddings" and
      "log_mel", which are also the order of `get_output_details()`.

    Raises:
      errors.InputError: TensorFlow is new and ai-edge-litert is not installed.
    """
    argument = {"model_content" if isinstance(model, bytes) else "model_path": model}
    if tuple(map(int, tf.__version__.split(".")[:2])) < _INTERPRETER_MOVED:
        return tf.lite.Interpreter(**argument)
    try:
        from ai_edge_litert import interpreter as litert
    except ImportError as error:
        raise errors.InputError(
            f"TensorFlow {tf.__version__} needs the package ai-edge-litert to run TensorFlow Lite "
            f"models ({errors.first_line(error)}); {extras.advice('tflite')}"
        ) from error
    return litert.Interpreter(**argument)


def write(models: Mapping[str, bytes], directory: str) -> None:
    """Writes each model to KIND.tflite in a directory, which is created if it is missing.

    Raises:
      OSError: a file cannot be written.
    """
    files.make_directory(directory)
    for kind, model in models.items():
        files.write_bytes(os.path.join(directory, f"{kind}.tflite"), model)


def _on_one_patch(function: Any, front_end: FrontEnd) -> Any:
    """A tf.function of one patch of the front end's length."""
    spec = tf.TensorSpec([front_end.patch_samples], tf.float32, "waveform")
    return tf.function(function, input_signature=[spec], autograph=False)


class _Patch(tf.Module):
    """One patch through front end and network."""

    def __init__(self, network: keras.Model, front_end: FrontEnd):
        super().__init__()
        self._network = embedding.with_embedding(network)
        self._front_end = front_end
        self.score = _on_one_patch(self._score, front_end)

    def _score(self, waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        log_mel = _log_mel(waveform, self._front_end)
        return (*waveform_scorer.score_patches(self._network, log_mel[tf.newaxis]), log_mel)


class _Frozen(tf.Module):
    """A function without variables, with a signature."""

    def __init__(self, function: Any, front_end: FrontEnd):
        super().__init__()
        self._function = function
        self.score = _on_one_patch(
            lambda waveform: waveform_scorer.named(function(waveform)), front_end
        )


def _log_mel(waveform: tf.Tensor, front_end: FrontEnd) -> tf.Tensor:
    """`features.log_mel` in a form that survives quantisation.

    Rounded constants or inputs lose the quiet bands beside a loud one. So the mel bands are sums
    over each band's few bins, because "int8" would quantise a matrix product, its inputs too; and
    the Hann window comes in two parts, because "float16" rounds each constant.
    """
    length = front_end.window_samples
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    coarse = window.astype(np.float16).astype(np.float32)
    frames = tf.signal.frame(waveform, length, front_end.hop_samples)
    windowed = frames * coarse + frames * (window - coarse).astype(np.float32)
    spectrum = tf.signal.rfft(windowed, [front_end.fft_length])
    bins = front_end.fft_length // 2 + 1
    with tf.init_scope():  # eagerly, whatever graph is being built
        matrix = tf.signal.linear_to_mel_weight_matrix(
            front_end.num_bands,
            bins,
            front_end.sample_rate,
            front_end.lower_hz,
            front_end.upper_hz,
        ).numpy()
    first = (matrix > 0).argmax(axis=0)
    taps = np.arange((matrix > 0).sum(axis=0).max())
    rows = np.minimum(first[:, np.newaxis] + taps, bins - 1)  # [bands, taps]
    # The weights of a band are above zero in neighbouring bins only; zeros follow them.
    band_weights = matrix[rows, np.arange(front_end.num_bands)[:, np.newaxis]]
    mel = tf.reduce_sum(tf.gather(tf.abs(spectrum), rows, axis=-1) * band_weights, axis=-1)
    return tf.math.log(mel + front_end.offset)
