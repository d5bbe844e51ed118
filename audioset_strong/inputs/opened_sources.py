"""Sources with what their datasets hold: files, examples of an epoch, counts of labels, priors."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs import clip_labels, hashing, joint_datasets
from audioset_strong.inputs.clip_labels import Clips
from audioset_strong.inputs.training_sources import Source
from audioset_strong.records import clip_records
from audioset_strong.records.dataset_info import DatasetInfo

_HASH_RANGE = 2**32

Shard = tuple[str, Mapping[str, Any]]  # its path, and its entry in DatasetInfo.shards


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A checked source: its files, the examples of an epoch, and what its labels are.

    Attributes:
      source: the source that was opened.
      shards: path -> number of records in it.
      encoding: of the records.
      examples: number of clips in an epoch.
      labelled_clips: number of clips in the whole source with the annotation that the policy needs.
      label_counts: int64 `[classes]`, clips labelled with each class (of the whole source).
      class_mask: float32 `[classes]`, 0 where a class does not count.
      ancestors: bool `[classes, classes]`, where labels imply those of their ancestors, or None.
      class_rates: float64 `[classes]`, what a label adds to its clip's rate in balanced sampling;
        the mean rate of the clips is one.
    """

    source: Source
    shards: Mapping[str, int]
    encoding: str
    examples: int
    labelled_clips: int
    label_counts: np.ndarray
    class_mask: np.ndarray
    ancestors: np.ndarray | None
    class_rates: np.ndarray

    @property
    def num_classes(self) -> int:
        """Size of the vocabulary."""
        return len(self.label_counts)

    @property
    def uses_all_records(self) -> bool:
        """Whether an epoch has an example of every record."""
        return self.examples >= sum(self.shards.values())


def open_source(source: Source, *, num_pipelines: int = 1, pipeline_index: int = 0) -> OpenedSource:
    """Checks a source against its datasets' infos, before any patch is drawn.

    Args:
      source: to open.
      num_pipelines: number of pipelines that share its shards; each gets every `num_pipelines`-th.
      pipeline_index: index of this pipeline.

    Returns:
      The opened source, with the shards of this pipeline.

    Raises:
      errors.InputError: a policy that needs labels which no clip has, datasets that do not fit
        together, a fraction that leaves no clip, or too few shards. The message names the source.
    """
    infos = joint_datasets.compatible_infos(source.datasets)
    needs = source.label_policy.needs
    _check_annotation(source, infos)
    labelled_clips = sum(getattr(info, needs.clips) for info in infos)
    counts = np.sum([getattr(info, needs.counts) for info in infos], axis=0, dtype=np.int64)
    shards: list[Shard] = [
        shard
        for directory, info in zip(source.datasets, infos, strict=True)
        for shard in zip(info.shard_paths(directory), info.shards, strict=True)
    ]
    examples = labelled_clips
    if num_pipelines > 1:
        shards, examples = _share(source, shards, num_pipelines, pipeline_index)
    rates = _balanced_class_rates(counts, labelled_clips)
    if source.video_fraction < 1.0 or (source.balanced and num_pipelines > 1):
        examples, rates = _counted(source, [path for path, _ in shards], rates)
    ancestors = (
        joint_datasets.ancestor_matrix(source.datasets, infos)
        if source.propagate_to_ancestors
        else None
    )
    if ancestors is not None:
        # At least the clips of its most frequent descendant are labelled with a class.
        counts = np.max(counts[:, np.newaxis] * ancestors, axis=0)
    mask = (counts > 0) if source.mask_unlabelled_classes else np.ones_like(counts, bool)
    return OpenedSource(
        source=source,
        shards={path: shard["clips"] for path, shard in shards},
        encoding=infos[0].encoding,
        examples=examples,
        labelled_clips=labelled_clips,
        label_counts=counts,
        class_mask=mask.astype(np.float32),
        ancestors=ancestors,
        class_rates=rates,
    )


def _check_annotation(source: Source, infos: Sequence[DatasetInfo]) -> None:
    needs = source.label_policy.needs
    for directory, info in zip(source.datasets, infos, strict=True):
        if not getattr(info, needs.clips):
            raise errors.InputError(
                f"{directory}: policy {source.policy!r} needs {needs.name} labels, but none of its "
                f"{info.num_clips} clips has any"
            )


def _balanced_class_rates(counts: np.ndarray, clips: int) -> np.ndarray:
    """What a label of each class adds to its clip's rate; float64 `[classes]`."""
    rates = np.zeros(len(counts))
    used = counts > 0
    rates[used] = clips / (used.sum() * counts[used])
    return rates


def _share(
    source: Source, shards: Sequence[Shard], num_pipelines: int, index: int
) -> tuple[list[Shard], int]:
    """One pipeline's shards, and how many clips in them have the annotation needed."""
    if len(shards) < num_pipelines:
        raise errors.InputError(
            f"{source.name}: {len(shards)} shards are too few for {num_pipelines} pipelines; "
            "convert with a larger --num_shards"
        )
    clips = source.label_policy.needs.clips
    mine = list(shards[index::num_pipelines])
    if any(clips not in shard for _, shard in mine):
        raise errors.InputError(
            f"{source.name}: its dataset_info.json does not say how many clips of each shard have "
            f"labels, which {num_pipelines} pipelines need; convert it again"
        )
    examples = sum(shard[clips] for _, shard in mine)
    if not examples:
        raise errors.InputError(
            f"{source.name}: no clip with labels in the shards of pipeline {index} of "
            f"{num_pipelines}"
        )
    return mine, examples


def _counted(source: Source, paths: Sequence[str], rates: np.ndarray) -> tuple[int, np.ndarray]:
    """Reads shards: the number of wanted clips, and class rates with a mean rate of one."""
    examples, total = _count(
        tuple(paths), source, tuple(rates), joint_datasets.fingerprint(source.datasets)
    )
    if not examples or (source.balanced and not total):
        raise errors.InputError(
            f"video_fraction = {source.video_fraction} of {source.name}: no clip is left; take a "
            "larger one"
        )
    return examples, rates * (examples / total if total else 1.0)


@functools.lru_cache
def _count(
    paths: tuple[str, ...], source: Source, class_rates: tuple[float, ...], data: str
) -> tuple[int, float]:
    """Reads shards, once: (clips that are wanted, sum of their balanced rates).

    Args:
      paths: of the shards.
      source: which clips are wanted.
      class_rates: see `OpenedSource`.
      data: the datasets' fingerprint, so that a dataset written anew is read anew.
    """
    del data
    rates = np.array(class_rates)

    def add(total: tuple[tf.Tensor, tf.Tensor], serialized: tf.Tensor) -> tuple:
        clips = clip_records.parse(serialized)
        number = tf.reduce_sum(tf.cast(wanted(clips, source), tf.int64))
        rate = tf.reduce_sum(balanced_rates(clips, source, rates))
        return total[0] + number, total[1] + rate

    records = clip_records.record_reader(paths)(list(paths), num_parallel_reads=2).batch(64)
    number, rate = records.reduce((tf.constant(0, tf.int64), tf.constant(0.0, tf.float64)), add)
    return int(number), float(rate)


def wanted(clips: Clips, source: Source) -> tf.Tensor:
    """Whether clips have the annotation that the policy needs, and are within the fraction.

    Args:
      clips: see `clip_records.parse`.
      source: whose clips they are.

    Returns:
      bool `[clips]`.
    """
    chosen = clips[source.label_policy.needs.known]
    if source.video_fraction < 1.0:
        video = tf.strings.regex_replace(clips["clip_id"], "_[0-9]+$", "")
        drawn = hashing.integers([video, "fraction"], _HASH_RANGE)
        chosen &= drawn < round(source.video_fraction * _HASH_RANGE)
    return chosen


def balanced_rates(clips: Clips, source: Source, class_rates: np.ndarray) -> tf.Tensor:
    """How often clips come in an epoch of balanced sampling.

    Args:
      clips: see `clip_records.parse`.
      source: whose policy says which labels count.
      class_rates: see `OpenedSource`.

    Returns:
      float64 `[clips]`; 0 for clips that are not wanted.
    """
    labels = clips[source.label_policy.needs.labels]
    hot = tf.cast(clip_labels.multi_hot(labels, len(class_rates)), tf.float64)
    rates = tf.linalg.matvec(hot, tf.constant(class_rates, tf.float64))
    return tf.where(wanted(clips, source), rates, tf.zeros_like(rates))


def class_priors(sources: Sequence[Source]) -> np.ndarray:
    """Each class's share of positive clips in a mixture, smoothed.

    For the strong policy this is the rate of clips, not of windows: an upper bound.

    Args:
      sources: of the mixture.

    Returns:
      float64 `[classes]`.
    """
    total, priors = 0.0, np.zeros(())
    for source in sources:
        if source.weight > 0:
            opened = open_source(source)
            positive, clips = opened.label_counts + 1, opened.labelled_clips + 2
            priors = priors + source.weight * positive / clips
            total += source.weight
    return priors / total
