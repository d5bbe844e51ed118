"""Batches made by the workers of a tf.data service that runs in this process."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs.augmentation import Augmentation
from tests.datasets import make_clip, write_dataset
from tests.optional import hide_tensorflow_io
from tests.streams import source, stream, take

BATCHES = 12


@pytest.fixture(scope="module", params=["pcm16", "log_mel"])
def many(request, tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    folder = tmp_path_factory.mktemp("data")
    return write_dataset(folder / "many", clips, 4, encoding=request.param)


@pytest.fixture(scope="module")
def dispatcher():
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.partition("://")[2]
    workers = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)
    ]
    yield dispatcher.target
    del workers


def _key(batch):
    return tuple(zip(batch["clip_id"], batch["start"].tolist(), strict=True))


def _check_served(dispatcher, sources, **arguments):
    """Compares what the service gives with the stream's first batches, which all come once."""
    wanted = {_key(batch): batch for batch in take(BATCHES, sources, 8, **arguments)}
    assert len(wanted) == BATCHES
    served = stream(sources, 8, data_service=dispatcher, **arguments)
    seen = 0
    for batch in served.take(40 * BATCHES).as_numpy_iterator():
        same = wanted.pop(_key(batch), None)
        if same is not None:
            seen += 1
            for name in same:
                if same[name].dtype == np.float32:
                    np.testing.assert_allclose(batch[name], same[name], atol=1e-4)
                else:
                    np.testing.assert_array_equal(batch[name], same[name])
        if not wanted:
            break
    assert seen == BATCHES


def test_two_workers_give_every_batch_of_the_stream(many, dispatcher):
    _check_served(dispatcher, source(many))


def test_they_serve_mixtures_with_exact_shares_and_augmentation(many, dispatcher):
    sources = [source(many, "weak", 0.3), source(many, "strong", 0.7, balanced=True)]
    masks = Augmentation(time_masks=2, frequency_masks=1)
    _check_served(dispatcher, sources, exact_shares=True, augmentation=masks, known_labels=True)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", r"data_service = 'nowhere': must be like 'grpc://host:5050'"),
        ("grpc://localhost:1", r"data_service = 'grpc://localhost:1': no dispatcher answers there"),
    ],
)
def test_an_address_of_nobody_is_refused(many, address, message):
    with pytest.raises(errors.InputError, match=message):
        stream(source(many), 8, data_service=address)


def test_flac_needs_tensorflow_io_as_workers_may_be_other_processes(
    dispatcher, tmp_path, monkeypatch
):
    flac = write_dataset(tmp_path / "flac", [make_clip(i) for i in range(4)], 1, "flac")
    hide_tensorflow_io(monkeypatch)
    message = r"^train_patches.data_service, with records of encoding 'flac' needs tensorflow-io, "
    with pytest.raises(errors.InputError, match=message):
        stream(source(flac), 2, data_service=dispatcher)
