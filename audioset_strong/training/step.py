"""The training step: batches in, better weights out, on one device or many."""

import contextlib
import re
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.models import embedding
from audioset_strong.training import distribution, losses
from audioset_strong.training.pooling import PooledLoss
from audioset_strong.training.state import TrainState

# How XLA begins to tell what it cannot compile.
_UNSUPPORTED = re.compile(
    r"(Detected unsupported operations when trying to compile graph [^\n]*\n?[^\n]*"
    r"|[^\n]*(?:not compilable|XLA can't|No registered '\w+' OpKernel for XLA)[^\n]*"
    r"|(?<=Failed getting HLO text: ')[^\n]*)"
)


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
        accumulate: int = 1,
        jit_compile: bool = False,
        windows_per_bag: int = 1,
    ):
        """Builds the step.

        Args:
          state: what the step changes; its variables were made under the strategy's scope.
          loss: see `losses`.
          strategy: where the replicas run.
          to_model_input: computes log_mel where a batch has samples; called in each replica.
          clip_norm: gradients with a larger global norm are scaled down to it.
          accumulate: number of parts in which each replica works through its share of a batch.
          jit_compile: whether XLA compiles the replicas' step.
          windows_per_bag: windows that the state's pooling, if it has one, pools.

        Raises:
          errors.InputError: replicas would have to meet where they cannot, see `_check_meeting`.
        """
        self._state, self._loss, self._strategy = state, loss, strategy
        self._to_model_input, self._clip_norm = to_model_input, clip_norm
        self._accumulate = accumulate
        self._net, self._pooled_loss = state.net, None
        if state.pooling:
            self._pooled_loss = PooledLoss(loss, state.pooling, windows_per_bag)
            if state.pooling.needs_embeddings:
                self._net = embedding.with_embedding(state.net)
        self._replicas = strategy.num_replicas_in_sync
        self._scaled = isinstance(state.optimizer, keras.optimizers.LossScaleOptimizer)
        self._check_meeting(jit_compile=jit_compile)
        self._forward_backward: Callable = self._loss_and_gradients
        if jit_compile:
            # Not otherwise: replicas cannot meet, as synchronized batch norm does, in a function.
            self._forward_backward = tf.function(self._loss_and_gradients, jit_compile=True)
        # AutoGraph has nothing to convert here, and does not look into Keras; yet it takes a good
        # part of the time from launch to the first step.
        self._run = tf.function(self._steps, reduce_retracing=True, autograph=False)

    def __call__(self, batches: Iterator, count: int) -> dict[str, tf.Tensor]:
        """Runs `count` steps.

        Args:
          batches: iterator of the strategy over batches of `train_patches`.
          count: number of steps.

        Returns:
          float32 `[count]` each: loss; gradient_norm (before clipping; 0 if float16 overflowed and
          the step was skipped); learning_rate, at which the step was made; and wait_s, the seconds
          that the step waited for its batch.

        Raises:
          errors.InputError: XLA is to compile the step, as it always does on TPUs, and cannot.
        """
        with _reporting_what_xla_cannot_compile():
            return self._run(batches, tf.constant(count))

    def check_compiles(self, batch: TrainBatch, *, whole: bool) -> None:
        """Has XLA read the step, which takes a fraction of compiling it; no step is made.

        Args:
          batch: like those of one replica; its values do not matter.
          whole: whether all of `make` is compiled, as on TPUs, or what `jit_compile` compiles.

        Raises:
          errors.InputError: XLA cannot compile it.
        """
        compiled: Callable = self.make
        arguments: tuple = (batch,)
        if not whole:
            compiled, batch = self._loss_and_gradients, self._to_model_input(batch)
            part = len(batch["labels"]) // self._accumulate
            arguments = tuple(each[:part] for each in self._targets(batch, batch["labels"]))
        function = tf.function(compiled, jit_compile=True, autograph=False)
        with _reporting_what_xla_cannot_compile():
            function.experimental_get_compiler_ir(*arguments)(stage="hlo")

    def _check_meeting(self, *, jit_compile: bool) -> None:
        """Replicas cannot meet within loops and functions, as synchronized batch norm has them."""
        inside = [f"train.accumulate = {self._accumulate}"] if self._accumulate > 1 else []
        inside += ["train.jit_compile = True"] if jit_compile else []
        layers = self._state.net.layers
        if self._replicas > 1 and inside and any(_is_synchronized(layer) for layer in layers):
            raise errors.InputError(
                f"{inside[0]}: cannot be combined with resnet.synchronized_batch_norm = True on "
                f"{self._replicas} replicas; leave one of the two out"
            )

    def _steps(self, batches: Iterator, count: tf.Tensor) -> dict[str, tf.Tensor]:
        names = ("loss", "gradient_norm", "learning_rate", "wait_s")

        def one(done: tf.Tensor, *arrays: tf.TensorArray) -> tuple[tf.Tensor | tf.TensorArray, ...]:
            asked = tf.timestamp()
            batch = next(batches)
            waited = tf.cast(tf.timestamp() - asked, tf.float32)
            values = (*self.make(batch), waited)
            written = [array.write(done, v) for array, v in zip(arrays, values, strict=True)]
            return done + 1, *written

        arrays = [tf.TensorArray(tf.float32, count) for _ in names]
        _, *arrays = tf.while_loop(lambda done, *_: done < count, one, [tf.constant(0), *arrays])
        return {name: array.stack() for name, array in zip(names, arrays, strict=True)}

    def make(self, batch: TrainBatch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes one step, in-graph.

        Args:
          batch: of each replica, as the strategy's iterator gives it.

        Returns:
          Loss, gradient norm and learning rate of the step; float32 scalars.
        """
        rate = self._state.learning_rate()
        total, norm = self._strategy.run(self._replica_step, (batch,))
        self._state.step_variable.assign_add(1)
        if self._state.average is not None:
            self._state.average.update(self._state.step_variable)
        # Every replica has the same two.
        total, norm = (distribution.first(self._strategy, value) for value in (total, norm))
        return total, norm, rate

    def _replica_step(self, batch: TrainBatch) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self._to_model_input(batch)
        weights = self._loss.weights(batch)
        if self._pooled_loss:
            weights = self._pooled_loss.weights(weights, batch["pooled"])
        total_weight = distribution.sum_over_replicas(tf.reduce_sum(weights))
        weights = tf.math.divide_no_nan(weights, total_weight)
        share, gradients = self._in_parts(*self._targets(batch, weights))
        total = distribution.sum_over_replicas(share)
        gradients = distribution.sum_over_replicas(gradients)
        norm = tf.linalg.global_norm(gradients)
        if self._scaled:
            norm /= self._state.optimizer.dynamic_scale
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)  # an overflow: no step is made
        self._state.optimizer.apply(
            self._rescaled(gradients, norm), self._state.trainable_variables
        )
        return total, norm

    def _targets(self, batch: TrainBatch, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """What `_loss_and_gradients` takes."""
        pooled = (batch["pooled"],) if self._pooled_loss else ()
        return batch["log_mel"], batch["labels"], weights, *pooled

    def _in_parts(self, *targets: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One replica's share of the loss and of its gradients, added up over parts of the batch.

        The weights have a global sum of one already, so sums over parts are those of the batch.
        """
        if self._accumulate == 1:
            return self._forward_backward(*targets)
        log_mel = targets[0]
        # Batches of several processes have no known size; XLA, which needs one, is given it else.
        known = log_mel.shape[0]
        examples = (tf.shape(log_mel)[0] if known is None else known) // self._accumulate

        def add(
            part: tf.Tensor, share: tf.Tensor, gradients: list[tf.Tensor]
        ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
            chosen = (each[part * examples :][:examples] for each in targets)
            size = None if known is None else examples
            sized = (tf.ensure_shape(each, [size, *each.shape[1:]]) for each in chosen)
            more, grown = self._forward_backward(*sized)
            return part + 1, share + more, [a + b for a, b in zip(gradients, grown, strict=True)]

        zeros = [tf.zeros(weight.shape) for weight in self._state.trainable_variables]
        # A loop rather than a row of copies, so that the activations of one part are in memory.
        _, share, gradients = tf.while_loop(
            lambda part, *_: part < self._accumulate,
            add,
            [tf.constant(0), tf.constant(0.0), zeros],
            parallel_iterations=1,
        )
        return share, gradients

    def _loss_and_gradients(
        self, log_mel: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, *pooled: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One replica's share of the loss and of its gradients."""
        variables = self._state.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self._net(log_mel, training=True)
            if self._pooled_loss:
                logits, embeddings = outputs if isinstance(outputs, list) else (outputs, None)
                share = self._pooled_loss(logits, embeddings, labels, weights, pooled[0])
            else:
                share = self._loss(outputs, labels, weights)
            target = self._state.optimizer.scale_loss(share) if self._scaled else share
        return share, tape.gradient(target, variables)

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


@contextlib.contextmanager
def _reporting_what_xla_cannot_compile() -> Iterator[None]:
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, ValueError) as error:
        reason = _UNSUPPORTED.search(str(error))
        if not reason:
            raise
        said = " ".join(reason[0].split()).removesuffix(" The op is created at:")
        raise errors.InputError(
            f"the training step cannot be compiled by XLA: {said}; "
            "leave this operation out of the model, loss or optimizer, or train with "
            "train.jit_compile = False on a device that does not need XLA (TPUs do)"
        ) from error


def _is_synchronized(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized
