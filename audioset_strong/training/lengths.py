"""How long a run is: in steps, examples and epochs, on the disk and by the clock."""

import dataclasses
from collections.abc import Mapping, Sequence

from audioset_strong.inputs.training_sources import Source

DEFAULT_CHECKPOINTS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunLength:
    """The length of a run.

    >>> length = RunLength(
    ...     total_steps=1000, checkpoint_every=300, batch_size=64, epoch_examples=320
    ... )
    >>> length.total_examples, length.total_epochs, length.kept_steps
    (64000, 200.0, [300, 600, 900, 1000])

    Attributes:
      total_steps: steps of the whole run.
      checkpoint_every: steps between kept checkpoints; the last step is kept as well.
      batch_size: examples in a step.
      epoch_examples: examples of an epoch, see `epoch_examples`.
    """

    total_steps: int
    checkpoint_every: int
    batch_size: int
    epoch_examples: float

    @property
    def total_examples(self) -> int:
        """Examples of the whole run."""
        return self.total_steps * self.batch_size

    @property
    def total_epochs(self) -> float:
        """Epochs of the whole run."""
        return self.total_examples / self.epoch_examples

    @property
    def kept_steps(self) -> list[int]:
        """The steps whose checkpoints are kept."""
        regular = range(self.checkpoint_every, self.total_steps, self.checkpoint_every)
        return [*regular, self.total_steps]

    def in_words(self) -> str:
        """The length in all units."""
        return (
            f"{self.total_steps:,} steps of {self.batch_size:,} examples: "
            f"{self.total_examples:,} examples, {self.total_epochs:,.4g} epochs of "
            f"{self.epoch_examples:,.0f}"
        )

    def disk_in_words(self, kept_bytes: int, whole_bytes: int, bound: int | None = None) -> str:
        """What the checkpoints will take on the disk.

        Args:
          kept_bytes: of a kept checkpoint.
          whole_bytes: of the state to resume from.
          bound: number of kept checkpoints if old ones are removed; None if all stay.
        """
        kept = min(len(self.kept_steps), bound or len(self.kept_steps))
        total = kept * kept_bytes + whole_bytes
        return (
            f"{kept} checkpoints of {_in_bytes(kept_bytes)} and a state of "
            f"{_in_bytes(whole_bytes)} take {_in_bytes(total)}"
        )


def epoch_examples(sources: Sequence[Source], clips: Mapping[str, int]) -> float:
    """The examples of an epoch: as many as the clips of the run's datasets.

    Each dataset counts once, by the largest share of its videos that a source takes. In a mixture
    an epoch is thus not one pass over each clip, since mu sets how often each source is read.

    >>> sources = [Source(("a",), "weak"), Source(("b",), "strong", video_fraction=0.5)]
    >>> epoch_examples(sources, {"a": 1000, "b": 100})
    1050.0

    Args:
      sources: of the run; those of weight zero are not read.
      clips: path of a dataset -> number of its clips.
    """
    shares: dict[str, float] = {}
    for source in sources:
        for path in source.datasets if source.mean_weight > 0 else ():
            shares[path] = max(shares.get(path, 0.0), source.video_fraction)
    return max(sum(share * clips[path] for path, share in shares.items()), 1.0)


def time_in_words(seconds: float) -> str:
    """A duration for people.

    >>> time_in_words(90), time_in_words(9000)
    ('1.5 minutes', '2.5 hours')
    """
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _in_bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"
