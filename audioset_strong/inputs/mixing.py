"""Which source gives each example of a batch, as a function of the batch's number.

A mixture's shares hold in expectation, as if every example drew its source (the paper's mu, section
4), or exactly in every batch.
"""

import abc
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from audioset_strong.inputs import hashing

_RANGE = 2**32


class Mixing(abc.ABC):
    """Chooses sources.

    Attributes:
      batch_size: examples of a batch.
      seed: of the choice.
    """

    def __init__(self, weights: Sequence[float], batch_size: int, seed: int):
        """Takes the sources' shares, which need not add up to one."""
        self.batch_size, self.seed = batch_size, seed
        # Examples below the i-th bound come from the sources up to the i-th.
        self._bounds = (np.cumsum(weights) / np.sum(weights))[:-1]

    @abc.abstractmethod
    def choose(self, batch: tf.Tensor) -> tf.Tensor:
        """The source of each example of a batch, in-graph; int64 `[batch_size]`."""

    @abc.abstractmethod
    def consumed(self, batches: int) -> np.ndarray:
        """How many examples of each source the first batches take; int64 `[sources]`."""


class SampledMixing(Mixing):
    """Every example draws its source."""

    def choose(self, batch: tf.Tensor) -> tf.Tensor:
        """See `Mixing`."""
        return self._of(batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64))

    def _of(self, position: tf.Tensor) -> tf.Tensor:
        bounds = np.round(self._bounds * _RANGE).astype(np.int64)
        drawn = hashing.integers([position, "source", self.seed], _RANGE)
        return tf.cast(tf.searchsorted(bounds, drawn, side="right"), tf.int64)

    def consumed(self, batches: int) -> np.ndarray:
        """See `Mixing`."""
        stop, sources = batches * self.batch_size, len(self._bounds) + 1
        if sources == 1:
            return np.array([stop], np.int64)
        counts = np.zeros(sources, np.int64)
        for begin in range(0, stop, 1 << 20):
            chosen = self._of(tf.range(begin, min(begin + (1 << 20), stop), dtype=tf.int64))
            counts += np.bincount(chosen.numpy(), minlength=sources)
        return counts


class ExactMixing(Mixing):
    """Every batch has the shares, up to one example, and all batches so far have, too.

    Of the first n batches the sources up to the i-th give floor(bound_i * n * batch_size) examples.
    """

    def choose(self, batch: tf.Tensor) -> tf.Tensor:
        """See `Mixing`."""
        done = tf.cast(batch * self.batch_size, tf.float64)
        until = tf.floor(self._bounds * (done + self.batch_size)) - tf.floor(self._bounds * done)
        in_order = tf.searchsorted(until, tf.range(self.batch_size, dtype=tf.float64), side="right")
        examples = tf.range(self.batch_size, dtype=tf.int64)
        shuffled = tf.argsort(
            hashing.integers([examples, "order", batch, self.seed], 2**62), stable=True
        )
        return tf.cast(tf.gather(in_order, shuffled), tf.int64)

    def consumed(self, batches: int) -> np.ndarray:
        """See `Mixing`."""
        stop = batches * self.batch_size
        bounds = [0.0, *np.floor(self._bounds * np.float64(stop)), stop]
        return np.diff(bounds).astype(np.int64)
