"""The training step: batches in, better weights out, on one device or many."""

from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.training import distribution, losses
from audioset_strong.training.state import TrainState


class TrainStep:
    """Runs several training steps in-graph.

    With several replicas a step is that of one device at the global batch: losses and gradients are
    sums over all replicas, of labels whose weights have a global sum of one. Batch norm has a
    separate option for this, `resnet.synchronized_batch_norm`.
    """

    def __init__(
        self,
        state: TrainState,
        loss: losses.SigmoidCrossEntropy,
        *,
        strategy: tf.distribute.Strategy,
        to_model_input: Callable[[TrainBatch], TrainBatch],
        clip_norm: float | None = None,
        jit_compile: bool = False,
    ):
        """Builds the step.

        Args:
          state: what the step changes; its variables were made under the strategy's scope.
          loss: see `losses`.
          strategy: where the replicas run.
          to_model_input: computes log_mel where a batch has samples; called in each replica.
          clip_norm: gradients with a larger global norm are scaled down to it.
          jit_compile: whether XLA compiles the replicas' step.
        """
        self._state, self._loss, self._strategy = state, loss, strategy
        self._to_model_input, self._clip_norm = to_model_input, clip_norm
        self._replicas = strategy.num_replicas_in_sync
        self._scaled = isinstance(state.optimizer, keras.optimizers.LossScaleOptimizer)
        self._forward_backward: Callable = self._loss_and_gradients
        if jit_compile:
            # Not otherwise: replicas cannot meet, as synchronized batch norm does, in a function.
            self._forward_backward = tf.function(self._loss_and_gradients, jit_compile=True)
        self._run = tf.function(self._steps, reduce_retracing=True)

    def __call__(self, batches: Iterator, count: int) -> dict[str, tf.Tensor]:
        """Runs `count` steps.

        Args:
          batches: iterator of the strategy over batches of `train_patches`.
          count: number of steps.

        Returns:
          float32 `[count]` each: loss; gradient_norm (before clipping; 0 if float16 overflowed and
          the step was skipped); and wait_s, the seconds that the step waited for its batch.
        """
        return self._run(batches, tf.constant(count))

    def _steps(self, batches: Iterator, count: tf.Tensor) -> dict[str, tf.Tensor]:
        names = ("loss", "gradient_norm", "wait_s")
        arrays = [tf.TensorArray(tf.float32, count) for _ in names]
        for i in tf.range(count):
            asked = tf.timestamp()
            batch = next(batches)
            waited = tf.cast(tf.timestamp() - asked, tf.float32)
            total, norm = self._strategy.run(self._replica_step, (batch,))
            self._state.step_variable.assign_add(1)
            if self._state.average is not None:
                self._state.average.update(self._state.step_variable)
            # Every replica has the same two.
            same = (distribution.first(self._strategy, value) for value in (total, norm))
            values = (*same, waited)
            arrays = [array.write(i, value) for array, value in zip(arrays, values, strict=True)]
        return {name: array.stack() for name, array in zip(names, arrays, strict=True)}

    def _replica_step(self, batch: TrainBatch) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self._to_model_input(batch)
        weights = self._loss.weights(batch)
        total_weight = distribution.sum_over_replicas(tf.reduce_sum(weights))
        weights = tf.math.divide_no_nan(weights, total_weight)
        share, gradients = self._forward_backward(batch["log_mel"], batch["labels"], weights)
        total = distribution.sum_over_replicas(share)
        gradients = distribution.sum_over_replicas(gradients)
        norm = tf.linalg.global_norm(gradients)
        if self._scaled:
            norm /= self._state.optimizer.dynamic_scale
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)  # an overflow: no step is made
        self._state.optimizer.apply(
            self._rescaled(gradients, norm), self._state.net.trainable_variables
        )
        return total, norm

    def _loss_and_gradients(
        self, log_mel: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One replica's share of the loss and of its gradients."""
        with tf.GradientTape() as tape:
            share = self._loss(self._state.net(log_mel, training=True), labels, weights)
            target = self._state.optimizer.scale_loss(share) if self._scaled else share
        return share, tape.gradient(target, self._state.net.trainable_variables)

    def _rescaled(self, gradients: list[tf.Tensor], norm: tf.Tensor) -> list[tf.Tensor]:
        """The gradients that the optimizer is given: clipped, and divided among replicas."""
        if self._clip_norm is None and self._replicas == 1:
            return gradients
        factor: float | tf.Tensor = 1.0
        if self._clip_norm is not None:
            factor = self._clip_norm / tf.maximum(norm, self._clip_norm)
        if self._replicas > 1:
            # Keras sums over the replicas what they apply; here they have the sum already.
            factor /= self._replicas
        return [gradient * factor for gradient in gradients]
