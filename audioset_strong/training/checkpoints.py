"""Checkpoints of a training run, written and read back, and the model that they belong to.

`workdirs` lists the files of a workdir.
"""

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.training import optimizers
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.workdirs import (
    CHECKPOINT_DIR,
    EXPORT_DIR,
    FINISHED_FILE,
    MODEL_FILE,
    RUN_FILE,
    SELECTION_FILE,
)

_STEP, _RESUME = "step", "resume"
_PARTIAL = ".partial"
# What TensorFlow raises if a checkpoint is damaged or holds other objects.
_UNREADABLE = (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError)


class UnreadableError(errors.InputError):
    """A checkpoint that is damaged, or of another model."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A trained model.

    Attributes:
      model: log-mel float32 `[n, *run.front_end.patch_shape]` -> logits float32 `[n, classes]`.
      vocabulary: the classes, in the order of the logits.
      step: training steps of its checkpoint.
      run: the training run that it comes from.
    """

    model: keras.Model
    vocabulary: Vocabulary
    step: int
    run: RunInfo


def save_model_description(workdir: str, model: keras.Model) -> None:
    """Writes `model.json`, the architecture from which `load_model` rebuilds a model.

    Args:
      workdir: directory of the run.
      model: the model, with float32 layers.

    Raises:
      OSError: it cannot be written.
    """
    description = {"architecture": json.loads(model.to_json())}
    files.write_json(os.path.join(workdir, MODEL_FILE), description)


def save(
    saved: tf.train.Checkpoint, workdir: str, *, step: int, keep: bool, chief: bool = True
) -> None:
    """Writes a checkpoint so that no reader ever sees half of it.

    Args:
      saved: what to write.
      workdir: directory of the run.
      step: number of steps done.
      keep: True for weights that stay, for evaluation to choose among; False for a whole state,
        which serves to resume from until the next one is written.
      chief: whether this process writes for all workers. The others of a distributed run must call
        this too, because variables of which each worker has its own value are averaged on the way.

    Raises:
      OSError: it cannot be written.
    """
    name = f"{_STEP if keep else _RESUME}-{step}"
    if not chief:
        with tempfile.TemporaryDirectory() as unused:
            saved.write(os.path.join(unused, name))
        return
    directory = os.path.join(workdir, CHECKPOINT_DIR)
    saved.write(os.path.join(directory, name + _PARTIAL))
    # TensorFlow writes the index in place, so it is renamed last: names sort in this order.
    for found in files.names(directory):
        if found.startswith(f"{name}{_PARTIAL}."):
            final = found.replace(_PARTIAL, "")
            files.rename(os.path.join(directory, found), os.path.join(directory, final))
    if keep:
        return
    _remove(directory, {os.path.basename(path) for _, path in _list(workdir, _RESUME)} - {name})


def remove_leftovers(workdir: str) -> None:
    """Removes incomplete checkpoints, which a process leaves if it is killed while it saves."""
    directory = os.path.join(workdir, CHECKPOINT_DIR)
    found = files.names(directory)
    for name in found:
        if not name.startswith((f"{_STEP}-", f"{_RESUME}-")):
            continue
        if _PARTIAL not in name and name.partition(".")[0] + ".index" in found:
            continue
        path = os.path.join(directory, name)
        if name.endswith("_temp"):  # TensorFlow's own directory
            files.remove_tree(path)
        else:
            files.remove(path)


def list_checkpoints(workdir: str) -> list[tuple[int, str]]:
    """The complete checkpoints to evaluate, as (step, path), by rising step."""
    return _list(workdir, _STEP)


def newest(workdir: str) -> tuple[int, str] | None:
    """The checkpoint to resume from, as (step, path); None if there is none.

    Runs of earlier versions kept the whole state in every checkpoint; those are resumed from, too.
    """
    resume = max(_list(workdir, _RESUME), default=None)
    for step, path in reversed(_list(workdir, _STEP)):
        if resume and step <= resume[0]:
            break
        if _holds(path, "optimizer/"):
            return step, path
    return resume


def remove(workdir: str, step: int) -> None:
    """Removes a checkpoint that was kept.

    Args:
      workdir: directory of the run.
      step: of the checkpoint.

    Raises:
      OSError: it cannot be removed.
    """
    _remove(os.path.join(workdir, CHECKPOINT_DIR), {f"{_STEP}-{step}"})


def _remove(directory: str, names: Collection[str]) -> None:
    for found in reversed(files.names(directory)):  # an index before its data
        if found.partition(".")[0] in names:
            files.remove(os.path.join(directory, found))


def _list(workdir: str, kind: str, folder: str = CHECKPOINT_DIR) -> list[tuple[int, str]]:
    directory = os.path.join(workdir, folder)
    matches = (re.fullmatch(rf"({kind}-(\d+))\.index", name) for name in files.names(directory))
    return sorted((int(m[2]), os.path.join(directory, m[1])) for m in matches if m)


def is_finished(workdir: str) -> bool:
    """Whether the training run of this workdir is complete."""
    return files.exists(os.path.join(workdir, FINISHED_FILE))


def resolve(checkpoint_or_workdir: str) -> tuple[str, str]:
    """The (workdir, checkpoint path) that a user means by one path.

    Args:
      checkpoint_or_workdir: a checkpoint (".../checkpoints/step-500", with or without ".index"); a
        workdir, which stands for the checkpoint that its evaluation selected; a sweep, which stands
        for the workdir of its selected point; or an exported model.

    Returns:
      The directory that describes the model, and the path of the checkpoint.

    Raises:
      errors.InputError: no such checkpoint, or a workdir without a selection.
    """
    path = checkpoint_or_workdir.removesuffix(".index").rstrip("/")
    if files.exists(path + ".index"):
        return os.path.dirname(os.path.dirname(path)) or ".", path
    selection = os.path.join(path, SELECTION_FILE)
    if not files.exists(os.path.join(path, MODEL_FILE)):
        chosen = files.read_json(selection) if files.exists(selection) else {}
        if "workdir" in chosen:
            return resolve(os.path.join(path, chosen["workdir"]))
        raise errors.InputError(
            f"{checkpoint_or_workdir}: neither a checkpoint nor a workdir (no {MODEL_FILE})"
        )
    exported = _list(path, _STEP, EXPORT_DIR)
    if exported:
        return path, exported[-1][1]
    if not files.exists(selection):
        raise errors.InputError(
            f"{checkpoint_or_workdir}: no checkpoint is selected yet (no {SELECTION_FILE}); run "
            "audioset_strong_evaluate on it with validation data, or name a checkpoint"
        )
    step = files.read_json(selection)["step"]
    for listed, checkpoint in list_checkpoints(path):
        if listed == step:
            return path, checkpoint
    raise errors.InputError(f"{selection}: its checkpoint of step {step} is gone")


def load_weights(model: keras.Model, checkpoint: str, *, ema: bool = False) -> None:
    """Restores a model's weights from a checkpoint of the training loop.

    Args:
      model: a model of the architecture that was trained.
      checkpoint: path of the checkpoint.
      ema: whether to take the moving average of the weights. The statistics of batch norm, which
        are averages already, remain the model's.

    Raises:
      UnreadableError: the checkpoint is of another model, or cannot be read.
      errors.InputError: it holds no moving average although one is asked for.
    """
    averages = optimizers.average_variables(model) if ema else []
    if ema and not _holds(checkpoint, "averages/"):
        raise errors.InputError(
            f"{checkpoint}: holds no moving average, because it was trained without train.ema_decay"
        )
    try:
        stored = {"model": model, **({"averages": averages} if ema else {})}
        status = tf.train.Checkpoint(**stored).read(checkpoint)
        status.assert_existing_objects_matched()
    except _UNREADABLE as error:
        raise UnreadableError(
            f"{checkpoint}: does not hold the weights of this model ({errors.first_line(error)})"
        ) from error
    status.expect_partial()  # the optimizer's slots are only for resuming
    for weight, average in zip(model.trainable_variables, averages, strict=False):
        weight.assign(average)


def _reader(checkpoint: str) -> Any:
    # `tf.train.load_checkpoint` asks whether the path is a directory, which in an object store is
    # true of every beginning of a name.
    return tf.compat.v1.train.NewCheckpointReader(checkpoint)


def _holds(checkpoint: str, prefix: str) -> bool:
    """Whether a checkpoint has variables of this prefix."""
    try:
        names = _reader(checkpoint).get_variable_to_shape_map()
    except _UNREADABLE:
        return True  # reading it will show what is wrong
    return any(name.startswith(prefix) for name in names)


def fingerprint(checkpoint: str) -> str:
    """A hash of the model's weights in a checkpoint, equal for equal weights wherever they lie.

    Args:
      checkpoint: path of the checkpoint; the optimizer's state and averages do not count.

    Raises:
      errors.InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        reader = _reader(checkpoint)
        for name in sorted(reader.get_variable_to_shape_map()):
            if name.startswith("model/"):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(reader.get_tensor(name)).tobytes())
    except _UNREADABLE as error:
        reason = errors.first_line(error)
        raise errors.InputError(f"{checkpoint}: cannot be read ({reason})") from error
    return digest.hexdigest()[:16]


def restore(saved: tf.train.Checkpoint, checkpoint: str) -> None:
    """Restores all that `save` wrote.

    Args:
      saved: objects like those that were saved.
      checkpoint: path of the checkpoint.

    Raises:
      errors.InputError: the checkpoint is of another run, or cannot be read.
    """
    try:
        saved.read(checkpoint).assert_consumed()
    except _UNREADABLE as error:
        raise errors.InputError(
            f"{checkpoint}: cannot be resumed from ({errors.first_line(error)}); delete it to "
            "resume from the one before"
        ) from error


def load_model(workdir: str, checkpoint: str | None = None, *, ema: bool = False) -> LoadedModel:
    """Rebuilds a trained model.

    Args:
      workdir: directory of a training run, or of an export.
      checkpoint: path of one of its checkpoints; the newest one by default.
      ema: whether to take the moving average of the weights.

    Raises:
      errors.InputError: nothing is trained there, the run keeps no moving average, `model.json` and
        `run.json` are of different models, or `model.json` is of a newer Keras.
    """
    architecture = read_architecture(workdir)
    run = RunInfo.read(workdir)
    if checkpoint is None:
        listed = list_checkpoints(workdir)
        if not listed:
            raise errors.InputError(f"{workdir}: no checkpoint in {CHECKPOINT_DIR}/ yet")
        checkpoint = listed[-1][1]
    try:
        model = keras.models.model_from_json(json.dumps(architecture))
    except (TypeError, ValueError) as error:  # an older Keras does not know every argument
        raise errors.InputError(
            f"{workdir}: its {MODEL_FILE} was written with Keras {run.versions.get('keras', '?')} "
            f"and cannot be read with {keras.__version__}; use that version or a newer one"
        ) from error
    outputs = model.outputs[0].shape[-1]
    if outputs != len(run.vocabulary):
        raise errors.InputError(
            f"{workdir}: its model has {outputs} outputs, but the vocabulary of its {RUN_FILE} has "
            f"{len(run.vocabulary)} classes; restore both from one copy"
        )
    load_weights(model, checkpoint, ema=ema)
    return LoadedModel(model, run.vocabulary, int(checkpoint.rpartition("-")[2]), run)


def read_architecture(workdir: str) -> dict:
    """The architecture in a workdir's `model.json`, as Keras describes it.

    Raises:
      errors.InputError: there is no such file, or it is damaged.
    """
    path = os.path.join(workdir, MODEL_FILE)
    try:
        return files.read_json(path)["architecture"]
    except OSError as error:
        raise errors.InputError(
            f"{workdir}: no {MODEL_FILE}; is it the workdir of a training run?"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path}: not a model description: {error!r}") from error
