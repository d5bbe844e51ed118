"""What a workdir holds of a trained model, written and read back.

config.gin               the bindings of the run
model.json               architecture and vocabulary: enough to rebuild the model without gin
checkpoints/step-N.*     weights, their moving average where the run keeps one, optimizer and step:
                         what evaluation picks among
checkpoints/resume-N.*   the same between two of those, only to go on from; soon replaced
finished.json            written last: the run is complete
selection.json           the checkpoint that evaluation picked (evaluation/selection.py)

What tools/export.py writes holds model.json too, and weights/step-N.* instead of checkpoints/.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import tempfile

import keras
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.labels import vocabularies
from audioset_strong.training import optimizers

MODEL_FILE = "model.json"
CHECKPOINT_DIR = "checkpoints"
EXPORT_DIR = "weights"
FINISHED_FILE = "finished.json"
SELECTION_FILE = "selection.json"
_STEP, _RESUME = "step", "resume"
_PARTIAL = ".partial"
# What TensorFlow raises where a checkpoint is damaged or of other objects.
_UNREADABLE = (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError)


@dataclasses.dataclass
class LoadedModel:
    """A trained model: log_mel float32 `[n, 96, 64]` -> logits float32 `[n, classes]`."""

    model: keras.Model
    vocabulary: vocabularies.Vocabulary
    step: int


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that no reader sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def write_json(path: pathlib.Path, value: object) -> None:
    """The same for JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def save_model_description(
    workdir: str, model: keras.Model, vocabulary: vocabularies.Vocabulary, data: str
) -> None:
    """Writes what `load_model` needs besides a checkpoint.

    Args:
      workdir: of the run.
      model: to be rebuilt later.
      vocabulary: of its outputs.
      data: fingerprint of the datasets that it is trained on.
    """
    description = {
        "architecture": json.loads(model.to_json()),
        "vocabulary": vocabulary.to_json(),
        "data": data,
    }
    write_json(pathlib.Path(workdir) / MODEL_FILE, description)


def save(
    saved: tf.train.Checkpoint, workdir: str, step: int, keep: bool, chief: bool = True
) -> None:
    """Writes a checkpoint so that no reader ever sees half of it.

    Args:
      saved: what to write.
      workdir: of the run.
      step: after which it is written.
      keep: whether evaluation is to see it and it stays; else it is only there to resume from,
        until the next one is written.
      chief: whether this process writes for all. The other workers of a distributed run must call
        too, for variables that each of them has its own value of are averaged on the way.
    """
    name = f"{_STEP if keep else _RESUME}-{step}"
    if not chief:
        with tempfile.TemporaryDirectory() as unused:
            saved.write(os.path.join(unused, name))
        return
    directory = pathlib.Path(workdir) / CHECKPOINT_DIR
    saved.write(str(directory / (name + _PARTIAL)))
    # TensorFlow writes the index in place. So it is renamed, last: in the order of the names.
    for path in sorted(directory.glob(f"{name}{_PARTIAL}.*")):
        path.replace(directory / path.name.replace(_PARTIAL, ""))
    for _, older in _list(workdir, _RESUME):
        if os.path.basename(older) != name:
            for path in sorted(directory.glob(f"{os.path.basename(older)}.*"), reverse=True):
                path.unlink()


def remove_leftovers(workdir: str) -> None:
    """Removes the incomplete checkpoints that a process left which was killed while it saved."""
    directory = pathlib.Path(workdir) / CHECKPOINT_DIR
    for path in [*directory.glob(f"{_STEP}-*"), *directory.glob(f"{_RESUME}-*")]:
        index = directory / (path.name.partition(".")[0] + ".index")
        if _PARTIAL not in path.name and index.exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def list_checkpoints(workdir: str) -> list[tuple[int, str]]:
    """The checkpoints to evaluate, complete ones only, as (step, path) in the order of steps."""
    return _list(workdir, _STEP)


def newest(workdir: str) -> tuple[int, str] | None:
    """The checkpoint to resume from, as (step, path); None where there is none."""
    return max(_list(workdir, _STEP) + _list(workdir, _RESUME), default=None)


def _list(workdir: str, kind: str, folder: str = CHECKPOINT_DIR) -> list[tuple[int, str]]:
    found = []
    for index in (pathlib.Path(workdir) / folder).glob(f"{kind}-*.index"):
        match = re.fullmatch(rf"{kind}-(\d+)", index.stem)
        if match:
            found.append((int(match[1]), str(index.with_suffix(""))))
    return sorted(found)


def is_finished(workdir: str) -> bool:
    """Whether the training run of this workdir is complete."""
    return (pathlib.Path(workdir) / FINISHED_FILE).exists()


def resolve(checkpoint_or_workdir: str) -> tuple[str, str]:
    """The (workdir, checkpoint path) that a user means by one path.

    Args:
      checkpoint_or_workdir: a checkpoint (".../checkpoints/step-500", its ".index" may follow), a
        workdir, which stands for the checkpoint that its evaluation selected, or an exported model.

    Raises:
      errors.InputError: no such checkpoint, or a workdir without a selection.
    """
    path = pathlib.Path(checkpoint_or_workdir.removesuffix(".index"))
    if path.with_name(path.name + ".index").exists():
        return str(path.parent.parent), str(path)
    if not (path / MODEL_FILE).exists():
        raise errors.InputError(
            f"{checkpoint_or_workdir}: neither a checkpoint nor a workdir (no {MODEL_FILE})"
        )
    exported = _list(str(path), _STEP, EXPORT_DIR)
    if exported:
        return str(path), exported[-1][1]
    selection = path / SELECTION_FILE
    if not selection.exists():
        raise errors.InputError(
            f"{checkpoint_or_workdir}: no checkpoint is selected yet (no {SELECTION_FILE}); run "
            "evaluate.py on it with validation data, or name a checkpoint"
        )
    step = json.loads(selection.read_text())["step"]
    for listed, checkpoint in list_checkpoints(str(path)):
        if listed == step:
            return str(path), checkpoint
    raise errors.InputError(f"{selection}: its checkpoint of step {step} is gone")


def load_weights(model: keras.Model, checkpoint: str, ema: bool = False) -> None:
    """Restores a model's weights from a checkpoint of the training loop.

    Args:
      model: as it was trained.
      checkpoint: its path.
      ema: whether to take the weights' moving average (batch norm's statistics, which are averages
        already, stay those of the model).

    Raises:
      errors.InputError: a checkpoint of another model, one that cannot be read, or without moving
        average where that is asked for.
    """
    averages = optimizers.average_variables(model) if ema else []
    if ema and not _holds_averages(checkpoint):
        raise errors.InputError(
            f"{checkpoint}: holds no moving average; it was trained without train.ema_decay"
        )
    try:
        held = {"model": model, **({"averages": averages} if ema else {})}
        status = tf.train.Checkpoint(**held).read(checkpoint)
        status.assert_existing_objects_matched()
    except _UNREADABLE as error:
        raise errors.InputError(
            f"{checkpoint}: does not hold the weights of this model ({_first_line(error)})"
        ) from error
    status.expect_partial()  # the optimizer's slots are for resuming only
    for weight, average in zip(model.trainable_variables, averages, strict=False):
        weight.assign(average)


def _holds_averages(checkpoint: str) -> bool:
    try:
        names = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    except _UNREADABLE:
        return True  # reading it will tell what is wrong
    return any(name.startswith("averages/") for name in names)


def restore(saved: tf.train.Checkpoint, checkpoint: str) -> None:
    """Restores all that `save` wrote.

    Raises:
      errors.InputError: a checkpoint of another run, or one that cannot be read.
    """
    try:
        saved.read(checkpoint).assert_consumed()
    except _UNREADABLE as error:
        raise errors.InputError(
            f"{checkpoint}: cannot be resumed from ({_first_line(error)}); delete it to go on from "
            "the one before"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def load_model(workdir: str, checkpoint: str | None = None, ema: bool = False) -> LoadedModel:
    """Rebuilds a trained model.

    Args:
      workdir: of a training run.
      checkpoint: path of one of its checkpoints; the newest one by default.
      ema: whether to take the moving average of the weights.

    Raises:
      errors.InputError: nothing trained there, or no moving average.
    """
    description = read_description(workdir)
    if checkpoint is None:
        listed = list_checkpoints(workdir)
        if not listed:
            raise errors.InputError(f"{workdir}: no checkpoint in {CHECKPOINT_DIR}/ yet")
        checkpoint = listed[-1][1]
    model = keras.models.model_from_json(json.dumps(description["architecture"]))
    load_weights(model, checkpoint, ema)
    vocabulary = vocabularies.Vocabulary.from_json(description["vocabulary"])
    return LoadedModel(model, vocabulary, int(os.path.basename(checkpoint).split("-")[-1]))


def read_description(workdir: str) -> dict:
    """The workdir's `model.json`: architecture, vocabulary, data.

    Raises:
      errors.InputError: it is not there, or is none.
    """
    path = pathlib.Path(workdir) / MODEL_FILE
    try:
        description = json.loads(path.read_text())
        return {
            "architecture": description["architecture"],
            "vocabulary": description["vocabulary"],
            "data": description.get("data"),
        }
    except OSError as error:
        raise errors.InputError(
            f"{workdir}: no {MODEL_FILE}; is it the workdir of a train.py run?"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(f"{path}: no model description: {error!r}") from error
