"""Training shared by devices and by processes."""

import json
import os
import signal
import socket
import time

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.inputs import training_sources, training_stream
from audioset_strong.training import checkpoints, distribution

_TWO_CPUS = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


def _flags(workdir, data_dir, *more):
    return [
        f"--workdir={workdir}",
        f"--data_dir={data_dir}",
        "--gin_file=table1/strong_67k.gin",
        "--gin_file=demo/train.gin",
        "--gin_param=single_source.datasets = ('train',)",
        "--gin_param=resnet.depths = (1,)",
        "--gin_param=resnet.width = 4",
        "--gin_param=resnet.synchronized_batch_norm = True",
        "--gin_param=train.batch_size = 8",
        "--gin_param=train.total_steps = 12",
        "--gin_param=train.checkpoint_every = 4",
        "--gin_param=train.steps_per_call = 1",
        *more,
    ]


def _losses(logged):
    return {step: float(value) for step, value in logged["loss"]}


@pytest.mark.parametrize("clip_norm", ["None", pytest.param("0.05", marks=pytest.mark.slow)])
def test_two_devices_train_as_one_does_at_the_same_global_batch(
    server, data_dir, tmp_path, clip_norm, events
):
    more = (
        f"--gin_param=train.clip_norm = {clip_norm}",
        "--gin_param=train.ema_decay = 0.9",
        "--gin_param=single_source.mask_unlabelled_classes = True",
    )
    one = server.start("train", *_flags(tmp_path / "one", data_dir, *more))
    flags = _flags(tmp_path / "two", data_dir, *more, "--strategy=mirrored")
    two = server.start("train", *flags, prelude=_TWO_CPUS)
    assert one.wait() == 0, one.stderr
    assert two.wait() == 0, two.stderr
    wanted, got = (_losses(events(tmp_path / name)) for name in ("one", "two"))
    assert sorted(got) == list(range(1, 13))
    # Float sums in another order; what they differ by grows from step to step.
    assert [got[step] for step in range(1, 7)] == pytest.approx(
        [wanted[step] for step in range(1, 7)], rel=1e-4
    )
    assert list(got.values()) == pytest.approx(list(wanted.values()), rel=2e-2)
    for ema in (False, True):
        pairs = zip(
            *(
                checkpoints.load_model(
                    str(tmp_path / name),
                    str(tmp_path / name / "checkpoints" / "step-4"),
                    ema=ema,
                ).model.get_weights()
                for name in ("one", "two")
            ),
            strict=True,
        )
        for left, right in pairs:
            np.testing.assert_allclose(right, left, rtol=2e-2, atol=2e-3)


def test_a_batch_that_replicas_cannot_share_is_refused(server, data_dir, tmp_path):
    flags = _flags(
        tmp_path / "run", data_dir, "--strategy=mirrored", "--gin_param=train.batch_size = 7"
    )
    process = server.start("train", *flags, prelude=_TWO_CPUS)
    assert process.wait() == 2
    assert "train.batch_size = 7: must be a multiple of the 2 replicas" in process.stderr


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start_workers(server, flags):
    workers = [f"localhost:{port}" for port in _free_ports(2)]
    started = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        prelude = f"import os; os.environ['TF_CONFIG'] = {json.dumps(json.dumps(config))}"
        started.append(server.start("train", *flags, "--strategy=multi_worker", prelude=prelude))
    return started


def test_two_processes_train_together(server, data_dir, tmp_path, events):
    workers = _start_workers(server, _flags(tmp_path / "run", data_dir))
    assert [worker.wait() for worker in workers] == [0, 0], workers[0].stderr + workers[1].stderr
    assert checkpoints.is_finished(str(tmp_path / "run"))
    steps = [step for step, _ in checkpoints.list_checkpoints(str(tmp_path / "run"))]
    assert steps == [4, 8, 12]
    assert sorted(_losses(events(tmp_path / "run"))) == list(range(1, 13))
    assert len(list((tmp_path / "run" / "train").iterdir())) == 1  # one writes the events


def test_a_loss_that_is_no_number_names_the_clips_of_both_processes(server, data_dir, tmp_path):
    run = tmp_path / "run"
    flags = _flags(run, data_dir, "--gin_param=warmup_cosine.learning_rate = 1e38")
    workers = _start_workers(server, flags)
    assert [worker.wait() for worker in workers] == [2, 2], workers[0].stderr + workers[1].stderr
    told = json.loads((run / "diverged.json").read_text())
    assert all(f"at step {told['step']} " in worker.stderr for worker in workers)
    wanted = []
    for index in range(2):
        batches = training_stream.train_patches(
            [training_sources.Source((f"{data_dir}/train",), "strong")],
            4,
            start_step=told["step"] - 1,
            settings=training_stream.StreamSettings(shuffle_buffer=2048),
            num_pipelines=2,
            pipeline_index=index,
        )
        batch = next(batches.as_numpy_iterator())
        wanted += zip([i.decode() for i in batch["clip_id"]], batch["start"], strict=True)
    got = [(window["clip_id"], window["start_sample"]) for window in told["batch"]]
    assert got == wanted


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_both_go_on_from_the_last_checkpoint(
    server, data_dir, tmp_path, killed, events
):
    flags = _flags(tmp_path / "run", data_dir, "--gin_param=train.total_steps = 4000")
    workers = _start_workers(server, flags)
    while not checkpoints.list_checkpoints(str(tmp_path / "run")):
        time.sleep(0.1)
    os.kill(workers[killed].pid, signal.SIGKILL)
    other = workers[1 - killed]
    assert other.wait() not in (0, None)
    assert "start all of them again to continue from the last checkpoint" in other.stderr
    last = checkpoints.newest(str(tmp_path / "run"))[0]
    workers = _start_workers(server, flags)
    while checkpoints.newest(str(tmp_path / "run"))[0] <= last:
        time.sleep(0.1)
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [128 + signal.SIGTERM] * 2
    first = min(step for step in _losses(events(tmp_path / "run")) if step > last)
    assert first == last + 1


@pytest.mark.parametrize(
    "value",
    ["", "{", '{"cluster": {}}', '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps"}}'],
)
def test_multi_worker_without_a_usable_tf_config_is_refused(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(errors.InputError, match="the multi_worker strategy needs it, like"):
        distribution.make("multi_worker")


def test_an_unknown_strategy_is_refused():
    with pytest.raises(errors.InputError, match="strategy 'pod': must be one of one_device"):
        distribution.make("pod")
