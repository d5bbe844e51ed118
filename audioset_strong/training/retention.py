"""Which kept checkpoints of a run stay on disk, where their number is bounded.

A checkpoint goes only when its evaluation is recorded, and never the one that is selected. So a
run that nobody evaluates keeps everything, and the bound holds as soon as the evaluator is done.
"""

import collections
import csv
import io
import os
from collections.abc import Sequence

from audioset_strong.core import files
from audioset_strong.training import checkpoints, workdirs


def remove_surplus(workdir: str, keep: int) -> list[int]:
    """Removes the oldest evaluated checkpoints, until no more than `keep` are left.

    Args:
      workdir: directory of the run.
      keep: number of kept checkpoints, with the newest one and the selected one among them.

    Returns:
      The steps of those that were removed.

    Raises:
      OSError: a file cannot be read or removed.
    """
    steps = [step for step, _ in checkpoints.list_checkpoints(workdir)]
    surplus = len(steps) - keep
    if surplus <= 0:
        return []
    removed = _removable(workdir, steps)[:surplus]
    for step in removed:
        checkpoints.remove(workdir, step)
    return removed


def _removable(workdir: str, steps: Sequence[int]) -> list[int]:
    """The steps that every evaluation of this run has seen, except the newest and the selected."""
    tables = [_sets_by_step(workdir, folder) for folder in workdirs.EVAL_DIRS]
    tables = [table for table in tables if table]
    if not tables:
        return []
    selected = _selected(workdir)

    def is_seen(step: int) -> bool:
        return all(table[step] >= set().union(*table.values()) for table in tables)

    return [step for step in steps[:-1] if step != selected and is_seen(step)]


def _sets_by_step(workdir: str, folder: str) -> dict[int, set[str]]:
    """The eval sets that each checkpoint has results on."""
    path = os.path.join(workdir, folder, workdirs.RESULTS_FILE)
    found: dict[int, set[str]] = collections.defaultdict(set)
    if files.exists(path):
        for row in csv.DictReader(io.StringIO(files.read_text(path))):
            found[int(row["step"])].add(row["set"])
    return found


def _selected(workdir: str) -> int | None:
    path = os.path.join(workdir, workdirs.SELECTION_FILE)
    return files.read_json(path)["step"] if files.exists(path) else None
