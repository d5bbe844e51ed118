"""The training stream: batches of log-mel patches with their labels, from TFRecord shards.

Audio is cut while it is still bytes, and transformed only after batching: a patch costs a tenth of
its clip.

The stream is a pure function of (sources, seed): the window of a clip depends on (seed, epoch,
clip), the order of an epoch on (seed, epoch), the source of the i-th example on (seed, i). So it
can begin at any step, as a resumed run needs, without replaying what came before.
docs/input_pipeline.md explains where its time goes.
"""

import dataclasses
from collections.abc import Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from audioset_strong.audio import features, pcm
from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs import damage, data_service, joint_datasets, mixing, opened_sources
from audioset_strong.inputs.augmentation import NO_AUGMENTATION, Augmentation
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.inputs.epochs import FOREVER, SourceStream
from audioset_strong.inputs.opened_sources import OpenedSource
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.windows import WindowSampler, WindowSettings
from audioset_strong.labels import framing
from audioset_strong.records import clip_records, pcm_cut


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How the stream is read; the bindings of `train_patches` in gin files.

    Attributes:
      shuffle_buffer: patches of each source shuffled at a time, 31 kB each.
      patches_per_clip: windows taken of a clip each time it is read; no two of them get into one
        batch.
      exact_shares: whether every batch has the sources' shares, instead of on average.
      features_on_device: whether batches hold samples, for `to_model_input` to be called on them
        where the model is.
      skip_corrupt_records: whether what follows a damaged record of a shard is left out, counted
        and logged, instead of being an error. Epochs are then shorter, and the examples of a
        resumed run may differ a little from those of an uninterrupted one.
      data_service: address of the dispatcher of a tf.data service ("grpc://host:port") whose
        workers read and transform; the order then depends on their speed.

    Raises:
      errors.InputError: a count that is not a whole number of at least 1.
    """

    shuffle_buffer: int = 4096
    patches_per_clip: int = 1
    exact_shares: bool = False
    features_on_device: bool = False
    skip_corrupt_records: bool = False
    data_service: str | None = None

    def __post_init__(self) -> None:
        for name in ("shuffle_buffer", "patches_per_clip"):
            errors.check_whole_number(f"train_patches.{name}", getattr(self, name))


_DEFAULT_SETTINGS = StreamSettings()


def train_patches(
    sources: Sequence[Source],
    batch_size: int,
    *,
    seed: int = 0,
    start_step: int = 0,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    augmentation: Augmentation = NO_AUGMENTATION,
    framing_rule: str = framing.RELEASED,
    known_labels: bool = False,
    settings: StreamSettings = _DEFAULT_SETTINGS,
    num_pipelines: int = 1,
    pipeline_index: int = 0,
) -> tf.data.Dataset:
    """The endless stream of training batches, beginning with that of `start_step`.

    Example:
      sources = [Source(("data/train",), "strong")]
      for batch in train_patches(sources, 64, seed=1).take(10):
          print(batch["log_mel"].shape, batch["labels"].shape)  # (64, 96, 64) (64, classes)

    Args:
      sources: where examples come from, with their shares.
      batch_size: examples in a batch.
      seed: fixes the whole stream.
      start_step: batches already consumed.
      front_end: how log-mel is computed; it must fit the datasets.
      augmentation: of the examples; nothing by default.
      framing_rule: "released" or "paper", see `framing.frame_labels`.
      known_labels: whether batches say which labels are known.
      settings: how the stream is read.
      num_pipelines: input pipelines that share the shards, by file; `batch_size` is that of one.
      pipeline_index: which of them this is.

    Returns:
      Batches with the keys of `TrainBatch`; log_mel float32 `[batch, stft_frames, bands]`.

    Raises:
      errors.InputError: no source, bad weights or settings, or datasets that do not fit together,
        the front end or the augmentation.
    """
    errors.check_whole_number("batch_size", batch_size)
    _check_weights(sources)
    framing.check_rule(framing_rule, "framing_rule")
    datasets = [path for source in sources for path in source.datasets]
    infos = joint_datasets.read_infos(datasets, front_end)
    augmentation.check_fits(front_end)
    if infos[0].encoding == clip_records.LOG_MEL:
        _check_log_mel(settings, augmentation)
    opened = [
        opened_sources.open_source(
            source, num_pipelines=num_pipelines, pipeline_index=pipeline_index
        )
        for source in sources
    ]
    # Sources of weight 0 are checked but not read, so that mu = 0 and mu = 1 are exactly pure.
    opened = [one for one in opened if one.source.weight > 0]
    _check_balanced(opened, settings)
    windows = WindowSettings(
        seed=seed,
        front_end=front_end,
        framing_rule=framing_rule,
        known_labels=known_labels,
        augmented=augmentation.enabled,
    )
    mixing_type = mixing.ExactMixing if settings.exact_shares else mixing.SampledMixing
    mixed_by = mixing_type([one.source.weight for one in opened], batch_size, seed=seed)
    patches = [
        _source_patches(
            _source_stream(WindowSampler(one, i, windows), settings),
            settings,
            consumed=int(consumed),
            batch_size=batch_size,
            keep_samples=settings.features_on_device or augmentation.needs_waveform,
        )
        for i, (one, consumed) in enumerate(zip(opened, mixed_by.consumed(start_step), strict=True))
    ]
    batches = _mixed(patches, mixed_by, start_step).batch(batch_size, drop_remainder=True)
    return _finished(
        batches,
        class_masks=np.stack([one.class_mask for one in opened]),
        front_end=front_end,
        augmentation=augmentation,
        features_on_device=settings.features_on_device,
    )


def to_model_input(
    batch: TrainBatch, *, front_end: FrontEnd, augmentation: Augmentation
) -> TrainBatch:
    """Computes the log-mel of a batch that holds samples, and augments it.

    `train_patches` does this in its pipeline; with `features_on_device` the training step does. A
    batch that is finished already is returned as it is.

    Args:
      batch: of `train_patches`.
      front_end: as given to `train_patches`.
      augmentation: as given to `train_patches`.

    Returns:
      The batch with log_mel float32 `[batch, stft_frames, bands]`, without pcm and augment_seed.
    """
    batch = batch.copy()
    augmented = "augment_seed" in batch
    if "pcm" in batch:
        waveform = _waveform(batch.pop("pcm"), front_end)
        if augmented:
            waveform, batch = augmentation.of_waveform(waveform, batch)
        batch["log_mel"] = features.log_mel(waveform, front_end)
    if augmented:
        log_mel, batch = augmentation.of_log_mel(batch["log_mel"], batch, front_end.silence)
        batch["log_mel"] = log_mel
        del batch["augment_seed"]
    return batch


def _source_stream(windows: WindowSampler, settings: StreamSettings) -> SourceStream:
    shards = windows.opened.shards
    if settings.skip_corrupt_records and settings.data_service is None:
        read = damage.skipping_reader(shards)
    else:
        read = clip_records.record_reader(shards)
    return SourceStream(windows=windows, read=read, patches_per_clip=settings.patches_per_clip)


def _source_patches(
    stream: SourceStream,
    settings: StreamSettings,
    *,
    consumed: int,
    batch_size: int,
    keep_samples: bool,
) -> tf.data.Dataset:
    """The endless patches of one source, from its `consumed`-th on."""
    front_end = stream.windows.settings.front_end
    if settings.data_service is None:
        return stream.patches(
            consumed, shuffle_buffer=settings.shuffle_buffer, batch_size=batch_size
        )

    def with_log_mel(patches: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if "pcm" not in patches:
            return patches
        kept = {name: value for name, value in patches.items() if name != "pcm"}
        log_mel = features.log_mel(_waveform(patches["pcm"], front_end), front_end)
        return kept | {"log_mel": log_mel}

    served = data_service.served_patches(
        stream,
        settings.data_service,
        consumed=consumed,
        prepare=None if keep_samples else with_log_mel,
    )
    return served.shuffle(settings.shuffle_buffer, stream.windows.settings.seed)


def _mixed(
    patches: Sequence[tf.data.Dataset], mixed_by: mixing.Mixing, start_step: int
) -> tf.data.Dataset:
    """One stream of patches, which take turns as `mixed_by` says."""
    if len(patches) == 1:
        return patches[0]
    choices = tf.data.Dataset.range(start_step, FOREVER).map(mixed_by.choose).unbatch()
    return tf.data.Dataset.choose_from_datasets(patches, choices, stop_on_empty_dataset=True)


def _finished(
    batches: tf.data.Dataset,
    *,
    class_masks: np.ndarray,
    front_end: FrontEnd,
    augmentation: Augmentation,
    features_on_device: bool,
) -> tf.data.Dataset:
    """Batches of patches as batches for the model."""

    def finish(patches: dict[str, tf.Tensor]) -> TrainBatch:
        batch = cast(TrainBatch, dict(patches))
        batch["labels"] = tf.cast(patches["labels"], tf.float32)
        batch["label_weights"] = tf.gather(class_masks, patches["source"])
        if not features_on_device:
            return to_model_input(batch, front_end=front_end, augmentation=augmentation)
        batch["pcm"] = pcm_cut.decode(batch["pcm"], front_end.patch_samples)
        return batch

    batches = batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Several batches are worked on side by side; splitting the work on each as well costs more.
    options.threading.max_intra_op_parallelism = 1
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _waveform(cut: tf.Tensor, front_end: FrontEnd) -> tf.Tensor:
    """What `pcm_cut.cut` gave, as float32 `[batch, patch_samples]`."""
    return pcm.tensor_to_float(pcm_cut.decode(cut, front_end.patch_samples))


def _check_weights(sources: Sequence[Source]) -> None:
    if not sources:
        raise errors.InputError("no source to train on")
    weights = [source.weight for source in sources]
    if min(weights) < 0 or not np.isfinite(weights).all() or sum(weights) <= 0:
        raise errors.InputError(
            f"source weights {weights}: none may be negative and one must be positive"
        )


def _check_log_mel(settings: StreamSettings, augmentation: Augmentation) -> None:
    """Log-mel records do not allow everything that samples do."""
    if settings.features_on_device:
        raise errors.InputError(
            "train_patches.features_on_device = True: the datasets hold log-mel and no samples; "
            "leave it out"
        )
    if augmentation.needs_waveform:
        name = "gain_db" if augmentation.gain_db > 0 else "mixup_domain"
        raise errors.InputError(
            f"Augmentation.{name} = {getattr(augmentation, name)!r}: needs samples, but the "
            "datasets hold log-mel; masks, and mixup of the domain 'log_mel', do not need them"
        )


def _check_balanced(opened: Sequence[OpenedSource], settings: StreamSettings) -> None:
    """Balanced sampling relies on epochs of a known length, read in this process."""
    if not any(one.source.balanced for one in opened):
        return
    for name in ("patches_per_clip", "data_service", "skip_corrupt_records"):
        value = getattr(settings, name)
        if value != getattr(_DEFAULT_SETTINGS, name):
            raise errors.InputError(
                f"train_patches.{name} = {value!r}: cannot be combined with balanced sources"
            )
