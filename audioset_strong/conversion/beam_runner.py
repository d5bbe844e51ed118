"""Shards written by the workers of an Apache Beam runner (extra `beam`).

A shard is one element, written by the same functions as locally: the same bytes, and the same stamp
by which a second run knows what is done. What a shard is to hold stands in a file of the work
directory, so that only its path travels through the pipeline, which runners keep small.
"""

import contextlib
import dataclasses
import io
import os
import pickle
from collections.abc import Iterable, Sequence

import tensorflow as tf

from audioset_strong.conversion import plans, shard_writing
from audioset_strong.core import errors, files


@dataclasses.dataclass(frozen=True)
class Job:
    """A shard to write.

    Attributes:
      path: of the shard; absolute, and the same on every worker.
      clips: what it is to hold.
      request: the settings.
      num_classes: size of the vocabulary.
    """

    path: str
    clips: list[plans.PlannedClip]
    request: plans.Request
    num_classes: int


def run(jobs: Iterable[Job], runner: str, options: Sequence[str]) -> None:
    """Does the jobs, and returns when all are done.

    Args:
      jobs: read one at a time.
      runner: a name that Beam knows, such as "DirectRunner".
      options: flags of that runner.

    Raises:
      errors.InputError: Beam is not installed, the runner or an option is unknown, or the pipeline
        failed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise errors.InputError(
            f"runner {runner!r}: Apache Beam is missing; pip install 'audioset_strong[beam]'"
        ) from error
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # argparse would print all options there are
            parsed = PipelineOptions(list(options))
            parsed.get_all_options()
    except SystemExit as error:
        raise errors.InputError(f"runner {runner!r}: {_last_line(said.getvalue())}") from error
    paths = []
    for job in jobs:
        path = f"{shard_writing.stamp_path(job.path)}.job"
        with files.writing(path), tf.io.gfile.GFile(path, "wb") as file:
            file.write(pickle.dumps(job))
        paths.append(path)
    try:
        with beam.Pipeline(runner, parsed) as pipeline:
            # Without the reshuffle a runner may put all shards into one bundle.
            _ = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.Map(_do)
    except Exception as error:  # each runner has its own
        raise errors.InputError(f"runner {runner!r}: {_last_line(str(error))}") from error


def _do(path: str) -> None:
    with tf.io.gfile.GFile(path, "rb") as file:
        job: Job = pickle.loads(file.read())
    chunks = shard_writing.chunks(job.clips)
    with (
        shard_writing.scratch(os.path.dirname(job.path)) as scratch,
        contextlib.closing(shard_writing.convert_chunks(chunks, job.request, 1, scratch)) as pieces,
    ):
        shard_writing.write_shard(job.path, pieces, job.num_classes)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip()
