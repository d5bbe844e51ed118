"""Sources with what their datasets hold: the clips of an epoch, counts of labels, priors."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.inputs import hashing, joint_datasets
from audioset_strong.inputs.indexed_clips import IndexedClips
from audioset_strong.inputs.taught_labels import TaughtLabels
from audioset_strong.inputs.training_sources import Source
from audioset_strong.records.dataset_info import DatasetInfo

_HASH_RANGE = 2**32
_HASHED_AT_ONCE = 1 << 17  # clip ids


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceLabels:
    """What the labels of a source are, as the infos of its datasets count them.

    Attributes:
      labelled_clips: number of clips with the annotation that the policy needs.
      counts: int64 `[classes]`, clips labelled with each class.
      class_mask: float32 `[classes]`, 0 where a class does not count.
      ancestors: bool `[classes, classes]`, where labels imply those of their ancestors, or None.
    """

    labelled_clips: int
    counts: np.ndarray
    class_mask: np.ndarray
    ancestors: np.ndarray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A checked source: the examples of an epoch, and what its labels are.

    Attributes:
      source: the source that was opened.
      rows: int64 `[examples]`, the clips that are used, as rows of `IndexedClips`.
      rate_shares: float64 `[examples]`, rising to 1: the share that the clips up to each have in
        all rates of balanced sampling. Empty without it.
      labels: of the whole source.
      taught: what its teacher says of its clips; None where it has none.
    """

    source: Source
    rows: np.ndarray
    rate_shares: np.ndarray
    labels: SourceLabels
    taught: TaughtLabels | None = None

    @property
    def examples(self) -> int:
        """Number of examples in an epoch of one window a clip."""
        return len(self.rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenedSources:
    """Sources that are read together.

    Attributes:
      sources: those of positive weight. The others were checked, and are not read: mu = 0 and mu =
        1 are exactly pure.
      clips: of all their datasets.
      datasets: dataset directories of all sources, also of those that are not read.
      infos: of `datasets`.
    """

    sources: tuple[OpenedSource, ...]
    clips: IndexedClips
    datasets: tuple[str, ...]
    infos: tuple[DatasetInfo, ...]

    @property
    def encoding(self) -> str:
        """Encoding of the records."""
        return self.infos[0].encoding

    @property
    def num_classes(self) -> int:
        """Size of the vocabulary."""
        return len(self.infos[0].vocabulary)


def open_sources(sources: Sequence[Source], *, skip_damaged: bool = False) -> OpenedSources:
    """Checks sources against their datasets, and reads the datasets' indices.

    Args:
      sources: to open; one at least must have a positive weight.
      skip_damaged: see `clip_index.open_index`.

    Raises:
      errors.InputError: weights that are no shares, a policy that needs labels which no clip has,
        datasets that do not fit together, an index that does not fit its shards, a teacher that has
        not scored them, or a fraction that leaves no clip. The message names the source.
    """
    _check_weights(sources)
    infos_of = [_read_infos(source) for source in sources]
    datasets = tuple(path for source in sources for path in source.datasets)
    infos = tuple(info for infos in infos_of for info in infos)
    joint_datasets.check_compatible(datasets, infos)
    labels = [_labels_of(*pair) for pair in zip(sources, infos_of, strict=True)]
    used = [i for i, source in enumerate(sources) if source.mean_weight > 0]
    clips = IndexedClips.open(
        [path for i in used for path in sources[i].datasets],
        [info for i in used for info in infos_of[i]],
        skip_damaged=skip_damaged,
    )
    return OpenedSources(
        sources=tuple(
            _open(sources[i], labels[i], clips, TaughtLabels.open(sources[i], clips, infos_of[i]))
            for i in used
        ),
        clips=clips,
        datasets=datasets,
        infos=infos,
    )


def read_labels(source: Source) -> SourceLabels:
    """Counts the labels of a source, from the infos of its datasets alone.

    Raises:
      errors.InputError: a policy that needs labels which no clip has, datasets that do not fit
        together or of which one is given twice, or no ontology for labels to be propagated in.
    """
    return _labels_of(source, _read_infos(source))


def _read_infos(source: Source) -> list[DatasetInfo]:
    repeated = files.first_repeated(source.datasets)
    if repeated:
        raise errors.InputError(
            f"dataset {repeated[1]} is given twice in one source (also as {repeated[0]})"
        )
    return joint_datasets.compatible_infos(source.datasets)


def _labels_of(source: Source, infos: Sequence[DatasetInfo]) -> SourceLabels:
    _check_annotation(source, infos)
    needs = source.label_policy.needs
    counts = np.array([getattr(info, needs.counts) for info in infos], np.int64).sum(axis=0)
    ancestors = None
    if source.propagate_to_ancestors:
        ancestors = joint_datasets.ancestor_matrix(source.datasets, infos)
        # At least the clips of its most frequent descendant are labelled with a class.
        counts = np.max(counts[:, np.newaxis] * ancestors, axis=0)
    mask = (counts > 0) if source.mask_unlabelled_classes else np.ones_like(counts, bool)
    return SourceLabels(
        labelled_clips=sum(getattr(info, needs.clips) for info in infos),
        counts=counts,
        class_mask=mask.astype(np.float32),
        ancestors=ancestors,
    )


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
        weight = source.mean_weight
        if weight > 0:
            labels = read_labels(source)
            priors = priors + weight * (labels.counts + 1) / (labels.labelled_clips + 2)
            total += weight
    return priors / total


def _open(
    source: Source, labels: SourceLabels, clips: IndexedClips, taught: TaughtLabels | None
) -> OpenedSource:
    rows = clips.rows_of(source.datasets)
    rows = rows[clips.columns[source.label_policy.needs.known][rows]]
    if source.video_fraction < 1.0:
        rows = rows[_within_fraction(clips, rows, source.video_fraction)]
    rate_shares = np.zeros(0)
    if source.balanced and len(rows):
        rates = np.cumsum(_balanced_rates(source, clips, rows, len(labels.counts)))
        if rates[-1] == 0:
            raise errors.InputError(
                f"balanced = True of {source.name}: no clip has a label to be balanced by"
            )
        rate_shares = rates / rates[-1]
    if not len(rows):
        raise errors.InputError(
            f"video_fraction = {source.video_fraction} of {source.name}: no clip is left; take a "
            "larger one"
        )
    return OpenedSource(
        source=source, rows=rows, rate_shares=rate_shares, labels=labels, taught=taught
    )


def _within_fraction(clips: IndexedClips, rows: np.ndarray, fraction: float) -> np.ndarray:
    """Whether clips belong to a share of the videos; bool `[rows]`.

    The hash of a video's id decides, so smaller shares lie within larger ones, in every dataset.
    """
    chosen = []
    for begin in range(0, len(rows), _HASHED_AT_ONCE):
        clip_ids = tf.gather(clips.tensors["clip_id"], rows[begin : begin + _HASHED_AT_ONCE])
        video = tf.strings.regex_replace(clip_ids, "_[0-9]+$", "")
        drawn = hashing.integers([video, "fraction"], _HASH_RANGE)
        chosen.append(drawn.numpy() < round(fraction * _HASH_RANGE))
    return np.concatenate(chosen)


def _balanced_rates(
    source: Source, clips: IndexedClips, rows: np.ndarray, classes: int
) -> np.ndarray:
    """How often clips come in balanced sampling, up to a factor; float64 `[rows]`.

    A label adds 1 / (clips of its class) to its clip's rate; a class that a clip has several
    segments of counts once.
    """
    labels = tf.gather(clips.tensors[source.label_policy.needs.labels], rows)
    pairs = labels.value_rowids().numpy() * classes + labels.values.numpy()
    place, label = np.divmod(np.unique(pairs), classes)
    counts = np.bincount(label, minlength=classes)
    return np.bincount(place, 1.0 / counts[label], minlength=len(rows))


def _check_weights(sources: Sequence[Source]) -> None:
    if not sources:
        raise errors.InputError("no source to train on")
    weights = [source.mean_weight for source in sources]
    if min(weights) < 0 or not np.isfinite(weights).all() or sum(weights) <= 0:
        raise errors.InputError(
            f"source weights {weights}: none may be negative and one must be positive"
        )


def _check_annotation(source: Source, infos: Sequence[DatasetInfo]) -> None:
    needs = source.label_policy.needs
    for directory, info in zip(source.datasets, infos, strict=True):
        if not getattr(info, needs.clips):
            raise errors.InputError(
                f"{directory}: policy {source.policy!r} needs {needs.name} labels, but none of its "
                f"{info.num_clips} clips has any"
            )
