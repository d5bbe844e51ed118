"""Training runs of seconds: a tiny network on toy clips."""

import os

from audioset_strong.inputs import training_sources
from audioset_strong.models import resnet
from audioset_strong.training import loop


def tiny(num_classes, class_priors):
    return resnet.resnet(
        num_classes, (1,), 4, bottleneck=False, first_stride=2, class_priors=class_priors
    )


def sources(data_dir):
    """The dataset "train" with its strong labels."""
    return [training_sources.Source((os.path.join(data_dir, "train"),), "strong")]


def train(workdir, data_dir, rate=1e-2, **settings):
    """Trains, and returns the workdir."""
    defaults = {
        "batch_size": 16,
        "total_steps": 20,
        "checkpoint_every": 10,
        "steps_per_call": 5,
        "sources": sources,
        "model": tiny,
        "learning_rate": lambda total_steps: rate,
    }
    loop.train(str(workdir), data_dir=str(data_dir), **(defaults | settings))
    return workdir
