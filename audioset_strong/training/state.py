"""The state of a training run: everything that a step changes and a checkpoint holds."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.models import embedding, precisions
from audioset_strong.training import checkpoints, initialization, optimizers
from audioset_strong.training.pooling import Pooling
from audioset_strong.training.settings import TrainSettings


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Network, optimizer, step counter and moving average of one run.

    Attributes:
      net: log-mel -> logits.
      optimizer: built for the network.
      step_variable: int64, number of steps done.
      average: moving average of the weights, if the run keeps one.
      pooling: what pools the windows of a clip, if the run does; its parameters are trained.
    """

    net: keras.Model
    optimizer: keras.optimizers.Optimizer
    step_variable: tf.Variable
    average: optimizers.MovingAverage | None = None
    pooling: Pooling | None = None

    @classmethod
    def build(
        cls,
        settings: TrainSettings,
        num_classes: int,
        *,
        total_steps: int,
        input_shape: tuple[int, int],
        class_priors: np.ndarray | None,
        strategy: tf.distribute.Strategy,
    ) -> "TrainState":
        """A fresh state, its variables created under the strategy's scope.

        Args:
          settings: settings of the run.
          num_classes: number of outputs.
          total_steps: steps of the run.
          input_shape: (STFT frames, bands) of a patch.
          class_priors: float `[num_classes]`, where the output biases start; None for zero.
          strategy: where the variables live.
        """
        with strategy.scope():
            with precisions.layers_in(settings.precision):
                net = settings.model(
                    num_classes=num_classes, input_shape=input_shape, class_priors=class_priors
                )
            pooling, pooled = None, []
            if settings.pooling:
                depth = embedding.with_embedding(net).outputs[1].shape[-1]
                pooling = settings.pooling(num_classes=num_classes, depth=depth)
                pooled = pooling.trainable_variables
            learning_rate = settings.rate(total_steps)
            optimizer = optimizers.build(settings.optimizer, learning_rate, net, also=pooled)
            step = tf.Variable(0, dtype=tf.int64, name="step")
            decay = settings.ema_decay
            average = optimizers.MovingAverage(net, decay) if decay is not None else None
        return cls(net, optimizer, step, average, pooling)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What a step changes by gradients: the weights of the network, and of the pooling."""
        return [
            *self.net.trainable_variables,
            *(self.pooling.trainable_variables if self.pooling else []),
        ]

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.step_variable.numpy())

    def learning_rate(self) -> tf.Tensor:
        """The learning rate of the next step, as a float32 scalar, in-graph or not.

        A constant rate is a variable of the optimizer, which under a strategy is one of several
        devices. Only TensorFlow reads such a variable as one number; `float` does not.
        """
        return tf.convert_to_tensor(self.optimizer.learning_rate, tf.float32)

    @functools.cached_property
    def checkpoint(self) -> tf.train.Checkpoint:
        """The whole state, to resume from."""
        return self._checkpoint(optimizer=self.optimizer)

    @functools.cached_property
    def weights(self) -> tf.train.Checkpoint:
        """What evaluation needs of it, the weights and their moving average; and the pooling."""
        return self._checkpoint()

    def checkpoint_bytes(self) -> tuple[int, int]:
        """About how many bytes `weights` and `checkpoint` take on the disk."""
        average = self.average.variables if self.average else []
        kept, optimizer = (
            sum(np.prod(each.shape, dtype=int) * tf.as_dtype(each.dtype).size for each in variables)
            for variables in ([*self.net.weights, *average], self.optimizer.variables)
        )
        return kept, kept + optimizer

    def _checkpoint(self, **more: keras.optimizers.Optimizer) -> tf.train.Checkpoint:
        saved = tf.train.Checkpoint(model=self.net, step=self.step_variable, **more)
        if self.average:
            saved.averages = self.average.variables
        if self.pooling:
            saved.pooling = self.pooling
        return saved

    def restore(self, checkpoint: str) -> None:
        """Continues from a checkpoint of the same run.

        Raises:
          errors.InputError: it is of another run, or cannot be read.
        """
        checkpoints.restore(self.checkpoint, checkpoint)

    def start_from(
        self, vocabulary: Vocabulary, init_from: str, *, front_end: FrontEnd
    ) -> dict[str, object]:
        """Takes the weights of a trained model; optimizer and moving average start afresh.

        Args, returns and raises as `initialization.start_from`.
        """
        report = initialization.start_from(
            self.net, vocabulary, init_from=init_from, front_end=front_end
        )
        if self.average:
            self.average.restart()
        return report
