"""The loss against the formula, worked out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.training import losses


def _loss(logits, labels, weights, known=None, **settings):
    batch = {
        "labels": tf.constant(labels, tf.float32),
        "label_weights": tf.constant(weights, tf.float32),
    }
    if known is not None:
        batch["known_labels"] = tf.constant(known, tf.bool)
    loss = losses.SigmoidCrossEntropy(**settings)
    each = loss.weights(batch)
    total = loss(tf.constant(logits, tf.float32), batch["labels"], each)
    return float(total), float(tf.reduce_sum(each))


def _mean(*arguments, **settings):
    total, weight = _loss(*arguments, **settings)
    return total / weight


def _entropy(logits, labels):
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (7, 5)), *(rng.integers(0, 2, (3, 7, 5)))


def test_hand_worked_values():
    # At a logit of 0 every label costs ln 2; at ln 3 the probability is 3/4.
    assert _mean([[0.0, 0.0]], [[0, 1]], [[1, 1]]) == pytest.approx(np.log(2))
    third = np.log(3.0)
    wanted = (-np.log(0.75) - np.log(0.25)) / 2
    assert _mean([[third, third]], [[1, 0]], [[1, 1]]) == pytest.approx(wanted, rel=1e-6)


def test_it_is_the_mean_cross_entropy_over_the_labels_that_count(drawn):
    logits, labels, weights, _ = drawn
    wanted = _entropy(logits, labels)[weights == 1].mean()
    assert _mean(logits, labels, weights) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("unknown_weight", [0.0, 0.25])
def test_unknown_labels_count_by_their_weight(drawn, unknown_weight):
    logits, labels, weights, known = drawn
    each = weights * np.where(known == 1, 1.0, unknown_weight)
    wanted = (_entropy(logits, labels) * each).sum() / each.sum()
    got = _mean(logits, labels, weights, known, unknown_weight=unknown_weight)
    assert got == pytest.approx(wanted, rel=1e-5)


def test_the_paper_s_loss_needs_not_know_which_labels_are_known():
    assert not losses.SigmoidCrossEntropy().needs_known_labels
    assert losses.SigmoidCrossEntropy(unknown_weight=0.5).needs_known_labels


def test_label_smoothing_moves_labels_towards_a_half(drawn):
    logits, labels, weights, _ = drawn
    # Worked out: with smoothing 0.2 a positive is 0.9 and a negative 0.1.
    wanted = _entropy(logits, np.where(labels == 1, 0.9, 0.1))[weights == 1].mean()
    assert _mean(logits, labels, weights, label_smoothing=0.2) == pytest.approx(wanted, rel=1e-5)


def test_extreme_logits_and_a_batch_without_any_label_give_numbers():
    assert _mean([[1e4, -1e4]], [[0, 1]], [[1, 1]]) == pytest.approx(1e4)
    assert _loss([[1.0, 2.0]], [[0, 1]], [[0, 0]]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unknown_weight": -0.1}, r"unknown_weight = -0.1: must lie in \[0, 1\]"),
        ({"unknown_weight": 1.1}, r"unknown_weight = 1.1: must lie in \[0, 1\]"),
        ({"label_smoothing": 1.0}, r"label_smoothing = 1.0: must lie in \[0, 1\)"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(errors.InputError, match=message):
        losses.SigmoidCrossEntropy(**settings)
