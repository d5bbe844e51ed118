"""Follows workdirs of training runs: every checkpoint is evaluated once on every eval set.

`results` lists the files that an evaluation writes.
"""

import contextlib
import functools
import math
import os
import time
from collections.abc import Mapping, Sequence

from absl import logging

from audioset_strong.core import errors, files, locks, progress
from audioset_strong.evaluation import class_plots, held_out, result_writer, scoring, selection
from audioset_strong.evaluation.checkpoint_scorer import CheckpointScorer
from audioset_strong.evaluation.eval_sets import EvalSet, open_eval_set
from audioset_strong.evaluation.followed_run import FollowedRun
from audioset_strong.evaluation.measured_on import MeasuredOn
from audioset_strong.evaluation.results import Results
from audioset_strong.evaluation.settings import DEFAULT_SETTINGS, EvaluationSettings
from audioset_strong.training import checkpoints

_POLL_S = 2.0
_REMIND_S = 600.0  # from one line about a run that has not begun to the next


def evaluate_workdirs(
    workdirs: Sequence[str],
    eval_sets: Mapping[str, str | Sequence[str]],
    *,
    framed_tsvs: Mapping[str, str | Sequence[str]] | None = None,
    settings: EvaluationSettings = DEFAULT_SETTINGS,
    ema: bool = False,
    checkpoint: str | None = None,
    run_once: bool = False,
    timeout_s: float | None = None,
) -> None:
    """Evaluates the checkpoints of training runs that are finished or still training.

    Each model is given log-mel of the front end in its run's `run.json`. At the end the best
    checkpoint on the validation data is selected.

    What is wrong with one checkpoint or one workdir costs only that one. It is told, left out, and
    tried again when its files change; an error at the end says what was left out. Several processes
    may evaluate the same workdirs: a lock in the results gives each checkpoint to one of them.

    Args:
      workdirs: of training runs. Runs that are still training are followed until they end.
      eval_sets: name -> dataset directory or directories; "eval" and "validation" give the sets
        weak_eval, strong_eval, weak_validation and strong_validation, in one pass over each.
      framed_tsvs: name of an eval set -> framed TSVs that replace its strong labels, such as
        `audioset_eval_strong_framed_posneg.tsv`; see `eval_sets.open_eval_set`.
      settings: how to evaluate and what to keep.
      ema: whether to evaluate the moving average of the weights (`train.ema_decay`); its results
        are kept apart, and nothing is selected by them.
      checkpoint: the only checkpoint to evaluate, by its path or its name such as "step-500", with
        a single workdir. Nothing is selected then.
      run_once: whether to stop after evaluating the checkpoints that are there.
      timeout_s: seconds without a new checkpoint after which following ends.

    Raises:
      errors.InputError: before any work: no workdir or one given twice, no such dataset; and, with
        a single workdir, whatever keeps it from being evaluated: no readable `run.json`, another
        vocabulary, datasets that do not suit its front end, files that cannot be written.
      LeftOutError: at the end: checkpoints that cannot be read, are of another model or give scores
        that are not finite; or some of several workdirs that could not be evaluated.
    """
    if not workdirs:
        raise errors.InputError("no workdir given (--workdir)")
    if checkpoint and len(workdirs) != 1:
        raise errors.InputError("--checkpoint goes with exactly one --workdir")
    repeated = files.first_repeated(workdirs)
    if repeated:
        raise errors.InputError(f"--workdir={repeated[1]}: given twice; give it once")
    opened = _open_all(eval_sets, framed_tsvs or {}, settings)
    # All eval sets have the classes of the models, which `check` makes sure of.
    curve_mids = class_plots.find_classes(settings.plot_classes, opened[0].vocabulary)
    make = functools.partial(
        _Run,
        eval_sets=opened,
        settings=settings,
        curve_mids=curve_mids,
        ema=ema,
        checkpoint=checkpoint,
    )
    follow = not run_once and checkpoint is None
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                FollowedRun(path, functools.partial(make, path), alone=len(workdirs) == 1)
            )
            for path in workdirs
        ]
        for run in runs:
            run.check(may_be_missing=follow)
        _evaluate_all(runs, follow=follow, timeout_s=timeout_s)
        if checkpoint is None and not ema:
            for run in runs:
                run.select()
        faults = [fault for run in runs for fault in run.faults()]
    if faults:
        more = f", and {len(faults) - 1} more, told above" if len(faults) > 1 else ""
        raise LeftOutError(f"left out: {faults[0]}{more}; all else is evaluated")


class LeftOutError(errors.InputError):
    """Checkpoints or workdirs could not be evaluated; all others are."""


def _open_all(
    eval_sets: Mapping[str, str | Sequence[str]],
    framed_tsvs: Mapping[str, str | Sequence[str]],
    settings: EvaluationSettings,
) -> list[EvalSet]:
    if not eval_sets:
        raise errors.InputError(
            "no eval set: give --eval_data (and --validation_data), or bind "
            "evaluate_workdirs.eval_sets"
        )
    unknown = framed_tsvs.keys() - eval_sets.keys()
    if unknown:
        raise errors.InputError(f"framed labels of {min(unknown)!r}: there is no such eval set")
    return [
        open_eval_set(
            name,
            _as_list(directories),
            batch_size=settings.batch_size,
            cache_clips=settings.cache_clips,
            propagate_to_ancestors=settings.propagate_to_ancestors,
            framing_rule=settings.framing_rule,
            framed_tsvs=_as_list(framed_tsvs.get(name, ())),
        )
        for name, directories in eval_sets.items()
    ]


def _as_list(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _evaluate_all(runs: Sequence[FollowedRun], *, follow: bool, timeout_s: float | None) -> None:
    """Evaluates checkpoints, as they appear, until all runs are finished or the time is over.

    `tf.train.checkpoints_iterator` would do this for one directory, but it yields the newest
    checkpoint only: those that appear while another is evaluated would be left out, and so would
    those that are there from the start.
    """
    last_new = time.monotonic()
    while True:
        # Asked before the checkpoints are listed, so that one written in between is not missed.
        finished = not follow or all(run.is_finished() for run in runs)
        # A list rather than a generator: every run gets its turn.
        if any([run.evaluate_new() for run in runs]):
            last_new = time.monotonic()
        elif finished and not any(run.is_busy for run in runs):
            return
        elif timeout_s is not None and time.monotonic() - last_new > timeout_s:
            logging.warning("no new checkpoint for %g s: stopped following", timeout_s)
            return
        else:
            time.sleep(_POLL_S if timeout_s is None else min(_POLL_S, timeout_s))


class _Run:
    """The evaluation of one training run; a `followed_run.Evaluation`."""

    def __init__(
        self,
        workdir: str,
        *,
        eval_sets: Sequence[EvalSet],
        settings: EvaluationSettings,
        curve_mids: Sequence[str],
        ema: bool,
        checkpoint: str | None,  # the only one to look at, by its path or name
    ):
        self._workdir = workdir
        self._eval_sets = eval_sets
        self._settings = settings
        self._metric = settings.metric
        self._checkpoint = checkpoint
        self._selects = checkpoint is None and not ema
        self._remind_at = -math.inf
        self._results = Results(workdir, ema=ema)
        self._scorer = CheckpointScorer(workdir, ema=ema)
        self._writer = result_writer.ResultWriter(
            self._results.directory, settings, curve_mids=curve_mids
        )

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()

    def has_begun(self) -> bool:
        """See `CheckpointScorer.has_begun`."""
        return self._scorer.has_begun()

    def check(self, *, may_be_missing: bool = False) -> None:
        """Checks that the eval sets belong to this run, before anything is evaluated or written.

        Args:
          may_be_missing: whether the run need not have begun.

        Raises:
          errors.InputError: no run, another vocabulary, datasets that do not suit its front end,
            another dataset under a name that has results already, an eval set that the run was
            trained on, or a selection on data that are not held out.
        """
        sets = self._measured_on()
        self._results.check_datasets(sets)
        if may_be_missing and not self.has_begun():
            self._tell_of_waiting()
            return
        self._scorer.check(self._eval_sets)
        datasets = self._scorer.run.datasets
        held_out.check_not_trained_on(sets, datasets, workdir=self._workdir)
        if self._selects:
            self._is_held_out()

    def evaluate_new(self) -> bool:
        """Evaluates the checkpoints that have no results yet; returns whether it evaluated any.

        Raises:
          errors.InputError: the run cannot be evaluated.
          locks.Busy: another process is evaluating it.
        """
        if not self._pending():
            if not self.has_begun():
                self._tell_of_waiting()
            return False
        self.check()  # the run may have begun only now
        names = {name for each in self._eval_sets for name in each.set_names()}
        self._writer.begin(self._scorer.run, names.union(self._results.table["set"]))
        with self._locked():
            pending = self._pending()  # what another process has not done meanwhile
            total = sum(each.num_clips for at in pending for each in self._missing(*at))
            name = os.path.basename(os.path.normpath(self._workdir))
            with progress.Bar(f"evaluating {name}", total, unit="clip") as bar:
                # A list rather than a generator: every checkpoint gets its turn. A picture takes
                # as long as the scores of a small eval set, so of many checkpoints that wait only
                # the last one gets its pictures, and later the selected one.
                return any(
                    [self._evaluate(*at, bar, with_pictures=at == pending[-1]) for at in pending]
                )

    def faults(self) -> list[str]:
        """What is wrong with the checkpoints that could not be evaluated."""
        # The only checkpoint to look at must be there.
        return self._scorer.faults(deleted=self._checkpoint is not None)

    def _tell_of_waiting(self) -> None:
        """Says, at first and now and then, that the run has not begun: its path may be mistyped."""
        if time.monotonic() < self._remind_at:
            return
        self._remind_at = time.monotonic() + _REMIND_S
        missing = "" if files.exists(self._workdir) else "the directory does not exist, and "
        logging.warning(
            "%s: no run there yet; waiting for it (%saudioset_strong_train makes it; Ctrl-C stops)",
            self._workdir,
            missing,
        )

    def _locked(self, *, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Keeps other evaluations of the run out, so that each result is there once."""
        return locks.locked(self._results.directory, "evaluating this run", wait=wait)

    def _pending(self) -> list[tuple[int, str]]:
        """The checkpoints that lack results, as (step, path), by what is in the workdir now."""
        self._results.read()
        available = self._scorer.available(self._checkpoint)
        return [(step, path) for step, path in available if self._missing(step, path)]

    def select(self) -> None:
        """Writes selection.json where the metric to select by was measured."""
        self._results.read()
        if self._results.table.empty:
            logging.warning("%s: no checkpoint to evaluate", self._workdir)
            return
        with self._locked(wait=True):
            self._results.read()
            table = self._results.table
            measured = selection.measured_metric(table, self._metric)
            if measured is None:
                # Choosing on the eval set would flatter the model: better not to choose.
                logging.warning(
                    "%s: no checkpoint selected, because %s was not measured (--validation_data)",
                    self._workdir,
                    self._metric,
                )
                return
            if measured != self._metric:
                logging.warning(
                    "%s: selected by %s, because no class has explicit negatives there",
                    self._workdir,
                    measured,
                )
            selected = self._write_selection()
            self._writer.copy_selected(selected["step"], sorted(set(table["set"])))

    def _select_if_measured(self) -> None:
        """Selects the best checkpoint so far, which a run that removes its oldest then keeps."""
        if not self._selects:
            return
        table = self._results.table
        # A metric that is not measured is an error now, not after the last checkpoint.
        metric = selection.measured_metric(table, self._metric)
        listed = dict(checkpoints.list_checkpoints(self._workdir))
        measured = table["set"] + "/" + table["metric"] == metric
        if table.loc[measured, "step"].isin(list(listed)).any():
            self._write_selection()

    def _write_selection(self) -> dict:
        listed = checkpoints.list_checkpoints(self._workdir)
        table = self._results.table
        selected = selection.select(
            table, listed, metric=self._metric, held_out=self._is_held_out()
        )
        with files.writing(self._workdir):
            selection.write(self._workdir, selected)
        return selected

    def _is_held_out(self) -> bool:
        """Whether the set to select on is held out; an error where it is not, nor asked for."""
        return held_out.check_selection(
            self._metric,
            self._results.measured_on() | self._measured_on(),
            self._scorer.run.datasets,
            workdir=self._workdir,
            select_on=self._settings.select_on,
        )

    def _measured_on(self) -> dict[str, MeasuredOn]:
        weighting = self._settings.negative_weighting
        return {each.name: each.measured_on(weighting) for each in self._eval_sets}

    def _missing(self, step: int, path: str) -> list[EvalSet]:
        """The eval sets that a checkpoint has still to be evaluated on."""
        if self._results.has_other_weights(step, self._scorer.digest(path)):
            return list(self._eval_sets)
        done = self._results.sets_of(step)
        # Asked for by name, a checkpoint gets what comparisons need where it is missing.
        named = self._checkpoint is not None
        return [
            eval_set
            for eval_set in self._eval_sets
            if not done.issuperset(eval_set.set_names())
            or not self._writer.has_extras(eval_set, step)
            or (named and not self._writer.has_left_out(eval_set, step))
        ]

    def _evaluate(self, step: int, path: str, bar: progress.Bar, *, with_pictures: bool) -> bool:
        """Evaluates a checkpoint on the sets that it lacks; returns whether that was possible."""
        bar.note(f"step {step}")
        digest = self._scorer.digest(path)  # of the weights that are loaded, whatever comes later
        if not self._scorer.load(step, path):
            return False
        for eval_set in self._missing(step, path):
            scores = self._scorer.score(eval_set, on_batch=bar.update)
            if scores is None:
                return False
            self._write(scores, eval_set, step, digest=digest, with_pictures=with_pictures)
        listed = [kept for kept, _ in checkpoints.list_checkpoints(self._workdir)]
        self._writer.remove_left_out(kept_steps=[*listed, step])
        self._select_if_measured()
        return True

    def _write(
        self,
        scores: scoring.Scores,
        eval_set: EvalSet,
        step: int,
        *,
        digest: str | None,
        with_pictures: bool,
    ) -> None:
        """Writes the results of a checkpoint on an eval set: those of its weak and strong set.

        Args:
          scores: of the checkpoint on the eval set.
          eval_set: the eval set.
          step: of the checkpoint.
          digest: of its content; None where its files are gone by now.
          with_pictures: see `ResultWriter.write`.
        """
        known = set(self._results.table["set"])
        values = self._writer.write(scores, eval_set, step=step, with_pictures=with_pictures)
        result_writer.warn_of_missing_negatives(
            {name: metrics for name, metrics in values.items() if name not in known}
        )
        with files.writing(self._results.directory):
            measured_on = eval_set.measured_on(self._settings.negative_weighting)
            if digest is not None:
                self._results.forget_other_weights(step, digest)
            self._results.record_dataset(eval_set.name, measured_on)
            # Written last and in one piece, so whatever results.csv lists is complete.
            self._results.replace(step, values)
