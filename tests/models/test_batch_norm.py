"""The fused batch norm against Keras's own layer, and against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.models import resnet
from audioset_strong.models.batch_norm import fused_batch_norm

_SHAPE = (4, 6, 5, 3)


def _layer(kind, **settings):
    layer = kind(momentum=0.9, epsilon=1e-5, **settings)
    layer.build(_SHAPE)
    weights = np.random.default_rng(1).uniform(0.5, 2, (4, _SHAPE[-1])).astype(np.float32)
    layer.set_weights(list(weights))
    return layer


def _inputs(dtype="float32"):
    values = np.random.default_rng(0).normal(3, 2, _SHAPE)
    return tf.constant(values, dtype)


def _trained(layer, inputs, *, jit_compile):
    """Outputs and gradients of a step."""

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
        return outputs, tape.gradient(loss, [inputs, *layer.trainable_variables])

    outputs, gradients = step()
    return [outputs, *gradients]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_is_that_of_keras(jit_compile):
    ours, theirs = _layer(fused_batch_norm), _layer(keras.layers.BatchNormalization)
    for ours_is, theirs_is in zip(
        _trained(ours, _inputs(), jit_compile=jit_compile),
        _trained(theirs, _inputs(), jit_compile=jit_compile),
        strict=True,
    ):
        np.testing.assert_allclose(ours_is, theirs_is, rtol=2e-5, atol=2e-5)
    for ours_is, theirs_is in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours_is, theirs_is, rtol=1e-6, atol=1e-6)


def test_moving_averages_are_those_of_the_batch():
    layer, inputs = _layer(fused_batch_norm), _inputs().numpy()
    _, _, mean, variance = layer.get_weights()
    layer(inputs, training=True)
    expected = mean * 0.9 + inputs.mean((0, 1, 2)) * 0.1
    np.testing.assert_allclose(layer.moving_mean, expected, rtol=1e-5)
    expected = variance * 0.9 + inputs.var((0, 1, 2)) * 0.1
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_is_that_of_keras_but_for_its_last_bit(policy):
    dtype = policy.removeprefix("mixed_")
    ours = _layer(fused_batch_norm, dtype=policy)
    theirs = _layer(keras.layers.BatchNormalization, dtype=policy)
    ours_is, theirs_is = (layer(_inputs(dtype), training=True) for layer in (ours, theirs))
    assert ours_is.dtype == theirs_is.dtype == dtype
    tolerance = {"bfloat16": 2**-7, "float16": 2**-10}[dtype]
    np.testing.assert_allclose(
        tf.cast(ours_is, tf.float32), tf.cast(theirs_is, tf.float32), rtol=tolerance, atol=1e-3
    )
    for ours_is, theirs_is in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours_is, theirs_is, rtol=1e-3)


def test_a_frozen_layer_and_one_in_use_take_the_moving_averages():
    layer = _layer(fused_batch_norm)
    before = layer.get_weights()
    used = layer(_inputs(), training=False)
    layer.trainable = False
    np.testing.assert_array_equal(layer(_inputs(), training=True), used)
    np.testing.assert_array_equal(layer.get_weights(), before)


def test_a_network_is_saved_as_one_of_keras_alone():
    network = resnet.resnet(2, depths=(1,), width=4, bottleneck=False)
    patches = np.random.default_rng(0).normal(size=(2, 96, 64)).astype(np.float32)
    network(patches, training=True)
    assert "audioset_strong" not in network.to_json()
    again = keras.models.model_from_json(network.to_json())
    again.set_weights(network.get_weights())
    np.testing.assert_allclose(again(patches), network(patches), rtol=1e-5, atol=1e-6)


def test_a_network_trains_with_one_kernel_for_each_norm():
    network = resnet.resnet(2, depths=(1,), width=4, bottleneck=False)
    step = tf.function(lambda patches: network(patches, training=True))
    graph = step.get_concrete_function(tf.TensorSpec([None, 96, 64])).graph
    kernels = [node.name for node in graph.get_operations() if node.type == "FusedBatchNormV3"]
    norms = [layer for layer in network.layers if "norm" in layer.name]
    assert len(kernels) == len(norms) == 3
