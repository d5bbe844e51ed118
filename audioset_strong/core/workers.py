"""Worker processes."""

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """Ends this process when the one that started it has died; a pool's initializer.

    A parent that is killed takes no leave of its workers, and they would wait for work for ever.
    The parent is who asked for the process, not the operating system's, which may be a fork server:
    that one lives as long as its children.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit_with_parent").start()
