"""Which source each example of a batch comes from, as a function of the batch's number.

The shares of a mixture hold either on average, as if every example drew its source (mu in section 4
of the paper), or exactly in every batch.
"""

import abc
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from audioset_strong.inputs import hashing

_RANGE = 2**32
_CHUNK = 1 << 20  # examples counted at a time


class Mixing(abc.ABC):
    """Chooses the source of each example.

    Attributes:
      batch_size: examples in a batch.
      seed: of the choice.
    """

    def __init__(self, weights: Sequence[float], batch_size: int, *, seed: int):
        """Takes the shares of the sources; they need not add up to one."""
        self.batch_size, self.seed = batch_size, seed
        # A number in [0, 1) below the i-th bound stands for one of the sources up to the i-th.
        self._bounds = (np.cumsum(weights) / np.sum(weights))[:-1]

    @abc.abstractmethod
    def choose(self, batch: tf.Tensor) -> tf.Tensor:
        """The source of each example of a batch, in-graph.

        Args:
          batch: int64 scalar, the number of the batch.

        Returns:
          int64 `[batch_size]`, indices of sources.
        """

    @abc.abstractmethod
    def consumed(self, batches: int) -> np.ndarray:
        """How many examples of each source the first `batches` batches take; int64 `[sources]`."""


class SampledMixing(Mixing):
    """Every example draws its source.

    >>> mixing = SampledMixing([0.5, 0.5], 4, seed=0)
    >>> mixing.choose(tf.constant(0, tf.int64)).shape
    TensorShape([4])
    >>> int(mixing.consumed(10).sum())
    40
    """

    def choose(self, batch: tf.Tensor) -> tf.Tensor:
        """See `Mixing.choose`."""
        return self._sources_at(batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64))

    def _sources_at(self, position: tf.Tensor) -> tf.Tensor:
        """The sources of the examples at int64 positions of the whole stream."""
        bounds = np.round(self._bounds * _RANGE).astype(np.int64)
        drawn = hashing.integers([position, "source", self.seed], _RANGE)
        return tf.cast(tf.searchsorted(bounds, drawn, side="right"), tf.int64)

    def consumed(self, batches: int) -> np.ndarray:
        """See `Mixing.consumed`."""
        examples, sources = batches * self.batch_size, len(self._bounds) + 1
        if sources == 1:
            return np.array([examples], np.int64)
        counts = np.zeros(sources, np.int64)
        for start in range(0, examples, _CHUNK):
            chosen = self._sources_at(
                tf.range(start, min(start + _CHUNK, examples), dtype=tf.int64)
            )
            counts += np.bincount(chosen.numpy(), minlength=sources)
        return counts


class ExactMixing(Mixing):
    """Every batch has the shares, up to one example, and so have all batches up to any point.

    The sources up to the i-th give floor(bound_i * n * batch_size) examples of the first n batches.

    >>> ExactMixing([0.25, 0.75], 8, seed=0).consumed(3).tolist()
    [6, 18]
    """

    def choose(self, batch: tf.Tensor) -> tf.Tensor:
        """See `Mixing.choose`."""
        done = tf.cast(batch * self.batch_size, tf.float64)
        until = tf.floor(self._bounds * (done + self.batch_size)) - tf.floor(self._bounds * done)
        in_order = tf.searchsorted(until, tf.range(self.batch_size, dtype=tf.float64), side="right")
        examples = tf.range(self.batch_size, dtype=tf.int64)
        shuffled = tf.argsort(
            hashing.integers([examples, "order", batch, self.seed], 2**62), stable=True
        )
        return tf.cast(tf.gather(in_order, shuffled), tf.int64)

    def consumed(self, batches: int) -> np.ndarray:
        """See `Mixing.consumed`."""
        examples = batches * self.batch_size
        bounds = [0.0, *np.floor(self._bounds * np.float64(examples)), examples]
        return np.diff(bounds).astype(np.int64)
