"""The training examples of a run, step by step, on every worker."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import cast

import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.inputs import opened_sources, training_stream
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import BatchShare, StreamSettings


@dataclasses.dataclass(kw_only=True)
class TrainInput:
    """The input pipelines of all replicas of a run.

    Attributes:
      sources: of the examples.
      batch_size: examples in a step, over all replicas.
      seed: determines the examples.
      front_end: of the log-mel.
      augmentation: of the examples.
      framing_rule: of strong labels, see `framing.frame_labels`.
      known_labels: whether batches say which labels are known.
      stream: how examples are read.
      strategy: whose replicas share a batch.
    """

    sources: Sequence[Source]
    batch_size: int
    seed: int
    front_end: FrontEnd
    augmentation: Augmentation
    framing_rule: str
    known_labels: bool
    stream: StreamSettings
    strategy: tf.distribute.Strategy
    _begun: tuple[int, tf.data.Dataset] | None = dataclasses.field(
        default=None, init=False, repr=False
    )

    @functools.cached_property
    def opened(self) -> opened_sources.OpenedSources:
        """The sources with the indices of their datasets, read once."""
        return opened_sources.open_sources(
            self.sources, skip_damaged=self.stream.skip_corrupt_records
        )

    def batches(self, first_step: int) -> Iterator:
        """The strategy's iterator over batches, each of one replica's share, from a step on.

        They hold numbers only, for devices know no strings.
        """
        replicas = self.strategy.num_replicas_in_sync

        def pipeline_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
            count = replicas // context.num_input_pipelines
            share = BatchShare(replicas, context.input_pipeline_id * count, count)
            drawn = self._draw(first_step, self.stream, share)
            if share.first == 0:
                self._begun = first_step, drawn
            return drawn.map(_without_strings)

        return iter(self.strategy.distribute_datasets_from_function(pipeline_here))

    def to_model_input(self, batch: TrainBatch) -> TrainBatch:
        """Gives a batch its log-mel, if it holds samples; see `training_stream.to_model_input`."""
        return training_stream.to_model_input(
            batch, front_end=self.front_end, augmentation=self.augmentation
        )

    def zeros(self) -> TrainBatch:
        """A batch of zeros, of the shapes and types of those that each replica gets."""
        share = BatchShare(self.strategy.num_replicas_in_sync)
        drawn = self._draw(0, self._in_this_process, share).map(_without_strings).element_spec
        return cast(TrainBatch, {name: tf.zeros(s.shape, s.dtype) for name, s in drawn.items()})

    def preview(self, count: int, step: int) -> TrainBatch:
        """The first examples of the batch that is trained after a step, as the model gets them.

        Args:
          count: number of examples; fewer where a replica has fewer.
          step: number of steps done.

        Returns:
          A batch with log_mel and clip_id.
        """
        batch = self.to_model_input(next(iter(self._first_replicas(step))))
        return cast(TrainBatch, {name: tensor[:count] for name, tensor in _tensors(batch).items()})

    def windows_of(self, step: int) -> list[dict[str, object]] | None:
        """The clips and windows of all replicas in a step.

        Args:
          step: the step, counted from zero.

        Returns:
          clip_id and start_sample of each example; None if a tf.data service chose them.
        """
        if self.stream.data_service:
            return None
        batch = next(self._draw(step, self._in_this_process, BatchShare()).as_numpy_iterator())
        return [
            {"clip_id": clip_id.decode(), "start_sample": int(start)}
            for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
        ]

    def reading_in_words(self) -> str:
        """From where examples are read, and how, for the log."""
        return training_stream.reading_in_words(self.opened, self.stream)

    def _first_replicas(self, step: int) -> tf.data.Dataset:
        """Batches from a step on that begin with the first replica's, strings included."""
        if self._begun and self._begun[0] == step and not self.stream.data_service:
            return self._begun[1]  # its graph is there; building it takes longer than a batch
        share = BatchShare(self.strategy.num_replicas_in_sync)
        return self._draw(step, self._in_this_process, share)

    @property
    def _in_this_process(self) -> StreamSettings:
        # For one batch; it neither waits for workers nor copies shards a second time.
        return dataclasses.replace(self.stream, data_service=None, cache_dir=None)

    def _draw(self, step: int, stream: StreamSettings, share: BatchShare) -> tf.data.Dataset:
        return training_stream.train_patches(
            self.opened,
            self.batch_size,
            seed=self.seed,
            start_step=step,
            front_end=self.front_end,
            augmentation=self.augmentation,
            framing_rule=self.framing_rule,
            known_labels=self.known_labels,
            settings=stream,
            share=share,
        )


def _without_strings(batch: TrainBatch) -> TrainBatch:
    numbers = {k: tensor for k, tensor in _tensors(batch).items() if tensor.dtype != tf.string}
    return cast(TrainBatch, numbers)


def _tensors(batch: TrainBatch) -> dict[str, tf.Tensor]:
    return cast(dict[str, tf.Tensor], batch)
