"""The data that models are evaluated on: converted datasets, opened once for all checkpoints."""

import dataclasses
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.evaluation import eval_metrics, scoring
from audioset_strong.evaluation.measured_on import MeasuredOn, vocabulary_digest
from audioset_strong.inputs import damage, evaluation_grid, joint_datasets
from audioset_strong.labels import framed_labels, framing, vocabularies
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.training import run_info


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """Clips with their labels.

    Attributes:
      name: as in "weak_<name>" and "strong_<name>".
      kinds: of labels that its clips have, `eval_metrics.WEAK` and `eval_metrics.STRONG`.
      num_clips: number of clips.
      vocabulary: of its labels.
      fingerprint: equal for equal datasets under equal labels.
      directories: of the converted datasets.
      datasets: the facts of each of them.
      batch_size: clips a batch.
      cached: whether log-mel is kept in memory, for each front end that it is asked for.
      propagate_to_ancestors: whether positive labels imply those of their ancestors.
      framing_rule: of the strong labels.
      framed: strong labels that replace those of the datasets; None keeps the latter.
    """

    name: str
    kinds: tuple[str, ...]
    num_clips: int
    vocabulary: vocabularies.Vocabulary
    fingerprint: str
    directories: tuple[str, ...]
    datasets: tuple[run_info.DatasetFacts, ...]
    batch_size: int
    cached: bool
    propagate_to_ancestors: bool = False
    framing_rule: str = framing.RELEASED
    framed: framed_labels.FramedClips | None = None
    _grids: dict[FrontEnd, tf.data.Dataset] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def set_names(self) -> list[str]:
        """The names of its sets in results, one for each kind of labels."""
        return [eval_metrics.set_name(kind, self.name) for kind in self.kinds]

    def measured_on(self, negative_weighting: str = eval_metrics.POOLED) -> MeasuredOn:
        """What results on it are measured on, as data.

        Args:
          negative_weighting: with which it is measured, see `eval_metrics.measure`.
        """
        return MeasuredOn(
            fingerprint=self.fingerprint,
            datasets=self.datasets,
            clips=self.num_clips,
            classes=len(self.vocabulary),
            vocabulary=vocabulary_digest(self.vocabulary.mids),
            framing_rule=self.framing_rule,
            propagate_to_ancestors=self.propagate_to_ancestors,
            framed=self.framed.fingerprint if self.framed else None,
            negative_weighting=negative_weighting,
        )

    def check_front_end(self, front_end: FrontEnd) -> None:
        """Checks that the datasets can be scored by a model of this front end.

        Raises:
          errors.InputError: another sample rate, or log-mel records of another front end.
        """
        joint_datasets.read_infos(self.directories, front_end)

    def batches(self, front_end: FrontEnd) -> Iterator[dict[str, np.ndarray]]:
        """Batches of the evaluation grid.

        Args:
          front_end: of the model that scores them.

        Raises:
          errors.InputError: a shard that is damaged or cut off, or framed labels of none of the
            clips.
        """
        if front_end not in self._grids:
            grid = evaluation_grid.grid_patches(
                self.directories,
                batch_size=self.batch_size,
                front_end=front_end,
                framing_rule=self.framing_rule,
                propagate_to_ancestors=self.propagate_to_ancestors,
            )
            self._grids[front_end] = grid.cache() if self.cached else grid
        try:
            yield from self._labelled(self._grids[front_end])
        except tf.errors.DataLossError as error:
            found = damage.find_damage(self.directories) or error
            raise errors.InputError(
                f"eval set {self.name!r}: a shard is damaged or cut off; convert it again ({found})"
            ) from error

    def label_batches(self) -> Iterator[dict[str, np.ndarray]]:
        """As `batches`, without log_mel; no audio is read.

        Raises:
          errors.InputError: an index that does not fit, or framed labels of none of the clips.
        """
        yield from self._labelled(
            evaluation_grid.grid_labels(
                self.directories,
                batch_size=self.batch_size,
                framing_rule=self.framing_rule,
                propagate_to_ancestors=self.propagate_to_ancestors,
            )
        )

    def _labelled(self, grid: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
        batches = grid.as_numpy_iterator()
        yield from batches if self.framed is None else self._relabelled(batches, self.framed)

    def _relabelled(
        self, batches: Iterator[dict[str, np.ndarray]], framed: framed_labels.FramedClips
    ) -> Iterator[dict[str, np.ndarray]]:
        """The batches with the strong labels and explicit negatives of framed TSVs."""
        found = 0
        for batch in batches:
            has_rows, labels, negative = framed.labels(scoring.clip_ids(batch))
            found += int(has_rows.sum())
            yield batch | {
                "frame_labels": labels,
                "strong_known": has_rows,
                "negative_labels": batch["negative_labels"] | negative,
                "negatives_known": batch["negatives_known"] | has_rows,
            }
        if not found:
            raise errors.InputError(
                f"{framed.source}: has rows of none of the {self.num_clips} clips of eval set "
                f"{self.name!r}"
            )
        missing, total = len(framed.clip_ids) - found, len(framed.clip_ids)
        if missing:
            logging.warning(
                "%s: %d of its %d clips are not in eval set %r: left out",
                framed.source,
                missing,
                total,
                self.name,
            )


def open_eval_set(
    name: str,
    directories: Sequence[str],
    *,
    batch_size: int = 16,
    cache_clips: int = 1000,
    propagate_to_ancestors: bool = False,
    framing_rule: str = framing.RELEASED,
    framed_tsvs: Sequence[str] = (),
) -> EvalSet:
    """Opens datasets under one name.

    Args:
      name: "eval" gives the sets "weak_eval" and "strong_eval", each where clips have such labels.
      directories: converted datasets.
      batch_size: clips a batch.
      cache_clips: up to this many clips, log-mel is kept in memory, 246 kB a clip.
      propagate_to_ancestors: whether positive labels imply those of their ancestors, see
        `framing.propagate_to_ancestors`.
      framing_rule: of the strong labels, see `framing.frame_labels`.
      framed_tsvs: files such as `audioset_eval_strong_framed_posneg.tsv`, whose labels of 0.96 s
        frames replace the datasets' strong labels. Classes that they mark absent from a whole clip
        are explicit negatives in addition to the datasets' own.

    Raises:
      errors.InputError: a bad name, no such dataset, one given twice, one without labels, no
        ontology to propagate them in, or bad framed labels.
    """
    if not re.fullmatch(r"\w+", name):
        raise errors.InputError(
            f"eval set {name!r}: its name must consist of letters, digits and _"
        )
    repeated = files.first_repeated(directories)
    if repeated:
        raise errors.InputError(
            f"dataset {repeated[1]} is given twice (also as {repeated[0]}); give it once"
        )
    infos = joint_datasets.compatible_infos(directories)
    kinds = _kinds_of_labels(infos, has_framed=bool(framed_tsvs))
    if not kinds:
        raise errors.InputError(f"{', '.join(directories)}: no clip with labels to evaluate on")
    fingerprint = joint_datasets.fingerprint(directories)
    ancestors = None
    if propagate_to_ancestors:
        ancestors = joint_datasets.ancestor_matrix(directories, infos)
        fingerprint += "-smeared"
    if framing_rule != framing.RELEASED:
        fingerprint += f"-framed-by-{framing_rule}"
    framed = None
    if framed_tsvs:
        mids = infos[0].vocabulary.mids
        framed = framed_labels.read_framed_clips(framed_tsvs, mids, ancestors=ancestors)
        fingerprint += f"-framed-{framed.fingerprint}"
    num_clips = sum(info.num_clips for info in infos)
    return EvalSet(
        name=name,
        kinds=kinds,
        num_clips=num_clips,
        vocabulary=infos[0].vocabulary,
        fingerprint=fingerprint,
        directories=tuple(directories),
        datasets=run_info.dataset_facts(directories, infos),
        batch_size=batch_size,
        cached=num_clips <= cache_clips,
        propagate_to_ancestors=propagate_to_ancestors,
        framing_rule=framing_rule,
        framed=framed,
    )


def _kinds_of_labels(infos: Sequence[DatasetInfo], *, has_framed: bool) -> tuple[str, ...]:
    """The kinds of labels that any clip has."""
    counts = {
        eval_metrics.WEAK: sum(info.weak_clips for info in infos),
        eval_metrics.STRONG: sum(info.strong_clips for info in infos) or has_framed,
    }
    return tuple(kind for kind, count in counts.items() if count)
