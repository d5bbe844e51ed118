"""Training stream and evaluation grid from dataset directories, in one line each.

Published as `audioset_strong.datasets`. For mixtures of sources, and for pipelines that share the
shards, see `training_stream.train_patches`, which `training_stream` below calls.
"""

import os
from collections.abc import Sequence

import tensorflow as tf

from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.inputs import training_stream as _stream
from audioset_strong.inputs.augmentation import NO_AUGMENTATION, Augmentation
from audioset_strong.inputs.evaluation_grid import grid_patches
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.labels import framing

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_DEFAULT_SETTINGS = StreamSettings()


def training_stream(
    datasets: Paths,
    *,
    policy: str,
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    video_fraction: float = 1.0,
    balanced: bool = False,
    mask_unlabelled_classes: bool = False,
    propagate_to_ancestors: bool = False,
    teacher: str | None = None,
    missing_share: float = 0.0,
    frame_quantile: float = 0.5,
    known_labels: bool = False,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    augmentation: Augmentation = NO_AUGMENTATION,
    framing_rule: str = framing.RELEASED,
    settings: StreamSettings = _DEFAULT_SETTINGS,
) -> tf.data.Dataset:
    """The endless stream of training batches from converted datasets, under one label policy.

    Every epoch takes one random 0.96 s window of each clip (section 4 of the paper). The stream is
    a function of its arguments: begun at `start_step`, it is the rest of the whole stream.

    Example, in `demo_output` or another directory with a converted dataset:
      >>> stream = training_stream("data/train_strong", policy="strong", batch_size=8)
      >>> for batch in stream.take(2):
      ...     print(batch["log_mel"].shape, batch["labels"].shape == batch["label_weights"].shape)
      (8, 96, 64) True
      (8, 96, 64) True

    Args:
      datasets: a dataset directory (what convert.py wrote), or several.
      policy: how windows are labelled: "weak", "diffuse", "strong" or "pseudo_strong", see
        `policies`.
      batch_size: examples in a batch.
      seed: fixes the whole stream.
      start_step: batches already consumed.
      video_fraction: share of the videos that is used, in (0, 1].
      balanced: whether clips with rare classes come more often, see `Source`.
      mask_unlabelled_classes: whether classes that no clip is labelled with do not count.
      propagate_to_ancestors: whether a label implies those of its ancestors in the ontology.
      teacher: name of a model that has scored the datasets, see `Source`.
      missing_share: share of the clips without a class in which it does not count, see `Source`.
      frame_quantile: of pseudo-strong labels, see `Source`.
      known_labels: whether batches say which labels are known.
      front_end: how log-mel is computed; it must fit the datasets.
      augmentation: of the examples; nothing by default.
      framing_rule: "released" or "paper", see `labels.framing`.
      settings: how the stream is read: patches per clip, checksums, damaged records and so on.

    Returns:
      Batches with the keys of `batches.TrainBatch`: log_mel float32 `[batch, stft_frames, bands]`
      (96 and 64 by default), labels and label_weights float32 `[batch, classes]`, clip_id string
      `[batch]`, start int64 `[batch]` (first sample of the window), source int64 `[batch]` (0), and
      on demand known_labels bool `[batch, classes]`.

    Raises:
      errors.InputError: not a dataset, an unknown policy, labels that the dataset does not have, or
        settings that do not fit. Raised here, not at the first batch.
    """
    source = Source(
        datasets=_as_paths(datasets),
        policy=policy,
        mask_unlabelled_classes=mask_unlabelled_classes,
        propagate_to_ancestors=propagate_to_ancestors,
        video_fraction=video_fraction,
        balanced=balanced,
        teacher=teacher,
        missing_share=missing_share,
        frame_quantile=frame_quantile,
    )
    return _stream.train_patches(
        [source],
        batch_size,
        seed=seed,
        start_step=start_step,
        front_end=front_end,
        augmentation=augmentation,
        framing_rule=framing_rule,
        known_labels=known_labels,
        settings=settings,
    )


def evaluation_grid(
    datasets: Paths,
    *,
    batch_size: int = 16,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    framing_rule: str = framing.RELEASED,
    propagate_to_ancestors: bool = False,
) -> tf.data.Dataset:
    """Every clip of converted datasets once, with its ten 0.96 s frames and all its labels.

    Example, in `demo_output` or another directory with a converted dataset:
      >>> batch = next(iter(evaluation_grid("data/eval", batch_size=4)))
      >>> batch["log_mel"].shape, batch["frame_labels"].shape[:2]
      (TensorShape([4, 10, 96, 64]), TensorShape([4, 10]))
      >>> bool((batch["frame_labels"] >= -1).numpy().all())  # 1 positive, 0 negative, -1 unknown
      True

    Args:
      datasets: a dataset directory (what convert.py wrote), or several.
      batch_size: clips in a batch; the last batch may be smaller.
      front_end: how log-mel is computed; it must fit the datasets.
      framing_rule: "released" or "paper", see `labels.framing`.
      propagate_to_ancestors: whether a label implies those of its ancestors in the ontology.

    Returns:
      Batches with the keys of `batches.GridBatch`.

    Raises:
      errors.InputError: not a dataset, or datasets that do not fit together or the front end.
    """
    return grid_patches(
        _as_paths(datasets),
        batch_size=batch_size,
        front_end=front_end,
        framing_rule=framing_rule,
        propagate_to_ancestors=propagate_to_ancestors,
    )


def _as_paths(datasets: Paths) -> tuple[str, ...]:
    if isinstance(datasets, str | os.PathLike):
        datasets = (datasets,)
    return tuple(os.fspath(path) for path in datasets)
