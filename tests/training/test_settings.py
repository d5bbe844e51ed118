"""Settings of a training run that cannot be."""

import pytest

from audioset_strong.core import errors
from audioset_strong.training.settings import TrainSettings


def settings(**changes):
    return TrainSettings(**({"batch_size": 8, "total_steps": 10, "checkpoint_every": 5} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "train.batch_size = 0: must be a whole number, at least 1"),
        ({"batch_size": True}, "train.batch_size = True: must be a whole number"),
        ({"total_steps": 2.5}, "train.total_steps = 2.5: must be a whole number"),
        ({"steps_per_call": 0}, "train.steps_per_call = 0"),
        ({"checkpoint_every": -1}, "train.checkpoint_every = -1"),
        ({"inputs_every": -1}, "train.inputs_every = -1: must be a whole number, at least 0"),
        ({"histograms_every": 1.5}, "train.histograms_every = 1.5"),
        ({"resume_every_s": -1.0}, "train.resume_every_s = -1.0: must be a number of seconds"),
        ({"seed": -1}, "train.seed = -1: must be a whole number, at least 0"),
        ({"seed": 2**32}, "train.seed = 4294967296"),
        ({"learning_rate": 1e-3}, "train.learning_rate = 0.001: must name a function, like @const"),
        ({"model": None}, "train.model = None: must name a function, like @resnet"),
        ({"loss": "entropy"}, "train.loss = 'entropy': must name a function"),
        ({"optimizer": "adam"}, "train.optimizer = 'adam': must name a function, like @adam"),
        ({"precision": "int8"}, "train.precision = 'int8': must be one of float32, bfloat16"),
        ({"clip_norm": 0.0}, "train.clip_norm = 0.0: must be positive"),
        ({"clip_norm": float("nan")}, "train.clip_norm = nan: must be positive"),
        ({"ema_decay": 1.0}, r"train.ema_decay = 1.0: must lie in \(0, 1\)"),
        ({"prior_bias": "no"}, "train.prior_bias = 'no': must be True or False"),
    ],
)
def test_a_setting_out_of_range_is_one_line_that_names_the_binding(changes, message):
    with pytest.raises(errors.InputError, match=message) as caught:
        settings(**changes)
    assert "\n" not in str(caught.value)


def test_settings_are_given_by_name():
    with pytest.raises(TypeError):
        TrainSettings(8, 10, 5)


def test_a_batch_must_be_shared_evenly_by_the_replicas():
    settings().check_replicas(4)
    with pytest.raises(errors.InputError, match="batch_size = 8: must be a multiple of the 3"):
        settings().check_replicas(3)
