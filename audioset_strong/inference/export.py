"""Writes a trained model for use without this project.

saved_model.pb, variables/   waveform -> scores, embeddings, log-mel; called as YAMNet is
assets/class_map.csv         the classes: index, mid, display_name
model.keras                  the network alone: log-mel patches -> logits
tflite/KIND.tflite           float32, float16, int8; see tflite.py
model_card.md                what it is, how good it is, what it is for
model.json, config.gin, weights/step-N.*    to fine-tune from
"""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from audioset_strong.configuration import gin_files
from audioset_strong.core import errors
from audioset_strong.inference import model_card, tflite, waveform_scorer
from audioset_strong.labels import class_list
from audioset_strong.training import checkpoints

CLASS_MAP_FILE = "class_map.csv"
KERAS_FILE = "model.keras"
TFLITE_DIR = "tflite"


class ExportedModel(waveform_scorer.Scorer):
    """A `scorer.Scorer` that brings its class map."""

    def __init__(self, network: keras.Model, front_end: Mapping[str, Any], class_map: str):
        super().__init__(network, front_end)
        self._class_map = tf.saved_model.Asset(class_map)

    @tf.function(input_signature=[])
    def class_map_path(self) -> tf.Tensor:
        """Path of a CSV of index, mid, display_name."""
        return self._class_map.asset_path


def export(
    model: str, output_dir: str, with_tflite: bool = True, ema: bool = False
) -> pathlib.Path:
    """Exports a trained model in all formats.

    Args:
      model: a checkpoint, or a workdir, which stands for the checkpoint that its evaluation
        selected.
      output_dir: of the files; must not exist, or be empty.
      with_tflite: whether to convert to TensorFlow Lite.
      ema: whether to export the moving average of the weights.

    Returns:
      The path of `output_dir`.

    Raises:
      errors.InputError: no such model, or a directory that cannot be written or is not empty.
    """
    workdir, checkpoint = checkpoints.resolve(model)
    out = pathlib.Path(output_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise errors.InputError(f"{output_dir}: there already; take another --output_dir")
    loaded = checkpoints.load_model(workdir, checkpoint, ema)
    front_end = waveform_scorer.front_end_settings(workdir)
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial, loaded, front_end, workdir, with_tflite)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise errors.InputError(f"{output_dir}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _write(
    directory: pathlib.Path,
    loaded: checkpoints.LoadedModel,
    front_end: Mapping[str, Any],
    workdir: str,
    with_tflite: bool,
) -> None:
    network, vocabulary = loaded.model, loaded.vocabulary
    class_map = directory / CLASS_MAP_FILE
    class_list.write(class_map, vocabulary)
    exported = ExportedModel(network, front_end, str(class_map))
    tf.saved_model.save(exported, str(directory), exported.__call__.get_concrete_function())
    class_map.unlink()  # the SavedModel has its own copy, in assets/
    network.save(directory / KERAS_FILE)
    weights = directory / checkpoints.EXPORT_DIR / f"step-{loaded.step}"
    tf.train.Checkpoint(model=network).write(str(weights))
    for name in (checkpoints.MODEL_FILE, gin_files.CONFIG_FILE):
        source = pathlib.Path(workdir) / name
        if source.exists():
            shutil.copyfile(source, directory / name)
    if with_tflite:
        tflite.write(tflite.convert(network, front_end), directory / TFLITE_DIR)
    card = model_card.make(workdir, loaded, front_end)
    (directory / model_card.FILE_NAME).write_text(card, encoding="utf-8")
