"""Clips and datasets that several tests write: real TFRecord shards with their dataset info."""

import dataclasses

import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.labels import vocabularies
from audioset_strong.labels.metadata_files import MetadataFiles
from audioset_strong.records import clip_index, clip_records, dataset_info, manifest

CLASSES = 4
VOCABULARY = vocabularies.Vocabulary(
    tuple(f"/m/0{i}" for i in range(CLASSES)), tuple(f"class {i}" for i in range(CLASSES))
)


def make_clip(
    i,
    seconds=10.0,
    weak=(0,),
    segments=((1000, 3000, 1), (500, 700, 2)),
    negatives=(3,),
    sample_rate=16_000,
):
    """A clip whose samples show where they come from: sample t of clip i is (i * 7 + t) % 30011."""
    audio = ((i * 7 + np.arange(int(seconds * sample_rate))) % 30011).astype(np.int16)
    return clip_records.Clip(
        clip_id=f"video{i:06d}_{i * 1000}",
        audio=audio,
        sample_rate=sample_rate,
        weak_labels=weak,
        segments=segments,
        negatives=negatives,
    )


def write_dataset(
    directory,
    clips,
    num_shards=3,
    encoding="pcm16",
    vocabulary=VOCABULARY,
    front_end=None,
    split="train",
):
    """Writes clips of one sample rate as a dataset, index and all; returns its directory."""
    directory.mkdir(parents=True)
    sample_rate = clips[0].sample_rate if clips else 16_000
    shards = []
    for shard in range(num_shards):
        name = f"{directory.name}-{shard:05d}-of-{num_shards:05d}.tfrecord"
        chosen = clips[shard::num_shards]
        with tf.io.TFRecordWriter(str(directory / name)) as writer:
            for clip in chosen:
                writer.write(
                    clip_records.serialize(
                        clip, encoding, front_end=front_end or features.DEFAULT_FRONT_END
                    )
                )
        shards.append(
            {
                "file": name,
                "clips": len(chosen),
                "weak_clips": sum(clip.weak_labels is not None for clip in chosen),
                "strong_clips": sum(clip.segments is not None for clip in chosen),
                "negative_clips": sum(clip.negatives is not None for clip in chosen),
            }
        )

    def count(label_sets):
        return np.bincount(
            [label for labels in label_sets for label in set(labels)], minlength=len(vocabulary)
        ).tolist()

    strong = [clip for clip in clips if clip.segments is not None]
    weak = [clip for clip in clips if clip.weak_labels is not None]
    negative = [clip for clip in clips if clip.negatives is not None]
    info = dataset_info.DatasetInfo(
        name=directory.name,
        split=split,
        schema_version=clip_records.SCHEMA_VERSION,
        sample_rate=sample_rate,
        encoding=encoding,
        front_end=front_end,
        vocabulary=vocabulary,
        shards=shards,
        num_clips=len(clips),
        hours=sum(len(clip.audio) for clip in clips) / sample_rate / 3600,
        weak_clips=len(weak),
        strong_clips=len(strong),
        negative_clips=len(negative),
        weak_counts=count(clip.weak_labels for clip in weak),
        strong_counts=count([s[2] for s in clip.segments] for clip in strong),
        segment_counts=np.bincount(
            [s[2] for clip in strong for s in clip.segments], minlength=len(vocabulary)
        ).tolist(),
        negative_counts=count(clip.negatives for clip in negative),
        command="",
        sources={},
        labels_outside={},
    )
    with manifest.writing(str(directory)) as write_row:
        for i, clip in enumerate(clips):
            file = shards[i % num_shards]["file"]
            write_row([clip.clip_id, manifest.WRITTEN, "", "", file, f"{clip.seconds:.3f}"])
    info.save(str(directory))
    clip_index.write(str(directory), info, clip_index.build(str(directory), info))
    return str(directory)


def toy_clips(count: int, first: int = 0) -> list[clip_records.Clip]:
    """Four-second clips that a tiny network can learn: class 0 is a tone, class 1 is noise.

    One of the two sounds for one to three seconds of a clip; the other is an explicit negative.
    """
    clips = []
    for i in range(first, first + count):
        rng = np.random.default_rng(i)
        label = i % 2
        start, length = int(rng.integers(0, 1000)), int(rng.integers(1000, 3000))
        audio = 0.001 * rng.normal(size=4 * 16000)
        time = np.arange(length * 16) / 16000
        tone = np.sin(2 * np.pi * rng.uniform(400, 1200) * time)
        noise = rng.normal(size=length * 16)
        audio[start * 16 : (start + length) * 16] += 0.1 * (noise if label else tone)
        clips.append(
            clip_records.Clip(
                clip_id=f"toy{i:08d}_0",
                audio=np.round(audio * 32767).clip(-32768, 32767).astype(np.int16),
                sample_rate=16000,
                weak_labels=(label,),
                segments=((start, start + length, label),),
                negatives=(1 - label,),
            )
        )
    return clips


_METADATA = {field.name for field in dataclasses.fields(MetadataFiles)}


def conversion_request(**fields) -> ConversionRequest:
    """A request; fields of `MetadataFiles` go into its metadata."""
    metadata = {name: fields.pop(name) for name in list(fields) if name in _METADATA}
    return ConversionRequest(metadata=MetadataFiles(**metadata), **fields)


def changed(request: ConversionRequest, **fields) -> ConversionRequest:
    """A request with other values; fields of `MetadataFiles` change its metadata."""
    metadata = {name: fields.pop(name) for name in list(fields) if name in _METADATA}
    return dataclasses.replace(
        request, metadata=dataclasses.replace(request.metadata, **metadata), **fields
    )
