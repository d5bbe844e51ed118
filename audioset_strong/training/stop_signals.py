"""SIGTERM and Ctrl-C as requests that a training run can answer between two steps."""

import signal
from typing import Any


class StopSignals:
    """Within its `with` block SIGTERM and SIGINT request a stop; a second one acts at once.

    Attributes:
      received: number of the signal that came; 0 if none has.
    """

    received = 0

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
