"""The training loop: batches in; checkpoints and TensorBoard events out.

A run is a function of its settings, its seed and its data. It can be stopped and killed at any
moment: started again it goes on from its newest checkpoint, with the examples that come next, and
on a CPU it ends with the very weights of a run that was never stopped.
"""

import contextlib
import functools
import inspect
import os
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence

import gin
import keras
import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.audio import features
from audioset_strong.core import errors, progress
from audioset_strong.inputs import sampling, training_sources
from audioset_strong.models import complexity, precisions, resnet
from audioset_strong.training import (
    checkpoints,
    distribution,
    initialization,
    losses,
    monitoring,
    optimizers,
    process,
    run_info,
    schedules,
)
from audioset_strong.training.step import make_step

DIVERGED_FILE = "diverged.json"


@gin.configurable
def train(
    workdir: str,
    data_dir: str = gin.REQUIRED,
    sources: Callable[[str], Sequence[training_sources.Source]] = gin.REQUIRED,
    model: Callable[..., keras.Model] = resnet.resnet,
    batch_size: int = gin.REQUIRED,
    total_steps: int = gin.REQUIRED,
    checkpoint_every: int = gin.REQUIRED,
    resume_every_s: float = 600.0,
    steps_per_call: int = 20,
    learning_rate: Callable[..., object] = schedules.constant_schedule,
    optimizer: Callable[..., keras.optimizers.Optimizer] = optimizers.adam,
    loss: Callable[[], losses.SigmoidCrossEntropy] = losses.SigmoidCrossEntropy,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
    precision: str = "float32",
    jit_compile: bool = False,
    prior_bias: bool = True,
    init_from: str | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    inputs_every: int = 0,
    histograms_every: int = 0,
    profile_steps: Sequence[int] | None = None,
) -> None:
    """Trains one model, or goes on with the run that `workdir` holds.

    SIGTERM and Ctrl-C end it with a checkpoint to resume from.

    Args:
      workdir: of this run; checkpoints go to `checkpoints/`, TensorBoard events to `train/`.
      data_dir: directory of the datasets that the sources name.
      sources: from `data_dir` to the training sources.
      model: builder, called with `num_classes` and `class_priors`.
      batch_size: examples a step, of all replicas together.
      total_steps: steps of the whole run.
      checkpoint_every: steps between the checkpoints that are kept, for evaluation to pick among;
        the last step is kept too.
      resume_every_s: seconds after which a checkpoint to resume from is written between those.
      steps_per_call: steps run in-graph between two looks at the clock.
      learning_rate: from `total_steps` to a Keras learning rate.
      optimizer: from a learning rate to a Keras optimizer.
      loss: makes the loss.
      clip_norm: gradients of a larger global norm are scaled down to it.
      ema_decay: of a moving average of the weights, kept beside them for evaluation.
      precision: of the layers' arithmetic: "float32", "bfloat16" or "float16" (with loss scaling);
        weights, logits and loss are float32 always.
      jit_compile: whether XLA compiles the step, on GPUs; TPUs always do and CPUs never.
      prior_bias: whether the output biases start at the classes' rates in the training data.
      init_from: checkpoint, workdir with a selected one, or exported model, whose weights to start
        from (the fine-tuned rows of Table 1); outputs are mapped by mid.
      seed: of weights, order and windows.
      strategy: see `distribution.make`; one device by default.
      inputs_every: steps between pictures of inputs in TensorBoard; 0 shows the first batch alone.
      histograms_every: steps between histograms of the weights; 0 for none.
      profile_steps: the first and the last step of what TensorBoard's profiler is to show.

    Raises:
      errors.InputError: bad settings or data, before any work; a loss that is no number; another
        worker that is gone.
      SystemExit: stopped by a signal, with the shell's exit code for it.
    """
    strategy = strategy or tf.distribute.get_strategy()
    _check_settings(
        {
            "batch_size": batch_size,
            "total_steps": total_steps,
            "checkpoint_every": checkpoint_every,
            "steps_per_call": steps_per_call,
        },
        {"inputs_every": inputs_every, "histograms_every": histograms_every},
        {
            "sources": (sources, "@weak_strong_mixture"),
            "model": (model, "@resnet"),
            "learning_rate": (learning_rate, "@constant_schedule"),
            "optimizer": (optimizer, "@adam"),
            "loss": (loss, "@SigmoidCrossEntropy"),
        },
        seed,
    )
    _check_numerics(precision, clip_norm, batch_size, strategy)
    monitoring.check_profile_steps(profile_steps)
    if checkpoints.is_finished(workdir):
        logging.info("%s: already trained", workdir)
        return
    keras.utils.set_random_seed(seed)
    opened = sources(data_dir)
    datasets = [path for source in opened for path in source.datasets]
    vocabulary = training_sources.read_infos(datasets)[0].vocabulary
    data = training_sources.fingerprint(datasets)
    priors = training_sources.class_priors(opened) if prior_bias else None
    loss_function = loss()
    with strategy.scope():
        with precisions.layers_in(precision):
            net = model(num_classes=len(vocabulary), class_priors=priors)
        built = optimizers.build(optimizer, learning_rate(total_steps), net)
        step_variable = tf.Variable(0, dtype=tf.int64, name="step")
        average = optimizers.MovingAverage(net, ema_decay) if ema_decay is not None else None
    saved = tf.train.Checkpoint(model=net, optimizer=built, step=step_variable)
    if average:
        saved.averages = average.variables
    newest = checkpoints.newest(workdir)
    initialized: dict[str, object] | None = None
    if newest:
        _check_data(workdir, data, datasets)
        checkpoints.restore(saved, newest[1])
    elif init_from:
        initialized = initialization.start_from(net, vocabulary, init_from)
        if average:
            average.restart()
    step = int(step_variable.numpy())

    draw = functools.partial(
        sampling.train_patches,
        opened,
        seed=seed,
        known_labels=loss_function.needs_known_labels,
    )

    def show_inputs(step: int) -> None:
        # A stream of its own, read here and little shuffled: pictures of a few clips, soon there.
        few = draw(
            monitoring.PICTURES,
            start_step=step,
            shuffle_buffer=32,
            patches_per_clip=1,
            data_service=None,
        )
        monitoring.write_inputs(sampling.to_model_input(next(iter(few))), vocabulary, step)

    replicas, pipelines = strategy.num_replicas_in_sync, 1

    def pipeline(index: int, step: int) -> tf.data.Dataset:
        # A batch for each replica, so a step takes as many of them as a pipeline has replicas.
        return draw(
            batch_size // replicas,
            start_step=step * (replicas // pipelines),
            num_pipelines=pipelines,
            pipeline_index=index,
        )

    def pipeline_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
        nonlocal pipelines
        pipelines = context.num_input_pipelines
        return pipeline(context.input_pipeline_id, step)

    def windows_of(step: int) -> list[dict[str, object]] | None:
        """Those of all replicas in a step; None where a tf.data service chose them."""
        if gin.get_bindings(sampling.train_patches).get("data_service"):
            return None
        return [
            {"clip_id": clip_id.decode(), "start_sample": int(start)}
            for index in range(pipelines)
            for batch in pipeline(index, step).take(replicas // pipelines).as_numpy_iterator()
            for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
        ]

    batches = iter(strategy.distribute_datasets_from_function(pipeline_here))
    run_steps = make_step(
        strategy,
        net,
        built,
        loss_function,
        step_variable,
        average,
        clip_norm,
        _jit(jit_compile),
    )
    chief = distribution.is_chief(strategy)
    with contextlib.ExitStack() as stack:
        if chief:
            stack.enter_context(process.only_process_in(workdir))
            checkpoints.remove_leftovers(workdir)
            writer = tf.summary.create_file_writer(os.path.join(workdir, "train"))
        else:
            writer = tf.summary.create_noop_writer()
        if chief and not newest:
            # Rebuilt by whoever evaluates or uses it, where float32 is the rule.
            described = net
            if precision != "float32":
                described = model(num_classes=len(vocabulary), class_priors=priors)
            checkpoints.save_model_description(workdir, described, vocabulary, data)
            infos = training_sources.read_infos(datasets)
            run_info.RunInfo(
                front_end=features.DEFAULT_FRONT_END,
                sources=tuple(opened),
                vocabulary=vocabulary,
                data_fingerprint=data,
                datasets=run_info.dataset_facts(datasets, infos),
                seed=seed,
                batch_size=batch_size,
                total_steps=total_steps,
                precision=precision,
                ema_decay=ema_decay,
                init_from=init_from,
                versions=run_info.current_versions(),
            ).write(workdir)
            if initialized:
                initialization.write_report(workdir, initialized)
        stack.enter_context(writer.as_default())
        config = gin.operative_config_str()
        tf.summary.text("config", _as_markdown(config), step)
        logging.info("training in %s with\n%s", workdir, config)
        logging.info("%s: %s", net.name, complexity.measure(net))
        stop = stack.enter_context(process.StopSignals())
        bar = stack.enter_context(progress.bar("training", total_steps, "step", initial=step))
        profile = stack.enter_context(
            monitoring.Profile(os.path.join(workdir, "train"), profile_steps if chief else None)
        )
        if chief:
            show_inputs(step)
        saved_step, saved_at = step, time.monotonic()
        traced = False
        while step < total_steps and not distribution.any_worker(strategy, bool(stop.received)):
            profile.at(step)
            # Calls end at multiples of steps_per_call wherever the run began: a curve does not show
            # where it was stopped.
            periods = (steps_per_call, checkpoint_every, inputs_every, histograms_every)
            ends = [(step // every + 1) * every for every in periods if every]
            ends += [end for end in profile.ends() if end > step]
            count = min(*ends, total_steps) - step
            began = time.monotonic()
            with sampling.reporting_damage(datasets), distribution.reporting_lost_workers(strategy):
                ran = {k: v.numpy() for k, v in run_steps(batches, tf.constant(count)).items()}
            seconds = time.monotonic() - began
            sound = np.isfinite([ran["loss"], ran["gradient_norm"]]).all(axis=0)
            if not sound.all():
                done = int(np.argmin(sound))  # steps before the first that is not
                values = {name: ran[name][done] for name in ("loss", "gradient_norm")}
                if chief:
                    told = {
                        "step": step + done + 1,
                        **{name: str(value) for name, value in values.items()},
                        "batch": windows_of(step + done),
                    }
                    checkpoints.write_json(pathlib.Path(workdir) / DIVERGED_FILE, told)
                raise _diverged(workdir, step + done + 1, values)
            step += count
            scalars = {
                "loss": float(ran["loss"].mean()),
                "gradient_norm": float(ran["gradient_norm"].mean()),
                "learning_rate": float(built.learning_rate),
            }
            if traced:  # the first call's time is mostly that of building the graph
                scalars["examples_per_second"] = count * batch_size / seconds
                scalars["input_wait_share"] = float(ran["wait_s"].sum()) / seconds
            traced = True
            monitoring.write_scalars(scalars, step)
            if histograms_every and step % histograms_every == 0:
                monitoring.write_histograms(net, step)
            if chief and inputs_every and step % inputs_every == 0:
                show_inputs(step)
            bar.update(count)
            bar.note(f"loss {scalars['loss']:.4f}")
            keep = step % checkpoint_every == 0 or step == total_steps
            due = time.monotonic() - saved_at > resume_every_s
            if keep or distribution.any_worker(strategy, due):
                checkpoints.save(saved, workdir, step, keep, chief)
                writer.flush()
                saved_step, saved_at = step, time.monotonic()
        if saved_step < step:
            checkpoints.save(saved, workdir, step, keep=False, chief=chief)
    if step < total_steps:
        logging.warning("stopped at step %d of %d; run again to go on", step, total_steps)
        raise SystemExit(128 + (stop.received or signal.SIGTERM))  # maybe another worker's
    if chief:
        checkpoints.write_json(pathlib.Path(workdir) / checkpoints.FINISHED_FILE, {"step": step})


def check_bindings() -> None:
    """Checks that gin binds all that `train` requires.

    Raises:
      errors.InputError: naming what is missing.
    """
    bound = gin.get_bindings(train, resolve_references=False)
    parameters = inspect.signature(train).parameters.values()
    missing = [p.name for p in parameters if p.default is gin.REQUIRED and p.name not in bound]
    if missing:
        listed = ", ".join(f"train.{name}" for name in missing)
        raise errors.InputError(
            f"no binding of {listed}: give a --gin_file such as table1/strong_67k.gin"
        )


def _check_settings(
    counts: dict[str, int],
    periods: dict[str, int],
    functions: dict[str, tuple[Callable, str]],
    seed: int,
) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise errors.InputError(f"train.{name} = {count!r}: must be a whole number, at least 1")
    for name, period in periods.items():
        if not isinstance(period, int) or period < 0:
            raise errors.InputError(
                f"train.{name} = {period!r}: must be a whole number of steps, 0 for never"
            )
    for name, (function, example) in functions.items():
        if not callable(function):
            raise errors.InputError(
                f"train.{name} = {function!r}: must name a function, like {example}"
            )
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise errors.InputError(f"train.seed = {seed!r}: must be from 0 to 2**32 - 1")


def _check_numerics(
    precision: str, clip_norm: float | None, batch_size: int, strategy: tf.distribute.Strategy
) -> None:
    if precision not in precisions.PRECISIONS:
        raise errors.InputError(
            f"train.precision = {precision!r}: must be one of {', '.join(precisions.PRECISIONS)}"
        )
    if clip_norm is not None and not clip_norm > 0:
        raise errors.InputError(f"train.clip_norm = {clip_norm}: must be positive")
    if batch_size % strategy.num_replicas_in_sync:
        raise errors.InputError(
            f"train.batch_size = {batch_size}: must be a multiple of the "
            f"{strategy.num_replicas_in_sync} replicas that share it"
        )


def _jit(wanted: bool) -> bool:
    if wanted and not distribution.has_accelerator():
        logging.warning("train.jit_compile: left out, for there is no accelerator here")
        return False
    return wanted


def _check_data(workdir: str, data: str, datasets: Sequence[str]) -> None:
    """A run's place in its data means nothing in other data."""
    if checkpoints.read_description(workdir)["data"] not in (None, data):
        raise errors.InputError(
            f"{workdir}: began with other data than {', '.join(datasets)} (their "
            "dataset_info.json differ); give its own --data_dir, or take another --workdir"
        )


def _diverged(workdir: str, step: int, values: Mapping[str, float]) -> errors.InputError:
    """The error of a loss or gradient norm that is no number."""
    name, value = next((n, v) for n, v in values.items() if not np.isfinite(v))
    sound = checkpoints.newest(workdir)
    start = f" and --init_from={sound[1]}" if sound else ""
    return errors.InputError(
        f"{workdir}: the {name.replace('_', ' ')} is {value} at step {step} (its clips are in "
        f"{pathlib.Path(workdir) / DIVERGED_FILE}); go on with a lower learning rate, another "
        f"--workdir{start}"
    )


def _as_markdown(config: str) -> str:
    return "\n".join(f"    {line}" for line in config.splitlines())
