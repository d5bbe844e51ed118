"""Worker processes."""

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """Ends this process when its parent has died; for the initializer of a process pool.

    A parent that is killed cannot shut down its workers, and they would wait for work forever. The
    parent is the process that asked for this one. The operating system may name a fork server
    instead, which lives as long as its children.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit_with_parent").start()
