"""Damaged shards: named with the place."""

import collections
import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.records import dataset_info, shard_reading

# What Python functions within tf.data raised lately. TensorFlow passes on their text only.
_raised: collections.deque[errors.InputError] = collections.deque(maxlen=16)


def leave(error: errors.InputError) -> None:
    """Keeps an error that is raised within tf.data for `reporting_damage`."""
    _raised.append(error)


def find_damage(datasets: Sequence[str]) -> str | None:
    """Reads datasets until a damaged shard is found.

    Args:
      datasets: dataset directories.

    Returns:
      The path of the shard, with what is wrong at which byte; None where all shards are sound.
    """
    for directory in datasets:
        info = dataset_info.DatasetInfo.load(directory)
        for path in info.shard_paths(directory):
            try:
                for _ in shard_reading.record_reader([path])(path):
                    pass
            except tf.errors.DataLossError as error:
                return f"{path}: {files.reason(error)}"
    return None


@contextlib.contextmanager
def reporting_damage(datasets: Sequence[str]) -> Iterator[None]:
    """Turns TensorFlow's error about what cannot be read into one that names shard and clip.

    Args:
      datasets: directories of the datasets that are read within the block.

    Raises:
      errors.InputError: a shard is damaged, cut off or has changed.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for raised in _raised:
            if str(raised) in str(error):
                raise raised from error
        found = find_damage(datasets) if isinstance(error, tf.errors.DataLossError) else None
        if found is None:
            raise
        raise errors.InputError(f"{found}; convert the dataset again") from error
