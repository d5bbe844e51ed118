"""Scores: made from batches, and what is wrong with bad ones."""

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import scoring
from tests.grid_batches import ARRAYS, BATCHES, MIDS, two_logits


@pytest.fixture
def scores():
    return scoring.score(scoring.batch_scorer(two_logits), BATCHES, mids=MIDS)


def test_scores_are_the_sigmoid_of_the_logits_of_each_patch_in_its_place(scores):
    assert scores.clip_ids == ("x_0", "y_0", "z_0", "-a_30000", "ü_0")
    assert scores.mids == MIDS
    assert scores.frame_scores.dtype == np.float32
    means = np.concatenate([b["log_mel"] for b in BATCHES]).mean(axis=(2, 3), dtype=np.float64)
    np.testing.assert_allclose(scores.frame_scores[:, :, 0], 1 / (1 + np.exp(-means)), rtol=1e-6)
    np.testing.assert_array_equal(scores.frame_scores[:, :, 1], 0)
    for name in ARRAYS[1:]:
        wanted = np.concatenate([b[name] for b in BATCHES])
        np.testing.assert_array_equal(getattr(scores, name), wanted)


def test_progress_counts_clips():
    counted = []
    scoring.score(scoring.batch_scorer(two_logits), BATCHES, mids=MIDS, on_batch=counted.append)
    assert counted == [3, 2]


def test_explicit_negatives_are_those_of_clips_where_they_are_known(scores):
    wanted = [
        [bool(label) and bool(known) for label in labels]
        for labels, known in zip(scores.negative_labels, scores.negatives_known, strict=True)
    ]
    np.testing.assert_array_equal(scores.explicit_negatives(), wanted)


@pytest.mark.parametrize(
    ("batches", "predict", "message"),
    [
        ([], two_logits, "my set: the dataset has no clip"),
        ([BATCHES[0], BATCHES[0]], two_logits, "my set: clip x_0 is duplicated"),
        (BATCHES, lambda x: two_logits(x)[:, :1], r"frame_scores is float32 \(5, 10, 1\); must be"),
        (
            BATCHES,
            lambda x: two_logits(x) * np.where(np.arange(len(x)) == 17, np.nan, 1)[:, np.newaxis],
            "my set: the score of /m/a in frame 7 of clip y_0 is nan; must be finite",
        ),
    ],
)
def test_what_is_no_scores_is_told(batches, predict, message):
    with pytest.raises(errors.InputError, match=message):
        scoring.score(scoring.batch_scorer(predict), batches, mids=MIDS, name="my set")
