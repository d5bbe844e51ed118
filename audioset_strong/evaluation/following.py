"""Follows workdirs of training runs: every checkpoint is evaluated once on every eval set.

`results` lists the files that an evaluation writes.
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from absl import logging

from audioset_strong.core import errors, files, progress
from audioset_strong.evaluation import class_plots, result_writer, selection
from audioset_strong.evaluation.checkpoint_scorer import CheckpointScorer
from audioset_strong.evaluation.eval_sets import EvalSet, open_eval_set
from audioset_strong.evaluation.results import Results
from audioset_strong.evaluation.settings import DEFAULT_SETTINGS, EvaluationSettings
from audioset_strong.training import checkpoints

_POLL_S = 2.0


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
      errors.InputError: before any work: no workdir, no such dataset, a run without a readable
        `run.json`, another vocabulary, or datasets that do not suit a run's front end. Later: a
        checkpoint of another model, scores that are not finite, or a damaged dataset.
    """
    if not workdirs:
        raise errors.InputError("no workdir given (--workdir)")
    if checkpoint and len(workdirs) != 1:
        raise errors.InputError("--checkpoint goes with exactly one --workdir")
    opened = _open_all(eval_sets, framed_tsvs or {}, settings)
    follow = not run_once and checkpoint is None
    with contextlib.ExitStack() as stack:
        runs = [_Run(path, opened, settings=settings, ema=ema) for path in workdirs]
        for run in runs:
            stack.enter_context(run.writer)
            run.check(may_be_missing=follow)
        if follow:
            _follow(runs, timeout_s)
        else:
            while any([run.evaluate_new(checkpoint) for run in runs]):
                pass  # more may have appeared meanwhile
        if checkpoint is None and not ema:
            for run in runs:
                run.select()


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


def _follow(runs: Sequence["_Run"], timeout_s: float | None) -> None:
    """Evaluates checkpoints as they appear, until all runs are finished or the time is over.

    `tf.train.checkpoints_iterator` would do this for one directory, but it yields the newest
    checkpoint only: those that appear while another is evaluated would be left out, and so would
    those that are there from the start.
    """
    last_new = time.monotonic()
    while True:
        # Asked before the checkpoints are listed, so that one written in between is not missed.
        finished = all(run.is_finished() for run in runs)
        # A list rather than a generator: every run gets its turn.
        if any([run.evaluate_new() for run in runs]):
            last_new = time.monotonic()
        elif finished:
            return
        elif timeout_s is not None and time.monotonic() - last_new > timeout_s:
            logging.warning("no new checkpoint for %g s: stopped following", timeout_s)
            return
        else:
            time.sleep(_POLL_S if timeout_s is None else min(_POLL_S, timeout_s))


class _Run:
    """The evaluation of one training run."""

    def __init__(
        self,
        workdir: str,
        eval_sets: Sequence[EvalSet],
        *,
        settings: EvaluationSettings,
        ema: bool,
    ):
        # All eval sets have the classes of the model, which `check` makes sure of.
        curve_mids = class_plots.find_classes(settings.plot_classes, eval_sets[0].vocabulary)
        self._workdir = workdir
        self._eval_sets = eval_sets
        self._metric = settings.select_metric
        self._is_average = ema
        self._results = Results(workdir, ema=ema)
        self._scorer = CheckpointScorer(workdir, ema=ema)
        self.writer = result_writer.ResultWriter(
            self._results.directory, settings, curve_mids=curve_mids
        )

    def is_finished(self) -> bool:
        """Whether the training of this run is complete."""
        return checkpoints.is_finished(self._workdir)

    def check(self, *, may_be_missing: bool = False) -> None:
        """Checks that the eval sets belong to this run, before anything is evaluated or written.

        Args:
          may_be_missing: whether the run need not have begun.

        Raises:
          errors.InputError: no run, another vocabulary, datasets that do not suit its front end,
            or another dataset under a name that has results already.
        """
        self._results.check_datasets({each.name: each.fingerprint for each in self._eval_sets})
        if may_be_missing and not self._scorer.has_begun():
            logging.warning("%s: no run there yet; waiting for it", self._workdir)
            return
        self._scorer.check(self._eval_sets)

    def evaluate_new(self, checkpoint: str | None = None) -> bool:
        """Evaluates the checkpoints that have no results yet; returns whether there were any.

        Args:
          checkpoint: the only one to look at, by its path or name.
        """
        self._results.read()  # another process may have added to them
        pending = [
            (step, path) for step, path in self._scorer.available(checkpoint) if self._missing(step)
        ]
        if not pending:
            return False
        self.check()  # the run may have begun only now
        self.writer.make_directories()
        evaluated = False
        total = sum(each.num_clips for step, _ in pending for each in self._missing(step))
        name = os.path.basename(os.path.normpath(self._workdir))
        with progress.Bar(f"evaluating {name}", total, unit="clip") as bar:
            for step, path in pending:
                bar.note(f"step {step}")
                if not self._scorer.load(step, path, must_exist=checkpoint is not None):
                    continue
                for eval_set in self._missing(step):
                    self._evaluate(eval_set, step, bar)
                evaluated = True
                if checkpoint is None:
                    self._select_if_measured()
        return evaluated

    def select(self) -> None:
        """Writes selection.json where the metric to select by was measured."""
        table = self._results.table
        if table.empty:
            logging.warning("%s: no checkpoint to evaluate", self._workdir)
            return
        if not selection.can_select(table, metric=self._metric):
            # Choosing on the eval set would flatter the model: better not to choose.
            logging.warning(
                "%s: no checkpoint selected, because %s was not measured (--validation_data)",
                self._workdir,
                self._metric,
            )
            return
        selected = self._write_selection()
        self.writer.copy_selected(selected["step"], sorted(set(table["set"])))

    def _select_if_measured(self) -> None:
        """Selects the best checkpoint so far, which a run that removes its oldest then keeps."""
        table = self._results.table
        # A metric that is not measured is an error now, not after the last checkpoint.
        if not selection.can_select(table, metric=self._metric) or self._is_average:
            return
        listed = dict(checkpoints.list_checkpoints(self._workdir))
        measured = table["set"] + "/" + table["metric"] == self._metric
        if table.loc[measured, "step"].isin(list(listed)).any():
            self._write_selection()

    def _write_selection(self) -> dict:
        listed = checkpoints.list_checkpoints(self._workdir)
        table = self._results.table
        selected = selection.select(table, listed, metric=self._metric)
        with files.writing(self._workdir):
            selection.write(self._workdir, selected)
        return selected

    def _missing(self, step: int) -> list[EvalSet]:
        """The eval sets that a checkpoint has still to be evaluated on."""
        done = self._results.sets_of(step)
        return [
            eval_set
            for eval_set in self._eval_sets
            if not done.issuperset(eval_set.set_names())
            or not self.writer.has_extras(eval_set, step)
        ]

    def _evaluate(self, eval_set: EvalSet, step: int, bar: progress.Bar) -> None:
        """One pass over an eval set, which gives its weak and its strong set."""
        known = set(self._results.table["set"])
        scores = self._scorer.score(eval_set, on_batch=bar.update)
        values = self.writer.write(scores, eval_set, step=step)
        result_writer.warn_of_missing_negatives(
            {name: metrics for name, metrics in values.items() if name not in known}
        )
        with files.writing(self._results.directory):
            self._results.record_dataset(eval_set.name, eval_set.fingerprint)
            # Written last and in one piece, so whatever results.csv lists is complete.
            self._results.replace(step, values)
