"""Shares of sources: in every batch, and in expectation."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from audioset_strong.core import errors
from audioset_strong.inputs import mixing
from audioset_strong.inputs.weight_schedules import WeightSchedule


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


# (share of the run, weight of the second source), of a run of 1,000 examples.
_SCHEDULES = {
    "line": [(0.0, 0.2), (1.0, 0.8)],
    "late": [(0.3, 0.9), (0.7, 0.1)],
    "step": [(0.5, 0.25), (0.5, 0.75)],
    "from one to the other": [(0.0, 0.0), (1.0, 1.0)],
    "constant": [(0.4, 0.3)],
}


class TestSchedules:
    """Shares that change over the run, against sums over the examples one by one."""

    @staticmethod
    def weights(points, length=1000):
        second = WeightSchedule(points, length)
        return [second.complement(), second]

    @staticmethod
    def expected(points, examples, length=1000):
        """The mean number of examples of the second source up to each, by the middle of each."""
        places = (np.arange(examples) + 0.5) / length
        if points[0][0] == points[-1][0] and len(points) > 1:
            values = np.where(places < points[0][0], points[0][1], points[1][1])
        else:
            values = np.interp(places, *zip(*points, strict=True))
        return np.cumsum(values)

    @pytest.mark.parametrize("name", _SCHEDULES)
    def test_shares_follow_the_points_and_stay_after_the_last(self, name):
        points, size = _SCHEDULES[name], 10
        source, _ = _choose(self.weights(points), 0, 1500, block=size)
        given = source.cumsum()[size - 1 :: size]
        expected = self.expected(points, 1500)[size - 1 :: size]
        assert np.abs(given - expected).max() <= 1 + 1e-6  # up to an example, after every batch
        assert np.abs(np.diff(given) - np.diff(expected)).max() <= 1 + 1e-6  # and in each

    def test_shares_hold_in_expectation(self):
        length = 64 * 4096
        weights = self.weights([(0.0, 0.1), (1.0, 0.9)], length)
        source, _ = _choose(weights, 0, length, block=mixing.LARGE_BLOCK)
        parts = source.reshape(8, -1).mean(axis=1)
        np.testing.assert_allclose(parts, 0.1 + 0.8 * (np.arange(8) + 0.5) / 8, atol=1e-3)
        # Within a block they are dealt out, not sorted.
        block = source[: mixing.LARGE_BLOCK].reshape(2, -1).sum(axis=1)
        assert abs(block[0] - block[1]) < 100

    @pytest.mark.parametrize("block", [9, 4096])
    def test_any_example_may_be_the_first(self, block):
        weights = self.weights(_SCHEDULES["late"])
        source, position = _choose(weights, 0, 10_000, block=block)
        for i in range(2):
            np.testing.assert_array_equal(position[source == i], np.arange((source == i).sum()))
        for first, count in ((0, 1), (291, 30), (4090, 20), (17, 5000)):
            part = _choose(weights, first, count, block=block)
            np.testing.assert_array_equal(part[0], source[first : first + count])
            np.testing.assert_array_equal(part[1], position[first : first + count])

    def test_a_constant_schedule_chooses_as_a_number_does(self):
        plain = _choose((0.7, 0.3), 0, 2000, block=16)
        scheduled = _choose(self.weights(_SCHEDULES["constant"]), 0, 2000, block=16)
        np.testing.assert_array_equal(plain, scheduled)

    def test_one_schedule_beside_plain_weights(self):
        # 1 : 1 at first, 3 : 1 in the end.
        source, _ = _choose(
            [WeightSchedule([(0.0, 1.0), (0.5, 1.0), (0.5, 3.0)], 800), 1.0], 0, 800, block=8
        )
        counts = source.reshape(100, 8).sum(axis=1)
        assert set(counts[:50]) == {4}
        assert set(counts[50:]) == {2}

    def test_the_mean_is_the_area(self):
        assert WeightSchedule([(0.0, 0.2), (0.5, 0.2), (0.5, 0.6), (1.0, 1.0)]).mean == (
            pytest.approx(0.5 * 0.2 + 0.5 * 0.8)
        )
        assert WeightSchedule([(0.25, 1.0), (0.75, 0.0)]).mean == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("points", "message"),
        [
            ([], "must be pairs of a share of the run"),
            ([(0.5,)], "must be pairs"),
            ([(0.5, "a")], "must be pairs"),
            ([(0.5, 1.0), (0.2, 0.0)], "must rise within"),
            ([(0.0, 1.0), (1.5, 0.0)], "must rise within"),
            ([(0.0, -0.1)], "no value may be negative"),
        ],
    )
    def test_impossible_points_are_refused(self, points, message):
        with pytest.raises(errors.InputError, match=message):
            WeightSchedule(points)

    def test_weights_that_vanish_together_are_refused(self):
        down = WeightSchedule([(0.0, 1.0), (1.0, 0.0)], 100)
        with pytest.raises(errors.InputError, match=r"weights \[0.0, 0.0\] at 1 of the run"):
            mixing.Mixing([down, down], block=4, seed=0)

    def test_a_schedule_of_unknown_length_is_refused(self):
        with pytest.raises(errors.InputError, match="must have the length of one run"):
            mixing.Mixing([WeightSchedule([(0.0, 1.0)]), 1.0], block=4, seed=0)
