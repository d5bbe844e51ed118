"""Runs commands that depend on each other, a few at a time; an interrupted run can be resumed."""

import dataclasses
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from audioset_strong.core import errors, progress, tool_forks, workers

_POLL_S = 0.25
_LOG_LINES_SHOWN = 15
# As -m, without the working directory.
_RUN_INSTALLED = (
    "import runpy, sys; del sys.path[0]; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


@dataclasses.dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
      name: unique among the jobs of a run; also the name of its log and its stamp.
      command: program and arguments.
      needs: names of the jobs that must succeed first.
      cost: expected duration times the number of cores in use, in any unit common to the jobs. Only
        the estimate of the time left depends on it.
      exclusive: whether the job runs alone, because it uses every core.
    """

    name: str
    command: Sequence[str]
    needs: tuple[str, ...] = ()
    cost: float = 1.0
    exclusive: bool = False


def tool_command(tool: str, *arguments: str) -> list[str]:
    """The command line of one of the project's tools, run by the current Python.

    Args:
      tool: name of a module in `tools/`, such as "train".
      arguments: its flags.

    Example:
      >>> tool_command("train", "--workdir=runs/a")[1:]
      ['-m', 'audioset_strong.tools.train', '--workdir=runs/a']
    """
    module = f"audioset_strong.tools.{tool}"
    if workers.shadowed():  # by what lies in the working directory, where -m looks first
        return [sys.executable, "-c", _RUN_INSTALLED, module, *arguments]
    return [sys.executable, "-m", module, *arguments]


def split_tool_command(command: Sequence[str]) -> tuple[str, Sequence[str]] | None:
    """(module, arguments) of a command that runs a module with this Python; None for others.

    Example:
      >>> split_tool_command(tool_command("train", "--workdir=runs/a"))
      ('audioset_strong.tools.train', ['--workdir=runs/a'])
    """
    if list(command[:2]) != [sys.executable, "-m"] or len(command) < 3:
        return None
    return command[2], command[3:]


@dataclasses.dataclass
class _Running:
    job: Job
    process: subprocess.Popen | tool_forks.ForkedTool
    status_path: pathlib.Path

    def status(self) -> tuple[float, str]:
        """(completed share in [0, 1], a few words for the terminal)."""
        try:
            status = json.loads(self.status_path.read_text())
        except (OSError, ValueError):
            return 0.0, f"{self.job.name}: starting"
        done, total = status["done"], status["total"]
        if not total:
            return 0.0, f"{self.job.name}: {status['stage']} {done}"
        note = f", {status['note']}" if status["note"] else ""
        return done / total, f"{self.job.name}: {status['stage']} {done}/{total}{note}"


def run(
    jobs: Sequence[Job],
    state_dir: pathlib.Path,
    *,
    max_parallel: int,
    environment: Mapping[str, str] | None = None,
    preload: Sequence[str] = (),
) -> None:
    """Runs jobs in the given order, except that a job waits for the jobs that it needs.

    A job that succeeds leaves a stamp in `state_dir` and is not run again. Its output goes to
    `state_dir/<name>.log`. When a job fails, or this function is interrupted, the running jobs are
    stopped.

    Args:
      jobs: with unique names; their needs name other jobs among them.
      state_dir: directory of logs and stamps; created where it does not exist.
      max_parallel: number of jobs that run at the same time.
      environment: variables to add to the environment of the jobs.
      preload: modules that most of the jobs import. Where there are many jobs, these modules are
        imported once, and the tools that start later are forks, see `tool_forks`.

    Raises:
      errors.InputError: a job failed; the message contains the end of its log.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    done = {job.name for job in jobs if _stamp(state_dir, job).exists()}
    display = _Display(jobs, done)
    running: dict[str, _Running] = {}
    are_many = len(jobs) - len(done) > max_parallel
    forks = tool_forks.ToolForks(preload, environment) if preload and are_many else None
    try:
        while len(done) < len(jobs):
            for job in jobs:
                if job.name in done or job.name in running or not done.issuperset(job.needs):
                    continue
                alone = job.exclusive or any(r.job.exclusive for r in running.values())
                if len(running) < (1 if alone else max_parallel):
                    running[job.name] = _start(job, state_dir, environment, forks)
                    display.started(job)
            time.sleep(_POLL_S)
            for job in _ended(running, state_dir):
                done.add(job.name)
                display.finished(job)
            display.show([current.status() for current in running.values()], running)
    finally:
        for current in running.values():
            current.process.terminate()
        for current in running.values():
            current.process.wait()
        if forks is not None:
            forks.close()
        display.close()


def _ended(running: dict[str, _Running], state_dir: pathlib.Path) -> list[Job]:
    """Moves the jobs that have succeeded out of `running` and stamps them; raises for a failure."""
    ended = []
    for name, current in list(running.items()):
        code = current.process.poll()
        if code is None:
            continue
        del running[name]
        if code:
            raise errors.InputError(_failure(current.job, code, state_dir))
        _stamp(state_dir, current.job).touch()
        ended.append(current.job)
    return ended


def _stamp(state_dir: pathlib.Path, job: Job) -> pathlib.Path:
    return state_dir / f"{job.name}.done"


def _start(
    job: Job,
    state_dir: pathlib.Path,
    environment: Mapping[str, str] | None,
    forks: tool_forks.ToolForks | None,
) -> _Running:
    status_path = state_dir / f"{job.name}.status"
    status_path.unlink(missing_ok=True)
    variables = {
        **os.environ,
        **(environment or {}),
        progress.STATUS_FILE_VARIABLE: str(status_path),
    }
    process: subprocess.Popen | tool_forks.ForkedTool
    tool = split_tool_command(job.command)
    log_path = state_dir / f"{job.name}.log"
    with open(log_path, "a") as log:
        print("$", shlex.join(job.command), file=log, flush=True)
        if tool is not None and forks is not None and forks.is_ready():
            process = forks.start(*tool, log=log_path, environment=variables)
        else:
            process = subprocess.Popen(
                job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables
            )
    return _Running(job, process, status_path)


def _failure(job: Job, code: int, state_dir: pathlib.Path) -> str:
    log = state_dir / f"{job.name}.log"
    tail = log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
    return f"{job.name} failed with exit code {code}; the end of {log}:\n  " + "\n  ".join(tail)


class _Display:
    """The progress of all jobs: one redrawn line on a terminal, occasional lines elsewhere."""

    def __init__(self, jobs: Sequence[Job], done: set[str]):
        self._total = len(jobs)
        self._done = len(done)
        self._cost_left = sum(job.cost for job in jobs if job.name not in done)
        self._cost_done = 0.0  # by this process; the speed of earlier ones is unknown
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = 0.0
        self._write_status()
        if done:
            self._print(f"{len(done)} of {len(jobs)} stages are already done")

    def started(self, job: Job) -> None:
        """Prints that a job starts."""
        self._print(f"[{self._elapsed()}] {job.name} ...")

    def finished(self, job: Job) -> None:
        """Counts a job as done."""
        self._done += 1
        self._cost_done += job.cost
        self._cost_left -= job.cost
        self._write_status()
        self._print(f"[{self._elapsed()}] {job.name}: done ({self._done}/{self._total})")

    def show(self, statuses: Sequence[tuple[float, str]], running: Mapping[str, _Running]) -> None:
        """Shows the status of the running jobs and the time left, unless it was shown just now."""
        now = time.monotonic()
        if now - self._shown < (0.5 if self._terminal else 20.0):
            return
        self._shown = now
        partial = sum(
            share * current.job.cost
            for (share, _), current in zip(statuses, running.values(), strict=True)
        )
        spent = self._cost_done + partial
        left = ""
        if spent > 0:
            seconds = (now - self._start) * (self._cost_left - partial) / spent
            left = f", about {_clock(seconds)} left"
        line = " | ".join(text for _, text in statuses)
        line = f"[{self._elapsed()}{left}] stage {self._done}/{self._total}: {line}"
        if self._terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            print("\r\x1b[K" + line[: width - 1], end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _write_status(self) -> None:
        """For jobs that are a job of another run, as a sweep is of a demo."""
        progress.write_status("stage", self._done, self._total)

    def close(self) -> None:
        """Clears the redrawn line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _elapsed(self) -> str:
        return _clock(time.monotonic() - self._start)

    def _print(self, text: str) -> None:
        print(("\r\x1b[K" if self._terminal else "") + text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
