"""Training losses."""

import tensorflow as tf


def sigmoid_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, label_weights: tf.Tensor
) -> tf.Tensor:
    """Mean binary cross-entropy over the labels that count; every unlabelled class is negative.

    Source: section 4 of the paper (independent sigmoid outputs).

    Args:
      logits: float32 `[batch, classes]`.
      labels: float32 `[batch, classes]`, 0 or 1.
      label_weights: float32 `[batch, classes]`, 0 where a class does not count.

    Returns:
      A float32 scalar: the weighted mean over batch and classes.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.math.divide_no_nan(
        tf.reduce_sum(losses * label_weights), tf.reduce_sum(label_weights)
    )
