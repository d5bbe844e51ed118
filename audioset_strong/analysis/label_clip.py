"""One clip with all of its labels, from a dataset's shards or from audio and metadata files."""

import os
from collections.abc import Callable, Sequence

import pandas as pd
import tensorflow as tf

from audioset_strong.audio import decoding, features
from audioset_strong.conversion import converter
from audioset_strong.core import errors
from audioset_strong.labels import metadata
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records import clip_records, dataset_info, inspection


def from_dataset(directory: str, clip_id: str) -> tuple[clip_records.Clip, Vocabulary]:
    """A clip of a converted dataset, and what its class indices mean.

    Raises:
      errors.InputError: no dataset there, or no such clip in it; with the manifest's reason.
    """
    info = dataset_info.DatasetInfo.load(directory)
    shards = info.shard_paths(directory)
    manifest = os.path.join(directory, converter.MANIFEST)
    if tf.io.gfile.exists(manifest):  # tells the shard, so that not all have to be read
        listed = inspection.manifest_rows(directory)
        rows = [row for row in listed if row["clip_id"] == clip_id]
        if not rows:
            raise errors.InputError(f"{manifest}: no clip {clip_id}")
        if not rows[0]["shard"]:
            raise errors.InputError(
                f"{manifest}: clip {clip_id} is not in the dataset: {rows[0]['status']} "
                f"({rows[0]['reason']})"
            )
        shards = [path for path in shards if rows[0]["shard"] in os.path.basename(path)]
    for path in shards:
        for clip in clip_records.read_clips(path, info.encoding):
            if clip.clip_id == clip_id:
                return clip, info.vocabulary
    raise errors.InputError(f"{directory}: no clip {clip_id} in its shards")


def from_files(
    audio_file: str,
    clip_id: str,
    weak_csvs: Sequence[str] = (),
    strong_tsvs: Sequence[str] = (),
    framed_tsvs: Sequence[str] = (),
    negatives: Sequence[str] = (),
    class_labels: Sequence[str] = (),
    skip_bad_rows: bool = False,
) -> tuple[clip_records.Clip, Vocabulary]:
    """A clip from its audio and from metadata files.

    Args:
      audio_file: holds the clip alone, or the whole video.
      clip_id: YTID_STARTMS.
      weak_csvs, strong_tsvs, negatives: metadata files, read for this clip.
      framed_tsvs: read for the explicit negatives in them.
      class_labels: class lists, for the names of the classes; a class in none goes by its mid.
      skip_bad_rows: leave malformed rows out instead of raising.

    Returns:
      The clip, and what its class indices mean. A kind of label is known of it where one of the
      files names the clip.

    Raises:
      errors.InputError: malformed files, undecodable audio, or a clip that no file names.
    """
    _, start_ms = metadata.split_clip_id(clip_id)

    def rows(reader: Callable, paths: Sequence[str]) -> pd.DataFrame | None:
        tables = [reader(path, skip_bad_rows=skip_bad_rows) for path in paths]
        found = [table[table["clip_id"] == clip_id] for table in tables]
        found = [table for table in found if len(table)]
        return pd.concat(found, ignore_index=True) if found else None

    weak = rows(metadata.read_weak_csv, weak_csvs)
    strong = rows(metadata.read_strong_tsv, strong_tsvs)
    framed = rows(metadata.read_framed_tsv, framed_tsvs)
    absent = [rows(metadata.read_negatives, negatives)]
    absent += [] if framed is None else [metadata.negatives_from_framed(framed)]
    if weak is None and strong is None and framed is None and absent == [None]:
        raise errors.InputError(f"clip {clip_id}: in none of the metadata files given")
    weak_mids = None if weak is None else sorted({mid for mids in weak["labels"] for mid in mids})
    segments = None
    if strong is not None:
        columns = strong[["start_ms", "end_ms", "mid"]].drop_duplicates()
        segments = list(columns.itertuples(index=False, name=None))
    known = [table for table in absent if table is not None]
    negative_mids = sorted({mid for table in known for mid in table["mid"]}) if known else None

    vocabulary = Vocabulary.from_files(class_labels) if class_labels else Vocabulary((), ())
    mids = {*(weak_mids or ()), *(mid for *_, mid in segments or ()), *(negative_mids or ())}
    strangers = tuple(sorted(mid for mid in mids if mid not in vocabulary.index))
    vocabulary = vocabulary.union(Vocabulary(strangers, strangers))
    index = vocabulary.index
    length_ms = metadata.CLIP_MS if weak is None else int(weak["end_ms"].iloc[0]) - start_ms
    try:
        waveform = decoding.load(
            audio_file, features.SAMPLE_RATE, start_ms / 1000, length_ms / 1000, decoding.EITHER
        )
    except (decoding.AudioError, OSError) as error:
        raise errors.InputError(f"{audio_file}: {error}") from error
    clip = clip_records.Clip(
        clip_id=clip_id,
        audio=decoding.to_pcm16(waveform),
        sample_rate=features.SAMPLE_RATE,
        weak_labels=_indices(index, weak_mids),
        segments=None
        if segments is None
        else tuple(sorted((start, end, index[mid]) for start, end, mid in segments)),
        negatives=_indices(index, negative_mids),
    )
    return clip, vocabulary


def _indices(index, mids: Sequence[str] | None) -> tuple[int, ...] | None:
    return None if mids is None else tuple(sorted(index[mid] for mid in mids))
