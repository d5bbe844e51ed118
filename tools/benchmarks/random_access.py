"""What reading windows by offset costs beside reading records in order; run by input_pipeline.py.

bytes a patch    as the kernel counts what the process reads by system calls
cold cache       rates when the system has forgotten the shards, and what it read from the disk
first batch      seconds and bytes from building the stream to its first batch, at steps 0, 500, 990
large            a made-up index of --millions clips: opened, and the cost of drawing a batch
late storage     every read takes 30 ms, as on object stores: requests side by side; the same once
a cache has the shards; and 8 shards read in order by requests of 8 MB
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tools.benchmarks import made_up_clips, other_pipelines

_STEPS = (0, 500, 990)
_LATENCY_S = 0.03
_PATCH_BYTES = 31_200


def apart(function: Callable, *arguments: object) -> Any:
    """The result of a function called in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measure_all(
    root: str,
    *,
    batch_size: int,
    seconds: float,
    rounds: int,
    large: int,
) -> dict[str, Any]:
    """Measures and prints everything; returns it by name."""
    found: dict[str, Any] = {}
    for name, function in (("by offset", _by_offset), ("sequential", _in_order)):
        runs = [apart(_cold, function, root, batch_size, seconds) for _ in range(rounds)]
        rate, called, disk = (statistics.median(run[i] for run in runs) for i in range(3))
        found[f"cold, {name}"] = {"rate": rate, "read": called, "disk": disk}
        print(
            f"cold cache, {name:<12} {rate:>9,.0f} patches/s; {called / _PATCH_BYTES:.2f} times a "
            f"patch of {_PATCH_BYTES:,} bytes read, {disk:.2f} times that from the disk"
        )
    firsts = [apart(_first_batches, root, batch_size) for _ in range(rounds)]
    for i, step in enumerate(_STEPS):
        wall, called = (statistics.median(run[i][k] for run in firsts) for k in range(2))
        found[f"first batch at step {step}"] = {"seconds": wall, "bytes": called}
        print(f"first batch at step {step:<4} {wall:.3f} s, {called / 1e6:.1f} MB read")
    if large:
        folder = apart(made_up_clips.write_index_alone, root, large, 580)
        size = os.path.getsize(os.path.join(folder, "index.parquet"))
        found["large"] = {"bytes a clip": size / large, **apart(_draws, root, folder, batch_size)}
        for name, value in found["large"].items():
            print(f"{large:,} clips: {name:<48} {value:.4g}")
    for name, rate in apart(_late, root, batch_size, seconds).items():
        found[f"late storage, {name}"] = rate
        print(f"late storage, {name:<40} {rate:>9,.0f} patches/s")
    return found


def _counts() -> np.ndarray:
    """(bytes read by system calls, bytes fetched from the disk) of this process so far."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return np.array([int(counts["rchar"]), int(counts["read_bytes"])])


def _by_offset(root: str, batch_size: int, step: int = 0) -> Iterator[int]:
    from audioset_strong.inputs import datasets, training_stream

    stream = datasets.training_stream(
        os.path.join(root, "pcm16"),
        policy="strong",
        batch_size=batch_size,
        start_step=step,
        settings=training_stream.StreamSettings(features_on_device=True),
    )
    for batch in stream:
        yield int(batch["labels"].shape[0])


def _in_order(root: str, batch_size: int) -> Iterator[int]:
    return other_pipelines.sequential(with_log_mel=False)(root, batch_size)


def _cold(
    function: Callable[[str, int], Iterator[int]], root: str, batch_size: int, seconds: float
) -> tuple[float, float, float]:
    """From a cold cache: (patches a second, bytes read a patch, share that came from the disk)."""
    batches = function(root, batch_size)
    next(batches)
    folder = os.path.join(root, "pcm16")
    made_up_clips.drop_from_cache(folder)
    total = sum(path.stat().st_size for path in pathlib.Path(folder).glob("*.tfrecord"))
    clips = total // (2 * made_up_clips.SAMPLES)
    before, began, patches = _counts(), time.perf_counter(), 0
    # An epoch; longer, and the system would have all in its memory again.
    while patches < clips and time.perf_counter() - began < 4 * seconds:
        patches += next(batches)
    spent = time.perf_counter() - began
    called, disk = _counts() - before
    return patches / spent, called / patches, disk / called


def _first_batches(root: str, batch_size: int) -> list[tuple[float, float]]:
    """(seconds, bytes read) of the first batch at each of `_STEPS`."""
    next(_by_offset(root, batch_size))  # imports, and whatever TensorFlow does but once
    found = []
    for step in _STEPS:
        before, began = _counts(), time.perf_counter()
        next(_by_offset(root, batch_size, step))
        found.append((time.perf_counter() - began, float((_counts() - before)[0])))
    return found


def _draws(root: str, folder: str, batch_size: int) -> dict[str, float]:
    import tensorflow as tf

    from audioset_strong.inputs import example_order, mixing, opened_sources
    from audioset_strong.inputs.training_sources import Source
    from audioset_strong.records import clip_index

    clip_index._check_shards = lambda *_, **__: None  # there is no audio to look into

    def opened(path: str):
        sources = opened_sources.open_sources([Source((path,), "weak", balanced=True)])
        order = example_order.ExampleOrder(
            sources, mixing.Mixing([1.0], block=4096, seed=0), seed=0
        )

        @tf.function
        def draw(first):
            examples = order.examples(first, batch_size)
            return sources.clips.gather(examples.row)["weak_labels"].to_tensor(-1)

        return draw

    began = time.perf_counter()
    large = opened(folder)
    large(tf.constant(10**9, tf.int64))
    spent = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    small = opened(os.path.join(root, "pcm16"))
    times: dict[str, list[float]] = {"large": [], "small": []}
    for i in range(400):
        for name, draw in (("large", large), ("small", small)):
            began = time.perf_counter()
            draw(tf.constant(i * batch_size, tf.int64))
            times[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values[50:]) for name, values in times.items()}
    return {
        "seconds to open and draw the first indices": spent,
        "peak MB of the process, TensorFlow included": peak,
        "ms to draw a batch": 1e3 * median["large"],
        "ms to draw one of a small dataset": 1e3 * median["small"],
    }


class _LateFile:
    """A local file each of whose reads takes as long as a request."""

    def __init__(self, path: str, open_local: Callable):
        self._file = open_local(path)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        time.sleep(_LATENCY_S)
        return self._file.read_into(offset, buffer)

    def state(self) -> None:
        return None


def _late(root: str, batch_size: int, seconds: float) -> dict[str, float]:
    """Patches a second from storage that answers late."""
    from audioset_strong.records import shard_files

    plain = shard_files.open_file

    def late(path: str):
        return plain(path) if "cache" in path else _LateFile(path, plain)

    found = {}
    with tempfile.TemporaryDirectory(prefix="cache") as cache:
        for name, settings in (
            ("requests side by side", {}),
            ("a cache that has every shard", {"cache_dir": cache}),
        ):
            from audioset_strong.inputs import datasets, training_stream

            shard_files.open_file = late
            stream = datasets.training_stream(
                os.path.join(root, "pcm16"),
                policy="strong",
                batch_size=batch_size,
                settings=training_stream.StreamSettings(features_on_device=True, **settings),
            )
            batches = iter(stream)
            shard_files.open_file = plain
            while settings and len(list(pathlib.Path(cache).glob("*.tfrecord"))) < 8:
                time.sleep(0.1)
            began = time.perf_counter()
            while time.perf_counter() - began < 2.0:
                next(batches)
            patches, began = 0, time.perf_counter()
            while (spent := time.perf_counter() - began) < seconds:
                patches += int(next(batches)["labels"].shape[0])
            found[name] = patches / spent
    found["records in order, 8 MB a request"] = _late_records(root)
    return found


def _late_records(root: str) -> float:
    """Records a second by large requests, the next of a shard when the last has come."""
    paths = sorted(pathlib.Path(root, "pcm16").glob("*.tfrecord"))
    part = 8 << 20

    def read(path: pathlib.Path) -> int:
        with open(path, "rb") as file:
            total = 0
            while content := file.read(part):
                time.sleep(_LATENCY_S)
                total += len(content)
        return total

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(read, paths))
    return total / (2 * made_up_clips.SAMPLES) / (time.perf_counter() - began)
