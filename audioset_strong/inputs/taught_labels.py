"""What a source takes from a teacher: labels that are missing, and where in a clip labels hold."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs import teacher_scores
from audioset_strong.inputs.clip_labels import Clips
from audioset_strong.inputs.indexed_clips import IndexedClips
from audioset_strong.inputs.teacher_scores import TeacherScores
from audioset_strong.inputs.training_sources import Source
from audioset_strong.records.dataset_info import DatasetInfo

MISSING, _TAUGHT = "missing_labels", "taught"
_KINDS = (MISSING, _TAUGHT)
# The tensors, and of which kind each is: tensors of a kind have equally many values for a clip.
_COLUMNS = {
    MISSING: MISSING,
    "taught_label": _TAUGHT,
    "taught_start_ms": _TAUGHT,
    "taught_end_ms": _TAUGHT,
}
_IDS_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class TaughtLabels:
    """What a teacher says of the clips of a source.

    Attributes:
      tensors: ragged int32 `[clips, (labels)]` each, for all rows of `IndexedClips`; of clips of
        other sources there is nothing. "missing_labels", where the source masks them;
        "taught_label", "taught_start_ms" and "taught_end_ms", where its policy needs them.
      teachers: (path of the teacher, its front end), of each dataset.
    """

    tensors: Mapping[str, tf.RaggedTensor]
    teachers: Sequence[tuple[str, FrontEnd]]

    @classmethod
    def open(
        cls, source: Source, clips: IndexedClips, infos: Sequence[DatasetInfo]
    ) -> "TaughtLabels | None":
        """Reads what the teacher of a source has written; None where it has no teacher.

        Args:
          source: with datasets among those of the clips.
          clips: of all datasets.
          infos: of the source's datasets.

        Raises:
          errors.InputError: the teacher has not scored a dataset, or another state of it, or its
            scores do not hold what the source asks for.
        """
        if source.teacher is None:
            return None
        counts = {name: np.zeros(len(clips.columns["num_samples"]), np.int64) for name in _KINDS}
        values: dict[str, dict[int, np.ndarray]] = {name: {} for name in _COLUMNS}
        teachers = []
        for directory, info in zip(source.datasets, infos, strict=True):
            scores = teacher_scores.read(directory, info, source.teacher)
            rows = clips.rows_of([directory])
            _check_clips(scores, clips, rows, f"{directory}: teacher {source.teacher!r}")
            teachers.append((scores.facts.model, scores.facts.front_end))
            if source.missing_share:
                found, counts[MISSING][rows] = teacher_scores.missing_labels(
                    scores, source.missing_share
                )
                values[MISSING][rows[0]] = found
            if source.label_policy.needs_teacher:
                samples = clips.columns["num_samples"][rows].astype(np.int64)
                segments = teacher_scores.pseudo_strong(
                    scores, source.frame_quantile, clip_ms=samples * 1000 // info.sample_rate
                )
                counts[_TAUGHT][rows] = segments.counts
                for name in ("label", "start_ms", "end_ms"):
                    values[f"taught_{name}"][rows[0]] = getattr(segments, name)
        # Datasets may lie in another order among the clips than in the source.
        tensors = {
            name: _ragged([values[name][row] for row in sorted(values[name])], counts[kind])
            for name, kind in _COLUMNS.items()
            if values[name]
        }
        return cls(tensors, tuple(teachers))

    def gather(self, rows: tf.Tensor) -> Clips:
        """What is said of some clips, in-graph; the keys of `tensors`."""
        return {name: tf.gather(values, rows) for name, values in self.tensors.items()}

    def check_front_end(self, front_end: FrontEnd) -> None:
        """Checks that teachers heard what the student is going to hear.

        Raises:
          errors.InputError: a teacher has another front end.
        """
        for path, theirs in self.teachers:
            difference = front_end.difference(theirs)
            if difference:
                raise errors.InputError(
                    f"the teacher {path} has another front end than this run, which has "
                    f"FrontEnd.{difference}; bind FrontEnd.* as it was trained, or take another "
                    "teacher"
                )


def contents(sources: Sequence[Source]) -> list[str]:
    """Hashes of what the teachers of sources have written, in the order of the datasets.

    Raises:
      errors.InputError: a file is missing, or not the scores of a teacher.
    """
    return [
        teacher_scores.read_facts(directory, source.teacher).content
        for source in sources
        if source.teacher is not None
        for directory in source.datasets
    ]


def _check_clips(
    scores: TeacherScores, clips: IndexedClips, rows: np.ndarray, label_for_errors: str
) -> None:
    """Whether scores are those of the clips of a dataset, in the order of its index."""
    same = len(scores.clip_ids) == len(rows)
    for begin in range(0, len(rows) if same else 0, _IDS_AT_ONCE):
        part = tf.gather(clips.tensors["clip_id"], rows[begin : begin + _IDS_AT_ONCE])
        theirs = scores.clip_ids.slice(begin, _IDS_AT_ONCE).to_pylist()
        same = same and [clip_id.decode() for clip_id in part.numpy()] == theirs
    if not same:
        raise errors.InputError(
            f"{label_for_errors} has scored other clips than those of the index; score the dataset "
            "again with audioset_strong_teach"
        )


def _ragged(values: Sequence[np.ndarray], counts: np.ndarray) -> tf.RaggedTensor:
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.RaggedTensor.from_row_lengths(
            np.concatenate(values).astype(np.int32), counts, validate=False
        )
