"""Random numbers that are functions of names: no state, so no replay when a run is resumed."""

from collections.abc import Sequence

import tensorflow as tf


def integers(parts: Sequence[tf.Tensor | str | int], below: int) -> tf.Tensor:
    """Well-mixed integers from the parts' text.

    Args:
      parts: strings and integers, tensors or not; they broadcast against each other.
      below: the integers lie in [0, below).

    Returns:
      int64 of the parts' common shape.
    """
    texts = [
        tf.as_string(part) if not isinstance(part, str) and part.dtype != tf.string else part
        for part in (
            tf.constant(part, tf.int64) if isinstance(part, int) else part for part in parts
        )
    ]
    return tf.strings.to_hash_bucket_fast(tf.strings.join(texts, "/"), below)


def uniform(parts: Sequence[tf.Tensor | str | int]) -> tf.Tensor:
    """The same as float32 in [0, 1)."""
    return tf.cast(integers(parts, 2**24), tf.float32) / 2**24
