"""Shards written by the workers of an Apache Beam runner (extra `beam`).

A shard is one element, written by the same functions as locally: the result has the same bytes, and
the same stamp, from which a second run knows what is done. A file in the work directory describes
the shard, so that only its path travels through the pipeline; runners want small elements.
"""

import contextlib
import dataclasses
import io
import os
import pickle
from collections.abc import Iterable, Sequence

from audioset_strong.conversion import shard_writing
from audioset_strong.conversion.plans import PlannedClip
from audioset_strong.conversion.request import ConversionRequest
from audioset_strong.core import errors, extras, files


@dataclasses.dataclass(frozen=True)
class BeamShard:
    """A shard to write.

    Attributes:
      path: of the shard; absolute, and the same on every worker.
      clips: the clips to be written.
      request: the settings.
      num_classes: size of the vocabulary.
    """

    path: str
    clips: list[PlannedClip]
    request: ConversionRequest
    num_classes: int


def run(shards: Iterable[BeamShard], runner: str, *, options: Sequence[str] = ()) -> None:
    """Writes the shards, and returns when all are written.

    Args:
      shards: read one at a time.
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
            f"runner {runner!r}: Apache Beam is missing; {extras.advice('beam')}"
        ) from error
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):  # argparse would print all options there are
            parsed = PipelineOptions(list(options))
            parsed.get_all_options()
    except SystemExit as error:
        raise errors.InputError(f"runner {runner!r}: {_last_line(stderr.getvalue())}") from error
    paths = []
    for shard in shards:
        path = f"{shard_writing.stamp_path(shard.path)}.job"
        with files.writing(path):
            files.write_bytes(path, pickle.dumps(shard))
        paths.append(path)
    try:
        with beam.Pipeline(runner, parsed) as pipeline:
            # Without the reshuffle a runner may put all shards into one bundle.
            _ = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.Map(_write)
    except Exception as error:  # each runner has its own
        raise errors.InputError(f"runner {runner!r}: {_last_line(str(error))}") from error


def _write(path: str) -> None:
    """Writes the shard that a file describes; this is what a Beam worker does."""
    shard: BeamShard = pickle.loads(files.read_bytes(path))
    chunks = shard_writing.chunks(shard.clips)
    with (
        shard_writing.scratch(os.path.dirname(shard.path)) as scratch,
        contextlib.closing(
            shard_writing.convert_chunks(chunks, shard.request, num_workers=1, scratch=scratch)
        ) as pieces,
    ):
        shard_writing.write_shard(
            shard.path,
            pieces,
            num_classes=shard.num_classes,
            sample_rate=shard.request.sample_rate,
        )


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip()
