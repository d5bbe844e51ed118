"""mu as a schedule: what a run makes of it, and that it goes on as it began."""

import shutil

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.inputs import training_sources
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.training import loop
from audioset_strong.training.run_info import RunInfo
from tests import toy_training

POINTS = ((0.0, 0.0), (0.5, 0.0), (1.0, 1.0))


def _sources(data_dir, points=POINTS):
    schedule = training_sources.mu_schedule(points)
    path = f"{data_dir}/train"
    return [Source((path,), "weak", schedule.complement()), Source((path,), "strong", schedule)]


def _train(workdir, data_dir, steps, points=POINTS, **settings):
    return toy_training.train(
        workdir,
        data_dir,
        sources=_sources(data_dir, points),
        stream=StreamSettings(exact_shares=True),
        total_steps=steps,
        **settings,
    )


@pytest.fixture(scope="module")
def seen():
    """The number of strong examples in each step that was last trained."""
    found = {}

    class Recording(loop.TrainStep):
        def make(self, batch):
            results = super().make(batch)
            loop.tf.py_function(
                lambda step, source: found.__setitem__(int(step), source.numpy().sum()),
                [self._state.step_variable, batch["source"]],
                [],
            )
            return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "TrainStep", Recording)
        yield found


@pytest.fixture(scope="module")
def ten_steps(data_dir, tmp_path_factory, seen):
    """A run of ten steps, and what was seen in them."""
    seen.clear()
    return _train(tmp_path_factory.mktemp("runs") / "run", data_dir, 10), dict(seen)


def test_a_run_is_its_schedule_and_an_extended_one_keeps_it(
    ten_steps, seen, data_dir, tmp_path, weights, assert_same
):
    finished, first = ten_steps
    run = shutil.copytree(finished, tmp_path / "run")
    # Of 16 examples: none for five steps, then 1.6, 4.8, 8, 11.2 and 14.4.
    assert [first[step] for step in range(1, 11)] == pytest.approx(
        [0, 0, 0, 0, 0, 1.6, 4.8, 8, 11.2, 14.4], abs=1
    )
    assert sum(first.values()) == pytest.approx(0.25 * 160, abs=1)
    info = RunInfo.read(str(run))
    assert info.mu == pytest.approx(0.25)
    assert info.sources[1].weight == training_sources.mu_schedule(POINTS).of_length(160)
    # With more steps mu stays where it is, and what was trained is what would be trained.
    _train(run, data_dir, 12, extend=True)
    assert [seen[11], seen[12]] == [16, 16]
    assert RunInfo.read(str(run)).sources == info.sources
    seen.clear()
    part = _train(tmp_path / "part", data_dir, 10, resume_every_s=0.0, steps_per_call=1)
    assert {step: seen[step] for step in range(1, 11)} == first
    assert_same(weights(part, 10), weights(run, 10))
    _train(run, data_dir, 14, extend=True)  # once more
    assert seen[14] == 16


def test_a_run_does_not_go_on_with_another_schedule(ten_steps, data_dir, tmp_path):
    finished, _ = ten_steps
    run = shutil.copytree(finished, tmp_path / "run")
    other = ((0.0, 0.1), (1.0, 1.0))
    with pytest.raises(errors.InputError, match=r"continue its run with weight = .*source 0"):
        _train(run, data_dir, 12, points=other, extend=True)


def test_priors_are_those_of_the_mean_mixture(data_dir):
    from audioset_strong.inputs import opened_sources

    scheduled = opened_sources.class_priors(_sources(data_dir))
    path = f"{data_dir}/train"
    plain = [Source((path,), "weak", 0.75), Source((path,), "strong", 0.25)]
    np.testing.assert_allclose(scheduled, opened_sources.class_priors(plain))
