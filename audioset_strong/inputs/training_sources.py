"""Sources of training examples: which clips, under which label policy, in which share."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Sequence

import gin
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import hashing
from audioset_strong.labels import ontology
from audioset_strong.records import clip_records, dataset_info

WEAK, DIFFUSE, STRONG = "weak", "diffuse", "strong"
POLICIES = (WEAK, DIFFUSE, STRONG)
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
      propagate_to_ancestors: whether a label implies those of its ancestors in the ontology, as in the paper's
        "label smearing"; the datasets must have been converted with an ontology.
      fraction: share of the videos that is used, in (0, 1]; chosen by a hash of their ids, so that
        a smaller share lies within a larger one (Fig. 3).
      balanced: whether clips come as often as they hold rare classes, instead of once an epoch: a
        clip's rate is the sum of 1 / (clips of that class) over its classes, as PANNs' and AST's
        balanced sampling. Clips without label do not come at all.
    """

    datasets: tuple[str, ...]
    policy: str
    weight: float = 1.0
    mask_unlabelled_classes: bool = False
    propagate_to_ancestors: bool = False
    fraction: float = 1.0
    balanced: bool = False


@gin.configurable
def single_source(
    data_dir: str,
    datasets: Sequence[str] = gin.REQUIRED,
    policy: str = gin.REQUIRED,
    mask_unlabelled_classes: bool = False,
    propagate_to_ancestors: bool = False,
    fraction: float = 1.0,
    balanced: bool = False,
) -> list[Source]:
    """One source: the four training sets of Table 1 that are no mixture.

    Args:
      data_dir: directory of the datasets.
      datasets: their names in it.
      policy: see `Source`.
      mask_unlabelled_classes: see `Source`.
      propagate_to_ancestors: see `Source`.
      fraction: see `Source`.
      balanced: see `Source`.
    """
    paths = tuple(os.path.join(data_dir, name) for name in datasets)
    return [
        Source(
            paths, policy, 1.0, mask_unlabelled_classes, propagate_to_ancestors, fraction, balanced
        )
    ]


@gin.configurable
def weak_strong_mixture(
    data_dir: str,
    weak_datasets: Sequence[str] = gin.REQUIRED,
    strong_datasets: Sequence[str] = gin.REQUIRED,
    policy: str = gin.REQUIRED,
    mu: float = gin.REQUIRED,
    mask_unlabelled_classes: bool = False,
    propagate_to_ancestors: bool = False,
    strong_fraction: float = 1.0,
    balanced: bool = False,
) -> list[Source]:
    """Weak examples mixed with diffuse or strong ones (section 4 of the paper).

    Args:
      data_dir: directory of the datasets.
      weak_datasets: names of those read under the weak policy.
      strong_datasets: names of those read under `policy`.
      policy: "diffuse" or "strong".
      mu: share of the examples from `strong_datasets`; 0 is all weak, 1 none.
      mask_unlabelled_classes: see `Source`; holds for the strong datasets.
      propagate_to_ancestors: see `Source`; holds for all datasets.
      strong_fraction: share of the videos of `strong_datasets` that is used, see `Source`.
      balanced: see `Source`; holds for all datasets.

    Raises:
      errors.InputError: mu outside [0, 1].
    """
    if not 0.0 <= mu <= 1.0:
        raise errors.InputError(
            f"weak_strong_mixture.mu = {mu}: must lie in [0, 1], 0 for all weak"
        )
    weak = single_source(
        data_dir, weak_datasets, WEAK, False, propagate_to_ancestors, 1.0, balanced
    )
    strong = single_source(
        data_dir,
        strong_datasets,
        policy,
        mask_unlabelled_classes,
        propagate_to_ancestors,
        strong_fraction,
        balanced,
    )
    return [
        *(dataclasses.replace(source, weight=1.0 - mu) for source in weak),
        *(dataclasses.replace(source, weight=float(mu)) for source in strong),
    ]


def mu(sources: Sequence[Source]) -> float | None:
    """The share of diffuse or strong examples in a mixture (section 4); None without a mixture.

    >>> weak, strong = Source(("a",), WEAK, 0.25), Source(("b",), STRONG, 0.75)
    >>> mu([weak, strong]), mu([strong])
    (0.75, None)
    """
    total = sum(source.weight for source in sources)
    if len(sources) < 2 or not total > 0:
        return None
    return sum(source.weight for source in sources if source.policy != WEAK) / total


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
        with tf.io.gfile.GFile(os.path.join(directory, dataset_info.FILE_NAME), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Stream:
    """A checked source: its files, the examples of an epoch, and what its labels are.

    Attributes:
      source: what was asked for.
      shards: path -> records in it.
      encoding: of the records.
      examples: of an epoch, one patch a clip.
      total: clips with labels, of the whole source.
      label_counts: int64 `[classes]`, clips labelled with each class (of the whole source).
      class_mask: float32 `[classes]`, 0 where a class does not count.
      ancestors: bool `[classes, classes]`, where labels are smeared.
      class_rates: float64 `[classes]`, what a label adds to its clip's rate in balanced sampling;
        the clips' mean rate is one.
    """

    source: Source
    shards: dict[str, int]
    encoding: str
    examples: int
    total: int
    label_counts: np.ndarray
    class_mask: np.ndarray
    ancestors: np.ndarray | None
    class_rates: np.ndarray


def open_source(source: Source, num_pipelines: int = 1, pipeline_index: int = 0) -> Stream:
    """Checks a source against its datasets' infos, before any patch is drawn.

    Args:
      source: to open.
      num_pipelines: that share its shards: each gets every `num_pipelines`-th.
      pipeline_index: which of them this is.

    Raises:
      errors.InputError: naming the source: a policy that is none, or that asks for labels that no
        clip has; datasets that do not fit together; a fraction of nothing; too few shards.
    """
    name = ", ".join(source.datasets)
    if source.policy not in POLICIES:
        raise errors.InputError(
            f"policy {source.policy!r} of {name}: must be one of {', '.join(POLICIES)}"
        )
    if not 0.0 < source.fraction <= 1.0:
        raise errors.InputError(f"fraction {source.fraction} of {name}: must lie in (0, 1]")
    infos = read_infos(source.datasets)
    known = "weak_clips" if source.policy == WEAK else "strong_clips"
    counts = np.zeros(len(infos[0].vocabulary), np.int64)
    shards: list[tuple[str, dict]] = []
    for directory, info in zip(source.datasets, infos, strict=True):
        if not getattr(info, known):
            kind = known.removesuffix("_clips")
            raise errors.InputError(
                f"{directory}: policy {source.policy!r} needs {kind} labels, but none of its "
                f"{info.num_clips} clips has any"
            )
        counts += info.weak_counts if source.policy == WEAK else info.strong_counts
        shards += zip(info.shard_paths(directory), info.shards, strict=True)
    examples = total = sum(getattr(info, known) for info in infos)
    if num_pipelines > 1:
        shards, examples = _share(name, shards, known, num_pipelines, pipeline_index)
    rates = np.zeros(len(counts))
    used = counts > 0
    rates[used] = total / (used.sum() * counts[used])
    if source.fraction < 1.0 or (source.balanced and num_pipelines > 1):
        examples, rate = _measure(tuple(path for path, _ in shards), source, tuple(rates))
        if not examples or (source.balanced and not rate):
            raise errors.InputError(f"fraction {source.fraction} of {name}: no clip is left")
        rates *= examples / rate if rate else 1.0
    ancestors = ancestor_matrix(source.datasets, infos) if source.propagate_to_ancestors else None
    if ancestors is not None:
        # At least the clips of its most frequent descendant are labelled with a class.
        counts = np.max(counts[:, np.newaxis] * ancestors, axis=0)
    mask = (counts > 0) if source.mask_unlabelled_classes else np.ones_like(counts, bool)
    return Stream(
        source,
        {path: shard["clips"] for path, shard in shards},
        infos[0].encoding,
        examples,
        total,
        counts,
        mask.astype(np.float32),
        ancestors,
        rates,
    )


def _share(
    name: str, shards: list[tuple[str, dict]], known: str, num_pipelines: int, index: int
) -> tuple[list[tuple[str, dict]], int]:
    """One pipeline's shards, and the clips in them that have labels."""
    if len(shards) < num_pipelines:
        raise errors.InputError(
            f"{name}: {len(shards)} shards are too few for {num_pipelines} pipelines; convert with "
            "a larger --num_shards"
        )
    mine = shards[index::num_pipelines]
    if any(known not in shard for _, shard in mine):
        raise errors.InputError(
            f"{name}: its dataset_info.json does not tell how many clips of each shard have "
            f"labels, which {num_pipelines} pipelines need; convert it again"
        )
    examples = sum(shard[known] for _, shard in mine)
    if not examples:
        raise errors.InputError(
            f"{name}: no clip with labels in the shards of pipeline {index} of {num_pipelines}"
        )
    return mine, examples


def wanted(parsed: dict[str, tf.Tensor], source: Source) -> tf.Tensor:
    """Whether clips have the labels that the policy asks for, and are within the fraction.

    Args:
      parsed: of `clip.parse`.
      source: that asks.

    Returns:
      bool `[clips]`.
    """
    chosen = parsed["weak_known" if source.policy == WEAK else "strong_known"]
    if source.fraction < 1.0:
        video = tf.strings.regex_replace(parsed["clip_id"], "_[0-9]+$", "")
        drawn = hashing.integers([video, "fraction"], _HASH_RANGE)
        chosen &= drawn < round(source.fraction * _HASH_RANGE)
    return chosen


def balanced_rates(
    parsed: dict[str, tf.Tensor], source: Source, class_rates: np.ndarray
) -> tf.Tensor:
    """How often clips come in an epoch of balanced sampling; float64 `[clips]`.

    Args:
      parsed: of `clip.parse`.
      source: whose policy tells which labels count.
      class_rates: see `Stream`.
    """
    labels = parsed["weak_labels" if source.policy == WEAK else "segment_label"]
    hot = tf.cast(multi_hot(labels, len(class_rates)), tf.float64)
    rates = tf.linalg.matvec(hot, tf.constant(class_rates, tf.float64))
    return tf.where(wanted(parsed, source), rates, tf.zeros_like(rates))


@functools.lru_cache
def _measure(
    paths: tuple[str, ...], source: Source, class_rates: tuple[float, ...]
) -> tuple[int, float]:
    """Reads shards, once: (clips that are wanted, sum of their balanced rates)."""
    rates = np.array(class_rates)

    def add(total: tuple[tf.Tensor, tf.Tensor], serialized: tf.Tensor) -> tuple:
        parsed = clip_records.parse(serialized)
        clips = tf.reduce_sum(tf.cast(wanted(parsed, source), tf.int64))
        rate = tf.reduce_sum(balanced_rates(parsed, source, rates))
        return total[0] + clips, total[1] + rate

    records = clip_records.record_reader(paths)(list(paths), num_parallel_reads=2).batch(64)
    clips, rate = records.reduce((tf.constant(0, tf.int64), tf.constant(0.0, tf.float64)), add)
    return int(clips), float(rate)


def multi_hot(labels: tf.RaggedTensor, num_classes: int) -> tf.Tensor:
    """Ragged class indices int64 `[batch, labels]` -> bool `[batch, num_classes]`."""
    dense = labels.to_tensor(-1)
    return tf.reduce_any(tf.one_hot(dense, num_classes, True, False, dtype=tf.bool), axis=1)


def ancestor_matrix(
    datasets: Sequence[str], infos: Sequence[dataset_info.DatasetInfo]
) -> np.ndarray:
    """What `framing.propagate_to_ancestors` smears the labels of datasets with; bool `[classes, classes]`.

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


def class_priors(sources: Sequence[Source]) -> np.ndarray:
    """Each class's share of positive clips in the mixture; float64 `[classes]`, smoothed.

    For the strong policy this is the rate of clips, not of windows: an upper bound.
    """
    total, priors = 0.0, np.zeros(())
    for source in sources:
        if source.weight > 0:
            stream = open_source(source)
            priors = priors + source.weight * (stream.label_counts + 1) / (stream.total + 2)
            total += source.weight
    return priors / total
