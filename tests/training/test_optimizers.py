"""Optimizer and moving average against hand-worked values and numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.training import optimizers


def _net():
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(inputs))


def test_weight_decay_shrinks_matrices_and_leaves_biases_alone():
    net = _net()
    net.set_weights([np.ones((3, 2)), np.ones(2)])
    built = optimizers.build(lambda rate: optimizers.adam(rate, weight_decay=0.5), 0.1, net)
    built.apply([tf.zeros_like(w.value) for w in net.trainable_variables])
    kernel, bias = net.get_weights()
    # Without gradient Adam does nothing; the decay takes 0.1 * 0.5 of each weight.
    np.testing.assert_allclose(kernel, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1.0)


def test_without_weight_decay_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    net = _net()
    net.set_weights([np.ones((3, 2)), np.ones(2)])
    built = optimizers.build(optimizers.adam, 0.1, net)
    built.apply([tf.fill(w.shape, 5.0) for w in net.trainable_variables])
    for weight in net.get_weights():
        np.testing.assert_allclose(weight, 0.9, rtol=1e-5)


def test_float16_is_trained_with_loss_scaling():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        half = _net()
    finally:
        keras.config.set_dtype_policy(policy)
    assert isinstance(
        optimizers.build(optimizers.adam, 0.1, half), keras.optimizers.LossScaleOptimizer
    )
    assert not isinstance(
        optimizers.build(optimizers.adam, 0.1, _net()), keras.optimizers.LossScaleOptimizer
    )


def test_the_moving_average_follows_the_weights():
    net = _net()
    net.set_weights([np.zeros((3, 2)), np.zeros(2)])
    average = optimizers.MovingAverage(net, 0.9)
    wanted = 0.0
    for step in range(1, 200):
        net.set_weights([np.full((3, 2), float(step)), np.full(2, float(step))])
        average.update(tf.constant(step))
        decay = min(0.9, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    for variable in average.variables:
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-5)
    average.restart()
    np.testing.assert_array_equal(average.variables[1].numpy(), 199.0)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, 2.0])
def test_a_decay_outside_0_to_1_is_refused(decay):
    with pytest.raises(errors.InputError, match="ema_decay = "):
        optimizers.MovingAverage(_net(), decay)


def test_a_negative_weight_decay_is_refused():
    with pytest.raises(errors.InputError, match="weight_decay = -1"):
        optimizers.adam(0.1, weight_decay=-1)
