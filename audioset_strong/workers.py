"""Worker processes."""

import os
import threading
import time

_POLL_S = 1.0


def exit_with_parent() -> None:
    """Ends this process soon after the one that started it has died; a pool's initializer.

    A parent that is killed takes no leave of its workers, and they would wait for work for ever.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit_with_parent").start()
