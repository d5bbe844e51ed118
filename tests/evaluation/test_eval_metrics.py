"""Weak eval and strong eval, on cases small enough to be worked out by hand."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from audioset_strong.core import errors
from audioset_strong.evaluation import eval_metrics, intervals, metrics, scoring

A, B, C = range(3)  # classes; C never occurs


def d_prime(auc):
    return np.sqrt(2) * stats.norm.ppf(auc)


def make(scores, valid=(), positive=(), negative=(), frame_positive=(), weak=None, strong=None):
    """Scores of clips of three frames.

    Args:
      scores: float `[clips, 3, 3]`.
      valid: clip -> how many of its frames are valid, where not all.
      positive, negative: (clip, class) of weak labels and of explicit negatives.
      frame_positive: (clip, frame, class). A class's other frames of that clip are its negatives.
      weak, strong: clips whose labels of that kind are known; all by default.
    """
    scores = np.array(scores, np.float32)
    clips = len(scores)
    frame_valid = np.arange(3) < np.array([dict(valid).get(i, 3) for i in range(clips)])[:, None]
    weak_labels, negative_labels = np.zeros((2, clips, 3), bool)
    frame_labels = np.full((clips, 3, 3), -1, np.int8)
    for clip, label in positive:
        weak_labels[clip, label] = True
    for clip, label in negative:
        negative_labels[clip, label] = True
        frame_labels[clip, :, label] = 0
    for clip, _, label in frame_positive:
        frame_labels[clip, :, label] = 0
    for clip, frame, label in frame_positive:
        frame_labels[clip, frame, label] = 1
    known = [np.isin(np.arange(clips), range(clips) if k is None else k) for k in (weak, strong)]
    frame_labels[~known[1]] = -1
    return scoring.Scores(
        mids=("/m/a", "/m/b", "/m/c"),
        clip_ids=tuple(f"clip{i}" for i in range(clips)),
        frame_scores=scores,
        frame_valid=frame_valid,
        weak_labels=weak_labels,
        weak_known=known[0],
        negative_labels=negative_labels,
        negatives_known=negative_labels.any(axis=1),
        frame_labels=frame_labels,
        strong_known=known[1],
    )


def of_class_a(*frames):
    """Scores `[clips, 3, 3]`: those given for A, 0.5 for B, 0.1 for C."""
    return [[[score, 0.5, 0.1] for score in clip] for clip in frames]


def test_a_clip_s_score_is_the_mean_over_its_valid_frames():
    scores = make(of_class_a([0.9, 0.7, 0.2], [0.1, 0.2, 0.3], [0.4, 0.8, 0.6]), valid={0: 2, 2: 1})
    np.testing.assert_allclose(scores.clip_scores()[:, A], [0.8, 0.2, 0.4], rtol=1e-6)


def weak_example():
    return make(
        of_class_a(
            [0.9, 0.7, 0.0],  # 0.8 over its two valid frames: positive
            [0.2, 0.4, 0.6],  # 0.4: explicitly negative
            [0.9, 0.9, 0.9],  # 0.9: says nothing of A, which is an implicit negative
            [1.0, 1.0, 1.0],  # labels not known
            [0.3, 0.3, 0.3],  # 0.3: positive, though a rater's negative too
        ),
        valid={0: 2},
        positive=[(0, A), (2, B), (4, A)],
        negative=[(1, A), (4, A)],
        weak=[0, 1, 2, 4],
    )


def test_weak_eval_on_explicit_and_on_implicit_negatives():
    got = eval_metrics.measure(weak_example(), "weak", name="weak_eval")
    values = got.values
    # Explicit: 0.8 and 0.3 against 0.4. Implicit: against 0.4 and 0.9. B has no explicit negative.
    assert values["auc"] == 0.5
    assert values["d_prime"] == pytest.approx(0)
    assert values["classes"] == 1
    # B ties with itself in all clips but one: 0.5 everywhere.
    assert values["auc_implicit"] == (0.25 + 0.5) / 2
    assert values["d_prime_implicit"] == pytest.approx((d_prime(0.25) + 0) / 2)
    assert values["d_prime_of_mean_auc_implicit"] == pytest.approx(d_prime(0.375))
    assert values["classes_implicit"] == 2
    assert values["classes_at_limit_implicit"] == 0
    assert values["samples"] == 4
    # A above all in clip 0, B second to A in clip 2, A second to B in clip 4.
    assert values["lwlrap"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert values["lwlrap_balanced"] == pytest.approx(((1 + 1 / 2) / 2 + 1 / 2) / 2)
    assert values["lwlrap_known"] == 1  # no clip has a second class that is known
    assert not any(name.endswith(("_explicit", "_complementary")) for name in values)


def test_weak_eval_by_class():
    table = eval_metrics.measure(weak_example(), "weak", name="weak_eval").per_class.set_index(
        "mid"
    )
    assert list(table["positives"]) == [2, 1, 0]
    assert list(table["negatives"]) == [1, 0, 0]
    assert list(table["negatives_implicit"]) == [2, 3, 4]
    assert table.loc["/m/a", "auc"] == 0.5
    assert table.loc["/m/a", "d_prime_implicit"] == pytest.approx(d_prime(0.25))
    assert np.isnan(table.loc["/m/b", "d_prime"])
    assert table.loc["/m/b", "average_precision_implicit"] == 0.25
    assert table.loc["/m/a", "lwlrap"] == 0.75
    assert table.loc["/m/c"].drop(["positives", "negatives", "negatives_implicit"]).isna().all()


def test_without_explicit_negatives_there_is_only_the_d_prime_on_implicit_ones():
    scores = dataclasses.replace(weak_example(), negatives_known=np.zeros(5, bool))
    values = eval_metrics.measure(scores, "weak", name="weak_eval", replicates=10).values
    assert not {"d_prime", "d_prime_low", "auc", "mAP", "classes"} & set(values)
    assert values["d_prime_implicit_low"] <= values["d_prime_implicit"]
    assert "lwlrap" in values


def strong_example():
    return make(
        of_class_a(
            [0.9, 0.5, 0.1],  # A in the first two frames; the third is no frame of the clip
            [0.6, 0.7, 0.2],  # A in the first frame; the others are complementary negatives
            [0.8, 0.3, 0.4],  # A explicitly not there
            [0.95, 0.95, 0.95],  # nothing known of A
            [1.0, 1.0, 1.0],  # strong labels not known
        ),
        valid={0: 2},
        negative=[(2, A), (4, A)],
        frame_positive=[(0, 0, A), (0, 1, A), (1, 0, A), (3, 0, B)],
        strong=[0, 1, 2, 3],
    )


def test_strong_eval_counts_explicit_and_complementary_negatives_and_no_unknown_frames():
    got = eval_metrics.measure(strong_example(), "strong", name="strong_eval")
    values, a = got.values, got.per_class.iloc[A]
    # 0.9, 0.5, 0.6 against the explicit 0.8, 0.3, 0.4 and the complementary 0.7, 0.2.
    assert (a["positives"], a["negatives"]) == (3, 5)
    explicit, complementary = (3 + 2 + 2) / 9, (2 + 1 + 1) / 6
    assert a["auc"] == pytest.approx((9 * explicit + 6 * complementary) / 15)
    # B: one positive of three equal frames.
    assert values["d_prime"] == pytest.approx((d_prime(11 / 15) + 0) / 2)
    assert values["d_prime_explicit"] == pytest.approx(d_prime(explicit))
    assert values["d_prime_complementary"] == pytest.approx((d_prime(complementary) + 0) / 2)
    assert (values["classes_explicit"], values["classes_complementary"]) == (1, 2)
    assert values["samples"] == 2 + 3 + 3 + 3
    # Implicitly negative: those five, and three of 0.95 that beat all positives.
    assert a["negatives_implicit"] == 8
    assert a["auc_implicit"] == pytest.approx(11 / 24)
    assert a["average_precision"] == pytest.approx(np.mean([1, 2 / 4, 3 / 5]))


def test_lwlrap_of_the_strong_eval_ranks_all_classes_of_a_frame():
    values = eval_metrics.measure(strong_example(), "strong", name="strong_eval").values
    # A leads where it scores 0.9 and 0.6, ties with B (0.5) at rank 2, and leads B's frame.
    assert values["lwlrap"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2) / 4)
    # B's frame ranks B alone, for nothing is known of A there.
    assert values["lwlrap_known"] == pytest.approx(1)


@pytest.mark.parametrize(("kind", "example"), [("weak", weak_example), ("strong", strong_example)])
def test_intervals_are_those_of_the_bootstrap_over_clips_that_count(kind, example):
    scores = example()
    values = eval_metrics.measure(scores, kind, name="set", replicates=50).values
    counted = [0, 1, 2, 4] if kind == "weak" else [0, 1, 2, 3]
    weights = intervals.draw(4, 50)
    if kind == "weak":
        samples, clip = scores.clip_scores()[counted], np.arange(4)
        labels = np.array([[1, -1, -1], [0, -1, -1], [-1, 1, -1], [1, -1, -1]], np.int8)
    else:
        samples = scores.frame_scores[counted][scores.frame_valid[counted]]
        labels = scores.frame_labels[counted][scores.frame_valid[counted]]
        clip = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    ranking = metrics.ranking_precision(labels, samples)
    implicit = (labels == 1).astype(np.int8)
    for name, replicated in (
        ("d_prime", intervals.d_prime(labels, samples, clip=clip, weights=weights)),
        ("d_prime_implicit", intervals.d_prime(implicit, samples, clip=clip, weights=weights)),
        ("lwlrap", intervals.lwlrap(ranking, clip=clip, weights=weights)),
    ):
        low, high = intervals.interval(replicated)
        assert (values[f"{name}_low"], values[f"{name}_high"]) == (low, high)
        assert low <= values[name] <= high


@pytest.mark.parametrize("kind", ["weak", "strong"])
def test_an_eval_set_without_a_usable_class_is_told(kind):
    scores = make(
        of_class_a([0.1, 0.2, 0.3]),
        positive=[(0, A)],
        frame_positive=[(0, 0, A), (0, 1, A), (0, 2, A)],
    )
    with pytest.raises(errors.InputError, match="my_set: no usable class: none of 3 has both"):
        eval_metrics.measure(scores, kind, name="my_set")


@pytest.mark.parametrize("kind", ["weak", "strong"])
def test_an_eval_set_without_labels_of_its_kind_is_told(kind):
    scores = make(of_class_a([0.1, 0.2, 0.3]), weak=[], strong=[])
    with pytest.raises(errors.InputError, match=f"my_set: no clip with {kind} labels"):
        eval_metrics.measure(scores, kind, name="my_set")
