"""Patches drawn by the workers of a tf.data service that runs in this process."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.inputs.augmentation import Augmentation
from tests.datasets import make_clip, write_dataset
from tests.streams import log_mel_of, source, stream, take


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips, 4)


@pytest.fixture
def dispatcher():
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.partition("://")[2]
    workers = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)
    ]
    yield dispatcher.target
    del workers


def _served(many, dispatcher, wanted, **arguments):
    """What the service gives until it has given all of `wanted`; the window tells the epoch.

    Workers read ahead of each other, some epochs on a busy machine.
    """
    batches, missing = [], set(wanted)
    served = stream(source(many), 8, data_service=dispatcher, shuffle_buffer=1, **arguments)
    for batch in served.as_numpy_iterator():
        batches.append(batch)
        missing -= set(log_mel_of([batch]))
        if not missing:
            return batches
        assert len(batches) < 1000


def test_two_workers_give_every_clip_once_an_epoch(many, dispatcher):
    two_epochs = log_mel_of(take(15, [source(many)], 8))
    assert len(two_epochs) == 2 * 60
    batches = _served(many, dispatcher, two_epochs)
    served = log_mel_of(batches)
    assert len(served) == len(batches) * 8  # none twice
    for window, log_mel in two_epochs.items():
        np.testing.assert_allclose(served[window], log_mel, atol=1e-4)


def test_augmentation_of_the_waveform_is_not_lost(many, dispatcher):
    plain = log_mel_of(take(15, [source(many)], 8))
    loud = Augmentation(gain_db=20.0)
    served = log_mel_of(_served(many, dispatcher, plain, augmentation=loud))
    changed = [np.abs(served[window] - plain[window]).max() > 0.01 for window in plain]
    assert np.mean(changed) > 0.9  # a gain is random, and may be next to none


def test_it_serves_mixtures_of_sources(many, dispatcher):
    sources = [source(many, "weak", 0.3), source(many, "strong", 0.7)]
    batches = take(10, sources, 10, data_service=dispatcher, exact_shares=True)
    assert [np.bincount(batch["source"]).tolist() for batch in batches] == [[3, 7]] * 10
