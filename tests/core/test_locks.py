"""Locks: files on local disks, leases where the file system has no locks."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from audioset_strong.core import errors, files, locks


@pytest.fixture(params=["local", "file", "ram"])
def directory(request, tmp_path):
    path = {
        "local": str(tmp_path / "run"),
        "file": f"file://{tmp_path}/run",
        "ram": f"ram://{tmp_path.name}/run",
    }[request.param]
    files.make_directory(path)
    return path


def test_only_one_holds_a_lock_and_then_it_is_free(directory):
    with (
        locks.locked(directory, "training in it"),
        pytest.raises(errors.InputError, match="another process is training in it"),
        locks.locked(directory, "training in it"),
    ):
        pass
    with locks.locked(directory, "training in it"):
        pass


def _lease(directory, **changes):
    lease = {"id": "other", "host": "other", "pid": 1, "until": time.time() + 60} | changes
    files.write_json(os.path.join(directory, locks.LOCK), lease)


def _ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def remote(tmp_path):
    directory = f"ram://{tmp_path.name}/leased"
    files.make_directory(directory)
    return directory


def test_a_lease_of_another_machine_is_respected_until_it_ends(remote):
    _lease(remote)
    with (
        pytest.raises(errors.InputError, match=r"training in it on other; .* start in [56]\d s"),
        locks.locked(remote, "training in it"),
    ):
        pass
    _lease(remote, until=time.time() - 1)
    with locks.locked(remote, "training in it"):
        pass


def test_a_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(remote):
    _lease(remote, host=socket.gethostname(), pid=_ended_process())
    with locks.locked(remote, "training in it"):
        assert files.read_json(os.path.join(remote, locks.LOCK))["pid"] == os.getpid()
    assert not files.exists(os.path.join(remote, locks.LOCK))


def test_of_two_that_find_a_lease_free_one_has_it(remote, monkeypatch):
    written = files.write_json

    def overtaken(path, value, **options):
        written(path, value, **options)
        written(path, value | {"id": "the other one, a moment later"})

    monkeypatch.setattr(files, "write_json", overtaken)
    with (
        pytest.raises(errors.InputError, match="another process is training in it"),
        locks.locked(remote, "training in it"),
    ):
        pass


def test_a_lease_is_renewed_while_it_is_held(remote, monkeypatch):
    monkeypatch.setattr(locks, "_LEASE_S", 0.4)
    path = os.path.join(remote, locks.LOCK)
    with locks.locked(remote, "training in it"):
        first = files.read_json(path)
        deadline = time.monotonic() + 20
        while files.read_json(path)["until"] == first["until"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert files.read_json(path)["id"] == first["id"]


def test_what_is_no_lease_is_none(remote):
    files.write_text(os.path.join(remote, locks.LOCK), "[1, 2")
    with locks.locked(remote, "training in it"):
        assert json.loads(files.read_text(os.path.join(remote, locks.LOCK)))["until"] > time.time()
