"""Epoch after epoch of the patches of one source: their order, blocks and balanced sampling.

The order of an epoch is a function of (seed, epoch), so a stream can begin anywhere.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs import hashing, opened_sources
from audioset_strong.inputs.windows import WindowSampler
from audioset_strong.records import clip_records

FOREVER = np.iinfo(np.int64).max

_OPEN_SHARDS = 8  # read in turn, a record of each; with fewer, cores wait for them
_READ_BATCH = 16  # clips parsed and cropped by one op call


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceStream:
    """The endless patches of one source.

    Attributes:
      windows: takes windows of the source's clips.
      read: from the path of a shard to its records.
      patches_per_clip: windows taken of a clip each time it is read.
    """

    windows: WindowSampler
    read: Callable[..., tf.data.Dataset]
    patches_per_clip: int = 1

    @property
    def opened(self) -> opened_sources.OpenedSource:
        """The source."""
        return self.windows.opened

    @property
    def _seed(self) -> int:
        return self.windows.settings.seed

    def patches(self, consumed: int, *, shuffle_buffer: int, batch_size: int) -> tf.data.Dataset:
        """The patches from the `consumed`-th on, see `batches.Patches`.

        Args:
          consumed: patches already taken.
          shuffle_buffer: patches shuffled at a time.
          batch_size: of the batches that the patches are for.

        Raises:
          errors.InputError: a buffer that cannot keep several patches of a clip apart.
        """
        if self.patches_per_clip == 1:
            epoch, offset = divmod(consumed, self.opened.examples)
            return self._epochs(epoch, shuffle_buffer).skip(offset)
        block = shuffle_buffer // self.patches_per_clip
        if block < batch_size:
            raise errors.InputError(
                f"train_patches.shuffle_buffer = {shuffle_buffer}: must be at least "
                f"patches_per_clip * batch_size = {self.patches_per_clip * batch_size}, or patches "
                "of a clip share a batch"
            )
        return self._blocks(consumed, block)

    def _blocks(self, consumed: int, block: int) -> tf.data.Dataset:
        """Several patches of each clip, a block of clips at a time.

        A block is passed over once for each patch of a clip, always in the same order, so two
        patches of a clip are one block apart, which is at least a batch.
        """
        blocks, offset = divmod(consumed, block * self.patches_per_clip)
        epoch, clips = divmod(blocks * block, self.opened.examples)

        def passes(clips: dict[str, tf.Tensor]) -> tf.data.Dataset:
            def flat(x: tf.Tensor) -> tf.Tensor:  # [block, copies, ...] -> [copies * block, ...]
                swapped = tf.transpose(x, [1, 0, *range(2, len(x.shape))])
                return tf.reshape(swapped, [-1, *x.shape[2:]])

            return tf.data.Dataset.from_tensor_slices({k: flat(v) for k, v in clips.items()})

        read = self._epochs(epoch, block).skip(clips)
        read = read.batch(block, drop_remainder=True).prefetch(1)
        return read.flat_map(passes).skip(offset)

    def _epochs(self, first: int, shuffle_buffer: int) -> tf.data.Dataset:
        epochs = tf.data.Dataset.range(first, FOREVER)
        return epochs.flat_map(lambda epoch: self._epoch(epoch, shuffle_buffer))

    def _epoch(self, epoch: tf.Tensor, shuffle_buffer: int) -> tf.data.Dataset:
        """Each clip once, or in balanced sampling as often as its rate, all shuffled."""
        records = tf.data.Dataset.from_tensor_slices(self.shard_order(epoch)).interleave(
            self.read,
            cycle_length=min(_OPEN_SHARDS, len(self.opened.shards)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        patches = self.drawn(records, epoch, tf.data.AUTOTUNE)
        seed = hashing.integers(["order", self._seed, epoch], 2**62)
        with _graph_seed(1):
            # What is shuffled are patches of 31 kB, not clips of 320 kB.
            return patches.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=False)

    def shard_order(self, epoch: tf.Tensor) -> tf.Tensor:
        """The paths of the shards in the order of an epoch; string `[shards]`."""
        return tf.random.experimental.stateless_shuffle(
            tf.constant(list(self.opened.shards)),
            seed=tf.stack([tf.constant(self._seed, tf.int64), epoch]),
        )

    def drawn(
        self, records: tf.data.Dataset, epoch: tf.Tensor, parallel_calls: int | None
    ) -> tf.data.Dataset:
        """The patches of records, in the order of the records; see `batches.Patches`.

        Args:
          records: serialized clips.
          epoch: int64 scalar.
          parallel_calls: batches of records worked on at a time; None for one.
        """
        batches = records.batch(_READ_BATCH)
        take: Callable[..., Any]
        if self.opened.source.balanced:
            batches = self._with_repeats(batches, epoch)

            def take(serialized: tf.Tensor, repeats: tf.Tensor) -> Any:
                return self.windows.repeated(serialized, epoch, repeats)

        elif self.patches_per_clip > 1:

            def take(serialized: tf.Tensor) -> Any:
                return self.windows.several_each(serialized, epoch, self.patches_per_clip)

        else:

            def take(serialized: tf.Tensor) -> Any:
                return self.windows.one_each(serialized, epoch)

        deterministic = True if parallel_calls else None
        patches = batches.map(take, num_parallel_calls=parallel_calls, deterministic=deterministic)
        return patches.unbatch()

    def _with_repeats(self, batches: tf.data.Dataset, epoch: tf.Tensor) -> tf.data.Dataset:
        """Batches of records, and how often each comes in an epoch of balanced sampling.

        This is systematic sampling: the rates are summed up from a random start, and each clip
        comes once for each whole number that the running sum passes there. So each clip gets its
        rate on average, and all epochs have the same length, which a resumed run relies on.
        """

        def rated(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            clips = clip_records.parse(serialized)
            source, class_rates = self.opened.source, self.opened.class_rates
            return serialized, opened_sources.balanced_rates(clips, source, class_rates)

        start = 0.001 + 0.998 * hashing.uniform(["balance", self._seed, epoch])
        return batches.map(rated).scan(tf.cast(start, tf.float64), _whole_numbers)


def _whole_numbers(
    done: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """Adds rates to a running sum: the sum, and how many whole numbers each rate passes, int64."""
    serialized, rates = batch
    sums = tf.concat([[done], done + tf.cumsum(rates)], 0)
    whole = tf.cast(tf.floor(sums), tf.int64)
    return sums[-1], (serialized, whole[1:] - whole[:-1])


@contextlib.contextmanager
def _graph_seed(seed: int) -> Iterator[None]:
    """Sets the seed of the graph under construction, for the ops that the block adds to it.

    `Dataset.shuffle` combines its own seed with that of its graph, which by default is whatever the
    program has passed to `tf.random.set_seed`. The graph here is that of the function given to
    `flat_map`, so nothing outside of it changes.
    """
    graph = cast(tf.Graph, tf.compat.v1.get_default_graph())
    before, graph.seed = graph.seed, seed
    try:
        yield
    finally:
        graph.seed = before
