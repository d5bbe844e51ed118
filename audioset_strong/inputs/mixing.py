"""Which source each example of a run comes from, as a function of the example's number.

Examples are counted in blocks. Each block has the shares of the mixture, up to one example, and so
have all blocks up to any point: of the n examples until the end of a block, the sources up to the
i-th give floor(bound_i * n). Within a block a permutation deals them out. With blocks of one batch
the shares hold in every batch. With larger blocks they hold on average, as if every example drew
its source: mu in section 4 of the paper.

Where weights change over the run, bound_i * n is the integral of bound_i up to n.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from audioset_strong.inputs import permutations, weight_schedules
from audioset_strong.inputs.weight_schedules import Weight

LARGE_BLOCK = 4096  # examples; enough for the counts of a batch to vary as those of free draws
_MIXING = -1  # where the keys of other permutations have the number of a source


class Mixing:
    """Chooses the sources of examples.

    >>> mixing = Mixing([0.25, 0.75], block=8, seed=0)
    >>> source, position = mixing.choose(tf.constant(0, tf.int64), 8)
    >>> int(tf.reduce_sum(source))
    6
    """

    def __init__(self, weights: Sequence[Weight], *, block: int, seed: int, together: int = 1):
        """Takes the shares of the sources.

        Args:
          weights: of the sources; they need not add up to one.
          block: examples within which the shares hold exactly.
          seed: of the choice.
          together: examples that come from one source together. `block`, and the examples of
            `choose`, count such groups; the lengths of schedules count examples.

        Raises:
          errors.InputError: see `weight_schedules.shares`.
        """
        self._block, self._seed = block, seed
        shares = weight_schedules.shares(weights)
        # The share of all examples below the i-th bound is that of the sources up to the i-th:
        # lines, each from a place on. `_before` is their integral up to that place.
        self._places = shares.places / together
        self._bounds = np.cumsum(shares.first, axis=1)[:, :-1]
        self._slopes = np.cumsum(shares.slope, axis=1)[:, :-1] * together
        lengths = np.diff(self._places)[:, np.newaxis]
        pieces = lengths * (self._bounds[:-1] + self._slopes[:-1] * lengths / 2)
        self._before = np.cumsum([np.zeros(self._bounds.shape[1]), *pieces], axis=0)

    def choose(self, first: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The sources of consecutive examples, in-graph.

        Args:
          first: int64 scalar, the number of the first example.
          count: how many.

        Returns:
          int64 `[count]` each: index of the source; how many examples that source gave before.
        """
        numbers = first + tf.range(count, dtype=tf.int64)
        if not self._bounds.shape[1]:
            return tf.zeros_like(numbers), numbers
        blocks = tf.range(first // self._block, (first + count - 1) // self._block + 1)
        source, position = self._whole_blocks(blocks)
        begin = first - blocks[0] * self._block
        chosen = (x[begin : begin + count] for x in (source, position))
        source, position = (tf.ensure_shape(x, [count]) for x in chosen)
        return source, position

    def _whole_blocks(self, blocks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `choose`, for all examples of consecutive blocks."""
        before = self._given(blocks * self._block)  # [blocks, sources]
        ends = tf.cumsum(self._given((blocks + 1) * self._block) - before, axis=1)
        place = tf.range(self._block, dtype=tf.int64)
        dealt = permutations.permuted(
            tf.tile(place, [tf.size(blocks)]),
            tf.constant(self._block, tf.int64),
            permutations.key_of([self._seed, _MIXING, tf.repeat(blocks, self._block)]),
        )
        dealt = tf.reshape(dealt, [-1, self._block])
        source = tf.searchsorted(ends, dealt, side="right", out_type=tf.int64)
        is_source = tf.one_hot(source, self._bounds.shape[1] + 1, dtype=tf.int64)
        so_far = before[:, tf.newaxis] + tf.cumsum(is_source, axis=1, exclusive=True)
        position = tf.reduce_sum(so_far * is_source, axis=2)
        return tf.reshape(source, [-1]), tf.reshape(position, [-1])

    def _given(self, examples: tf.Tensor) -> tf.Tensor:
        """How many of the first examples each source gives; int64 `[..., sources]`."""
        until = self._until(tf.cast(examples, tf.float64))
        # What is a whole number but for rounding, such as 0.7 * 10, is that number.
        ends = tf.concat([tf.cast(tf.floor(until + 1e-6), tf.int64), examples[..., tf.newaxis]], -1)
        return tf.concat([ends[..., :1], ends[..., 1:] - ends[..., :-1]], -1)

    def _until(self, examples: tf.Tensor) -> tf.Tensor:
        """The integral of the bounds over the first examples; float64 `[..., sources - 1]`."""
        if len(self._places) == 1:
            return examples[..., tf.newaxis] * self._bounds[0]
        piece = tf.searchsorted(tf.constant(self._places), tf.reshape(examples, [-1]), side="right")
        piece = tf.reshape(piece, tf.shape(examples)) - 1
        since = (examples - tf.gather(self._places, piece))[..., tf.newaxis]
        bounds, slopes = tf.gather(self._bounds, piece), tf.gather(self._slopes, piece)
        return tf.gather(self._before, piece) + since * (bounds + slopes * since / 2)
