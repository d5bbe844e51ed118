"""The training step: batches in, better weights out, on one device or many."""

from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from audioset_strong.inputs import sampling
from audioset_strong.training import distribution, losses, optimizers


def make_step(
    strategy: tf.distribute.Strategy,
    net: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: losses.SigmoidCrossEntropy,
    step: tf.Variable,
    average: optimizers.MovingAverage | None = None,
    clip_norm: float | None = None,
    jit_compile: bool = False,
) -> Callable[[Iterator, tf.Tensor], dict[str, tf.Tensor]]:
    """Builds what runs several steps in-graph.

    With several replicas a step is that of one device at the global batch: losses and gradients are
    sums over all replicas, of labels whose weights have a global sum of one (batch norm has an
    option of its own for this, `resnet.synchronized_batch_norm`).

    Args:
      strategy: under whose scope all variables were made.
      net: log_mel -> logits.
      optimizer: built for the network.
      loss: see `losses`.
      step: int64, counted up.
      average: updated after each step.
      clip_norm: gradients of a larger global norm are scaled down to it.
      jit_compile: whether XLA compiles the replicas' step.

    Returns:
      A function of an iterator of batches and `count`, to float32 `[count]` each: loss,
      gradient_norm (before clipping; 0 where float16 overflowed and the step was left out), and
      wait_s, the seconds that the step waited for its batch.
    """
    replicas = strategy.num_replicas_in_sync
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)

    def forward_backward(
        log_mel: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One replica's share of the loss and of its gradients."""
        with tf.GradientTape() as tape:
            share = loss(net(log_mel, training=True), labels, weights)
            target = optimizer.scale_loss(share) if scaled else share
        return share, tape.gradient(target, net.trainable_variables)

    if jit_compile:
        # Not otherwise: replicas cannot meet, as synchronized batch norm does, within a function.
        forward_backward = tf.function(forward_backward, jit_compile=True)

    def replica_step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        batch = sampling.to_model_input(batch)
        weights = loss.weights(batch)
        total_weight = distribution.sum_over_replicas(tf.reduce_sum(weights))
        weights = tf.math.divide_no_nan(weights, total_weight)
        share, gradients = forward_backward(batch["log_mel"], batch["labels"], weights)
        total = distribution.sum_over_replicas(share)
        gradients = distribution.sum_over_replicas(gradients)
        norm = tf.linalg.global_norm(gradients)
        if scaled:
            norm /= optimizer.dynamic_scale
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)  # an overflow: no step is made
        factor: float | tf.Tensor = 1.0
        if clip_norm is not None:
            factor = clip_norm / tf.maximum(norm, clip_norm)
        if replicas > 1:
            # Keras sums over the replicas what they apply; here they have the sum already.
            factor /= replicas
        if clip_norm is not None or replicas > 1:
            gradients = [gradient * factor for gradient in gradients]
        optimizer.apply(gradients, net.trainable_variables)
        return total, norm

    @tf.function(reduce_retracing=True)
    def run_steps(batches: Iterator, count: tf.Tensor) -> dict[str, tf.Tensor]:
        names = ("loss", "gradient_norm", "wait_s")
        arrays = [tf.TensorArray(tf.float32, count) for _ in names]
        for i in tf.range(count):
            asked = tf.timestamp()
            batch = next(batches)
            waited = tf.cast(tf.timestamp() - asked, tf.float32)
            total, norm = strategy.run(replica_step, (batch,))
            step.assign_add(1)
            if average is not None:
                average.update(step)
            # Every replica has the same two.
            same = (distribution.first(strategy, value) for value in (total, norm))
            values = (*same, waited)
            arrays = [array.write(i, value) for array, value in zip(arrays, values, strict=True)]
        return {name: array.stack() for name, array in zip(names, arrays, strict=True)}

    return run_steps
