"""The end of a conversion: manifest, index and counts of a dataset whose shards are all written."""

import collections
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from audioset_strong.conversion import shard_writing, work_directory
from audioset_strong.core import files
from audioset_strong.records import clip_index, dataset_info, index_rows, manifest


def finish(
    directory: str,
    info: dataset_info.DatasetInfo,
    *,
    shards: Sequence[str],
    others: Sequence[Sequence[str]],
) -> str:
    """Makes manifest and index from the shards' stamps and rows, and fills in the counts of `info`.

    Args:
      directory: of the dataset.
      info: its shards, statuses and counts are set.
      shards: paths of all shards.
      others: manifest rows of clips that are in none of them.

    Returns:
      The manifest's reason for the first clip.

    Raises:
      OSError: a file cannot be read or written.
      errors.InputError: a shard that an older converter wrote is damaged.
    """
    samples = 0
    totals: collections.defaultdict[str, Any] = collections.defaultdict(int)
    statuses = collections.Counter(status for _, status, _ in others)
    first_reason = ""
    with manifest.writing(directory) as write_row:
        for path in shards:  # one stamp at a time: all of them need not fit into memory
            stamp = files.read_json(work_directory.stamp_path(path))
            for row in stamp["rows"]:
                write_row(row)
            statuses.update(status for _, status, *_ in stamp["rows"])
            first_reason = first_reason or stamp["rows"][0][2]
            samples += stamp["samples"]
            counts = stamp["counts"]
            known = {key: counts[key] for key in dataset_info.KNOWN_CLIPS}
            shard = {"file": os.path.basename(path), "clips": counts["num_clips"]}
            info.shards.append(shard | known)
            for key, count in counts.items():
                totals[key] = np.add(totals[key], count)
        for row in others:
            write_row(row)
    clip_index.write(directory, info, (_index_rows(path) for path in shards))
    info.statuses = dict(sorted(statuses.items()))
    info.hours = samples / info.sample_rate / 3600
    for key, total in totals.items():
        setattr(info, key, total.tolist())
    return first_reason


def _index_rows(shard: str) -> pa.Table:
    """The rows of a shard's clips, which an older converter did not write beside the stamp."""
    try:
        return shard_writing.load_index_rows(shard)
    except FileNotFoundError:
        return index_rows.read_rows(shard).table()
