"""Training runs of seconds: a tiny network on toy clips."""

import contextlib
import os
import shutil

import pytest

from audioset_strong.inputs.training_sources import Source
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints, loop
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


@contextlib.contextmanager
def keeping_states(directory):
    """Copies the workdir of a run to `directory/STEP` whenever a state to resume from is saved."""
    save = checkpoints.save

    def copying(saved, workdir, *, step, keep, **arguments):
        save(saved, workdir, step=step, keep=keep, **arguments)
        if not keep:
            ignored = shutil.ignore_patterns("train", ".lock")
            shutil.copytree(workdir, directory / str(step), ignore=ignored)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", copying)
        yield


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
