"""`index.parquet`: where in its shards each clip of a dataset lies, and everything but its audio.

With it a window of a clip is read by offset, any clip can be the next, and no record is read for
its labels. Conversion writes it beside the shards; where there is none, opening makes one. It is a
plain Parquet file with a row for each clip: `pandas.read_parquet("data/train/index.parquet")`.
"""

import concurrent.futures
import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from absl import logging
from pyarrow import compute, parquet

from audioset_strong.core import errors, files, locks, progress
from audioset_strong.records import index_rows, shard_files
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.records.shard_files import Shard

FILE_NAME = "index.parquet"
FORMAT = 1

_FILES_AT_ONCE = 32
_METADATA = b"audioset_strong"


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Labels of clips, one after the other.

    Attributes:
      known: bool `[clips]`, whether this kind of label is known for a clip.
      offsets: int64 `[clips + 1]`; the values of clip i begin at `offsets[i]`.
      values: int32 `[labels]`.
    """

    known: np.ndarray
    offsets: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClipIndex:
    """The index of a dataset, in memory.

    Attributes:
      shards: the dataset's, in order.
      table: of `index_rows.SCHEMA`, in the order of the shards.
    """

    shards: tuple[Shard, ...]
    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def clip_ids(self) -> pa.StringArray:
        """The clips' ids."""
        return self._column("clip_id")

    @functools.cached_property
    def shard(self) -> np.ndarray:
        """The shard of each clip, as a place in `shards`; int32 `[clips]`."""
        column = self._column("shard")
        names = [os.path.basename(shard.path) for shard in self.shards]
        place = [names.index(name) for name in column.dictionary.to_pylist()]
        return np.array(place, np.int32)[column.indices.to_numpy()]

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers, `[clips]`."""
        return self._column(column).to_numpy()

    def labels(self, column: str) -> Ragged:
        """A column of lists."""
        lists = self._column(column)
        lengths = compute.fill_null(compute.list_value_length(lists), 0).to_numpy()
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        known = lists.is_valid().to_numpy(zero_copy_only=False)
        return Ragged(known, offsets, lists.flatten().to_numpy())

    def find(self, clip_id: str) -> int | None:
        """The row of a clip; None if there is no such clip."""
        row = compute.index(self._column("clip_id"), clip_id).as_py()
        return None if row < 0 else row

    def record(self, row: int) -> bytes:
        """Reads the record of a clip, and checks it.

        Raises:
          errors.InputError: it cannot be read, or is not what was indexed.
        """
        facts = self.table.slice(row, 1).to_pylist()[0]
        path = self.shards[self.shard[row]].path
        with files.reading(path):
            record = shard_files.read_part(path, facts["record_offset"], facts["record_bytes"])
        try:
            found = index_rows.row_of(record, facts["shard"], facts["record_offset"])
        except (ValueError, KeyError) as error:
            raise errors.InputError(
                f"{path}: byte {facts['record_offset']} should begin the record of "
                f"{facts['clip_id']}, according to {FILE_NAME} ({errors.first_line(error)})"
            ) from error
        for name, value in found.items():
            if value != facts[name]:
                raise errors.InputError(
                    f"{path}: the record of {facts['clip_id']} has {name} = {value}, but "
                    f"{FILE_NAME} has {facts[name]}"
                )
        return record

    def problem(self, row: int) -> str | None:
        """What is wrong with the record of a clip; None if it is what was indexed."""
        try:
            self.record(row)
        except errors.InputError as error:
            return str(error)
        return None

    def _column(self, name: str) -> Any:
        """A column as one array. One at a time, for all of them would be the table once more."""
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def open_index(directory: str, info: DatasetInfo, *, skip_damaged: bool = False) -> ClipIndex:
    """Reads the index of a dataset, and compares it with the shards.

    A dataset that has none gets one, which takes reading all of it once.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.
      skip_damaged: whether shards that are cut off, and damaged records, are logged instead of
        being an error. Whoever reads such shards must compare the clips' checksums.

    Raises:
      errors.InputError: an index that cannot be read, or that does not fit its shards.
    """
    if not files.exists(os.path.join(directory, FILE_NAME)):
        return _first_use(directory, info)
    index = load(directory, info)
    _check_shards(index, directory, skip_damaged=skip_damaged)
    return index


def load(directory: str, info: DatasetInfo) -> ClipIndex:
    """Reads the index that a dataset has, without regard to its shards.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.

    Raises:
      errors.InputError: an index that is missing, cannot be read or is that of something else.
    """
    path = os.path.join(directory, FILE_NAME)
    with files.reading(path):
        source = pa.BufferReader(files.read_bytes(path)) if files.is_remote(path) else path
        try:
            table = _read_table(source)
            table.validate(full=True)
            facts = json.loads((table.schema.metadata or {})[_METADATA])
            wrong = _difference(facts, table, info)
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            wrong = f"not an index of clips ({errors.first_line(error)})"
        except OSError as error:  # so Arrow calls damage, too
            wrong = f"cannot be read ({files.reason(error)})"
    if wrong:
        raise errors.InputError(f"{path}: {wrong}; {_way_out(directory)}")
    return _in_memory(directory, info, table)


def _read_table(source: Any) -> pa.Table:
    # Arrow's own pool would keep what it took for reading: as much again as the table.
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        file = parquet.ParquetFile(source, page_checksum_verification=True)
        return file.read(use_threads=False).unify_dictionaries()
    finally:
        pa.set_memory_pool(before)


def build(directory: str, info: DatasetInfo) -> list[pa.Table]:
    """Reads all shards of a dataset and makes the rows of their clips, a table a shard.

    Args:
      directory: of the dataset.
      info: what `DatasetInfo.load` returned for it.

    Raises:
      errors.InputError: a damaged shard, or one with another number of records than `info` says.
    """
    tables = []
    with progress.Bar(f"indexing {info.name}", info.num_clips, unit="clip") as bar:
        for shard, path in zip(info.shards, info.shard_paths(directory), strict=True):
            rows = index_rows.read_rows(path, on_clip=bar.update)
            if len(rows) != shard["clips"]:
                raise errors.InputError(
                    f"{path}: {len(rows)} clips, where there should be {shard['clips']}; convert "
                    "the dataset again"
                )
            tables.append(rows.table())
    return tables


def write(directory: str, info: DatasetInfo, tables: Iterable[pa.Table]) -> None:
    """Writes the index of a dataset whose shards are complete.

    Args:
      directory: of the dataset.
      info: of the dataset.
      tables: of `index_rows.SCHEMA`, one for each shard in their order.

    Raises:
      OSError: it cannot be written.
    """
    facts = {
        "format": FORMAT,
        "schema_version": info.schema_version,
        "fingerprint": info.fingerprint,
        "shards": [
            {"file": listed["file"], "clips": listed["clips"], "bytes": shard.num_bytes}
            for listed, shard in zip(info.shards, _shards(directory, info), strict=True)
        ],
    }
    sink = pa.BufferOutputStream()
    schema = index_rows.SCHEMA.with_metadata({_METADATA: json.dumps(facts)})
    with parquet.ParquetWriter(
        sink, schema, compression="zstd", write_page_checksum=True
    ) as writer:
        for table in tables:
            writer.write_table(table)
    files.write_bytes(os.path.join(directory, FILE_NAME), sink.getvalue().to_pybytes())


def _shards(directory: str, info: DatasetInfo) -> tuple[Shard, ...]:
    """The shards as they are now."""
    paths = info.shard_paths(directory)
    with concurrent.futures.ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        found = pool.map(files.size_and_time, paths)
        return tuple(Shard(path, *facts) for path, facts in zip(paths, found, strict=True))


def _first_use(directory: str, info: DatasetInfo) -> ClipIndex:
    """Makes the index of a dataset that an older version converted."""
    with locks.locked(directory, "making its index", wait=True):
        if files.exists(os.path.join(directory, FILE_NAME)):  # another process was first
            return open_index(directory, info)
        size = sum(shard.num_bytes for shard in _shards(directory, info)) / 2**30
        logging.warning("%s: has no index; it is made now, by reading %.1f GB", directory, size)
        tables = build(directory, info)
        try:
            write(directory, info, tables)
        except OSError as error:
            logging.warning(
                "%s: its index cannot be written (%s), so it is made anew every time",
                directory,
                files.reason(error),
            )
    return _in_memory(directory, info, pa.concat_tables(tables).unify_dictionaries())


def _in_memory(directory: str, info: DatasetInfo, table: pa.Table) -> ClipIndex:
    return ClipIndex(_shards(directory, info), table)


def _difference(facts: Mapping[str, Any], table: pa.Table, info: DatasetInfo) -> str | None:
    """What makes an index that of something else than this dataset."""
    for name, wanted in (("format", FORMAT), ("schema_version", info.schema_version)):
        if facts[name] != wanted:
            return f"{name} {facts[name]}, where this code needs {wanted}"
    if not table.schema.equals(index_rows.SCHEMA):
        return f"its columns are not {', '.join(index_rows.SCHEMA.names)}"
    listed = {shard["file"]: shard["clips"] for shard in facts["shards"] if shard["bytes"] >= 0}
    for shard in info.shards:
        if listed.pop(shard["file"], None) != shard["clips"]:
            return f"does not fit {shard['file']}, which has {shard['clips']} clips"
    if listed or table.num_rows != info.num_clips:
        return f"lists {min(listed, default='other clips')}, which the dataset does not have"
    if facts["fingerprint"] != info.fingerprint:
        return f"is of another conversion than the one that wrote {info.shards[0]['file']}"
    return None


def _way_out(directory: str) -> str:
    return f"make it anew with audioset_strong_index_dataset --dataset={directory}"


def _check_shards(index: ClipIndex, directory: str, *, skip_damaged: bool) -> None:
    """Checks that the shards are what was indexed, as far as that takes no time.

    Equal sizes and equal first and last records, labels and audio: another conversion, a shard that
    was replaced or one that is cut off does not pass. `inspection.verify` compares every record.
    """
    facts = json.loads(index.table.schema.metadata[_METADATA])
    way_out = f"convert the dataset again, or {_way_out(directory)}"
    problems = []
    for shard, listed in zip(index.shards, facts["shards"], strict=True):
        if shard.num_bytes != listed["bytes"]:
            problems.append(
                f"{shard.path}: {shard.num_bytes:,} bytes, but {FILE_NAME} was made when it had "
                f"{listed['bytes']:,}"
            )
    numbers = np.arange(len(index.shards))
    first, end = (np.searchsorted(index.shard, numbers, side) for side in ("left", "right"))
    rows = np.unique(np.concatenate([first, end - 1])[np.tile(first < end, 2)])
    if skip_damaged or not problems:
        with concurrent.futures.ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            problems += [text for text in pool.map(index.problem, rows.tolist()) if text]
    if problems and not skip_damaged:
        raise errors.InputError(f"{problems[0]}; {way_out}")
    for problem in problems:
        logging.warning("%s; what is damaged there is skipped", problem)
