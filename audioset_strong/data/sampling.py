"""Patches with their labels: from TFRecord shards to batches of log-mel.

Training takes one random 0.96 s window of each clip and epoch (section 4 of the paper); evaluation
takes every window on the 0.96 s grid. Audio is cropped while it is still bytes and transformed only
after batching: a patch costs a tenth of its clip.

The training stream is a pure function of (sources, seed): the window of a clip depends on (seed,
epoch, clip), the order of an epoch on (seed, epoch), the source of the i-th example on (seed, i).
So it can begin at any step, as a resumed run needs, without replaying what came before.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import gin
from audioset_strong import errors, features
from audioset_strong.data import clip as clip_lib
from audioset_strong.data import dataset_info
from audioset_strong.labels import framing, ontology

SAMPLES_PER_MS = features.SAMPLE_RATE // 1000
FRAME_SAMPLES = framing.FRAME_MS * SAMPLES_PER_MS
GRID_FRAMES = 10  # whole 0.96 s frames of a 10 s clip

WEAK, DIFFUSE, STRONG = "weak", "diffuse", "strong"
POLICIES = (WEAK, DIFFUSE, STRONG)

_READ_BATCH = 16  # clips parsed and cropped by one op call
_HASH_RANGE = 2**32


@dataclasses.dataclass(frozen=True)
class Source:
    """Clips under one label policy, with their share of the training examples.

    Attributes:
      datasets: dataset directories (each holds a `dataset_info.json`).
      policy: "weak", the clip's weak labels whatever the window; "diffuse", every label with a
        strong segment anywhere in the clip; "strong", the framing rule applied to the window.
      weight: share of the examples, relative to the other sources' weights.
      mask_unlabelled_classes: whether classes that no clip of this source is labelled with are
        left out of its loss (151 of the 527 weak classes have no strong training label). By
        default they count as negative, as every unlabelled class in the paper.
      smear: whether a label implies those of its ancestors in the ontology, as in the paper's
        "label smearing"; the datasets must have been converted with an ontology.
    """

    datasets: tuple[str, ...]
    policy: str
    weight: float = 1.0
    mask_unlabelled_classes: bool = False
    smear: bool = False


@gin.configurable
def single(
    data_dir: str,
    datasets: Sequence[str] = gin.REQUIRED,
    policy: str = gin.REQUIRED,
    mask_unlabelled_classes: bool = False,
    smear: bool = False,
) -> list[Source]:
    """One source: the four training sets of Table 1 that are no mixture.

    Args:
      data_dir: directory of the datasets.
      datasets: their names in it.
      policy: see `Source`.
      mask_unlabelled_classes: see `Source`.
      smear: see `Source`.
    """
    paths = tuple(os.path.join(data_dir, name) for name in datasets)
    return [Source(paths, policy, 1.0, mask_unlabelled_classes, smear)]


@gin.configurable
def mixture(
    data_dir: str,
    weak_datasets: Sequence[str] = gin.REQUIRED,
    strong_datasets: Sequence[str] = gin.REQUIRED,
    policy: str = gin.REQUIRED,
    mu: float = gin.REQUIRED,
    mask_unlabelled_classes: bool = False,
    smear: bool = False,
) -> list[Source]:
    """Weak examples mixed with diffuse or strong ones (section 4 of the paper).

    Args:
      data_dir: directory of the datasets.
      weak_datasets: names of those read under the weak policy.
      strong_datasets: names of those read under `policy`.
      policy: "diffuse" or "strong".
      mu: share of the examples from `strong_datasets`; 0 is all weak, 1 none.
      mask_unlabelled_classes: see `Source`; holds for the strong datasets.
      smear: see `Source`; holds for all datasets.

    Raises:
      errors.InputError: mu outside [0, 1].
    """
    if not 0.0 <= mu <= 1.0:
        raise errors.InputError(f"mixture.mu = {mu}: must lie in [0, 1], 0 for all weak")
    weak = single(data_dir, weak_datasets, WEAK, False, smear)
    strong = single(data_dir, strong_datasets, policy, mask_unlabelled_classes, smear)
    return [
        *(dataclasses.replace(source, weight=1.0 - mu) for source in weak),
        *(dataclasses.replace(source, weight=float(mu)) for source in strong),
    ]


def read_infos(datasets: Sequence[str]) -> list[dataset_info.DatasetInfo]:
    """Loads the infos of datasets that are to be used together.

    Raises:
      errors.InputError: no dataset, a directory that is none, or datasets whose vocabulary, sample
        rate or encoding differ.
    """
    if not datasets:
        raise errors.InputError("no dataset given: a source needs at least one")
    infos = [dataset_info.DatasetInfo.load(path) for path in datasets]
    for path, info in zip(datasets, infos, strict=True):
        if info.sample_rate != features.SAMPLE_RATE:
            raise errors.InputError(
                f"{path}: sample rate {info.sample_rate} Hz, but the front end takes "
                f"{features.SAMPLE_RATE} Hz; convert it again"
            )
        if info.vocabulary.mids != infos[0].vocabulary.mids:
            raise errors.InputError(
                f"{path}: another vocabulary ({len(info.vocabulary)} classes) than {datasets[0]} "
                f"({len(infos[0].vocabulary)}); convert both with the same --class_labels"
            )
        if info.encoding != infos[0].encoding:
            raise errors.InputError(
                f"{path}: encoding {info.encoding}, but {datasets[0]} has {infos[0].encoding}; "
                "convert both with the same --encoding"
            )
    return infos


def fingerprint(datasets: Sequence[str]) -> str:
    """A hash of what the datasets are, wherever they lie: of their `dataset_info.json`."""
    digest = hashlib.sha256()
    for directory in datasets:
        digest.update((pathlib.Path(directory) / dataset_info.FILE_NAME).read_bytes())
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class _Stream:
    """A checked source: its files, the examples of an epoch, and what its labels are."""

    source: Source
    paths: list[str]
    encoding: str
    examples: int
    label_counts: np.ndarray  # int64 [classes], clips labelled with each class
    class_mask: np.ndarray  # float32 [classes]
    ancestors: np.ndarray | None  # bool [classes, classes], where labels are smeared


def _open(source: Source, num_pipelines: int = 1, pipeline_index: int = 0) -> _Stream:
    """Checks a source against its datasets' infos, before any record is read.

    Of several pipelines each gets every `num_pipelines`-th shard.
    """
    if source.policy not in POLICIES:
        raise errors.InputError(
            f"policy {source.policy!r} of {', '.join(source.datasets)}: "
            f"must be one of {', '.join(POLICIES)}"
        )
    infos = read_infos(source.datasets)
    examples, shards = 0, []
    counts = np.zeros(len(infos[0].vocabulary), np.int64)
    for directory, info in zip(source.datasets, infos, strict=True):
        labelled = info.weak_clips if source.policy == WEAK else info.strong_clips
        if not labelled:
            kind = "weak" if source.policy == WEAK else "strong"
            raise errors.InputError(
                f"{directory}: policy {source.policy!r} needs {kind} labels, but none of its "
                f"{info.num_clips} clips has any"
            )
        counts += info.weak_counts if source.policy == WEAK else info.strong_counts
        known = "weak_clips" if source.policy == WEAK else "strong_clips"
        for path, shard in zip(info.shard_paths(directory), info.shards, strict=True):
            if num_pipelines > 1 and known not in shard:
                raise errors.InputError(
                    f"{directory}: does not tell how many clips each shard has labels of, which "
                    f"{num_pipelines} pipelines need; convert it again"
                )
            shards.append((path, shard.get(known, 0)))
        examples += labelled
    ancestors = ancestor_matrix(source.datasets, infos) if source.smear else None
    if ancestors is not None:
        # At least the clips of its most frequent descendant are labelled with a class.
        counts = np.max(counts[:, np.newaxis] * ancestors, axis=0)
    if num_pipelines > 1:
        if len(shards) < num_pipelines:
            raise errors.InputError(
                f"{', '.join(source.datasets)}: {len(shards)} shards are too few for "
                f"{num_pipelines} pipelines; convert with a larger --num_shards"
            )
        shards = shards[pipeline_index::num_pipelines]
        examples = sum(labelled for _, labelled in shards)
        if not examples:
            raise errors.InputError(
                f"{', '.join(source.datasets)}: no clip with labels in the shards of pipeline "
                f"{pipeline_index} of {num_pipelines}"
            )
    mask = (counts > 0) if source.mask_unlabelled_classes else np.ones_like(counts, bool)
    return _Stream(
        source,
        [path for path, _ in shards],
        infos[0].encoding,
        examples,
        counts,
        mask.astype(np.float32),
        ancestors,
    )


def ancestor_matrix(
    datasets: Sequence[str], infos: Sequence[dataset_info.DatasetInfo]
) -> np.ndarray:
    """What `framing.smear` smears the labels of datasets with; bool `[classes, classes]`.

    Raises:
      errors.InputError: a dataset without an ontology, or with another.
    """
    for path, info in zip(datasets, infos, strict=True):
        if not info.ancestors or info.ancestors != infos[0].ancestors:
            raise errors.InputError(
                f"{path}: labels cannot be smeared, for it was converted without --ontology, or "
                f"with another than {datasets[0]}; convert it again"
            )
    return ontology.ancestor_matrix(infos[0].ancestors)


def _hash(parts: Sequence[tf.Tensor | str | int], buckets: int) -> tf.Tensor:
    """A well-mixed int64 hash of the parts' text; parts broadcast against each other."""
    texts = [
        tf.as_string(part) if not isinstance(part, str) and part.dtype != tf.string else part
        for part in (
            tf.constant(part, tf.int64) if isinstance(part, int) else part for part in parts
        )
    ]
    return tf.strings.to_hash_bucket_fast(tf.strings.join(texts, "/"), buckets)


def multi_hot(labels: tf.RaggedTensor, num_classes: int) -> tf.Tensor:
    """Ragged class indices int64 `[batch, labels]` -> bool `[batch, num_classes]`."""
    dense = labels.to_tensor(-1)
    return tf.reduce_any(tf.one_hot(dense, num_classes, True, False, dtype=tf.bool), axis=1)


def _segments(parsed: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Segment starts, ends (in samples) and labels, dense `[batch, segments]`, padded by -1."""
    return (
        parsed["segment_start_ms"].to_tensor(-1) * SAMPLES_PER_MS,
        parsed["segment_end_ms"].to_tensor(-1) * SAMPLES_PER_MS,
        parsed["segment_label"].to_tensor(-1),
    )


def _to_float(pcm: tf.Tensor) -> tf.Tensor:
    return tf.cast(pcm, tf.float32) / 32768.0


def _random_patches(
    serialized: tf.Tensor, stream: _Stream, num_classes: int, seed: int, epoch: tf.Tensor
) -> dict[str, tf.Tensor]:
    """One window of each clip, with the labels that the policy gives it.

    Returns:
      known bool `[batch]` (whether the clip carries the label kind that the policy asks for),
      clip_id string `[batch]`, start int64 `[batch]` in samples, pcm int16 `[batch, 15600]`,
      labels bool `[batch, classes]`.
    """
    parsed = clip_lib.parse(serialized)
    num_samples = parsed["num_samples"]
    valid_starts = tf.maximum(num_samples - features.PATCH_SAMPLES, 0) + 1
    drawn = _hash([parsed["clip_id"], "window", seed, epoch], 2**62)
    start = drawn % valid_starts
    policy = stream.source.policy
    if policy == WEAK:
        labels = multi_hot(parsed["weak_labels"], num_classes)
    elif policy == DIFFUSE:
        labels = multi_hot(parsed["segment_label"], num_classes)
    else:
        frames = framing.frame_labels(
            *_segments(parsed), start[:, tf.newaxis], FRAME_SAMPLES, num_classes
        )
        labels = frames[:, 0]
    if stream.ancestors is not None:
        labels = framing.smear(labels, stream.ancestors)
    known = labels | multi_hot(parsed["negatives"], num_classes)
    if policy == STRONG:
        known |= multi_hot(parsed["segment_label"], num_classes)
    return {
        "known_labels": known,
        "known": parsed["weak_known"] if policy == WEAK else parsed["strong_known"],
        "clip_id": parsed["clip_id"],
        "start": start,
        "pcm": clip_lib.crop(parsed, start, features.PATCH_SAMPLES, stream.encoding),
        "labels": labels,
    }


def _source_patches(
    stream: _Stream,
    num_classes: int,
    seed: int,
    consumed: int,
    shuffle_buffer: int,
    index: int,
) -> tf.data.Dataset:
    """The endless patches of one source, from its `consumed`-th on."""
    epoch, offset = divmod(consumed, stream.examples)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # A shuffle's seed is combined with its graph's: fixed here, so that the order depends on
        # our seed alone and not on what the program has set globally.
        tf.compat.v1.set_random_seed(1)
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(stream.paths), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        patches = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(4, len(stream.paths)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        patches = patches.batch(_READ_BATCH).map(
            lambda serialized: _random_patches(serialized, stream, num_classes, seed, epoch),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        patches = patches.unbatch().filter(lambda patch: patch["known"])
        # What is shuffled is 31 kB of samples, not the clip's 320 kB.
        return patches.shuffle(
            shuffle_buffer,
            seed=_hash(["order", seed, epoch], 2**62),
            reshuffle_each_iteration=False,
        )

    epochs = tf.data.Dataset.range(epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(one_epoch).skip(offset).map(lambda patch: patch | {"source": index})


def _choose(position: tf.Tensor, thresholds: np.ndarray, seed: int) -> tf.Tensor:
    """Which source gives the example at `position` of the stream; int64, of any shape."""
    drawn = _hash([position, "source", seed], _HASH_RANGE)
    return tf.cast(tf.searchsorted(thresholds, drawn, side="right"), tf.int64)


def _consumed(stop: int, thresholds: np.ndarray, seed: int, num_sources: int) -> np.ndarray:
    """How many of the first `stop` examples each source gave; int64 `[num_sources]`."""
    counts = np.zeros(num_sources, np.int64)
    if num_sources == 1:
        return np.array([stop], np.int64)
    chunk = 1 << 20
    for begin in range(0, stop, chunk):
        positions = tf.range(begin, min(begin + chunk, stop), dtype=tf.int64)
        chosen = _choose(positions, thresholds, seed).numpy()
        counts += np.bincount(chosen, minlength=num_sources)
    return counts


@gin.configurable
def train_patches(
    sources: Sequence[Source],
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    shuffle_buffer: int = 4096,
    known_labels: bool = False,
    features_on_device: bool = False,
    num_pipelines: int = 1,
    pipeline_index: int = 0,
) -> tf.data.Dataset:
    """The endless stream of training batches, beginning with that of `start_step`.

    Args:
      sources: where examples come from, with their shares.
      batch_size: examples a batch.
      seed: fixes the whole stream.
      start_step: batches already consumed.
      shuffle_buffer: patches shuffled at a time, 31 kB each.
      known_labels: whether to tell which labels are known.
      features_on_device: whether batches hold samples, for `to_model_input` to be called on them
        where the model is.
      num_pipelines: input pipelines that share the shards, by file; `batch_size` is that of one.
      pipeline_index: which of them this is.

    Returns:
      Batches of log_mel float32 `[batch, 96, 64]` (or pcm int16 `[batch, 15600]`), labels float32
      `[batch, classes]`, label_weights float32 `[batch, classes]` (0 where a class is masked),
      known bool `[batch, classes]` where asked for (positive, explicitly negative, or under the
      strong policy elsewhere in the clip),
      clip_id string `[batch]`, start int64
      `[batch]` in samples, source int64 `[batch]` (index among the sources of positive weight).

    Raises:
      errors.InputError: no source, bad weights, or sources that do not fit together.
    """
    if not sources:
        raise errors.InputError("no source to train on")
    given = [source.weight for source in sources]
    if min(given) < 0 or not np.isfinite(given).all() or sum(given) <= 0:
        raise errors.InputError(
            f"source weights {given}: none may be negative and one must be positive"
        )
    if batch_size < 1:
        raise errors.InputError(f"batch_size = {batch_size}: must be at least 1")
    infos = read_infos([path for source in sources for path in source.datasets])
    num_classes = len(infos[0].vocabulary)
    # A source of weight 0 is not opened for reading, so that mu = 0 and mu = 1 are exactly pure.
    streams = [_open(source, num_pipelines, pipeline_index) for source in sources]
    streams = [stream for stream in streams if stream.source.weight > 0]
    weights = np.array([stream.source.weight for stream in streams], np.float64)
    shares = np.cumsum(weights) / weights.sum()
    thresholds = np.round(shares[:-1] * _HASH_RANGE).astype(np.int64)

    begin = start_step * batch_size
    consumed = _consumed(begin, thresholds, seed, len(streams))
    patches = [
        _source_patches(stream, num_classes, seed, int(consumed[i]), shuffle_buffer, i)
        for i, stream in enumerate(streams)
    ]
    if len(patches) == 1:
        mixed = patches[0]
    else:
        choices = tf.data.Dataset.range(begin, np.iinfo(np.int64).max).batch(1024)
        choices = choices.map(lambda position: _choose(position, thresholds, seed)).unbatch()
        mixed = tf.data.Dataset.choose_from_datasets(patches, choices, stop_on_empty_dataset=True)
    class_masks = np.stack([stream.class_mask for stream in streams])

    def to_batch(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = {
            "pcm": batch["pcm"],
            "labels": tf.cast(batch["labels"], tf.float32),
            "label_weights": tf.gather(class_masks, batch["source"]),
            "clip_id": batch["clip_id"],
            "start": batch["start"],
            "source": tf.cast(batch["source"], tf.int64),
        } | ({"known": batch["known_labels"]} if known_labels else {})
        return given if features_on_device else to_model_input(given)

    batches = mixed.batch(batch_size, drop_remainder=True)
    batches = batches.map(to_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def to_model_input(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Computes the log-mel of a batch that holds samples; any other is returned as it is.

    Args:
      batch: of `train_patches`.
    """
    if "log_mel" in batch:
        return batch
    given = {name: value for name, value in batch.items() if name != "pcm"}
    return given | {"log_mel": features.log_mel(_to_float(batch["pcm"]))}


def grid_patches(
    datasets: Sequence[str], batch_size: int = 16, smear: bool = False
) -> tf.data.Dataset:
    """Every clip once, with its ten windows on the 0.96 s grid and all its labels.

    Args:
      datasets: dataset directories.
      batch_size: clips a batch.
      smear: whether positive labels imply those of their ancestors, see `Source`.

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
    ancestors = ancestor_matrix(datasets, infos) if smear else None
    grid = np.arange(GRID_FRAMES, dtype=np.int64) * FRAME_SAMPLES
    needed = int(grid[-1]) + features.PATCH_SAMPLES

    def to_batch(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = clip_lib.parse(serialized)
        batch = tf.shape(serialized)[0]
        start = tf.zeros([batch], tf.int64)
        waveform = _to_float(
            clip_lib.crop(parsed, start, needed, infos[0].encoding)
        )  # [batch, needed]
        windows = tf.signal.frame(waveform, features.PATCH_SAMPLES, FRAME_SAMPLES)
        frame_start = tf.tile(grid[tf.newaxis], [batch, 1])
        positive = framing.frame_labels(*_segments(parsed), frame_start, FRAME_SAMPLES, num_classes)
        weak_labels = multi_hot(parsed["weak_labels"], num_classes)
        if ancestors is not None:
            positive = framing.smear(positive, ancestors)
            weak_labels = framing.smear(weak_labels, ancestors)
        negative = multi_hot(parsed["negatives"], num_classes)
        frame_labels = tf.where(
            parsed["strong_known"][:, tf.newaxis, tf.newaxis],
            framing.explicit_labels(positive, negative),
            tf.constant(-1, tf.int8),
        )
        return {
            "clip_id": parsed["clip_id"],
            "log_mel": features.log_mel(windows),
            "frame_valid": grid + FRAME_SAMPLES // 2 <= parsed["num_samples"][:, tf.newaxis],
            "weak_labels": weak_labels,
            "weak_known": parsed["weak_known"],
            "negative_labels": negative,
            "negatives_known": parsed["negatives_known"],
            "frame_labels": frame_labels,
            "strong_known": parsed["strong_known"],
        }

    records = tf.data.TFRecordDataset(paths)
    batches = records.batch(batch_size).map(to_batch, num_parallel_calls=2, deterministic=True)
    return batches.prefetch(2)


def class_priors(sources: Sequence[Source]) -> np.ndarray:
    """Each class's share of positive clips in the mixture; float64 `[classes]`, smoothed.

    For the strong policy this is the rate of clips, not of windows: an upper bound.
    """
    total, priors = 0.0, np.zeros(())
    for source in sources:
        if source.weight > 0:
            stream = _open(source)
            priors = priors + source.weight * (stream.label_counts + 1) / (stream.examples + 2)
            total += source.weight
    return priors / total
