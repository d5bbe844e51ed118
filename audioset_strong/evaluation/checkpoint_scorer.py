"""The checkpoints of a training run, and the scores that they give."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.core import errors, files
from audioset_strong.evaluation import scoring
from audioset_strong.evaluation.eval_sets import EvalSet
from audioset_strong.training import checkpoints, run_info


class CheckpointScorer:
    """Scores eval sets with one checkpoint of a run after the other.

    A model gets log-mel of the front end that it was trained with, as its `run.json` says.
    """

    def __init__(self, workdir: str, *, ema: bool = False):
        """Makes a scorer; nothing is read yet.

        Args:
          workdir: of a training run, which need not have begun.
          ema: whether to take the moving average of the weights.
        """
        self._workdir, self._ema = workdir, ema
        self._run: run_info.RunInfo | None = None
        self._model: keras.Model | None = None
        self._predict: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None
        self._step, self._path = -1, ""
        self._files: dict[str, tuple[int, int]] = {}  # of the checkpoint, when it was loaded
        self._faults: dict[str, _Fault] = {}  # by the path of the checkpoint
        self._digests: dict[str, tuple[object, str]] = {}  # path -> (size and time, digest)

    def has_begun(self) -> bool:
        """Whether there is anything of the run: its facts, a checkpoint, or its end."""
        return (
            files.exists(os.path.join(self._workdir, run_info.RUN_FILE))
            or bool(checkpoints.list_checkpoints(self._workdir))
            or checkpoints.is_finished(self._workdir)
        )

    @property
    def run(self) -> run_info.RunInfo:
        """The facts of the run.

        Raises:
          errors.InputError: not a run, or one without a readable `run.json`.
        """
        if self._run is None:
            self._run = run_info.RunInfo.read(self._workdir)
        return self._run

    def check(self, eval_sets: Sequence[EvalSet]) -> None:
        """Checks that the run can be evaluated on these sets, before any work.

        Raises:
          errors.InputError: not a run, one without a readable `run.json`, another vocabulary, or
            datasets that do not suit the front end of the run.
        """
        run = self.run
        for eval_set in eval_sets:
            if eval_set.vocabulary.mids != run.vocabulary.mids:
                raise errors.InputError(
                    f"{self._workdir}: trained with {len(run.vocabulary)} classes, but eval set "
                    f"{eval_set.name!r} has {len(eval_set.vocabulary)} or another order; convert "
                    "it with the same --class_labels"
                )
            try:
                eval_set.check_front_end(run.front_end)
            except errors.InputError as error:
                raise errors.InputError(
                    f"{self._workdir} cannot be evaluated on {eval_set.name!r}: {error}"
                ) from error

    def available(self, checkpoint: str | None = None) -> list[tuple[int, str]]:
        """The checkpoints that can be loaded, as (step, path), ordered by step.

        Args:
          checkpoint: the only one to take, by its path or its name such as "step-500".

        Raises:
          errors.InputError: there is no such checkpoint.
        """
        listed = checkpoints.list_checkpoints(self._workdir)
        if checkpoint is not None:
            listed = [(step, path) for step, path in listed if _is_same(checkpoint, path)]
            if not listed:
                raise errors.InputError(f"{checkpoint}: no checkpoint of {self._workdir}")
        changed = {path for path, fault in self._faults.items() if fault.files != _files(path)}
        for path in changed:
            del self._faults[path]
        return [(step, path) for step, path in listed if path not in self._faults]

    def digest(self, path: str) -> str | None:
        """A hash of a checkpoint's content; None where its files are gone.

        The index of a checkpoint holds a checksum of each tensor, so hashing it is enough, and
        quick whatever the size of the model.

        Args:
          path: of `available`.
        """
        index = path + ".index"
        try:
            known_by = files.size_and_time(index)
            if self._digests.get(path, (None, ""))[0] != known_by:
                content = hashlib.sha256(files.read_bytes(index)).hexdigest()[:16]
                self._digests[path] = known_by, content
        except OSError:
            return None
        return self._digests[path][1]

    def faults(self, *, deleted: bool = False) -> list[str]:
        """What is wrong with each checkpoint that could not be evaluated.

        Args:
          deleted: whether those count whose files are gone.
        """
        found = self._faults.items()
        return [fault.reason for path, fault in found if deleted or _is_complete(path)]

    def load(self, step: int, path: str) -> bool:
        """Loads a checkpoint.

        One that cannot be read is told and left out of `available` until its files change. So is
        one whose files were deleted meanwhile, which counts as no fault.

        Args:
          step: of the checkpoint.
          path: of `available`.

        Returns:
          Whether it was loaded.

        Raises:
          errors.InputError: the run cannot be evaluated, whatever the checkpoint.
        """
        self._step, self._path, self._files = step, path, _files(path)
        try:
            if self._model is None:
                self._load_model(path)
            else:
                checkpoints.load_weights(self._model, path, ema=self._ema)
        except errors.InputError as error:
            if not _is_complete(path):
                self._files = _files(path)
                self._leave_out(f"{path}: its files are gone, it cannot be evaluated")
            elif isinstance(error, checkpoints.UnreadableError):
                self._leave_out(str(error))
            else:
                raise
            return False
        return True

    def score(
        self, eval_set: EvalSet, *, on_batch: scoring.OnBatch = None
    ) -> scoring.Scores | None:
        """Scores an eval set with the loaded checkpoint, in one pass.

        Returns:
          The scores; None where they are not finite. The checkpoint is then told and left out of
          `available` until its files change.

        Raises:
          errors.InputError: a damaged dataset.
        """
        assert self._predict is not None
        try:
            return scoring.score(
                self._predict,
                eval_set.batches(self.run.front_end),
                mids=eval_set.vocabulary.mids,
                are_logits=True,
                name=f"{self._workdir} at step {self._step} on {eval_set.name!r}",
                on_batch=on_batch,
            )
        except scoring.NotFiniteError as error:
            self._leave_out(str(error))
            return None

    def _leave_out(self, reason: str) -> None:
        logging.warning("%s; left out until its files change", reason)
        self._faults[self._path] = _Fault(self._files, reason)

    def _load_model(self, path: str) -> None:
        model = checkpoints.load_model(self._workdir, path, ema=self._ema).model
        patch_shape = self.run.front_end.patch_shape
        if tuple(model.input_shape[1:]) != patch_shape:
            raise errors.InputError(
                f"{self._workdir}: its model takes patches of shape {model.input_shape[1:]}, but "
                f"the front end of its {run_info.RUN_FILE} gives {patch_shape}"
            )
        self._predict = scoring.batch_scorer(
            tf.function(
                lambda log_mel: model(log_mel, training=False),
                input_signature=[tf.TensorSpec([None, *patch_shape], tf.float32)],
                autograph=False,
            )
        )
        self._model = model


def _is_same(checkpoint: str, path: str) -> bool:
    """Whether a user's word for a checkpoint, its name or a path, is the checkpoint at `path`."""
    given = checkpoint.removesuffix(".index")
    return given == os.path.basename(path) or os.path.realpath(given) == os.path.realpath(path)


@dataclasses.dataclass(frozen=True)
class _Fault:
    """A checkpoint that could not be evaluated: its files at that time, and why."""

    files: dict[str, tuple[int, int]]
    reason: str


def _files(path: str) -> dict[str, tuple[int, int]]:
    """The files of a checkpoint by name, each with its size and time."""
    directory, name = os.path.split(path)
    found = {}
    for file in files.names(directory):
        if file.startswith(f"{name}."):
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                found[file] = files.size_and_time(os.path.join(directory, file))
    return found


def _is_complete(path: str) -> bool:
    """Whether a checkpoint has all its files; they are deleted one after the other."""
    name = os.path.basename(path)
    endings = {file.removeprefix(name).partition("-")[0] for file in _files(path)}
    return {".index", ".data"} <= endings
