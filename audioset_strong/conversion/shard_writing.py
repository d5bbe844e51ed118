"""Shards: planned clips -> records in a file, with a stamp that says what became of each clip.

Worker processes convert a few clips at a time and write the records to a piece, a small file beside
the shards; the pieces are joined into a shard in the order of the plan. So no audio passes between
processes, and a decoder that crashes or hangs takes only its own process with it.

A shard is written under a temporary name and renamed when it is whole; then its rows of the index
and its stamp go into the work directory. The stamp holds its rows of the manifest, and its counts.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import itertools
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np
import pebble
import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from audioset_strong.audio import decoding, features
from audioset_strong.conversion.plans import PlannedClip
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.core import files, workers
from audioset_strong.records import clip_index, clip_records, dataset_info, manifest

WORK_DIR = ".work"  # beside the shards: what an interrupted conversion needs to be resumed

_CHUNK = 8  # clips per piece
_CHUNKS_AHEAD = 2  # pieces that each worker may be ahead of the shard


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip's audio.

    Attributes:
      status, reason: of the manifest.
      samples: that were written.
      segments: of the clip, without those behind the end of its audio.
    """

    status: str
    reason: str
    samples: int = 0
    segments: tuple[tuple[int, int, int], ...] | None = None


@dataclasses.dataclass(frozen=True)
class Piece:
    """A few consecutive clips.

    Attributes:
      clips: planned.
      outcomes: what became of each clip.
      paths: TFRecord files with the clips that were written, in order; whoever joins them removes
        them.
    """

    clips: Sequence[PlannedClip]
    outcomes: Sequence[Outcome]
    paths: Sequence[str]


def chunks(clips: Iterable[PlannedClip]) -> Iterator[list[PlannedClip]]:
    """The clips of a shard, as many at a time as a worker takes."""
    remaining = iter(clips)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield chunk


def num_chunks(clips: int) -> int:
    """How many lists `chunks` makes of this many clips.

    >>> num_chunks(17)
    3
    """
    return -(-clips // _CHUNK)


def convert_chunks(
    chunks: Iterable[Sequence[PlannedClip]],
    request: ConversionRequest,
    *,
    num_workers: int,
    scratch: str,
) -> Generator[Piece, None, None]:
    """Converts clips in worker processes, and yields a piece for each chunk, in order.

    A decoder that crashes or hangs ends its process and costs only its clip.

    Args:
      chunks: read a few ahead.
      request: the settings.
      num_workers: processes.
      scratch: directory of the pieces.

    Yields:
      The pieces.

    Raises:
      OSError: a piece cannot be written.
      errors.InputError: the workers cannot start.
    """
    context = workers.fork_server(__name__, decoding.start_worker)
    pool = pebble.ProcessPool(num_workers, initializer=decoding.start_worker, context=context)
    writer = _PieceWriter(pool, request, scratch)
    pending: collections.deque = collections.deque()
    with pool:
        try:
            for chunk in chunks:
                pending.append((chunk, *writer.schedule(chunk)))
                if len(pending) > _CHUNKS_AHEAD * num_workers:
                    yield writer.finish(*pending.popleft())
            while pending:
                yield writer.finish(*pending.popleft())
        finally:
            pool.stop()


class _PieceWriter:
    """Has a pool of workers write pieces."""

    def __init__(self, pool: pebble.ProcessPool, request: ConversionRequest, scratch: str):
        self._pool = pool
        self._request = request
        self._scratch = scratch

    def schedule(self, chunk: Sequence[PlannedClip]) -> tuple[str, pebble.ProcessFuture | None]:
        """Begins to convert the clips that have a file, if any; returns the piece's path too."""
        path = files.temporary(os.path.join(self._scratch, "piece"))
        with_file = [clip for clip in chunk if clip.file is not None]
        if not with_file:
            return path, None
        arguments = (path, with_file, self._request)
        timeout = self._request.clip_timeout_s
        return path, self._pool.schedule(_write_piece, arguments, timeout=timeout)

    def finish(
        self, chunk: Sequence[PlannedClip], path: str, future: pebble.ProcessFuture | None
    ) -> Piece:
        """Waits for the piece of a chunk that was scheduled."""
        missing = Outcome(manifest.MISSING, "no audio file")
        if future is None:
            return Piece(chunk, [missing] * len(chunk), [])
        try:
            results = iter(future.result())
        except (concurrent.futures.TimeoutError, pebble.ProcessExpired) as error:
            if len(chunk) > 1:  # one of the clips is to blame, so each is tried alone
                alone = [self.finish([clip], *self.schedule([clip])) for clip in chunk]
                outcomes = [outcome for piece in alone for outcome in piece.outcomes]
                return Piece(chunk, outcomes, [path for piece in alone for path in piece.paths])
            reason = (
                f"the decoder crashed (exit code {error.exitcode})"
                if isinstance(error, pebble.ProcessExpired)
                else f"decoding took over {self._request.clip_timeout_s:g} s"
            )
            return Piece(chunk, [Outcome(manifest.UNDECODABLE, reason)], [])
        outcomes = [missing if clip.file is None else next(results) for clip in chunk]
        return Piece(chunk, outcomes, [path])


def _write_piece(
    path: str, clips: Sequence[PlannedClip], request: ConversionRequest
) -> list[Outcome]:
    """Converts clips that have a file; this is what a worker does."""
    front_end = request.log_mel_front_end or features.DEFAULT_FRONT_END
    outcomes = []
    try:
        with tf.io.TFRecordWriter(path) as writer:
            for planned in clips:
                pcm, status, reason = _decode(planned, request)
                segments, left_out = _heard(planned, len(pcm) / request.sample_rate)
                if left_out and status == manifest.WRITTEN:
                    reason += f"; segments behind the end that are left out: {left_out}"
                if status == manifest.WRITTEN:
                    clip = clip_records.Clip(
                        clip_id=planned.clip_id,
                        audio=pcm,
                        sample_rate=request.sample_rate,
                        weak_labels=planned.weak_labels,
                        segments=segments,
                        negatives=planned.negatives,
                    )
                    record = clip_records.serialize(clip, request.encoding, front_end=front_end)
                    writer.write(record)
                outcomes.append(Outcome(status, reason, len(pcm), segments))
    except tf.errors.OpError as error:  # such as a full disk
        raise OSError(errno.EIO, files.reason(error)) from error
    return outcomes


def _heard(
    planned: PlannedClip, seconds: float
) -> tuple[tuple[tuple[int, int, int], ...] | None, int]:
    """(the segments that begin before the end of the audio, number of the others)."""
    if planned.segments is None:
        return None, 0
    heard = tuple(segment for segment in planned.segments if segment[0] < 1000 * seconds)
    return heard, len(planned.segments) - len(heard)


def _decode(planned: PlannedClip, request: ConversionRequest) -> tuple[np.ndarray, str, str]:
    """(int16 `[samples]`, manifest status, reason) of a clip that has a file."""
    return decoding.decode_clip(
        planned.file or "",
        planned.contents,
        start_s=planned.start_ms / 1000,
        duration_s=(planned.end_ms - planned.start_ms) / 1000,
        min_seconds=request.min_seconds,
        sample_rate=request.sample_rate,
        decoder=request.decoder,
    )


@contextlib.contextmanager
def scratch(directory: str) -> Iterator[str]:
    """Gives a local directory for the pieces of the shards in `directory`."""
    if files.is_remote(directory):
        with tempfile.TemporaryDirectory(prefix="audioset_strong") as temporary:
            yield temporary
    else:
        yield os.path.join(directory, WORK_DIR)  # the next run removes what a kill leaves there


def write_shard(path: str, pieces: Iterable[Piece], *, num_classes: int, sample_rate: int) -> None:
    """Writes a shard, then its rows of the index, then its stamp.

    Args:
      path: of the shard; `WORK_DIR` beside it must exist.
      pieces: with the shard's clips.
      num_classes: size of the vocabulary.
      sample_rate: of the audio, in Hz.

    Raises:
      errors.InputError: a file cannot be written.
    """
    name = os.path.basename(path)
    rows = []
    written = []
    samples = 0
    index_rows = clip_index.ShardRows(name)
    with files.writing(path):
        with files.atomic(path) as temporary, files.opened(temporary, "wb") as shard:
            for piece in pieces:
                for part in piece.paths:
                    with open(part, "rb") as records:
                        content = records.read()
                    shard.write(content)
                    index_rows.add_frames(content)
                    os.remove(part)
                for clip, outcome in zip(piece.clips, piece.outcomes, strict=True):
                    in_shard = outcome.status == manifest.WRITTEN
                    if in_shard:
                        written.append(dataclasses.replace(clip, segments=outcome.segments))
                    samples += outcome.samples
                    seconds = f"{outcome.samples / sample_rate:.3f}"
                    row = [clip.clip_id, outcome.status, outcome.reason, clip.file or ""]
                    rows.append([*row, name if in_shard else "", seconds])
        counts = dataset_info.count(written, num_classes)
        stamp = {"rows": rows, "samples": samples, "counts": counts}
        _save_index_rows(path, index_rows.table())
        files.write_json(stamp_path(path), stamp, indent=None)


def stamp_path(shard: str) -> str:
    """Where the stamp of a shard is, once the shard is written."""
    return os.path.join(os.path.dirname(shard), WORK_DIR, f"{os.path.basename(shard)}.json")


def load_index_rows(shard: str) -> pa.Table:
    """The rows of a shard's clips in the index, once the shard is written.

    Raises:
      OSError: they cannot be read; `FileNotFoundError` if an older converter wrote the shard.
    """
    return parquet.ParquetFile(pa.BufferReader(files.read_bytes(_index_part_path(shard)))).read()


def _save_index_rows(shard: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    files.write_bytes(_index_part_path(shard), sink.getvalue().to_pybytes())


def _index_part_path(shard: str) -> str:
    return os.path.join(os.path.dirname(shard), WORK_DIR, f"{os.path.basename(shard)}.parquet")
