"""The clips of a converted dataset that may be labelled: their labels, and a model's scores."""

import dataclasses
import hashlib

import numpy as np
from scipy import sparse, special

from audioset_strong.core import errors
from audioset_strong.evaluation import score_files, scoring
from audioset_strong.labels import framing
from audioset_strong.records import clip_index, dataset_info


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The clips of a dataset, without their audio.

    Attributes:
      directory: of the dataset.
      info: of the dataset.
      index: of the dataset.
      clip_ids: `[clips]`.
      weak: bool CSR `[clips, classes]`, weak labels.
      strong: bool CSR `[clips, classes]`, classes with a strong segment.
      negative: bool CSR `[clips, classes]`, explicit negatives.
      strong_known: bool `[clips]`, whether the clip has strong labels, maybe an empty list.
      seconds: float64 `[clips]`, length of the audio.
    """

    directory: str
    info: dataset_info.DatasetInfo
    index: clip_index.ClipIndex
    clip_ids: tuple[str, ...]
    weak: sparse.csr_matrix
    strong: sparse.csr_matrix
    negative: sparse.csr_matrix
    strong_known: np.ndarray
    seconds: np.ndarray

    @classmethod
    def open(cls, directory: str) -> "Candidates":
        """Reads the index of a dataset.

        Raises:
          errors.InputError: no dataset, or an index that cannot be read.
        """
        info = dataset_info.DatasetInfo.load(directory)
        index = clip_index.open_index(directory, info)
        classes = len(info.vocabulary)
        segments = index.labels("segment_label")
        return cls(
            directory=directory,
            info=info,
            index=index,
            clip_ids=tuple(index.clip_ids.to_pylist()),
            weak=_matrix(index.labels("weak_labels"), classes),
            strong=_matrix(segments, classes),
            negative=_matrix(index.labels("negatives"), classes),
            strong_known=segments.known,
            seconds=index.numbers("num_samples") / info.sample_rate,
        )

    def __len__(self) -> int:
        return len(self.clip_ids)


def _matrix(labels: clip_index.Ragged, classes: int) -> sparse.csr_matrix:
    ones = np.ones(len(labels.values), bool)
    indices = np.array(labels.values)  # a copy: that of the index cannot be sorted
    matrix = sparse.csr_matrix((ones, indices, labels.offsets), shape=(len(labels.known), classes))
    matrix.sum_duplicates()
    return matrix


@dataclasses.dataclass(frozen=True)
class ModelScores:
    """A model's scores of the clips of a dataset, in its order of clips and classes.

    Attributes:
      clips: float64 `[clips, classes]`, the mean probability over a clip, section 3.2's score.
      ranks: float64 `[clips, classes]`, what to order by: `clips`, or their logits, which do not
        round to 1.
      frames: float `[clips, 10, classes]`, logits or probabilities.
      are_logits: whether `frames` are logits.
    """

    clips: np.ndarray
    ranks: np.ndarray
    frames: np.ndarray
    are_logits: bool

    def probabilities(self, row: int) -> np.ndarray:
        """Of the frames of a clip; float `[10, classes]`."""
        return special.expit(self.frames[row]) if self.are_logits else self.frames[row]

    @classmethod
    def read(cls, path: str, candidates: Candidates, *, logits: bool = False) -> "ModelScores":
        """Reads saved scores, see `score_files`.

        Args:
          path: of the file.
          candidates: the dataset that was scored.
          logits: whether scores that the file calls probabilities are logits.

        Raises:
          errors.InputError: no scores, or scores of another dataset or class list.
        """
        file = score_files.ScoreFile(path, logits=logits)
        frames, are_logits = file.frame_scores(candidates.clip_ids, candidates.info.vocabulary.mids)
        shape = frames.shape
        if shape[1] != framing.FRAMES_PER_CLIP:
            raise errors.InputError(
                f"{path}: {shape[1]} frames a clip; must be {framing.FRAMES_PER_CLIP} of 0.96 s"
            )
        lengths = np.round(candidates.seconds * 1000).astype(np.int64)
        starts = np.arange(shape[1]) * framing.FRAME_MS
        unlabelled, unknown = np.zeros((shape[0], shape[2]), bool), np.zeros(shape[0], bool)
        scores = scoring.Scores(
            mids=candidates.info.vocabulary.mids,
            clip_ids=candidates.clip_ids,
            frame_scores=frames,
            frame_valid=framing.frames_inside(starts, framing.FRAME_MS, lengths[:, np.newaxis]),
            weak_labels=unlabelled,
            weak_known=unknown,
            negative_labels=unlabelled,
            negatives_known=unknown,
            frame_labels=np.broadcast_to(np.int8(-1), shape),
            strong_known=unknown,
            are_logits=are_logits,
        )
        scores.check(path)
        ranks = scores.clip_scores()
        return cls(special.expit(ranks) if are_logits else ranks, ranks, frames, are_logits)


def read_embeddings(path: str, clip_ids: tuple[str, ...]) -> np.ndarray:
    """Reads one embedding a clip.

    Args:
      path: an npz of clip_ids `[n]` and embeddings float `[n, dimensions]`, in any order.
      clip_ids: the clips that need one.

    Returns:
      float64 `[clips, dimensions]`, in the order of `clip_ids`.

    Raises:
      errors.InputError: the file cannot be read, is of another form, or lacks a clip.
    """
    try:
        with np.load(path) as file:
            names = [str(name) for name in file["clip_ids"]]
            values = np.asarray(file["embeddings"], np.float64)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise errors.InputError(
            f"{path}: not an npz of clip_ids and embeddings ({errors.first_line(error)})"
        ) from error
    if values.ndim != 2 or len(values) != len(names) or not np.isfinite(values).all():
        raise errors.InputError(
            f"{path}: embeddings is {values.shape}; must be finite, [clips, dimensions] of "
            f"{len(names)} clips"
        )
    row = {name: i for i, name in enumerate(names)}
    missing = [clip_id for clip_id in clip_ids if clip_id not in row]
    if missing:
        raise errors.InputError(
            f"{path}: no embedding of {len(missing)} of {len(clip_ids)} clips, such as {missing[0]}"
        )
    return values[[row[clip_id] for clip_id in clip_ids]]


def clip_hashes(clip_ids: tuple[str, ...], seed: int) -> np.ndarray:
    """A number for each clip that only its id and the seed decide; uint64 `[clips]`.

    >>> clip_hashes(("a_0",), 1) == clip_hashes(("b_0", "a_0"), 1)[1:]
    array([ True])
    """
    digests = b"".join(
        hashlib.blake2b(f"{seed}/{clip_id}".encode(), digest_size=8).digest()
        for clip_id in clip_ids
    )
    return np.frombuffer(digests, "<u8")
