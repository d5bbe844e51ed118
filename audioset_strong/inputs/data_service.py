"""Patches drawn by the workers of a tf.data service, instead of by the training process."""

from collections.abc import Callable

import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs.epochs import FOREVER, SourceStream

_SHARDS_AT_ONCE = 4  # that a worker reads in turn
_BATCH = 64  # patches sent by one call


def served_patches(
    stream: SourceStream,
    address: str,
    *,
    consumed: int,
    prepare: Callable[..., dict[str, tf.Tensor]] | None = None,
) -> tf.data.Dataset:
    """The endless patches of a source, drawn by the workers of a tf.data service.

    The service hands the shards of the current epoch to its workers as they ask for them: every
    clip comes once an epoch, in an order that depends on the workers' speed.

    Args:
      stream: the source.
      address: of the service's dispatcher, "grpc://host:port".
      consumed: patches already taken; the stream begins with the epoch in which they end.
      prepare: what the workers do to batches of patches before sending them.

    Returns:
      A dataset of patches, see `batches.Patches`.

    Raises:
      errors.InputError: an address that is not a dispatcher's.
    """
    shards = len(stream.opened.shards)

    def read(number: tf.Tensor) -> tf.data.Dataset:
        epoch = number // shards
        path = stream.shard_order(epoch)[number % shards]
        return stream.drawn(stream.read(path), epoch, None)

    begin = consumed // stream.opened.examples * shards
    patches = tf.data.Dataset.range(begin, FOREVER).interleave(
        read, cycle_length=min(_SHARDS_AT_ONCE, shards), num_parallel_calls=tf.data.AUTOTUNE
    )
    if stream.patches_per_clip > 1:
        patches = patches.unbatch()
    patches = patches.batch(_BATCH)
    if prepare is not None:
        patches = patches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    service = tf.data.experimental.service
    try:
        patches = patches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, address))
    except (tf.errors.OpError, ValueError) as error:
        reason = errors.first_line(error)
        raise errors.InputError(f"train_patches.data_service = {address!r}: {reason}") from error
    return patches.unbatch()
