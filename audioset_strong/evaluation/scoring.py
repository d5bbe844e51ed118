"""The scores of a model on a dataset, together with the labels of its clips.

Scores are logits or probabilities, the sigmoid of logits. A model's are kept as logits, because a
float32 probability is exactly 1 from a logit of 17 on: what it rounds to 1 could not be ranked.
"""

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
_CLIPS_AT_A_TIME = 256


class NotFiniteError(errors.InputError):
    """A score that is no number, or infinite."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores and labels of clips, on the grid of ten 0.96 s frames.

    Attributes:
      mids: the classes, in the order of the last axis of the arrays.
      clip_ids: `[clips]`.
      frame_scores: float `[clips, 10, classes]`, logits or probabilities.
      frame_valid: bool `[clips, 10]`, frames that lie inside the clip.
      weak_labels: bool `[clips, classes]`, with weak_known bool `[clips]`.
      negative_labels: bool `[clips, classes]`, explicit clip-level negatives, with
        negatives_known bool `[clips]`.
      frame_labels: int8 `[clips, 10, classes]`, 1 positive, 0 explicitly or complementarily
        negative, -1 unknown, with strong_known bool `[clips]`.
      are_logits: whether the scores are logits.
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
    are_logits: bool

    def clip_scores(self) -> np.ndarray:
        """The mean of a clip's probabilities over its valid frames; float64 `[clips, classes]`.

        Of logits it is the logit of that mean, log(sum of p) - log(sum of 1 - p). A clip without a
        valid frame has the score 0.
        """
        valid = self.frame_valid[:, :, np.newaxis]
        if not self.are_logits:
            total = np.sum(self.frame_scores, axis=1, where=valid, dtype=np.float64)
            return total / np.maximum(valid.sum(axis=1), 1)
        means = np.zeros((len(self.clip_ids), len(self.mids)))
        for begin in range(0, len(means), _CLIPS_AT_A_TIME):
            clips = slice(begin, begin + _CLIPS_AT_A_TIME)
            means[clips] = _logit_of_mean(self.frame_scores[clips], valid[clips])
        return np.where(valid.any(axis=1), means, 0.0)

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
        self._check_scores(name)

    def _check_scores(self, name: str) -> None:
        finite = np.isfinite(self.frame_scores)
        if not finite.all():
            raise NotFiniteError(f"{name}: {self._first(~finite)}; must be finite")
        if self.are_logits:
            return
        outside = (self.frame_scores < 0) | (self.frame_scores > 1)
        if outside.any():
            raise errors.InputError(
                f"{name}: {self._first(outside)}; must be a probability, from 0 to 1 (or give "
                "--logits if these are logits)"
            )

    def _first(self, wrong: np.ndarray) -> str:
        """The first of some scores in words; bool `[clips, frames, classes]`."""
        clip, frame, k = np.unravel_index(np.argmax(wrong), wrong.shape)
        value = self.frame_scores[clip, frame, k]
        where = f"frame {frame} of clip {self.clip_ids[clip]}"
        return f"the score of {self.mids[k]} in {where} is {value}"


def _logit_of_mean(logits: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The logit of the mean probability over valid frames.

    Args:
      logits: float `[clips, frames, classes]`.
      valid: bool `[clips, frames, 1]`.

    Returns:
      float64 `[clips, classes]`; NaN without a valid frame.
    """
    # Contiguous, so that the order of sums, and with it the last digit, is always the same.
    logits = np.ascontiguousarray(logits, np.float64)
    log_p = np.minimum(logits, 0.0) - np.log1p(np.exp(-np.abs(logits)))
    with np.errstate(invalid="ignore"):
        return _log_sum(log_p, valid) - _log_sum(log_p - logits, valid)  # 1 - p = p * exp(-logit)


def _log_sum(terms: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exp(terms) over valid frames, however large or small they are."""
    terms = np.where(valid, terms, -np.inf)
    largest = terms.max(axis=1)
    return largest + np.log(np.exp(terms - largest[:, np.newaxis]).sum(axis=1))


def probabilities(scores: np.ndarray, *, are_logits: bool) -> np.ndarray:
    """Scores as people read them.

    >>> probabilities(np.array([0.0, 2.0]), are_logits=True).round(3).tolist()
    [0.5, 0.881]
    """
    return special.expit(scores) if are_logits else scores


def score(
    predict: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    mids: tuple[str, ...],
    are_logits: bool,
    name: str = "scores",
    on_batch: OnBatch = None,
) -> Scores:
    """Scores every clip of a dataset in one pass.

    Args:
      predict: from a batch to its scores, float `[batch, frames, classes]`; see `batch_scorer`.
      batches: of the evaluation grid.
      mids: the classes of the dataset.
      are_logits: whether `predict` gives logits.
      name: of the scores, for messages.
      on_batch: called with the number of clips of each batch, for progress.

    Raises:
      NotFiniteError: a score that is not finite, in the first batch that has one.
      errors.InputError: no clip, duplicate clips, scores of another shape, or probabilities outside
        [0, 1].
    """
    parts: list[Scores] = []
    for batch in batches:
        labels = {array_name: np.asarray(batch[array_name]) for array_name in LABELS}
        part = Scores(mids, tuple(clip_ids(batch)), predict(batch), **labels, are_logits=are_logits)
        part.check(name)  # now rather than at the end of a pass that may take hours
        parts.append(part)
        if on_batch:
            on_batch(len(part.clip_ids))
    if not parts:
        raise errors.InputError(f"{name}: the dataset has no clip")
    ids = tuple(clip_id for part in parts for clip_id in part.clip_ids)
    check_unique(ids, f"{name}: clip")
    arrays = {key: np.concatenate([getattr(part, key) for part in parts]) for key in ARRAYS}
    return Scores(mids, ids, **arrays, are_logits=are_logits)


def batch_scorer(
    logits: Callable[[np.ndarray], np.ndarray],
) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """What a model gives a batch: logits, float32.

    Args:
      logits: from log_mel float32 `[patches, stft_frames, bands]` to float `[patches, classes]`.

    Returns:
      From a batch of the evaluation grid to logits `[batch, frames, classes]`.
    """

    def predict(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        log_mel = np.asarray(batch["log_mel"])
        clips, frames = log_mel.shape[:2]
        raw = np.asarray(logits(log_mel.reshape(-1, *log_mel.shape[2:])), np.float32)
        return raw.reshape(clips, frames, -1)

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
