"""Permutations that are computed place by place, so that no epoch has to be held in memory.

TensorFlow's own `index_shuffle` is not used: of 60 places it knows 256 permutations, and of 1,000
places it brings the same pairs together more often than chance.
"""

import numpy as np
import tensorflow as tf

_ROUNDS = 12  # of 3 to 6 places all orders are then equally likely to some 4%, with 8 to 15%
# The constants of splitmix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195).
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def permuted(place: tf.Tensor, size: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Where a permutation takes places.

    >>> places = tf.range(5, dtype=tf.int64)
    >>> sorted(permuted(places, tf.constant(5, tf.int64), key_of([1])).numpy().tolist())
    [0, 1, 2, 3, 4]

    This is a Feistel network on pairs (a, b) with a < width and b < height, where width * height is
    `size` or a little more; what it takes beyond `size` is taken on until it comes back, as in
    Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9.

    Args:
      place: int64 `[places]`, each in [0, size).
      size: int64 `[places]` or scalar, how many places there are.
      key: uint64 `[places]` or scalar, which permutation it is; see `key_of`.

    Returns:
      int64 `[places]`.
    """
    limit = tf.cast(size, tf.uint64)
    height = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(size, tf.float64))), tf.uint64)
    width = (limit + height - 1) // height
    mixed = _Mixer()
    numbers = tf.reshape(tf.range(_ROUNDS, dtype=tf.int64), [-1, *[1] * len(key.shape)])
    keys = tf.unstack(mixed(key + tf.cast(numbers, tf.uint64) * _word(_GOLDEN)))

    def once_more(x: tf.Tensor, beyond: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        a, b = x // height, x % height
        for even, odd in zip(keys[::2], keys[1::2], strict=True):
            a = (a + mixed(b + even)) % width
            b = (b + mixed(a + odd)) % height
        x = tf.where(beyond, a * height + b, x)
        return x, x >= limit

    found, _ = tf.while_loop(
        lambda x, beyond: tf.reduce_any(beyond),
        once_more,
        (tf.cast(place, tf.uint64), tf.ones_like(place, tf.bool)),
    )
    return tf.cast(found, tf.int64)


def key_of(parts: list[tf.Tensor | int]) -> tf.Tensor:
    """A well-mixed key from integers.

    >>> int(key_of([1, 2])) == int(key_of([2, 1]))
    False

    Args:
      parts: int64 tensors or integers, which broadcast against each other.

    Returns:
      uint64 of their common shape.
    """
    mixed = _Mixer()
    key = tf.zeros([], tf.uint64)
    for part in parts:
        word = _word(part) if isinstance(part, int) else tf.cast(part, tf.uint64)
        key = mixed(key * _word(_FIRST) + word + _word(_GOLDEN))
    return key


class _Mixer:
    """Splitmix64's finalizer: every bit of the result depends on every bit of the argument.

    One object for several calls, because each constant is an operation in a graph.
    """

    def __init__(self) -> None:
        self._steps = [(_word(30), _word(_FIRST)), (_word(27), _word(_SECOND))]
        self._last = _word(31)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        for shift, factor in self._steps:
            x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, shift)) * factor
        return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, self._last))


def _word(value: int) -> tf.Tensor:
    return tf.constant(np.uint64(value % 2**64))
