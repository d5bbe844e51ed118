"""Random numbers that are functions of names: no state, so a resumed run has nothing to replay.

`integers` and `uniform` hash text, which only hosts can do. `device_integers` and `device_uniform`
hash integers with integer arithmetic, which XLA compiles, for work on GPUs and TPUs.
"""

import zlib
from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

Part: TypeAlias = tf.Tensor | str | int


def integers(parts: Sequence[Part], below: int) -> tf.Tensor:
    """Well-mixed integers from the text of the parts.

    >>> int(integers(["window", 7], 100)) == int(integers(["window", 7], 100))
    True
    >>> integers([tf.constant(["a", "b"]), 7], 100).shape
    TensorShape([2])

    Args:
      parts: strings and integers, tensors or not; they broadcast against each other.
      below: the integers lie in [0, below).

    Returns:
      int64 of the parts' common shape.
    """
    tensors = [tf.constant(part, tf.int64) if isinstance(part, int) else part for part in parts]
    texts = [
        part if isinstance(part, str) or part.dtype == tf.string else tf.as_string(part)
        for part in tensors
    ]
    return tf.strings.to_hash_bucket_fast(tf.strings.join(texts, "/"), below)


def uniform(parts: Sequence[Part]) -> tf.Tensor:
    """Well-mixed numbers from the text of the parts, see `integers`; float32 in [0, 1)."""
    return tf.cast(integers(parts, 2**24), tf.float32) / 2**24


def device_integers(seeds: tf.Tensor, name: str) -> tf.Tensor:
    """Well-mixed integers from integer seeds and a name, on any device.

    Both halves of a seed and a checksum of the name go through a mixing function of 32 bits, whose
    every input bit changes each output bit in about half of all cases (`lowbias32` of Ch. Wellons,
    https://github.com/skeeto/hash-prospector).

    >>> draws = device_integers(tf.constant([1, 2, 1], tf.int64), "gain")
    >>> bool(draws[0] == draws[2]), bool(draws[0] == draws[1])
    (True, False)

    Args:
      seeds: int64 of any shape.
      name: what the numbers are for; other names give independent numbers.

    Returns:
      int64 of the shape of `seeds`, in [0, 2**32).
    """
    mixed = _mix((seeds & _LOW_32) ^ zlib.crc32(name.encode()))
    # In 64 bits with the upper half cleared, so that shifts bring in zeros.
    return _mix(mixed ^ (tf.bitwise.right_shift(seeds, 32) & _LOW_32) ^ _GOLDEN)


def device_uniform(seeds: tf.Tensor, name: str) -> tf.Tensor:
    """Well-mixed numbers from integer seeds and a name, see `device_integers`.

    Args:
      seeds: int64 of any shape.
      name: what the numbers are for.

    Returns:
      float32 of the shape of `seeds`, in [0, 1), multiples of 2**-24.
    """
    return tf.cast(tf.bitwise.right_shift(device_integers(seeds, name), 8), tf.float32) / 2**24


_LOW_32 = 2**32 - 1
_GOLDEN = 0x9E3779B9  # 2**32 divided by the golden ratio: zero does not stay zero


def _mix(x: tf.Tensor) -> tf.Tensor:
    x ^= tf.bitwise.right_shift(x, 16)
    x = (x * 0x7FEB352D) & _LOW_32
    x ^= tf.bitwise.right_shift(x, 15)
    x = (x * 0x846CA68B) & _LOW_32
    return x ^ tf.bitwise.right_shift(x, 16)
