"""Patches with their labels: from TFRecord shards to batches of log-mel.

Training takes one random 0.96 s window of each clip and epoch (section 4 of the paper); evaluation
takes every window on the 0.96 s grid. Audio is cropped while it is still bytes and transformed only
after batching: a patch costs a tenth of its clip.

The training stream is a pure function of (sources, seed): the window of a clip depends on (seed,
epoch, clip), the order of an epoch on (seed, epoch), the source of the i-th example on (seed, i).
So it can begin at any step, as a resumed run needs, without replaying what came before.
docs/input_pipeline.md tells where its time goes.
"""

import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence

import gin
import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import augmentation, hashing, mixing, training_sources
from audioset_strong.inputs.training_sources import (
    DIFFUSE,
    STRONG,
    WEAK,
    Source,
    Stream,
    ancestor_matrix,
    multi_hot,
    open_source,
    read_infos,
)
from audioset_strong.labels import framing
from audioset_strong.records import clip_records

SAMPLES_PER_MS = features.SAMPLE_RATE // 1000
FRAME_SAMPLES = framing.FRAME_MS * SAMPLES_PER_MS
GRID_FRAMES = 10  # whole 0.96 s frames of a 10 s clip

_OPEN_SHARDS = 8  # read in turn, a record of each; with fewer, cores wait for them
_READ_BATCH = 16  # clips parsed and cropped by one op call
_SERVICE_BATCH = 64  # patches sent by one call
_MOST = np.iinfo(np.int64).max


def _segments(parsed: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Segment starts, ends (in samples) and labels, dense `[batch, segments]`, padded by -1."""
    return (
        parsed["segment_start_ms"].to_tensor(-1) * SAMPLES_PER_MS,
        parsed["segment_end_ms"].to_tensor(-1) * SAMPLES_PER_MS,
        parsed["segment_label"].to_tensor(-1),
    )


def _to_float(pcm: tf.Tensor) -> tf.Tensor:
    return tf.cast(clip_records.decode(pcm, features.PATCH_SAMPLES), tf.float32) / 32768.0


class _Sampler:
    """Draws the patches of one source."""

    def __init__(
        self,
        stream: Stream,
        index: int,
        num_classes: int,
        seed: int,
        patches_per_clip: int,
        known_labels: bool,
        augmented: bool,
        skip_corrupt_records: bool,
    ):
        self.stream = stream
        self._num_classes, self._seed, self._copies = num_classes, seed, patches_per_clip
        self._known_labels, self._augmented = known_labels, augmented
        self._skip, self._index = skip_corrupt_records, index
        self._some_unwanted = stream.examples < sum(stream.shards.values())
        self._read = clip_records.record_reader(stream.shards)

    def patches(self, consumed: int, shuffle_buffer: int, batch_size: int) -> tf.data.Dataset:
        """The endless patches of the source, from its `consumed`-th on."""
        if self._copies > 1:
            return self._blocks(consumed, shuffle_buffer // self._copies, batch_size)
        epoch, offset = divmod(consumed, self.stream.examples)
        epochs = tf.data.Dataset.range(epoch, _MOST)
        return epochs.flat_map(lambda epoch: self._epoch(epoch, shuffle_buffer)).skip(offset)

    def _blocks(self, consumed: int, block: int, batch_size: int) -> tf.data.Dataset:
        """Several patches of each clip, a block of clips at a time.

        A block is gone through as often as there are patches of a clip, in the same order: two of a
        clip are a block apart, which is no less than a batch.
        """
        if block < batch_size:
            raise errors.InputError(
                f"train_patches.shuffle_buffer: must be at least patches_per_clip * batch_size = "
                f"{self._copies * batch_size}, or patches of a clip share a batch"
            )
        blocks, offset = divmod(consumed, block * self._copies)
        epoch, clips = divmod(blocks * block, self.stream.examples)

        def turns(clips: dict[str, tf.Tensor]) -> tf.data.Dataset:
            def flat(x: tf.Tensor) -> tf.Tensor:  # [block, copies, ...] -> [copies * block, ...]
                swapped = tf.transpose(x, [1, 0, *range(2, len(x.shape))])
                return tf.reshape(swapped, [-1, *x.shape[2:]])

            return tf.data.Dataset.from_tensor_slices({k: flat(v) for k, v in clips.items()})

        read = tf.data.Dataset.range(epoch, _MOST).flat_map(lambda e: self._epoch(e, block))
        read = read.skip(clips).batch(block, drop_remainder=True).prefetch(1)
        return read.flat_map(turns).skip(offset)

    def _epoch(self, epoch: tf.Tensor, shuffle_buffer: int) -> tf.data.Dataset:
        """Each clip once, or balanced as often as its rate, all shuffled."""
        # A shuffle's seed is combined with its graph's: fixed here, so that the order depends on
        # our seed alone and not on what the program has set globally.
        tf.compat.v1.set_random_seed(1)
        records = tf.data.Dataset.from_tensor_slices(self._shard_order(epoch)).interleave(
            _skipping_reader(self.stream.shards) if self._skip else self._read,
            cycle_length=min(_OPEN_SHARDS, len(self.stream.shards)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        # What is shuffled is 31 kB of samples a patch, not the clip's 320 kB.
        return self._drawn(records, epoch, tf.data.AUTOTUNE).shuffle(
            shuffle_buffer,
            seed=hashing.integers(["order", self._seed, epoch], 2**62),
            reshuffle_each_iteration=False,
        )

    def _shard_order(self, epoch: tf.Tensor) -> tf.Tensor:
        """The paths of the shards in the order of an epoch."""
        return tf.random.experimental.stateless_shuffle(
            tf.constant(list(self.stream.shards)),
            seed=tf.stack([tf.constant(self._seed, tf.int64), epoch]),
        )

    def _drawn(
        self, records: tf.data.Dataset, epoch: tf.Tensor, parallel_calls: int | None
    ) -> tf.data.Dataset:
        batches = records.batch(_READ_BATCH)
        if self.stream.source.balanced:
            # Systematic sampling: of a running sum of the rates, from a random start, each clip
            # gets the whole numbers that it passes. So each gets its rate on average, and an epoch
            # has always the same length, which a resumed run counts on.
            start = 0.001 + 0.998 * hashing.uniform(["balance", self._seed, epoch])
            rated = batches.map(lambda serialized: (serialized, self._rates(serialized)))
            batches = rated.scan(tf.cast(start, tf.float64), _whole_numbers)
        clips = batches.map(
            lambda *batch: self._windows(epoch, *batch),
            num_parallel_calls=parallel_calls,
            deterministic=True if parallel_calls else None,
        )
        return clips.unbatch()

    def by_service(self, address: str, consumed: int, keep_samples: bool) -> tf.data.Dataset:
        """The endless patches of the source, drawn by the workers of a tf.data service.

        They are log-mel already, unless their samples are to be kept. The service gives each worker
        shards of the current epoch to read as it asks for them: every clip once an epoch, in an
        order that depends on the workers' speed.
        """
        shards = len(self.stream.shards)

        def read(number: tf.Tensor) -> tf.data.Dataset:
            epoch = number // shards
            path = self._shard_order(epoch)[number % shards]
            return self._drawn(self._read(path), epoch, None)

        begin = consumed // self.stream.examples * shards
        patches = tf.data.Dataset.range(begin, _MOST).interleave(
            read, cycle_length=min(4, shards), num_parallel_calls=tf.data.AUTOTUNE
        )
        if self._copies > 1:
            patches = patches.unbatch()
        patches = patches.batch(_SERVICE_BATCH)
        if not keep_samples:
            patches = patches.map(_with_log_mel, num_parallel_calls=tf.data.AUTOTUNE)
        service = tf.data.experimental.service
        try:
            patches = patches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, address))
        except (tf.errors.OpError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise errors.InputError(
                f"train_patches.data_service = {address!r}: {reason}"
            ) from error
        return patches.unbatch()

    def _rates(self, serialized: tf.Tensor) -> tf.Tensor:
        """How often each clip is to come, on average; float64 `[clips]`."""
        return training_sources.balanced_rates(
            clip_records.parse(serialized), self.stream.source, self.stream.class_rates
        )

    def _windows(
        self, epoch: tf.Tensor, serialized: tf.Tensor, repeats: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """One window of each clip, or several, with the labels that the policy gives them.

        Args:
          epoch: int64.
          serialized: records, string `[records]`.
          repeats: windows to take of each, int64 `[records]`, of balanced sources.

        Returns:
          Of the clips that have the labels that the policy asks for: clip_id string, start int64
          (in samples), source int64, pcm of `clip_records.cut` or log_mel float32 `[96, 64]`, labels
          bool `[classes]` and on demand known_labels and augment_seed, each `[clips, ...]`, or
          `[clips, copies, ...]` where there are several.
        """
        parsed = clip_records.parse(serialized)
        if repeats is not None:
            rows = tf.repeat(tf.range(tf.shape(serialized, tf.int64)[0]), repeats)
            copy = tf.range(tf.size(rows, tf.int64)) - tf.repeat(
                tf.cumsum(repeats, exclusive=True), repeats
            )
            parsed = {name: tf.gather(value, rows) for name, value in parsed.items()}
            return self._labelled_windows(parsed, epoch, copy)
        if self._copies > 1:
            each = [self._labelled_windows(parsed, epoch, copy) for copy in range(self._copies)]
            patches = {name: tf.stack([one[name] for one in each], 1) for name in each[0]}
        else:
            patches = self._labelled_windows(parsed, epoch)
        if self._some_unwanted:
            wanted = training_sources.wanted(parsed, self.stream.source)
            patches = {name: tf.boolean_mask(value, wanted) for name, value in patches.items()}
        return patches

    def _labelled_windows(
        self, parsed: dict[str, tf.Tensor], epoch: tf.Tensor, copy: tf.Tensor | int | None = None
    ) -> dict[str, tf.Tensor]:
        stream, classes = self.stream, self._num_classes
        which: list[tf.Tensor | str | int] = [parsed["clip_id"], "window", self._seed, epoch]
        if copy is not None:
            which.append(copy)
        num_samples = parsed["num_samples"]
        drawn = hashing.integers(which, 2**62)
        last = tf.maximum(num_samples - features.PATCH_SAMPLES, 0)
        patches = {
            "clip_id": parsed["clip_id"],
            "source": tf.fill(tf.shape(num_samples), tf.constant(self._index, tf.int64)),
        }
        if stream.encoding == clip_records.LOG_MEL:
            frame = drawn % (last // features.HOP_SAMPLES + 1)
            patches["start"] = frame * features.HOP_SAMPLES
            patches["log_mel"] = clip_records.crop_log_mel(parsed, frame, features.PATCH_FRAMES)
        else:
            patches["start"] = drawn % (last + 1)
            patches["pcm"] = clip_records.cut(
                parsed, patches["start"], features.PATCH_SAMPLES, stream.encoding
            )
        policy = stream.source.policy
        if policy == WEAK:
            labels = multi_hot(parsed["weak_labels"], classes)
        elif policy == DIFFUSE:
            labels = multi_hot(parsed["segment_label"], classes)
        else:
            frames = framing.frame_labels(
                *_segments(parsed), patches["start"][:, tf.newaxis], FRAME_SAMPLES, classes
            )
            labels = frames[:, 0]
        if stream.ancestors is not None:
            labels = framing.propagate_to_ancestors(labels, stream.ancestors)
        patches["labels"] = labels
        if self._known_labels:
            known = labels | multi_hot(parsed["negatives"], classes)
            if policy == STRONG:
                known |= multi_hot(parsed["segment_label"], classes)
            patches["known_labels"] = known
        if self._augmented:
            patches["augment_seed"] = hashing.integers([*which, "augment"], 2**31)
        return patches


def _whole_numbers(
    done: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """Adds rates to a running sum: the sum, and the whole numbers passed at each, int64."""
    serialized, rates = batch
    sums = tf.concat([[done], done + tf.cumsum(rates)], 0)
    whole = tf.cast(tf.floor(sums), tf.int64)
    return sums[-1], (serialized, whole[1:] - whole[:-1])


def _skipping_reader(shards: dict[str, int]) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """A reader of shards that leaves out what follows a damaged record, and says so."""
    read_shard = clip_records.record_reader(shards)
    read: collections.Counter[str] = collections.Counter()

    def count(path: bytes, record: bytes) -> bytes:
        read[path.decode()] += 1
        return record

    def end(path: bytes) -> bool:
        name = path.decode()
        lost = shards[name] - read.pop(name, 0)
        if lost:
            logging.warning("%s: damaged, %d of %d records skipped", name, lost, shards[name])
        return False

    def reader(path: tf.Tensor) -> tf.data.Dataset:
        def counted(record: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(count, [path, record], tf.string), [])

        records = read_shard(path).ignore_errors().map(counted)
        nothing = tf.data.Dataset.from_tensors("").filter(
            lambda _: tf.ensure_shape(tf.numpy_function(end, [path], tf.bool), [])
        )
        return records.concatenate(nothing)

    return reader


def find_damage(datasets: Sequence[str]) -> str | None:
    """Reads datasets for a damaged shard; gives its path and what is wrong where."""
    for directory, info in zip(datasets, read_infos(datasets), strict=True):
        for path in info.shard_paths(directory):
            try:
                for _ in clip_records.record_reader([path])(path):
                    pass
            except tf.errors.DataLossError as error:
                reason = str(error).partition("\n")[0].rpartition("}} ")[2]
                return f"{path}: {reason}"
    return None


@contextlib.contextmanager
def reporting_damage(datasets: Sequence[str]) -> Iterator[None]:
    """Turns TensorFlow's word of a damaged record into an error that names shard and place.

    Args:
      datasets: directories of the datasets that are read within the block.

    Raises:
      errors.InputError: a shard is damaged or cut off.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        found = find_damage(datasets)
        if found is None:
            raise
        raise errors.InputError(
            f"{found}; convert it again, or bind train_patches.skip_corrupt_records = True"
        ) from error


@gin.configurable
def train_patches(
    sources: Sequence[Source],
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    shuffle_buffer: int = 4096,
    patches_per_clip: int = 1,
    exact_shares: bool = False,
    known_labels: bool = False,
    features_on_device: bool = False,
    skip_corrupt_records: bool = False,
    data_service: str | None = None,
    num_pipelines: int = 1,
    pipeline_index: int = 0,
) -> tf.data.Dataset:
    """The endless stream of training batches, beginning with that of `start_step`.

    Args:
      sources: where examples come from, with their shares.
      batch_size: examples a batch.
      seed: fixes the whole stream.
      start_step: batches already consumed.
      shuffle_buffer: patches of each source shuffled at a time, 31 kB each.
      patches_per_clip: windows taken of a clip each time that it is read; no two of them get into
        one batch.
      exact_shares: whether every batch has the sources' shares, instead of in expectation.
      known_labels: whether to tell which labels are known.
      features_on_device: whether batches hold samples, for `to_model_input` to be called on them
        where the model is.
      skip_corrupt_records: whether what follows a damaged record of a shard is left out, counted
        and told, instead of being an error. Epochs are shorter then, and a resumed run does not go
        on with quite the same examples.
      data_service: address of a tf.data service's dispatcher ("grpc://host:port"), whose workers
        read and transform; the order then depends on their speed.
      num_pipelines: input pipelines that share the shards, by file; `batch_size` is that of one.
      pipeline_index: which of them this is.

    Returns:
      Batches of log_mel float32 `[batch, 96, 64]` (or pcm int16 `[batch, 15600]`), labels float32
      `[batch, classes]`, label_weights float32 `[batch, classes]` (0 where a class is masked),
      clip_id string `[batch]`, start int64 `[batch]` in samples, source int64 `[batch]` (index
      among the sources of positive weight); on demand known bool `[batch, classes]` (positive,
      explicitly negative, or under the strong policy elsewhere in the clip) and augment_seed int64
      `[batch]`.

    Raises:
      errors.InputError: no source, bad weights or settings, or sources that do not fit together.
    """
    if not sources:
        raise errors.InputError("no source to train on")
    given = [source.weight for source in sources]
    if min(given) < 0 or not np.isfinite(given).all() or sum(given) <= 0:
        raise errors.InputError(
            f"source weights {given}: none may be negative and one must be positive"
        )
    for name, value in (
        ("batch_size", batch_size),
        ("patches_per_clip", patches_per_clip),
        ("shuffle_buffer", shuffle_buffer),
    ):
        if not isinstance(value, int) or value < 1:
            raise errors.InputError(f"{name} = {value!r}: must be a whole number, at least 1")
    infos = read_infos([path for source in sources for path in source.datasets])
    num_classes = len(infos[0].vocabulary)
    augment = augmentation.Augmentation()
    if infos[0].encoding == clip_records.LOG_MEL:
        _check_log_mel(features_on_device, augment)
    # A source of weight 0 is not opened for reading, so that mu = 0 and mu = 1 are exactly pure.
    streams = [open_source(source, num_pipelines, pipeline_index) for source in sources]
    streams = [stream for stream in streams if stream.source.weight > 0]
    if any(stream.source.balanced for stream in streams):
        for name, given_too in (
            ("patches_per_clip", patches_per_clip > 1),
            ("data_service", data_service is not None),
            ("skip_corrupt_records", skip_corrupt_records),
        ):
            if given_too:
                raise errors.InputError(f"train_patches.{name}: not together with balanced sources")
    rule = mixing.ExactMixing if exact_shares else mixing.SampledMixing
    mixed_by = rule([stream.source.weight for stream in streams], batch_size, seed)
    consumed = mixed_by.consumed(start_step)
    patches = []
    for i, stream in enumerate(streams):
        sampler = _Sampler(
            stream,
            i,
            num_classes,
            seed,
            patches_per_clip,
            known_labels,
            augment.enabled,
            skip_corrupt_records,
        )
        if data_service is None:
            drawn = sampler.patches(int(consumed[i]), shuffle_buffer, batch_size)
        else:
            keep_samples = features_on_device or augment.needs_waveform
            drawn = sampler.by_service(data_service, int(consumed[i]), keep_samples)
            drawn = drawn.shuffle(shuffle_buffer, seed)
        patches.append(drawn)
    if len(patches) == 1:
        mixed = patches[0]
    else:
        choices = tf.data.Dataset.range(start_step, _MOST).map(mixed_by.choose).unbatch()
        mixed = tf.data.Dataset.choose_from_datasets(patches, choices, stop_on_empty_dataset=True)
    class_masks = np.stack([stream.class_mask for stream in streams])

    def to_batch(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        batch = batch | {
            "labels": tf.cast(batch["labels"], tf.float32),
            "label_weights": tf.gather(class_masks, batch["source"]),
        }
        if known_labels:
            batch["known"] = batch.pop("known_labels")
        if not features_on_device:
            return to_model_input(batch)
        return batch | {"pcm": clip_records.decode(batch["pcm"], features.PATCH_SAMPLES)}

    batches = mixed.batch(batch_size, drop_remainder=True)
    batches = batches.map(to_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Batches are worked on side by side: to split the work on each of them, too, costs more.
    options.threading.max_intra_op_parallelism = 1
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _check_log_mel(features_on_device: bool, augment: augmentation.Augmentation) -> None:
    """Records of log-mel allow for less than samples do."""
    if features_on_device:
        raise errors.InputError(
            "train_patches.features_on_device: the datasets hold log-mel, and no samples"
        )
    if augment.needs_waveform:
        raise errors.InputError(
            "Augmentation: gain, and mixup of waveforms, need samples; the datasets hold log-mel"
        )


def _with_log_mel(patches: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if "pcm" not in patches:
        return patches
    kept_as_is = {name: value for name, value in patches.items() if name != "pcm"}
    return kept_as_is | {"log_mel": features.log_mel(_to_float(patches["pcm"]))}


def to_model_input(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Computes a batch's log-mel where it has samples, and augments it.

    `train_patches` does this in its pipeline; with `features_on_device` the training step does. A
    batch that it was done to is returned as it is.

    Args:
      batch: of `train_patches`.

    Returns:
      The batch with log_mel float32 `[batch, 96, 64]`, without pcm and augment_seed.
    """
    augment = augmentation.Augmentation()
    augmented = "augment_seed" in batch
    if "pcm" in batch:
        batch = dict(batch)
        waveform = _to_float(batch.pop("pcm"))
        if augmented:
            waveform, batch = augment.of_waveform(waveform, batch)
        batch["log_mel"] = features.log_mel(waveform)
    if augmented:
        log_mel, batch = augment.of_log_mel(batch["log_mel"], batch)
        batch = {name: v for name, v in batch.items() if name != "augment_seed"}
        batch["log_mel"] = log_mel
    return batch


def grid_patches(
    datasets: Sequence[str], batch_size: int = 16, propagate_to_ancestors: bool = False
) -> tf.data.Dataset:
    """Every clip once, with its ten windows on the 0.96 s grid and all its labels.

    Args:
      datasets: dataset directories.
      batch_size: clips a batch.
      propagate_to_ancestors: whether positive labels imply those of their ancestors, see `Source`.

    Returns:
      Batches of clip_id string `[batch]`; log_mel float32 `[batch, 10, 96, 64]`; frame_valid bool
      `[batch, 10]` (whether at least half of the frame lies inside the clip); weak_labels bool
      `[batch, classes]` with weak_known bool `[batch]`; negative_labels bool `[batch, classes]`
      (clip-level explicit negatives) with negatives_known bool `[batch]`; frame_labels int8
      `[batch, 10, classes]`, 1 positive, 0 explicitly or complementarily negative, -1 unknown
      (section 3.2), with strong_known bool `[batch]`.

    Raises:
      errors.InputError: datasets that are none or do not fit together.
    """
    infos = read_infos(datasets)
    num_classes = len(infos[0].vocabulary)
    paths = [
        str(shard)
        for directory, info in zip(datasets, infos, strict=True)
        for shard in info.shard_paths(directory)
    ]
    ancestors = ancestor_matrix(datasets, infos) if propagate_to_ancestors else None
    grid = np.arange(GRID_FRAMES, dtype=np.int64) * FRAME_SAMPLES
    needed = int(grid[-1]) + features.PATCH_SAMPLES

    def to_batch(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = clip_records.parse(serialized)
        batch = tf.shape(serialized)[0]
        start = tf.zeros([batch], tf.int64)
        if infos[0].encoding == clip_records.LOG_MEL:
            frames = GRID_FRAMES * features.PATCH_FRAMES
            whole = clip_records.crop_log_mel(parsed, start, frames)
            log_mel = tf.reshape(
                whole, [-1, GRID_FRAMES, features.PATCH_FRAMES, features.PATCH_BANDS]
            )
        else:
            waveform = _to_float(clip_records.crop(parsed, start, needed, infos[0].encoding))
            windows = tf.signal.frame(waveform, features.PATCH_SAMPLES, FRAME_SAMPLES)
            log_mel = features.log_mel(windows)
        frame_start = tf.tile(grid[tf.newaxis], [batch, 1])
        positive = framing.frame_labels(*_segments(parsed), frame_start, FRAME_SAMPLES, num_classes)
        weak_labels = multi_hot(parsed["weak_labels"], num_classes)
        if ancestors is not None:
            positive = framing.propagate_to_ancestors(positive, ancestors)
            weak_labels = framing.propagate_to_ancestors(weak_labels, ancestors)
        negative = multi_hot(parsed["negatives"], num_classes)
        frame_labels = tf.where(
            parsed["strong_known"][:, tf.newaxis, tf.newaxis],
            framing.three_valued_labels(positive, negative),
            tf.constant(-1, tf.int8),
        )
        return {
            "clip_id": parsed["clip_id"],
            "log_mel": log_mel,
            "frame_valid": grid + FRAME_SAMPLES // 2 <= parsed["num_samples"][:, tf.newaxis],
            "weak_labels": weak_labels,
            "weak_known": parsed["weak_known"],
            "negative_labels": negative,
            "negatives_known": parsed["negatives_known"],
            "frame_labels": frame_labels,
            "strong_known": parsed["strong_known"],
        }

    records = clip_records.record_reader(paths)(paths)
    batches = records.batch(batch_size).map(to_batch, num_parallel_calls=2, deterministic=True)
    return batches.prefetch(2)
