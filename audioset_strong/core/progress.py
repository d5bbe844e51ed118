"""Progress on the terminal, and in a file that a parent process may watch."""

import json
import os
import pathlib
import sys
import time
from types import TracebackType

import tqdm

# A process that runs others (tools/demo.py) names a file here, and each bar writes its state to it.
STATUS_FILE_VARIABLE = "AUDIOSET_STRONG_STATUS_FILE"
_STATUS_PERIOD_S = 0.5


class Bar:
    """A progress bar: done/total, rate and time left on stderr.

    When the environment names a status file, `{"stage", "done", "total", "note"}` is written to it
    as JSON at most twice a second, by rename, so that a reader never sees half of it.
    """

    def __init__(self, stage: str, total: int | None, unit: str, initial: int = 0):
        self._status_path = os.environ.get(STATUS_FILE_VARIABLE)
        self._stage, self._total, self._done, self._note = stage, total, initial, ""
        self._written = 0.0
        # On a terminal the bar redraws often; in a log file a line every few seconds is enough.
        interval = 0.2 if sys.stderr.isatty() else 10.0
        self._tqdm = tqdm.tqdm(
            desc=stage,
            total=total,
            unit=f" {unit}",
            initial=initial,
            mininterval=interval,
            disable=bool(self._status_path),
            dynamic_ncols=True,
        )
        self._write_status(force=True)

    def update(self, count: int = 1) -> None:
        """Counts `count` more units as done."""
        self._done += count
        self._tqdm.update(count)
        self._write_status()

    def note(self, text: str) -> None:
        """Shows a short text behind the bar."""
        self._note = text
        self._tqdm.set_postfix_str(text, refresh=False)
        self._write_status()

    def close(self) -> None:
        self._write_status(force=True)
        self._tqdm.close()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_status(self, force: bool = False) -> None:
        now = time.monotonic()
        if not self._status_path or (not force and now - self._written < _STATUS_PERIOD_S):
            return
        self._written = now
        status = {
            "stage": self._stage,
            "done": self._done,
            "total": self._total,
            "note": self._note,
        }
        path = pathlib.Path(self._status_path)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(status))
        temporary.replace(path)


def bar(stage: str, total: int | None, unit: str, initial: int = 0) -> Bar:
    """A `Bar`, to be used in a `with` statement."""
    return Bar(stage, total, unit, initial)
