"""Workdirs that look trained: real checkpoints of a small network with random weights."""

import json

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints
from tests import datasets


def network(num_classes=datasets.CLASSES, seed=0):
    """A small ResNet in which every weight matters: no gamma is zero, no average one.

    Its embeddings are of 32 values. Smaller ones have no weights that TFLite would quantise.
    """
    net = resnet.resnet(num_classes, (1, 1), 16, False, 2, input_mean=-2.0, input_scale=0.5)
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.5, shape))
        else:
            variable.assign(rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape))
    # The classes tell sounds apart: their logits spread around zero over noises and tones.
    logits = net.get_layer("logits")
    embedding = keras.Model(net.inputs, net.get_layer("embedding").output)
    examples = embedding.predict(features.log_mel(_sounds(rng)), verbose=0)
    kernel = rng.normal(size=logits.kernel.shape) / (examples.std(axis=0)[:, np.newaxis] + 1e-6)
    logits.kernel.assign(kernel)
    logits.bias.assign(-examples.mean(axis=0) @ kernel)
    return net


def _sounds(rng, count=16):
    time = np.arange(features.PATCH_SAMPLES) / features.SAMPLE_RATE
    tones = np.sin(2 * np.pi * rng.uniform(200, 5000, (count, 1)) * time)
    sounds = np.concatenate([tones, rng.normal(size=tones.shape)])
    return (sounds * 10 ** rng.uniform(-3, -0.5, (2 * count, 1))).astype(np.float32)


def write_workdir(
    directory, steps=(10, 20), selected=20, config="train.seed = 0\n", vocabulary=None
):
    """A workdir with a checkpoint for each step, all different; returns it as a string."""
    vocabulary = vocabulary or datasets.VOCABULARY
    directory.mkdir(parents=True)
    workdir = str(directory)
    for step in steps:
        net = network(len(vocabulary), seed=step)
        checkpoints.save(tf.train.Checkpoint(model=net), workdir, step, keep=True)
    checkpoints.save_model_description(workdir, net, vocabulary, "0123abcd")
    (directory / "config.gin").write_text(config)
    if selected is not None:
        (directory / "selection.json").write_text(json.dumps({"step": selected}))
    return workdir
