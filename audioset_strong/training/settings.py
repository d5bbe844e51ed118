"""The settings of a training run, checked as soon as they are put together."""

import dataclasses
import math
from collections.abc import Callable

import keras

from audioset_strong.core import errors
from audioset_strong.models import precisions, resnet
from audioset_strong.training import losses, optimizers, schedules

_EXAMPLES = {
    "model": "@resnet",
    "learning_rate": "@constant_schedule",
    "optimizer": "@adam",
    "loss": "@SigmoidCrossEntropy",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained, apart from its data and its front end.

    >>> TrainSettings(batch_size=64, total_steps=1000, checkpoint_every=100).precision
    'float32'

    Attributes:
      batch_size: number of examples in a step, over all replicas.
      total_steps: number of steps of the whole run.
      checkpoint_every: steps between the checkpoints that are kept, for evaluation to choose among;
        the last step is kept as well.
      resume_every_s: seconds after which another checkpoint is written, only to resume from.
      steps_per_call: steps that run in-graph before Python gets its turn.
      model: builds the network; called with `num_classes`, `input_shape` (see
        `FrontEnd.patch_shape`) and `class_priors`.
      learning_rate: makes a Keras learning rate from the total number of steps.
      optimizer: makes a Keras optimizer from a learning rate.
      loss: makes the loss.
      clip_norm: gradients with a larger global norm are scaled down to it; None for no clipping.
      ema_decay: decay of a moving average of the weights, which is kept beside them for evaluation;
        None for no average.
      precision: arithmetic of the layers, "float32", "bfloat16" or "float16" (with loss scaling);
        weights, logits and loss are always float32.
      jit_compile: whether XLA compiles the step on GPUs; on TPUs it always does, on CPUs never.
      prior_bias: whether the output biases start at the classes' rates in the training data.
      seed: determines weights, order and windows.
      inputs_every: steps between pictures of inputs in TensorBoard; 0 shows only the first batch.
      histograms_every: steps between histograms of the weights; 0 for none.

    Raises:
      errors.InputError: a value that is out of range, named as users bind it.
    """

    batch_size: int
    total_steps: int
    checkpoint_every: int
    resume_every_s: float = 600.0
    steps_per_call: int = 20
    model: Callable[..., keras.Model] = resnet.resnet
    learning_rate: Callable[..., object] = schedules.constant_schedule
    optimizer: Callable[..., keras.optimizers.Optimizer] = optimizers.adam
    loss: Callable[[], losses.SigmoidCrossEntropy] = losses.SigmoidCrossEntropy
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: str = "float32"
    jit_compile: bool = False
    prior_bias: bool = True
    seed: int = 0
    inputs_every: int = 0
    histograms_every: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "total_steps", "checkpoint_every", "steps_per_call"):
            errors.check_whole_number(f"train.{name}", getattr(self, name))
        for name in ("inputs_every", "histograms_every", "seed"):
            errors.check_whole_number(f"train.{name}", getattr(self, name), least=0)
        for name, example in _EXAMPLES.items():
            if not callable(getattr(self, name)):
                raise errors.InputError(
                    f"train.{name} = {getattr(self, name)!r}: must name a function, like {example}"
                )
        for name in ("jit_compile", "prior_bias"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        self._check("seed", self.seed < 2**32, "below 2**32")
        waits = _is_number(self.resume_every_s) and self.resume_every_s >= 0
        self._check("resume_every_s", waits, "a number of seconds, at least 0")
        known = self.precision in precisions.PRECISIONS
        self._check("precision", known, f"one of {', '.join(precisions.PRECISIONS)}")
        if self.clip_norm is not None:
            positive = _is_number(self.clip_norm) and self.clip_norm > 0
            self._check("clip_norm", positive, "positive")
        if self.ema_decay is not None and not (
            _is_number(self.ema_decay) and 0.0 < self.ema_decay < 1.0
        ):
            raise errors.InputError(f"train.ema_decay = {self.ema_decay!r}: must lie in (0, 1)")

    def _check(self, name: str, right: bool, wanted: str) -> None:
        if not right:
            raise errors.InputError(f"train.{name} = {getattr(self, name)!r}: must be {wanted}")

    def check_replicas(self, replicas: int) -> None:
        """Checks that replicas can share a batch.

        Args:
          replicas: number of devices that train together.

        Raises:
          errors.InputError: the batch size is not a multiple of it.
        """
        if self.batch_size % replicas:
            raise errors.InputError(
                f"train.batch_size = {self.batch_size}: must be a multiple of the {replicas} "
                "replicas that share it"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
