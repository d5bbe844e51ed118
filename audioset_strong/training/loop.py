"""The training loop: batches in; checkpoints and TensorBoard events out.

A run is a function of its settings, its seed and its data. It can be stopped and killed at any
moment: started again it goes on from its newest checkpoint, with the examples that come next, and
on a CPU it ends with the very weights of a run that was never stopped.
"""

import contextlib
import fcntl
import inspect
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import gin
from audioset_strong import errors, progress
from audioset_strong.data import sampling
from audioset_strong.labels import vocabulary as vocabulary_lib
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints, losses, schedules

DIVERGED_FILE = "diverged.json"


@gin.configurable
def train(
    workdir: str,
    data_dir: str = gin.REQUIRED,
    sources: Callable[[str], Sequence[sampling.Source]] = gin.REQUIRED,
    model: Callable[..., keras.Model] = resnet.resnet,
    batch_size: int = gin.REQUIRED,
    total_steps: int = gin.REQUIRED,
    checkpoint_every: int = gin.REQUIRED,
    resume_every_s: float = 600.0,
    steps_per_call: int = 20,
    learning_rate: Callable[..., object] = schedules.constant,
    adam_epsilon: float = 1e-7,
    prior_bias: bool = True,
    init_from: str | None = None,
    seed: int = 0,
) -> None:
    """Trains one model, or goes on with the run that `workdir` holds.

    SIGTERM and Ctrl-C end it with a checkpoint to resume from.

    Args:
      workdir: of this run; checkpoints go to `checkpoints/`, TensorBoard events to `train/`.
      data_dir: directory of the datasets that the sources name.
      sources: from `data_dir` to the training sources.
      model: builder, called with `num_classes` and `class_priors`.
      batch_size: examples a step.
      total_steps: steps of the whole run.
      checkpoint_every: steps between the checkpoints that are kept, for evaluation to pick among;
        the last step is kept too.
      resume_every_s: seconds after which a checkpoint to resume from is written between those.
      steps_per_call: steps run in-graph between two looks at the clock.
      learning_rate: from `total_steps` to a Keras learning rate.
      adam_epsilon: of Adam.
      prior_bias: whether the output biases start at the classes' rates in the training data.
      init_from: checkpoint, or workdir with a selected one, whose weights to start from
        (the fine-tuned rows of Table 1).
      seed: of weights, order and windows.

    Raises:
      errors.InputError: bad settings or data, before any work; a loss that is no number.
      SystemExit: stopped by a signal, with the shell's exit code for it.
    """
    _check_settings(
        {
            "batch_size": batch_size,
            "total_steps": total_steps,
            "checkpoint_every": checkpoint_every,
            "steps_per_call": steps_per_call,
        },
        {
            "sources": (sources, "@mixture"),
            "model": (model, "@resnet"),
            "learning_rate": (learning_rate, "@constant"),
        },
        seed,
    )
    if checkpoints.is_finished(workdir):
        logging.info("%s: already trained", workdir)
        return
    keras.utils.set_random_seed(seed)
    opened = sources(data_dir)
    datasets = [path for source in opened for path in source.datasets]
    vocabulary = sampling.read_infos(datasets)[0].vocabulary
    data = sampling.fingerprint(datasets)
    priors = sampling.class_priors(opened) if prior_bias else None
    net = model(num_classes=len(vocabulary), class_priors=priors)
    optimizer = keras.optimizers.Adam(learning_rate(total_steps), epsilon=adam_epsilon)
    optimizer.build(net.trainable_variables)
    step_variable = tf.Variable(0, dtype=tf.int64, name="step")
    saved = tf.train.Checkpoint(model=net, optimizer=optimizer, step=step_variable)
    newest = checkpoints.newest(workdir)
    if newest:
        _check_data(workdir, data, datasets)
        checkpoints.restore(saved, newest[1])
    elif init_from:
        _start_from(net, vocabulary, init_from)
    step = int(step_variable.numpy())

    def batches_from(step: int) -> tf.data.Dataset:
        return sampling.train_patches(opened, batch_size, seed=seed, start_step=step)

    batches = iter(batches_from(step))
    run_steps = _step_function(net, optimizer, step_variable)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_process_in(workdir))
        checkpoints.remove_leftovers(workdir)
        if not newest:
            checkpoints.save_model_description(workdir, net, vocabulary, data)
        writer = tf.summary.create_file_writer(os.path.join(workdir, "train"))
        stack.enter_context(writer.as_default())
        config = gin.operative_config_str()
        tf.summary.text("config", _as_markdown(config), step)
        logging.info("training in %s with\n%s", workdir, config)
        stop = stack.enter_context(_StopSignals())
        bar = stack.enter_context(progress.bar("training", total_steps, "step", initial=step))
        saved_step, saved_at = step, time.monotonic()
        traced = False
        while step < total_steps and not stop.received:
            # Calls end at multiples of steps_per_call wherever the run began: a curve does not show
            # where it was stopped.
            ends = [(step // every + 1) * every for every in (steps_per_call, checkpoint_every)]
            count = min(*ends, total_steps) - step
            began = time.monotonic()
            step_losses, norms = (x.numpy() for x in run_steps(batches, tf.constant(count)))
            seconds = time.monotonic() - began
            if not np.isfinite([step_losses, norms]).all():
                raise _diverged(workdir, step, step_losses, norms, batches_from)
            step += count
            loss = float(step_losses.mean())
            tf.summary.scalar("loss", loss, step)
            tf.summary.scalar("gradient_norm", norms.mean(), step)
            tf.summary.scalar("learning_rate", optimizer.learning_rate, step)
            if traced:  # the first call's time is mostly that of building the graph
                tf.summary.scalar("examples_per_second", count * batch_size / seconds, step)
            traced = True
            bar.update(count)
            bar.note(f"loss {loss:.4f}")
            keep = step % checkpoint_every == 0 or step == total_steps
            if keep or time.monotonic() - saved_at > resume_every_s:
                checkpoints.save(saved, workdir, step, keep)
                writer.flush()
                saved_step, saved_at = step, time.monotonic()
        if saved_step < step:
            checkpoints.save(saved, workdir, step, keep=False)
    if step < total_steps:
        logging.warning("stopped at step %d of %d; run again to go on", step, total_steps)
        raise SystemExit(128 + stop.received)
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
    counts: dict[str, int], functions: dict[str, tuple[Callable, str]], seed: int
) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise errors.InputError(f"train.{name} = {count!r}: must be a whole number, at least 1")
    for name, (function, example) in functions.items():
        if not callable(function):
            raise errors.InputError(
                f"train.{name} = {function!r}: must name a function, like {example}"
            )
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise errors.InputError(f"train.seed = {seed!r}: must be from 0 to 2**32 - 1")


def _step_function(
    net: keras.Model, optimizer: keras.optimizers.Optimizer, step: tf.Variable
) -> Callable[[Iterator, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Builds what runs `count` steps in-graph.

    Returns:
      A function of an iterator of batches and `count`, to the losses and the global norms of the
      gradients, float32 `[count]` both.
    """

    @tf.function(reduce_retracing=True)
    def run_steps(batches, count):
        step_losses = tf.TensorArray(tf.float32, count)
        norms = tf.TensorArray(tf.float32, count)
        for i in tf.range(count):
            batch = next(batches)
            with tf.GradientTape() as tape:
                logits = net(batch["log_mel"], training=True)
                loss = losses.sigmoid_cross_entropy(logits, batch["labels"], batch["label_weights"])
            gradients = tape.gradient(loss, net.trainable_variables)
            optimizer.apply(gradients, net.trainable_variables)
            step.assign_add(1)
            step_losses = step_losses.write(i, loss)
            norms = norms.write(i, tf.linalg.global_norm(gradients))
        return step_losses.stack(), norms.stack()

    return run_steps


def _start_from(net: keras.Model, vocabulary: vocabulary_lib.Vocabulary, init_from: str) -> None:
    """Loads weights to fine-tune; the vocabularies must agree."""
    workdir, checkpoint = checkpoints.resolve(init_from)
    held = vocabulary_lib.Vocabulary.from_json(checkpoints.read_description(workdir)["vocabulary"])
    if held.mids != vocabulary.mids:
        raise errors.InputError(
            f"{init_from}: was trained with {len(held)} classes, this data has {len(vocabulary)} "
            "or another order; convert the data with the same --class_labels"
        )
    checkpoints.load_weights(net, checkpoint)


def _check_data(workdir: str, data: str, datasets: Sequence[str]) -> None:
    """A run's place in its data means nothing in other data."""
    if checkpoints.read_description(workdir)["data"] not in (None, data):
        raise errors.InputError(
            f"{workdir}: began with other data than {', '.join(datasets)} (their "
            "dataset_info.json differ); give its own --data_dir, or take another --workdir"
        )


def _diverged(
    workdir: str,
    step: int,
    step_losses: np.ndarray,
    norms: np.ndarray,
    batches_from: Callable[[int], tf.data.Dataset],
) -> errors.InputError:
    """The error of a loss or gradient that is no number; saves which clips gave it."""
    first = int(np.argmax(~np.isfinite(step_losses + norms)))
    what, value = "loss", step_losses[first]
    if np.isfinite(value):
        what, value = "gradient norm", norms[first]
    batch = next(batches_from(step + first).as_numpy_iterator())
    path = pathlib.Path(workdir) / DIVERGED_FILE
    clips = [
        {"clip_id": clip_id.decode(), "start_sample": int(start)}
        for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
    ]
    checkpoints.write_json(path, {"step": step + first + 1, what: str(value), "batch": clips})
    sound = checkpoints.newest(workdir)
    start = f" and --init_from={sound[1]}" if sound else ""
    return errors.InputError(
        f"{workdir}: the {what} is {value} at step {step + first + 1} (its clips are in {path}); "
        f"go on with a lower learning rate, another --workdir{start}"
    )


def _as_markdown(config: str) -> str:
    return "\n".join(f"    {line}" for line in config.splitlines())


@contextlib.contextmanager
def _only_process_in(workdir: str) -> Iterator[None]:
    """Makes the workdir; within the block no other process can train in it."""
    os.makedirs(workdir, exist_ok=True)
    directory = os.open(workdir, os.O_RDONLY)
    try:
        try:
            # The lock goes with the process, however it ends.
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.InputError(f"{workdir}: another process is training in it") from error
        except OSError as error:
            logging.warning("%s cannot be locked (%s): train in it once only", workdir, error)
        yield
    finally:
        os.close(directory)


class _StopSignals:
    """Within its `with` block SIGTERM and SIGINT ask for a stop; a second one acts at once."""

    received = 0  # the signal's number

    def __enter__(self) -> "_StopSignals":
        self._before: dict[int, Any] = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.received = number
        signal.signal(number, self._before[number])
