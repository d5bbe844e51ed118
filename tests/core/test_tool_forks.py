"""Tools as forks of a process that has done their imports."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from audioset_strong.core import errors, jobs, tool_forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tools are forked on Linux only")

_HEAVY = """
import os
with open(os.environ["IMPORTS"], "a") as file:
    file.write("x")
"""
_PROBE = """
import json, os, sys, time
import heavy
if __name__ == "__main__":
    print(json.dumps({"argv": sys.argv, "own": os.environ.get("OWN"), "stdin": sys.stdin.read(),
                      "spec": __spec__.name, "main": sys.modules["__main__"].__spec__.name}))
    if "--sleep" in sys.argv:
        print("asleep", flush=True)
        time.sleep(600)
    if "--crash" in sys.argv:
        raise ValueError("on purpose")
    sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
"""


@pytest.fixture
def imports(tmp_path, monkeypatch):
    """A file that grows by one letter for each import of `heavy`, which `probe` imports."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "heavy.py").write_text(_HEAVY)
    (tmp_path / "modules" / "probe.py").write_text(_PROBE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("IMPORTS", str(tmp_path / "imports"))
    monkeypatch.setenv("OWN", "parent's")
    return tmp_path / "imports"


def _until(condition, *, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _words(log):
    return json.loads(log.read_text().splitlines()[0])


def test_each_tool_has_its_own_arguments_environment_log_and_exit_code(tmp_path, imports):
    with tool_forks.ToolForks(["heavy"]) as forks:
        _until(forks.is_ready)
        tools = []
        for code in range(3):
            environment = {**os.environ, "OWN": f"of {code}"}
            log = tmp_path / f"{code}.log"
            flags = [str(code), "--word=a b"]
            tools.append(forks.start("probe", flags, log=log, environment=environment))
        assert [tool.wait() for tool in tools] == [0, 1, 2]
        assert [tool.poll() for tool in tools] == [0, 1, 2]
    for code in range(3):
        words = _words(tmp_path / f"{code}.log")
        assert words["argv"] == [str(tmp_path / "modules" / "probe.py"), str(code), "--word=a b"]
        assert words["own"] == f"of {code}"
        assert words["stdin"] == ""
        assert words["spec"] == words["main"] == "probe"  # as by python -m
    assert imports.read_text() == "x"


def test_the_log_keeps_what_was_there_and_gets_the_traceback(tmp_path, imports):
    log = tmp_path / "log"
    log.write_text('{"first": 1}\n')
    with tool_forks.ToolForks(["heavy"]) as forks:
        _until(forks.is_ready)
        tool = forks.start("probe", ["0", "--crash"], log=log, environment=os.environ)
        assert tool.wait() == 1
    lines = log.read_text().splitlines()
    assert lines[0] == '{"first": 1}'
    assert lines[-1] == "ValueError: on purpose"


def test_a_tool_is_ended_on_request_and_by_the_end_of_the_forks(tmp_path, imports):
    forks = tool_forks.ToolForks(["heavy"])
    _until(forks.is_ready)
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    tools = [
        forks.start("probe", ["0", "--sleep"], log=log, environment=os.environ) for log in logs
    ]
    _until(lambda: all(log.exists() and "asleep" in log.read_text() for log in logs))
    tools[0].terminate()
    assert tools[0].wait() == -signal.SIGTERM
    assert tools[1].poll() is None
    forks.close()
    assert tools[1].poll() == -signal.SIGTERM


def test_tools_end_with_a_parent_that_is_killed(tmp_path, imports):
    log = tmp_path / "log"
    program = f"""
import os, time
from audioset_strong.core import tool_forks
forks = tool_forks.ToolForks(["heavy"])
while not forks.is_ready():
    time.sleep(0.02)
forks.start("probe", ["0", "--sleep"], log={str(log)!r}, environment=os.environ)
print(forks.start("os", [], log=os.devnull, environment=os.environ).wait(), flush=True)
time.sleep(600)
"""
    path = os.pathsep.join([os.getcwd(), os.environ["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
    )
    assert parent.stdout.readline() == b"0\n"
    _until(lambda: log.exists() and "asleep" in log.read_text())
    (tool,) = _processes_with_log(log)
    parent.kill()
    parent.wait()
    _until(lambda: not os.path.exists(f"/proc/{tool}"))


def _processes_with_log(log):
    """The processes whose stdout is this file."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/fd/1") == str(log):
                found.append(int(pid))
        except OSError:
            continue
    return found


def test_where_an_import_fails_jobs_run_in_processes_of_their_own(tmp_path, imports):
    listed = [
        jobs.Job(str(i), [sys.executable, "-m", "probe", "0"], () if i == 0 else (str(i - 1),))
        for i in range(3)
    ]
    jobs.run(listed, tmp_path / "state", max_parallel=1, preload=["no_such_module"])
    assert all((tmp_path / "state" / f"{i}.done").exists() for i in range(3))
    assert imports.read_text() == "xxx"


def test_jobs_are_forked_once_the_imports_are_done(tmp_path, imports):
    waits = f"import os, time\nwhile not os.path.exists({str(imports)!r}): time.sleep(0.02)"
    command = [sys.executable, "-m", "probe"]
    listed = [
        jobs.Job("first", [sys.executable, "-c", f"{waits}\ntime.sleep(0.5)"]),
        jobs.Job("good", [*command, "0"], ("first",)),
        jobs.Job("bad", [*command, "3"], ("good",)),
    ]
    with pytest.raises(errors.InputError, match="bad failed with exit code 3; the end of"):
        jobs.run(
            listed,
            tmp_path / "state",
            max_parallel=1,
            environment={"OWN": "the jobs'"},
            preload=["heavy"],
        )
    lines = (tmp_path / "state" / "good.log").read_text().splitlines()
    assert lines[0] == f"$ {sys.executable} -m probe 0"
    assert json.loads(lines[1])["own"] == "the jobs'"
    assert imports.read_text() == "x"
    # Run again, what had succeeded is not repeated; two jobs are left, too few for the imports.
    (tmp_path / "modules" / "probe.py").write_text("import heavy")
    jobs.run(listed, tmp_path / "state", max_parallel=1, preload=["heavy"])
    assert imports.read_text() == "xx"


def test_other_commands_are_no_tools():
    assert jobs.split_tool_command(["ls", "-m", "probe"]) is None
    assert jobs.split_tool_command([sys.executable, "-c", "pass"]) is None
    assert jobs.split_tool_command([sys.executable, "-m"]) is None
