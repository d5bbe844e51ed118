"""A run that is evaluated as far as it can be, so that its faults cost no other run anything."""

import contextlib
import itertools
import os
from collections.abc import Callable
from typing import Protocol, TypeVar

from absl import logging

from audioset_strong.core import errors, files, locks
from audioset_strong.evaluation.results import DATASETS_FILE
from audioset_strong.training import checkpoints
from audioset_strong.training.workdirs import (
    EVAL_DIRS,
    MODEL_FILE,
    RESULTS_FILE,
    RUN_FILE,
)

_Result = TypeVar("_Result")


class Evaluation(Protocol):
    """The evaluation of one run. Each method may raise `errors.InputError` or `OSError`."""

    def has_begun(self) -> bool:
        """Whether there is anything of the run."""

    def check(self, *, may_be_missing: bool = False) -> None:
        """Checks that the run can be evaluated, before any work."""

    def evaluate_new(self) -> bool:
        """Evaluates the checkpoints without results; raises `locks.Busy` if another process does.

        Returns:
          Whether it evaluated any.
        """

    def select(self) -> None:
        """Selects the best checkpoint."""

    def faults(self) -> list[str]:
        """What is wrong with the checkpoints that could not be evaluated."""

    def close(self) -> None:
        """Closes its files."""


class FollowedRun(contextlib.AbstractContextManager):
    """A run that is evaluated as far as it can be: what is wrong with it is told, not raised.

    Only where it is the only run is it raised, since there is nothing else to go on with.

    Attributes:
      is_busy: whether another process is evaluating the run.
    """

    def __init__(self, workdir: str, open_run: Callable[[], Evaluation], *, alone: bool):
        """Makes one; nothing is read yet.

        Args:
          workdir: of the run.
          open_run: makes its evaluation, at first and again after each fault.
          alone: whether there is no other run.
        """
        self._workdir, self._open_run, self._alone = workdir, open_run, alone
        self._run: Evaluation | None = None
        self._had_begun = False
        self._fault: str | None = None
        self._state: list[object] = []  # of the workdir at the time of a fault
        self.is_busy = False

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.close()

    def is_finished(self) -> bool:
        """Whether nothing more is expected: the training is complete, or the run has a fault."""
        if self._fault is not None:
            return True
        with contextlib.suppress(OSError):  # which is told when it is evaluated
            return checkpoints.is_finished(self._workdir)
        return False

    def check(self, *, may_be_missing: bool) -> None:
        """See `Evaluation.check`."""
        self._attempt(lambda run: run.check(may_be_missing=may_be_missing))

    def evaluate_new(self) -> bool:
        """See `Evaluation.evaluate_new`."""
        if self._fault is not None and _state(self._workdir) == self._state:
            return False
        return bool(self._attempt(lambda run: run.evaluate_new()))

    def select(self) -> None:
        """See `Evaluation.select`."""
        if self._fault is None:
            self._attempt(lambda run: run.select())

    def faults(self) -> list[str]:
        """What could not be evaluated, and why: the run, or some of its checkpoints."""
        if self._fault is not None:
            return [self._fault]
        return self._run.faults() if self._run else []

    def _attempt(self, work: Callable[[Evaluation], _Result]) -> _Result | None:
        """Does some work on the run; None where another process is busy, or it cannot be done."""
        try:
            if self._run is None:
                self._run = self._open_run()
            self._check_not_gone(self._run)
            if self._fault is not None:
                self._run.check()
            result = work(self._run)
            self._fault, self.is_busy = None, False
            return result
        except locks.Busy as error:
            if not self.is_busy:
                logging.warning("%s; waiting for it", error)
            self.is_busy = True
        except (errors.InputError, OSError) as error:
            fault = _told(error, self._workdir)
            if self._alone:
                raise errors.InputError(fault) from error
            if fault != self._fault:
                logging.warning("%s; left out until its files change", fault)
            self.__exit__()
            # What was read of it may have changed, too.
            self._run, self._fault, self.is_busy = None, fault, False
            self._state = _state(self._workdir)
        return None

    def _check_not_gone(self, run: Evaluation) -> None:
        has_begun = run.has_begun()
        if self._had_begun and not has_begun:
            raise errors.InputError(f"{self._workdir}: the run is gone")
        self._had_begun = has_begun


def _told(error: Exception, workdir: str) -> str:
    """An error in one line that names the workdir."""
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.filename or workdir}: {files.reason(error)}"
    return reason if workdir in reason else f"{workdir}: {reason}"


def _state(workdir: str) -> list[object]:
    """What decides whether a run can be evaluated: its checkpoints, and the files about them."""
    results = itertools.product(EVAL_DIRS, (RESULTS_FILE, DATASETS_FILE))
    names = [RUN_FILE, MODEL_FILE, *(os.path.join(*names) for names in results)]
    state: list[object] = []
    with contextlib.suppress(OSError):
        state += checkpoints.list_checkpoints(workdir)
    for name in names:
        with contextlib.suppress(OSError):
            state.append((name, files.size_and_time(os.path.join(workdir, name))))
    return state
