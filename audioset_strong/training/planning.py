"""What a launch is about to do: which run, how long, from where. Nothing is written yet."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.inputs import (
    joint_datasets,
    opened_sources,
    taught_labels,
    training_sources,
)
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.weight_schedules import Weight
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
      train_input: its examples.
    """

    settings: TrainSettings
    run: RunInfo
    length: RunLength
    start: Start
    train_input: TrainInput

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
    _check_pooling(settings, train_input)
    run, length = _describe(train_input, settings, init_from)
    start = resuming.find_start(workdir, run, extend=extend)
    if start.begun:  # whose schedules keep their length
        weights = [source.weight for source in start.begun.sources]
        run = dataclasses.replace(run, sources=_with_weights(run.sources, weights))
    train_input = dataclasses.replace(
        train_input, sources=_with_weights(train_input.sources, [s.weight for s in run.sources])
    )
    plan = Plan(settings, run, length, start, train_input)
    if not start.begun and not start.finished:
        _check_compiles(plan)
    return plan


def _with_weights(sources: Sequence[Source], weights: Sequence[Weight]) -> tuple[Source, ...]:
    pairs = zip(sources, weights, strict=True)
    return tuple(dataclasses.replace(source, weight=weight) for source, weight in pairs)


def _check_pooling(settings: TrainSettings, train_input: TrainInput) -> None:
    """Pooling takes bags of windows, some of clips, and no part of a batch may divide them."""
    bag = train_input.stream.windows_per_bag
    if settings.pooling is None:
        if bag > 1:
            raise errors.InputError(
                f"train_patches.windows_per_bag = {bag}: has no effect without train.pooling, like "
                "@autopool"
            )
        return
    name = f"train.pooling = @{getattr(settings.pooling, '__name__', settings.pooling)}"
    if bag == 1:
        raise errors.InputError(
            f"{name}: needs several windows of a clip; bind train_patches.windows_per_bag = 8"
        )
    sources = [source for source in train_input.sources if source.mean_weight > 0]
    if not any(source.label_policy.of_clip for source in sources):
        policies = ", ".join(sorted({source.policy for source in sources}))
        raise errors.InputError(
            f"{name}: has no effect on labels of the policy {policies}, which are those of single "
            "windows; pooled are weak and diffuse ones"
        )
    part = settings.batch_size // train_input.strategy.num_replicas_in_sync // settings.accumulate
    if part % bag:
        raise errors.InputError(
            f"train_patches.windows_per_bag = {bag}: must divide the {part} examples that a "
            "replica works through at a time"
        )


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
        sources=training_sources.with_length(sources, length.total_examples),
        vocabulary=infos[0].vocabulary,
        data_fingerprint=joint_datasets.fingerprint(datasets, taught_labels.contents(sources)),
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


def _check_compiles(plan: Plan) -> None:
    """Refuses a step that XLA is to compile and cannot; looks at that of another model like it."""
    train_input = plan.train_input
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
            windows_per_bag=train_input.stream.windows_per_bag,
        )
        step.check_compiles(train_input.zeros(), whole=whole)
