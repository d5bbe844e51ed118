"""`manifest.csv`: what became of every clip that a conversion was asked for.

Conversion writes it. Where the clips that were written lie is in the index, see `clip_index`.
"""

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence

from audioset_strong.audio import decoding
from audioset_strong.core import errors, files

FILE_NAME = "manifest.csv"
COLUMNS = ("clip_id", "status", "reason", "file", "shard", "seconds")

# The statuses. Four of them say how the decoding of the clip's audio ended.
WRITTEN, TOO_SHORT = decoding.WRITTEN, decoding.TOO_SHORT
SILENT, UNDECODABLE = decoding.SILENT, decoding.UNDECODABLE
MISSING = "missing"  # no audio file was found
HELD_OUT = "held_out"  # the clip belongs to the validation dataset
NOT_IN_METADATA = "not_in_metadata"  # the clip list names the clip, no metadata file does


def read(directory: str) -> Iterator[dict[str, str]]:
    """The rows of a dataset's manifest: a dictionary by column for each clip.

    Args:
      directory: of the dataset; local, or on any file system that `tf.io.gfile` knows.

    Raises:
      errors.InputError: there is no manifest, or it cannot be read.
    """
    path = os.path.join(directory, FILE_NAME)
    with files.reading(path):
        text = files.read_text(path)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        for row in rows:
            if None in row or None in row.values():  # a row that is too long or too short
                raise ValueError(f"line {rows.line_num}: must have {len(COLUMNS)} columns")
            if set(row) != set(COLUMNS):
                raise ValueError(f"its columns must be {', '.join(COLUMNS)}")
            yield row
    except (ValueError, csv.Error) as error:
        raise errors.InputError(f"{path}: not a manifest ({error})") from error


@contextlib.contextmanager
def writing(directory: str) -> Iterator[Callable[[Sequence[object]], object]]:
    """Gives a function that adds a row to the manifest of a dataset.

    The manifest appears, whole, when the block ends without an exception. Names of files that are
    not UTF-8 are escaped.

    Args:
      directory: of the dataset.

    Yields:
      A function of the values of one row, in the order of `COLUMNS`; missing ones stay empty.

    Raises:
      OSError: the manifest cannot be written.
    """
    path = os.path.join(directory, FILE_NAME)
    with files.atomic(path) as temporary, files.opened(temporary, "w") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(row: Sequence[object]) -> None:
            texts = [files.printable(str(value)) for value in row]
            writer.writerow([*texts, *[""] * (len(COLUMNS) - len(row))])

        write(COLUMNS)
        yield write


def why_missing(directory: str, clip_id: str) -> str:
    """Why a dataset does not have a clip, in words.

    Args:
      directory: of the dataset.
      clip_id: of a clip that is in none of its shards.

    Raises:
      errors.InputError: there is a manifest that cannot be read.
    """
    if files.exists(os.path.join(directory, FILE_NAME)):
        for row in read(directory):
            if row["clip_id"] == clip_id:
                return f"not in {directory}: {row['status']} ({row['reason']})"
    return f"{directory} has no clip of that name"
