"""What is evaluated on: the clips of converted datasets, opened once for all checkpoints."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.core import errors
from audioset_strong.evaluation import eval_metrics, scoring
from audioset_strong.inputs import sampling, training_sources
from audioset_strong.labels import framed_labels, vocabularies


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """Clips with their labels.

    Attributes:
      name: as in "weak_<name>", "strong_<name>".
      kinds: of labels that its clips have: "weak", "strong".
      num_clips: that are scored.
      vocabulary: of its labels.
      fingerprint: equal for equal datasets under equal labels.
      directories: of the converted datasets.
      batch_size: clips a batch.
      cached: whether the log-mel is kept in memory.
      propagate_to_ancestors: whether positive labels imply those of their ancestors.
      framed: the strong labels, where they are not the datasets' own.
    """

    name: str
    kinds: tuple[str, ...]
    num_clips: int
    vocabulary: vocabularies.Vocabulary
    fingerprint: str
    directories: tuple[str, ...]
    batch_size: int
    cached: bool
    propagate_to_ancestors: bool
    framed: framed_labels.FramedClips | None = None

    def set_names(self) -> list[str]:
        """What its sets are called in results: one for each kind."""
        return [f"{kind}_{self.name}" for kind in self.kinds]

    @functools.cached_property
    def _dataset(self) -> tf.data.Dataset:
        dataset = sampling.grid_patches(
            self.directories, self.batch_size, self.propagate_to_ancestors
        )
        return dataset.cache() if self.cached else dataset

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Those of `sampling.grid_patches`.

        Raises:
          errors.InputError: a shard that is damaged or cut off; framed labels of no clip at all.
        """
        try:
            if self.framed is None:
                yield from self._dataset.as_numpy_iterator()
            else:
                yield from self._framed_batches(self.framed)
        except tf.errors.DataLossError as error:
            found = sampling.find_damage(self.directories) or error
            raise errors.InputError(
                f"eval set {self.name!r}: a shard is damaged or cut off; convert it again ({found})"
            ) from error

    def _framed_batches(self, framed: framed_labels.FramedClips) -> Iterator[dict[str, np.ndarray]]:
        found = 0
        for batch in self._dataset.as_numpy_iterator():
            listed, labels, negative = framed.labels(scoring.clip_ids(batch))
            found += int(listed.sum())
            yield batch | {
                "frame_labels": labels,
                "strong_known": listed,
                "negative_labels": batch["negative_labels"] | negative,
                "negatives_known": batch["negatives_known"] | listed,
            }
        if not found:
            raise errors.InputError(
                f"{framed.source}: has rows of none of the {self.num_clips} clips of eval set "
                f"{self.name!r}"
            )
        if found < len(framed.clip_ids):
            logging.warning(
                "%s: %d of its %d clips are not in eval set %r: left out",
                *(framed.source, len(framed.clip_ids) - found, len(framed.clip_ids), self.name),
            )


def open_eval_set(
    name: str,
    directories: Sequence[str],
    batch_size: int = 16,
    cache_clips: int = 1000,
    propagate_to_ancestors: bool = False,
    framed_tsvs: Sequence[str] = (),
) -> EvalSet:
    """Opens datasets under one name.

    Args:
      name: "eval" gives the sets "weak_eval" and "strong_eval", as far as the clips have labels.
      directories: converted datasets.
      batch_size: clips a batch.
      cache_clips: up to so many clips the log-mel is kept in memory, 246 kB a clip.
      propagate_to_ancestors: whether positive labels imply those of their ancestors, see `training_sources.Source`.
      framed_tsvs: files such as `audioset_eval_strong_framed_posneg.tsv` whose labels of 0.96 s
        frames take the place of the datasets' strong labels; classes that they say are absent from
        a whole clip are explicit negatives beside the datasets' own.

    Raises:
      errors.InputError: no dataset there, one without labels (or without an ontology to smear
        them), bad framed labels, or a name that is none.
    """
    if not re.fullmatch(r"\w+", name):
        raise errors.InputError(f"eval set {name!r}: its name must be of letters, digits and _")
    infos = training_sources.read_infos(directories)
    kinds = []
    if sum(info.weak_clips for info in infos):
        kinds.append(eval_metrics.WEAK)
    if framed_tsvs or sum(info.strong_clips for info in infos):
        kinds.append(eval_metrics.STRONG)
    if not kinds:
        raise errors.InputError(f"{', '.join(directories)}: no clip with labels to evaluate on")
    ancestors = (
        training_sources.ancestor_matrix(directories, infos) if propagate_to_ancestors else None
    )  # can they be?
    framed = None
    fingerprint = training_sources.fingerprint(directories) + (
        "-smeared" if propagate_to_ancestors else ""
    )
    if framed_tsvs:
        framed = framed_labels.read_framed_clips(framed_tsvs, infos[0].vocabulary.mids, ancestors)
        fingerprint += f"-framed-{framed.fingerprint}"
    num_clips = sum(info.num_clips for info in infos)
    return EvalSet(
        name=name,
        kinds=tuple(kinds),
        num_clips=num_clips,
        vocabulary=infos[0].vocabulary,
        fingerprint=fingerprint,
        directories=tuple(directories),
        batch_size=batch_size,
        cached=num_clips <= cache_clips,
        propagate_to_ancestors=propagate_to_ancestors,
        framed=framed,
    )
