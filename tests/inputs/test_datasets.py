"""The public one-liners give what the functions behind them give."""

import pytest

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs import datasets, evaluation_grid
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from tests.datasets import make_clip, write_dataset
from tests.streams import same, take


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return [
        write_dataset(folder / name, [make_clip(i) for i in clips], 1)
        for name, clips in (("one", range(4)), ("other", range(4, 8)))
    ]


def first(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def test_a_training_stream_of_one_dataset_or_several(two, tmp_path):
    settings = {"seed": 3, "start_step": 2, "front_end": FrontEnd(num_bands=32)}
    stream = datasets.training_stream(two[0], policy="weak", batch_size=4, **settings)
    same(first(stream, 2), take(2, Source((two[0],), "weak"), 4, **settings))
    both = datasets.training_stream(
        two, policy="strong", batch_size=8, settings=StreamSettings(exact_shares=True)
    )
    wanted = take(2, Source(tuple(two), "strong"), 8, exact_shares=True)
    same(first(both, 2), wanted)
    assert len(set(wanted[0]["clip_id"])) == 8


def test_paths_may_be_path_objects(tmp_path):
    write_dataset(tmp_path / "data", [make_clip(0)], 1)
    grid = datasets.evaluation_grid(tmp_path / "data")
    same(first(grid, 2), first(evaluation_grid.grid_patches([str(tmp_path / "data")]), 2))


def test_mistakes_are_found_before_the_first_batch(two):
    with pytest.raises(ValueError, match="must be one of weak, diffuse, strong"):
        datasets.training_stream(two, policy="all", batch_size=4)
    with pytest.raises(errors.InputError, match="nowhere: no converted dataset"):
        datasets.training_stream("nowhere", policy="weak", batch_size=4)
    with pytest.raises(errors.InputError, match="nowhere: no converted dataset"):
        datasets.evaluation_grid("nowhere")
