"""A model's scores on a dataset, with the labels they are held against."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from audioset_strong import errors

_ARRAYS = (
    "frame_scores",
    "frame_valid",
    "weak_labels",
    "weak_known",
    "negative_labels",
    "negatives_known",
    "frame_labels",
    "strong_known",
)


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

    def check(self, what: str) -> None:
        """Checks shapes, clip ids and values.

        Args:
          what: names these scores in a message.

        Raises:
          errors.InputError: naming the first thing wrong.
        """
        clips, classes = len(self.clip_ids), len(self.mids)
        frames = self.frame_valid.shape[1] if self.frame_valid.ndim == 2 else 0
        shapes = {
            "frame_scores": (clips, frames, classes),
            "frame_valid": (clips, frames),
            "weak_labels": (clips, classes),
            "weak_known": (clips,),
            "negative_labels": (clips, classes),
            "negatives_known": (clips,),
            "frame_labels": (clips, frames, classes),
            "strong_known": (clips,),
        }
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise errors.InputError(
                    f"{what}: {name} has shape {found}; {clips} clips of {frames} frames and "
                    f"{classes} classes need {shape}"
                )
        seen: set[str] = set()
        for clip_id in self.clip_ids:
            if clip_id in seen:
                raise errors.InputError(f"{what}: clip {clip_id} is there twice")
            seen.add(clip_id)
        if not np.isfinite(self.frame_scores).all():
            clip, frame, k = np.argwhere(~np.isfinite(self.frame_scores))[0]
            raise errors.InputError(
                f"{what}: the score of {self.mids[k]} in frame {frame} of clip "
                f"{self.clip_ids[clip]} is {self.frame_scores[clip, frame, k]}; must be finite"
            )

    def save(self, path: str) -> None:
        """Writes a compressed npz that `load` reads, by rename."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        temporary = f"{path}.tmp.npz"
        np.savez_compressed(
            temporary, mids=np.array(self.mids), clip_ids=np.array(self.clip_ids), **arrays
        )
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str) -> "Scores":
        """Reads what `save` wrote, and checks it.

        Raises:
          errors.InputError: no such file, not an npz of scores, or bad values in it.
        """
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in _ARRAYS}
                mids = tuple(str(mid) for mid in file["mids"])
                clip_ids = tuple(str(clip_id) for clip_id in file["clip_ids"])
        except FileNotFoundError as error:
            raise errors.InputError(f"{path}: no such file") from error
        except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
            raise errors.InputError(f"{path}: no npz of scores: {error}") from error
        scores = cls(mids, clip_ids, **arrays)
        scores.check(path)
        return scores


def score(
    predict: Callable[[np.ndarray], np.ndarray],
    batches: Iterable[Mapping[str, np.ndarray]],
    mids: tuple[str, ...],
    what: str = "scores",
    on_batch: Callable[[int], None] | None = None,
) -> Scores:
    """Scores every clip of a dataset in one pass.

    Args:
      predict: log_mel float32 `[patches, 96, 64]` -> logits `[patches, classes]`.
      batches: of `sampling.grid_patches`.
      mids: the classes of model and dataset.
      what: names the scores in messages.
      on_batch: called with the clips of each batch, for progress.

    Raises:
      errors.InputError: no clip, duplicate clips, outputs of another shape or that are no numbers.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
    clip_ids: list[str] = []
    for batch in batches:
        log_mel = np.asarray(batch["log_mel"])
        clips, frames = log_mel.shape[:2]
        logits = np.asarray(predict(log_mel.reshape(-1, *log_mel.shape[2:])))
        if logits.shape != (clips * frames, len(mids)):
            raise errors.InputError(
                f"{what}: the model gives {logits.shape[-1]} classes, the data has {len(mids)}"
            )
        columns["frame_scores"].append(_sigmoid(logits).reshape(clips, frames, -1))
        for name in _ARRAYS[1:]:
            columns[name].append(np.asarray(batch[name]))
        clip_ids += [clip_id.decode() for clip_id in np.asarray(batch["clip_id"]).tolist()]
        if on_batch:
            on_batch(clips)
    if not clip_ids:
        raise errors.InputError(f"{what}: the dataset has no clip")
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    scores = Scores(mids, tuple(clip_ids), **arrays)
    scores.check(what)
    return scores


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # tanh never overflows; float64 so that float32 rounding makes no ties before its time.
    return (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)
