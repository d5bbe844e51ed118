"""The keys of the batches that the input pipelines give, with shapes and types.

Batches are plain dictionaries; these types are for readers and type checkers. The shapes are those
of the default front end, whose patches are `[96, 64]` log-mel values from 15,600 samples.
"""

from typing import TypedDict

import tensorflow as tf


class Patches(TypedDict, total=False):
    """Windows of clips before batching; each key has a leading axis `[windows]`.

    Attributes:
      clip_id: string.
      source: int64, index among the sources of positive weight.
      start: int64, first sample of the window.
      sound: bool, false where the clip is damaged.
      pcm: int16 `[15600]`, from records with audio.
      log_mel: float32 `[96, 64]`, from log-mel records.
      labels: bool `[classes]`.
      known_labels: bool `[classes]`, on demand; see `TrainBatch`.
      missing: bool `[classes]`, only where a source has a teacher that finds labels missing:
        whether this one may be, and so does not count.
      augment_seed: int64, on demand; see `TrainBatch`.
    """

    clip_id: tf.Tensor
    source: tf.Tensor
    start: tf.Tensor
    sound: tf.Tensor
    pcm: tf.Tensor
    log_mel: tf.Tensor
    labels: tf.Tensor
    known_labels: tf.Tensor
    missing: tf.Tensor
    augment_seed: tf.Tensor


class TrainBatch(TypedDict, total=False):
    """A batch of `training_stream.train_patches`.

    Attributes:
      clip_id: string `[batch]`.
      source: int64 `[batch]`, index among the sources of positive weight.
      start: int64 `[batch]`, first sample of the window.
      log_mel: float32 `[batch, 96, 64]`; absent where features are computed on the device.
      pcm: int16 `[batch, 15600]`; only where features are computed on the device.
      labels: float32 `[batch, classes]`, 0 or 1, or between them after mixup.
      label_weights: float32 `[batch, classes]`, 0 where a class does not count in the loss: where
        the source masks it, where its label may be missing, and for all classes of a clip that is
        damaged and skipped.
      known_labels: bool `[batch, classes]`, on demand: classes that are positive, explicitly
        negative, or complementarily negative because the class sounds elsewhere in the clip.
      augment_seed: int64 `[batch]`; only where features are computed on the device, with
        augmentation.
      pooled: bool `[batch]`; only in bags: whether an example is one of the windows of a clip that
        lie next to each other, for their scores to be pooled.
    """

    clip_id: tf.Tensor
    source: tf.Tensor
    start: tf.Tensor
    log_mel: tf.Tensor
    pcm: tf.Tensor
    labels: tf.Tensor
    label_weights: tf.Tensor
    known_labels: tf.Tensor
    augment_seed: tf.Tensor
    pooled: tf.Tensor


class GridBatch(TypedDict):
    """A batch of `evaluation_grid.grid_patches`: whole clips, ten frames each.

    Attributes:
      clip_id: string `[batch]`.
      log_mel: float32 `[batch, 10, 96, 64]`.
      frame_valid: bool `[batch, 10]`, whether at least half of the frame lies inside the clip.
      weak_labels: bool `[batch, classes]`.
      weak_known: bool `[batch]`, whether the clip has weak labels.
      negative_labels: bool `[batch, classes]`, explicit negatives of the clip.
      negatives_known: bool `[batch]`, whether the clip has explicit negatives.
      frame_labels: int8 `[batch, 10, classes]`: 1 positive, 0 explicitly or complementarily
        negative, -1 unknown (section 3.2 of the paper).
      strong_known: bool `[batch]`, whether the clip has strong labels.
    """

    clip_id: tf.Tensor
    log_mel: tf.Tensor
    frame_valid: tf.Tensor
    weak_labels: tf.Tensor
    weak_known: tf.Tensor
    negative_labels: tf.Tensor
    negatives_known: tf.Tensor
    frame_labels: tf.Tensor
    strong_known: tf.Tensor
