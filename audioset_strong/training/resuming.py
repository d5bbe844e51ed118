"""Where a run begins: at its first step, or at the newest checkpoint of the workdir."""

import dataclasses
import hashlib
import json
import os

import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.core import errors, files
from audioset_strong.training import checkpoints, distribution, workdirs
from audioset_strong.training.run_info import RunInfo


@dataclasses.dataclass(frozen=True)
class Start:
    """What a workdir holds of a run.

    Attributes:
      step: number of steps done.
      checkpoint: path of the checkpoint to resume from; None where none is done.
      begun: the run as it was begun; None where it has no checkpoint.
      finished: whether there is nothing left to do.
    """

    step: int = 0
    checkpoint: str | None = None
    begun: RunInfo | None = None
    finished: bool = False


def find_start(workdir: str, run: RunInfo, *, extend: bool = False) -> Start:
    """Finds where a run goes on.

    Args:
      workdir: directory of the run; need not exist.
      run: the run as it would be begun now.
      extend: whether it may have more steps than the run that was begun.

    Raises:
      errors.InputError: the workdir holds a run that `run` cannot continue.
    """
    newest = checkpoints.newest(workdir)
    if not newest:
        finished = checkpoints.is_finished(workdir)
        kept = checkpoints.list_checkpoints(workdir)
        # A run that dies between the two files of its first checkpoint leaves one of them.
        if len(kept) > 1 and not finished:
            raise errors.InputError(
                f"{workdir}: its checkpoints hold weights only, and the state to resume from "
                f"(checkpoints/resume-N) is gone; take another --workdir with "
                f"--init_from={kept[-1][1]}"
            )
        return Start(finished=finished)
    begun = RunInfo.read(workdir)
    _check_same(workdir, run, begun)
    _check_length(workdir, run, begun, extend=extend)
    finished = checkpoints.is_finished(workdir) and not _is_longer(run, begun)
    return Start(*newest, begun=begun, finished=finished)


def _check_same(workdir: str, run: RunInfo, begun: RunInfo) -> None:
    difference = run.difference(begun) or _other_start(run, begun)
    if difference:
        raise errors.InputError(
            f"{workdir}: cannot continue its run with {difference}; take another --workdir"
        )
    if begun.data_fingerprint not in (None, run.data_fingerprint):
        # The place that the run has reached in its data means nothing in other data.
        raise errors.InputError(
            f"{workdir}: began with other data than {', '.join(d.path for d in run.datasets)} "
            "(their dataset_info.json differ, or what a teacher says of them); give its own "
            "--data_dir, or take another --workdir"
        )
    if "shuffle_buffer" in begun.stream:
        logging.warning("%s: an older version began it, with another order of examples", workdir)


def _check_length(workdir: str, run: RunInfo, begun: RunInfo, *, extend: bool) -> None:
    if run.total_steps < begun.total_steps or (_is_longer(run, begun) and not extend):
        remedy = "a run cannot be shortened"
        if _is_longer(run, begun):
            remedy = "--extend continues it to more steps"
        raise errors.InputError(
            f"{workdir}: its run has {begun.total_steps} steps, this one {run.total_steps}; "
            f"{remedy}, or take another --workdir"
        )


def _is_longer(run: RunInfo, begun: RunInfo) -> bool:
    return run.total_steps > begun.total_steps


def _other_start(run: RunInfo, begun: RunInfo) -> str | None:
    """The difference between what two runs start from, in words; None for the same weights."""
    if run.init_from == begun.init_from:
        return None
    if run.init_from and begun.init_weights:
        _, checkpoint = checkpoints.resolve(run.init_from)
        if checkpoints.fingerprint(checkpoint) == begun.init_weights:
            return None  # they were moved
    return f"init_from = {run.init_from!r} instead of {begun.init_from!r}"


def extend(workdir: str, run: RunInfo, begun: RunInfo) -> None:
    """Gives a run that has begun the length of `run`, if that is longer.

    Args:
      workdir: directory of the run.
      run: the run as it is to be continued.
      begun: the run as its `run.json` describes it.

    Raises:
      errors.InputError: the workdir cannot be written.
    """
    if not _is_longer(run, begun):
        return
    finished = os.path.join(workdir, workdirs.FINISHED_FILE)
    with files.writing(workdir):
        if files.exists(finished):  # first, so that a run is never called finished that is not
            files.remove(finished)
        dataclasses.replace(
            begun, total_steps=run.total_steps, total_epochs=run.total_epochs
        ).write(workdir)


def check_workers(
    strategy: tf.distribute.Strategy, start: Start, *, run: RunInfo, config_text: str
) -> None:
    """Checks that all workers are about to do the same; else they would never end.

    Args:
      strategy: of the run. All its workers must call this.
      start: of this worker.
      run: as this worker would begin it.
      config_text: the bindings of this worker.

    Raises:
      errors.InputError: the workers have different settings, or begin at different steps.
    """
    facts = [config_text, run.data_fingerprint, run.total_steps, run.batch_size, run.seed]
    settings = int(hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12], 16)
    mine = [start.step if start.checkpoint else -1, start.finished, settings]
    steps, finished, settings_of = distribution.of_workers(strategy, mine).astype(np.int64).T
    if len(set(settings_of)) > 1:
        distribution.leave_together(strategy)
        raise errors.InputError(
            "workers were started with different settings or data; give all of them the same gin "
            "files, bindings and datasets"
        )
    if len(set(steps)) > 1 or len(set(finished)) > 1:
        distribution.leave_together(strategy)
        raise errors.InputError(
            f"workers would start at different steps: {_in_words(steps, finished)}; give all of "
            "them the same --workdir, on a disk that they share"
        )


def _in_words(steps: np.ndarray, finished: np.ndarray) -> str:
    words = []
    for worker, (step, done) in enumerate(zip(steps, finished, strict=True)):
        found = f"step {step}" if step >= 0 else "no checkpoint"
        words.append(f"worker {worker} has {found}{' of a finished run' if done else ''}")
    return ", ".join(words)
