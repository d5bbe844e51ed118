"""Training runs: real shards in, real checkpoints and event files out; killed and resumed."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from audioset_strong import errors, features
from audioset_strong.data import sampling
from audioset_strong.labels import vocabulary
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints, loop
from tests.datasets import toy_clips, write_dataset


def tiny(num_classes, class_priors):
    return resnet.resnet(
        num_classes, (1, 1), 4, bottleneck=False, first_stride=2, class_priors=class_priors
    )


def sources(data_dir):
    return [sampling.Source((os.path.join(data_dir, "train"),), "strong")]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory / "train", toy_clips(48), 2)
    return str(directory)


def train(workdir, data_dir, **settings):
    defaults = {"batch_size": 16, "total_steps": 60, "checkpoint_every": 20, "steps_per_call": 10}
    loop.train(
        str(workdir),
        data_dir=data_dir,
        **({"sources": sources, "model": tiny} | defaults | settings),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    workdir.mkdir()
    train(workdir, data_dir, learning_rate=lambda total_steps: 1e-2)
    return workdir


def weights(workdir, step=None):
    path = dict(checkpoints.list_checkpoints(str(workdir)))[step] if step else None
    return checkpoints.load_model(str(workdir), path).model.get_weights()


def test_a_run_learns_to_tell_tone_from_noise(trained):
    loaded = checkpoints.load_model(str(trained))
    assert loaded.step == 60
    assert loaded.vocabulary.mids == ("/m/00", "/m/01", "/m/02", "/m/03")
    windows, labels = [], []
    for clip in toy_clips(30, first=1000):
        (start, end, label), *_ = clip.segments
        middle = 8 * (start + end) - features.PATCH_SAMPLES // 2
        windows.append(clip.audio[max(middle, 0) :][: features.PATCH_SAMPLES] / 32768)
        labels.append(label)
    log_mel = features.log_mel(tf.constant(np.stack(windows), tf.float32))
    logits = loaded.model.predict(log_mel, verbose=0)
    right = np.argmax(logits[:, :2], axis=1) == labels
    assert right.mean() > 0.9


def test_checkpoints_and_a_finishing_mark_are_where_the_evaluator_looks(trained):
    assert [step for step, _ in checkpoints.list_checkpoints(str(trained))] == [20, 40, 60]
    assert checkpoints.is_finished(str(trained))
    assert not list(trained.rglob("*.tmp"))


def test_tensorboard_shows_loss_learning_rate_and_speed(trained):
    events = event_accumulator.EventAccumulator(str(trained / "train"), {"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"loss", "learning_rate", "examples_per_second", "config"} <= tags
    loss = events.Tensors("loss")
    assert [event.step for event in loss] == [10, 20, 30, 40, 50, 60]
    values = [float(tf.make_ndarray(event.tensor_proto)) for event in loss]
    assert values[-1] < 0.5 * values[0]
    rates = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("learning_rate")]
    assert rates == pytest.approx([1e-2] * 6)


def test_a_finished_run_is_left_alone(trained, data_dir):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    train(trained, data_dir)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_a_run_resumed_at_any_checkpoint_ends_with_the_same_weights(trained, data_dir, tmp_path):
    resumed = tmp_path / "resumed"
    (resumed / "checkpoints").mkdir(parents=True)
    for path in (trained / "checkpoints").glob("step-20.*"):
        (resumed / "checkpoints" / path.name).write_bytes(path.read_bytes())
    train(resumed, data_dir, learning_rate=lambda total_steps: 1e-2)
    for got, want in zip(weights(resumed), weights(trained), strict=True):
        np.testing.assert_array_equal(got, want)


def test_another_seed_trains_another_model(trained, data_dir, tmp_path):
    train(tmp_path, data_dir, seed=1, total_steps=20, learning_rate=lambda total_steps: 1e-2)
    first, other = weights(trained, 20)[0], weights(tmp_path, 20)[0]
    assert not np.array_equal(first, other)


def test_fine_tuning_begins_with_the_weights_of_the_selected_checkpoint(
    trained, data_dir, tmp_path
):
    (trained / "selection.json").write_text('{"step": 40}')
    # A learning rate of zero leaves the trainable weights as they were loaded.
    train(
        tmp_path,
        data_dir,
        init_from=str(trained),
        total_steps=2,
        prior_bias=False,
        learning_rate=lambda total_steps: 0.0,
    )
    start = checkpoints.load_model(str(trained), str(trained / "checkpoints" / "step-40")).model
    tuned = checkpoints.load_model(str(tmp_path)).model
    for got, want in zip(tuned.trainable_weights, start.trainable_weights, strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_fine_tuning_needs_a_selection_or_a_checkpoint_of_the_same_classes(
    trained, data_dir, tmp_path
):
    (trained / "selection.json").unlink(missing_ok=True)
    with pytest.raises(errors.InputError, match="no checkpoint is selected yet"):
        train(tmp_path / "a", data_dir, init_from=str(trained))
    with pytest.raises(errors.InputError, match="neither a checkpoint nor a workdir"):
        train(tmp_path / "a", data_dir, init_from=str(tmp_path / "nowhere"))
    others = vocabulary.Vocabulary(("/m/0x", "/m/0y"), ("x", "y"))
    write_dataset(tmp_path / "data" / "train", toy_clips(8), 1, vocabulary=others)
    with pytest.raises(errors.InputError, match="trained with 4 classes, this data has 2"):
        train(
            tmp_path / "a",
            str(tmp_path / "data"),
            init_from=str(trained / "checkpoints" / "step-20"),
        )
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_sound_checkpoint(data_dir, tmp_path):
    def explode(total_steps):
        del total_steps
        return keras.optimizers.schedules.PiecewiseConstantDecay([20], [1e-3, 1e30])

    tmp_path.joinpath("run").mkdir()
    with pytest.raises(errors.InputError, match=r"the loss is (nan|inf) at step"):
        train(tmp_path / "run", data_dir, learning_rate=explode)
    assert [step for step, _ in checkpoints.list_checkpoints(str(tmp_path / "run"))] == [20]
    assert all(np.isfinite(values).all() for values in weights(tmp_path / "run"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "train.batch_size = 0"),
        ({"total_steps": 0}, "train.total_steps = 0"),
        ({"sources": lambda _: []}, "no dataset given"),
        ({"sources": lambda _: [sampling.Source(("nowhere",), "weak")]}, "nowhere"),
    ],
)
def test_bad_settings_stop_before_anything_is_written(data_dir, tmp_path, settings, message):
    with pytest.raises(errors.InputError, match=message):
        train(tmp_path / "run", data_dir, **settings)
    assert not (tmp_path / "run").exists()


def _binary(workdir, data_dir):
    """The real binary, slow enough to be stopped on its way."""
    flags = [
        f"--workdir={workdir}",
        f"--data_dir={data_dir}",
        "--gin_file=table1/strong_67k.gin",
        "--gin_file=demo/train.gin",
        "--gin_param=single.datasets = ('train',)",
        "--gin_param=resnet.depths = (1,)",
        "--gin_param=resnet.width = 4",
        "--gin_param=train.batch_size = 8",
        "--gin_param=train.total_steps = 120",
        "--gin_param=train.checkpoint_every = 5",
        "--gin_param=train.steps_per_call = 5",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "audioset_strong.tools.train", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_step(workdir, step, process):
    deadline = time.monotonic() + 120
    index = pathlib.Path(workdir) / "checkpoints" / f"step-{step}.index"
    while not index.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_run_killed_twice_and_stopped_once_ends_as_one_never_stopped(data_dir, tmp_path):
    whole = _binary(tmp_path / "whole", data_dir)
    assert whole.wait() == 0, whole.stderr.read()

    workdir = tmp_path / "killed"
    for step, sign in ((5, signal.SIGKILL), (30, signal.SIGKILL), (60, signal.SIGTERM)):
        process = _binary(workdir, data_dir)
        _wait_for_step(workdir, step, process)
        process.send_signal(sign)
        code = process.wait()
        if sign == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 128 + signal.SIGTERM
            assert "run again to go on" in process.stderr.read()
    assert not checkpoints.is_finished(str(workdir))
    last = _binary(workdir, data_dir)
    assert last.wait() == 0, last.stderr.read()
    assert checkpoints.is_finished(str(workdir))
    for got, want in zip(weights(workdir), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(got, want)
