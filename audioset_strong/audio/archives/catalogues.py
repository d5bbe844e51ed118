"""Archives of every kind: which files are archives, what is in them, and the bytes of a member.

The list of a large archive is kept in a file, with the archive's size and time of change; a list
of another state of the archive is made again.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from absl import logging
from pyarrow import parquet

from audioset_strong.audio import naming
from audioset_strong.audio.archives import (
    hdf5_files,
    members,
    parquet_files,
    parquet_pages,
    tar_files,
    zip_files,
)
from audioset_strong.core import files

COMPRESSED_TARS = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
_HDF5 = (".h5", ".hdf5", ".hdf")
# The end of an archive's name -> what lists its members; that of tars refuses compressed ones.
_KINDS: Mapping[str, Callable[..., members.Catalogue | None]] = {
    ".parquet": parquet_files.catalogue,
    ".zip": zip_files.catalogue,
    **dict.fromkeys(_HDF5, hdf5_files.catalogue),
    **dict.fromkeys((".tar", *COMPRESSED_TARS), tar_files.catalogue),
}
SUFFIXES = tuple(_KINDS)
_KEPT_FROM = 1000  # members; smaller archives are listed in no time
_FORMAT = 1  # of the lists that are kept


def is_archive(path: str) -> bool:
    """Whether the name of a file is that of an archive.

    >>> is_archive("train/00.parquet"), is_archive("a.wav")
    (True, False)
    """
    return path.lower().endswith(SUFFIXES)


def catalogue(
    path: str, *, labels: bool = False, kept_in: str | None = None
) -> members.Catalogue | None:
    """Lists the members of an archive that are audio.

    What is wrong with it, such as a missing end, is told in a warning.

    Args:
      path: of the archive, local or of a file system that `tf.io.gfile` knows.
      labels: whether the labels in it are wanted, too.
      kept_in: directory in which the lists of large archives are kept, or None.

    Returns:
      The members, without hidden ones; None for a file of this kind that holds no audio at all.

    Raises:
      errors.InputError: nothing of it can be read, or what reads it is not installed.
    """
    with files.reading(path):
        version = members.version_of(path)
        kept = _kept_path(path, kept_in) if kept_in else None
        found = _load(kept, path, version, labels=labels) if kept else None
        if found is None:
            lister = next(_KINDS[end] for end in SUFFIXES if path.lower().endswith(end))
            found = lister(path, labels=labels)
            if found is None:
                return None
            _drop_hidden(found)
            if kept and len(found.names) >= _KEPT_FROM:
                _save(kept, path, version, found)
    for problem in found.problems:
        logging.warning("%s: %s", path, problem)
    return found


def read(member: members.MemberPath) -> bytes:
    """The bytes of a member.

    Raises:
      members.DamagedMemberError: they cannot be had.
    """
    method, *numbers = member.place
    try:
        return _READERS[method](member.archive, *numbers)
    except OSError as error:
        raise members.DamagedMemberError(files.reason(error)) from error


def _stored(path: str, offset: int, size: int, *_: int) -> bytes:
    return members.read_exactly(path, offset, size)


def _snappy(path: str, offset: int, stored: int, unpacked: int, skipped: int, size: int) -> bytes:
    content = parquet_pages.unpacked_snappy(path, offset, stored, unpacked)
    return content[skipped : skipped + size]


_READERS: Mapping[int, Callable[..., bytes]] = {
    members.STORED: _stored,
    members.SNAPPY: _snappy,
    members.ZIPPED: members.unzipped,
    members.PARQUET_ROW: lambda path, group, row, *_: parquet_files.read_row(path, group, row),
    members.HDF5_ROW: lambda path, row, *_: hdf5_files.read_row(path, row),
}


def _drop_hidden(found: members.Catalogue) -> None:
    shown = [i for i, name in enumerate(found.names) if not naming.is_hidden(name)]
    if len(shown) < len(found.names):
        found.names = [found.names[i] for i in shown]
        found.places = found.places[shown]
        found.labels = found.labels and [found.labels[i] for i in shown]


def _kept_path(path: str, directory: str) -> str:
    place = path if files.is_remote(path) else os.path.realpath(path)
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
    return os.path.join(directory, f"{os.path.basename(path)}-{digest}.index")


def _save(kept: str, path: str, version: tuple[int, int], found: members.Catalogue) -> None:
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "archive": files.printable(path),
        "version": version,
        "labels": found.labels is not None,
        "labels_are": found.labels_are,
        "classes": found.classes,
        "problems": found.problems,
    }
    columns = {
        "name": pa.array([os.fsencode(name) for name in found.names], pa.binary()),
        "labels": pa.array(found.labels or [None] * len(found.names), pa.list_(pa.string())),
    }
    columns |= {f"place{i}": pa.array(numbers) for i, numbers in enumerate(found.places.T)}
    table = pa.table(columns).replace_schema_metadata({"index": json.dumps(facts)})
    with files.writing(kept):
        files.make_directory(os.path.dirname(kept))
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink)
        files.write_bytes(kept, sink.getvalue().to_pybytes())


def _load(
    kept: str, path: str, version: tuple[int, int], *, labels: bool
) -> members.Catalogue | None:
    """The list that was kept, if there is one, and the archive is still the same."""
    try:
        table = parquet.ParquetFile(pa.BufferReader(files.read_bytes(kept))).read()
        facts = json.loads(table.schema.metadata[b"index"])
        if facts["format"] != _FORMAT:
            return None
        if tuple(facts["version"]) != version:
            logging.info("%s: has changed since it was listed, and is listed again", path)
            return None
        if labels and not facts["labels"]:
            return None
        numbers = [table[f"place{i}"].to_numpy() for i in range(members.PLACE_NUMBERS)]
        lists = table["labels"].to_pylist() if labels else None
        return members.Catalogue(
            names=[os.fsdecode(name) for name in table["name"].to_pylist()],
            places=np.stack(numbers, axis=1),
            labels=lists and [one if one is None else tuple(one) for one in lists],
            labels_are=facts["labels_are"],
            classes=facts["classes"] and tuple(facts["classes"]),
            problems=facts["problems"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        logging.warning("%s: damaged, and made again", kept)
        return None
