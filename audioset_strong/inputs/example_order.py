"""The order of a run's examples: which clip the i-th is, and the how-manieth window of it.

Everything here is a function of (sources, seed, i), so a run may begin anywhere, and several
processes may share its examples however they like.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs import hashing, permutations
from audioset_strong.inputs.mixing import Mixing
from audioset_strong.inputs.opened_sources import OpenedSources

CLIPS_PER_BLOCK = 1024  # that take turns where each gives several windows


@dataclasses.dataclass(frozen=True)
class Examples:
    """Which examples a batch has; int64 `[batch]` each.

    Attributes:
      source: index among the sources of positive weight.
      row: of the clip among `IndexedClips`.
      epoch: of the source.
      copy: tells apart the windows that a clip gives in an epoch.
      part: which of `parts` equal parts of the clip the window begins in; None for anywhere.
      parts: number of these parts; None as well.
    """

    source: tf.Tensor
    row: tf.Tensor
    epoch: tf.Tensor
    copy: tf.Tensor
    part: tf.Tensor | None = None
    parts: tf.Tensor | None = None


class ExampleOrder:
    """Tells which examples are the i-th to the j-th of a run.

    An epoch of a source is a permutation of its clips, another in each epoch. In balanced sampling
    it has as many examples, drawn from equal parts of the clips' summed rates, one from each part:
    a clip comes as often as its rate says, up to one.

    In bags, examples come in rows of `windows_per_bag`, all of one source. Where its labels are of
    whole clips they are windows of one clip, one from each of as many equal parts of it. Else they
    are of different clips.
    """

    def __init__(
        self,
        opened: OpenedSources,
        mixing: Mixing,
        *,
        seed: int,
        patches_per_clip: int = 1,
        windows_per_bag: int = 1,
    ):
        """Takes what the order depends on.

        Args:
          opened: the sources of positive weight.
          mixing: chooses among them; it counts bags.
          seed: of the order.
          patches_per_clip: windows that each clip gives in an epoch. `CLIPS_PER_BLOCK` clips take
            turns until each has given all of its windows.
          windows_per_bag: examples in a row that are of one source; if over 1, `patches_per_clip`
            must be 1.
        """
        self._mixing, self._seed, self._copies = mixing, seed, patches_per_clip
        self._bag = windows_per_bag
        self._of_clip = np.array([one.source.label_policy.of_clip for one in opened.sources])
        self._balanced = np.array([one.source.balanced for one in opened.sources])
        sizes = [one.examples for one in opened.sources]
        with tf.device("CPU:0"):
            self._size = tf.constant(sizes, tf.int64)
            self._begin = tf.constant(np.cumsum([0, *sizes[:-1]]), tf.int64)
            rows = np.concatenate([one.rows for one in opened.sources])
            self._rows = tf.constant(rows, tf.int32)
            # One rising sequence with a place for each of `rows`: the shares of source i lie in
            # (i, i + 1]. Those of sources that are not balanced are never looked for.
            shares = [
                i + (one.rate_shares if one.source.balanced else np.ones(one.examples))
                for i, one in enumerate(opened.sources)
            ]
            self._shares = tf.constant(
                np.concatenate(shares) if self._balanced.any() else [], tf.float64
            )

    def examples(self, first: tf.Tensor, count: int) -> Examples:
        """Consecutive examples of the run, in-graph.

        Args:
          first: int64 scalar, the number of the first one; of a bag.
          count: how many; of whole bags.
        """
        source, position, window = self._choose(first, count)
        turn, copy = self._turns(position)
        part = parts = None
        if self._bag > 1:
            parts = tf.where(tf.gather(self._of_clip, source), tf.constant(self._bag, tf.int64), 1)
            part = copy = window
        size = tf.gather(self._size, source)
        epoch, place = turn // size, turn % size
        key = permutations.key_of([self._seed, source, epoch])
        place = permutations.permuted(place, size, key)
        clip = tf.gather(self._begin, source) + place
        if self._balanced.any():
            jitter = hashing.uniform([place, "balance", self._seed, epoch, source])
            point = (tf.cast(place, tf.float64) + tf.cast(jitter, tf.float64)) / tf.cast(
                size, tf.float64
            )
            point += tf.cast(source, tf.float64)
            drawn = tf.searchsorted(self._shares, point, side="right", out_type=tf.int64)
            balanced = tf.gather(self._balanced, source)
            clip = tf.where(balanced, drawn, clip)
            copies = self._copies * self._bag
            copy = tf.where(balanced, place * copies + copy, copy)
        row = tf.cast(tf.gather(self._rows, clip), tf.int64)
        return Examples(source, row, epoch, copy, part, parts)

    def _choose(self, first: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(source, the how-manieth of its turns, which window of a bag) of consecutive examples.

        Windows of one clip are one turn of their source, and count from 0; others have a turn each,
        and are all number 0.
        """
        if self._bag == 1:
            source, position = self._mixing.choose(first, count)
            return source, position, tf.zeros_like(position)
        source, bag = self._mixing.choose(first // self._bag, count // self._bag)
        source, bag = (tf.repeat(each, self._bag) for each in (source, bag))
        window = tf.tile(tf.range(self._bag, dtype=tf.int64), [count // self._bag])
        of_clip = tf.gather(self._of_clip, source)
        position = tf.where(of_clip, bag, bag * self._bag + window)
        return source, position, tf.where(of_clip, window, 0)

    def _turns(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(the how-manieth clip that the source takes, which of its windows), of its examples."""
        if self._copies == 1:
            return position, tf.zeros_like(position)
        examples = CLIPS_PER_BLOCK * self._copies  # of a block
        block, within = position // examples, position % examples
        copy, turn = within // CLIPS_PER_BLOCK, within % CLIPS_PER_BLOCK
        return block * CLIPS_PER_BLOCK + turn, copy


def check_batch_size(batch_size: int, patches_per_clip: int) -> None:
    """Checks that windows of one clip cannot share a batch.

    Raises:
      errors.InputError: the batch is too large for several windows a clip.
    """
    if patches_per_clip > 1 and batch_size > CLIPS_PER_BLOCK:
        raise errors.InputError(
            f"train_patches.patches_per_clip = {patches_per_clip}: must be 1 for batches of over "
            f"{CLIPS_PER_BLOCK} examples, or windows of a clip share one; batch_size = {batch_size}"
        )
