"""Shares of sources: in every batch, and in expectation."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from audioset_strong.inputs import mixing


def _choose(weights, first, count, *, block, seed=3):
    rule = mixing.Mixing(weights, block=block, seed=seed)
    source, position = rule.choose(tf.constant(first, tf.int64), count)
    return source.numpy(), position.numpy()


@pytest.mark.parametrize("weights", [(1.0,), (0.3, 0.7), (1.0, 2.0, 5.0)])
@pytest.mark.parametrize("block", [9, 4096])
def test_each_source_is_counted_on_without_a_gap_wherever_the_examples_begin(weights, block):
    source, position = _choose(weights, 0, 10_000, block=block)
    for i in range(len(weights)):
        np.testing.assert_array_equal(position[source == i], np.arange((source == i).sum()))
    for first, count in ((0, 1), (4090, 20), (9_000, 500), (17, 5000)):
        part = _choose(weights, first, count, block=block)
        np.testing.assert_array_equal(part[0], source[first : first + count])
        np.testing.assert_array_equal(part[1], position[first : first + count])


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 2.0, 5.0)])
def test_shares_hold_in_expectation(weights):
    size, batches = 64, 2000
    source, _ = _choose(weights, 0, size * batches, block=mixing.LARGE_BLOCK)
    shares = np.array(weights) / sum(weights)
    assert np.abs(np.bincount(source) / len(source) - shares).max() < 1e-3
    # The counts of the batches spread as those of independent draws.
    p = shares[0]
    counts = (source.reshape(batches, size) == 0).sum(axis=1)
    assert counts.var() == pytest.approx(size * p * (1 - p), rel=0.1)
    # Neighbours are independent.
    table = np.histogram2d(source[:-1:2], source[1::2], bins=len(weights))[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 2.0, 5.0), (0.999, 0.001)])
def test_exact_shares_hold_in_every_batch_and_over_all_batches(weights):
    batches, size = 400, 17
    source, _ = _choose(weights, 0, batches * size, block=size)
    chosen = source.reshape(batches, size)
    counts = np.stack([(chosen == i).sum(axis=1) for i in range(len(weights))], axis=1)
    shares = np.array(weights) / sum(weights)
    assert np.abs(counts - size * shares).max() <= 2  # up to one example at either bound
    so_far = counts.cumsum(axis=0)
    expected = size * np.arange(1, batches + 1)[:, np.newaxis] * shares
    assert np.abs(so_far - expected).max() <= 1


def test_exact_shares_of_two_sources_are_off_by_less_than_one():
    source, _ = _choose((0.2, 0.8), 0, 800, block=8, seed=0)
    chosen = source.reshape(100, 8)
    assert set((chosen == 0).sum(axis=1)) == {1, 2}  # 1.6 on average
    assert (chosen == 0).sum() == 160


def test_within_an_exact_batch_the_order_is_shuffled():
    source, _ = _choose((0.5, 0.5), 0, 20_000, block=10, seed=1)
    # Each place has either source as often as not.
    counts = (source.reshape(2000, 10) == 0).sum(axis=0)
    assert stats.chisquare(counts, np.full(10, 1000)).pvalue > 0.01


def test_a_run_may_go_on_at_its_billionth_example():
    source, position = _choose((0.25, 0.75), 10**12, 4096, block=4096)
    assert (source == 0).sum() == pytest.approx(1024, abs=1)
    assert position[source == 0][0] == pytest.approx(10**12 / 4, abs=1024)


def test_another_seed_chooses_otherwise():
    for block in (16, 4096):
        one, other = (_choose((0.5, 0.5), 0, 320, block=block, seed=seed)[0] for seed in (0, 1))
        assert (one != other).any()
