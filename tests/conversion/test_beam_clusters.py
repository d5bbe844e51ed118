"""Conversion on engines whose workers are processes of their own; needs the extra `beam`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from audioset_strong.conversion import converter
from tests.audio_files import melody, write
from tests.datasets import conversion_request

ROOT = pathlib.Path(__file__).parents[2]
DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"
CLIPS = 160
RATE = 44_100


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    """Clips that take some seconds to convert, in eight shards of a few pieces each."""
    root = tmp_path_factory.mktemp("cluster")
    sound = write(root / "sound.wav", np.stack([melody(10, RATE)] * 2, 1), RATE)
    (root / "audio").mkdir()
    for i in range(CLIPS):
        (root / "audio" / f"clip{i}_0.wav").symlink_to(sound)
    (root / "classes.csv").write_text('index,mid,display_name\n0,/m/0a,"A"\n')
    rows = "".join(f'clip{i}, 0.000, 10.000, "/m/0a"\n' for i in range(CLIPS + 1))
    (root / "weak.csv").write_text("# YTID, ...\n" + rows)
    return conversion_request(
        audio_dirs=(f"{root}/audio",),
        class_labels=(f"{root}/classes.csv",),
        output_dir=f"{root}/local",
        name="d",
        weak_csvs=(f"{root}/weak.csv",),
        num_shards=8,
    )


@pytest.fixture(scope="module")
def local(request_):
    converter.convert(request_)
    return contents(request_.output_dir)


def contents(output_dir):
    """The files of a dataset; its info without the command that made it."""
    found = {path.name: path.read_bytes() for path in pathlib.Path(output_dir, "d").iterdir()}
    info = json.loads(found["dataset_info.json"])
    return found | {"dataset_info.json": info | {"command": ""}}


def start(*arguments, **settings):
    """A process with a group of its own, so that it can be killed with all its children."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        start_new_session=True,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **settings},
    )


def convert(request, output_dir, *flags):
    """Starts the binary; a fork of this process could not talk to a cluster."""
    return start(
        "-m",
        "audioset_strong.tools.convert",
        f"--audio_dir={request.audio_dirs[0]}",
        f"--class_labels={request.metadata.class_labels[0]}",
        f"--weak_csv={request.metadata.weak_csvs[0]}",
        f"--output_dir={output_dir}",
        f"--name={request.name}",
        f"--num_shards={request.num_shards}",
        *flags,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process):
    """Kills a process and its children, as the loss of their machine does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition, seconds=180.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def dask(tmp_path):
    """(address of a scheduler, two workers) on loopback."""
    pytest.importorskip("distributed", reason="needs the extra beam")
    found = tmp_path / "scheduler.json"
    common = ("--scheduler-file", str(found), "--no-dashboard", "--interface=lo")
    running = [start("-m", "distributed.cli.dask_scheduler", "--port=0", *common)]
    try:
        wait_until(found.exists)
        logs = [tmp_path / "one.log", tmp_path / "two.log"]
        for log in logs:
            place = ("--local-directory", str(log.with_suffix("")), "--nthreads=1")
            with log.open("w") as stderr:
                worker = start("-m", "distributed.cli.dask_worker", *common, *place, stderr=stderr)
            running.append(worker)
        # A worker that comes late may find all shards given to the other one.
        wait_until(lambda: all("Registered to" in log.read_text() for log in logs))
        yield json.loads(found.read_text())["address"], running[1:]
    finally:
        for process in reversed(running):
            kill(process)


@pytest.mark.slow
def test_on_dask_a_worker_that_dies_changes_no_byte(request_, local, dask, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    address, (worker, other) = dask
    flags = (f"--runner={DASK}", f"--beam_option=--dask_client_address={address}")
    process = convert(request_, tmp_path, *flags)
    work = tmp_path / "d" / ".work"

    def begun():
        """Whether a shard is being written; on a busy machine one worker may be first with all."""
        assert process.poll() is None, process.stderr.read()
        return any(work.rglob("*.piece"))

    wait_until(begun)
    kill(worker)
    assert not (tmp_path / "d" / "dataset_info.json").exists()
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert other.poll() is None
    assert contents(tmp_path) == local


@pytest.mark.slow
def test_a_job_server_whose_workers_are_processes_writes_the_same_bytes(request_, local, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    port_file = tmp_path / "port"
    module = "apache_beam.runners.portability.local_job_service_main"
    job_server = start("-m", module, "--port_file", str(port_file), "--staging_dir", str(tmp_path))
    try:
        wait_until(lambda: port_file.exists() and port_file.read_text())
        process = convert(
            request_,
            tmp_path / "out",
            "--runner=PortableRunner",
            f"--beam_option=--job_endpoint=localhost:{port_file.read_text()}",
            "--beam_option=--environment_type=beam:env:harness_subprocess_python:v1",
            "--beam_option=--environment_config="
            f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main",
        )
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
    finally:
        kill(job_server)
    assert contents(tmp_path / "out") == local
