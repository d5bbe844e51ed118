"""Datasets for benchmarks: clips of speech-like noise, and an index of clips that do not exist."""

import os
import pathlib

import numpy as np

CLASSES = 456
SAMPLES = 160_000  # ten seconds
_SOUNDS = 32  # different ones


def write_datasets(root: str, clips: int, shards: int) -> dict[str, float]:
    """Writes a dataset in each encoding, with its index; returns the bytes of a clip in each."""
    from audioset_strong.records import clip_index, clip_records

    rng = np.random.default_rng(0)
    sizes = {}
    sounds = [_speech_like(rng) for _ in range(_SOUNDS)]
    for encoding in clip_records.ENCODINGS:
        folder = pathlib.Path(root) / encoding
        folder.mkdir()
        listed = [
            _write_shard(folder, encoding, sounds, shard, (clips, shards), rng)
            for shard in range(shards)
        ]
        info = _info(encoding, listed)
        info.save(str(folder))
        clip_index.write(str(folder), info, clip_index.build(str(folder), info))
        sizes[encoding] = sum(path.stat().st_size for path in folder.glob("*.tfrecord")) / clips
    return sizes


def _write_shard(
    folder: pathlib.Path,
    encoding: str,
    sounds: list[np.ndarray],
    shard: int,
    of: tuple[int, int],
    rng: np.random.Generator,
) -> dict:
    import tensorflow as tf

    from audioset_strong.records import clip_records

    clips, shards = of
    name = f"{encoding}-{shard:05d}-of-{shards:05d}.tfrecord"
    mine = range(shard, clips, shards)
    with tf.io.TFRecordWriter(str(folder / name)) as writer:
        for i in mine:
            starts = np.sort(rng.integers(0, 9_000, 6))
            segments = tuple(
                (int(start), int(start) + 800, int(label))
                for start, label in zip(starts, rng.integers(0, CLASSES, 6), strict=True)
            )
            clip = clip_records.Clip(
                f"video{i:06d}_0", sounds[i % _SOUNDS], 16_000, (i % CLASSES,), segments, ()
            )
            writer.write(clip_records.serialize(clip, encoding))
    return {"file": name, "clips": len(mine), "strong_clips": len(mine)}


def write_index_alone(root: str, clips: int, shards: int) -> str:
    """Writes an index beside shards that are holes in the disk; returns their folder.

    Clips have two weak labels, and every twentieth has six segments.
    """
    import pyarrow as pa

    from audioset_strong.records import clip_index, index_rows

    folder = pathlib.Path(root) / "index_alone"
    folder.mkdir()
    rng = np.random.default_rng(0)
    a_record = 2 * SAMPLES + 400
    listed, tables = [], []
    for shard in range(shards):
        name = f"weak-{shard:05d}-of-{shards:05d}.tfrecord"
        count = len(range(shard, clips, shards))
        with open(folder / name, "wb") as file:
            file.truncate(count * (a_record + 16))
        begin = np.arange(count) * (a_record + 16) + 12
        strong = rng.random(count) < 0.05
        ids = rng.integers(0, 2**40, count)
        starts = [sorted(rng.integers(0, 9000, 6).tolist()) if s else None for s in strong]
        columns = {
            "clip_id": [f"{number:011x}_{shard * 1000}" for number in ids],
            "shard": pa.array([name] * count).dictionary_encode(),
            "record_offset": begin,
            "record_bytes": np.full(count, a_record),
            "audio_offset": begin + 60,
            "audio_bytes": np.full(count, 2 * SAMPLES),
            "audio_crc32": rng.integers(0, 2**32, count),
            "num_samples": np.full(count, SAMPLES),
            "weak_labels": rng.integers(0, CLASSES, (count, 2)).tolist(),
            "segment_start_ms": starts,
            "segment_end_ms": [s and [t + 800 for t in s] for s in starts],
            "segment_label": [s and rng.integers(0, CLASSES, 6).tolist() for s in starts],
            "negatives": [None] * count,
        }
        tables.append(pa.table(columns).cast(index_rows.SCHEMA))
        listed.append({"file": name, "clips": count, "strong_clips": int(strong.sum())})
    info = _info("pcm16", listed)
    info.save(str(folder))
    clip_index.write(str(folder), info, tables)
    return str(folder)


def _info(encoding: str, listed: list[dict]):
    from audioset_strong.labels import vocabularies
    from audioset_strong.records import clip_records, dataset_info

    names = vocabularies.Vocabulary(
        tuple(f"/m/{i:04d}" for i in range(CLASSES)), tuple(f"class {i}" for i in range(CLASSES))
    )
    clips = sum(shard["clips"] for shard in listed)
    return dataset_info.DatasetInfo(
        encoding,
        "train",
        clip_records.SCHEMA_VERSION,
        16_000,
        encoding,
        names,
        listed,
        num_clips=clips,
        weak_clips=clips,
        strong_clips=sum(shard["strong_clips"] for shard in listed),
        negative_clips=clips,
        weak_counts=[1] * CLASSES,
        strong_counts=[1] * CLASSES,
        segment_counts=[1] * CLASSES,
        negative_counts=[0] * CLASSES,
    )


def _speech_like(rng: np.random.Generator) -> np.ndarray:
    """Ten seconds of noise with a falling spectrum and syllables; int16."""
    from scipy import signal

    noise = signal.lfilter([1.0], [1.0, -0.95], rng.standard_normal(SAMPLES))
    syllables = np.repeat(rng.gamma(0.5, 1.0, 50), 3200)
    loud = noise * np.convolve(syllables, np.hanning(800) / 400, "same")
    return np.round(8000 * loud / np.abs(loud).max()).astype(np.int16)


def drop_from_cache(root: str) -> None:
    """Has the system forget the files below a folder, so that they are read from the disk."""
    for path in pathlib.Path(root).rglob("*.tfrecord"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
