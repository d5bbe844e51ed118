"""A model's scores on a dataset, with the labels they are held against."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from scipy import special

from audioset_strong.core import errors

# The arrays of labels, as `sampling.grid_patches` names them: type and axes.
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
      mids: the classes, in the order of the arrays' last axis.
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
        """Mean of a clip's scores over its valid frames; float64 `[clips, classes]`."""
        valid = self.frame_valid[:, :, np.newaxis]
        total = np.sum(self.frame_scores, axis=1, where=valid, dtype=np.float64)
        return total / np.maximum(valid.sum(axis=1), 1)

    def explicit_negatives(self) -> np.ndarray:
        """bool `[clips, classes]`: known to be negative in the whole clip."""
        return self.negative_labels & self.negatives_known[:, np.newaxis]

    def check(self, what: str) -> None:
        """Checks shapes, types, names and values.

        Args:
          what: names these scores in a message.

        Raises:
          errors.InputError: naming the first thing wrong.
        """
        frames = self.frame_scores.shape[1] if self.frame_scores.ndim == 3 else 0
        sizes = {"clips": len(self.clip_ids), "frames": frames, "classes": len(self.mids)}
        for name, (kind, axes) in ARRAYS.items():
            array, shape = getattr(self, name), tuple(sizes[axis] for axis in axes)
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                raise errors.InputError(
                    f"{what}: {name} is {array.dtype} {array.shape}; must be {kind.__name__} "
                    f"{shape}, [{', '.join(axes)}]"
                )
        for noun, names in (("clip", self.clip_ids), ("class", self.mids)):
            if twice(names) is not None:
                raise errors.InputError(f"{what}: {noun} {twice(names)} is there twice")
        odd = self.frame_labels[(self.frame_labels < -1) | (self.frame_labels > 1)]
        if len(odd):
            raise errors.InputError(f"{what}: frame_labels: {odd[0]} in them; must be 1, 0 or -1")
        if not np.isfinite(self.frame_scores).all():
            clip, frame, k = np.argwhere(~np.isfinite(self.frame_scores))[0]
            raise errors.InputError(
                f"{what}: the score of {self.mids[k]} in frame {frame} of clip "
                f"{self.clip_ids[clip]} is {self.frame_scores[clip, frame, k]}; must be finite"
            )


def score(
    predict: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    batches: Iterable[Mapping[str, np.ndarray]],
    mids: tuple[str, ...],
    what: str = "scores",
    on_batch: OnBatch = None,
) -> Scores:
    """Scores every clip of a dataset in one pass.

    Args:
      predict: a batch -> its scores, float `[batch, frames, classes]`; see `of_model`.
      batches: of `sampling.grid_patches`.
      mids: the classes of the dataset.
      what: names the scores in messages.
      on_batch: called with the clips of each batch, for progress.

    Raises:
      errors.InputError: no clip, duplicate clips, scores of another shape or that are no numbers.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    ids: list[str] = []
    for batch in batches:
        columns["frame_scores"].append(predict(batch))
        for name in LABELS:
            columns[name].append(np.asarray(batch[name]))
        ids += clip_ids(batch)
        if on_batch:
            on_batch(len(batch["clip_id"]))
    if not ids:
        raise errors.InputError(f"{what}: the dataset has no clip")
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    scores = Scores(mids, tuple(ids), **arrays)
    scores.check(what)
    return scores


def of_model(
    logits: Callable[[np.ndarray], np.ndarray],
) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The scores that a model gives a batch: the sigmoid of its logits, float32.

    Args:
      logits: log_mel float32 `[patches, 96, 64]` -> float `[patches, classes]`.
    """

    def predict(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        log_mel = np.asarray(batch["log_mel"])
        clips, frames = log_mel.shape[:2]
        raw = np.asarray(logits(log_mel.reshape(-1, *log_mel.shape[2:])), np.float64)
        return special.expit(raw).astype(np.float32).reshape(clips, frames, -1)

    return predict


def twice(names: Sequence[str]) -> str | None:
    """The first name that stands there more than once, if any."""
    counts = collections.Counter(names)
    return next((name for name in names if counts[name] > 1), None)


def clip_ids(batch: Mapping[str, np.ndarray]) -> list[str]:
    """Those of a batch of `sampling.grid_patches`."""
    return [clip_id.decode() for clip_id in np.asarray(batch["clip_id"]).tolist()]
