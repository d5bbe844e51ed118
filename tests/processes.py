"""The project's binaries as real processes that need not wait for TensorFlow's import.

A server process imports it once, and draws a first figure, which reads the fonts. Each binary is a
fork of it that runs the tool's own `run()`.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

_SERVER = """
import importlib, io, json, os, sys, traceback
import audioset_strong.evaluation.following, audioset_strong.training.loop
from audioset_strong.core import drawing
figure = drawing.new_figure(1, 1)
figure.subplots()
figure.savefig(io.BytesIO())
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        status = os.waitpid(request["wait"], 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    for number, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    sys.argv = [request["tool"], *request["arguments"]]
    code = 1
    try:
        exec(request["prelude"])
        importlib.import_module("audioset_strong.tools." + request["tool"]).run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
"""


class Process:
    """One run of a binary."""

    def __init__(self, server: "Server", pid: int, directory: str):
        self._server, self.pid, self._directory = server, pid, pathlib.Path(directory)

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        return self._server.ask({"wait": self.pid})

    @property
    def stdout(self) -> str:
        return (self._directory / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._directory / "stderr").read_text()


class Server:
    """Starts binaries; use it in a `with` statement."""

    def __enter__(self) -> "Server":
        self._temporary = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # TensorFlow writes temporary files, which a process that is killed leaves behind.
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": self._temporary.name},
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._temporary.cleanup()

    def start(self, tool: str, *arguments: str, prelude: str = "") -> Process:
        """Starts a binary; `prelude` is run in its process first."""
        directory = tempfile.mkdtemp(dir=self._temporary.name)
        for name in ("stdout", "stderr"):  # there to be read before the child has opened them
            (pathlib.Path(directory) / name).touch()
        request = {
            "tool": tool,
            "arguments": [str(argument) for argument in arguments],
            "prelude": prelude,
            "stdout": f"{directory}/stdout",
            "stderr": f"{directory}/stderr",
        }
        return Process(self, self.ask(request), directory)

    def ask(self, request: dict) -> int:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())
