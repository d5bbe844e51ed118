"""The settings of a training run, checked as soon as they are put together."""

import dataclasses
import math
from collections.abc import Callable

import keras

from audioset_strong.core import errors
from audioset_strong.models import precisions, resnet
from audioset_strong.training import lengths, losses, optimizers, schedules
from audioset_strong.training.pooling import Pooling

_LENGTHS = ("total_epochs", "total_examples", "total_steps")
_EXAMPLES = {
    "model": "@resnet",
    "learning_rate": "@constant_schedule",
    "optimizer": "@adam",
    "loss": "@SigmoidCrossEntropy",
    "pooling": "@autopool",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained, apart from its data and its front end.

    The length is given in epochs, examples or steps, one of the three. In epochs or examples it is
    the same for every batch size.

    >>> settings = TrainSettings(batch_size=64, total_epochs=20, checkpoints=10)
    >>> settings.length(epoch_examples=3200).total_steps
    1000

    Attributes:
      batch_size: number of examples in a step, over all replicas.
      total_steps: number of steps of the whole run.
      total_epochs: epochs of the whole run, see `lengths.epoch_examples`.
      total_examples: examples of the whole run.
      checkpoint_every: steps between the checkpoints that are kept, for evaluation to choose among;
        the last step is kept as well.
      checkpoints: about how many checkpoints are kept, evenly spaced, instead of
        `checkpoint_every`; 20 where neither is given.
      keep_checkpoints: number of kept checkpoints above which the oldest are removed, but only
        those that have been evaluated and are not selected; None keeps all.
      resume_every_s: seconds after which the state is written, only to resume from; it is also
        written with every checkpoint that is kept.
      accumulate: number of parts in which a replica works through its share of a batch, one after
        the other, for batches that its memory does not hold. The step is that of the whole batch,
        except that batch norm takes the statistics of each part.
      steps_per_call: steps that run in-graph before Python gets its turn.
      model: builds the network; called with `num_classes`, `input_shape` (see
        `FrontEnd.patch_shape`) and `class_priors`.
      learning_rate: makes a Keras learning rate from the total number of steps.
      reference_batch_size: the batch size that the learning rate is meant for; None for that of the
        run, whatever it is. For another one the rate is scaled by `rate_scaling`.
      rate_scaling: "square_root" scales the rate with the root of the batch size, as suits Adam
        (https://arxiv.org/abs/2205.10287); "linear" with the batch size, as suits SGD
        (https://arxiv.org/abs/1706.02677).
      optimizer: makes a Keras optimizer from a learning rate.
      loss: makes the loss.
      pooling: makes what pools the scores of the windows of a clip, see `training.pooling`; called
        with `num_classes` and `depth` of the embeddings. It needs `windows_per_bag` of the stream.
        None for the loss of single windows, as in the paper.
      clip_norm: gradients with a larger global norm are scaled down to it; None for no clipping.
      ema_decay: decay of a moving average of the weights, which is kept beside them for evaluation;
        None for no average.
      precision: arithmetic of the layers, "float32", "bfloat16" or "float16" (with loss scaling);
        weights, logits and loss are always float32.
      jit_compile: whether XLA compiles the step on GPUs; on TPUs it always does, on CPUs never. A
        step that XLA cannot compile is refused before the run begins, on any device.
      fine_tune: whether the run is meant to start from a trained model, so that it is refused
        without one.
      prior_bias: whether the output biases start at the classes' rates in the training data.
      seed: determines weights, order and windows.
      inputs_every: steps between pictures of inputs in TensorBoard; 0 shows only the first batch.
      histograms_every: steps between histograms of the weights; 0 for none.

    Raises:
      errors.InputError: a value that is out of range, named as users bind it.
    """

    batch_size: int
    total_steps: int | None = None
    total_epochs: float | None = None
    total_examples: int | None = None
    checkpoint_every: int | None = None
    checkpoints: int | None = None
    keep_checkpoints: int | None = None
    resume_every_s: float = 600.0
    accumulate: int = 1
    steps_per_call: int = 20
    model: Callable[..., keras.Model] = resnet.resnet
    learning_rate: Callable[[int], schedules.Rate] = schedules.constant_schedule
    reference_batch_size: int | None = None
    rate_scaling: str = schedules.SQUARE_ROOT
    optimizer: Callable[..., keras.optimizers.Optimizer] = optimizers.adam
    loss: Callable[[], losses.SigmoidCrossEntropy] = losses.SigmoidCrossEntropy
    pooling: Callable[..., Pooling] | None = None
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: str = "float32"
    jit_compile: bool = False
    fine_tune: bool = False
    prior_bias: bool = True
    seed: int = 0
    inputs_every: int = 0
    histograms_every: int = 0

    def __post_init__(self) -> None:
        self._check_length()
        for name in ("batch_size", "steps_per_call", "accumulate"):
            errors.check_whole_number(f"train.{name}", getattr(self, name))
        for name in ("keep_checkpoints", "reference_batch_size"):
            if getattr(self, name) is not None:
                errors.check_whole_number(f"train.{name}", getattr(self, name))
        for name in ("inputs_every", "histograms_every", "seed"):
            errors.check_whole_number(f"train.{name}", getattr(self, name), least=0)
        for name, example in _EXAMPLES.items():
            if name == "pooling" and self.pooling is None:
                continue
            if not callable(getattr(self, name)):
                raise errors.InputError(
                    f"train.{name} = {getattr(self, name)!r}: must name a function, like {example}"
                )
        for name in ("jit_compile", "fine_tune", "prior_bias"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        self._check("seed", self.seed < 2**32, "below 2**32")
        waits = _is_number(self.resume_every_s) and self.resume_every_s >= 0
        self._check("resume_every_s", waits, "a number of seconds, at least 0")
        scalings = schedules.SCALINGS
        self._check("rate_scaling", self.rate_scaling in scalings, f"one of {', '.join(scalings)}")
        known = self.precision in precisions.PRECISIONS
        self._check("precision", known, f"one of {', '.join(precisions.PRECISIONS)}")
        if self.clip_norm is not None:
            positive = _is_number(self.clip_norm) and self.clip_norm > 0
            self._check("clip_norm", positive, "positive")
        if self.ema_decay is not None and not (
            _is_number(self.ema_decay) and 0.0 < self.ema_decay < 1.0
        ):
            raise errors.InputError(f"train.ema_decay = {self.ema_decay!r}: must lie in (0, 1)")

    def _check_length(self) -> None:
        lengths_given = [name for name in _LENGTHS if getattr(self, name) is not None]
        if len(lengths_given) != 1:
            raise errors.InputError(
                f"{' and '.join(f'train.{n}' for n in lengths_given) or 'no length'}: give one of "
                f"{', '.join(f'train.{name}' for name in _LENGTHS)}"
            )
        if self.checkpoint_every is not None and self.checkpoints is not None:
            raise errors.InputError(
                "train.checkpoint_every and train.checkpoints: give one of the two"
            )
        for name in ("total_steps", "total_examples", "checkpoint_every", "checkpoints"):
            if getattr(self, name) is not None:
                errors.check_whole_number(f"train.{name}", getattr(self, name))
        if self.total_epochs is not None:
            positive = _is_number(self.total_epochs) and 0 < self.total_epochs < math.inf
            self._check("total_epochs", positive, "positive")

    def _check(self, name: str, right: bool, wanted: str) -> None:
        if not right:
            raise errors.InputError(f"train.{name} = {getattr(self, name)!r}: must be {wanted}")

    def length(self, epoch_examples: float) -> lengths.RunLength:
        """The length of a run with these settings.

        Args:
          epoch_examples: examples of an epoch, see `lengths.epoch_examples`.
        """
        steps = self.total_steps
        if steps is None:
            examples = self.total_examples or (self.total_epochs or 0.0) * epoch_examples
            steps = max(round(examples / self.batch_size), 1)
        every = self.checkpoint_every
        if every is None:
            every = max(round(steps / (self.checkpoints or lengths.DEFAULT_CHECKPOINTS)), 1)
        return lengths.RunLength(
            total_steps=steps,
            checkpoint_every=every,
            batch_size=self.batch_size,
            epoch_examples=epoch_examples,
        )

    def rate(self, total_steps: int) -> schedules.Rate:
        """The learning rate of a run, scaled to its batch size.

        Args:
          total_steps: steps of the run.
        """
        factor = 1.0
        if self.reference_batch_size is not None:
            factor = self.batch_size / self.reference_batch_size
            if self.rate_scaling == schedules.SQUARE_ROOT:
                factor = math.sqrt(factor)
        return schedules.scaled(self.learning_rate(total_steps), factor)

    def check_start(self, init_from: str | None) -> None:
        """Checks that a run that is meant to be fine-tuned has a model to start from.

        Args:
          init_from: the model; None for none.

        Raises:
          errors.InputError: it has none.
        """
        if self.fine_tune and not init_from:
            raise errors.InputError(
                "train.fine_tune = True: these settings continue a trained model; give "
                "--init_from=WORKDIR, or bind train.fine_tune = False to train from scratch"
            )

    def check_replicas(self, replicas: int) -> None:
        """Checks that replicas can share a batch.

        Args:
          replicas: number of devices that train together.

        Raises:
          errors.InputError: the batch size is not a multiple of it, or of the parts that they all
            work through.
        """
        if self.batch_size % replicas:
            raise errors.InputError(
                f"train.batch_size = {self.batch_size}: must be a multiple of the {replicas} "
                "replicas that share it"
            )
        if self.batch_size % (replicas * self.accumulate):
            raise errors.InputError(
                f"train.accumulate = {self.accumulate}: must divide the "
                f"{self.batch_size // replicas} examples that a replica has of each batch"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
