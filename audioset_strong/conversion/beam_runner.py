"""Shards written by the workers of an Apache Beam runner (extra `beam`).

A shard is one element, written by the same functions as locally: the result has the same bytes, and
the same stamp, from which a second run knows what is done. A file in the work directory describes
the shard, so that only its path travels through the pipeline; runners want small elements.

A worker may die, and another one gets its shards: it goes on with the pieces that are there. Or it
may be taken for dead and go on: then two write the same bytes under names of their own.
"""

import contextlib
import dataclasses
import os
import pickle
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam

from audioset_strong.conversion import beam_options, shard_writing, work_directory
from audioset_strong.conversion.plans import PlannedClip
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.core import errors, files, workers


@dataclasses.dataclass(frozen=True)
class BeamShard:
    """A shard to write.

    Attributes:
      path: of the shard; absolute, and the same on every worker.
      clips: the clips to be written.
      request: the settings.
      num_classes: size of the vocabulary.
      fingerprint: of the conversion.
      working_directory: what the clips' paths are relative to, if they are.
    """

    path: str
    clips: list[PlannedClip]
    request: ConversionRequest
    num_classes: int
    fingerprint: str
    working_directory: str


def run(shards: Iterable[BeamShard], runner: str, *, options: Sequence[str] = ()) -> None:
    """Writes the shards, and returns when all are written.

    Args:
      shards: read one at a time.
      runner: a name that Beam knows, such as "DirectRunner", or the path of a class.
      options: flags of that runner, which `beam_options.check` has seen.

    Raises:
      errors.InputError: the pipeline failed.
    """
    if workers.shadowed():
        # Python 3.11; some runners start their workers with -m, which would find the other copy.
        os.environ["PYTHONSAFEPATH"] = "1"
    paths = []
    for shard in shards:
        path = work_directory.job_path(shard.path)
        with files.writing(path):
            files.write_bytes(path, pickle.dumps(shard))
        paths.append(path)
    opened = beam_options.open_runner(runner, options)
    pipeline = beam.Pipeline(opened.runner, opened.options)
    elements = pipeline | beam.Create(paths)
    if not opened.is_dask:  # there each element is a task of its own
        # Without the reshuffle a runner may put all shards into one bundle.
        elements |= beam.Reshuffle()
    _ = elements | beam.Map(_write)
    with beam_options.told(runner):
        result: Any = pipeline.run()
        try:
            result.wait_until_finish()
        finally:
            if opened.is_dask:
                result.client.close()


def _write(path: str) -> None:
    """Writes the shard that a file describes; this is what a Beam worker does."""
    shard: BeamShard = pickle.loads(files.read_bytes(path))
    if work_directory.is_written(shard.path):
        return  # by a worker that has died since
    directory = os.path.dirname(shard.path)
    work_directory.check_begun(directory, shard.fingerprint)
    working_directory = _working_directory(shard)
    scratch = work_directory.scratch(directory, shard.fingerprint)
    chunks = shard_writing.chunks(shard.path, shard.clips)
    try:
        with contextlib.closing(
            shard_writing.convert_chunks(
                chunks,
                shard.request,
                num_workers=1,
                scratch=scratch,
                working_directory=working_directory,
            )
        ) as pieces:
            shard_writing.write_shard(
                shard.path,
                pieces,
                fingerprint=shard.fingerprint,
                num_classes=shard.num_classes,
                sample_rate=shard.request.sample_rate,
            )
    except errors.InputError:
        # A second worker with the same shard removes its pieces when it has written it.
        if not work_directory.is_written(shard.path):
            raise
    if files.is_remote(directory):  # nobody else removes it
        work_directory.remove_if_empty(scratch)


def _working_directory(shard: BeamShard) -> str | None:
    """What the paths of the audio are relative to; None where they are absolute.

    Raises:
      errors.InputError: this machine has none of the files; their clips would all be undecodable.
    """
    paths = [getattr(clip.file, "archive", clip.file) for clip in shard.clips if clip.file]
    if not paths or any(map(files.is_remote, paths)):
        return None
    if not any(os.path.exists(os.path.join(shard.working_directory, path)) for path in paths):
        raise errors.InputError(
            f"{paths[0]}: a worker on {socket.gethostname()} sees neither it nor other audio files "
            "of its shard"
        )
    return None if all(map(os.path.isabs, paths)) else shard.working_directory
