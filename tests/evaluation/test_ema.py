"""Evaluating the moving average of the weights, apart from the weights themselves."""

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import following, results, score_files
from audioset_strong.evaluation.settings import EvaluationSettings
from audioset_strong.inputs import evaluation_grid
from audioset_strong.training import checkpoints
from tests import trained
from tests.datasets import toy_clips, write_dataset
from tests.toy_training import train


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory / "train", toy_clips(48), 2)
    write_dataset(directory / "validation", toy_clips(12, 2000), 1, split="validation")
    return directory


def _evaluate(workdir, root, **settings):
    following.evaluate_workdirs(
        [str(workdir)],
        {"validation": str(root / "validation")},
        run_once=True,
        settings=EvaluationSettings(save_scores="npz", intervals=False),
        **settings,
    )


def test_both_kinds_of_weights_are_evaluated_and_kept_apart(root, tmp_path):
    run = tmp_path / "run"
    train(run, root, ema_decay=0.8)
    _evaluate(run, root, ema=True)
    assert not (run / "selection.json").exists()
    assert results.read_results(str(run)).empty
    _evaluate(run, root)
    assert (run / "selection.json").exists()
    batch = next(evaluation_grid.grid_patches([str(root / "validation")]).as_numpy_iterator())
    log_mel = batch["log_mel"].reshape(-1, 96, 64)
    found = []
    for ema, folder in ((False, "eval"), (True, "eval_ema")):
        assert set(results.read_results(str(run), ema=ema)["step"]) == {10, 20}
        assert list((run / folder).glob("events.*"))
        for step in (10, 20):
            path = str(run / "checkpoints" / f"step-{step}")
            model = checkpoints.load_model(str(run), path, ema=ema).model
            scores = score_files.load(str(run / folder / "scores" / f"validation-{step}.npz"))
            wanted = model(log_mel, training=False).numpy().reshape(12, 10, -1)
            np.testing.assert_allclose(scores.frame_scores, wanted, atol=1e-4)
            found.append(scores.frame_scores)
    assert np.abs(found[1] - found[3]).max() > 0.01  # they differ


def test_a_run_without_moving_average_is_told(root, tmp_path):
    run = trained.write_workdir(tmp_path / "run")
    with pytest.raises(errors.InputError, match=r"trained without train\.ema_decay"):
        _evaluate(run, root, ema=True)
