"""Training losses over three-valued labels: positive, known negative, unknown."""

import dataclasses

import gin
import tensorflow as tf

from audioset_strong.core import errors


@gin.configurable(module="losses")
@dataclasses.dataclass(frozen=True)
class SigmoidCrossEntropy:
    """Binary cross-entropy of independent sigmoid outputs (section 4 of the paper).

    By default every unlabelled class is negative, as in the paper. In between are the labels that
    nobody gave: a class without label, explicit negative or (strong) event elsewhere in the clip.

    Attributes:
      unknown_weight: of labels that nobody gave, in [0, 1]; 1 counts them as negatives like any
        other (the paper), 0 leaves them out.
      label_smoothing: in [0, 1); labels become (1 - s) * label + s / 2.

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
        """Whether batches must say which labels are known (`sampling.train_patches`)."""
        return self.unknown_weight < 1.0

    def weights(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """How much each label counts.

        Args:
          batch: label_weights float32 `[batch, classes]`, 0 where a class does not count; where
            `needs_known_labels` also known, bool `[batch, classes]`.

        Returns:
          float32 `[batch, classes]`; the mean loss divides by their sum.
        """
        weights = batch["label_weights"]
        if self.needs_known_labels:
            weights = weights * tf.where(batch["known"], 1.0, self.unknown_weight)
        return weights

    def __call__(self, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the cross-entropies: a sum, so that replicas can add theirs up.

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
