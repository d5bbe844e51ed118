"""Training shared by devices and by processes."""

import json
import math
import os
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from audioset_strong.core import errors, locks
from audioset_strong.inputs import training_stream
from audioset_strong.training import checkpoints, distribution
from tests.streams import source, take_samples

_TWO_CPUS = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


_CONSTANT = "--gin_param=train.learning_rate = @constant_schedule"


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
        "--gin_param=train.reference_batch_size = None",
        "--gin_param=train.total_steps = 12",
        "--gin_param=train.checkpoint_every = 4",
        "--gin_param=train.steps_per_call = 1",
        *more,
    ]


def _losses(logged):
    return {step: float(value) for step, value in logged["loss"]}


def _cosine(step):
    return 0.01 * step / 3 if step < 3 else 0.005 * (1 + math.cos(math.pi * (step - 3) / 9))


# Bindings of a schedule, and the rate at which the step after `step` others is made.
_SCHEDULES = {
    "constant_schedule": (["constant_schedule.learning_rate = 0.01"], lambda step: 0.01),
    "warmup_cosine": (
        ["warmup_cosine.learning_rate = 0.01", "warmup_cosine.warmup_share = 0.25"],
        _cosine,
    ),
    "step_schedule": (
        ["step_schedule.learning_rate = 0.01", "step_schedule.boundaries = (0.5,)"],
        lambda step: 0.01 if step <= 6 else 0.001,
    ),
}
_STRATEGIES = ("one_device", "mirrored", "two_workers", "three_workers")
_OPTIONS = {
    "default": [],
    "float16": ["train.precision = 'float16'", "resnet.synchronized_batch_norm = False"],
    "bfloat16": ["train.precision = 'bfloat16'"],
    "accumulation": ["train.accumulate = 2", "resnet.synchronized_batch_norm = False"],
    "ema": ["train.ema_decay = 0.9"],
    "pooling": [
        "single_source.policy = 'weak'",
        "train.pooling = @autopool",
        "train_patches.windows_per_bag = 2",
    ],
    "every example augmented": ["Augmentation.gain_db = 6.0", "Augmentation.mixup_alpha = 0.4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", _SCHEDULES)
@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_every_strategy_trains_with_every_schedule(
    server, data_dir, tmp_path, strategy, schedule, events
):
    bindings, rate = _SCHEDULES[schedule]
    run = tmp_path / "run"
    flags = _flags(
        run,
        data_dir,
        f"--gin_param=train.learning_rate = @{schedule}",
        *(f"--gin_param={binding}" for binding in bindings),
        "--gin_param=train.batch_size = 12",
    )
    assert _train_with(server, strategy, flags) == ""
    logged = {step: float(value) for step, value in events(run)["learning_rate"]}
    wanted = {step: rate(step - 1) for step in range(1, 13)}
    assert logged == pytest.approx(wanted, rel=1e-5, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("option", _OPTIONS)
def test_every_strategy_trains_with_every_option(
    server, data_dir, tmp_path, strategy, option, events
):
    bindings = [f"--gin_param={binding}" for binding in _OPTIONS[option]]
    run = tmp_path / "run"
    flags = _flags(run, data_dir, *bindings, "--gin_param=train.batch_size = 12")
    assert _train_with(server, strategy, flags) == ""
    assert checkpoints.is_finished(str(run))
    losses = _losses(events(run))
    assert sorted(losses) == list(range(1, 13))
    assert np.isfinite(list(losses.values())).all()
    if option == "ema":
        checkpoints.load_model(str(run), ema=True)


@pytest.mark.parametrize("clip_norm", ["None", pytest.param("0.05", marks=pytest.mark.slow)])
def test_two_devices_train_as_one_does_at_the_same_global_batch(
    server, data_dir, tmp_path, clip_norm, events
):
    more = (
        f"--gin_param=train.clip_norm = {clip_norm}",
        "--gin_param=train.ema_decay = 0.9",
        _CONSTANT,
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


def _start_workers(server, flags, count=2, more=()):
    """Starts workers with common flags; `more` are those of each of them."""
    workers = [f"localhost:{port}" for port in _free_ports(count)]
    started = []
    for index in range(count):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        prelude = f"import os; os.environ['TF_CONFIG'] = {json.dumps(json.dumps(config))}"
        own = more[index] if more else ()
        started.append(
            server.start("train", *flags, *own, "--strategy=multi_worker", prelude=prelude)
        )
    return started


def _start(server, strategy, flags):
    """Starts all processes of a run under a strategy."""
    if strategy in ("two_workers", "three_workers"):
        return _start_workers(server, flags, {"two_workers": 2, "three_workers": 3}[strategy])
    if strategy == "mirrored":
        return [server.start("train", *flags, "--strategy=mirrored", prelude=_TWO_CPUS)]
    return [server.start("train", *flags)]


def _train_with(server, strategy, flags):
    """Trains to the end under a strategy; returns what went to stderr if it failed."""
    processes = _start(server, strategy, flags)
    codes = [process.wait() for process in processes]
    return "" if not any(codes) else "\n".join(process.stderr for process in processes)


@pytest.fixture(scope="module")
def together(server, data_dir, tmp_path_factory):
    """A run of two processes."""
    run = tmp_path_factory.mktemp("runs") / "together"
    workers = _start_workers(server, _flags(run, data_dir, _CONSTANT))
    assert [worker.wait() for worker in workers] == [0, 0], workers[0].stderr + workers[1].stderr
    return run


def test_two_processes_train_together(together, events):
    assert checkpoints.is_finished(str(together))
    steps = [step for step, _ in checkpoints.list_checkpoints(str(together))]
    assert steps == [4, 8, 12]
    logged = events(together)
    assert sorted(_losses(logged)) == list(range(1, 13))
    assert [float(rate) for _, rate in logged["learning_rate"]] == pytest.approx([1e-3] * 12)
    assert len(list((together / "train").iterdir())) == 1  # one writes the events


def test_a_loss_that_is_no_number_names_the_clips_of_both_processes(server, data_dir, tmp_path):
    run = tmp_path / "run"
    flags = _flags(run, data_dir, "--gin_param=warmup_cosine.learning_rate = 1e38")
    workers = _start_workers(server, flags)
    assert [worker.wait() for worker in workers] == [2, 2], workers[0].stderr + workers[1].stderr
    told = json.loads((run / "diverged.json").read_text())
    assert all(f"at step {told['step']} " in worker.stderr for worker in workers)
    wanted = []
    for index in range(2):
        (batch,) = take_samples(
            1,
            source(f"{data_dir}/train"),
            8,
            start_step=told["step"] - 1,
            share=training_stream.BatchShare(replicas=2, first=index),
        )
        wanted += zip([i.decode() for i in batch["clip_id"]], batch["start"], strict=True)
    got = [(window["clip_id"], window["start_sample"]) for window in told["batch"]]
    assert got == wanted


def test_workers_that_would_start_at_different_steps_end_with_one_line(
    together, server, data_dir, tmp_path
):
    run = shutil.copytree(together, tmp_path / "run")
    longer = "--gin_param=train.total_steps = 16"
    flags = _flags(run, data_dir, _CONSTANT, longer, "--extend")
    apart = _start_workers(server, flags, more=[(), (f"--workdir={tmp_path / 'elsewhere'}",)])
    assert [worker.wait() for worker in apart] == [2, 2], apart[0].stderr + apart[1].stderr
    for worker in apart:
        assert worker.stderr.splitlines()[-1].startswith(
            "error: workers would start at different steps: worker 0 has step 12, worker 1 has no "
            "checkpoint; give all of them the same --workdir"
        )


@pytest.mark.slow
def test_workers_with_different_settings_end(server, data_dir, tmp_path):
    flags = _flags(tmp_path / "run", data_dir)
    other_seed = _start_workers(server, flags, more=[(), ("--gin_param=train.seed = 1",)])
    assert [worker.wait() for worker in other_seed] == [2, 2]
    assert "workers were started with different settings or data" in other_seed[0].stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failing", "count", "more", "line"),
    [
        (1, 2, "--gin_param=train.batch_siz = 3", "gin binding 'train.batch_siz = 3': Configur"),
        (2, 3, "--data_dir=/nowhere", "/nowhere/train: no converted dataset"),
        (0, 2, "--workdir={tmp_path}/other", "{tmp_path}/other holds something other than a run"),
        (0, 2, "--workdir={tmp_path}/taken", "{tmp_path}/taken: another process is training in it"),
    ],
    ids=["bindings", "data", "workdir", "lock"],
)
def test_a_worker_that_fails_before_the_first_step_ends_all_with_its_line(
    server, data_dir, tmp_path, failing, count, more, line
):
    for name in ("other", "taken"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    own = [(more.format(tmp_path=tmp_path),) if i == failing else () for i in range(count)]
    line = line.format(tmp_path=tmp_path)
    with locks.locked(tmp_path / "taken", "in use"):
        flags = _flags(tmp_path / "run", data_dir, "--gin_param=train.batch_size = 12")
        workers = _start_workers(server, flags, count, own)
        assert [worker.wait() for worker in workers] == [2] * count
    for index, worker in enumerate(workers):
        assert "Traceback" not in worker.stderr
        (said,) = (each for each in worker.stderr.splitlines() if each.startswith("error: "))
        told = "" if index == failing else f"worker {failing} has failed: "
        assert said.startswith(f"error: {told}{line}")
    assert not (tmp_path / "run" / "run.json").exists()


def test_ctrl_c_ends_a_worker_that_waits_for_others(server, data_dir, tmp_path):
    (port,) = _free_ports(1)
    config = {
        "cluster": {"worker": [f"localhost:{port}", "localhost:1"]},
        "task": {"type": "worker", "index": 0},
    }
    prelude = f"import os; os.environ['TF_CONFIG'] = {json.dumps(json.dumps(config))}"
    flags = _flags(tmp_path / "run", data_dir, "--strategy=multi_worker")
    worker = server.start("train", *flags, prelude=prelude)
    while "waiting for the other workers" not in worker.stderr:
        time.sleep(0.1)
    time.sleep(1.0)  # TensorFlow has begun to wait, or will find the signal
    os.kill(worker.pid, signal.SIGINT)
    assert worker.wait() == -signal.SIGINT
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_continues_with_another_number_of_devices_and_workers(
    server, data_dir, tmp_path, events
):
    run = tmp_path / "run"
    for strategy, steps in (
        ("two_workers", 4),
        ("one_device", 8),
        ("mirrored", 12),
        ("three_workers", 16),
    ):
        flags = _flags(
            run,
            data_dir,
            _CONSTANT,
            "--gin_param=train.batch_size = 12",
            f"--gin_param=train.total_steps = {steps}",
            "--extend",
        )
        assert _train_with(server, strategy, flags) == ""
    assert sorted(_losses(events(run))) == list(range(1, 17))
    assert checkpoints.load_model(str(run)).step == 16


def test_synchronized_batch_norm_is_refused_where_replicas_cannot_meet(server, data_dir, tmp_path):
    flags = _flags(
        tmp_path / "run", data_dir, "--strategy=mirrored", "--gin_param=train.accumulate = 2"
    )
    process = server.start("train", *flags, prelude=_TWO_CPUS)
    assert process.wait() == 2
    assert process.stderr.splitlines()[-1] == (
        "error: train.accumulate = 2: cannot be combined with resnet.synchronized_batch_norm = "
        "True on 2 replicas; leave one of the two out"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "killed"),
    [("mirrored", 0), ("two_workers", 0), ("two_workers", 1), ("three_workers", 2)],
)
def test_a_killed_process_ends_the_others_and_all_go_on_from_the_last_checkpoint(
    server, data_dir, tmp_path, strategy, killed, events
):
    bindings = ("train.total_steps = 4000", "train.batch_size = 12")
    flags = _flags(tmp_path / "run", data_dir, *(f"--gin_param={each}" for each in bindings))
    processes = _start(server, strategy, flags)
    while not checkpoints.newest(str(tmp_path / "run")):
        time.sleep(0.1)
    os.kill(processes[killed].pid, signal.SIGKILL)
    assert processes.pop(killed).wait() == -signal.SIGKILL
    for other in processes:
        assert other.wait() not in (0, None)
        assert "start all of them again to continue from the last checkpoint" in other.stderr
    last = checkpoints.newest(str(tmp_path / "run"))[0]
    processes = _start(server, strategy, flags)
    while checkpoints.newest(str(tmp_path / "run"))[0] <= last:
        time.sleep(0.1)
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    assert {process.wait() for process in processes} == {128 + signal.SIGTERM}
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
