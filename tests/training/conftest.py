"""Fixtures of the training tests: toy data, and what a run leaves behind."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from audioset_strong.training import checkpoints
from tests.datasets import toy_clips, write_dataset


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The directory of a dataset "train" that a tiny network can learn, of four shards."""
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory / "train", toy_clips(48), 4)
    return str(directory)


@pytest.fixture(scope="session")
def events():
    """Reads event files: workdir -> {tag: [(step, value)]}, scalars without their group."""

    def read(workdir):
        accumulator = event_accumulator.EventAccumulator(
            str(workdir / "train"), {"tensors": 0, "images": 0}
        )
        accumulator.Reload()
        return {
            _without_group(tag): [
                (e.step, tf.make_ndarray(e.tensor_proto)) for e in accumulator.Tensors(tag)
            ]
            for tag in accumulator.Tags()["tensors"]
        }

    return read


def _without_group(tag):
    return tag.removeprefix("Training/").removeprefix("details/")


@pytest.fixture(scope="session")
def weights():
    """Loads the weights of a run's checkpoint, the newest one by default."""

    def load(workdir, step=None, *, ema=False):
        path = dict(checkpoints.list_checkpoints(str(workdir)))[step] if step else None
        return checkpoints.load_model(str(workdir), path, ema=ema).model.get_weights()

    return load


@pytest.fixture(scope="session")
def assert_same():
    """Compares two lists of weights, bit by bit."""

    def compare(got, wanted):
        assert len(got) == len(wanted)
        for left, right in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(left, right)

    return compare
