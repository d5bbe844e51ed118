"""Workers that cannot start end with one line."""

import os

import pytest

from audioset_strong.core import errors, workers

# What conversions preload: a process has one fork server, so the workers of all later tests come
# from the one that is started here, and would each import TensorFlow otherwise.
PRELOAD = "audioset_strong.conversion.shard_writing"


def dies():
    raise RuntimeError("no such device")


def exits():
    os._exit(3)


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (dies, r"worker processes cannot start \(exit code 1"),
        (exits, r"worker processes cannot start \(exit code 3"),
    ],
)
def test_a_worker_that_dies_at_birth_is_told(initializer, message):
    with pytest.raises(errors.InputError, match=message) as raised:
        workers.fork_server(PRELOAD, initializer)
    assert "\n" not in str(raised.value)


def test_workers_that_start_are_started(capfd):
    assert workers.fork_server(PRELOAD, workers.exit_with_parent).get_start_method() == "forkserver"
    assert capfd.readouterr().err == ""


def test_another_copy_in_the_working_directory_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not workers.shadowed()
    (tmp_path / "audioset_strong").mkdir()
    assert workers.shadowed()
    (tmp_path / "audioset_strong" / "__init__.py").touch()
    assert workers.shadowed()
