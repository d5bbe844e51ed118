"""The evaluation grid: every clip with its ten 0.96 s frames and all its labels (section 3.2)."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from audioset_strong.audio import features, pcm
from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.inputs import clip_labels, joint_datasets
from audioset_strong.inputs.batches import GridBatch
from audioset_strong.inputs.clip_labels import Clips
from audioset_strong.inputs.indexed_clips import IndexedClips
from audioset_strong.labels import framing
from audioset_strong.labels.framing import FRAMES_PER_CLIP
from audioset_strong.records import clip_records, shard_reading, window_cutting


def grid_patches(
    datasets: Sequence[str],
    *,
    batch_size: int = 16,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    framing_rule: str = framing.RELEASED,
    propagate_to_ancestors: bool = False,
) -> tf.data.Dataset:
    """Every clip once, with its ten patches on the 0.96 s grid and all its labels.

    Example:
      for batch in grid_patches(["data/eval"]):
          print(batch["log_mel"].shape, batch["frame_labels"].shape)
          # (16, 10, 96, 64) (16, 10, classes)

    Args:
      datasets: dataset directories.
      batch_size: clips in a batch; the last batch may be smaller.
      front_end: how log-mel is computed; it must fit the datasets.
      framing_rule: "released" or "paper", see `framing.frame_labels`.
      propagate_to_ancestors: whether positive labels imply those of their ancestors in the
        ontology, see `training_sources.Source`.

    Returns:
      Batches with the keys of `GridBatch`; log_mel float32 `[batch, 10, stft_frames, bands]`.

    Raises:
      errors.InputError: not a dataset, or datasets that do not fit together or the front end.
    """
    framing.check_rule(framing_rule, "framing_rule")
    infos = joint_datasets.read_infos(datasets, front_end)
    encoding, num_classes = infos[0].encoding, len(infos[0].vocabulary)
    paths = [
        str(shard)
        for directory, info in zip(datasets, infos, strict=True)
        for shard in info.shard_paths(directory)
    ]
    ancestors = None
    if propagate_to_ancestors:
        ancestors = joint_datasets.ancestor_matrix(datasets, infos)

    @tf.autograph.experimental.do_not_convert  # no Python control flow depends on a tensor
    def to_batch(serialized: tf.Tensor) -> GridBatch:
        clips = clip_records.parse(serialized)
        log_mel = _grid_log_mel(clips, encoding, front_end)
        labels = _grid_labels(clips, num_classes, ancestors, front_end, framing_rule)
        return cast(GridBatch, {"log_mel": log_mel, **labels})

    records = shard_reading.record_reader(paths)(paths)
    batches = records.batch(batch_size).map(to_batch, num_parallel_calls=2, deterministic=True)
    return batches.prefetch(2)


def grid_labels(
    datasets: Sequence[str],
    *,
    batch_size: int = 16,
    framing_rule: str = framing.RELEASED,
    propagate_to_ancestors: bool = False,
) -> tf.data.Dataset:
    """The labels of `grid_patches` without the patches, from the indices: no audio is read.

    Args:
      datasets: dataset directories.
      batch_size: clips in a batch; the last batch may be smaller.
      framing_rule: "released" or "paper", see `framing.frame_labels`.
      propagate_to_ancestors: see `grid_patches`.

    Returns:
      Batches with the keys of `GridBatch` but log_mel, in the same order.

    Raises:
      errors.InputError: not a dataset, or datasets that do not fit together or their indices.
    """
    framing.check_rule(framing_rule, "framing_rule")
    infos = joint_datasets.compatible_infos(datasets)
    front_end = FrontEnd.at_sample_rate(infos[0].sample_rate)
    ancestors = None
    if propagate_to_ancestors:
        ancestors = joint_datasets.ancestor_matrix(datasets, infos)
    clips = IndexedClips.open(datasets, infos)

    @tf.autograph.experimental.do_not_convert
    def to_batch(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        num_classes = len(infos[0].vocabulary)
        return _grid_labels(clips.gather(rows), num_classes, ancestors, front_end, framing_rule)

    rows = tf.data.Dataset.from_tensor_slices(clips.rows_of(datasets))
    return rows.batch(batch_size).map(to_batch).prefetch(2)


def _grid_log_mel(clips: Clips, encoding: str, front_end: FrontEnd) -> tf.Tensor:
    """The patches of whole clips, float32 `[batch, 10, stft_frames, bands]`."""
    start = tf.zeros_like(clips["num_samples"])
    if encoding == clip_records.LOG_MEL:
        stft_frames, bands = front_end.patch_shape
        whole = window_cutting.crop_log_mel(
            clips, start, stft_frames=FRAMES_PER_CLIP * stft_frames, front_end=front_end
        )
        return tf.reshape(whole, [-1, FRAMES_PER_CLIP, stft_frames, bands])
    hop = front_end.frame_samples
    needed = (FRAMES_PER_CLIP - 1) * hop + front_end.patch_samples
    samples = window_cutting.crop(clips, start, samples=needed, encoding=encoding)
    waveform = pcm.tensor_to_float(samples)
    patches = tf.signal.frame(waveform, front_end.patch_samples, hop)
    return features.log_mel(patches, front_end)


def _grid_labels(
    clips: Clips,
    num_classes: int,
    ancestors: np.ndarray | None,
    front_end: FrontEnd,
    rule: str,
) -> dict[str, tf.Tensor]:
    """All keys of `GridBatch` but log_mel."""
    grid = np.arange(FRAMES_PER_CLIP, dtype=np.int64) * front_end.frame_samples
    frame_start = tf.tile(grid[np.newaxis], [tf.size(clips["num_samples"]), 1])
    positive = clip_labels.frame_labels(
        clips, frame_start, num_classes=num_classes, front_end=front_end, rule=rule
    )
    weak_labels = clip_labels.multi_hot(clips["weak_labels"], num_classes)
    if ancestors is not None:
        positive = framing.propagate_to_ancestors(positive, ancestors)
        weak_labels = framing.propagate_to_ancestors(weak_labels, ancestors)
    negative = clip_labels.multi_hot(clips["negatives"], num_classes)
    frame_labels = tf.where(
        clips["strong_known"][:, tf.newaxis, tf.newaxis],
        framing.three_valued_labels(positive, negative),
        tf.constant(-1, tf.int8),
    )
    return {
        "clip_id": clips["clip_id"],
        "frame_valid": framing.frames_inside(
            grid, front_end.frame_samples, clips["num_samples"][:, tf.newaxis]
        ),
        "weak_labels": weak_labels,
        "weak_known": clips["weak_known"],
        "negative_labels": negative,
        "negatives_known": clips["negatives_known"],
        "frame_labels": frame_labels,
        "strong_known": clips["strong_known"],
    }
