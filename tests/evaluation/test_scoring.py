"""Scores: made from batches, and what is wrong with bad ones."""

import dataclasses
import decimal

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import scoring
from tests.grid_batches import ARRAYS, BATCHES, MIDS, two_logits, two_scores


@pytest.fixture
def scores():
    return two_scores()


def score(predict, batches, **given):
    arguments = {"mids": MIDS, "are_logits": True} | given
    return scoring.score(scoring.batch_scorer(predict), batches, **arguments)


def test_scores_are_the_logits_of_each_patch_in_its_place(scores):
    assert scores.clip_ids == ("x_0", "y_0", "z_0", "-a_30000", "ü_0")
    assert scores.mids == MIDS
    assert scores.frame_scores.dtype == np.float32
    means = np.concatenate([b["log_mel"] for b in BATCHES]).mean(axis=(2, 3), dtype=np.float64)
    np.testing.assert_allclose(scores.frame_scores[:, :, 0], means, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(scores.frame_scores[:, :, 1], -1000)
    for name in ARRAYS[1:]:
        wanted = np.concatenate([b[name] for b in BATCHES])
        np.testing.assert_array_equal(getattr(scores, name), wanted)


def test_progress_counts_clips():
    counted = []
    score(two_logits, BATCHES, on_batch=counted.append)
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
        (BATCHES, lambda x: two_logits(x)[:, :1], r"frame_scores is float32 \(3, 10, 1\); must be"),
        (
            BATCHES,
            lambda x: two_logits(x) * np.where(np.arange(len(x)) == 17, np.nan, 1)[:, np.newaxis],
            "my set: the score of /m/a in frame 7 of clip y_0 is nan; must be finite",
        ),
    ],
)
def test_what_is_no_scores_is_told(batches, predict, message):
    with pytest.raises(errors.InputError, match=message):
        score(predict, batches, name="my set")


def test_scores_that_are_not_finite_are_told_in_the_first_batch_that_has_one():
    read = []

    def batches():
        for batch in BATCHES:
            read.append(len(batch["clip_id"]))
            yield batch

    with pytest.raises(scoring.NotFiniteError):
        score(lambda x: two_logits(x) * np.nan, batches())
    assert read == [3]


def exact_logit_of_mean(logits):
    """With 60 digits: the logit of the mean of the sigmoids."""
    with decimal.localcontext() as context:
        context.prec = 60
        ps = [1 / (1 + (-decimal.Decimal(float(x))).exp()) for x in logits]
        mean = sum(ps) / len(ps)
        return float((mean / (1 - mean)).ln())


def test_the_score_of_a_clip_is_the_logit_of_its_mean_probability_however_large(
    scores, monkeypatch
):
    monkeypatch.setattr(scoring, "_CLIPS_AT_A_TIME", 2)
    rng = np.random.default_rng(0)
    scales = np.array([0.1, 1, 10, 40, 80])[:, np.newaxis, np.newaxis]
    logits = (rng.normal(size=(5, 10, 2)) * scales).astype(np.float32)
    logits[3, :, 0] = np.linspace(20, 50, 10)  # of which float32 makes 1
    valid = rng.random((5, 10)) < 0.7
    valid[4] = False
    changed = dataclasses.replace(scores, frame_scores=logits, frame_valid=valid)
    got = changed.clip_scores()
    for clip in range(4):
        for k in range(2):
            wanted = exact_logit_of_mean(logits[clip, valid[clip], k])
            assert got[clip, k] == pytest.approx(wanted, rel=1e-12)
    assert not got[4].any()  # without a valid frame
    ps = 1 / (1 + np.exp(-logits[:3].astype(np.float64)))
    means = dataclasses.replace(
        changed, frame_scores=1 / (1 + np.exp(-logits.astype(np.float64))), are_logits=False
    ).clip_scores()
    np.testing.assert_allclose(means[0], ps[0][valid[0]].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        scoring.probabilities(got[:3], are_logits=True), means[:3], rtol=1e-12
    )


@pytest.mark.parametrize("value", [1.0000001, -0.25, 7])
def test_probabilities_outside_0_and_1_are_refused(scores, value):
    halves = np.full_like(scores.frame_scores, 0.5)
    halves[2, 4, 1] = value
    with pytest.raises(
        errors.InputError,
        match=rf"mine: the score of /m/b in frame 4 of clip z_0 is {value}\S*; must be a "
        r"probability, from 0 to 1 \(or give --logits if these are logits\)",
    ):
        dataclasses.replace(scores, frame_scores=halves, are_logits=False).check("mine")
    dataclasses.replace(scores, frame_scores=halves).check("mine")
