"""Weights of sources that change over a run, such as mu as a schedule.

d' and lwlrap peak at different mu (section 4.1 of the paper), and curricula order examples from the
easy to the hard (Bengio et al. 2009, https://doi.org/10.1145/1553374.1553380).
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audioset_strong.core import errors

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class WeightSchedule:
    """The weight of a source over a run: straight lines from point to point.

    Before the first point the weight is that of the first, after the last point that of the last.
    Two points at the same place are a step.

    >>> schedule = WeightSchedule(((0.0, 0.2), (0.5, 0.8)))
    >>> round(schedule.mean, 3)
    0.65

    Attributes:
      points: (place, weight) each; places are shares of the run, which rise from 0 to 1.
      examples: the length of the run that the places are shares of. A run that gets more steps
        later keeps it, so that the examples it has had stay what they were. None if it is not
        known yet, see `of_length`.

    Raises:
      errors.InputError: no points, or places or weights that are not as described.
    """

    points: tuple[Point, ...]
    examples: int | None = None

    def __post_init__(self) -> None:
        points = self.points
        pairs = isinstance(points, list | tuple) and all(
            isinstance(point, list | tuple) and len(point) == 2 for point in points
        )
        if not pairs or not points or not all(map(_is_number, itertools.chain(*points))):
            raise errors.InputError(
                f"a schedule with points = {points!r}: must be pairs of a share of the run and a "
                "value, like ((0.0, 0.2), (1.0, 0.8))"
            )
        object.__setattr__(self, "points", tuple((float(x), float(y)) for x, y in points))
        places = [place for place, _ in self.points]
        if places != sorted(places) or places[0] < 0 or places[-1] > 1:
            raise errors.InputError(
                f"a schedule with points = {points!r}: the shares of the run must rise within "
                "[0, 1]"
            )
        if min(weight for _, weight in self.points) < 0:
            raise errors.InputError(
                f"a schedule with points = {points!r}: no value may be negative"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "WeightSchedule":
        """What `dataclasses.asdict` gave, after its way through JSON."""
        return cls(tuple(map(tuple, values["points"])), values["examples"])

    @property
    def mean(self) -> float:
        """The mean weight over the run that the places are shares of."""
        corners = [(0.0, self.points[0][1]), *self.points, (1.0, self.points[-1][1])]
        areas = ((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(corners))
        return math.fsum(areas)

    def of_length(self, examples: int) -> "WeightSchedule":
        """The schedule over a run of so many examples; it keeps a length that it has."""
        if self.examples is not None:
            return self
        return dataclasses.replace(self, examples=examples)

    def complement(self) -> "WeightSchedule":
        """The schedule of 1 - weight."""
        points = tuple((place, 1.0 - weight) for place, weight in self.points)
        return dataclasses.replace(self, points=points)

    def _at(self, place: float, side: str) -> float:
        """The weight just before ("left") or from a place on ("right")."""
        places = [x for x, _ in self.points]
        i = int(np.searchsorted(places, place, side=side))  # type: ignore[call-overload]
        if i in (0, len(places)):
            return self.points[min(i, len(places) - 1)][1]
        (x0, y0), (x1, y1) = self.points[i - 1], self.points[i]
        return y0 + (y1 - y0) * (place - x0) / (x1 - x0)


Weight = float | WeightSchedule


def mean(weight: Weight) -> float:
    """The mean of a weight over its run.

    >>> mean(0.5)
    0.5
    """
    return weight.mean if isinstance(weight, WeightSchedule) else float(weight)


@dataclasses.dataclass(frozen=True, eq=False)
class Shares:
    """The shares of sources over a run, as straight lines between places.

    Attributes:
      places: float64 `[pieces]`, the example with which each piece begins; the first is 0.
      first: float64 `[pieces, sources]`, shares at the beginning of each piece; a row adds up to 1.
      slope: float64 `[pieces, sources]`, by how much they grow from one example to the next.
    """

    places: np.ndarray
    first: np.ndarray
    slope: np.ndarray


def shares(weights: Sequence[Weight]) -> Shares:
    """The shares of sources, from their weights.

    Args:
      weights: of all sources.

    Raises:
      errors.InputError: weights that add up to nothing at some place, or a schedule over a run of
        unknown length.
    """
    schedules = [weight for weight in weights if isinstance(weight, WeightSchedule)]
    lengths = {schedule.examples for schedule in schedules}
    if len(lengths) > 1 or None in lengths:
        raise errors.InputError(
            f"schedules over runs of {sorted(map(str, lengths))} examples: all must have the "
            "length of one run, see WeightSchedule.of_length"
        )
    (length,) = lengths or {1}
    knots = sorted({0.0, *(x for schedule in schedules for x, _ in schedule.points if x < 1.0)})
    begins = np.array([_row(weights, knot, "right") for knot in knots])
    ends = np.array([_row(weights, knot, "left") for knot in [*knots[1:], 1.0]])
    places = np.array(knots) * (length or 1)
    slope = (ends - begins) / np.diff([*places, length or 1])[:, np.newaxis]
    if not schedules:
        return Shares(places, begins, np.zeros_like(slope))
    # Behind the end of the run, of one that is extended, the shares stay.
    last = np.array([_row(weights, 1.0, "right")])
    return Shares(
        np.append(places, float(length or 1)),
        np.concatenate([begins, last]),
        np.concatenate([slope, np.zeros_like(last)]),
    )


def _row(weights: Sequence[Weight], place: float, side: str) -> np.ndarray:
    """The shares at a place of the run; float64 `[sources]`."""
    row = np.array([w._at(place, side) if isinstance(w, WeightSchedule) else w for w in weights])
    if not row.sum() > 0:
        raise errors.InputError(
            f"source weights {row.tolist()} at {place:g} of the run: one must be positive"
        )
    return row / row.sum()


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
