"""A trained model scores the clips of a training set, for students to learn from.

What is kept, and what students make of it, is in `inputs.teacher_scores`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from audioset_strong.core import errors, files, progress
from audioset_strong.evaluation import scoring
from audioset_strong.inputs import damage, evaluation_grid, joint_datasets, teacher_scores
from audioset_strong.inputs.teacher_scores import TeacherFacts, TeacherScores
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.training import checkpoints
from audioset_strong.training.checkpoints import LoadedModel

MAX_MISSING_SHARE = 0.1


def teach(
    model: str,
    datasets: Sequence[str],
    *,
    name: str,
    ema: bool = False,
    max_missing_share: float = MAX_MISSING_SHARE,
    batch_size: int = 16,
) -> list[str]:
    """Scores all clips of datasets with a model, and writes `teacher-NAME.parquet` beside them.

    The clip scores of all classes of a dataset are in memory until its end, 4 bytes each: 3.8 GB
    for the 1.8M clips and 527 classes of AudioSet.

    Args:
      model: a checkpoint, a workdir with a selected one, or an export.
      datasets: directories of the datasets.
      name: of the teacher, by which training finds it; an older file of this name is replaced.
      ema: whether to take the moving average of the weights.
      max_missing_share: share of each class's clips without it that are listed, the highest first;
        students may ask for smaller shares.
      batch_size: clips scored at a time.

    Returns:
      The path of each file.

    Raises:
      errors.InputError: no such model or dataset, one given twice, another class list, a front end
        that does not fit, or clips without weak labels, all before any work; a damaged shard,
        scores that are not finite, or a place that cannot be written.
    """
    paths = [teacher_scores.path_of(dataset, name) for dataset in datasets]
    repeated = files.first_repeated(datasets)
    if repeated:
        raise errors.InputError(
            f"--dataset={repeated[1]}: given twice (also as {repeated[0]}); give it once"
        )
    if not 0 <= max_missing_share < 1:
        raise errors.InputError(
            f"--max_missing_share={max_missing_share}: must lie in [0, 1), like 0.1"
        )
    infos = [DatasetInfo.load(dataset) for dataset in datasets]
    workdir, checkpoint = checkpoints.resolve(model)
    loaded = checkpoints.load_model(workdir, checkpoint, ema=ema)
    for dataset, info in zip(datasets, infos, strict=True):
        _check(model, loaded, dataset, info)
    for dataset, info, path in zip(datasets, infos, paths, strict=True):
        facts = TeacherFacts(
            model=model,
            weights=checkpoints.fingerprint(checkpoint),
            front_end=loaded.run.front_end,
            mids=info.vocabulary.mids,
            dataset=joint_datasets.fingerprint([dataset]),
            max_missing_share=max_missing_share,
            candidates=(),
        )
        with files.writing(path), files.replacing(path) as file:
            found = _collect(loaded, dataset, info, batch_size=batch_size)
            teacher_scores.write(found.scores(facts), file)
    return paths


def _collect(
    loaded: LoadedModel, dataset: str, info: DatasetInfo, *, batch_size: int
) -> "_Collected":
    """Scores all clips of a dataset, and keeps what is needed."""
    found = _Collected()
    batches = evaluation_grid.grid_patches(
        [dataset], front_end=loaded.run.front_end, batch_size=batch_size
    )
    predict = _predict(loaded)
    with (
        progress.Bar("teaching", info.num_clips, unit="clip") as bar,
        damage.reporting_damage([dataset]),
    ):
        for batch in batches.as_numpy_iterator():
            labels = {array: np.array(batch[array]) for array in scoring.LABELS}
            labels["frame_valid"][:, 0] = True  # something is said of the shortest clip, too
            ids = tuple(scoring.clip_ids(batch))
            scores = scoring.Scores(
                info.vocabulary.mids, ids, predict(batch), **labels, are_logits=True
            )
            scores.check(f"the teacher's scores of {dataset}")
            found.add(scores)
            bar.update(len(ids))
    return found


def _check(model: str, loaded: LoadedModel, dataset: str, info: DatasetInfo) -> None:
    if loaded.vocabulary.mids != info.vocabulary.mids:
        raise errors.InputError(
            f"{model}: was trained with {len(loaded.vocabulary)} classes, but {dataset} has "
            f"{len(info.vocabulary)} or another order; take a teacher of these classes, or convert "
            "the dataset with the same --class_labels"
        )
    if not info.weak_clips:
        raise errors.InputError(
            f"{dataset}: none of its {info.num_clips} clips has weak labels for a teacher to look "
            "at"
        )
    try:
        joint_datasets.check_front_end([dataset], [info], loaded.run.front_end)
    except errors.InputError as error:
        raise errors.InputError(f"{model} cannot score this dataset: {error}") from error


def _predict(loaded: LoadedModel):
    """From a batch of the evaluation grid to logits, see `scoring.batch_scorer`."""
    shape = [None, *loaded.run.front_end.patch_shape]
    return scoring.batch_scorer(
        tf.function(
            lambda log_mel: loaded.model(log_mel, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
            autograph=False,
        )
    )


class _Collected:
    """What is kept of the scores, a batch after the other."""

    def __init__(self) -> None:
        self._clip_ids: list[str] = []
        self._num_frames: list[np.ndarray] = []
        self._clip_scores: list[np.ndarray] = []
        self._candidates: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._label_counts: list[np.ndarray] = []
        self._frame_scores: list[np.ndarray] = []

    def add(self, scores: scoring.Scores) -> None:
        self._clip_ids += scores.clip_ids
        self._num_frames.append(scores.frame_valid.sum(axis=1))
        self._clip_scores.append(scores.clip_scores().astype(np.float32))
        known = scores.weak_known[:, np.newaxis]
        weak = scores.weak_labels & known
        self._candidates.append(known & ~weak & ~scores.explicit_negatives())
        clip, label = np.nonzero(weak)
        self._labels.append(label)
        self._label_counts.append(weak.sum(axis=1))
        self._frame_scores.append(scores.frame_scores[clip, :, label])

    def scores(self, facts: TeacherFacts) -> TeacherScores:
        clip_scores = np.concatenate(self._clip_scores)
        candidates = np.concatenate(self._candidates)
        counts = candidates.sum(axis=0)
        clip, missing, place = _highest(clip_scores, candidates, facts.max_missing_share)
        return TeacherScores(
            facts=dataclasses.replace(facts, candidates=tuple(counts.tolist())),
            clip_ids=pa.array(self._clip_ids, pa.string()),
            num_frames=np.concatenate(self._num_frames).astype(np.int32),
            missing=missing.astype(np.int32),
            place=place.astype(np.int32),
            missing_counts=np.bincount(clip, minlength=len(clip_scores)).astype(np.int32),
            labels=np.concatenate(self._labels).astype(np.int32),
            frame_scores=np.concatenate(self._frame_scores).astype(np.float32),
            label_counts=np.concatenate(self._label_counts).astype(np.int32),
        )


def _highest(
    scores: np.ndarray, candidates: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The clips that score highest for a class that they do not have.

    Args:
      scores: float `[clips, classes]`.
      candidates: bool `[clips, classes]`, clips that do not have the class.
      share: of the candidates of each class.

    Returns:
      Clip, class and place (1 is the highest) of each, ordered by clip and class. Of equal scores
      the earlier clip comes first.
    """
    found = []
    for k in range(scores.shape[1]):
        clips = np.flatnonzero(candidates[:, k])
        wanted = int(teacher_scores.number_of(share, np.array(len(clips))))
        order = np.argsort(-scores[clips, k], kind="stable")[:wanted]
        found.append(np.stack([clips[order], np.full(wanted, k), np.arange(1, wanted + 1)]))
    clip, missing, place = np.concatenate(found, axis=1)
    order = np.lexsort((missing, clip))
    return clip[order], missing[order], place[order]
