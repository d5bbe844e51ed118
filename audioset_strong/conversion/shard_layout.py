"""Which clips go into which shard."""

import math
import os

import numpy as np

from audioset_strong.conversion.plans import Plan
from audioset_strong.conversion.request import MAX_SHARDS, SHARD_BYTES, ConversionRequest


def layout(
    directory: str, name: str, clips: np.ndarray, *, plan: Plan, request: ConversionRequest
) -> dict[str, np.ndarray]:
    """Deals the clips of a dataset out to its shards in turn.

    The plan's order is that of a hash, so each shard is a fair sample of the clips.

    Args:
      directory: of the dataset.
      name: of the dataset.
      clips: int64, indices into the plan; at least one.
      plan: all clips.
      request: the settings.

    Returns:
      path of the shard -> indices of its clips.
    """
    wanted = request.num_shards or default_num_shards(clips, plan=plan, request=request)
    count = min(wanted, len(clips))
    return {
        os.path.join(directory, f"{name}-{i:05d}-of-{count:05d}.tfrecord"): clips[i::count]
        for i in range(count)
    }


def default_num_shards(clips: np.ndarray, *, plan: Plan, request: ConversionRequest) -> int:
    """How many shards of about `SHARD_BYTES` some clips make.

    Only clips that have a file count, with the length that the metadata give them. FLAC counts as
    the samples that it holds, because its size is not known before it is written.

    Args:
      clips: int64, indices into the plan.
      plan: all clips.
      request: its encoding, sample rate and front end say how long a second of a record is.
    """
    has_file = np.fromiter((plan.files[i] is not None for i in clips), bool, len(clips))
    lengths_ms = (plan.end_ms - plan.start_ms)[clips[has_file]]
    front_end = request.log_mel_front_end
    if front_end is None:
        values_per_second = float(request.sample_rate)
    else:
        values_per_second = front_end.num_bands * request.sample_rate / front_end.hop_samples
    num_bytes = 2 * values_per_second * int(lengths_ms.sum()) / 1000
    return min(max(math.ceil(num_bytes / SHARD_BYTES), 1), MAX_SHARDS)
