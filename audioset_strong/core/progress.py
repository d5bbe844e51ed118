"""Progress on the terminal, and in a file that a parent process may watch."""

import os
import sys
import time
from types import TracebackType

import tqdm

from audioset_strong.core import files

# The environment variable with which a process that runs others (`jobs`) names the status file.
STATUS_FILE_VARIABLE = "AUDIOSET_STRONG_STATUS_FILE"
_STATUS_PERIOD_S = 0.5


class Bar:
    """A progress bar: done/total, rate and time left on stderr; use it in a `with` statement.

    When the environment names a status file, the bar shows nothing. Instead it writes
    `{"stage", "done", "total", "note"}` to that file as JSON, at most twice a second.
    """

    def __init__(self, stage: str, total: int | None, *, unit: str, initial: int = 0):
        """Shows the bar.

        Args:
          stage: what is being done, such as "training".
          total: number of units, or None where it is not known.
          unit: what is counted, such as "step".
          initial: units that were done before.
        """
        self._status_path = os.environ.get(STATUS_FILE_VARIABLE)
        self._stage, self._total, self._done, self._note = stage, total, initial, ""
        self._written = 0.0
        # A terminal is redrawn often; a log file gets a line every few seconds.
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
        """Shows a short text after the bar."""
        self._note = text
        self._tqdm.set_postfix_str(text, refresh=False)
        self._write_status()

    def close(self) -> None:
        """Writes the last state and ends the line."""
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
        write_status(self._stage, self._done, self._total, note=self._note)


def write_status(stage: str, done: int, total: int | None, *, note: str = "") -> None:
    """Writes the status file, if the environment names one.

    Args:
      stage: what is being done.
      done: number of units that are done.
      total: number of all units, or None where it is not known.
      note: a few words more.
    """
    path = os.environ.get(STATUS_FILE_VARIABLE)
    if path:
        status = {"stage": stage, "done": done, "total": total, "note": note}
        files.write_json(path, status, indent=None)
