"""The loss against the formula, worked out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.training import losses


def _loss(logits, labels, weights):
    arrays = (np.asarray(values, np.float32) for values in (logits, labels, weights))
    return float(losses.sigmoid_cross_entropy(*map(tf.constant, arrays)))


def test_hand_worked_values():
    # At a logit of 0 every label costs ln 2; at ln 3 the probability is 3/4.
    assert _loss([[0.0, 0.0]], [[0, 1]], [[1, 1]]) == pytest.approx(np.log(2))
    third = np.log(3.0)
    wanted = (-np.log(0.75) - np.log(0.25)) / 2
    assert _loss([[third, third]], [[1, 0]], [[1, 1]]) == pytest.approx(wanted, rel=1e-6)


def test_it_is_the_mean_cross_entropy_over_the_labels_that_count():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (7, 5))
    labels = rng.integers(0, 2, (7, 5))
    weights = rng.integers(0, 2, (7, 5))
    p = 1 / (1 + np.exp(-logits))
    entropy = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    assert _loss(logits, labels, weights) == pytest.approx(entropy[weights == 1].mean(), rel=1e-5)


def test_extreme_logits_and_a_batch_without_any_label_give_numbers():
    assert _loss([[1e4, -1e4]], [[0, 1]], [[1, 1]]) == pytest.approx(1e4)
    assert _loss([[1.0, 2.0]], [[0, 1]], [[0, 0]]) == 0.0


def test_the_gradient_is_probability_minus_label_over_the_number_of_labels():
    logits = tf.constant([[0.5, -1.0], [2.0, 0.0]])
    labels = np.array([[1, 0], [0, 1]], np.float32)
    weights = np.array([[1, 1], [0, 1]], np.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.sigmoid_cross_entropy(logits, labels, weights)
    p = 1 / (1 + np.exp(-logits.numpy()))
    np.testing.assert_allclose(tape.gradient(loss, logits), weights * (p - labels) / 3, rtol=1e-5)
