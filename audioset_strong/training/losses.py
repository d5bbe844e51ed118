"""Training losses over three-valued labels: positive, known negative, unknown."""

import dataclasses

import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs.batches import TrainBatch


@dataclasses.dataclass(frozen=True)
class SigmoidCrossEntropy:
    """Binary cross-entropy of independent sigmoid outputs (section 4 of the paper).

    By default every unlabelled class is negative, as in the paper. Labels that are neither positive
    nor known negatives can be weighted by `unknown_weight` instead: those of classes without a
    label, an explicit negative or (under the strong policy) an event elsewhere in the clip.

    >>> loss = SigmoidCrossEntropy()
    >>> round(float(loss(tf.zeros([1, 2]), tf.ones([1, 2]), tf.ones([1, 2]))), 4)  # 2 ln 2
    1.3863

    Attributes:
      unknown_weight: weight of unknown labels, in [0, 1]; 1 counts them as negatives like any other
        (the paper), 0 ignores them.
      label_smoothing: s in [0, 1); labels become (1 - s) * label + s / 2.

    Raises:
      errors.InputError: a value outside its range.
    """

    unknown_weight: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.unknown_weight <= 1.0:
            raise errors.InputError(
                f"SigmoidCrossEntropy.unknown_weight = {self.unknown_weight}: must lie in [0, 1]"
            )
        if not 0.0 <= self.label_smoothing < 1.0:
            raise errors.InputError(
                f"SigmoidCrossEntropy.label_smoothing = {self.label_smoothing}: must lie in [0, 1)"
            )

    @property
    def needs_known_labels(self) -> bool:
        """Whether batches must say which labels are known (see `train_patches`)."""
        return self.unknown_weight < 1.0

    def weights(self, batch: TrainBatch) -> tf.Tensor:
        """How much each label counts.

        Args:
          batch: label_weights float32 `[batch, classes]`, 0 where a class does not count; if
            `needs_known_labels`, also known_labels, bool `[batch, classes]`.

        Returns:
          float32 `[batch, classes]`; the mean loss is the weighted sum divided by their sum.
        """
        weights = batch["label_weights"]
        if self.needs_known_labels:
            weights = weights * tf.where(batch["known_labels"], 1.0, self.unknown_weight)
        return weights

    def __call__(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the cross-entropies; a sum, so that replicas can add up theirs.

        Args:
          logits: float32 `[batch, classes]`.
          labels: float32 `[batch, classes]` in [0, 1].
          weights: float32 `[batch, classes]`.

        Returns:
          A float32 scalar.
        """
        if self.label_smoothing:
            labels = (1.0 - self.label_smoothing) * labels + 0.5 * self.label_smoothing
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        return tf.reduce_sum(losses * weights)
