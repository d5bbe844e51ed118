"""Damaged shards: found and named, or read as far as they go."""

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow as tf
from absl import logging

from audioset_strong.core import errors
from audioset_strong.records import clip_records, dataset_info


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
                for _ in clip_records.record_reader([path])(path):
                    pass
            except tf.errors.DataLossError as error:
                reason = errors.first_line(error).rpartition("}} ")[2]
                return f"{path}: {reason}"
    return None


@contextlib.contextmanager
def reporting_damage(datasets: Sequence[str]) -> Iterator[None]:
    """Turns TensorFlow's error about a damaged record into one that names shard and byte.

    Args:
      datasets: directories of the datasets that are read within the block.

    Raises:
      errors.InputError: a shard is damaged or cut off.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        found = find_damage(datasets)
        if found is None:
            raise
        raise errors.InputError(
            f"{found}; convert it again, or bind train_patches.skip_corrupt_records = True"
        ) from error


def skipping_reader(shards: Mapping[str, int]) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """A reader that drops what follows a damaged record in its shard, and logs how much that was.

    Args:
      shards: path -> records in it.

    Returns:
      A function from a path, string scalar, to a dataset of records.
    """
    read_shard = clip_records.record_reader(shards)
    read: collections.Counter[str] = collections.Counter()

    def count(path: bytes, record: bytes) -> bytes:
        read[path.decode()] += 1
        return record

    def end(path: bytes) -> bool:
        name = path.decode()
        lost = shards[name] - read.pop(name, 0)
        if lost:
            logging.warning("%s: damaged, %d of %d records skipped", name, lost, shards[name])
        return False

    def reader(path: tf.Tensor) -> tf.data.Dataset:
        def counted(record: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(count, [path, record], tf.string), [])

        records = read_shard(path).ignore_errors().map(counted)
        nothing = tf.data.Dataset.from_tensors("").filter(
            lambda _: tf.ensure_shape(tf.numpy_function(end, [path], tf.bool), [])
        )
        return records.concatenate(nothing)

    return reader
