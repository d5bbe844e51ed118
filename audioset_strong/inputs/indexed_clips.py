"""The clips of datasets, as their indices list them: everything but the audio, in memory."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from audioset_strong.inputs.clip_labels import Clips
from audioset_strong.records import clip_index
from audioset_strong.records.clip_index import ClipIndex, Ragged
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.records.shard_files import Shard

_STRINGS_AT_ONCE = 1 << 16
# Columns of `index_rows.SCHEMA` that say where the bytes are, and what they are.
_NUMBERS = ("record_offset", "audio_offset", "audio_bytes", "audio_crc32", "num_samples")
_LABELS = ("weak_labels", "segment_label", "negatives")
_TIMES = ("segment_start_ms", "segment_end_ms")
_KNOWN = {
    "weak_known": "weak_labels",
    "strong_known": "segment_label",
    "negatives_known": "negatives",
}


@dataclasses.dataclass(frozen=True, eq=False)
class IndexedClips:
    """The clips of one dataset after the other; a clip is known by its row.

    Attributes:
      directories: of the datasets.
      ends: int64 `[datasets]`, the row behind the last clip of each.
      shards: of all datasets.
      columns: `[clips]` each: "shard", a place in `shards`; the numbers of `index_rows.SCHEMA`; and
        whether each kind of annotation is known, by the names of `Clips`.
      tensors: the keys of `Clips` but `record`, for all clips, in host memory.
    """

    directories: tuple[str, ...]
    ends: np.ndarray
    shards: tuple[Shard, ...]
    columns: Mapping[str, np.ndarray]
    tensors: Mapping[str, tf.Tensor | tf.RaggedTensor]

    @classmethod
    def open(
        cls,
        directories: Sequence[str],
        infos: Sequence[DatasetInfo],
        *,
        skip_damaged: bool = False,
    ) -> "IndexedClips":
        """Reads the indices of datasets, each once.

        Args:
          directories: of the datasets.
          infos: what `DatasetInfo.load` returned for them.
          skip_damaged: see `clip_index.open_index`.

        Raises:
          errors.InputError: see `clip_index.open_index`.
        """
        distinct = dict(zip(directories, infos, strict=True))
        # What is not needed of a dataset's index is gone when the next is read.
        parts = [
            _Part.of(clip_index.open_index(path, info, skip_damaged=skip_damaged))
            for path, info in distinct.items()
        ]
        pa.default_memory_pool().release_unused()
        shards = [part.shards for part in parts]
        first = np.cumsum([0, *map(len, shards)]).astype(np.int32)
        columns = {name: _joined([part.numbers[name] for part in parts]) for name in _NUMBERS}
        columns["shard"] = _joined(
            [part.numbers["shard"] + begin for part, begin in zip(parts, first[:-1], strict=True)]
        )
        for name, column in _KNOWN.items():
            columns[name] = _joined([part.labels[column].known for part in parts])
        return cls(
            directories=tuple(distinct),
            ends=np.cumsum([len(part.clip_ids) for part in parts]),
            shards=tuple(shard for of_dataset in shards for shard in of_dataset),
            columns=columns,
            tensors=_tensors(parts, columns),
        )

    def rows_of(self, directories: Sequence[str]) -> np.ndarray:
        """The rows of the clips of some of the datasets, in their order; int64."""
        first = np.array([0, *self.ends[:-1]])
        places = [self.directories.index(directory) for directory in directories]
        return np.concatenate([np.arange(first[i], self.ends[i]) for i in places])

    def clip_id(self, row: int) -> str:
        """The id of a clip."""
        return self.tensors["clip_id"][row].numpy().decode()

    def gather(self, rows: tf.Tensor) -> Clips:
        """Some of the clips, in-graph.

        Args:
          rows: int64 `[batch]`.

        Returns:
          What `clip_records.parse` gives for their records, without the records themselves.
        """
        clips = {name: tf.gather(values, rows) for name, values in self.tensors.items()}
        clips["num_samples"] = tf.cast(clips["num_samples"], tf.int64)
        return clips


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """What is kept of the index of one dataset."""

    shards: tuple[Shard, ...]
    numbers: Mapping[str, np.ndarray]
    labels: Mapping[str, Ragged]
    clip_ids: pa.StringArray

    @classmethod
    def of(cls, index: ClipIndex) -> "_Part":
        return cls(
            shards=index.shards,
            numbers={name: index.numbers(name) for name in _NUMBERS} | {"shard": index.shard},
            labels={name: index.labels(name) for name in (*_LABELS, *_TIMES)},
            clip_ids=index.clip_ids,
        )


def _tensors(
    parts: Sequence[_Part], columns: Mapping[str, np.ndarray]
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    # Outside of whatever graph is being built, and not on a GPU.
    with tf.init_scope(), tf.device("CPU:0"):
        tensors: dict[str, tf.Tensor | tf.RaggedTensor] = {
            "clip_id": tf.concat([_strings(part.clip_ids) for part in parts], 0),
            "num_samples": tf.constant(columns["num_samples"]),
        }
        for name in _LABELS:
            tensors[name] = _ragged([part.labels[name] for part in parts])
        for name in _TIMES:
            values = _joined([part.labels[name].values for part in parts])
            tensors[name] = tensors["segment_label"].with_values(tf.constant(values))
        for name in _KNOWN:
            tensors[name] = tf.constant(columns[name])
    return tensors


def _strings(values: pa.StringArray) -> tf.Tensor:
    # Some at a time: as objects of Python they take three times the memory.
    encoded = values.cast(pa.binary())
    begins = range(0, max(len(encoded), 1), _STRINGS_AT_ONCE)
    parts = (encoded.slice(i, _STRINGS_AT_ONCE).to_numpy(zero_copy_only=False) for i in begins)
    return tf.concat([tf.constant(part, tf.string) for part in parts], 0)


def _ragged(parts: Sequence[Ragged]) -> tf.RaggedTensor:
    begins = np.cumsum([0, *(len(part.values) for part in parts)])
    splits = [part.offsets[:-1] + begin for part, begin in zip(parts, begins[:-1], strict=True)]
    return tf.RaggedTensor.from_row_splits(
        _joined([part.values for part in parts]),
        np.concatenate([*splits, begins[-1:]], dtype=np.int32),
        validate=False,
    )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays one after the other; of one array no copy is made."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
