"""Shares of sources: in expectation, and in every batch."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from audioset_strong.inputs import mixing


def _stream(rule, batches):
    return np.stack([rule.choose(tf.constant(i, tf.int64)).numpy() for i in range(batches)])


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 2.0, 5.0)])
def test_drawn_shares_hold_in_expectation(weights):
    chosen = _stream(mixing.SampledMixing(weights, 500, seed=3), 20).ravel()
    counts = np.bincount(chosen, minlength=len(weights))
    expected = 10_000 * np.array(weights) / sum(weights)
    assert stats.chisquare(counts, expected).pvalue > 0.01
    # Drawn one by one: the counts of the batches spread as those of independent draws.
    per_batch = (chosen.reshape(-1, 50) == 0).sum(axis=1)
    p = weights[0] / sum(weights)
    assert per_batch.var() == pytest.approx(50 * p * (1 - p), rel=0.3)


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 2.0, 5.0), (0.999, 0.001)])
def test_exact_shares_hold_in_every_batch_and_over_all_batches(weights):
    batches, size = 400, 17
    chosen = _stream(mixing.ExactMixing(weights, size, seed=3), batches)
    counts = np.stack([(chosen == i).sum(axis=1) for i in range(len(weights))], axis=1)
    shares = np.array(weights) / sum(weights)
    assert np.abs(counts - size * shares).max() <= 2  # up to one example at either bound
    so_far = counts.cumsum(axis=0)
    expected = size * np.arange(1, batches + 1)[:, np.newaxis] * shares
    assert np.abs(so_far - expected).max() <= 1


def test_exact_shares_of_two_sources_are_off_by_less_than_one():
    chosen = _stream(mixing.ExactMixing((0.2, 0.8), 8, seed=0), 100)
    assert set((chosen == 0).sum(axis=1)) == {1, 2}  # 1.6 on average
    assert (chosen == 0).sum() == 160


def test_within_an_exact_batch_the_order_is_shuffled():
    chosen = _stream(mixing.ExactMixing((0.5, 0.5), 10, seed=1), 2000)
    # Each place has either source as often as not.
    counts = (chosen == 0).sum(axis=0)
    assert stats.chisquare(counts, np.full(10, 1000)).pvalue > 0.01


@pytest.mark.parametrize("rule", [mixing.SampledMixing, mixing.ExactMixing])
@pytest.mark.parametrize("weights", [(1.0,), (0.3, 0.7), (1.0, 2.0, 5.0)])
def test_what_was_consumed_is_what_was_chosen(rule, weights):
    mixed_by = rule(weights, 9, seed=5)
    chosen = _stream(mixed_by, 30)
    for batches in (0, 1, 7, 30):
        counts = np.bincount(chosen[:batches].ravel(), minlength=len(weights))
        np.testing.assert_array_equal(mixed_by.consumed(batches), counts)


def test_another_seed_chooses_otherwise():
    for rule in (mixing.SampledMixing, mixing.ExactMixing):
        one, other = (_stream(rule((0.5, 0.5), 16, seed=seed), 20) for seed in (0, 1))
        assert (one != other).any()
