"""What a launch is about to do: which run, how long, from where. Nothing is written yet."""

import contextlib
import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.core import files
from audioset_strong.inputs import joint_datasets, opened_sources
from audioset_strong.training import (
    checkpoints,
    distribution,
    initialization,
    lengths,
    resuming,
    run_info,
)
from audioset_strong.training.lengths import RunLength
from audioset_strong.training.resuming import Start
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.settings import TrainSettings
from audioset_strong.training.state import TrainState
from audioset_strong.training.step import TrainStep
from audioset_strong.training.train_input import TrainInput


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that has been checked as far as it can be before its first step.

    Attributes:
      settings: of the run.
      run: its facts.
      length: how long it is.
      start: where it begins.
    """

    settings: TrainSettings
    run: RunInfo
    length: RunLength
    start: Start

    def build_state(self, strategy: tf.distribute.Strategy) -> TrainState:
        """A fresh state of the run, its variables created under the strategy's scope."""
        return TrainState.build(
            self.settings,
            len(self.run.vocabulary),
            total_steps=self.run.total_steps,
            input_shape=self.run.front_end.patch_shape,
            class_priors=self._class_priors(),
            strategy=strategy,
        )

    def restore(self, state: TrainState) -> tuple[RunInfo, dict[str, object] | None]:
        """Brings a fresh state to where the run begins.

        Returns:
          The facts of the run, with the weights that it started from; and the report of
          `initialization.start_from`, if these were another model's.

        Raises:
          errors.InputError: a checkpoint cannot be read, or is of another model.
        """
        run = self.run
        if self.start.checkpoint:
            state.restore(self.start.checkpoint)
            return run, None
        if run.init_from is None:
            return run, None
        report = state.start_from(run.vocabulary, run.init_from, front_end=run.front_end)
        return dataclasses.replace(run, init_weights=str(report["weights"])), report

    def write_facts(
        self,
        workdir: str,
        net: keras.Model,
        run: RunInfo,
        initialized: Mapping[str, object] | None,
    ) -> None:
        """Writes what a workdir holds besides checkpoints and events, before the first step.

        Args:
          workdir: of the run.
          net: its network.
          run: its facts, as `restore` returned them.
          initialized: the report that `restore` returned.

        Raises:
          errors.InputError: the workdir cannot be written.
        """
        if self.settings.precision != "float32":
            # Whoever evaluates or uses the model rebuilds it, with layers that compute in float32.
            net = self.settings.model(
                num_classes=len(self.run.vocabulary),
                input_shape=self.run.front_end.patch_shape,
                class_priors=self._class_priors(),
            )
        with files.writing(workdir):
            run.write(workdir)
            checkpoints.save_model_description(workdir, net)
            if initialized:
                initialization.write_report(workdir, initialized)

    def _class_priors(self) -> np.ndarray | None:
        return opened_sources.class_priors(self.run.sources) if self.settings.prior_bias else None


def make(
    workdir: str,
    settings: TrainSettings,
    train_input: TrainInput,
    *,
    init_from: str | None = None,
    extend: bool = False,
) -> Plan:
    """Plans a run.

    Args:
      workdir: of the run; need not exist.
      settings: how to train.
      train_input: the examples.
      init_from: see `loop.train`.
      extend: see `loop.train`.

    Raises:
      errors.InputError: bad settings or data, a workdir of another run, or a step that XLA is to
        compile and cannot.
    """
    settings.check_start(init_from)
    settings.check_replicas(train_input.strategy.num_replicas_in_sync)
    run, length = _describe(train_input, settings, init_from)
    start = resuming.find_start(workdir, run, extend=extend)
    plan = Plan(settings, run, length, start)
    if not start.begun and not start.finished:
        _check_compiles(plan, train_input)
    return plan


def _describe(
    train_input: TrainInput, settings: TrainSettings, init_from: str | None
) -> tuple[RunInfo, RunLength]:
    """The facts of a run, from its settings and the datasets of its sources."""
    front_end, sources = train_input.front_end, tuple(train_input.sources)
    datasets = [path for source in sources for path in source.datasets]
    infos = joint_datasets.read_infos(datasets, front_end)
    clips = {path: info.num_clips for path, info in zip(datasets, infos, strict=True)}
    length = settings.length(lengths.epoch_examples(sources, clips))
    run = RunInfo(
        front_end=front_end,
        sources=sources,
        vocabulary=infos[0].vocabulary,
        data_fingerprint=joint_datasets.fingerprint(datasets),
        datasets=run_info.dataset_facts(datasets, infos),
        seed=settings.seed,
        batch_size=settings.batch_size,
        total_steps=length.total_steps,
        total_epochs=length.total_epochs,
        framing_rule=train_input.framing_rule,
        precision=settings.precision,
        ema_decay=settings.ema_decay,
        init_from=init_from,
        augmentation=dataclasses.asdict(train_input.augmentation),
        stream=dataclasses.asdict(train_input.stream),
        versions=run_info.current_versions(),
    )
    return run, length


def _check_compiles(plan: Plan, train_input: TrainInput) -> None:
    """Refuses a step that XLA is to compile and cannot; looks at that of another model like it."""
    settings, whole = plan.settings, distribution.is_tpu(train_input.strategy)
    if not settings.jit_compile and not whole:
        return
    one_device = tf.distribute.get_strategy()
    # A second model would take memory of the TPU.
    with tf.device("CPU") if whole else contextlib.nullcontext():
        step = TrainStep(
            plan.build_state(one_device),
            settings.loss(),
            strategy=one_device,
            to_model_input=train_input.to_model_input,
            clip_norm=settings.clip_norm,
            accumulate=settings.accumulate,
        )
        step.check_compiles(train_input.zeros(), whole=whole)
