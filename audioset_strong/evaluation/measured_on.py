"""What results were measured on, as data: two results compare only where it is the same."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from audioset_strong.core import choices
from audioset_strong.training.run_info import DatasetFacts


@dataclasses.dataclass(frozen=True)
class MeasuredOn:
    """An eval set, and how its labels were read.

    Attributes:
      fingerprint: equal for equal datasets under equal labels, see `EvalSet.fingerprint`.
      datasets: the converted datasets.
      clips: their number of clips.
      classes: number of classes.
      vocabulary: hash of the mids in their order, see `vocabulary_digest`.
      framing_rule: of the strong labels, see `framing.frame_labels`.
      propagate_to_ancestors: whether positive labels imply those of their ancestors.
      framed: fingerprint of the framed labels that replace the datasets' strong ones; None where
        none do.
      negative_weighting: see `eval_metrics.measure`.
    """

    fingerprint: str
    datasets: tuple[DatasetFacts, ...]
    clips: int
    classes: int
    vocabulary: str
    framing_rule: str
    propagate_to_ancestors: bool = False
    framed: str | None = None
    negative_weighting: str = choices.POOLED

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values; `from_json` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MeasuredOn":
        """Reads what `to_json` returned.

        Raises:
          TypeError, KeyError: something else.
        """
        datasets = tuple(DatasetFacts(**each) for each in values["datasets"])
        return cls(**{**values, "datasets": datasets})

    def description(self) -> str:
        """The datasets and their clips, in words."""
        names = ", ".join(dataset.name for dataset in self.datasets)
        return f"{self.clips} clips of {names}"

    def difference(self, other: "MeasuredOn") -> str | None:
        """In what this differs from what other results were measured on, in words.

        >>> one = MeasuredOn("01", (), 60, 2, "ab", "released")
        >>> one.difference(dataclasses.replace(one, fingerprint="02", framing_rule="paper"))
        "framing rule 'released' instead of 'paper'"

        Returns:
          The first difference; None where the results compare.
        """
        if self.vocabulary != other.vocabulary:
            return f"another class list ({self.classes} classes instead of {other.classes})"
        for name, words in (
            ("framing_rule", "framing rule"),
            ("propagate_to_ancestors", "label smearing"),
            ("negative_weighting", "weighting of negatives"),
        ):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{words} {mine!r} instead of {theirs!r}"
        mine, theirs = self.description(), other.description()
        if mine != theirs:
            return f"{mine} instead of {theirs}"
        if self.framed != other.framed:
            if self.framed and other.framed:
                return "other framed labels"
            own, framed = "the datasets' own strong labels", "framed labels"
            return f"{framed} instead of {own}" if self.framed else f"{own} instead of {framed}"
        if self.fingerprint != other.fingerprint:
            return f"another conversion of {mine}"
        return None


def vocabulary_digest(mids: Sequence[str]) -> str:
    """A hash of classes in their order: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(mids).encode()).hexdigest()[:16]
