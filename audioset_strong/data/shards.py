"""Shards: planned clips -> decoded -> records in a file, with a stamp of what became of each.

What a worker of any runner does. A shard is written under a temporary name and renamed when it is
whole; then its stamp is put into the work directory: its rows of the manifest, and its counts.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import pathlib
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pebble
import tensorflow as tf

from audioset_strong import errors
from audioset_strong.data import audio, dataset_info
from audioset_strong.data import clip as clip_lib
from audioset_strong.data import plan as plan_lib

SAMPLE_RATE = 16_000
WORK_DIR = ".work"  # beside the shards: what an unfinished conversion needs to go on
MISSING = "missing"  # the status of a clip without a file; the others are those of `audio`

_CHUNK = 4  # clips a worker decodes between two messages
_CHUNKS_AHEAD = 2  # decoded ahead of the writer, for each worker


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """A planned clip with its audio, or with the reason why there is none.

    Attributes:
      planned: the clip.
      pcm: int16 samples as bytes; empty unless the status is "written".
      status: for the manifest.
      reason: for the manifest, or "".
    """

    planned: plan_lib.PlannedClip
    pcm: bytes
    status: str
    reason: str


def decode_clips(
    clips: Iterable[plan_lib.PlannedClip], request: plan_lib.Request, num_workers: int
) -> Generator[DecodedClip, None, None]:
    """Decodes clips in worker processes, in order.

    A decoder that crashes or hangs takes its process with it and costs its clip alone.

    Args:
      clips: read a few ahead.
      request: for the limits.
      num_workers: processes.
    """
    context = multiprocessing.get_context("spawn")  # forking after TensorFlow began is not safe
    pool = pebble.ProcessPool(num_workers, initializer=audio.start_worker, context=context)

    def schedule(chunk: Sequence[plan_lib.PlannedClip]) -> pebble.ProcessFuture | None:
        """Begins to decode those clips that have a file, if any."""
        listed = [
            (clip.file, clip.holds, clip.start_ms / 1000, (clip.end_ms - clip.start_ms) / 1000)
            for clip in chunk
            if clip.file is not None
        ]
        arguments = [(*clip, request.min_seconds, SAMPLE_RATE) for clip in listed]
        if not arguments:
            return None
        return pool.schedule(audio.decode_all, (arguments,), timeout=request.clip_timeout_s)

    def finish(
        chunk: Sequence[plan_lib.PlannedClip], future: pebble.ProcessFuture | None
    ) -> Iterator[DecodedClip]:
        try:
            results = iter(future.result() if future else ())
        except (concurrent.futures.TimeoutError, pebble.ProcessExpired) as error:
            if len(chunk) > 1:  # one of them is to blame: each is tried alone
                for clip in chunk:
                    yield from finish([clip], schedule([clip]))
                return
            reason = (
                f"the decoder crashed (exit code {error.exitcode})"
                if isinstance(error, pebble.ProcessExpired)
                else f"decoding took over {request.clip_timeout_s:g} s"
            )
            results = iter([(b"", audio.UNDECODABLE, reason)])
        for clip in chunk:
            result = (b"", MISSING, "no audio file") if clip.file is None else next(results)
            yield DecodedClip(clip, *result)

    pending: collections.deque = collections.deque()
    remaining = iter(clips)
    with pool:
        try:
            while chunk := list(itertools.islice(remaining, _CHUNK)):
                pending.append((chunk, schedule(chunk)))
                if len(pending) > _CHUNKS_AHEAD * num_workers:
                    yield from finish(*pending.popleft())
            while pending:
                yield from finish(*pending.popleft())
        finally:
            pool.stop()


def write_shard(
    path: pathlib.Path, clips: Iterable[DecodedClip], encoding: str, num_classes: int
) -> None:
    """Writes a shard, then its stamp: its rows of the manifest, and its counts.

    Args:
      path: of the shard; `WORK_DIR` beside it must exist.
      clips: what it shall hold.
      encoding: of the audio.
      num_classes: size of the vocabulary.

    Raises:
      errors.InputError: a file that cannot be written.
    """
    rows = []
    written = []
    samples = 0
    temporary = _temporary(path.parent / WORK_DIR / path.name)
    with writing(path):
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for clip in clips:
                planned = clip.planned
                pcm = np.frombuffer(clip.pcm, np.int16)
                shard = ""
                if clip.status == audio.WRITTEN:
                    record = clip_lib.Clip(
                        planned.clip_id,
                        pcm,
                        SAMPLE_RATE,
                        planned.weak_labels,
                        planned.segments,
                        planned.negatives,
                    )
                    writer.write(clip_lib.serialize(record, encoding))
                    written.append(planned)
                    samples += len(pcm)
                    shard = path.name
                seconds = f"{len(pcm) / SAMPLE_RATE:.3f}"
                row = [planned.clip_id, clip.status, clip.reason, planned.file or "", shard]
                rows.append([*row, seconds])
        temporary.replace(path)
        write_json(
            stamp_path(path),
            {
                "rows": rows,
                "samples": samples,
                "counts": dataset_info.count(written, num_classes),
            },
        )


def stamp_path(shard: pathlib.Path) -> pathlib.Path:
    """Where the stamp of a shard is, once that is done."""
    return shard.parent / WORK_DIR / f"{shard.name}.json"


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns the system's refusal to write into the user's error."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise errors.InputError(f"{path}: cannot be written ({reason})") from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a file of JSON, by rename."""
    temporary = _temporary(path)
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _temporary(path: pathlib.Path) -> pathlib.Path:
    """A unique name: some runners try one shard twice at a time."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
