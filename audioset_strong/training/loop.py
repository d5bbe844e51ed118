"""The training loop: batches in; checkpoints and TensorBoard events out.

A run is a function of its settings, its seed and its data. It can be stopped and killed at any
moment: started again, it continues from its newest checkpoint with the examples that come next, and
on a CPU it ends with exactly the weights of a run that was never stopped.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import errors, files, locks, progress
from audioset_strong.inputs import damage
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.labels import framing
from audioset_strong.models import complexity
from audioset_strong.training import (
    checkpoints,
    distribution,
    lengths,
    monitoring,
    planning,
    resuming,
    retention,
    workdirs,
)
from audioset_strong.training.planning import Plan
from audioset_strong.training.settings import TrainSettings
from audioset_strong.training.state import TrainState
from audioset_strong.training.step import TrainStep
from audioset_strong.training.stop_signals import StopSignals
from audioset_strong.training.train_input import TrainInput


def train(
    workdir: str,
    sources: Sequence[Source],
    settings: TrainSettings,
    *,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    augmentation: Augmentation | None = None,
    stream: StreamSettings | None = None,
    framing_rule: str = framing.RELEASED,
    init_from: str | None = None,
    extend: bool = False,
    strategy: tf.distribute.Strategy | None = None,
    profile_steps: Sequence[int] | None = None,
    config_text: str = "",
) -> None:
    """Trains one model, or continues the run that `workdir` holds.

    SIGTERM and Ctrl-C end it with a checkpoint to resume from.

    Args:
      workdir: directory of this run; `workdirs` lists what is written there.
      sources: where the training examples come from.
      settings: how to train.
      front_end: makes log-mel patches of waveforms; the model's input has its `patch_shape`.
      augmentation: of the training examples; none by default.
      stream: how examples are read; the defaults of `StreamSettings` if None.
      framing_rule: turns strong labels into those of a patch, see `framing.frame_labels`.
      init_from: a checkpoint, a workdir with a selected one, or an exported model, whose weights to
        start from (the fine-tuned rows of Table 1); outputs are mapped by mid. A run that continues
        takes any path to the same weights.
      extend: whether a run that has begun, or is finished, may get more steps than it was begun
        with.
      strategy: see `distribution.make`; one device by default.
      profile_steps: first and last step to profile for TensorBoard.
      config_text: the bindings that all this comes from, as `gin_files.parse` returns them: for
        the log, TensorBoard and `workdirs.claim`; none by default.

    Raises:
      errors.InputError: bad settings or data, or a workdir of another run, all before any work; a
        loss that becomes non-finite; another worker that has failed or is gone.
      SystemExit: the run was stopped by a signal; the code is the shell's for that signal.
    """
    strategy = strategy or tf.distribute.get_strategy()
    with distribution.ending_together(strategy):
        monitoring.check_profile_steps(profile_steps)
        if config_text and distribution.is_chief(strategy):
            workdirs.check(workdir, config_text, extend=extend)
        train_input = TrainInput(
            sources=tuple(sources),
            batch_size=settings.batch_size,
            seed=settings.seed,
            front_end=front_end,
            augmentation=augmentation or Augmentation(),
            framing_rule=framing_rule,
            known_labels=settings.loss().needs_known_labels,
            stream=stream or StreamSettings(),
            strategy=strategy,
        )
        plan = planning.make(workdir, settings, train_input, init_from=init_from, extend=extend)
    train_input = plan.train_input
    resuming.check_workers(strategy, plan.start, run=plan.run, config_text=config_text)
    if plan.start.finished:
        logging.info("%s: already trained", workdir)
        distribution.leave_together(strategy)
        return
    keras.utils.set_random_seed(settings.seed)
    state = plan.build_state(strategy)  # workers exchange its variables
    with contextlib.ExitStack() as stack:
        with distribution.ending_together(strategy):
            run, initialized = plan.restore(state)
            loop = _Loop(workdir, plan, state=state)
            if loop.chief:
                stack.enter_context(_taken(workdir, config_text, extend=extend))
                if plan.start.begun:
                    resuming.extend(workdir, run, plan.start.begun)
                else:
                    plan.write_facts(workdir, state.net, run, initialized)
            monitor = monitoring.Monitor(
                workdir,
                state.net,
                run=run,
                settings=settings,
                preview=train_input.preview,
                chief=loop.chief,
                profile_steps=profile_steps,
            )
            stack.enter_context(monitor)
            logging.info("training in %s with\n%s", workdir, config_text)
            logging.info("reading %s", train_input.reading_in_words())
            _log_size(state, plan)
            monitor.begin(state.step, config_text)
        loop.run(monitor)


@contextlib.contextmanager
def _taken(workdir: str, config_text: str, *, extend: bool) -> Iterator[None]:
    """Makes a workdir that of the run that `config_text` describes, and keeps others out of it."""
    with files.writing(workdir):
        files.make_directory(workdir)
    with locks.locked(workdir, "training in it"):
        if config_text:
            workdirs.claim(workdir, config_text, extend=extend)
        checkpoints.remove_leftovers(workdir)
        yield


def _log_size(state: TrainState, plan: Plan) -> None:
    """Says how large the network is, how long the run, and what it takes on the disk."""
    logging.info("%s: %s", state.net.name, complexity.measure(state.net))
    logging.info("%s", plan.length.in_words())
    kept = plan.settings.keep_checkpoints
    logging.info("%s", plan.length.disk_in_words(*state.checkpoint_bytes(), kept))


class _Loop:
    """Runs the steps of a run, a few at a time, with checkpoints in between."""

    def __init__(self, workdir: str, plan: Plan, *, state: TrainState):
        settings, train_input = plan.settings, plan.train_input
        self._workdir, self._settings, self._state = workdir, settings, state
        self._length = plan.length
        self._input, self._strategy = train_input, train_input.strategy
        self.chief = distribution.is_chief(self._strategy)
        self._datasets = [path for source in train_input.sources for path in source.datasets]
        self._batches = train_input.batches(state.step)
        self._run_steps = TrainStep(
            state,
            settings.loss(),
            strategy=self._strategy,
            to_model_input=train_input.to_model_input,
            clip_norm=settings.clip_norm,
            accumulate=settings.accumulate,
            jit_compile=_jit_compile(settings),
            windows_per_bag=train_input.stream.windows_per_bag,
        )
        self._first_call = True

    def run(self, monitor: monitoring.Monitor) -> None:
        """Trains to the last step, or until a signal asks for a stop.

        Raises:
          errors.InputError: the loss became non-finite, or another worker is gone.
          SystemExit: a signal stopped the run, here or in another worker.
        """
        step, total = self._state.step, self._length.total_steps
        saved_step, saved_at = step, time.monotonic()
        rate_is_told = False
        with (
            StopSignals() as stop,
            progress.Bar("training", total, unit="step", initial=step) as bar,
        ):
            while step < total and not self._in_any_worker(bool(stop.received)):
                monitor.before(step)
                count = self._next_end(step, monitor) - step
                scalars = self._call(step, count)
                step += count
                monitor.after(step, scalars)
                bar.update(count)
                bar.note(f"loss {scalars['loss']:.4f}")
                if "examples_per_second" in scalars and not rate_is_told:
                    _log_time(total - step, self._settings.batch_size, scalars)
                    rate_is_told = True
                keep = step % self._length.checkpoint_every == 0 or step == total
                due = time.monotonic() - saved_at > self._settings.resume_every_s
                if keep or self._in_any_worker(due):
                    self._save(step, keep=keep)
                    monitor.flush()
                    saved_step, saved_at = step, time.monotonic()
            if saved_step < step:
                self._save(step, keep=False)
        distribution.leave_together(self._strategy)
        if step < total:
            logging.warning("stopped at step %d of %d; run again to continue", step, total)
            raise SystemExit(128 + (stop.received or signal.SIGTERM))  # maybe another worker's
        if self.chief:
            path = os.path.join(self._workdir, workdirs.FINISHED_FILE)
            with files.writing(path):
                files.write_json(path, {"step": step})

    def _in_any_worker(self, value: bool) -> bool:
        return distribution.any_worker(self._strategy, value)

    def _next_end(self, step: int, monitor: monitoring.Monitor) -> int:
        # Calls end at multiples of steps_per_call wherever the run began, so a curve does not show
        # where it was stopped.
        ends = [
            monitoring.next_multiple(step, every)
            for every in (self._settings.steps_per_call, self._length.checkpoint_every)
        ]
        return min(*ends, *monitor.ends(step), self._length.total_steps)

    def _call(self, step: int, count: int) -> dict[str, float]:
        """Runs the steps after `step`, and returns their scalars."""
        began = time.monotonic()
        with (
            damage.reporting_damage(self._datasets),
            distribution.reporting_lost_workers(self._strategy),
        ):
            ran = {k: v.numpy() for k, v in self._run_steps(self._batches, count).items()}
        seconds = time.monotonic() - began
        finite = np.isfinite([ran["loss"], ran["gradient_norm"]]).all(axis=0)
        if not finite.all():
            done = int(np.argmin(finite))  # steps before the first that is not
            values = {name: float(ran[name][done]) for name in ("loss", "gradient_norm")}
            raise self._diverged(step + done, values)
        scalars = {
            "loss": float(ran["loss"].mean()),
            "gradient_norm": float(ran["gradient_norm"].mean()),
            "learning_rate": float(ran["learning_rate"][-1]),
        }
        if not self._first_call:  # most of its time is spent on building the graph
            scalars["examples_per_second"] = count * self._settings.batch_size / seconds
            scalars["input_wait_share"] = float(ran["wait_s"].sum()) / seconds
        self._first_call = False
        return scalars

    def _save(self, step: int, *, keep: bool) -> None:
        """Writes the state to resume from, after the weights that are kept, if they are."""
        with files.writing(self._workdir):
            for kept in (True, False) if keep else (False,):
                saved = self._state.weights if kept else self._state.checkpoint
                checkpoints.save(saved, self._workdir, step=step, keep=kept, chief=self.chief)
            bound = self._settings.keep_checkpoints
            if keep and bound is not None and self.chief:
                retention.remove_surplus(self._workdir, bound)

    def _diverged(self, done: int, values: Mapping[str, float]) -> errors.InputError:
        """Writes which clips made the loss or gradient norm non-finite, and returns the error.

        Args:
          done: steps before the one that is to blame.
          values: loss and gradient norm of that step.
        """
        path = os.path.join(self._workdir, workdirs.DIVERGED_FILE)
        if self.chief:
            facts = {
                "step": done + 1,
                **{name: str(value) for name, value in values.items()},
                "batch": self._input.windows_of(done),
            }
            with files.writing(path):
                files.write_json(path, facts)
        distribution.leave_together(self._strategy)  # all have computed the same values
        name, value = next((n, v) for n, v in values.items() if not np.isfinite(v))
        before = checkpoints.list_checkpoints(self._workdir)
        start = f" and --init_from={before[-1][1]}" if before else ""
        return errors.InputError(
            f"{self._workdir}: the {name.replace('_', ' ')} is {value} at step {done + 1} (its "
            f"clips are in {path}); continue with a lower learning rate, another --workdir{start}"
        )


def _log_time(steps: int, batch_size: int, scalars: Mapping[str, float]) -> None:
    """Says how long the rest of a run takes at the speed of a call."""
    rate = scalars["examples_per_second"]
    seconds = lengths.time_in_words(steps * batch_size / rate)
    logging.info("%s more steps take %s at %.4g examples/s", f"{steps:,}", seconds, rate)


def _jit_compile(settings: TrainSettings) -> bool:
    if settings.jit_compile and not distribution.has_accelerator():
        logging.warning("train.jit_compile: ignored, because there is no accelerator here")
        return False
    return settings.jit_compile
