"""Permutations without memory: each place once, all orders alike, no pair together too often."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from audioset_strong.inputs import permutations


def _orders(size, count, seed=5):
    """`count` permutations of `size` places; int64 `[count, size]`."""
    place = tf.tile(tf.range(size, dtype=tf.int64), [count])
    epoch = tf.repeat(tf.range(count, dtype=tf.int64), size)
    key = permutations.key_of([seed, 0, epoch])
    found = permutations.permuted(place, tf.constant(size, tf.int64), key)
    return found.numpy().reshape(count, size)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 60, 4096, 100_003])
def test_each_place_is_taken_once(size):
    for order in _orders(size, 3):
        np.testing.assert_array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_orders_of_a_few_places_occur_alike(size):
    orders = _orders(size, 5000)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == math.factorial(size)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("size", [60, 97])
def test_each_place_goes_anywhere_and_orders_do_not_come_again(size):
    orders = _orders(size, 2000)
    assert len(np.unique(orders, axis=0)) == 2000
    for place in (0, 1, size // 2, size - 1):
        counts = np.bincount(orders[:, place], minlength=size)
        assert stats.chisquare(counts).pvalue > 1e-4
    apart = (orders[:, 1] - orders[:, 0]) % size  # neighbours do not stay neighbours
    assert stats.chisquare(np.bincount(apart, minlength=size)[1:]).pvalue > 1e-4


@pytest.mark.parametrize("size", [1000, 5120])
def test_pairs_that_share_a_batch_do_so_again_no_more_often_than_chance(size):
    batch = 40
    where = np.argsort(_orders(size, 200), axis=1) // batch  # the batch of each clip, by epoch
    batches = size // batch
    again = []
    for before, after in zip(where[::2], where[1::2], strict=True):
        together = np.bincount(before * batches + after, minlength=batches**2)
        again.append((together * (together - 1) // 2).sum())
    pairs = batches * batch * (batch - 1) / 2
    expected = pairs * (batch - 1) / (size - 1)
    error = np.std(again) / math.sqrt(len(again))
    assert abs(np.mean(again) - expected) < 4 * error


def test_sizes_and_keys_may_differ_from_place_to_place():
    place = tf.constant([0, 1, 2, 0, 1, 2, 3, 4], tf.int64)
    size = tf.constant([3] * 3 + [5] * 5, tf.int64)
    key = permutations.key_of([tf.constant([7] * 3 + [8] * 5, tf.int64)])
    found = permutations.permuted(place, size, key).numpy()
    for part, alone, number in ((found[:3], 3, 7), (found[3:], 5, 8)):
        wanted = permutations.permuted(
            tf.range(alone, dtype=tf.int64),
            tf.constant(alone, tf.int64),
            permutations.key_of([tf.constant([number], tf.int64)]),
        )
        np.testing.assert_array_equal(part, wanted)
