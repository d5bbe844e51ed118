"""Shards read from their first record to their last, with every record's checksum compared.

`shard_files` reads parts of them by offset.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

from audioset_strong.audio import features
from audioset_strong.core import errors, files
from audioset_strong.core.lazy import tf
from audioset_strong.records import clip_records


def record_reader(paths: Iterable[str]) -> Callable[..., "tf.data.Dataset"]:
    """`tf.data.TFRecordDataset` with the buffer that suits the file system of these shards.

    Local files are read directly into the records: the default buffer of 256 kB would copy each
    record once more, and the system reads ahead in any case. On remote file systems, where each
    read is a request, the buffer stays.

    Args:
      paths: of the shards.

    Returns:
      A function with the parameters of `tf.data.TFRecordDataset`.

    Raises:
      errors.InputError: a path needs tensorflow-io, and there is none.
    """
    remote = [path for path in paths if files.is_remote(path)]
    for path in remote:
        files.gfile(path)  # TensorFlow's readers know its file system from here on
    return functools.partial(tf.data.TFRecordDataset, buffer_size=None if remote else 0)


def read_clips(
    path: str, encoding: str = clip_records.PCM16, *, front_end: features.FrontEnd | None = None
) -> Iterator[clip_records.Clip]:
    """The clips of one shard.

    Args:
      path: of the shard; local, or on any file system that `tf.io.gfile` knows.
      encoding: the dataset's encoding.
      front_end: the dataset's front end; see `clip_records.deserialize`.

    Raises:
      errors.InputError: the shard is corrupted or truncated, or a record is not a clip. The message
        names the shard and the number of the record, counted from 0.
    """
    for read, record in enumerate(read_records(path)):
        try:
            clip = clip_records.deserialize(record, encoding, front_end=front_end)
        except errors.InputError as error:
            raise errors.InputError(f"{path}, record {read}: {error}") from error
        yield clip


def read_records(path: str) -> Iterator[bytes]:
    """The serialized clips of one shard.

    Args:
      path: of the shard; local, or on any file system that `tf.io.gfile` knows.

    Raises:
      errors.InputError: the shard is corrupted or cut off; the message names it.
    """
    read = 0
    try:
        for record in record_reader([path])(path).as_numpy_iterator():
            yield record
            read += 1
    except tf.errors.OpError as error:
        raise errors.InputError(
            f"{path}: unreadable after {read} records: {files.reason(error)}"
        ) from error
