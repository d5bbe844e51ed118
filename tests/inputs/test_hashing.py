"""Random numbers from integers, as they are drawn on devices."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from audioset_strong.inputs import hashing
from audioset_strong.inputs.augmentation import _beta

_COUNT = 2**16
# Seeds as they come from a hash, as they come from a counter, and with only upper bits.
_SEEDS = {
    "mixed": np.random.default_rng(0).integers(0, 2**62, _COUNT),
    "counted": np.arange(_COUNT),
    "upper": np.arange(_COUNT) << 40,
}


def _reference(seed, name_sum):
    """The same by Python's own integers."""
    low = 2**32 - 1

    def mix(x):
        x ^= x >> 16
        x = x * 0x7FEB352D & low
        x ^= x >> 15
        x = x * 0x846CA68B & low
        return x ^ x >> 16

    return mix(mix(seed & low ^ name_sum) ^ (seed >> 32 & low) ^ 0x9E3779B9)


def test_the_numbers_are_those_of_the_documented_function():
    seeds = [0, 1, -1, 2**31, 2**62 - 1, -(2**63)]
    got = hashing.device_integers(tf.constant(seeds, tf.int64), "gain").numpy()
    # The checksum of "gain" by the definition of CRC-32.
    crc = 0xFFFFFFFF
    for byte in b"gain":
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    wanted = [_reference(seed % 2**64, crc ^ 0xFFFFFFFF) for seed in seeds]
    assert got.tolist() == wanted


@pytest.mark.parametrize("kind", _SEEDS)
def test_numbers_are_uniform_and_those_of_two_names_independent(kind):
    seeds = tf.constant(_SEEDS[kind], tf.int64)
    one, other = (hashing.device_uniform(seeds, name).numpy() for name in ("gain", "mixup"))
    for drawn in (one, other):
        assert 0 <= drawn.min() < drawn.max() < 1
        assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.015
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.015


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 20.0, 1e6])
def test_mixing_shares_follow_the_beta_distribution(alpha):
    shares = _beta(tf.constant(_SEEDS["mixed"], tf.int64), alpha).numpy()
    assert shares.min() >= 0
    assert shares.max() <= 1
    # Not at the very ends, where float32 rounds a fifth of Beta(0.05, 0.05) to 1.
    places = stats.beta.ppf(np.linspace(0.01, 0.99, 99), alpha, alpha)
    places = places[(places > 1e-4) & (places < 1 - 1e-4)]
    got = np.searchsorted(np.sort(shares), places) / _COUNT
    np.testing.assert_allclose(got, stats.beta.cdf(places, alpha, alpha), atol=0.008)


def test_xla_draws_the_same():
    seeds = tf.constant(_SEEDS["mixed"], tf.int64)

    def draw(seeds):
        return hashing.device_uniform(seeds, "gain"), _beta(seeds, 0.4)

    for compiled, plain in zip(
        tf.function(draw, jit_compile=True)(seeds), draw(seeds), strict=True
    ):
        np.testing.assert_array_equal(compiled, plain)
