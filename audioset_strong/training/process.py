"""A training process: the only one in its workdir, and one that can be asked to stop."""

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from typing import Any

from absl import logging

from audioset_strong.core import errors


@contextlib.contextmanager
def only_process_in(workdir: str) -> Iterator[None]:
    """Makes the workdir; within the block no other process can train in it."""
    os.makedirs(workdir, exist_ok=True)
    directory = os.open(workdir, os.O_RDONLY)
    try:
        try:
            # The lock goes with the process, however it ends.
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.InputError(f"{workdir}: another process is training in it") from error
        except OSError as error:
            logging.warning("%s cannot be locked (%s): train in it once only", workdir, error)
        yield
    finally:
        os.close(directory)


class StopSignals:
    """Within its `with` block SIGTERM and SIGINT ask for a stop; a second one acts at once."""

    received = 0  # the signal's number

    def __enter__(self) -> "StopSignals":
        self._before: dict[int, Any] = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.received = number
        signal.signal(number, self._before[number])
