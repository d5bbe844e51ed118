"""What one installation leaves for another, with other versions of everything below the project.

python -m tests.exchange write DIRECTORY        datasets, a training run, an export
python -m tests.exchange read DIRECTORY FILE    what comes out of them, as an .npz file
"""

import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
import pandas as pd
import tensorflow as tf

import audioset_strong
from audioset_strong.core import io_extra
from audioset_strong.evaluation import following
from audioset_strong.inference import export, tflite
from audioset_strong.inputs.training_sources import Source
from audioset_strong.records import clip_records
from audioset_strong.training import checkpoints
from tests.datasets import toy_clips, write_dataset
from tests.toy_training import train

_CLIPS = 24
_STEPS = (10, 20)


def write(directory: pathlib.Path) -> None:
    """Writes a dataset of each encoding, a run on one of them, and the run's model exported."""
    for encoding in clip_records.ENCODINGS:
        write_dataset(directory / "data" / encoding, toy_clips(_CLIPS), 2, encoding)
    run = _train(directory, directory / "run")
    export.export(str(run / "checkpoints" / f"step-{_STEPS[-1]}"), str(directory / "exported"))


def read(directory: pathlib.Path, scratch: pathlib.Path) -> dict[str, np.ndarray]:
    """What another installation makes of it; nothing in `directory` changes.

    Args:
      directory: that `write` filled.
      scratch: an empty directory.

    Returns:
      Names -> arrays. Those of "exact/..." do not depend on the versions at all.
    """
    values = dict(_streams(directory / "data"))
    evaluated = shutil.copytree(directory / "run", scratch / "evaluated")
    following.evaluate_workdirs(
        [str(evaluated)], run_once=True, eval_sets={"train": str(directory / "data" / "pcm16")}
    )
    results = pd.read_csv(evaluated / "eval" / "results.csv")
    values["exact/results"] = results[["step", "set", "metric"]].astype(str).to_numpy(dtype=str)
    values["metrics"] = results["value"].to_numpy()
    waveform = np.concatenate([clip.waveform for clip in toy_clips(3, first=500)])
    for name, path in (
        ("checkpoint", directory / "run" / "checkpoints" / "step-20"),
        ("export", directory / "exported"),
    ):
        prediction = audioset_strong.load_model(str(path)).predict(waveform, 16_000)
        values[f"{name}/scores"] = prediction.scores
        values[f"{name}/embeddings"] = prediction.embeddings
    saved = tf.saved_model.load(str(directory / "exported"))
    values["saved_model/scores"] = saved(waveform)[0].numpy()
    for kind in tflite.KINDS:
        interpreter = tflite.interpreter(str(directory / "exported" / "tflite" / f"{kind}.tflite"))
        score = interpreter.get_signature_runner("serving_default")
        values[f"tflite/{kind}"] = score(waveform=waveform[:15_600])["scores"]
    values["resumed/weights"] = _weights(_train(directory, _begun(directory, scratch)))
    values["whole/weights"] = _weights(directory / "run")
    return values


def _train(directory: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
    source = Source((str(directory / "data" / "pcm16"),), "strong")
    settings = {"total_steps": _STEPS[-1], "checkpoint_every": _STEPS[0], "ema_decay": 0.9}
    return train(workdir, directory / "data", sources=[source], **settings)


def _begun(directory: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """The run as it was when it had saved its first checkpoint."""
    begun = scratch / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    for name in ("model.json", "run.json"):
        shutil.copy(directory / "run" / name, begun)
    for path in (directory / "run" / "checkpoints").glob(f"step-{_STEPS[0]}.*"):
        shutil.copy(path, begun / "checkpoints")
    return begun


def _weights(workdir: pathlib.Path) -> np.ndarray:
    step, path = checkpoints.list_checkpoints(str(workdir))[-1]
    assert step == _STEPS[-1]
    weights = checkpoints.load_model(str(workdir), path).model.get_weights()
    return np.concatenate([array.ravel() for array in weights])


def _streams(data: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """The first batches of the training stream of each dataset."""
    for encoding in clip_records.ENCODINGS:
        stream = audioset_strong.datasets.training_stream(
            str(data / encoding), policy="strong", batch_size=8, seed=3
        )
        batches = list(stream.take(5).as_numpy_iterator())
        for name in ("clip_id", "start", "labels", "log_mel"):
            array = np.concatenate([batch[name] for batch in batches])
            if name == "clip_id":
                array = array.astype(str)
            yield ("" if name == "log_mel" else "exact/") + f"{encoding}/{name}", array


def main(command: str, directory: str, *output: str) -> None:
    """See the module."""
    root = pathlib.Path(directory)
    if command == "write":
        write(root)
        return
    with tempfile.TemporaryDirectory() as scratch:
        values = read(root, pathlib.Path(scratch))
    versions = {"tensorflow": tf.__version__, "numpy": np.__version__, "pandas": pd.__version__}
    versions["tensorflow-io"] = str(io_extra.available())
    np.savez(output[0], versions=np.array(sorted(versions.items())), **values)


if __name__ == "__main__":
    main(*sys.argv[1:])
