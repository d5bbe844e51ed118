"""The training stream: batches of log-mel patches with their labels, from indexed TFRecord shards.

Of each clip only the window is read, by its offset in the shard: a patch costs a tenth of its clip,
and its log-mel is computed after batching.

The stream is a pure function of (sources, seed): the i-th example is the same whoever asks for it,
when, and what was read before. So the stream can begin at any step at no cost, a resumed run goes
on where it was, and workers share each batch however many they are. docs/input_pipeline.md explains
where its time goes.
"""

import dataclasses
from collections.abc import Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from audioset_strong.audio import features, pcm
from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.inputs import data_service, example_order, joint_datasets, mixing, windows
from audioset_strong.inputs.augmentation import NO_AUGMENTATION, Augmentation
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.inputs.example_order import ExampleOrder
from audioset_strong.inputs.opened_sources import OpenedSources, open_sources
from audioset_strong.inputs.record_windows import RecordWindowReader
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.window_reader import WindowReader
from audioset_strong.inputs.windows import ReadWindows, WindowSampler, WindowSettings
from audioset_strong.labels import framing
from audioset_strong.records import clip_records, shard_cache, shard_files
from audioset_strong.records.shard_files import ShardFiles

_FOREVER = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How the stream is read; the bindings of `train_patches` in gin files.

    Attributes:
      patches_per_clip: windows taken of a clip in each epoch; no two of them get into one batch,
        unless the source is balanced or has fewer than 1,024 clips.
      windows_per_bag: examples come in rows of so many, all of one source. Of sources whose labels
        are of whole clips (weak, diffuse) they are windows of one clip, spread over it, whose
        scores `training.pooling` pools; of others they are of different clips.
      exact_shares: whether every batch has the sources' shares, instead of on average.
      features_on_device: whether batches hold samples, for `to_model_input` to be called on them
        where the model is.
      checksums: whether all of a clip's audio is read with the first of its windows, and compared
        with the checksum in the index: the first epoch then reads ten times as much.
      skip_corrupt_records: whether clips whose audio is damaged are left out of the loss and
        logged, instead of being an error. It turns `checksums` on.
      cache_dir: directory on a local disk to which shards are copied while training, in the
        background; windows are then read from the copies. For shards on object stores and on disks
        that seek.
      cache_gb: size that the copies may have in all.
      data_service: address of the dispatcher of a tf.data service ("grpc://host:port") whose
        workers read and transform; the order of batches then depends on their speed.

    Raises:
      errors.InputError: a value out of range, or settings that do not go together.
    """

    patches_per_clip: int = 1
    windows_per_bag: int = 1
    exact_shares: bool = False
    features_on_device: bool = False
    checksums: bool = False
    skip_corrupt_records: bool = False
    cache_dir: str | None = None
    cache_gb: float = 100.0
    data_service: str | None = None

    def __post_init__(self) -> None:
        for name in ("patches_per_clip", "windows_per_bag"):
            errors.check_whole_number(f"train_patches.{name}", getattr(self, name))
        if self.patches_per_clip > 1 and self.windows_per_bag > 1:
            raise errors.InputError(
                f"train_patches.windows_per_bag = {self.windows_per_bag}: cannot be combined with "
                f"train_patches.patches_per_clip = {self.patches_per_clip}; a clip gives its "
                "windows together already"
            )
        if not self.cache_gb > 0:
            raise errors.InputError(
                f"train_patches.cache_gb = {self.cache_gb!r}: must be a positive number"
            )
        for name in ("checksums", "skip_corrupt_records", "cache_dir"):
            if self.data_service and getattr(self, name):
                raise errors.InputError(
                    f"train_patches.{name} = {getattr(self, name)!r}: cannot be combined with a "
                    "tf.data service, which reads and checks whole records"
                )


@dataclasses.dataclass(frozen=True)
class BatchShare:
    """The part of every batch that one pipeline gives.

    Attributes:
      replicas: that share a batch, in equal parts.
      first: the first replica that this pipeline serves.
      count: how many it serves: it gives their parts one after the other.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1


_DEFAULT_SETTINGS = StreamSettings()
_WHOLE_BATCH = BatchShare()


def train_patches(
    sources: Sequence[Source] | OpenedSources,
    batch_size: int,
    *,
    seed: int = 0,
    start_step: int = 0,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    augmentation: Augmentation = NO_AUGMENTATION,
    framing_rule: str = framing.RELEASED,
    known_labels: bool = False,
    settings: StreamSettings = _DEFAULT_SETTINGS,
    share: BatchShare = _WHOLE_BATCH,
) -> tf.data.Dataset:
    """The endless stream of training batches, beginning with that of `start_step`.

    Example:
      sources = [Source(("data/train",), "strong")]
      for batch in train_patches(sources, 64, seed=1).take(10):
          print(batch["log_mel"].shape, batch["labels"].shape)  # (64, 96, 64) (64, classes)

    Args:
      sources: where examples come from, with their shares; or `open_sources` of them, which
        several streams may use.
      batch_size: examples in a batch.
      seed: fixes the whole stream.
      start_step: batches already consumed.
      front_end: how log-mel is computed; it must fit the datasets.
      augmentation: of the examples; nothing by default.
      framing_rule: "released" or "paper", see `framing.frame_labels`.
      known_labels: whether batches say which labels are known.
      settings: how the stream is read.
      share: which part of each batch is given, as a batch of its own; all of it by default.

    Returns:
      Batches with the keys of `TrainBatch`; log_mel float32 `[batch, stft_frames, bands]`.

    Raises:
      errors.InputError: no source, bad weights or settings, or datasets that do not fit together,
        their indices, the front end or the augmentation.
    """
    errors.check_whole_number("batch_size", batch_size)
    _check_bags(settings, augmentation, batch_size, share)
    example_order.check_batch_size(batch_size, settings.patches_per_clip)
    framing.check_rule(framing_rule, "framing_rule")
    augmentation.check_fits(front_end)
    opened = sources
    if not isinstance(opened, OpenedSources):
        opened = open_sources(opened, skip_damaged=settings.skip_corrupt_records)
    joint_datasets.check_front_end(opened.datasets, opened.infos, front_end)
    for one in opened.sources:
        if one.taught:
            one.taught.check_front_end(front_end)
    if opened.encoding == clip_records.LOG_MEL:
        _check_log_mel(settings, augmentation)
    sampler = WindowSampler(
        opened,
        _reader(opened, settings, front_end),
        WindowSettings(
            seed=seed,
            front_end=front_end,
            framing_rule=framing_rule,
            known_labels=known_labels,
            augmented=augmentation.enabled,
        ),
    )
    bag = settings.windows_per_bag
    order = ExampleOrder(
        opened,
        mixing.Mixing(
            [one.source.weight for one in opened.sources],
            block=batch_size // bag if settings.exact_shares else mixing.LARGE_BLOCK,
            seed=seed,
            together=bag,
        ),
        seed=seed,
        patches_per_clip=settings.patches_per_clip,
        windows_per_bag=bag,
    )
    part = batch_size // share.replicas
    class_masks = windows.class_masks(opened)
    of_clip = [one.source.label_policy.of_clip for one in opened.sources]

    def batch(number: tf.Tensor) -> TrainBatch:
        step, replica = number // share.count, share.first + number % share.count
        patches = sampler.patches(order.examples(step * batch_size + replica * part, part))
        inside = ("sound", "missing")
        made = cast(TrainBatch, {k: value for k, value in patches.items() if k not in inside})
        made["labels"] = tf.cast(patches["labels"], tf.float32)
        weights = tf.gather(class_masks, patches["source"])
        if "missing" in patches:
            weights = tf.where(patches["missing"], 0.0, weights)
        made["label_weights"] = tf.where(patches["sound"][:, tf.newaxis], weights, 0.0)
        if bag > 1:
            made["pooled"] = tf.gather(of_clip, patches["source"])
        if settings.features_on_device:
            return made
        return to_model_input(made, front_end=front_end, augmentation=augmentation)

    batches = tf.data.Dataset.range(start_step * share.count, _FOREVER)
    # Nothing in it is for AutoGraph to convert, which would take longer than building the graph.
    in_graph = tf.autograph.experimental.do_not_convert(batch)
    batches = batches.map(in_graph, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if settings.data_service:
        batches = data_service.served(batches, settings.data_service)
    options = tf.data.Options()
    # Several batches are worked on side by side; splitting the work on each as well costs more.
    options.threading.max_intra_op_parallelism = 1
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


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
        waveform = pcm.tensor_to_float(batch.pop("pcm"))
        if augmented:
            waveform, batch = augmentation.of_waveform(waveform, batch)
        batch["log_mel"] = features.log_mel(waveform, front_end)
    if augmented:
        log_mel, batch = augmentation.of_log_mel(batch["log_mel"], batch, front_end.silence)
        batch["log_mel"] = log_mel
        del batch["augment_seed"]
    return batch


def reading_in_words(opened: OpenedSources, settings: StreamSettings) -> str:
    """From where windows are read, and how, in words for the log."""
    shards = opened.clips.shards
    if settings.data_service:
        return f"whole records by the workers of the tf.data service at {settings.data_service}"
    remote = any(files.is_remote(shard.path) for shard in shards)
    how = f"up to {shard_files.REQUESTS} requests at a time" if remote else "their offsets"
    words = f"windows by {how}, from {len(shards)} shards in {', '.join(opened.clips.directories)}"
    if settings.cache_dir:
        return f"{words}, which are copied to {settings.cache_dir} in the background"
    if remote:
        return f"{words}; bind train_patches.cache_dir to have them copied to a local disk"
    return words


def _reader(opened: OpenedSources, settings: StreamSettings, front_end: FrontEnd) -> ReadWindows:
    """What reads the windows: by offset, or in-graph where other processes have to do it."""
    encoding = opened.encoding
    if settings.data_service:
        return RecordWindowReader(opened.clips, encoding=encoding, front_end=front_end).read
    shards = opened.clips.shards
    local_copy = None
    if settings.cache_dir:
        local_copy = shard_cache.open_cache(
            settings.cache_dir, shards, max_bytes=int(settings.cache_gb * 1e9)
        )
    return WindowReader(
        opened.clips,
        ShardFiles(shards, local_copy=local_copy),
        encoding=encoding,
        front_end=front_end,
        checksums=settings.checksums or settings.skip_corrupt_records,
        skip_damaged=settings.skip_corrupt_records,
    ).read


def _check_bags(
    settings: StreamSettings, augmentation: Augmentation, batch_size: int, share: BatchShare
) -> None:
    """Every replica gets whole bags, in which nothing but one clip is heard."""
    name, bag = "train_patches.windows_per_bag", settings.windows_per_bag
    if bag == 1:
        return
    if batch_size % (share.replicas * bag):
        raise errors.InputError(
            f"{name} = {bag}: must divide the {batch_size // share.replicas} examples that a "
            "replica has of each batch"
        )
    if augmentation.mixup_alpha > 0:
        raise errors.InputError(
            f"{name} = {bag}: cannot be combined with Augmentation.mixup_alpha = "
            f"{augmentation.mixup_alpha}, which mixes clips; leave one of the two out"
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
