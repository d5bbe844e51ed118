"""Optimizers, and a moving average of the weights.

Keras optimizers have `use_ema` and `global_clipnorm`; docs/training.md says why they are not used.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from audioset_strong.core import errors


def adam(
    learning_rate: object,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Adam (https://arxiv.org/abs/1412.6980), as in section 4 of the paper.

    With `weight_decay` it is AdamW (https://arxiv.org/abs/1711.05101).

    Args:
      learning_rate: a number or a Keras schedule.
      beta_1: decay of the mean of the gradients.
      beta_2: decay of the mean of their squares.
      epsilon: added to the root of that mean.
      weight_decay: each step takes this share of each weight, times the learning rate, off the
        weight. Weights of one dimension (batch norm, biases) are exempt.

    Raises:
      errors.InputError: a decay of means outside [0, 1), an epsilon that is not positive, or a
        negative weight decay.
    """
    for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
        if not 0 <= beta < 1:
            raise errors.InputError(f"adam.{name} = {beta}: must lie in [0, 1)")
    if not epsilon > 0:
        raise errors.InputError(f"adam.epsilon = {epsilon}: must be positive")
    if weight_decay < 0:
        raise errors.InputError(f"adam.weight_decay = {weight_decay}: must not be negative")
    return keras.optimizers.Adam(
        learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay or None
    )


def build(
    optimizer: Callable[..., keras.optimizers.Optimizer],
    learning_rate: object,
    net: keras.Model,
    *,
    also: Sequence[keras.Variable] = (),
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a network, with its variables.

    Args:
      optimizer: makes a Keras optimizer from a learning rate.
      learning_rate: a number or a Keras schedule.
      net: the network; if it computes in float16, the loss is scaled.
      also: what is trained besides its weights.

    Returns:
      The optimizer, whose weight decay, if it has one, spares weights of one dimension.
    """
    built = optimizer(learning_rate)
    trained = [*net.trainable_variables, *also]
    if built.weight_decay:
        built.exclude_from_weight_decay(
            var_list=[weight for weight in trained if len(weight.shape) < 2]
        )
    if net.compute_dtype == "float16":
        built = keras.optimizers.LossScaleOptimizer(built)
    built.build(trained)
    return built


class MovingAverage:
    """Exponential moving average of weights (EMA), in separate variables.

    After each step, average = decay * average + (1 - decay) * weight, where decay is at most
    (1 + step) / (10 + step), so that the first weights are soon forgotten.
    """

    def __init__(self, net: keras.Model, decay: float):
        """Starts at the present weights of the network.

        Args:
          net: whose trainable weights are averaged.
          decay: in (0, 1).

        Raises:
          errors.InputError: a decay outside (0, 1).
        """
        if not 0.0 < decay < 1.0:
            raise errors.InputError(f"train.ema_decay = {decay}: must lie in (0, 1)")
        self._weights: Sequence[keras.Variable] = net.trainable_variables
        self._decay = decay
        self.variables = average_variables(net)

    def restart(self) -> None:
        """Starts again at the present weights of the network."""
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign(weight.value)

    def update(self, step: tf.Tensor) -> None:
        """Takes in the weights after `step` steps, in-graph."""
        done = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign_sub((1.0 - decay) * (average - weight.value))


def average_variables(net: keras.Model) -> list[tf.Variable]:
    """New variables for the averages of a network's trainable weights, in their order."""
    return [
        tf.Variable(weight.value, trainable=False, name=f"average_{i}")
        for i, weight in enumerate(net.trainable_variables)
    ]
