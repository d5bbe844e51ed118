"""Patches a second of the training pipeline, beside reading, features and what public loaders do.

Example:
  input_pipeline.py --clips=4000 --seconds=5

Ten-second clips of speech-like noise are written as shards. The rows are, in turn:

  read           bare TFRecord reading, batched (r records/s)
  read, direct   the same without the reader's buffer
  log_mel        bare batched log-mel of patches in memory (m patches/s)
  sequential     what reading records one after the other allows: read, parse, crop, label, shuffle
                 4,096 patches, log-mel; and without log-mel ("sequential, device")
  ours           train_patches, end to end, strong labels
  ours, weak     the same with weak labels
  ours, mixture  weak and strong at mu = 0.75, both balanced
  ours, device   with features_on_device: samples leave the pipeline
  ours, crc      the same with checksums, in its first epoch
  ours, records  the same as the workers of a tf.data service read: whole records by offset
  ours, flac     with FLAC records
  ours, log_mel  with log-mel records
  whole clip     tf.data: log-mel of the whole clip, then a random crop of 96 frames
  numpy          a VGGish-style front end in numpy for each patch
  librosa        librosa.feature.melspectrogram for each patch (where librosa is installed)

Each row is timed in a process of its own; its peak memory includes the interpreter and TensorFlow.
All rows are measured --rounds times, in turn, and the medians count. Then come bytes read, a cold
page cache, the first batch at any step, 1.8M clips, and storage that answers late; see
random_access.py. The last line holds everything as JSON.
"""

import gc
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

from absl import flags

from audioset_strong.core import cli
from tools.benchmarks import made_up_clips, other_pipelines, random_access

_CLIPS = flags.DEFINE_integer("clips", 4000, "Clips of ten seconds.", lower_bound=64)
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Time of each measurement.", lower_bound=0.1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Measurements of each.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Patches of a batch.", lower_bound=1)
_SHARDS = flags.DEFINE_integer("shards", 8, "Shards of the dataset.", lower_bound=1)
_MILLIONS = flags.DEFINE_float("millions", 1.8, "Clips of the large index; 0 leaves it out.")


def _ours(
    encoding: str = "pcm16", policy: str = "strong", **settings
) -> Callable[[str, int], Iterator[int]]:
    def run(root: str, batch_size: int) -> Iterator[int]:
        from audioset_strong.inputs import datasets, training_stream

        stream = datasets.training_stream(
            os.path.join(root, encoding),
            policy=policy,
            batch_size=batch_size,
            settings=training_stream.StreamSettings(**settings),
        )
        return other_pipelines.patches_of(stream)

    return run


def _mixture(root: str, batch_size: int) -> Iterator[int]:
    from audioset_strong.inputs import training_sources, training_stream

    sources = training_sources.weak_strong_mixture(
        root, ["pcm16"], strong_datasets=["pcm16"], policy="strong", mu=0.75, balanced=True
    )
    return other_pipelines.patches_of(training_stream.train_patches(sources, batch_size))


def _by_records(root: str, batch_size: int) -> Iterator[int]:
    from audioset_strong.inputs import data_service

    data_service.served = lambda batches, address: batches  # here instead of in a worker
    return _ours(features_on_device=True, data_service="grpc://nowhere:1")(root, batch_size)


ROWS: dict[str, Callable[[str, int], Iterator[int]]] = {
    "read": other_pipelines.read(direct=False),
    "read, direct": other_pipelines.read(direct=True),
    "log_mel": other_pipelines.log_mel,
    "sequential": other_pipelines.sequential(with_log_mel=True),
    "sequential, device": other_pipelines.sequential(with_log_mel=False),
    "ours": _ours(),
    "ours, weak": _ours(policy="weak"),
    "ours, mixture": _mixture,
    "ours, device": _ours(features_on_device=True),
    "ours, crc": _ours(features_on_device=True, checksums=True),
    "ours, records": _by_records,
    "ours, flac": _ours("flac"),
    "ours, log_mel": _ours("log_mel"),
    "whole clip": other_pipelines.whole_clip,
    "numpy": other_pipelines.numpy_for_each,
    "librosa": other_pipelines.librosa_for_each,
}


def _measure(row: str, root: str, batch_size: int, seconds: float) -> tuple[float, float]:
    """(patches a second, peak MB) of one row; the first two seconds do not count."""
    batches = ROWS[row](root, batch_size)
    gc.freeze()  # so that what the imports made is not collected again and again
    began = time.perf_counter()
    warm_up = 0.0 if row == "ours, crc" else min(2.0, seconds)  # all clips are read by then
    while time.perf_counter() - began < warm_up:
        next(batches)
    next(batches)
    patches, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        patches += next(batches)
    return patches / spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _rates(root: str) -> tuple[dict[str, float], dict[str, float]]:
    """(patches a second, peak MB) by row."""
    measured: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
    for row in list(ROWS) * _ROUNDS.value:
        try:
            found = random_access.apart(_measure, row, root, _BATCH_SIZE.value, _SECONDS.value)
        except ImportError as error:
            print(f"{row}: left out ({error})")
        else:
            measured[row].append(found)
    measured = {row: found for row, found in measured.items() if found}
    rates = {row: statistics.median(rate for rate, _ in found) for row, found in measured.items()}
    return rates, {row: max(peak for _, peak in found) for row, found in measured.items()}


def main(argv: list[str]) -> None:
    """Writes the data, measures, prints tables and JSON."""
    del argv
    with tempfile.TemporaryDirectory() as root:
        sizes = random_access.apart(made_up_clips.write_datasets, root, _CLIPS.value, _SHARDS.value)
        rates, memory = _rates(root)
        print("pipeline             patches/s   of reading   of log_mel   of sequential   peak MB")
        for row, rate in rates.items():
            print(
                f"{row:<18} {rate:>11,.0f} {rate / rates['read']:>12.2f} "
                f"{rate / rates['log_mel']:>12.2f} {rate / rates['sequential']:>15.2f} "
                f"{memory[row]:>9.0f}"
            )
        ratios = {
            "features on device, of bare reading": rates["ours, device"] / rates["read"],
            "end to end, of bare log-mel": rates["ours"] / rates["log_mel"],
            "end to end, of sequential": rates["ours"] / rates["sequential"],
            "end to end, of the whole-clip baseline": rates["ours"] / rates["whole clip"],
            "FLAC bytes, of PCM": sizes["flac"] / sizes["pcm16"],
            "log-mel bytes, of PCM": sizes["log_mel"] / sizes["pcm16"],
        }
        print()
        for name, ratio in ratios.items():
            print(f"{name:<42} {ratio:.2f}")
        others = random_access.measure_all(
            root,
            batch_size=_BATCH_SIZE.value,
            seconds=_SECONDS.value,
            rounds=_ROUNDS.value,
            large=int(_MILLIONS.value * 1e6),
        )
    print(
        json.dumps({"rates": rates, "peak_mb": memory, "ratios": ratios, "bytes": sizes, **others})
    )


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
