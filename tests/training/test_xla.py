"""The whole step of a replica compiles with XLA, as TPUs need it, and gives the same numbers."""

import dataclasses
import functools
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio.features import DEFAULT_FRONT_END
from audioset_strong.core import errors
from audioset_strong.inputs import training_stream
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.training import checkpoints, optimizers, pooling
from audioset_strong.training.losses import SigmoidCrossEntropy
from audioset_strong.training.settings import TrainSettings
from audioset_strong.training.state import TrainState
from audioset_strong.training.step import TrainStep
from tests import toy_training
from tests.toy_training import tiny

_EVERYTHING = {
    "augmentation": Augmentation(gain_db=6.0, mixup_alpha=0.4, time_masks=2, frequency_masks=2),
    "features_on_device": True,
    "loss": SigmoidCrossEntropy(unknown_weight=0.5, label_smoothing=0.1),
    "clip_norm": 0.1,
    "ema_decay": 0.9,
    "mask_unlabelled_classes": True,
    "accumulate": 2,
}
_POOLED = {
    "pooling": pooling.attention_pooling,
    "windows_per_bag": 2,
    "policy": "weak",
    "augmentation": Augmentation(gain_db=6.0, time_masks=2),
    "features_on_device": True,
    "loss": SigmoidCrossEntropy(unknown_weight=0.5, label_smoothing=0.1),
    "clip_norm": 0.1,
    "ema_decay": 0.9,
    "accumulate": 2,
}
_CASES = {
    "defaults": {},
    "everything": _EVERYTHING,
    "everything in float16": _EVERYTHING | {"precision": "float16"},
    "attention pooling": _POOLED,
    "autopool in float16": _POOLED | {"pooling": pooling.autopool, "precision": "float16"},
}
_SINGLE = {
    "features on the device": {"features_on_device": True},
    "gain": {"features_on_device": True, "augmentation": Augmentation(gain_db=6.0)},
    "mixup of samples": {"features_on_device": True, "augmentation": Augmentation(mixup_alpha=0.4)},
    "mixup of log-mel": {
        "features_on_device": True,
        "augmentation": Augmentation(mixup_alpha=0.4, mixup_domain="log_mel"),
    },
    "time masks": {"features_on_device": True, "augmentation": Augmentation(time_masks=2)},
    "frequency masks": {
        "features_on_device": True,
        "augmentation": Augmentation(frequency_masks=2),
    },
    "masked loss": {"loss": SigmoidCrossEntropy(unknown_weight=0.0)},
    "label smoothing": {"loss": SigmoidCrossEntropy(label_smoothing=0.1)},
    "clipping": {"clip_norm": 0.1},
    "moving average": {"ema_decay": 0.9},
    "float16": {"precision": "float16"},
    "bfloat16": {"precision": "bfloat16"},
    "accumulation": {"accumulate": 4},
}


def _batches(data_dir, options):
    """Two batches as a replica gets them: numbers only."""
    return _drawn(
        data_dir,
        options.get("policy", "strong"),
        mask=options.get("mask_unlabelled_classes", False),
        augmentation=options.get("augmentation", Augmentation()),
        known_labels=options.get("loss", SigmoidCrossEntropy()).needs_known_labels,
        features_on_device=options.get("features_on_device", False),
        windows_per_bag=options.get("windows_per_bag", 1),
    )


@functools.cache  # several options have the same batches
def _drawn(data_dir, policy, *, mask, augmentation, known_labels, **settings):
    stream = training_stream.train_patches(
        [Source((os.path.join(data_dir, "train"),), policy, mask_unlabelled_classes=mask)],
        8,
        augmentation=augmentation,
        known_labels=known_labels,
        settings=StreamSettings(**settings),
    )
    return [{k: v for k, v in batch.items() if v.dtype != tf.string} for batch in stream.take(2)]


def _train(batches, options, *, jit_compile, model=tiny):
    """Makes a step of each batch, and returns its results and the weights after all."""
    keras.utils.set_random_seed(0)
    names = ("clip_norm", "ema_decay", "precision", "accumulate", "pooling")
    settings = TrainSettings(
        batch_size=8,
        total_steps=2,
        checkpoint_every=2,
        model=model,
        **{name: options[name] for name in names if name in options},
    )
    strategy = tf.distribute.get_strategy()
    state = TrainState.build(
        settings, 4, total_steps=2, input_shape=(96, 64), class_priors=None, strategy=strategy
    )
    step = TrainStep(
        state,
        options.get("loss", SigmoidCrossEntropy()),
        strategy=strategy,
        to_model_input=functools.partial(
            training_stream.to_model_input,
            front_end=DEFAULT_FRONT_END,
            augmentation=options.get("augmentation", Augmentation()),
        ),
        clip_norm=settings.clip_norm,
        accumulate=settings.accumulate,
        windows_per_bag=options.get("windows_per_bag", 1),
    )
    make = tf.function(step.make, jit_compile=jit_compile, autograph=False)  # as `TrainStep` does
    results = [[float(value) for value in make(batch)] for batch in batches]
    averages = [v.numpy() for v in state.average.variables] if state.average else []
    return results, [weight.numpy() for weight in state.trainable_variables] + averages


def _check(data_dir, options):
    batches = _batches(data_dir, options)
    compiled, plain = (_train(batches, options, jit_compile=jit) for jit in (True, False))
    exact = options.get("precision", "float32") == "float32"
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-3 if exact else 0.05, atol=1e-6)
    for left, right in zip(compiled[1], plain[1], strict=True):
        # Adam's first steps are as long as the learning rate, whichever way they go.
        np.testing.assert_allclose(left, right, atol=5e-3)


@pytest.mark.parametrize("name", _CASES)
def test_the_whole_step_compiles_and_gives_the_same(data_dir, name):
    _check(data_dir, _CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", _SINGLE)
def test_the_whole_step_compiles_with_each_option_by_itself(data_dir, name):
    _check(data_dir, _SINGLE[name])


class _Spelled(keras.layers.Layer):
    """Adds a string operation, which XLA has not."""

    def call(self, inputs):
        return inputs + 0.0 * tf.strings.to_number(tf.strings.as_string(inputs))


def _spelled(num_classes, **arguments):
    net = tiny(num_classes, **arguments)
    return keras.Model(net.inputs, _Spelled(dtype="float32")(net.outputs[0]))


def _step(model, **arguments):
    settings = TrainSettings(batch_size=8, total_steps=2, checkpoint_every=2, model=model)
    strategy = tf.distribute.get_strategy()
    state = TrainState.build(
        settings, 4, total_steps=2, input_shape=(96, 64), class_priors=None, strategy=strategy
    )
    return TrainStep(
        state,
        SigmoidCrossEntropy(),
        strategy=strategy,
        to_model_input=lambda batch: batch,
        **arguments,
    )


def _check_one_line(caught):
    assert "\n" not in str(caught.value)
    assert "created at" not in str(caught.value)


def test_a_step_that_xla_cannot_compile_is_one_line(data_dir):
    batches = tf.data.Dataset.from_tensors(_batches(data_dir, {})[0]).repeat()
    step = _step(_spelled, jit_compile=True)
    with pytest.raises(errors.InputError, match=r"cannot be compiled by XLA: .*AsString") as caught:
        step(iter(batches), 1)
    _check_one_line(caught)


@pytest.mark.parametrize("whole", [False, True])
def test_a_step_is_read_by_xla_without_being_made(data_dir, whole):
    (batch, _) = _batches(data_dir, {})
    _step(tiny).check_compiles(batch, whole=whole)
    with pytest.raises(errors.InputError, match=r"cannot be compiled by XLA: .*AsString") as caught:
        _step(_spelled).check_compiles(batch, whole=whole)
    _check_one_line(caught)


def test_only_a_tpu_compiles_the_optimizer(data_dir):
    class Spelling(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            zero = 0.0 * tf.strings.to_number(tf.strings.as_string(gradient))
            super().update_step(gradient + zero, variable, learning_rate)

    (batch, _) = _batches(data_dir, {})
    step = _step(tiny)
    optimizer = optimizers.build(lambda rate: Spelling(rate), 0.1, step._state.net)
    step._state = dataclasses.replace(step._state, optimizer=optimizer)
    step.check_compiles(batch, whole=False)
    with pytest.raises(errors.InputError, match=r"cannot be compiled by XLA: .*AsString"):
        step.check_compiles(batch, whole=True)


def test_a_run_that_xla_cannot_compile_is_refused_before_its_workdir_exists(data_dir, tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(errors.InputError, match=r"cannot be compiled by XLA: .*AsString") as caught:
        toy_training.train(
            workdir, data_dir, model=_spelled, jit_compile=True, config_text="train.seed = 0\n"
        )
    _check_one_line(caught)
    assert not workdir.exists()
    toy_training.train(workdir, data_dir, model=_spelled, total_steps=5)  # without XLA it trains


def test_a_run_that_xla_has_read_trains_as_any_other(data_dir, tmp_path):
    stream = StreamSettings(features_on_device=True)
    augmentation = Augmentation(gain_db=6.0, mixup_alpha=0.4)
    weights = []
    for jit_compile in (False, True):  # on a CPU the step itself is not compiled
        workdir = toy_training.train(
            tmp_path / str(jit_compile),
            data_dir,
            total_steps=5,
            jit_compile=jit_compile,
            ema_decay=0.9,
            accumulate=2,
            stream=stream,
            augmentation=augmentation,
        )
        weights.append(checkpoints.load_model(str(workdir)).model.get_weights())
    for left, right in zip(*weights, strict=True):
        np.testing.assert_array_equal(left, right)
    left, right = ((tmp_path / name / "model.json").read_text() for name in ("False", "True"))
    assert left == right
