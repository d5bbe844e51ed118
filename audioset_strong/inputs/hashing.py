"""Random numbers that are functions of names: no state, so a resumed run has nothing to replay."""

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
