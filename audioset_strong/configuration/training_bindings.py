"""What gin can bind for train.py and sweep.py, and the training run that bindings describe.

| name in gin files | what it is |
|---|---|
| `train` | `TrainSettings`, and `train.sources` and `train.framing_rule` |
| `train_patches` | `StreamSettings` |
| `Augmentation`, `FrontEnd`, `SigmoidCrossEntropy` | the classes of that name |
| `single_source`, `weak_strong_mixture` | for `train.sources` |
| `mu_schedule` | for `weak_strong_mixture.mu` |
| `resnet` | for `train.model` |
| `adam` | for `train.optimizer` |
| `constant_schedule`, `warmup_cosine`, `step_schedule` | for `train.learning_rate` |
| `autopool`, `attention_pooling`, `max_pooling`, `mean_pooling` | for `train.pooling` |
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from audioset_strong.audio.features import FrontEnd
from audioset_strong.configuration import bindings, effects, gin_files
from audioset_strong.inputs import training_sources
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.labels import framing
from audioset_strong.models import resnet
from audioset_strong.training import losses, optimizers, pooling, schedules
from audioset_strong.training.settings import TrainSettings

_EXAMPLE = "a --gin_file such as table1/strong_67k.gin"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Train(TrainSettings):
    """What `train.*` binds: the settings, and what chooses examples and labels.

    Attributes:
      sources: from the directory of the datasets to the sources.
      framing_rule: of strong labels, see `framing.frame_labels`.
    """

    sources: Callable[[str], Sequence[Source]]
    framing_rule: str = framing.RELEASED

    def __post_init__(self) -> None:
        super().__post_init__()
        framing.check_rule(self.framing_rule, "train.framing_rule")


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """The arguments of `loop.train` that bindings determine; its attributes have those names."""

    sources: tuple[Source, ...]
    settings: TrainSettings
    front_end: FrontEnd
    augmentation: Augmentation
    stream: StreamSettings
    framing_rule: str


_train = bindings.register(_Train, "train", module="training")
_stream = bindings.register(StreamSettings, "train_patches", module="training_stream")
_augmentation = bindings.register(Augmentation, "Augmentation", module="augmentation")
# What a run calls whatever is bound.
_ROOTS = ("train", "train_patches", "Augmentation", "FrontEnd")
# What `train.*` may refer to by name. What calls them gives the arguments in the denylists.
_FUNCTIONS: dict[Any, Any] = {
    original: bindings.register(original, original.__name__, module=module, denylist=denylist)
    for original, module, denylist in (
        (training_sources.single_source, "training_sources", ["data_dir"]),
        (training_sources.weak_strong_mixture, "training_sources", ["data_dir"]),
        (training_sources.mu_schedule, "training_sources", []),
        (resnet.resnet, "models", ["num_classes", "input_shape", "class_priors"]),
        (optimizers.adam, "optimizers", ["learning_rate"]),
        (schedules.constant_schedule, "schedules", ["total_steps"]),
        (schedules.warmup_cosine, "schedules", ["total_steps"]),
        (schedules.step_schedule, "schedules", ["total_steps"]),
        (losses.SigmoidCrossEntropy, "losses", []),
        (pooling.autopool, "pooling", ["num_classes", "depth"]),
        (pooling.attention_pooling, "pooling", ["num_classes", "depth"]),
        (pooling.max_pooling, "pooling", ["num_classes", "depth"]),
        (pooling.mean_pooling, "pooling", ["num_classes", "depth"]),
    )
}


def training_run(data_dir: str, *, ignore_unused: bool = False) -> TrainingRun:
    """Makes the training run that the bindings describe.

    Args:
      data_dir: directory of the datasets that the sources name.
      ignore_unused: whether bindings may be without effect, as in runs of older versions.

    Raises:
      errors.InputError: a binding is missing, has an impossible value, or has no effect.
    """
    bindings.require("train", _Train, _EXAMPLE)
    if not ignore_unused:
        effects.check(gin_files.given(), _ROOTS)
    with bindings.one_line():
        bound = _train()
        names = [field.name for field in dataclasses.fields(TrainSettings)]
        return TrainingRun(
            sources=_sources(bound.sources, data_dir),
            # Its defaults are the functions themselves, to which no binding applies.
            settings=TrainSettings(**{n: _with_bindings(getattr(bound, n)) for n in names}),
            front_end=bindings.front_end(),
            augmentation=augmentation(),
            stream=_stream(),
            framing_rule=bound.framing_rule,
        )


def check_functions(run: TrainingRun) -> None:
    """Calls the functions that are cheap to call, so that their settings are checked early.

    Loss, schedule and optimizer are made as a run makes them when it begins. This uses TensorFlow,
    which several processes must not do before they have found each other.

    Args:
      run: as `training_run` gives it.

    Raises:
      errors.InputError: a setting of one of them is out of its range.
    """
    with bindings.one_line():
        run.settings.loss()
        run.settings.optimizer(run.settings.learning_rate(1000))
        if run.settings.pooling:
            run.settings.pooling(num_classes=1, depth=1)


def augmentation() -> Augmentation:
    """The augmentation that the bindings of `Augmentation.*` describe.

    Raises:
      errors.InputError: a value out of its range.
    """
    with bindings.one_line():
        return _augmentation()


def _sources(function: Callable[[str], Sequence[Source]], data_dir: str) -> tuple[Source, ...]:
    for original, registered in _FUNCTIONS.items():
        if function is registered:
            bindings.require(original.__name__, original, _EXAMPLE, given=["data_dir"])
    return tuple(function(data_dir))


def _with_bindings(value: Any) -> Any:
    try:
        value = _FUNCTIONS.get(value, value)
    except TypeError:  # not hashable: not one of ours
        return value
    if not callable(value):
        return value

    @functools.wraps(value)
    def called(*args: Any, **kwargs: Any) -> Any:
        with bindings.one_line():
            return value(*args, **kwargs)

    return called
