"""Learning rates as functions of the step."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import keras

from audioset_strong.core import errors

# What Keras optimizers take.
SCALINGS = SQUARE_ROOT, LINEAR = ("square_root", "linear")
Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def constant_schedule(total_steps: int, learning_rate: float = 1e-3) -> float:
    """The same learning rate at every step.

    >>> constant_schedule(1000, 0.01)
    0.01

    Args:
      total_steps: steps of the run; without influence.
      learning_rate: the value.

    Raises:
      errors.InputError: a negative or infinite rate.
    """
    del total_steps
    _check_rate("constant_schedule", learning_rate)
    return learning_rate


def warmup_cosine(
    total_steps: int,
    learning_rate: float = 1e-3,
    *,
    warmup_share: float = 0.05,
    final_share: float = 0.0,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A linear rise to `learning_rate`, then half a cosine down to `final_share` of it.

    >>> rate = warmup_cosine(100, 0.01, warmup_share=0.1)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.005, 0.01, 0.005, 0.0]

    Args:
      total_steps: steps of the run.
      learning_rate: the highest value.
      warmup_share: share of the steps that the rise takes.
      final_share: the last value, as a share of the highest.

    Raises:
      errors.InputError: a negative or infinite rate, or a share outside [0, 1].
    """
    _check_rate("warmup_cosine", learning_rate)
    for name, share in (("warmup_share", warmup_share), ("final_share", final_share)):
        if not 0 <= share <= 1:
            raise errors.InputError(f"warmup_cosine.{name} = {share}: must lie in [0, 1]")
    warmup = math.ceil(warmup_share * total_steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(total_steps - warmup, 1),
        alpha=final_share,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def step_schedule(
    total_steps: int,
    learning_rate: float = 1e-3,
    *,
    boundaries: Sequence[float] = (0.5, 0.75),
    factor: float = 0.1,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A learning rate that is multiplied by `factor` at each boundary.

    >>> rate = step_schedule(100, 1.0, boundaries=(0.5,), factor=0.5)
    >>> float(rate(50)), float(rate(51))
    (1.0, 0.5)

    Args:
      total_steps: steps of the run.
      learning_rate: the first value.
      boundaries: shares of the run, in rising order.
      factor: positive.

    Raises:
      errors.InputError: a negative or infinite rate, boundaries that do not rise within (0, 1), or
        a factor that is not positive.
    """
    _check_rate("step_schedule", learning_rate)
    if list(boundaries) != sorted(set(boundaries)) or not all(0 < b < 1 for b in boundaries):
        raise errors.InputError(f"step_schedule.boundaries = {boundaries}: must rise within (0, 1)")
    if not factor > 0:
        raise errors.InputError(f"step_schedule.factor = {factor}: must be positive")
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(boundary * total_steps) for boundary in boundaries],
        [learning_rate * factor**i for i in range(len(boundaries) + 1)],
    )


def scaled(rate: Rate, factor: float) -> Rate:
    """A learning rate times a constant.

    >>> scaled(0.25, 2.0)
    0.5

    Args:
      rate: a number or a Keras schedule.
      factor: positive; with 1 the rate is returned as it is.
    """
    if factor == 1.0:
        return rate
    return rate * factor if isinstance(rate, int | float) else _Scaled(rate, factor)


class _Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a constant."""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, factor: float):
        self._schedule, self._factor = schedule, factor

    def __call__(self, step):
        return self._schedule(step) * self._factor

    def get_config(self):
        schedule = keras.optimizers.schedules.serialize(self._schedule)
        return {"schedule": schedule, "factor": self._factor}


def _check_rate(schedule: str, rate: float) -> None:
    if not 0 <= rate < math.inf:
        raise errors.InputError(f"{schedule}.learning_rate = {rate}: must be finite, at least 0")
