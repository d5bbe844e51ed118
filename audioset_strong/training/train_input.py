"""The training examples of a run, step by step, on every worker."""

import dataclasses
from collections.abc import Iterator, Sequence

import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.inputs import training_stream
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings

_PREVIEW_BUFFER = 32


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

    def __post_init__(self) -> None:
        self._replicas = self.strategy.num_replicas_in_sync
        self._pipelines = 1  # until the strategy says how many there are

    def batches(self, first_step: int) -> Iterator:
        """The strategy's iterator over batches, each of one replica's share, from a step on."""

        def pipeline_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
            self._pipelines = context.num_input_pipelines
            return self._pipeline(context.input_pipeline_id, first_step)

        return iter(self.strategy.distribute_datasets_from_function(pipeline_here))

    def to_model_input(self, batch: TrainBatch) -> TrainBatch:
        """Gives a batch its log-mel, if it holds samples; see `training_stream.to_model_input`."""
        return training_stream.to_model_input(
            batch, front_end=self.front_end, augmentation=self.augmentation
        )

    def preview(self, count: int, step: int) -> TrainBatch:
        """A few examples like those of a step, from a separate stream.

        Args:
          count: number of examples.
          step: the step.

        Returns:
          A batch with log_mel. The stream is read in this process and shuffled only a little, so it
          shows a few clips, but soon.
        """
        stream = dataclasses.replace(
            self.stream,
            shuffle_buffer=_PREVIEW_BUFFER,
            patches_per_clip=1,
            data_service=None,
        )
        return self.to_model_input(next(iter(self._draw(count, step, stream))))

    def windows_of(self, step: int) -> list[dict[str, object]] | None:
        """The clips and windows of all replicas in a step.

        Args:
          step: the step, counted from zero.

        Returns:
          clip_id and start_sample of each example; None if a tf.data service chose them.
        """
        if self.stream.data_service:
            return None
        return [
            {"clip_id": clip_id.decode(), "start_sample": int(start)}
            for index in range(self._pipelines)
            for batch in self._pipeline(index, step)
            .take(self._replicas // self._pipelines)
            .as_numpy_iterator()
            for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
        ]

    def _pipeline(self, index: int, step: int) -> tf.data.Dataset:
        # Batches are one replica's share, so a step takes as many as a pipeline has replicas.
        start = step * (self._replicas // self._pipelines)
        return self._draw(self.batch_size // self._replicas, start, self.stream, index)

    def _draw(
        self, batch_size: int, start_step: int, stream: StreamSettings, index: int | None = None
    ) -> tf.data.Dataset:
        return training_stream.train_patches(
            self.sources,
            batch_size,
            seed=self.seed,
            start_step=start_step,
            front_end=self.front_end,
            augmentation=self.augmentation,
            framing_rule=self.framing_rule,
            known_labels=self.known_labels,
            settings=stream,
            num_pipelines=1 if index is None else self._pipelines,
            pipeline_index=index or 0,
        )
