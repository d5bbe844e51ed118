"""From a dataset and a model's scores to the questions that annotators are asked."""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from audioset_strong.annotation import questions, selection
from audioset_strong.annotation.candidates import (
    Candidates,
    ModelScores,
    clip_hashes,
    read_embeddings,
)
from audioset_strong.annotation.questions import Question
from audioset_strong.core import choices, errors, files

TARGETS_FILE = "targets.csv"
PAPER_TARGET = 250  # clips of each class of the 67k; section 3.1, Fig. 2
# Options of some policies only: these, the least value and the usual one.
_OPTIONS: Mapping[str, tuple[tuple[str, ...], int | None, int | None]] = {
    "target": ((choices.FOR_STRONG,), 1, None),
    "num_clips": ((choices.FOR_STRONG, choices.UNCERTAIN), 1, None),
    "per_class": ((choices.FOR_NEGATIVES,), 1, 100),
    "control_per_class": ((choices.FOR_NEGATIVES,), 0, 10),
    "questions_per_clip": ((choices.UNCERTAIN,), 1, 3),
    "pool": ((choices.UNCERTAIN,), 1, None),
    "embeddings": ((choices.UNCERTAIN,), None, None),
}
_NAMED = 5  # classes that the summary names


@dataclasses.dataclass(frozen=True)
class SelectionRequest:
    """What to choose.

    Attributes:
      dataset: directory of the converted dataset.
      policy: one of `choices.SELECTION_POLICIES`.
      ask: one of `choices.ASKS`; None for the policy's own: events (strong), else presence.
      target: number of clips with strong labels that each class is to reach (policy strong). None
        for the largest that `num_clips` reach, or, without these, for the paper's.
      num_clips: most clips to choose; None for as many as the target takes (strong, uncertain).
      per_class: number of clips to ask about for each class (negatives); None for 100.
      control_per_class: number of random clips to ask about for each class (negatives); None for
        10.
      questions_per_clip: number of classes to ask about in each clip (uncertain); None for 3.
      pool: see `selection.uncertain`.
      scores: file of saved scores; None only for the policy strong.
      logits: whether scores that the file calls probabilities are logits.
      embeddings: see `candidates.read_embeddings` (uncertain).
      earlier: tables of questions that were asked before: they are not asked again, and their clips
        count towards the target.
      seed: decides among equal clips and draws the control group.

    Raises:
      errors.InputError: a value outside its range, one that the policy needs and lacks, or one that
        it does not use.
    """

    dataset: str
    policy: str
    ask: str | None = None
    target: int | None = None
    num_clips: int | None = None
    per_class: int | None = None
    control_per_class: int | None = None
    questions_per_clip: int | None = None
    pool: int | None = None
    scores: str | None = None
    logits: bool = False
    embeddings: str | None = None
    earlier: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (policies, least, default) in _OPTIONS.items():
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, default if self.policy in policies else None)
            elif self.policy not in policies:
                raise errors.InputError(
                    f"--{name} is for --policy={' and '.join(policies)}, not {self.policy}"
                )
            elif least is not None and value < least:
                raise errors.InputError(f"--{name}={value}: must be at least {least}")
        if self.policy != choices.FOR_STRONG and self.scores is None:
            raise errors.InputError(f"--policy={self.policy} needs --scores of a model")
        if self.policy == choices.UNCERTAIN and self.num_clips is None:
            raise errors.InputError("--policy=uncertain needs --num_clips")
        for name, needed in (("logits", "scores"), ("pool", "embeddings")):
            if getattr(self, name) and getattr(self, needed) is None:
                raise errors.InputError(f"--{name} needs --{needed}")


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
      candidates: the dataset.
      scores: of the model, if any.
      asked: the questions.
      target: that classes are to reach; None but for the policy strong.
      targets: label, name, available, before, chosen, reached and whether that is the target; a row
        a class. None but for the policy strong.
    """

    candidates: Candidates
    scores: ModelScores | None
    asked: tuple[Question, ...]
    target: int | None = None
    targets: pd.DataFrame | None = None

    def summary(self) -> str:
        """What was chosen, in a few lines."""
        clips = len({question.clip_id for question in self.asked})
        lines = [f"{clips} of {len(self.candidates)} clips, {len(self.asked)} questions"]
        if self.targets is not None:
            short = self.targets[~self.targets["complete"]]
            lines.append(
                f"{len(self.targets) - len(short)} of {len(self.targets)} classes reach the target "
                f"of {self.target} clips"
            )
            fewest = short.sort_values(["reached", "name"]).head(_NAMED)
            names = [f"{row.name} ({row.reached})" for row in fewest.itertuples(index=False)]
            if len(short) > len(names):
                names.append(f"... ({TARGETS_FILE} has all)")
            if names:
                lines.append(f"fewest clips: {', '.join(names)}")
        return "\n".join(lines)


def choose(request: SelectionRequest) -> Selection:
    """Chooses clips and questions, see `selection`.

    Raises:
      errors.InputError: a file that cannot be read or is of another dataset, a target that no class
        reaches, or no clip to ask about.
    """
    candidates = Candidates.open(request.dataset)
    earlier = _earlier(request.earlier, candidates)
    scores = None
    if request.scores is not None:
        scores = ModelScores.read(request.scores, candidates, logits=request.logits)
    chooser = _Chooser(request, candidates, scores, earlier)
    target, targets = None, None
    if request.policy == choices.FOR_STRONG:
        asked, target, targets = chooser.for_strong()
    elif request.policy == choices.FOR_NEGATIVES:
        asked = chooser.for_negatives()
    else:
        asked = chooser.uncertain()
    if not asked:
        raise errors.InputError(f"{request.dataset}: no clip is left to ask about")
    return Selection(candidates, scores, tuple(asked), target, targets)


def _earlier(paths: Sequence[str], candidates: Candidates) -> list[tuple[int, int, str]]:
    """(clip, class, what was asked) of questions that were asked before."""
    row = {clip_id: i for i, clip_id in enumerate(candidates.clip_ids)}
    column = candidates.info.vocabulary.index
    found = []
    for path in paths:
        for where, question in questions.read(path).items():
            if question.clip_id not in row:
                raise errors.InputError(
                    f"{where}: {question.clip_id} is no clip of {candidates.directory}"
                )
            if question.label not in column:
                raise errors.InputError(
                    f"{where}: {question.label} is no class of {candidates.directory}"
                )
            found.append((row[question.clip_id], column[question.label], question.ask))
    return found


class _Chooser:
    """The policies, each for one request."""

    def __init__(
        self,
        request: SelectionRequest,
        candidates: Candidates,
        scores: ModelScores | None,
        earlier: Collection[tuple[int, int, str]],
    ):
        self._request, self._candidates, self._scores = request, candidates, scores
        self._earlier = earlier
        self._hashes = clip_hashes(candidates.clip_ids, request.seed)

    def for_strong(self) -> tuple[list[Question], int, pd.DataFrame]:
        """Clips that bring every class to the target, by their weak labels."""
        clips = self._candidates
        marked = np.zeros(len(clips), bool)
        marked[[row for row, _, ask in self._earlier if ask == choices.EVENTS]] = True
        free = np.flatnonzero(~clips.strong_known & ~marked)
        before = _counts(clips.strong) + _counts(clips.weak[np.flatnonzero(marked)])
        available = _counts(clips.weak[free])
        best = int(np.argmax(before + available))
        possible = int((before + available)[best])
        target = self._request.target or self._reachable(free, before, possible)
        if possible < target:
            raise errors.InputError(
                f"--target={target}: no class has so many clips; the most has "
                f"{clips.info.vocabulary.names[best]}, {possible}"
            )
        most = self._request.num_clips
        rows = self._cover(free, target - before, most)
        if most is not None and self._request.target is None:  # what is left begins one more each
            rest = np.setdiff1d(free, rows)
            needed = target + 1 - before - _counts(clips.weak[rows])
            rows = np.concatenate([rows, self._cover(rest, needed, most - len(rows))])
        chosen = _counts(clips.weak[rows])
        targets = pd.DataFrame(
            {
                "label": clips.info.vocabulary.mids,
                "name": clips.info.vocabulary.names,
                "available": available,
                "before": before,
                "chosen": chosen,
                "reached": before + chosen,
                "complete": before + chosen >= target,
            }
        )
        asked = [self._question(row, label) for row in rows for label in _of_row(clips.weak, row)]
        return asked, target, targets

    def _cover(self, free: np.ndarray, needed: np.ndarray, most: int | None) -> np.ndarray:
        """`selection.cover` of some clips, as rows of all clips."""
        scores = None if self._scores is None else self._scores.clips[free]
        weak, hashes = self._candidates.weak[free], self._hashes[free]
        return free[selection.cover(weak, needed, hashes, scores=scores, most=most)]

    def _reachable(self, free: np.ndarray, before: np.ndarray, possible: int) -> int:
        """The largest target that `num_clips` bring each class to, as far as it has the clips.

        Args:
          free: rows of the clips that may be chosen.
          before: int `[classes]`, how many clips each class has already.
          possible: the largest number of clips that a class can reach.
        """
        most = self._request.num_clips
        if most is None:
            return PAPER_TARGET
        low, high = 1, possible + 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = len(self._cover(free, middle - before, most + 1)) <= most
            low, high = (middle, high) if fits else (low, middle)
        return low

    def for_negatives(self) -> list[Question]:
        """The clips that score highest for each class and are not labelled with it."""
        assert self._scores is not None
        assert self._request.per_class is not None
        excluded = sparse.csc_matrix(self._candidates.weak + self._answered())
        asked = []
        for label in range(excluded.shape[1]):
            chosen, control = selection.hardest(
                self._scores.ranks,
                excluded,
                self._hashes,
                label=label,
                count=self._request.per_class,
                control=self._request.control_per_class or 0,
            )
            asked += [self._question(row, label) for row in chosen]
            asked += [self._question(row, label, questions.CONTROL) for row in control]
        return asked

    def uncertain(self) -> list[Question]:
        """The clips of which the model is least sure."""
        assert self._scores is not None
        assert self._request.num_clips is not None
        unsure = selection.uncertainty(self._scores.clips)
        answered = self._answered()
        unsure[answered.nonzero()] = -1.0
        embeddings = None
        if self._request.embeddings is not None:
            embeddings = read_embeddings(self._request.embeddings, self._candidates.clip_ids)
        rows = selection.uncertain(
            unsure.max(axis=1),
            self._hashes,
            count=self._request.num_clips,
            embeddings=embeddings,
            pool=self._request.pool,
        )
        asked = []
        for row in rows:
            order = np.argsort(-unsure[row], kind="stable")[: self._request.questions_per_clip]
            asked += [self._question(row, label) for label in order if unsure[row, label] >= 0]
        return asked

    def _answered(self) -> sparse.csr_matrix:
        """Pairs that are answered, or were asked before; bool CSR `[clips, classes]`.

        In a clip with strong labels every class that it has is known.
        """
        clips = self._candidates
        asked = sparse.lil_matrix(clips.weak.shape, dtype=bool)
        for row, label, _ in self._earlier:
            asked[row, label] = True
        return sparse.csr_matrix(clips.strong + clips.negative + asked.tocsr())

    def _question(self, row: int, label: int, group: str = questions.CHOSEN) -> Question:
        clips, request = self._candidates, self._request
        default = choices.EVENTS if request.policy == choices.FOR_STRONG else choices.PRESENCE
        return Question(
            clip_id=clips.clip_ids[row],
            label=clips.info.vocabulary.mids[label],
            name=clips.info.vocabulary.names[label],
            ask=request.ask or default,
            group=group,
            score=np.nan if self._scores is None else float(self._scores.clips[row, label]),
            seconds=float(clips.seconds[row]),
        )


def _counts(matrix: sparse.csr_matrix) -> np.ndarray:
    """Number of clips of each class."""
    return np.asarray(matrix.sum(axis=0, dtype=np.int64)).reshape(-1)


def _of_row(matrix: sparse.csr_matrix, row: int) -> list[int]:
    return sorted(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].tolist())


def write_targets(directory: str, targets: pd.DataFrame) -> None:
    """Writes `targets.csv`, see `Selection.targets`.

    Args:
      directory: where it goes.
      targets: the table.

    Raises:
      OSError: it cannot be written.
    """
    files.write_text(os.path.join(directory, TARGETS_FILE), targets.to_csv(index=False))
