"""The scores of a model on a dataset, together with the labels of its clips."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from scipy import special

from audioset_strong.core import errors

# The arrays of labels in a batch of the evaluation grid: type and axes.
LABELS = {
    "frame_valid": (np.bool_, ("clips", "frames")),
    "weak_labels": (np.bool_, ("clips", "classes")),
    "weak_known": (np.bool_, ("clips",)),
    "negative_labels": (np.bool_, ("clips", "classes")),
    "negatives_known": (np.bool_, ("clips",)),
    "frame_labels": (np.int8, ("clips", "frames", "classes")),
    "strong_known": (np.bool_, ("clips",)),
}
ARRAYS = {"frame_scores": (np.floating, ("clips", "frames", "classes"))} | LABELS

OnBatch = Callable[[int], None] | None


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores and labels of clips, on the grid of ten 0.96 s frames.

    Attributes:
      mids: the classes, in the order of the last axis of the arrays.
      clip_ids: `[clips]`.
      frame_scores: float32 `[clips, 10, classes]`, sigmoid outputs.
      frame_valid: bool `[clips, 10]`, frames that lie inside the clip.
      weak_labels: bool `[clips, classes]`, with weak_known bool `[clips]`.
      negative_labels: bool `[clips, classes]`, explicit clip-level negatives, with
        negatives_known bool `[clips]`.
      frame_labels: int8 `[clips, 10, classes]`, 1 positive, 0 explicitly or complementarily
        negative, -1 unknown, with strong_known bool `[clips]`.
    """

    mids: tuple[str, ...]
    clip_ids: tuple[str, ...]
    frame_scores: np.ndarray
    frame_valid: np.ndarray
    weak_labels: np.ndarray
    weak_known: np.ndarray
    negative_labels: np.ndarray
    negatives_known: np.ndarray
    frame_labels: np.ndarray
    strong_known: np.ndarray

    def clip_scores(self) -> np.ndarray:
        """The mean of a clip's scores over its valid frames; float64 `[clips, classes]`."""
        valid = self.frame_valid[:, :, np.newaxis]
        total = np.sum(self.frame_scores, axis=1, where=valid, dtype=np.float64)
        return total / np.maximum(valid.sum(axis=1), 1)

    def explicit_negatives(self) -> np.ndarray:
        """bool `[clips, classes]`: classes that are known to be absent from the whole clip."""
        return self.negative_labels & self.negatives_known[:, np.newaxis]

    def check(self, name: str) -> None:
        """Checks shapes, types, names and values.

        Args:
          name: of these scores, for messages.

        Raises:
          errors.InputError: naming the first thing that is wrong.
        """
        frames = self.frame_scores.shape[1] if self.frame_scores.ndim == 3 else 0
        sizes = {"clips": len(self.clip_ids), "frames": frames, "classes": len(self.mids)}
        for array_name, (kind, axes) in ARRAYS.items():
            array, shape = getattr(self, array_name), tuple(sizes[axis] for axis in axes)
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                raise errors.InputError(
                    f"{name}: {array_name} is {array.dtype} {array.shape}; must be "
                    f"{kind.__name__} {shape}, [{', '.join(axes)}]"
                )
        check_unique(self.clip_ids, f"{name}: clip")
        check_unique(self.mids, f"{name}: class")
        odd = self.frame_labels[(self.frame_labels < -1) | (self.frame_labels > 1)]
        if len(odd):
            raise errors.InputError(f"{name}: frame_labels holds {odd[0]}; must be 1, 0 or -1")
        if not np.isfinite(self.frame_scores).all():
            clip, frame, k = np.argwhere(~np.isfinite(self.frame_scores))[0]
            raise errors.InputError(
                f"{name}: the score of {self.mids[k]} in frame {frame} of clip "
                f"{self.clip_ids[clip]} is {self.frame_scores[clip, frame, k]}; must be finite"
            )


def score(
    predict: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    mids: tuple[str, ...],
    name: str = "scores",
    on_batch: OnBatch = None,
) -> Scores:
    """Scores every clip of a dataset in one pass.

    Args:
      predict: from a batch to its scores, float `[batch, frames, classes]`; see `batch_scorer`.
      batches: of the evaluation grid.
      mids: the classes of the dataset.
      name: of the scores, for messages.
      on_batch: called with the number of clips of each batch, for progress.

    Raises:
      errors.InputError: no clip, duplicate clips, scores of another shape, or scores that are not
        finite.
    """
    columns: dict[str, list[np.ndarray]] = {array_name: [] for array_name in ARRAYS}
    ids: list[str] = []
    for batch in batches:
        columns["frame_scores"].append(predict(batch))
        for array_name in LABELS:
            columns[array_name].append(np.asarray(batch[array_name]))
        ids += clip_ids(batch)
        if on_batch:
            on_batch(len(batch["clip_id"]))
    if not ids:
        raise errors.InputError(f"{name}: the dataset has no clip")
    arrays = {array_name: np.concatenate(parts) for array_name, parts in columns.items()}
    scores = Scores(mids, tuple(ids), **arrays)
    scores.check(name)
    return scores


def batch_scorer(
    logits: Callable[[np.ndarray], np.ndarray],
) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The scores that a model gives a batch: the sigmoid of its logits, float32.

    Args:
      logits: from log_mel float32 `[patches, stft_frames, bands]` to float `[patches, classes]`.

    Returns:
      From a batch of the evaluation grid to scores `[batch, frames, classes]`.
    """

    def predict(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        log_mel = np.asarray(batch["log_mel"])
        clips, frames = log_mel.shape[:2]
        raw = np.asarray(logits(log_mel.reshape(-1, *log_mel.shape[2:])), np.float64)
        return special.expit(raw).astype(np.float32).reshape(clips, frames, -1)

    return predict


def first_duplicate(names: Sequence[str]) -> str | None:
    """The first name that occurs more than once; None where every name is unique.

    >>> first_duplicate(["a", "b", "c", "b", "a"])
    'a'
    """
    counts = collections.Counter(names)
    return next((name for name in names if counts[name] > 1), None)


def check_unique(names: Sequence[str], label_for_errors: str) -> None:
    """Checks that no name occurs twice.

    Raises:
      errors.InputError: naming the first duplicate, after `label_for_errors`.
    """
    duplicate = first_duplicate(names)
    if duplicate is not None:
        raise errors.InputError(f"{label_for_errors} {duplicate} is duplicated")


def clip_ids(batch: Mapping[str, np.ndarray]) -> list[str]:
    """The clip ids of a batch of the evaluation grid, decoded to str."""
    return [clip_id.decode() for clip_id in np.asarray(batch["clip_id"]).tolist()]
