"""Batch normalisation that trains with TensorFlow's fused kernel."""

import functools
from typing import Any

import keras
import tensorflow as tf


def fused_batch_norm(**settings: Any) -> keras.layers.BatchNormalization:
    """`keras.layers.BatchNormalization`, faster in training.

    Keras 3 trains with an operation for each step of the arithmetic; TensorFlow has one kernel for
    all of them. Results, weights and moving averages are the same. It is a layer of Keras's own
    class, so that Keras alone reads the networks that are saved; a copy made from its config trains
    in Keras's way.

    Args:
      **settings: of that class, for inputs `[batch, height, width, channels]`, normalised by
        channel. Statistics that replicas share (`synchronized`) have no such kernel, and remain
        with Keras.

    Example:
      >>> fused_batch_norm(momentum=0.9)(tf.ones([2, 3, 3, 4]), training=True).shape
      TensorShape([2, 3, 3, 4])
    """
    layer = keras.layers.BatchNormalization(**settings)
    if not layer.synchronized:
        layer.call = functools.partial(_call, layer, layer.call)
    return layer


def _call(
    layer: keras.layers.BatchNormalization,
    kerass_own: Any,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """The layer's `call`."""
    if not training or not layer.trainable or mask is not None:
        return kerass_own(inputs, training=training, mask=mask)
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs,
        tf.cast(layer.gamma, tf.float32),
        tf.cast(layer.beta, tf.float32),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel returns the unbiased variance n / (n - 1) var, but normalises, as Keras does, with
    # var.
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
    variance *= (count - 1.0) / count
    for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
    return outputs
