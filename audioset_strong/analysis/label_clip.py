"""One clip with all of its labels, from a dataset's shards or from audio and metadata files."""

from collections.abc import Mapping

import numpy as np

from audioset_strong.audio import decoding, pcm
from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import errors
from audioset_strong.labels import metadata
from audioset_strong.labels.metadata_files import LabelTables, MetadataFiles
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records import clip_records, dataset_info, inspection


def from_dataset(directory: str, clip_id: str) -> tuple[clip_records.Clip, Vocabulary]:
    """A clip of a converted dataset, and the classes that its indices stand for.

    Args:
      directory: of the dataset.
      clip_id: YTID_STARTMS.

    Raises:
      errors.InputError: no dataset there, or no such clip in it, with the manifest's reason.
    """
    info = dataset_info.DatasetInfo.load(directory)
    return inspection.find_clip(directory, info, clip_id), info.vocabulary


def from_files(
    audio_file: str,
    clip_id: str,
    *,
    files: MetadataFiles,
    front_end: FrontEnd = DEFAULT_FRONT_END,
) -> tuple[clip_records.Clip, Vocabulary]:
    """A clip from its audio and from metadata files.

    Args:
      audio_file: holds the clip alone, or the whole video.
      clip_id: YTID_STARTMS.
      files: the labels. Framed TSVs are read for their explicit negatives only; class lists give
        the names of the classes, and a class in none of them goes by its mid.
      front_end: its sample rate is the one of the clip's audio.

    Returns:
      The clip, and the classes that its indices stand for. A kind of label is known of the clip
      where one of the files names the clip.

    Raises:
      errors.InputError: malformed files, undecodable audio, or a clip that no file names.
    """
    _, start_ms = metadata.split_clip_id(clip_id)
    tables = files.read().of_clips({clip_id})
    weak, strong, negatives = _labels(tables)
    if weak is None and strong is None and negatives is None:
        raise errors.InputError(f"clip {clip_id}: in none of the metadata files given")

    mids = {*(weak or ()), *(mid for *_, mid in strong or ()), *(negatives or ())}
    names = files.class_names()
    unnamed = tuple(sorted(mid for mid in mids if mid not in names.index))
    vocabulary = names.union(Vocabulary(unnamed, unnamed))
    index = vocabulary.index

    length_ms = metadata.CLIP_MS
    if tables.weak is not None and len(tables.weak):
        length_ms = int(tables.weak["end_ms"].iloc[0]) - start_ms
    waveform = _load(audio_file, start_ms, length_ms, front_end.sample_rate)
    clip = clip_records.Clip(
        clip_id=clip_id,
        audio=pcm.from_float(waveform),
        sample_rate=front_end.sample_rate,
        weak_labels=_indices(index, weak),
        segments=None
        if strong is None
        else tuple(sorted((start, end, index[mid]) for start, end, mid in strong)),
        negatives=_indices(index, negatives),
    )
    return clip, vocabulary


def _labels(
    tables: LabelTables,
) -> tuple[set[str] | None, set[tuple[int, int, str]] | None, set[str] | None]:
    """(weak mids, segments, negative mids) of the one clip in the tables; None where unknown."""
    weak, strong, negatives = None, None, None
    if tables.weak is not None and len(tables.weak):
        weak = {mid for mids in tables.weak["labels"] for mid in mids}
    if tables.strong is not None and len(tables.strong):
        columns = tables.strong[["start_ms", "end_ms", "mid"]]
        strong = set(columns.itertuples(index=False, name=None))
    if tables.negatives is not None and len(tables.negatives):
        negatives = set(tables.negatives["mid"])
    if tables.framed is not None and len(tables.framed):
        framed = metadata.negatives_from_framed(tables.framed)
        negatives = (negatives or set()) | set(framed["mid"])
    return weak, strong, negatives


def _load(path: str, start_ms: int, length_ms: int, sample_rate: int) -> np.ndarray:
    try:
        return decoding.load(
            path,
            sample_rate,
            start_s=start_ms / 1000,
            duration_s=length_ms / 1000,
            contents=decoding.EITHER,
        )
    except (decoding.AudioError, OSError) as error:
        raise errors.InputError(f"{path}: {error}") from error


def _indices(index: Mapping[str, int], mids: set[str] | None) -> tuple[int, ...] | None:
    return None if mids is None else tuple(sorted(index[mid] for mid in mids))
