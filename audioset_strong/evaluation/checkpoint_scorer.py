"""The checkpoints of a training run, and the scores that they give."""

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
        self._step = -1
        self._gone: set[str] = set()  # paths of checkpoints that were deleted before they were read

    def has_begun(self) -> bool:
        """Whether there is anything of the run: its facts, a checkpoint, or its end."""
        return (
            files.exists(os.path.join(self._workdir, run_info.RUN_FILE))
            or bool(checkpoints.list_checkpoints(self._workdir))
            or checkpoints.is_finished(self._workdir)
        )

    def check(self, eval_sets: Sequence[EvalSet]) -> None:
        """Checks that the run can be evaluated on these sets, before any work.

        Raises:
          errors.InputError: not a run, one without a readable `run.json`, another vocabulary, or
            datasets that do not suit the front end of the run.
        """
        run = self._run = self._run or run_info.RunInfo.read(self._workdir)
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
        self._gone = {path for path in self._gone if not _is_complete(path)}
        return [(step, path) for step, path in listed if path not in self._gone]

    def load(self, step: int, path: str, *, must_exist: bool = False) -> bool:
        """Loads a checkpoint.

        Args:
          step: of the checkpoint.
          path: of `available`.
          must_exist: whether it is an error if its files were deleted meanwhile.

        Returns:
          Whether it was loaded; False where its files were deleted meanwhile.

        Raises:
          errors.InputError: a checkpoint of another model, or one that cannot be read.
        """
        try:
            if self._model is None:
                self._load_model(path)
            else:
                checkpoints.load_weights(self._model, path, ema=self._ema)
        except errors.InputError:
            if must_exist or _is_complete(path):
                raise
            logging.warning("%s: its files are gone, it cannot be evaluated", path)
            self._gone.add(path)
            return False
        self._step = step
        return True

    def score(self, eval_set: EvalSet, *, on_batch: scoring.OnBatch = None) -> scoring.Scores:
        """Scores an eval set with the loaded checkpoint, in one pass.

        Raises:
          errors.InputError: scores that are not finite, or a damaged dataset.
        """
        assert self._predict is not None
        assert self._run is not None
        return scoring.score(
            self._predict,
            eval_set.batches(self._run.front_end),
            mids=eval_set.vocabulary.mids,
            name=f"{self._workdir} at step {self._step} on {eval_set.name!r}",
            on_batch=on_batch,
        )

    def _load_model(self, path: str) -> None:
        assert self._run is not None
        model = checkpoints.load_model(self._workdir, path, ema=self._ema).model
        patch_shape = self._run.front_end.patch_shape
        if tuple(model.input_shape[1:]) != patch_shape:
            raise errors.InputError(
                f"{self._workdir}: its model takes patches of shape {model.input_shape[1:]}, but "
                f"the front end of its {run_info.RUN_FILE} gives {patch_shape}"
            )
        self._predict = scoring.batch_scorer(
            tf.function(
                lambda log_mel: model(log_mel, training=False),
                input_signature=[tf.TensorSpec([None, *patch_shape], tf.float32)],
            )
        )
        self._model = model


def _is_same(checkpoint: str, path: str) -> bool:
    """Whether a user's word for a checkpoint, its name or a path, is the checkpoint at `path`."""
    given = checkpoint.removesuffix(".index")
    return given == os.path.basename(path) or os.path.realpath(given) == os.path.realpath(path)


def _is_complete(path: str) -> bool:
    """Whether a checkpoint has all its files; they are deleted one after the other."""
    directory, name = os.path.split(path)
    endings = {
        file.removeprefix(name).partition("-")[0]
        for file in files.names(directory)
        if file.startswith(f"{name}.")
    }
    return {".index", ".data"} <= endings
