"""Patches a second of the training pipeline, stage by stage, beside what public loaders do.

Example:
  input_pipeline.py --clips=4000 --seconds=5

Ten-second clips of speech-like noise are written as shards. The rows are, in turn:

  read           bare TFRecord reading, batched (r records/s)
  read, direct   the same without the reader's buffer, as train_patches reads local files
  log_mel        bare batched log-mel of patches in memory (m patches/s)
  parts          1 / (1/r + 1/m): the two one after the other; also with direct reading
  + parse, + crop, + labels, + shuffle, + log_mel
                 the stages of train_patches, added one by one
  ours           train_patches, end to end, strong labels
  ours, weak     the same with weak labels
  ours, K=8      with patches_per_clip = 8
  ours, device   with features_on_device: samples leave the pipeline
  ours, flac     with FLAC records
  ours, log_mel  with log-mel records
  whole clip     tf.data: log-mel of the whole clip, then a random crop of 96 frames
  numpy          a VGGish-style front end in numpy for each patch
  librosa        librosa.feature.melspectrogram for each patch (where librosa is installed)

Each row is timed in a process of its own; its peak memory includes the interpreter and TensorFlow.
All rows are measured --rounds times, and the medians count. The last line holds everything as JSON.
"""

import gc
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from absl import flags

from audioset_strong.core import cli

_CLIPS = flags.DEFINE_integer("clips", 4000, "Clips of ten seconds.", lower_bound=64)
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Time of each measurement.", lower_bound=0.1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Measurements of each.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Patches of a batch.", lower_bound=1)
_SHARDS = flags.DEFINE_integer("shards", 8, "Shards of the dataset.", lower_bound=1)
_CLASSES = 456
_WINDOW, _HOP, _FFT, _BANDS, _PATCH, _FRAME = 400, 160, 512, 64, 15_600, 15_360


def _write(root: str, clips: int, shards: int) -> dict[str, float]:
    """Writes the dataset in each encoding; returns the bytes of a clip in each."""
    import tensorflow as tf

    from audioset_strong.labels import vocabularies
    from audioset_strong.records import clip_records, dataset_info

    rng = np.random.default_rng(0)
    names = vocabularies.Vocabulary(
        tuple(f"/m/{i:04d}" for i in range(_CLASSES)), tuple(f"class {i}" for i in range(_CLASSES))
    )
    sizes = {}
    sounds = [_speech_like(rng) for _ in range(32)]
    for encoding in clip_records.ENCODINGS:
        folder = pathlib.Path(root) / encoding
        folder.mkdir()
        encoded = [
            clip_records.serialize(clip_records.Clip("", sound, 16_000), encoding)
            for sound in sounds
        ]
        sizes[encoding] = sum(map(len, encoded)) / len(encoded)
        listed = []
        for shard in range(shards):
            name = f"{encoding}-{shard:05d}-of-{shards:05d}.tfrecord"
            mine = range(shard, clips, shards)
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for i in mine:
                    starts = np.sort(rng.integers(0, 9_000, 6))
                    segments = tuple(
                        (int(start), int(start) + 800, int(label))
                        for start, label in zip(starts, rng.integers(0, _CLASSES, 6), strict=True)
                    )
                    clip = clip_records.Clip(
                        f"video{i:06d}_0", sounds[i % 32], 16_000, (i % _CLASSES,), segments, ()
                    )
                    writer.write(clip_records.serialize(clip, encoding))
            listed.append({"file": name, "clips": len(mine), "strong_clips": len(mine)})
        dataset_info.DatasetInfo(
            encoding,
            "train",
            clip_records.SCHEMA_VERSION,
            16_000,
            encoding,
            names,
            listed,
            num_clips=clips,
            weak_clips=clips,
            strong_clips=clips,
            negative_clips=clips,
            weak_counts=[1] * _CLASSES,
            strong_counts=[1] * _CLASSES,
            segment_counts=[1] * _CLASSES,
            negative_counts=[0] * _CLASSES,
        ).save(str(folder))
    return sizes


def _speech_like(rng: np.random.Generator) -> np.ndarray:
    """Ten seconds of noise with a falling spectrum and syllables; int16."""
    from scipy import signal

    noise = signal.lfilter([1.0], [1.0, -0.95], rng.standard_normal(160_000))
    syllables = np.repeat(rng.gamma(0.5, 1.0, 50), 3200)
    loud = noise * np.convolve(syllables, np.hanning(800) / 400, "same")
    return np.round(8000 * loud / np.abs(loud).max()).astype(np.int16)


def _patches_of(dataset) -> Iterator[int]:
    for batch in dataset:
        values = batch.values() if isinstance(batch, dict) else [batch]
        yield int(next(iter(values)).shape[0])


def _paths(root: str) -> list[str]:
    return sorted(map(str, (pathlib.Path(root) / "pcm16").glob("*.tfrecord")))


def _records(root: str, *, direct: bool = False):
    import tensorflow as tf

    from audioset_strong.records import clip_records

    paths = _paths(root)
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        clip_records.record_reader(paths) if direct else tf.data.TFRecordDataset,
        cycle_length=8,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _read(*, direct: bool) -> Callable[[str, int], Iterator[int]]:
    def run(root: str, batch_size: int) -> Iterator[int]:
        import tensorflow as tf

        batches = _records(root, direct=direct).repeat().batch(batch_size)
        return _patches_of(batches.prefetch(tf.data.AUTOTUNE))

    return run


def _log_mel(root: str, batch_size: int) -> Iterator[int]:
    import tensorflow as tf

    from audioset_strong.audio import features

    del root
    waveform = tf.random.uniform([batch_size, _PATCH], -1, 1)
    batches = tf.data.Dataset.from_tensors(waveform).repeat()
    batches = batches.map(features.log_mel, num_parallel_calls=tf.data.AUTOTUNE)
    return _patches_of(batches.prefetch(tf.data.AUTOTUNE))


def _stage(number: int) -> Callable[[str, int], Iterator[int]]:
    """The pipeline up to a stage: 1 parse, 2 crop, 3 labels, 4 shuffle, 5 log-mel."""

    def run(root: str, batch_size: int) -> Iterator[int]:
        import tensorflow as tf

        from audioset_strong.audio import features
        from audioset_strong.labels import framing
        from audioset_strong.records import clip_records, pcm_cut

        def windows(serialized):
            parsed = clip_records.parse(serialized)
            made = {"clip_id": parsed["clip_id"]}
            last = parsed["num_samples"] - _PATCH
            start = tf.random.uniform(tf.shape(last), 0, 2**31, tf.int64) % (last + 1)
            if number >= 2:
                made["pcm"] = pcm_cut.cut(parsed, start, samples=_PATCH)
            if number >= 3:
                frames = framing.frame_labels(
                    parsed["segment_start_ms"].to_tensor(-1) * 16,
                    parsed["segment_end_ms"].to_tensor(-1) * 16,
                    parsed["segment_label"].to_tensor(-1),
                    frame_start=start[:, tf.newaxis],
                    frame_length=_FRAME,
                    num_classes=_CLASSES,
                )
                made["labels"] = frames[:, 0]
            return made

        data = _records(root, direct=True).repeat().batch(16)
        data = data.map(windows, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()
        if number >= 4:
            data = data.shuffle(4096)
        data = data.batch(batch_size)
        if number >= 5:

            def log_mel(batch):
                pcm = pcm_cut.decode(batch["pcm"], _PATCH)
                waveform = tf.cast(pcm, tf.float32) / 32768
                return {"log_mel": features.log_mel(waveform), "labels": batch["labels"]}

            data = data.map(
                log_mel,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        return _patches_of(data.prefetch(tf.data.AUTOTUNE))

    return run


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
        return _patches_of(stream)

    return run


def _whole_clip(root: str, batch_size: int) -> Iterator[int]:
    import tensorflow as tf

    from audioset_strong.audio import features

    def patch(record):
        audio = tf.io.parse_single_example(record, {"audio": tf.io.FixedLenFeature([], tf.string)})
        pcm = tf.io.decode_raw(audio["audio"], tf.int16)
        log_mel = features.log_mel(tf.cast(pcm, tf.float32) / 32768)
        return tf.image.random_crop(log_mel, [96, _BANDS])

    patches = _records(root).repeat().map(patch, num_parallel_calls=tf.data.AUTOTUNE)
    return _patches_of(patches.shuffle(1024).batch(batch_size).prefetch(tf.data.AUTOTUNE))


def _waveforms(batch_size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (batch_size, _PATCH)).astype(np.float32)


def _numpy(root: str, batch_size: int) -> Iterator[int]:
    import tensorflow as tf

    del root
    mel = tf.signal.linear_to_mel_weight_matrix(_BANDS, _FFT // 2 + 1, 16_000, 125.0, 7500.0)
    mel = mel.numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    waveforms = _waveforms(batch_size)
    while True:
        for waveform in waveforms:
            framed = np.lib.stride_tricks.sliding_window_view(waveform, _WINDOW)[::_HOP]
            spectrum = np.abs(np.fft.rfft(framed * window, _FFT))
            np.log(spectrum @ mel + 0.01)
        yield batch_size


def _librosa(root: str, batch_size: int) -> Iterator[int]:
    import librosa

    del root
    waveforms = _waveforms(batch_size)
    while True:
        for waveform in waveforms:
            mel = librosa.feature.melspectrogram(
                y=waveform,
                sr=16_000,
                n_fft=_FFT,
                win_length=_WINDOW,
                hop_length=_HOP,
                center=False,
                power=1.0,
                n_mels=_BANDS,
                fmin=125.0,
                fmax=7500.0,
                htk=True,
                norm=None,
            )
            np.log(mel + 0.01)
        yield batch_size


ROWS: dict[str, Callable[[str, int], Iterator[int]]] = {
    "read": _read(direct=False),
    "read, direct": _read(direct=True),
    "log_mel": _log_mel,
    "+ parse": _stage(1),
    "+ crop": _stage(2),
    "+ labels": _stage(3),
    "+ shuffle": _stage(4),
    "+ log_mel": _stage(5),
    "ours": _ours(),
    "ours, weak": _ours(policy="weak"),
    "ours, K=8": _ours(patches_per_clip=8),
    "ours, device": _ours(features_on_device=True),
    "ours, flac": _ours("flac"),
    "ours, log_mel": _ours("log_mel"),
    "whole clip": _whole_clip,
    "numpy": _numpy,
    "librosa": _librosa,
}


def _measure(row: str, root: str, batch_size: int, seconds: float) -> tuple[float, float]:
    """(patches a second, peak MB) of one row; the first two seconds do not count."""
    batches = ROWS[row](root, batch_size)
    gc.freeze()  # so that what the imports made is not collected again and again
    began = time.perf_counter()
    while time.perf_counter() - began < min(2.0, seconds):
        next(batches)
    patches, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        patches += next(batches)
    return patches / spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str]) -> None:
    """Writes the data, measures, prints a table and JSON."""
    del argv
    context = multiprocessing.get_context("spawn")

    def apart(function: Callable, *arguments: object):
        with context.Pool(1) as pool:
            return pool.apply(function, arguments)

    with tempfile.TemporaryDirectory() as root:
        sizes = apart(_write, root, _CLIPS.value, _SHARDS.value)
        measured: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
        for row in list(ROWS) * _ROUNDS.value:
            try:
                found = apart(_measure, row, root, _BATCH_SIZE.value, _SECONDS.value)
            except ImportError as error:
                print(f"{row}: left out ({error})")
            else:
                measured[row].append(found)
    measured = {row: found for row, found in measured.items() if found}
    rates = {row: statistics.median(rate for rate, _ in found) for row, found in measured.items()}
    memory = {row: max(peak for _, peak in found) for row, found in measured.items()}
    rates["parts"] = 1 / (1 / rates["read"] + 1 / rates["log_mel"])
    rates["parts, direct"] = 1 / (1 / rates["read, direct"] + 1 / rates["log_mel"])
    print("pipeline        patches/s   of parts   of whole clip   peak MB")
    for row, rate in rates.items():
        peak = f"{memory[row]:>9.0f}" if row in memory else " " * 9
        print(
            f"{row:<14} {rate:>10.0f} {rate / rates['parts']:>10.2f} "
            f"{rate / rates['whole clip']:>15.2f} {peak}"
        )
    ratios = {
        "end to end, of the whole-clip baseline": rates["ours"] / rates["whole clip"],
        "end to end, of what the parts allow": rates["ours"] / rates["parts"],
        "end to end, of the parts, read directly": rates["ours"] / rates["parts, direct"],
        "K = 8, of K = 1": rates["ours, K=8"] / rates["ours"],
        "features on device, of bare reading": rates["ours, device"] / rates["read"],
        "features on device, of direct reading": rates["ours, device"] / rates["read, direct"],
        "FLAC bytes, of PCM": sizes["flac"] / sizes["pcm16"],
        "log-mel bytes, of PCM": sizes["log_mel"] / sizes["pcm16"],
    }
    print()
    for name, ratio in ratios.items():
        print(f"{name:<42} {ratio:.2f}")
    print(json.dumps({"rates": rates, "peak_mb": memory, "ratios": ratios, "bytes": sizes}))


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
