"""Training runs of seconds: a tiny network on toy clips."""

import os

from audioset_strong.inputs.training_sources import Source
from audioset_strong.models import resnet
from audioset_strong.training import loop
from audioset_strong.training.settings import TrainSettings

# Arguments of `loop.train`; all others are settings.
_ARGUMENTS = (
    "front_end",
    "augmentation",
    "stream",
    "framing_rule",
    "init_from",
    "extend",
    "strategy",
    "profile_steps",
    "config_text",
)


def tiny(num_classes, *, input_shape=(96, 64), class_priors=None):
    """A network of one block."""
    return resnet.resnet(
        num_classes,
        input_shape=input_shape,
        depths=(1,),
        width=4,
        bottleneck=False,
        first_stride=2,
        class_priors=class_priors,
    )


def toy_sources(data_dir):
    """The dataset "train" with its strong labels."""
    return [Source((os.path.join(data_dir, "train"),), "strong")]


def train(workdir, data_dir, rate=1e-2, *, sources=None, **settings):
    """Trains, and returns the workdir."""
    arguments = {name: settings.pop(name) for name in _ARGUMENTS if name in settings}
    defaults = {
        "batch_size": 16,
        "total_steps": 20,
        "checkpoint_every": 10,
        "steps_per_call": 5,
        "model": tiny,
        "learning_rate": lambda total_steps: rate,
    }
    if sources is None:
        sources = toy_sources(str(data_dir))
    loop.train(str(workdir), sources, TrainSettings(**(defaults | settings)), **arguments)
    return workdir
