"""The work directory beside the shards: what a conversion that was interrupted needs to go on.

It holds `plan.json` (which conversion was begun), and for each shard that is written its stamp (its
rows of the manifest, and its counts) and its rows of the index. Pieces of shards that are not
written yet lie in `scratch`. It is removed when the dataset is complete.

Workers of a cluster may outlive the run that started them, and meet a conversion with other
settings in their directory: their pieces are in a directory of their own, and `check_begun` keeps
them from writing shards.
"""

import contextlib
import hashlib
import os
import tempfile

from audioset_strong.core import errors, files

NAME = ".work"
_PLAN = "plan.json"


def of(directory: str) -> str:
    """The work directory of a dataset's directory."""
    return os.path.join(directory, NAME)


def begin(directory: str, fingerprint: str) -> None:
    """Notes which conversion is begun in a directory."""
    files.write_json(os.path.join(of(directory), _PLAN), {"fingerprint": fingerprint})


def begun(directory: str) -> str | None:
    """The fingerprint of the conversion that was begun in a directory."""
    try:
        return files.read_json(os.path.join(of(directory), _PLAN))["fingerprint"]
    except FileNotFoundError:
        return None


def check_begun(directory: str, fingerprint: str) -> None:
    """Checks that a conversion is still the one that was begun in a directory, and not complete.

    Raises:
      errors.InputError: it is not.
      OSError: it cannot be read.
    """
    if begun(directory) != fingerprint:
        raise errors.InputError(f"{directory}: another conversion has been begun or completed here")


def stamp_path(shard: str) -> str:
    """Where the stamp of a shard is, once the shard is written."""
    return _beside(shard, ".json")


def index_rows_path(shard: str) -> str:
    """Where a shard's rows of the index are, once the shard is written."""
    return _beside(shard, ".parquet")


def job_path(shard: str) -> str:
    """Where a shard is described for the workers of other machines."""
    return _beside(shard, ".job")


def _beside(shard: str, ending: str) -> str:
    directory, name = os.path.split(shard)
    return os.path.join(of(directory), name + ending)


def is_written(shard: str) -> bool:
    """Whether a shard is there, with its stamp."""
    return files.exists(shard) and files.exists(stamp_path(shard))


def scratch(directory: str, fingerprint: str) -> str:
    """The local directory of the pieces of the shards in `directory`.

    It is in the work directory, or, where that is remote, in the temporary directory of this
    machine. The same conversion into the same directory gets the same one each time.
    """
    place = directory if files.is_remote(directory) else ""
    name = hashlib.sha256(f"{place} {fingerprint}".encode()).hexdigest()[:16]
    if place:
        path = os.path.join(tempfile.gettempdir(), f"audioset_strong-{os.getuid()}-{name}")
    else:
        path = os.path.join(of(directory), f"pieces-{name}")
    os.makedirs(path, mode=0o700 if place else 0o777, exist_ok=True)
    return path


def remove(directory: str, fingerprint: str) -> None:
    """Removes the work directory of a complete dataset, and the pieces of its shards."""
    if files.is_remote(directory):
        files.remove_tree(scratch(directory, fingerprint))
    files.remove_tree(of(directory))


def remove_if_empty(scratch: str) -> None:
    """Removes a directory of pieces that holds none."""
    with contextlib.suppress(OSError):
        os.rmdir(scratch)
