"""Parquet files with the bytes of audio files in a column, such as AudioSet on Hugging Face.

There a row has `video_id` (string), `audio` (struct of `bytes` and `path`), `labels` (list of
mids) and `human_labels` (list of names). Any other file will do that has a column of bytes, or such
a struct, and a column of names.
"""

import functools
import os
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from audioset_strong.audio import naming
from audioset_strong.audio.archives import members, parquet_pages
from audioset_strong.core import errors

# The columns that may name the clip of a row, in the order in which they are preferred.
_IDS = ("video_id", "ytid", "youtube_id", "clip_id", "segment_id", "audio_id", "id", "key")
_NAMES = (*_IDS, "__key__", "file_name", "filename", "file", "name", "path")
_LABELS = ("labels", "label", "human_labels", "tags", "tag")
_ROWS_AT_ONCE = 4096


def catalogue(path: str, *, labels: bool) -> members.Catalogue | None:
    """Lists the rows with audio of a Parquet file.

    Args:
      path: of the file, local or remote.
      labels: whether to read the column of labels, if there is one.

    Returns:
      None if there is no column of audio.

    Raises:
      errors.InputError: it is no Parquet file, it is cut off, or nothing names its rows.
      OSError: it cannot be read.
    """
    with members.open_file(path) as file:
        try:
            table = parquet.ParquetFile(file)
            schema = table.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise errors.InputError(
                f"{path}: not a whole Parquet file ({errors.first_line(error)}); what says where "
                "its rows are lies at its end, so nothing of it can be read"
            ) from error
        column = _audio_column(schema)
        if column is None:
            return None
        name_column, path_column = _name_columns(path, schema, column)
        label_column = _label_column(schema) if labels else None
        found = members.Catalogue(
            labels=[] if labels else None, labels_are=f"Parquet column {label_column or 'labels'}"
        )
        wanted = [one for one in (name_column, path_column, label_column) if one]
        places: list[parquet_pages.Place] = []
        for group in range(table.metadata.num_row_groups):
            try:
                rows = _group_rows(table, group, wanted)
            except pa.ArrowException as error:
                found.problems.append(_lost(table, group, error))
                continue
            group_places = _group_places(path, table, group, column, found.problems)
            for row, place in zip(rows, group_places, strict=True):
                name = _row_name(row, name_column, path_column)
                if place is None or not name:
                    continue
                found.names.append(name)
                places.append(place)
                if found.labels is not None:
                    found.labels.append(_row_labels(row, label_column))
        found.places = members.place_array(places)
    return found


def read_row(path: str, group: int, row: int) -> bytes:
    """The bytes of the audio in a row.

    Raises:
      DamagedMemberError: they cannot be read.
    """
    try:
        value = _row_group(path, members.version_of(path), group)[row].as_py()
        if isinstance(value, dict):
            value = value["bytes"]
    except (pa.ArrowException, OSError, IndexError) as error:
        raise members.DamagedMemberError(
            f"row group {group} cannot be read ({errors.first_line(error)})"
        ) from error
    if value is None:
        raise members.DamagedMemberError(f"there is no audio in row {row} of row group {group}")
    return value


@functools.lru_cache(1)
def _row_group(path: str, version: tuple[int, int], group: int) -> Any:
    """The audio of a row group; its rows are often asked for one after the other."""
    del version
    with members.open_file(path) as file:
        table = parquet.ParquetFile(file)
        column = _audio_column(table.schema_arrow) or ""
        return table.read_row_group(group, columns=[column]).column(0)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _audio_column(schema: pa.Schema) -> str | None:
    """The path of the column with the bytes; of several "audio", or else the first."""
    found = {}
    for field in schema:
        kind = field.type
        if _is_bytes(kind):
            found[field.name] = field.name
        elif pa.types.is_struct(kind):
            index = kind.get_field_index("bytes")
            if index >= 0 and _is_bytes(kind.field(index).type):
                found[field.name] = f"{field.name}.bytes"
    return found.get("audio", next(iter(found.values()), None))


def _name_columns(path: str, schema: pa.Schema, column: str) -> tuple[str | None, str | None]:
    """(column that names the rows, path of the column of their file names), at least one of them.

    Raises:
      errors.InputError: there is none.
    """
    name = next((n for n in _NAMES if n in schema.names and _is_text(schema.field(n).type)), None)
    parent, _, inner = column.partition(".")
    file = None
    if inner:
        kind = schema.field(parent).type
        index = kind.get_field_index("path")
        file = f"{parent}.path" if index >= 0 and _is_text(kind.field(index).type) else None
    if name is None and file is None:
        raise errors.InputError(
            f"{path}: no column names its rows; there are {', '.join(schema.names)}, but none of "
            f"{', '.join(_NAMES)}"
        )
    return name, file


def _label_column(schema: pa.Schema) -> str | None:
    for name in _LABELS:
        if name in schema.names:
            kind = schema.field(name).type
            is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            if _is_text(kind.value_type if is_list else kind):
                return name
    return None


def _row_name(row: Any, name_column: str | None, path_column: str | None) -> str:
    """The name of a row; its extension, if it has none, is that of its file's name."""
    file = (row[path_column.partition(".")[0]] or {}).get("path") if path_column else None
    name = row[name_column] if name_column else file
    if name and file and not naming.is_audio(name) and naming.is_audio(file):
        return name + os.path.splitext(file)[1]
    return name or ""


def _row_labels(row: Any, column: str | None) -> members.Labels:
    value = row[column] if column else None
    if isinstance(value, str):
        value = members.split_labels(value)
    return tuple(dict.fromkeys(label.strip() for label in value or () if label)) or None


def _group_rows(table: Any, group: int, columns: list[str]) -> list[Any]:
    """The rows of a row group, without their audio.

    Raises:
      pa.ArrowException: they are damaged.
      OSError: they cannot be read.
    """
    try:
        batches = list(table.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns))
    except OSError as error:
        if error.errno is None:  # Arrow takes some damage for this
            raise pa.ArrowInvalid(errors.first_line(error)) from error
        raise
    rows = [row for batch in batches for row in batch.to_pylist()]
    if len(rows) != table.metadata.row_group(group).num_rows:
        raise pa.ArrowInvalid(f"{len(rows)} rows are there")
    return rows


def _lost(table: Any, group: int, error: Exception) -> str:
    """What is said of a row group of which not even the names can be read."""
    count = table.metadata.row_group(group).num_rows
    return f"row group {group} is damaged ({errors.first_line(error)}): its {count} rows are lost"


def _group_places(
    path: str, table: Any, group: int, column: str, problems: list[str]
) -> list[parquet_pages.Place | None]:
    """The place of the audio in each row of a row group; None where there is none."""
    facts = table.metadata.row_group(group)
    index = next(i for i in range(facts.num_columns) if facts.column(i).path_in_schema == column)
    chunk, described = facts.column(index), table.schema.column(index)
    first = chunk.dictionary_page_offset if chunk.has_dictionary_page else None
    offset = min(one for one in (first, chunk.data_page_offset) if one)
    try:
        places = parquet_pages.value_places(
            path,
            parquet_pages.Column(
                offset=offset,
                size=chunk.total_compressed_size,
                rows=facts.num_rows,
                codec=chunk.compression,
                max_definition_level=described.max_definition_level,
            ),
        )
        if len(places) == facts.num_rows:
            return places
        reason = f"{len(places)} values in {facts.num_rows} rows"
    except parquet_pages.UnknownLayoutError as error:
        reason = str(error)
    slow = "each clip takes reading its whole row group"
    if not any(slow in problem for problem in problems):  # all groups are alike
        megabytes = chunk.total_compressed_size / 1e6
        problems.append(
            f"{reason}: {slow} (here {megabytes:.0f} MB), "
            "which is slow; plain values, with Snappy or without compression, are not"
        )
    return [(members.PARQUET_ROW, group, row) for row in range(facts.num_rows)]
