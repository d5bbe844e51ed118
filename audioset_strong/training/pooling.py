"""Pooling: the score of a clip, from those of several windows of it (multiple-instance learning).

A weak label says that a class sounds somewhere in the clip. Trained on single windows, as in the
paper, it counts for each of them. Here the windows of a clip, a bag, are scored and pooled, and the
loss of the weak label is that of the pooled score. The network remains one of single windows. The
conclusions of the paper name autopool among what to try next.

All poolings but the maximum are means of the windows' probabilities p with weights w that add up to
one. They are computed from logarithms: log P = logsumexp(log w + log p), and for 1 - P likewise, so
that neither P nor its gradient vanishes in rounding where a network is sure.
"""

import dataclasses

import keras
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.training.losses import SigmoidCrossEntropy


class Pooling(keras.layers.Layer):
    """From the logits of bags of windows to the logits of clips.

    Attributes:
      needs_embeddings: whether it looks at the network's embeddings.
    """

    needs_embeddings = False

    def __init__(self) -> None:
        """Computes in float32 under any precision policy, as the loss does."""
        super().__init__(dtype="float32")

    def log_weights(self, logits: tf.Tensor, embeddings: tf.Tensor | None) -> tf.Tensor:
        """The logarithms of weights that add up to one over the windows of a bag.

        Args:
          logits: float32 `[bags, windows, classes]`.
          embeddings: float32 `[bags, windows, depth]`, if needed.

        Returns:
          float32, of a shape that fits that of the logits.
        """
        raise NotImplementedError

    def call(self, logits: tf.Tensor, embeddings: tf.Tensor | None = None) -> tf.Tensor:
        """Pools the windows of each bag.

        Args:
          logits: float32 `[bags, windows, classes]`.
          embeddings: float32 `[bags, windows, depth]`; if `needs_embeddings`.

        Returns:
          The logits of the pooled probabilities, float32 `[bags, classes]`.
        """
        log_w = self.log_weights(logits, embeddings)
        log_p = tf.reduce_logsumexp(log_w + tf.math.log_sigmoid(logits), axis=1)
        log_rest = tf.reduce_logsumexp(log_w + tf.math.log_sigmoid(-logits), axis=1)
        return log_p - log_rest


class _Max(Pooling):
    def call(self, logits: tf.Tensor, embeddings: tf.Tensor | None = None) -> tf.Tensor:
        del embeddings
        return tf.reduce_max(logits, axis=1)


class _Mean(Pooling):
    def log_weights(self, logits: tf.Tensor, embeddings: tf.Tensor | None) -> tf.Tensor:
        del embeddings
        return -tf.math.log(tf.ones_like(logits) * logits.shape[1])


class _Auto(Pooling):
    def __init__(self, num_classes: int, initial_alpha: float):
        super().__init__()
        self.alpha = self.add_weight(
            shape=(num_classes,),
            initializer=keras.initializers.Constant(initial_alpha),
            name="alpha",
        )

    def log_weights(self, logits: tf.Tensor, embeddings: tf.Tensor | None) -> tf.Tensor:
        del embeddings
        return tf.nn.log_softmax(tf.convert_to_tensor(self.alpha) * tf.sigmoid(logits), axis=1)


class _Attention(Pooling):
    needs_embeddings = True

    def __init__(self, num_classes: int, depth: int):
        super().__init__()
        # At zero all windows have equal weights: attention begins as the mean.
        self.kernel = self.add_weight(
            shape=(depth, num_classes), initializer="zeros", name="attention"
        )

    def log_weights(self, logits: tf.Tensor, embeddings: tf.Tensor | None) -> tf.Tensor:
        del logits
        assert embeddings is not None
        attention = tf.einsum("bwd,dc->bwc", embeddings, tf.convert_to_tensor(self.kernel))
        return tf.nn.log_softmax(attention, axis=1)


def max_pooling(num_classes: int, *, depth: int) -> Pooling:
    """The highest score of a bag: one window that has the class is enough.

    Args:
      num_classes: without influence.
      depth: without influence.
    """
    del num_classes, depth
    return _Max()


def mean_pooling(num_classes: int, *, depth: int) -> Pooling:
    """The mean probability over a bag, as evaluation takes it for a clip.

    Args:
      num_classes: without influence.
      depth: without influence.
    """
    del num_classes, depth
    return _Mean()


def autopool(num_classes: int, *, depth: int, initial_alpha: float = 1.0) -> Pooling:
    """Means with weights softmax(alpha p), alpha learnt for each class.

    alpha = 0 is the mean, 1 is softmax pooling, and a large one is nearly the maximum. See McFee,
    Salamon and Bello 2018, "Adaptive pooling operators for weakly labeled sound event detection",
    https://arxiv.org/abs/1804.10070.

    Args:
      num_classes: number of alphas.
      depth: without influence.
      initial_alpha: where all of them start.

    Raises:
      errors.InputError: an alpha that is not finite.
    """
    del depth
    if not abs(initial_alpha) < float("inf"):
        raise errors.InputError(f"autopool.initial_alpha = {initial_alpha}: must be finite")
    return _Auto(num_classes, initial_alpha)


def attention_pooling(num_classes: int, *, depth: int) -> Pooling:
    """Means with weights that a linear layer learns from the embeddings, for each class.

    See Kong et al. 2018, "Audio Set classification with attention model: a probabilistic
    perspective", https://arxiv.org/abs/1711.00927; the weights are a softmax over the windows.

    Args:
      num_classes: number of classes.
      depth: of the embeddings.
    """
    return _Attention(num_classes, depth)


@dataclasses.dataclass(frozen=True)
class PooledLoss:
    """The loss of a batch in which some windows come in bags.

    Windows of a bag lie next to each other. A bag has the weight of its windows, so that the shares
    of the sources, mu among them, are what they are without pooling.

    Attributes:
      loss: of windows, and of bags.
      pooling: from windows to bags.
      windows: in a bag.
    """

    loss: SigmoidCrossEntropy
    pooling: Pooling
    windows: int

    def weights(self, weights: tf.Tensor, pooled: tf.Tensor) -> tf.Tensor:
        """The weights of labels, such that all windows of a bag have the same.

        Args:
          weights: float32 `[batch, classes]`, of single windows.
          pooled: bool `[batch]`, windows that belong to a bag.

        Returns:
          float32 `[batch, classes]`. A label of a bag counts as it does for the window for which it
          counts least: one that could not be read takes its bag along.
        """
        least = tf.reduce_min(self._bags(weights), axis=1, keepdims=True)
        of_bags = tf.reshape(tf.repeat(least, self.windows, axis=1), [-1, weights.shape[-1]])
        return tf.where(pooled[:, tf.newaxis], of_bags, weights)

    def __call__(
        self,
        logits: tf.Tensor,
        embeddings: tf.Tensor | None,
        labels: tf.Tensor,
        weights: tf.Tensor,
        pooled: tf.Tensor,
    ) -> tf.Tensor:
        """The weighted sum of the losses of single windows and of bags.

        Args:
          logits: float32 `[batch, classes]`.
          embeddings: `[batch, depth]`, if the pooling needs them.
          labels: float32 `[batch, classes]`; those of a bag are equal.
          weights: float32 `[batch, classes]`; see `weights`.
          pooled: bool `[batch]`.

        Returns:
          A float32 scalar.
        """
        if embeddings is not None:
            embeddings = self._bags(tf.cast(embeddings, tf.float32))
        clips = self.pooling(self._bags(logits), embeddings)
        in_bag = pooled[:, tf.newaxis]
        of_windows = self.loss(logits, labels, tf.where(in_bag, 0.0, weights))
        bag_weights = tf.reduce_sum(self._bags(tf.where(in_bag, weights, 0.0)), axis=1)
        return of_windows + self.loss(clips, self._bags(labels)[:, 0], bag_weights)

    def _bags(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(values, [-1, self.windows, values.shape[-1]])
