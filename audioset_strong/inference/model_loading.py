"""Loading a trained model: a checkpoint, a run, or an export."""

import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors, files
from audioset_strong.inference import predictor, waveform_scorer
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints, workdirs
from audioset_strong.training.run_info import RunInfo

SAVED_MODEL_FILE = "saved_model.pb"


def load_model(path: str | os.PathLike[str], *, ema: bool = False) -> predictor.Model:
    """Loads a trained model.

    Example, in `demo_output` or another directory with a trained model:
      >>> model = load_model("runs/plus_strong")
      >>> prediction = model.predict(np.zeros(48_000), sample_rate=16_000, hop_s=0.24)
      >>> prediction.times[:3].tolist(), prediction.seconds
      ([0.0, 0.24, 0.48], 3.0)
      >>> name, score = prediction.top(1)[0]
      >>> name in model.class_names, 0 <= score <= 1
      (True, True)

    Args:
      path: a checkpoint (".../checkpoints/step-500"); the workdir of a training run, which means
        the checkpoint that its evaluation selected; or a directory that export.py wrote.
      ema: whether to take the moving average of a checkpoint's weights. An export holds one set of
        weights, chosen when it was written.

    Raises:
      errors.InputError: there is no model or no `run.json` at the path, the model cannot be read,
        or it has no moving average.
    """
    name = os.fspath(path)
    if files.exists(os.path.join(name, SAVED_MODEL_FILE)):
        if ema:
            raise errors.InputError(f"{name}: exported already; export it with --ema instead")
        return _load_saved_model(name)
    if not files.exists(name) and not files.exists(f"{name.removesuffix('.index')}.index"):
        raise errors.InputError(f"{name}: no such model; give a checkpoint, workdir or export")
    if name.endswith((".keras", ".tflite")):
        raise errors.InputError(f"{name}: one file of an export; give the export's directory")
    workdir, checkpoint = checkpoints.resolve(name)
    scorer, loaded = waveform_scorer.from_checkpoint(workdir, checkpoint, ema=ema)
    return predictor.Model(scorer, loaded.vocabulary, front_end=scorer.front_end, path=name)


def _load_saved_model(path: str) -> predictor.Model:
    try:
        loaded = tf.saved_model.load(path)
        class_map_path, _ = loaded.class_map_path, loaded.score  # YAMNet itself has no `score`
        class_map = class_map_path().numpy().decode()
    except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
        reason = errors.first_line(error)
        raise errors.InputError(
            f"{path}: not a SavedModel of audioset_strong_export ({reason})"
        ) from error
    vocabulary = vocabularies.Vocabulary.from_files([class_map])
    return predictor.Model(
        loaded, vocabulary, front_end=_exported_front_end(path, loaded), path=path
    )


def _exported_front_end(path: str, loaded: Any) -> features.FrontEnd:
    """The front end inside a SavedModel.

    Exports of older versions do not state it. For them the front end of `run.json`, or the default
    one where there is no such file, is compared with what the SavedModel computes.

    Raises:
      errors.InputError: it cannot be determined.
    """
    if hasattr(loaded, "front_end_json"):
        return features.FrontEnd.from_json(json.loads(loaded.front_end_json().numpy()))
    if files.exists(os.path.join(path, workdirs.RUN_FILE)):
        front_end = RunInfo.read(path).front_end
        if _computes(loaded, front_end):
            return front_end
        raise errors.InputError(
            f"{path}: {workdirs.RUN_FILE} describes another front end than its SavedModel "
            "computes; export the model again"
        )
    if _computes(loaded, features.DEFAULT_FRONT_END):
        return features.DEFAULT_FRONT_END
    raise errors.InputError(
        f"{path}: an older version exported it with another front end than the default; write its "
        f"{workdirs.RUN_FILE} with audioset_strong_upgrade_run --workdir={path}"
    )


def _computes(loaded: Any, front_end: features.FrontEnd) -> bool:
    """Whether the log-mel of a SavedModel is that of a front end, for noise and near silence."""
    noise = np.random.default_rng(0).normal(size=front_end.patch_samples).astype(np.float32)
    for amplitude in (0.1, 1e-6):
        waveform = tf.constant(np.float32(amplitude) * noise)
        try:
            _, _, log_mel = loaded.score(waveform, tf.constant(front_end.stft_frames_per_patch))
        except tf.errors.OpError:
            return False
        expected = features.log_mel(waveform, front_end)
        if log_mel.shape != expected.shape or np.abs(log_mel - expected).max() > 1e-3:
            return False
    return True
