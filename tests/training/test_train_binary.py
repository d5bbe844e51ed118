"""tools/train.py as a real process: killed, stopped, started again, and misused."""

import os
import re
import shutil
import signal
import time

import numpy as np
import pytest

from audioset_strong.training import checkpoints
from tests.datasets import toy_clips, write_dataset

STEPS = 24
# Ends its own process at the n-th file of a checkpoint, before that file is in place.
_DIE = """
import os, signal
from audioset_strong.core import files
rename, moved = files.rename, []
def dying(source, target):
    if "checkpoints" in str(target):
        moved.append(source)
        if len(moved) == {n}:
            os.kill(os.getpid(), signal.{sign})
    return rename(source, target)
files.rename = dying
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory / "train", toy_clips(40), 2)
    write_dataset(directory / "empty", [], 1)
    return directory


def flags(workdir, data_dir, *more):
    return [
        f"--workdir={workdir}",
        f"--data_dir={data_dir}",
        "--gin_file=table1/plus_strong.gin",
        "--gin_file=demo/fine_tune.gin",
        "--gin_param=weak_strong_mixture.weak_datasets = ('train',)",
        "--gin_param=weak_strong_mixture.strong_datasets = ('train',)",
        "--gin_param=train.fine_tune = False",
        "--gin_param=resnet.depths = (1,)",
        "--gin_param=resnet.width = 4",
        "--gin_param=train.batch_size = 8",
        f"--gin_param=train.total_steps = {STEPS}",
        "--gin_param=train.checkpoint_every = 8",
        "--gin_param=train.steps_per_call = 4",
        "--gin_param=train.resume_every_s = 0.0",
        *more,
    ]


@pytest.fixture(scope="module")
def whole(server, data_dir, tmp_path_factory):
    """A run that was never stopped."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    process = server.start("train", *flags(workdir, data_dir))
    assert process.wait() == 0, process.stderr
    return workdir


def _weights(workdir):
    return checkpoints.load_model(str(workdir)).model.get_weights()


@pytest.mark.slow
def test_a_run_killed_and_stopped_again_and_again_ends_as_one_never_stopped(
    server, data_dir, whole, tmp_path
):
    workdir = tmp_path / "run"

    def start(n=0, sign="SIGKILL"):
        return server.start("train", *flags(workdir, data_dir), prelude=_DIE.format(n=n, sign=sign))

    def newest():
        return (checkpoints.newest(str(workdir)) or (0, ""))[0]

    # Within its first state, within the weights of step 8, between those and their state, and
    # after step 12.
    for n, left in ((1, 0), (4, 4), (3, 4), (7, 12)):
        assert start(n).wait() == -signal.SIGKILL
        assert newest() == left
    # From outside, at no particular moment.
    process = start()
    while newest() < 16:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = newest()
    process = start(1, "SIGTERM")
    assert process.wait() == 128 + signal.SIGTERM
    assert re.search(rf"stopped at step \d+ of {STEPS}; run again to continue", process.stderr)
    assert "Traceback" not in process.stderr
    assert before < newest() < STEPS
    assert not checkpoints.is_finished(str(workdir))

    last = start()
    assert last.wait() == 0, last.stderr
    assert checkpoints.is_finished(str(workdir))
    for got, want in zip(_weights(workdir), _weights(whole), strict=True):
        np.testing.assert_array_equal(got, want)
    folders = [sorted(p.name for p in (run / "checkpoints").iterdir()) for run in (workdir, whole)]
    assert folders[0] == folders[1]
    stamps = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    again = start()
    assert again.wait() == 0
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == stamps


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--gin_param=resnet.widht = 3"], "widht"),
        (["--gin_param=resnte.width = 3"], "resnte"),
        (["--gin_param=resnet.depths = (0,)"], "resnet needs positive depths"),
        (["--gin_param=resnet.depths = 3"], "resnet.depths = 3: must be a list of whole numbers"),
        (["--gin_file=table1/strong_67.gin"], "table1/strong_67k.gin"),
        (
            ["--gin_param=weak_strong_mixture.mu = 1.5"],
            "weak_strong_mixture.mu = 1.5: must lie in [0, 1]",
        ),
        (["--gin_param=weak_strong_mixture.policy = 'storng'"], "'storng'"),
        (["--gin_param=weak_strong_mixture.strong_datasets = ('empty',)"], "none of its 0 clips"),
        (
            ["--gin_param=weak_strong_mixture.strong_datasets = %NOWHERE"],
            "%NOWHERE is used but never set",
        ),
        (
            ["--gin_param=train.sources = @single_source"],
            "has no effect, because train.sources = @single_source",
        ),
        (["--gin_param=train.batch_size = 'many'"], "train.batch_size = 'many'"),
        (["--gin_param=mixture.mu = 0.5"], "mixture.mu is now weak_strong_mixture.mu"),
        (["--gin_param=train.framing_rule = 'half'"], "train.framing_rule = 'half'"),
        (["--gin_param=FrontEnd.fft_length = 256"], "FrontEnd.fft_length = 256: must be at least"),
        (
            ["--gin_param=train.fine_tune = True"],
            "train.fine_tune = True: these settings continue a trained model; give --init_from=",
        ),
        (["--init_from=/nowhere"], "/nowhere: neither a checkpoint nor a workdir"),
        (["--data_dir=/nowhere"], "/nowhere/train: no converted dataset"),
        (["--workdir=/proc/run"], "/proc/run: cannot be written"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_exit_code_2(server, data_dir, tmp_path, more, message):
    process = server.start("train", *flags(tmp_path / "run", data_dir, *more))
    assert process.wait() == 2, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_workdir_of_another_experiment_is_refused_with_the_difference(
    server, data_dir, whole, tmp_path
):
    process = server.start(
        "train", *flags(whole, data_dir, "--gin_param=weak_strong_mixture.mu = 0.5")
    )
    assert process.wait() == 2
    (line,) = process.stderr.splitlines()
    assert "it has weak_strong_mixture.mu = 0.8, this one weak_strong_mixture.mu = 0.5" in line
    # The same experiment with its data elsewhere is no other.
    shutil.copytree(data_dir, tmp_path / "moved")
    assert server.start("train", *flags(whole, tmp_path / "moved")).wait() == 0


@pytest.mark.slow
def test_a_run_continues_with_other_settings_that_do_not_change_the_result(
    server, data_dir, whole, tmp_path
):
    workdir = tmp_path / "run"
    stopped = server.start(
        "train", *flags(workdir, data_dir), prelude=_DIE.format(n=3, sign="SIGKILL")
    )
    assert stopped.wait() == -signal.SIGKILL
    other = [
        f"--gin_param=train.{binding}"
        for binding in (
            "steps_per_call = 3",
            "inputs_every = 12",
            "histograms_every = 12",
            "resume_every_s = 100.0",
            "checkpoint_every = 12",
        )
    ]
    process = server.start("train", *flags(workdir, data_dir, *other, "--profile_steps=14,16"))
    assert process.wait() == 0, process.stderr
    for got, want in zip(_weights(workdir), _weights(whole), strict=True):
        np.testing.assert_array_equal(got, want)
    assert "train.steps_per_call = 3" in (workdir / "config.gin").read_text()


@pytest.mark.slow
def test_a_finished_run_gets_more_steps_when_it_is_asked_for(server, data_dir, whole, tmp_path):
    constant = "--gin_param=train.learning_rate = @constant_schedule"
    half, full = (
        [f"--gin_param=train.total_steps = {steps}", constant] for steps in (STEPS // 2, STEPS)
    )
    workdir = tmp_path / "run"
    assert server.start("train", *flags(workdir, data_dir, *half)).wait() == 0
    refused = server.start("train", *flags(workdir, data_dir, *full))
    assert refused.wait() == 2
    assert "it has train.total_steps = 12, this one train.total_steps = 24" in refused.stderr
    extended = server.start("train", *flags(workdir, data_dir, *full, "--extend"))
    assert extended.wait() == 0, extended.stderr
    at_once = tmp_path / "at_once"
    assert server.start("train", *flags(at_once, data_dir, *full)).wait() == 0
    for got, want in zip(_weights(workdir), _weights(at_once), strict=True):
        np.testing.assert_array_equal(got, want)
    for left in ("run.json", "finished.json"):
        assert f"{STEPS}" in (workdir / left).read_text()
    shorter = server.start("train", *flags(workdir, data_dir, *half, "--extend"))
    assert shorter.wait() == 2
    assert "its run has 24 steps, this one 12; a run cannot be shortened" in shorter.stderr


def test_a_run_that_failed_its_first_check_can_be_started_rightly(server, data_dir, tmp_path):
    workdir = tmp_path / "run"
    wrong = flags(workdir, "/nowhere", "--gin_param=train.total_steps = 1")
    assert server.start("train", *wrong).wait() == 2
    right = flags(workdir, data_dir, "--gin_param=train.total_steps = 1")
    process = server.start("train", *right)
    assert process.wait() == 0, process.stderr
    assert checkpoints.is_finished(str(workdir))
