"""What a workdir holds of a trained model, written and read back.

config.gin       the bindings of the run
model.json       architecture and vocabulary: enough to rebuild the model without gin
checkpoints/     weights, optimizer and step
finished.json    written last: the run is complete
selection.json   the checkpoint that evaluation picked (evaluation/selection.py)
"""

import dataclasses
import json
import os
import pathlib
import re

import keras
import tensorflow as tf

from audioset_strong import errors
from audioset_strong.labels import vocabulary as vocabulary_lib

MODEL_FILE = "model.json"
CHECKPOINT_DIR = "checkpoints"
FINISHED_FILE = "finished.json"
SELECTION_FILE = "selection.json"


@dataclasses.dataclass
class LoadedModel:
    """A trained model: log_mel float32 `[n, 96, 64]` -> logits float32 `[n, classes]`."""

    model: keras.Model
    vocabulary: vocabulary_lib.Vocabulary
    step: int


def write_json(path: pathlib.Path, value: object) -> None:
    """Writes JSON so that no reader sees half a file."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def save_model_description(
    workdir: str, model: keras.Model, vocabulary: vocabulary_lib.Vocabulary
) -> None:
    """Writes what `load_model` needs besides a checkpoint."""
    description = {
        "architecture": json.loads(model.to_json()),
        "vocabulary": vocabulary.to_json(),
    }
    write_json(pathlib.Path(workdir) / MODEL_FILE, description)


def list_checkpoints(workdir: str) -> list[tuple[int, str]]:
    """Complete checkpoints of a workdir as (step, path), in the order of their steps."""
    found = []
    for index in (pathlib.Path(workdir) / CHECKPOINT_DIR).glob("step-*.index"):
        # TensorFlow writes the index last, by rename: where it is, the weights are whole.
        match = re.fullmatch(r"step-(\d+)", index.stem)
        if match:
            found.append((int(match[1]), str(index.with_suffix(""))))
    return sorted(found)


def is_finished(workdir: str) -> bool:
    """Whether the training run of this workdir is complete."""
    return (pathlib.Path(workdir) / FINISHED_FILE).exists()


def resolve(checkpoint_or_workdir: str) -> tuple[str, str]:
    """The (workdir, checkpoint path) that a user means by one path.

    Args:
      checkpoint_or_workdir: a checkpoint (".../checkpoints/step-500"), or a workdir, which stands
        for the checkpoint that its evaluation selected.

    Raises:
      errors.InputError: no such checkpoint, or a workdir without a selection.
    """
    path = pathlib.Path(checkpoint_or_workdir)
    if path.with_name(path.name + ".index").exists():
        return str(path.parent.parent), str(path)
    if not (path / MODEL_FILE).exists():
        raise errors.InputError(
            f"{checkpoint_or_workdir}: neither a checkpoint nor a workdir (no {MODEL_FILE})"
        )
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


def load_weights(model: keras.Model, checkpoint: str) -> None:
    """Restores a model's weights from a checkpoint of the training loop.

    Raises:
      errors.InputError: a checkpoint of another model, or one that cannot be read.
    """
    try:
        status = tf.train.Checkpoint(model=model).read(checkpoint)
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        raise errors.InputError(
            f"{checkpoint}: does not hold the weights of this model ({reason})"
        ) from error
    status.expect_partial()  # the optimizer's slots are for resuming only


def load_model(workdir: str, checkpoint: str | None = None) -> LoadedModel:
    """Rebuilds a trained model.

    Args:
      workdir: of a training run.
      checkpoint: path of one of its checkpoints; the newest one by default.

    Raises:
      errors.InputError: nothing trained there.
    """
    description = read_description(workdir)
    if checkpoint is None:
        listed = list_checkpoints(workdir)
        if not listed:
            raise errors.InputError(f"{workdir}: no checkpoint in {CHECKPOINT_DIR}/ yet")
        checkpoint = listed[-1][1]
    model = keras.models.model_from_json(json.dumps(description["architecture"]))
    load_weights(model, checkpoint)
    vocabulary = vocabulary_lib.Vocabulary.from_json(description["vocabulary"])
    return LoadedModel(model, vocabulary, int(os.path.basename(checkpoint).split("-")[-1]))


def read_description(workdir: str) -> dict:
    """The workdir's `model.json`.

    Raises:
      errors.InputError: it is not there.
    """
    path = pathlib.Path(workdir) / MODEL_FILE
    if not path.exists():
        raise errors.InputError(f"{workdir}: no {MODEL_FILE}; is it the workdir of a train.py run?")
    return json.loads(path.read_text())
