"""Sources and training streams in the short form that tests use."""

import dataclasses

import numpy as np

from audioset_strong.inputs import training_stream
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings

_SETTINGS = {field.name for field in dataclasses.fields(StreamSettings)}


def source(directory, policy="strong", weight=1.0, **settings):
    return Source((directory,), policy, weight, **settings)


def stream(sources, batch_size, **arguments):
    """`train_patches` of one source or several; takes the fields of `StreamSettings` as well."""
    settings = {name: arguments.pop(name) for name in list(arguments) if name in _SETTINGS}
    sources = [sources] if isinstance(sources, Source) else sources
    return training_stream.train_patches(
        sources, batch_size, settings=StreamSettings(**settings), **arguments
    )


def take(count, sources, batch_size, **arguments):
    """The first batches of `stream`, as NumPy arrays."""
    return list(stream(sources, batch_size, **arguments).take(count).as_numpy_iterator())


def take_samples(count, sources, batch_size, **arguments):
    """As `take`, with samples instead of log-mel, which costs time where no test looks at it."""
    return take(count, sources, batch_size, features_on_device=True, **arguments)


def clip_ids(batches):
    return [clip_id.decode() for batch in batches for clip_id in batch["clip_id"]]


def windows(batches):
    """(clip id, start) of every example."""
    return [
        (clip_id.decode(), int(start))
        for batch in batches
        for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True)
    ]


def log_mel_of(batches):
    """The log-mel patches by (clip id, start)."""
    patches = (log_mel for batch in batches for log_mel in batch["log_mel"])
    return dict(zip(windows(batches), patches, strict=True))


def same(left, right):
    """Asserts that batches are equal."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
