"""THE framing rule: which classes a frame of a clip is labelled with.

Training, evaluation and the TSV writer all call `frame_labels`. Times are integers in any unit
common to segments and frames (milliseconds, or samples at 16 kHz), so that an overlap of exactly
one half is decided exactly. Then `propagate_to_ancestors` adds the labels that the ontology implies
("label smearing"), and `three_valued_labels` adds the negatives, in that order.

Source: section 3.2 of the paper, https://arxiv.org/abs/2105.07031. The default is the rule that
reproduces Google's released framed labels; "paper" is the paper's wording read as a union over a
class's segments.
"""

from audioset_strong.core import choices, errors
from audioset_strong.core.lazy import tf

FRAME_MS = 960
FRAMES_PER_CLIP = 10  # whole frames of a 10 s clip
RULES = RELEASED, PAPER = choices.FRAMING_RULES


def check_rule(rule: str, name: str = "rule") -> None:
    """Checks the name of a framing rule.

    Args:
      rule: to check.
      name: of the setting that holds it, for the message.

    Raises:
      errors.InputError: an unknown rule.

    Example:
      >>> check_rule("strict")
      Traceback (most recent call last):
      audioset_strong.core.errors.InputError: rule = 'strict': must be one of released, paper
    """
    if rule not in RULES:
        raise errors.InputError(f"{name} = {rule!r}: must be one of {', '.join(RULES)}")


def frame_labels(
    segment_start: "tf.Tensor",
    segment_end: "tf.Tensor",
    segment_label: "tf.Tensor",
    *,
    frame_start: "tf.Tensor",
    frame_length: int,
    num_classes: int,
    rule: str = RELEASED,
) -> "tf.Tensor":
    """Labels frames by the segments that overlap them.

    Args:
      segment_start: int64 `[batch, segments]`.
      segment_end: int64 `[batch, segments]`, later than the starts.
      segment_label: int64 `[batch, segments]`, class indices below `num_classes`; -1 pads.
      frame_start: int64 `[batch, frames]`.
      frame_length: length of every frame, in the same unit.
      num_classes: size of the vocabulary.
      rule: "released": ONE segment of the class overlaps the frame by at least half of the shorter
        of the two. "paper": the union of the class's segments covers at least half of the frame,
        or the frame holds at least half of that union.

    Returns:
      bool `[batch, frames, num_classes]`.

    Raises:
      errors.InputError: an unknown rule, or a frame length below 1.

    Example, a segment of 1 s to 2 s under the first three frames of 0.96 s:
      >>> frame_labels(
      ...     [[1000]],
      ...     [[2000]],
      ...     [[0]],
      ...     frame_start=[[0, 960, 1920]],
      ...     frame_length=FRAME_MS,
      ...     num_classes=1,
      ... ).numpy().tolist()
      [[[False], [True], [False]]]
    """
    check_rule(rule)
    if frame_length < 1:
        raise errors.InputError(f"frame_length = {frame_length}: must be positive")
    start, end, label, frame = (
        tf.cast(x, tf.int64) for x in (segment_start, segment_end, segment_label, frame_start)
    )
    if rule == PAPER:
        start, end = _disjoint(start, end, label)
    present = (label >= 0) & (end > start)
    # [batch, frames, segments]
    overlap = tf.minimum(end[:, tf.newaxis], frame[..., tf.newaxis] + frame_length) - tf.maximum(
        start[:, tf.newaxis], frame[..., tf.newaxis]
    )
    overlap = tf.where(present[:, tf.newaxis], tf.maximum(overlap, 0), 0)
    if rule == RELEASED:
        shorter = tf.minimum(end - start, frame_length)[:, tf.newaxis]
        hit = (overlap > 0) & (2 * overlap >= shorter)
        return _sum_by_class(tf.cast(hit, tf.int64), label, num_classes) > 0
    covered = _sum_by_class(overlap, label, num_classes)
    lengths = tf.where(present, end - start, 0)[:, tf.newaxis]
    total = _sum_by_class(lengths, label, num_classes)  # [batch, 1, classes]
    return (covered > 0) & (2 * covered >= tf.minimum(total, frame_length))


def propagate_to_ancestors(labels: "tf.Tensor", ancestors: "tf.Tensor") -> "tf.Tensor":
    """Adds the ancestors of each label ("label smearing"): a Bark is also a Dog.

    Args:
      labels: bool `[..., classes]`.
      ancestors: bool `[classes, classes]`, see `ontology.ancestor_matrix`.

    Returns:
      bool `[..., classes]`: true where the class or one of its descendants is.

    Example, where class 0 is a kind of class 1:
      >>> propagate_to_ancestors(
      ...     [[True, False], [False, True]], [[True, True], [False, True]]
      ... ).numpy().tolist()
      [[True, True], [False, True]]
    """
    implied = tf.cast(ancestors, tf.float32)
    return tf.tensordot(tf.cast(labels, tf.float32), implied, 1) > 0


def three_valued_labels(positive: "tf.Tensor", clip_negative: "tf.Tensor") -> "tf.Tensor":
    """Three-valued labels with complementary and explicit negatives (section 3.2).

    A frame without a class that is positive in another frame of its clip is a complementary
    negative of that class. A clip-level explicit negative holds for every frame. All other labels
    are unknown.

    Args:
      positive: bool `[batch, frames, classes]`, over ALL frames of each clip.
      clip_negative: bool `[batch, classes]`, clip-level explicit negatives.

    Returns:
      int8 `[batch, frames, classes]`: 1 positive, 0 negative, -1 unknown.

    Example, two frames; class 0 is positive in the first, class 1 an explicit negative:
      >>> three_valued_labels(
      ...     [[[True, False, False], [False, False, False]]], [[False, True, False]]
      ... ).numpy().tolist()
      [[[1, 0, -1], [0, 0, -1]]]
    """
    known = tf.reduce_any(positive, axis=1) | clip_negative  # [batch, classes]
    return tf.where(
        positive,
        tf.constant(1, tf.int8),
        tf.where(known[:, tf.newaxis], tf.constant(0, tf.int8), tf.constant(-1, tf.int8)),
    )


def _sum_by_class(values: "tf.Tensor", label: "tf.Tensor", num_classes: int) -> "tf.Tensor":
    """int64 `[batch, frames, segments]` summed over each class's segments.

    Returns int64 `[batch, frames, num_classes]`. Segments are scattered rather than multiplied by a
    one-hot matrix: clips have few segments and vocabularies hundreds of classes.
    """
    shape = tf.shape(values, out_type=tf.int64)
    batch, frames = shape[0], shape[1]
    rows = tf.range(batch * frames)[:, tf.newaxis]
    # Padding may count for any class: its values are 0.
    column = tf.repeat(tf.maximum(label, 0), frames, axis=0)  # [batch * frames, segments]
    index = rows * num_classes + column
    flat = tf.reshape(values, tf.shape(index))
    summed = tf.math.unsorted_segment_sum(flat, index, batch * frames * num_classes)
    return tf.reshape(summed, [batch, frames, num_classes])


def _disjoint(
    start: "tf.Tensor", end: "tf.Tensor", label: "tf.Tensor"
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Trims segments so that those of one class no longer overlap; their union stays the same.

    In the order of their starts, each segment keeps what lies beyond the ends of the earlier ones
    of its class; one that lies wholly inside them is left with no length.
    """
    earlier = (start[:, tf.newaxis] < start[..., tf.newaxis]) | (
        (start[:, tf.newaxis] == start[..., tf.newaxis])
        & (
            tf.range(tf.shape(start)[1])[tf.newaxis, tf.newaxis]
            < tf.range(tf.shape(start)[1])[tf.newaxis, :, tf.newaxis]
        )
    )
    same = label[:, tf.newaxis] == label[..., tf.newaxis]
    # [batch, segment, other]: the latest end of the same class's earlier segments
    reach = tf.reduce_max(tf.where(earlier & same, end[:, tf.newaxis], tf.int64.min), axis=2)
    trimmed = tf.minimum(tf.maximum(start, reach), end)
    return trimmed, end


def frames_inside(
    frame_start: "tf.Tensor", frame_length: "tf.Tensor", clip_length: "tf.Tensor"
) -> "tf.Tensor":
    """Whether frames count for a clip: at least half of the frame must lie inside the clip.

    >>> frames_inside(0, 960, 480), frames_inside(9600, 960, 10_000)
    (True, False)

    Args:
      frame_start: a number, array or tensor, of any shape.
      frame_length: in the same unit.
      clip_length: in the same unit; its shape must broadcast against `frame_start`.

    Returns:
      Booleans of the same kind, of the broadcast shape.
    """
    return 2 * frame_start + frame_length <= 2 * clip_length
