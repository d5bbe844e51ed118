"""Workdirs that look trained: real checkpoints of a small network with random weights."""

import json

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.inputs import training_sources
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints
from audioset_strong.training.run_info import RunInfo
from tests import datasets


def network(num_classes=datasets.CLASSES, seed=0, front_end=features.DEFAULT_FRONT_END):
    """A small ResNet in which every weight matters: no gamma is zero, no average one.

    Its embeddings are of 32 values. Smaller ones have no weights that TFLite would quantise.
    """
    net = resnet.resnet(
        num_classes,
        input_shape=front_end.patch_shape,
        depths=(1, 1),
        width=16,
        bottleneck=False,
        first_stride=2,
        input_mean=-2.0,
        input_scale=0.5,
    )
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
    log_mel = features.log_mel(_sounds(rng, front_end), front_end)
    examples = embedding(log_mel, training=False).numpy()  # `predict` would build a graph first
    kernel = rng.normal(size=logits.kernel.shape) / (examples.std(axis=0)[:, np.newaxis] + 1e-6)
    logits.kernel.assign(kernel)
    logits.bias.assign(-examples.mean(axis=0) @ kernel)
    return net


def _sounds(rng, front_end, count=16):
    time = np.arange(front_end.patch_samples) / front_end.sample_rate
    tones = np.sin(2 * np.pi * rng.uniform(200, 5000, (count, 1)) * time)
    sounds = np.concatenate([tones, rng.normal(size=tones.shape)])
    return (sounds * 10 ** rng.uniform(-3, -0.5, (2 * count, 1))).astype(np.float32)


def run_info(vocabulary=datasets.VOCABULARY, **changes):
    """The facts of a run on a dataset that need not exist."""
    return RunInfo(
        **{
            "front_end": features.DEFAULT_FRONT_END,
            "sources": (training_sources.Source(("data/train",), "strong"),),
            "vocabulary": vocabulary,
            "data_fingerprint": "0123abcd",
            "datasets": (),
            "seed": 0,
            "batch_size": 16,
            "total_steps": 20,
            "versions": {"audioset_strong": "0.1.0"},
        }
        | changes
    )


def write_workdir(
    directory, steps=(10, 20), selected=20, config="train.seed = 0\n", vocabulary=None, **facts
):
    """A workdir with a checkpoint for each step, all different; returns it as a string.

    `facts` are those of its `RunInfo` that differ from `run_info`'s.
    """
    vocabulary = vocabulary or datasets.VOCABULARY
    directory.mkdir(parents=True)
    workdir = str(directory)
    run = run_info(vocabulary, **facts)
    for step in steps:
        net = network(len(vocabulary), seed=step, front_end=run.front_end)
        checkpoints.save(tf.train.Checkpoint(model=net), workdir, step=step, keep=True)
    run.write(workdir)
    checkpoints.save_model_description(workdir, net)
    (directory / "config.gin").write_text(config)
    if selected is not None:
        (directory / "selection.json").write_text(json.dumps({"step": selected}))
    return workdir
