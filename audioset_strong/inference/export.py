"""Writes a trained model for use without this project.

saved_model.pb, variables/   waveform -> scores, embeddings, log-mel; called as YAMNet is
assets/class_map.csv         the classes: index, mid, display_name
model.keras                  the network alone: log-mel patches -> logits
tflite/KIND.tflite           float32, float16, int8; see tflite.py
model_card.md                what the model is, how good it is, what it is for
run.json                     the facts of the training run, such as the front end
model.json, config.gin, weights/step-N.*    to fine-tune from
"""

import json
import os
import pathlib
import tempfile

import keras
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.inference import model_card, tflite, waveform_scorer
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints, workdirs

CLASS_MAP_FILE = "class_map.csv"
KERAS_FILE = "model.keras"
TFLITE_DIR = "tflite"


class ExportedModel(waveform_scorer.WaveformScorer):
    """A `WaveformScorer` that brings its class map and states its front end."""

    def __init__(self, network: keras.Model, front_end: FrontEnd, *, class_map: str):
        """Combines network and front end; see `WaveformScorer`.

        Args:
          network: see `WaveformScorer`.
          front_end: see `WaveformScorer`.
          class_map: path of a CSV of index, mid, display_name.
        """
        super().__init__(network, front_end)
        self._class_map = tf.saved_model.Asset(class_map)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "waveform")], autograph=False)
    def serve(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """The signature of the model: `WaveformScorer.__call__` with named outputs."""
        return waveform_scorer.named(self(waveform))

    @tf.function(input_signature=[], autograph=False)
    def class_map_path(self) -> tf.Tensor:
        """Path of a CSV of index, mid, display_name."""
        return self._class_map.asset_path

    @tf.function(input_signature=[], autograph=False)
    def front_end_json(self) -> tf.Tensor:
        """The settings of the front end as a JSON object, see `FrontEnd.from_json`."""
        return tf.constant(json.dumps(self.front_end.to_json()))


def export(
    model: str, output_dir: str, *, with_tflite: bool = True, ema: bool = False
) -> files.Place:
    """Exports a trained model in all formats.

    Args:
      model: a checkpoint, or a workdir, which means the checkpoint that its evaluation selected.
      output_dir: of the files; must be missing or empty.
      with_tflite: whether to convert to TensorFlow Lite.
      ema: whether to export the moving average of the weights.

    Returns:
      The path of `output_dir`.

    Raises:
      errors.InputError: there is no such model or no `run.json`; or the directory cannot be written
        or is not empty.
    """
    workdir, checkpoint = checkpoints.resolve(model)
    out = files.place(output_dir)
    if _is_taken(out):
        raise errors.InputError(f"{output_dir}: exists already; take another --output_dir")
    loaded = checkpoints.load_model(workdir, checkpoint, ema=ema)
    if isinstance(out, files.RemotePath):
        with tempfile.TemporaryDirectory() as directory:
            _write(pathlib.Path(directory), loaded, workdir=workdir, with_tflite=with_tflite)
            with files.writing(output_dir):
                files.copy_tree(directory, out)
        return out
    partial = out.with_name(out.name + ".partial")
    try:
        with files.writing(output_dir):
            files.remove_tree(partial)
            files.make_directory(partial)
            _write(partial, loaded, workdir=workdir, with_tflite=with_tflite)
            if out.exists():
                out.rmdir()
            files.rename(partial, out)
    finally:
        files.remove_tree(partial)
    return out


def _is_taken(out: files.Place) -> bool:
    if isinstance(out, files.RemotePath):
        return bool(files.names(out))
    return out.exists() and (not out.is_dir() or any(out.iterdir()))


def _write(
    directory: pathlib.Path,
    loaded: checkpoints.LoadedModel,
    *,
    workdir: str,
    with_tflite: bool,
) -> None:
    network, front_end = loaded.model, loaded.run.front_end
    class_map = directory / CLASS_MAP_FILE
    vocabularies.write_class_list(class_map, loaded.vocabulary)
    exported = ExportedModel(network, front_end, class_map=str(class_map))
    tf.saved_model.save(exported, str(directory), exported.serve.get_concrete_function())
    files.remove(class_map)  # the SavedModel has its own copy, in assets/
    network.save(directory / KERAS_FILE)
    weights = directory / workdirs.EXPORT_DIR / f"step-{loaded.step}"
    tf.train.Checkpoint(model=network).write(str(weights))
    for name in (workdirs.RUN_FILE, workdirs.MODEL_FILE, workdirs.CONFIG_FILE):
        source = os.path.join(workdir, name)
        if files.exists(source):
            files.copy(source, directory / name)
    if with_tflite:
        tflite.write(tflite.convert(network, front_end), str(directory / TFLITE_DIR))
    card = model_card.make(workdir, loaded)
    files.write_text(directory / model_card.FILE_NAME, card)
