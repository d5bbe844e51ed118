"""The training loop: batches in; checkpoints and TensorBoard events out."""

import os
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

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


@gin.configurable
def train(
    workdir: str,
    data_dir: str = gin.REQUIRED,
    sources: Callable[[str], Sequence[sampling.Source]] = gin.REQUIRED,
    model: Callable[..., keras.Model] = resnet.resnet,
    batch_size: int = gin.REQUIRED,
    total_steps: int = gin.REQUIRED,
    checkpoint_every: int = gin.REQUIRED,
    steps_per_call: int = 20,
    learning_rate: Callable[..., object] = schedules.constant,
    adam_epsilon: float = 1e-7,
    prior_bias: bool = True,
    init_from: str | None = None,
    seed: int = 0,
) -> None:
    """Trains one model, or goes on with the run that `workdir` holds.

    Args:
      workdir: of this run; checkpoints go to `checkpoints/`, TensorBoard events to `train/`.
      data_dir: directory of the datasets that the sources name.
      sources: from `data_dir` to the training sources.
      model: builder, called with `num_classes` and `class_priors`.
      batch_size: examples a step.
      total_steps: steps of the whole run.
      checkpoint_every: steps between checkpoints; the last step is saved too. All are kept, for
        the evaluation picks among them.
      steps_per_call: steps run in-graph between two looks at the clock.
      learning_rate: from `total_steps` to a Keras learning rate.
      adam_epsilon: of Adam.
      prior_bias: whether the output biases start at the classes' rates in the training data.
      init_from: checkpoint, or workdir with a selected one, whose weights to start from
        (the fine-tuned rows of Table 1).
      seed: of weights, order and windows.

    Raises:
      errors.InputError: bad settings or data, before any work; a loss that is no number.
    """
    for name, value in (
        ("batch_size", batch_size),
        ("total_steps", total_steps),
        ("checkpoint_every", checkpoint_every),
        ("steps_per_call", steps_per_call),
    ):
        if value < 1:
            raise errors.InputError(f"train.{name} = {value}: must be at least 1")
    if checkpoints.is_finished(workdir):
        logging.info("%s: already trained", workdir)
        return
    keras.utils.set_random_seed(seed)
    opened = sources(data_dir)
    infos = sampling.read_infos([path for source in opened for path in source.datasets])
    vocabulary = infos[0].vocabulary
    priors = sampling.class_priors(opened) if prior_bias else None
    net = model(num_classes=len(vocabulary), class_priors=priors)
    optimizer = keras.optimizers.Adam(learning_rate(total_steps), epsilon=adam_epsilon)
    optimizer.build(net.trainable_variables)
    step_variable = tf.Variable(0, dtype=tf.int64, name="step")
    saved = tf.train.Checkpoint(model=net, optimizer=optimizer, step=step_variable)

    existing = checkpoints.list_checkpoints(workdir)
    if existing:
        saved.read(existing[-1][1]).assert_consumed()
    elif init_from:
        _start_from(net, vocabulary, init_from)
    start_step = int(step_variable.numpy())
    batches = iter(sampling.train_patches(opened, batch_size, seed=seed, start_step=start_step))
    checkpoints.save_model_description(workdir, net, vocabulary)

    @tf.function(reduce_retracing=True)
    def run_steps(batches, count: tf.Tensor) -> tf.Tensor:
        """Runs `count` steps; returns the sum of their losses."""
        total = tf.zeros([])
        for _ in tf.range(count):
            batch = next(batches)
            with tf.GradientTape() as tape:
                logits = net(batch["log_mel"], training=True)
                loss = losses.sigmoid_cross_entropy(logits, batch["labels"], batch["label_weights"])
            gradients = tape.gradient(loss, net.trainable_variables)
            optimizer.apply(gradients, net.trainable_variables)
            step_variable.assign_add(1)
            total += loss
        return total

    writer = tf.summary.create_file_writer(os.path.join(workdir, "train"))
    with writer.as_default():
        tf.summary.text("config", _as_markdown(gin.config_str()), step=start_step)
    stop = _StopSignal()
    started, step = time.monotonic(), start_step
    with progress.bar("training", total_steps, "step", initial=start_step) as bar, stop:
        while step < total_steps and not stop.requested:
            until_checkpoint = checkpoint_every - step % checkpoint_every
            count = min(steps_per_call, until_checkpoint, total_steps - step)
            loss = float(run_steps(batches, tf.constant(count))) / count
            step += count
            if not np.isfinite(loss):
                raise errors.InputError(
                    f"{workdir}: the loss is {loss} at step {step}; lower the learning rate "
                    "(the last checkpoint is sound)"
                )
            rate = (step - start_step) * batch_size / (time.monotonic() - started)
            with writer.as_default(step):
                tf.summary.scalar("loss", loss)
                tf.summary.scalar("learning_rate", optimizer.learning_rate)
                tf.summary.scalar("examples_per_second", rate)
            bar.update(count)
            bar.note(f"loss {loss:.4f}")
            if step % checkpoint_every == 0 or step == total_steps or stop.requested:
                saved.write(_checkpoint_path(workdir, step))
                writer.flush()
    writer.close()
    if step == total_steps:
        checkpoints.write_json(
            pathlib.Path(workdir) / checkpoints.FINISHED_FILE, {"step": total_steps}
        )
    else:
        logging.warning("stopped at step %d of %d; run again to go on", step, total_steps)
        raise SystemExit(128 + signal.SIGTERM)


def check_bindings() -> None:
    """Checks that gin binds all that `train` requires.

    Raises:
      errors.InputError: naming what is missing.
    """
    required = ("data_dir", "sources", "batch_size", "total_steps", "checkpoint_every")
    bound = gin.get_bindings(train, resolve_references=False)
    missing = [f"train.{name}" for name in required if name not in bound]
    if missing:
        raise errors.InputError(
            f"no binding of {', '.join(missing)}: give a --gin_file such as table1/strong_67k.gin"
        )


def _checkpoint_path(workdir: str, step: int) -> str:
    return os.path.join(workdir, checkpoints.CHECKPOINT_DIR, f"step-{step}")


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


def _as_markdown(config: str) -> str:
    return "\n".join(f"    {line}" for line in config.splitlines())


class _StopSignal:
    """Within its `with` block SIGTERM asks for a stop after the current steps."""

    requested = False

    def __enter__(self) -> "_StopSignal":
        self._previous = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._previous)

    def _request(self, *_: object) -> None:
        self.requested = True
