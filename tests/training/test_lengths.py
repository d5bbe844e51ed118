"""The length of a run in steps, examples and epochs, and a learning rate that follows the batch."""

import math
import re

import pytest
from absl import logging

from audioset_strong.core import errors
from audioset_strong.training import checkpoints, schedules
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.settings import TrainSettings
from tests import toy_training


@pytest.mark.parametrize("batch_size", [16, 128, 2048])
@pytest.mark.parametrize("given", [{"total_epochs": 25.6}, {"total_examples": 1_024_000}])
def test_epochs_and_examples_are_the_same_for_every_batch_size(batch_size, given):
    length = TrainSettings(batch_size=batch_size, checkpoints=10, **given).length(40_000)
    assert length.total_steps == 1_024_000 // batch_size
    assert length.total_examples == 1_024_000
    assert length.total_epochs == pytest.approx(25.6)
    assert len(length.kept_steps) == 10
    assert length.kept_steps[-1] == length.total_steps


def test_without_a_number_of_checkpoints_about_twenty_are_kept():
    assert len(TrainSettings(batch_size=8, total_steps=1000).length(100).kept_steps) == 20
    assert TrainSettings(batch_size=8, total_steps=3).length(100).kept_steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "no length: give one of train.total_epochs, train.total_examples, train.total_steps"),
        ({"total_steps": 1, "total_epochs": 1}, "train.total_epochs and train.total_steps: give"),
        ({"total_epochs": 0.0}, "train.total_epochs = 0.0: must be positive"),
        ({"total_epochs": True}, "train.total_epochs = True: must be positive"),
        ({"total_examples": 1.5}, "train.total_examples = 1.5: must be a whole number"),
        (
            {"total_steps": 1, "checkpoint_every": 1, "checkpoints": 1},
            "train.checkpoint_every and train.checkpoints: give one of the two",
        ),
        ({"total_steps": 1, "checkpoints": 0}, "train.checkpoints = 0"),
        ({"total_steps": 1, "keep_checkpoints": 0}, "train.keep_checkpoints = 0"),
        ({"total_steps": 1, "reference_batch_size": 0}, "train.reference_batch_size = 0"),
        (
            {"total_steps": 1, "rate_scaling": "cubic"},
            "train.rate_scaling = 'cubic': must be one of square_root, linear",
        ),
    ],
)
def test_what_describes_no_length_is_refused(changes, message):
    with pytest.raises(errors.InputError, match=re.escape(message)):
        TrainSettings(batch_size=8, **changes)


@pytest.mark.parametrize(("scaling", "factor"), [("square_root", 4.0), ("linear", 16.0)])
@pytest.mark.parametrize("schedule", [schedules.constant_schedule, schedules.warmup_cosine])
def test_the_learning_rate_follows_the_batch(scaling, factor, schedule):
    def rates(batch_size, **more):
        settings = TrainSettings(
            batch_size=batch_size, total_steps=100, learning_rate=schedule, **more
        )
        rate = settings.rate(100)
        return [float(rate(step) if callable(rate) else rate) for step in (1, 10, 50)]

    plain = rates(128)
    assert rates(2048, reference_batch_size=128, rate_scaling=scaling) == pytest.approx(
        [factor * rate for rate in plain]
    )
    assert rates(128, reference_batch_size=128, rate_scaling=scaling) == plain
    assert rates(2048) == plain


def test_a_run_says_its_length_time_and_disk_and_keeps_to_them(
    data_dir, tmp_path, caplog, events, monkeypatch
):
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)  # whatever ran before
    caplog.set_level("INFO", logger="absl")
    run = toy_training.train(
        tmp_path / "run",
        data_dir,
        batch_size=8,
        total_steps=None,
        checkpoint_every=None,
        total_epochs=2.5,
        checkpoints=3,
        steps_per_call=3,
        reference_batch_size=32,
    )
    assert "15 steps of 8 examples: 120 examples, 2.5 epochs of 48" in caplog.text
    told = re.search(r"(\d+) checkpoints of ([\d.]+) kB and a state of ([\d.]+) kB", caplog.text)
    for name, kilobytes in (("step-15", told[2]), ("resume-15", told[3])):
        (data,) = (run / "checkpoints").glob(f"{name}.data*")
        # Beside the values, a file holds the description of the objects: a few kB.
        assert 0 < data.stat().st_size / 1000 - float(kilobytes) < 25
    steps = [step for step, _ in checkpoints.list_checkpoints(str(run))]
    assert steps == [5, 10, 15]
    assert int(told[1]) == len(steps)
    assert re.search(r"10 more steps take \d+ seconds at [\d.]+ examples/s", caplog.text)
    info = RunInfo.read(str(run))
    assert (info.total_steps, info.total_epochs) == (15, 2.5)
    rates = [float(rate) for _, rate in events(run)["learning_rate"]]
    assert rates == pytest.approx([1e-2 * math.sqrt(8 / 32)] * len(rates))
