"""Shards: planned clips -> records in a file, with a stamp of what became of each.

Worker processes convert a few clips at a time and write the records to a piece, a small file beside
the shards; pieces are put together to a shard in the order of the plan. So the audio goes through
no pipe, and a decoder that crashes or hangs takes no more with it than its own process.

A shard is written under a temporary name and renamed when it is whole; then its stamp is put into
the work directory: its rows of the manifest, and its counts.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence

import pebble
import tensorflow as tf

from audioset_strong.audio import decoding
from audioset_strong.conversion import plans
from audioset_strong.core import files
from audioset_strong.records import clip_records, dataset_info

SAMPLE_RATE = 16_000
WORK_DIR = ".work"  # beside the shards: what an unfinished conversion needs to go on
MISSING = "missing"  # the status of a clip without a file; the others are those of `audio`

_CHUNK = 8  # clips a piece
_CHUNKS_AHEAD = 2  # of what is put together, for each worker


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip's audio: manifest status and reason, and the samples written."""

    status: str
    reason: str
    samples: int = 0


@dataclasses.dataclass(frozen=True)
class Piece:
    """A few clips in a row.

    Attributes:
      clips: planned.
      outcomes: what became of each.
      paths: TFRecord files of those written, in order; whoever puts them together removes them.
    """

    clips: Sequence[plans.PlannedClip]
    outcomes: Sequence[Outcome]
    paths: Sequence[str]


def chunks(clips: Iterable[plans.PlannedClip]) -> Iterator[list[plans.PlannedClip]]:
    """The clips of a shard, as many at a time as a worker takes."""
    remaining = iter(clips)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield chunk


def num_chunks(clips: int) -> int:
    """How many that makes."""
    return -(-clips // _CHUNK)


def convert_chunks(
    chunks: Iterable[Sequence[plans.PlannedClip]],
    request: plans.Request,
    num_workers: int,
    scratch: str,
) -> Generator[Piece, None, None]:
    """Converts clips in worker processes, and gives a piece for each chunk, in order.

    A decoder that crashes or hangs takes its process with it and costs its clip alone.

    Args:
      chunks: read a few ahead.
      request: the settings.
      num_workers: processes.
      scratch: directory of the pieces.
    """
    # Workers are forked off a process that has imported TensorFlow and done nothing else: they
    # start at once and share its memory. To fork this one, which may have used it, is not safe.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = pebble.ProcessPool(num_workers, initializer=decoding.start_worker, context=context)

    def schedule(chunk: Sequence[plans.PlannedClip]) -> tuple[str, pebble.ProcessFuture | None]:
        """Begins to convert those clips that have a file, if any; to the path."""
        path = files.temporary(os.path.join(scratch, "piece"))
        given = [clip for clip in chunk if clip.file is not None]
        if not given:
            return path, None
        arguments = (path, given, request.encoding, request.min_seconds, request.decoder)
        return path, pool.schedule(_write_piece, arguments, timeout=request.clip_timeout_s)

    def finish(
        chunk: Sequence[plans.PlannedClip], path: str, future: pebble.ProcessFuture | None
    ) -> Piece:
        missing = Outcome(MISSING, "no audio file")
        if future is None:
            return Piece(chunk, [missing] * len(chunk), [])
        try:
            results = iter(future.result())
        except (concurrent.futures.TimeoutError, pebble.ProcessExpired) as error:
            if len(chunk) > 1:  # one of them is to blame: each is tried alone
                alone = [finish([clip], *schedule([clip])) for clip in chunk]
                outcomes = [outcome for piece in alone for outcome in piece.outcomes]
                return Piece(chunk, outcomes, [path for piece in alone for path in piece.paths])
            reason = (
                f"the decoder crashed (exit code {error.exitcode})"
                if isinstance(error, pebble.ProcessExpired)
                else f"decoding took over {request.clip_timeout_s:g} s"
            )
            return Piece(chunk, [Outcome(decoding.UNDECODABLE, reason)], [])
        outcomes = [missing if clip.file is None else next(results) for clip in chunk]
        return Piece(chunk, outcomes, [path])

    pending: collections.deque = collections.deque()
    with pool:
        try:
            for chunk in chunks:
                pending.append((chunk, *schedule(chunk)))
                if len(pending) > _CHUNKS_AHEAD * num_workers:
                    yield finish(*pending.popleft())
            while pending:
                yield finish(*pending.popleft())
        finally:
            pool.stop()


def _write_piece(
    path: str,
    clips: Sequence[plans.PlannedClip],
    encoding: str,
    min_seconds: float,
    decoder: str,
) -> list[Outcome]:
    """Converts clips that have a file; what a worker does."""
    outcomes = []
    with tf.io.TFRecordWriter(path) as writer:
        for planned in clips:
            pcm, status, reason = decoding.decode_clip(
                planned.file or "",
                planned.holds,
                planned.start_ms / 1000,
                (planned.end_ms - planned.start_ms) / 1000,
                min_seconds,
                SAMPLE_RATE,
                decoder,
            )
            if status == decoding.WRITTEN:
                clip = clip_records.Clip(
                    planned.clip_id,
                    pcm,
                    SAMPLE_RATE,
                    planned.weak_labels,
                    planned.segments,
                    planned.negatives,
                )
                writer.write(clip_records.serialize(clip, encoding))
            outcomes.append(Outcome(status, reason, len(pcm)))
    return outcomes


@contextlib.contextmanager
def scratch(directory: str) -> Iterator[str]:
    """A local directory for the pieces of the shards of `directory`."""
    if decoding.is_remote(directory):
        with tempfile.TemporaryDirectory(prefix="audioset_strong") as temporary:
            yield temporary
    else:
        yield os.path.join(directory, WORK_DIR)  # where the next run clears what a kill left


def write_shard(path: str, pieces: Iterable[Piece], num_classes: int) -> None:
    """Writes a shard, then its stamp: its rows of the manifest, and its counts.

    Args:
      path: of the shard; `WORK_DIR` beside it must exist.
      pieces: what it shall hold.
      num_classes: size of the vocabulary.

    Raises:
      errors.InputError: a file that cannot be written.
    """
    name = os.path.basename(path)
    rows = []
    written = []
    samples = 0
    temporary = files.temporary(os.path.join(os.path.dirname(path), WORK_DIR, name))
    with files.writing(path):
        with tf.io.gfile.GFile(temporary, "wb") as shard:
            shard.write(b"")  # opens it, though nothing may follow
            for piece in pieces:
                for part in piece.paths:
                    with open(part, "rb") as records:
                        shard.write(records.read())
                    os.remove(part)
                for clip, outcome in zip(piece.clips, piece.outcomes, strict=True):
                    there = outcome.status == decoding.WRITTEN
                    if there:
                        written.append(clip)
                    samples += outcome.samples
                    seconds = f"{outcome.samples / SAMPLE_RATE:.3f}"
                    row = [clip.clip_id, outcome.status, outcome.reason, clip.file or ""]
                    rows.append([*row, name if there else "", seconds])
        files.rename(temporary, path)
        counts = dataset_info.count(written, num_classes)
        files.write_json(stamp_path(path), {"rows": rows, "samples": samples, "counts": counts})


def stamp_path(shard: str) -> str:
    """Where the stamp of a shard is, once that is done."""
    return os.path.join(os.path.dirname(shard), WORK_DIR, f"{os.path.basename(shard)}.json")
