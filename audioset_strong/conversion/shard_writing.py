"""Shards: planned clips -> records in a file, with a stamp that says what became of each clip.

Worker processes convert a few clips at a time and write the records to a piece, a small local file;
the pieces are joined into a shard in the order of the plan. So no audio passes between processes,
and a decoder that crashes or hangs takes only its own process with it. Pieces are kept until their
shard is written: a conversion that was killed takes them over.

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
from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np
import pebble
import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from audioset_strong.audio import decoding, features
from audioset_strong.conversion import work_directory
from audioset_strong.conversion.plans import PlannedClip
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.core import files, workers
from audioset_strong.records import clip_records, dataset_info, index_rows, manifest

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
class Chunk:
    """A few consecutive clips of a shard, as many as a worker takes at a time.

    Attributes:
      name: of the file with their records; no other chunk of the dataset has it.
      clips: planned.
    """

    name: str
    clips: Sequence[PlannedClip]


@dataclasses.dataclass(frozen=True)
class Piece:
    """What became of a chunk.

    Attributes:
      clips: planned.
      outcomes: what became of each clip.
      paths: TFRecord files with the clips that were written, in order; whoever has joined them
        removes them with `remove_pieces`.
    """

    clips: Sequence[PlannedClip]
    outcomes: Sequence[Outcome]
    paths: Sequence[str]


def chunks(shard: str, clips: Iterable[PlannedClip]) -> Iterator[Chunk]:
    """The clips of a shard, as many at a time as a worker takes.

    Args:
      shard: its path.
      clips: in their order.
    """
    remaining = iter(clips)
    for number in itertools.count():
        chosen = list(itertools.islice(remaining, _CHUNK))
        if not chosen:
            return
        yield Chunk(f"{os.path.basename(shard)}.{number:06d}.piece", chosen)


def num_chunks(clips: int) -> int:
    """How many lists `chunks` makes of this many clips.

    >>> num_chunks(17)
    3
    """
    return -(-clips // _CHUNK)


def convert_chunks(
    chunks: Iterable[Chunk],
    request: ConversionRequest,
    *,
    num_workers: int,
    scratch: str,
    working_directory: str | None = None,
) -> Generator[Piece, None, None]:
    """Converts clips in worker processes, and yields a piece for each chunk, in order.

    A decoder that crashes or hangs ends its process and costs only its clip. Pieces that an earlier
    run of the same conversion left in `scratch` are taken as they are.

    Args:
      chunks: read a few ahead.
      request: the settings.
      num_workers: processes.
      scratch: directory of the pieces.
      working_directory: of the processes, where it is not the one of this process.

    Yields:
      The pieces.

    Raises:
      OSError: a piece cannot be written.
      errors.InputError: the workers cannot start.
    """
    context = workers.fork_server(__name__, decoding.start_worker)
    pool = pebble.ProcessPool(
        num_workers, initializer=_start_worker, initargs=(working_directory,), context=context
    )
    writer = _PieceWriter(pool, request, scratch)
    pending: collections.deque = collections.deque()
    with pool:
        try:
            for chunk in chunks:
                pending.append((chunk, writer.schedule(chunk)))
                if len(pending) > _CHUNKS_AHEAD * num_workers:
                    yield writer.finish(*pending.popleft())
            while pending:
                yield writer.finish(*pending.popleft())
        finally:
            pool.stop()


def _start_worker(working_directory: str | None) -> None:
    decoding.start_worker()
    if working_directory is not None:
        os.chdir(working_directory)


class _PieceWriter:
    """Has a pool of workers write pieces."""

    def __init__(self, pool: pebble.ProcessPool, request: ConversionRequest, scratch: str):
        self._pool = pool
        self._request = request
        self._scratch = scratch

    def schedule(self, chunk: Chunk) -> pebble.ProcessFuture | list[Outcome]:
        """Begins to convert the clips that have a file, unless that has been done."""
        path = self._path(chunk)
        with_file = [clip for clip in chunk.clips if clip.file is not None]
        kept = _kept_outcomes(path, with_file) if with_file else []
        if kept is not None:
            return kept
        arguments = (path, with_file, self._request)
        return self._pool.schedule(_write_piece, arguments, timeout=self._request.clip_timeout_s)

    def finish(self, chunk: Chunk, scheduled: pebble.ProcessFuture | list[Outcome]) -> Piece:
        """Waits for the piece of a chunk that was scheduled."""
        clips = chunk.clips
        missing = Outcome(manifest.MISSING, "no audio file")
        try:
            results = scheduled if isinstance(scheduled, list) else scheduled.result()
        except (concurrent.futures.TimeoutError, pebble.ProcessExpired) as error:
            if len(clips) > 1:  # one of the clips is to blame, so each is tried alone
                alone = [Chunk(f"{chunk.name}.{i}", [clip]) for i, clip in enumerate(clips)]
                pieces = [self.finish(each, self.schedule(each)) for each in alone]
                outcomes = [outcome for piece in pieces for outcome in piece.outcomes]
                return Piece(clips, outcomes, [path for piece in pieces for path in piece.paths])
            reason = (
                f"the decoder crashed (exit code {error.exitcode})"
                if isinstance(error, pebble.ProcessExpired)
                else f"decoding took over {self._request.clip_timeout_s:g} s"
            )
            return Piece(clips, [Outcome(manifest.UNDECODABLE, reason)], [])
        remaining = iter(results)
        outcomes = [missing if clip.file is None else next(remaining) for clip in clips]
        return Piece(clips, outcomes, [self._path(chunk)] if results else [])

    def _path(self, chunk: Chunk) -> str:
        return os.path.join(self._scratch, chunk.name)


def _write_piece(
    path: str, clips: Sequence[PlannedClip], request: ConversionRequest
) -> list[Outcome]:
    """Converts clips that have a file; this is what a worker does."""
    try:
        # Beam workers of one machine share the directory, and remove it when it is empty.
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with files.atomic(path) as temporary:
            with tf.io.TFRecordWriter(temporary) as writer:
                outcomes = [_write_clip(writer, planned, request) for planned in clips]
            # First, so that no piece is without.
            _save_outcomes(path, clips, outcomes, num_bytes=os.path.getsize(temporary))
    except tf.errors.OpError as error:  # such as a full disk
        raise OSError(errno.EIO, files.reason(error)) from error
    return outcomes


def _write_clip(
    writer: tf.io.TFRecordWriter, planned: PlannedClip, request: ConversionRequest
) -> Outcome:
    """Decodes a clip and writes its record, if there is anything to write."""
    pcm, status, reason = _decode(planned, request)
    segments, left_out = _heard(planned, len(pcm) / request.sample_rate)
    if status != manifest.WRITTEN:
        return Outcome(status, reason, len(pcm), segments)
    if left_out:
        reason += f"; segments behind the end that are left out: {left_out}"
    clip = clip_records.Clip(
        clip_id=planned.clip_id,
        audio=pcm,
        sample_rate=request.sample_rate,
        weak_labels=planned.weak_labels,
        segments=segments,
        negatives=planned.negatives,
    )
    front_end = request.log_mel_front_end or features.DEFAULT_FRONT_END
    writer.write(clip_records.serialize(clip, request.encoding, front_end=front_end))
    return Outcome(status, reason, len(pcm), segments)


def _save_outcomes(
    path: str, clips: Sequence[PlannedClip], outcomes: Sequence[Outcome], *, num_bytes: int
) -> None:
    """Writes what became of the clips of a piece beside it."""
    listed = [[o.status, o.reason, o.samples, o.segments] for o in outcomes]
    facts = {"clips": [clip.clip_id for clip in clips], "outcomes": listed, "bytes": num_bytes}
    files.write_json(_outcomes_path(path), facts, indent=None)


def _kept_outcomes(path: str, clips: Sequence[PlannedClip]) -> list[Outcome] | None:
    """What became of the clips of a piece; None if there is no such piece, or not all of it."""
    try:
        num_bytes = os.path.getsize(path)
        facts = files.read_json(_outcomes_path(path))
    except (OSError, ValueError):
        return None
    # A machine that lost power may have lost a part of the piece as well.
    if (facts["clips"], facts["bytes"]) != ([clip.clip_id for clip in clips], num_bytes):
        return None
    return [
        Outcome(status, reason, samples, None if segments is None else tuple(map(tuple, segments)))
        for status, reason, samples, segments in facts["outcomes"]
    ]


def remove_pieces(paths: Iterable[str]) -> None:
    """Removes pieces that have been joined to a shard."""
    for path in paths:
        for file in (path, _outcomes_path(path)):
            with contextlib.suppress(FileNotFoundError):
                os.remove(file)


def _outcomes_path(piece: str) -> str:
    return f"{piece}.json"


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


def write_shard(
    path: str, pieces: Iterable[Piece], *, fingerprint: str, num_classes: int, sample_rate: int
) -> None:
    """Writes a shard, then its rows of the index, then its stamp.

    Args:
      path: of the shard; the work directory beside it must exist.
      pieces: with the shard's clips; their files are removed when the shard is written.
      fingerprint: of the conversion.
      num_classes: size of the vocabulary.
      sample_rate: of the audio, in Hz.

    Raises:
      errors.InputError: a file cannot be written, or another conversion was begun meanwhile.
    """
    name = os.path.basename(path)
    rows = []
    written = []
    parts: list[str] = []
    samples = 0
    indexed = index_rows.ShardRows(name)
    with files.writing(path):
        with files.atomic(path) as temporary, files.opened(temporary, "wb") as shard:
            for piece in pieces:
                for part in piece.paths:
                    with open(part, "rb") as records:
                        content = records.read()
                    shard.write(content)
                    indexed.add_frames(content)
                    parts.append(part)
                for clip, outcome in zip(piece.clips, piece.outcomes, strict=True):
                    in_shard = outcome.status == manifest.WRITTEN
                    if in_shard:
                        written.append(dataclasses.replace(clip, segments=outcome.segments))
                    samples += outcome.samples
                    seconds = f"{outcome.samples / sample_rate:.3f}"
                    row = [clip.clip_id, outcome.status, outcome.reason, clip.file or ""]
                    rows.append([*row, name if in_shard else "", seconds])
            work_directory.check_begun(os.path.dirname(path), fingerprint)
        counts = dataset_info.count(written, num_classes)
        stamp = {"rows": rows, "samples": samples, "counts": counts}
        _save_index_rows(path, indexed.table())
        files.write_json(work_directory.stamp_path(path), stamp, indent=None)
        remove_pieces(parts)


def load_index_rows(shard: str) -> pa.Table:
    """The rows of a shard's clips in the index, once the shard is written.

    Raises:
      OSError: they cannot be read; `FileNotFoundError` if an older converter wrote the shard.
    """
    return parquet.ParquetFile(
        pa.BufferReader(files.read_bytes(work_directory.index_rows_path(shard)))
    ).read()


def _save_index_rows(shard: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    files.write_bytes(work_directory.index_rows_path(shard), sink.getvalue().to_pybytes())
