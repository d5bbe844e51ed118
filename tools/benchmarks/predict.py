"""Prediction on one core: how many times faster than the recording plays, and in what memory.

Example:
  predict.py --seconds=60,3600

Recordings are stereo WAV at 44.1 kHz, so that decoding, mixing down and resampling count. Each file
gets all that predict.py can write: scores of 527 classes as CSV, events, picture. Each measurement
runs in a process of its own, bound to one core; the clock starts after the model is loaded and one
short file is done. Weights are random, because the speed does not depend on them. In the second
table, the memory before is that of the process with libraries and model, before any file.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time

import numpy as np
from absl import flags

from audioset_strong.core import cli

_SECONDS = flags.DEFINE_list("seconds", ["60", "3600"], "Lengths of recordings, demo model.")
_RESNET50_SECONDS = flags.DEFINE_integer("resnet50_seconds", 60, "Length for ResNet-50; 0: none.")

_CLASSES = 527
_RATE = 44_100
_DEMO, _RESNET50 = "demo", "resnet50"


def _write_recording(path: pathlib.Path, seconds: int) -> None:
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", _RATE, 2, "PCM_16") as file:
        for _ in range(seconds):
            file.write(0.1 * rng.standard_normal((_RATE, 2)))


def _write_model(directory: str, size: str) -> None:
    """A workdir of that network, with random weights."""
    import tensorflow as tf

    from audioset_strong.audio import features
    from audioset_strong.inputs.training_sources import Source
    from audioset_strong.labels import vocabularies
    from audioset_strong.models import resnet
    from audioset_strong.training import checkpoints
    from audioset_strong.training.run_info import RunInfo

    demo = {"depths": (1, 1, 1, 1), "width": 8, "bottleneck": False, "first_stride": 2}
    net = resnet.resnet(_CLASSES, **(demo if size == _DEMO else {}))
    names = tuple(f"class {i}" for i in range(_CLASSES))
    classes = vocabularies.Vocabulary(tuple(f"/m/{i:04x}" for i in range(_CLASSES)), names)
    checkpoints.save(tf.train.Checkpoint(model=net), directory, step=1, keep=True)
    checkpoints.save_model_description(directory, net)
    RunInfo(
        front_end=features.DEFAULT_FRONT_END,
        sources=(Source(("none",), "weak"),),
        vocabulary=classes,
        data_fingerprint=None,
        datasets=(),
        seed=0,
        batch_size=1,
        total_steps=1,
    ).write(directory)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _predict(root: str, size: str, seconds: int) -> tuple[float, float, float]:
    """(times real time, peak MB before, peak MB after)."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from audioset_strong.inference import event_detection, model_loading, recordings

    model = model_loading.load_model(f"{root}/{size}/checkpoints/step-1")

    def run(path: str) -> float:
        settings = event_detection.settings_for(
            model.vocabulary, threshold=0.5, hysteresis=0.8, median_hops=3
        )
        out = f"{root}/{size}-{seconds}"
        request = recordings.PredictionRequest(
            settings, out, ("csv", "events", "png"), overwrite=True
        )
        begin = time.perf_counter()
        if broken := recordings.predict(model, [path], request=request):
            raise RuntimeError(f"cannot be read: {broken}")
        return time.perf_counter() - begin

    before = _peak_mb()
    run(f"{root}/short.wav")
    took = run(f"{root}/{seconds}.wav")
    return seconds / took, before, _peak_mb()


def main(argv: list[str]) -> None:
    """Makes models and recordings, measures, prints two tables."""
    del argv
    context = multiprocessing.get_context("spawn")

    def call(function, *arguments):
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()

    cases = [(_DEMO, int(seconds)) for seconds in _SECONDS.value]
    if _RESNET50_SECONDS.value:
        cases.append((_RESNET50, _RESNET50_SECONDS.value))
    with tempfile.TemporaryDirectory() as root:
        _write_recording(pathlib.Path(root, "short.wav"), 5)
        for seconds in {seconds for _, seconds in cases}:
            _write_recording(pathlib.Path(root, f"{seconds}.wav"), seconds)
        for size in dict.fromkeys(size for size, _ in cases):
            call(_write_model, f"{root}/{size}", size)
        measured = [(*case, *call(_predict, root, *case)) for case in cases]
    print("model      seconds   times real time")
    for size, seconds, speed, _, _ in measured:
        print(f"{size:<10} {seconds:>7} {speed:>17.0f}")
    print("\nmodel      seconds   MB before   peak MB")
    for size, seconds, _, before, after in measured:
        print(f"{size:<10} {seconds:>7} {before:>11.0f} {after:>9.0f}")


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
