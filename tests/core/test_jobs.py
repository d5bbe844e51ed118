"""Running command lines that need each other."""

import json
import signal
import subprocess
import sys
import time

import pytest

from audioset_strong.core import errors, jobs


def _python(code):
    return [sys.executable, "-c", code]


def test_jobs_run_in_the_order_of_their_needs_and_only_once(tmp_path):
    log = tmp_path / "order"

    def append(text):
        return _python(f"open({str(log)!r}, 'a').write({text!r})")

    listed = [
        jobs.Job("last", append("c"), ("first", "second")),
        jobs.Job("second", append("b"), ("first",)),
        jobs.Job("first", append("a"), exclusive=True),
    ]
    jobs.run(listed, tmp_path / "state", max_parallel=2)
    assert log.read_text() == "abc"
    jobs.run(listed, tmp_path / "state", max_parallel=2)
    assert log.read_text() == "abc"


def test_a_failure_shows_the_log_and_the_next_run_goes_on_from_there(tmp_path):
    flag = tmp_path / "flag"
    count = tmp_path / "count"
    listed = [
        jobs.Job("good", _python(f"open({str(count)!r}, 'a').write('x')")),
        jobs.Job(
            "bad",
            _python(f"import os, sys; sys.exit(0 if os.path.exists({str(flag)!r}) else 'no flag')"),
            ("good",),
        ),
    ]
    with pytest.raises(errors.InputError, match=r"(?s)bad failed with exit code 1.*no flag"):
        jobs.run(listed, tmp_path / "state", max_parallel=1)
    flag.touch()
    jobs.run(listed, tmp_path / "state", max_parallel=1)
    assert count.read_text() == "x"


def test_jobs_that_are_a_job_of_others_tell_how_far_they_are(tmp_path):
    inner = f"""
import pathlib
from audioset_strong.core import jobs
command = [{sys.executable!r}, "-c", ""]
listed = [jobs.Job(name, command) for name in ("a", "b", "c")]
jobs.run(listed, pathlib.Path({str(tmp_path / "inner")!r}), max_parallel=1)
"""
    jobs.run([jobs.Job("sweep", _python(inner))], tmp_path / "outer", max_parallel=1)
    told = json.loads((tmp_path / "outer" / "sweep.status").read_text())
    assert told == {"stage": "stage", "done": 3, "total": 3, "note": ""}


def test_exclusive_jobs_run_alone(tmp_path):
    lock = str(tmp_path / "lock")
    alone = _python(f"import os, time; os.mkdir({lock!r}); time.sleep(0.4); os.rmdir({lock!r})")
    # Were two of them to run at once, the second mkdir would fail.
    listed = [jobs.Job(f"job{i}", alone, exclusive=True) for i in range(3)]
    jobs.run(listed, tmp_path / "state", max_parallel=3)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_stopping_it_stops_what_it_runs(tmp_path, sign):
    # The child says that it runs, and what ended it.
    child = (
        "import pathlib, signal, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "def stop(number, frame):\n"
        "    (here / 'stopped').touch()\n"
        "    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(here / 'started').touch()\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import pathlib, signal, sys\n"
        "from audioset_strong.core import cli, jobs\n"
        # What a shell starts in the background ignores it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"child = jobs.Job('child', [sys.executable, '-c', {child!r}])\n"
        f"state = pathlib.Path({str(tmp_path / 'state')!r})\n"
        "def main(argv):\n"
        "    jobs.run([child], state, max_parallel=1)\n"
        "cli.run(main)\n"
    )
    process = subprocess.Popen(_python(parent), stderr=subprocess.DEVNULL)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(sign)
    assert process.wait(timeout=30) == 128 + sign
    assert (tmp_path / "stopped").exists()
    assert not list((tmp_path / "state").glob("*.done"))
