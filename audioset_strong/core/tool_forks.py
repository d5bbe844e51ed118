"""Tools as forks of one process that has imported TensorFlow, instead of a new Python each.

A tool spends seconds on its imports, and an experiment runs dozens of tools. The process here does
the imports once; each tool is a fork of it, made before TensorFlow has computed anything, so that
the fork is a fresh process in all that matters: with its own arguments, environment and log.
"""

import contextlib
import importlib
import io
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from audioset_strong.core import quiet_import, workers

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # which TensorFlow reads once
_LOST = 70  # exit code of a tool whose end nobody saw, as EX_SOFTWARE


class ToolForks:
    """The process that is forked; to be closed at the end, which ends the tools as well.

    Example:
      with ToolForks(["tensorflow"]) as forks:
          if forks.is_ready():
              tool = forks.start("audioset_strong.tools.train", flags, log=log, environment={})
              print(tool.wait())
    """

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str] | None = None):
        """Starts the process, which imports meanwhile.

        Args:
          preload: names of the modules to import.
          environment: variables to add to its environment, which libraries may read when they are
            imported; those of the tools are given to `start`.
        """
        self._process: subprocess.Popen | None = None
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        self._ready = False
        # Forks of a process that has imported Apple's frameworks crash. Where the working directory
        # holds another copy of the package, the process would import that one.
        if sys.platform == "linux" and not workers.shadowed():
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={_LOG_LEVEL: "3", **os.environ, **(environment or {})},
            )

    def __enter__(self) -> "ToolForks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_ready(self) -> bool:
        """Whether the imports are done, so that a tool starts at once.

        It stays False where tools cannot be forked, or where an import failed.
        """
        self._read()
        return self._ready and self._process is not None and self._process.poll() is None

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        log: str | os.PathLike[str],
        environment: Mapping[str, str],
    ) -> "ForkedTool":
        """Starts a tool; `is_ready` must have been true.

        Args:
          module: name of its module, which is run as by `python -m`.
          arguments: its flags.
          log: gets what it prints, behind what is there.
          environment: all variables of its environment.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        request = {
            "module": module,
            "arguments": list(arguments),
            "log": os.fspath(log),
            "environment": dict(environment),
        }
        count = len(self._started)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        while len(self._started) == count and self._process.poll() is None:
            self._read(timeout_s=1.0)
        return ForkedTool(self, self._started[-1] if len(self._started) > count else None)

    def close(self) -> None:
        """Ends the process and the tools that run."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self._ready:  # it is still busy with its imports
            self._process.terminate()
        self._process.wait()

    def code_of(self, pid: int, *, timeout_s: float = 0.0) -> int | None:
        """The exit code of a tool, negative for a signal; None while it runs.

        Args:
          pid: of the tool.
          timeout_s: how long to wait for its end.
        """
        assert self._process is not None
        if pid not in self._codes:
            self._read(timeout_s=timeout_s)
        if pid not in self._codes and self._process.poll() is not None:
            self._read()
            return self._codes.get(pid, _LOST)
        return self._codes.get(pid)

    def _read(self, *, timeout_s: float = 0.0) -> None:
        """Takes note of what the process has said."""
        if self._process is None:
            return
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], timeout_s)[0]:
            line = self._process.stdout.readline()
            if not line:
                return
            told = json.loads(line)
            if "pid" not in told:
                self._ready = True
            elif "code" in told:
                self._codes[told["pid"]] = told["code"]
            else:
                self._started.append(told["pid"])
            timeout_s = 0.0


class ForkedTool:
    """A running tool, with the methods of `subprocess.Popen` that `jobs` uses."""

    def __init__(self, forks: ToolForks, pid: int | None):
        self._forks, self._pid = forks, pid

    def poll(self) -> int | None:
        """The exit code; None while the tool runs."""
        return _LOST if self._pid is None else self._forks.code_of(self._pid)

    def wait(self) -> int:
        """Waits for the end of the tool, and returns its exit code."""
        while self._pid is not None:
            code = self._forks.code_of(self._pid, timeout_s=1.0)
            if code is not None:
                return code
        return _LOST

    def terminate(self) -> None:
        """Asks the tool to end."""
        if self._pid is not None and self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)


def _serve(preload: Sequence[str]) -> dict[str, Any] | None:
    """Forks a tool for each request on stdin, until there is no more; tells of it on stdout.

    Returns:
      In the fork its request; None at the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the tools by themselves
    quiet_import.install()
    for name in preload:
        importlib.import_module(name)
    # A byte arrives here whenever a tool ends.
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    _tell({})
    running: set[int] = set()
    received = b""
    while True:
        heard = select.select([0, wake], [], [])[0]
        if wake in heard:
            os.read(wake, 4096)
        _tell_of_ended(running)
        if 0 not in heard:
            continue
        data = os.read(0, 2**16)
        if not data:  # the parent has closed its end, or died
            break
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            pid = _fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                os.close(wake)
                os.close(waker)
                return json.loads(line)
            running.add(pid)
            _tell({"pid": pid})
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    for pid in list(running):
        _tell_of_end(running, pid, os.waitpid(pid, 0)[1])
    return None


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns where libraries have threads. Those of OpenBLAS and jemalloc, which the
        # imports start, prepare for a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _tell_of_ended(running: set[int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _tell_of_end(running, pid, status)


def _tell_of_end(running: set[int], pid: int, status: int) -> None:
    running.remove(pid)
    _tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _tell(words: Mapping[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(words).encode() + b"\n")


def _run_tool(request: Mapping[str, Any]) -> None:
    """Becomes the tool of a request."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
    for stream in (sys.stdout, sys.stderr):
        cast(io.TextIOWrapper, stream).reconfigure(line_buffering=True)
    sys.argv = [request["module"], *request["arguments"]]
    # As -m finds it, which puts the path in place of the name.
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _request = _serve(sys.argv[1:])
    if _request is not None:
        _run_tool(_request)
