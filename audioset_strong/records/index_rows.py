"""The rows of an index: what `index.parquet` says of each clip, made from the clips' records."""

import os
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from audioset_strong.core import errors
from audioset_strong.records import clip_records, shard_reading

FRAME_BYTES = 12  # of a TFRecord, before the record: its length, and a checksum of that
_FOOTER_BYTES = 4  # behind it: its checksum
_LABELS = pa.list_(pa.int32())
# A list that is null was not annotated; an empty one was, with nothing found.
SCHEMA = pa.schema(
    {
        "clip_id": pa.string(),
        "shard": pa.dictionary(pa.int32(), pa.string()),
        "record_offset": pa.int64(),  # in the shard, in bytes; as are the others
        "record_bytes": pa.int32(),
        "audio_offset": pa.int64(),
        "audio_bytes": pa.int32(),
        "audio_crc32": pa.uint32(),  # of the encoded audio, as zlib computes it
        "num_samples": pa.int32(),
        "weak_labels": _LABELS,  # class indices, as in the records
        "segment_start_ms": _LABELS,
        "segment_end_ms": _LABELS,
        "segment_label": _LABELS,
        "negatives": _LABELS,
    }
)


class ShardRows:
    """The rows of one shard's clips, added in the order in which the shard holds them."""

    def __init__(self, shard: str):
        """Takes the shard's file name."""
        self._shard = shard
        self._rows: list[dict[str, Any]] = []
        self._end = 0  # of the frames so far

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, record: bytes) -> None:
        """Adds the next record of the shard.

        Raises:
          ValueError: it is not a clip's.
        """
        self._rows.append(row_of(record, self._shard, self._end + FRAME_BYTES))
        self._end += FRAME_BYTES + len(record) + _FOOTER_BYTES

    def add_frames(self, content: bytes) -> None:
        """Adds all records of a part of the shard, which has just been written."""
        begin = 0
        while begin < len(content):
            begin += FRAME_BYTES
            size = int.from_bytes(content[begin - FRAME_BYTES : begin - 4], "little")
            self.add(content[begin : begin + size])
            begin += size + _FOOTER_BYTES

    def table(self) -> pa.Table:
        """The rows, as a table of `SCHEMA`."""
        return pa.Table.from_pylist(self._rows, SCHEMA)


def row_of(record: bytes, shard: str, record_offset: int) -> dict[str, Any]:
    """The values of `SCHEMA` for a record.

    Raises:
      ValueError: it is not a clip's.
    """
    found = clip_records.read_facts(record)
    audio = memoryview(record)[found.audio_offset :][: found.audio_bytes]
    segments = found.segments

    def of_segments(place: int) -> list[int] | None:
        return None if segments is None else [segment[place] for segment in segments]

    return {
        "clip_id": found.clip_id,
        "shard": shard,
        "record_offset": record_offset,
        "record_bytes": len(record),
        "audio_offset": record_offset + found.audio_offset,
        "audio_bytes": found.audio_bytes,
        "audio_crc32": zlib.crc32(audio),
        "num_samples": found.num_samples,
        "weak_labels": None if found.weak_labels is None else list(found.weak_labels),
        "segment_start_ms": of_segments(0),
        "segment_end_ms": of_segments(1),
        "segment_label": of_segments(2),
        "negatives": None if found.negatives is None else list(found.negatives),
    }


def read_rows(path: str, *, on_clip: Callable[[], object] = lambda: None) -> ShardRows:
    """Reads a shard and makes the rows of its clips.

    Args:
      path: of the shard.
      on_clip: called for each clip.

    Raises:
      errors.InputError: a damaged shard, or a record that is not a clip's.
    """
    rows = ShardRows(os.path.basename(path))
    for record in shard_reading.read_records(path):
        try:
            rows.add(record)
        except ValueError as error:
            raise errors.InputError(
                f"{path}, record {len(rows)}: not a clip record ({error})"
            ) from error
        on_clip()
    return rows
