"""The labels of parsed clips as dense tensors."""

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core.lazy import tf
from audioset_strong.labels import framing

# What `clip_records.parse` gives for records, and `IndexedClips.gather` without reading any.
Clips = dict[str, "tf.Tensor"]


def multi_hot(labels: "tf.RaggedTensor", num_classes: int) -> "tf.Tensor":
    """Class indices as indicators.

    >>> multi_hot(tf.ragged.constant([[2], [0, 1]], dtype=tf.int64), 3).numpy().tolist()
    [[False, False, True], [True, True, False]]

    Args:
      labels: ragged int64 `[batch, (labels)]`.
      num_classes: size of the vocabulary.

    Returns:
      bool `[batch, num_classes]`.
    """
    dense = labels.to_tensor(-1)
    return tf.reduce_any(tf.one_hot(dense, num_classes, True, False, dtype=tf.bool), axis=1)


def frame_labels(
    clips: Clips, frame_start: "tf.Tensor", *, num_classes: int, front_end: FrontEnd, rule: str
) -> "tf.Tensor":
    """Labels 0.96 s frames of clips by their strong segments, see `framing.frame_labels`.

    Args:
      clips: what is known about each, see `clip_labels.Clips`.
      frame_start: int64 `[batch, frames]`, in samples.
      num_classes: size of the vocabulary.
      front_end: whose sample rate counts.
      rule: the framing rule, "released" or "paper".

    Returns:
      bool `[batch, frames, num_classes]`.
    """
    return framing.frame_labels(
        clips["segment_start_ms"].to_tensor(-1) * front_end.samples_per_ms,
        clips["segment_end_ms"].to_tensor(-1) * front_end.samples_per_ms,
        clips["segment_label"].to_tensor(-1),
        frame_start=frame_start,
        frame_length=front_end.frame_samples,
        num_classes=num_classes,
        rule=rule,
    )
