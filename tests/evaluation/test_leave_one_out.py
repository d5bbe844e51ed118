"""Metrics without each clip, against scikit-learn's on the samples of the other clips."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from audioset_strong.evaluation import leave_one_out, metrics


def frames(seed, clips=12, classes=4, frames=4, levels=None, unknown=0.3):
    """Labels, scores and clips of frames: one to `frames` a clip, in mixed order."""
    rng = np.random.default_rng(seed)
    clip = np.repeat(np.arange(clips), rng.integers(1, frames + 1, clips))
    rng.shuffle(clip)
    labels = rng.integers(0, 2, (len(clip), classes)).astype(np.int8)
    scores = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    if levels:
        scores = np.round(scores * levels) / levels
    labels[rng.random(labels.shape) < unknown] = -1
    return labels, scores, clip


def separated(seed):
    """Every class with an AUC of 1, or with the exception of one pair."""
    labels, scores, clip = frames(seed, unknown=0.1)
    return labels, np.where(labels == 1, 10, 0) + scores, clip


def explicit_alone(seed):
    """No clip has both kinds of labels of a class."""
    labels, scores, clip = frames(seed, clips=20)
    kind = np.random.default_rng(seed).integers(-1, 2, (20, labels.shape[1]))
    return kind[clip].astype(np.int8), scores, clip


PROBLEMS = {
    "frames": frames(0),
    "tied": frames(1, levels=1),
    "all tied": frames(2, levels=0.01),
    "fully labelled": frames(3, unknown=0.0),
    "two samples": frames(4, clips=2, frames=1, unknown=0),
    "mostly unknown": frames(5, clips=30, unknown=0.9),
    "long clips": frames(6, clips=6, frames=40),
    "separated": separated(7),
    "explicit alone": explicit_alone(8),
    "a sample a clip": frames(9, clips=40, frames=1),
}


def class_values(label, score):
    """d' and average precision of one class by scikit-learn; NaN without both kinds of labels."""
    known = label >= 0
    label, score = label[known], score[known]
    if len(set(label)) < 2:
        return np.nan, np.nan
    auc = sk.roc_auc_score(label, score)
    margin = 0.5 / ((label == 1).sum() * (label == 0).sum())
    if auc < margin / 2 or auc > 1 - margin / 2:
        auc = np.clip(auc, margin, 1 - margin)
    return np.sqrt(2) * stats.norm.ppf(auc), sk.average_precision_score(label, score)


@pytest.mark.parametrize("name", PROBLEMS)
def test_classes_without_a_clip_are_scikit_learn_s_on_the_others(name):
    labels, scores, clip = PROBLEMS[name]
    num_clips = clip.max() + 1
    found = list(leave_one_out.classes(labels, scores, clip=clip))
    assert any(each is not None for each in found)
    wanted = np.array(
        [
            [class_values(labels[clip != c, k], scores[clip != c, k]) for k in range(len(found))]
            for c in range(num_clips)
        ]
    )  # [clips, classes, metrics]
    for k, each in enumerate(found):
        of_all = class_values(labels[:, k], scores[:, k])
        if each is None:
            assert np.isnan(of_all).all()
            continue
        assert each.clips.tolist() == sorted(set(clip[labels[:, k] >= 0].tolist()))
        got = [each.d_prime, each.average_precision]
        np.testing.assert_allclose(got, of_all, rtol=0, atol=1e-9)
        got = np.stack([each.d_prime_without, each.average_precision_without], axis=1)
        np.testing.assert_allclose(got, wanted[each.clips, k], rtol=0, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no class is left
        means = np.nanmean(wanted, axis=1)
    for metric, column in (("d_prime", 0), ("average_precision", 1)):
        got = leave_one_out.mean(found, metric, num_clips=num_clips)
        np.testing.assert_allclose(got.without, means[:, column], rtol=0, atol=1e-9)
    if name == "two samples":
        assert np.isnan(means).any()  # no class keeps both kinds of labels


def test_average_precision_can_be_left_out():
    labels, scores, clip = PROBLEMS["frames"]
    whole, part = (
        list(leave_one_out.classes(labels, scores, clip=clip, precision=precision))
        for precision in (True, False)
    )
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a.d_prime_without, b.d_prime_without)
        assert np.isnan([b.average_precision, *b.average_precision_without]).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_lwlrap_without_a_clip_is_scikit_learn_s_on_the_others(name):
    labels, scores, clip = PROBLEMS[name]
    ranking = metrics.ranking_precision(labels, scores)
    got = leave_one_out.lwlrap(ranking, clip=clip, num_clips=clip.max() + 1)
    for c, value in enumerate(got.without):
        positive, score = labels[clip != c] == 1, scores[clip != c]
        wanted = sk.label_ranking_average_precision_score(
            positive, score, sample_weight=positive.sum(axis=1)
        )
        assert value == pytest.approx(wanted)
    assert got.value == metrics.lwlrap(labels, scores)


def test_few_classes_with_few_positives_leave_few_degrees_of_freedom():
    def changing_by(size, positives):
        without = 1 + size * np.array([1.0, -1.0])
        return leave_one_out.ClassLeftOut(np.arange(2), 50, positives, 1.0, 1.0, without, without)

    def degrees(*classes):
        return leave_one_out.mean(list(classes), "d_prime", num_clips=2).degrees

    assert degrees(changing_by(0.1, 5)) == pytest.approx(4)
    assert degrees(changing_by(0.1, 5), changing_by(0.1, 5), None) == pytest.approx(8)
    # Variances of 0.08 and 0.02: 0.1^2 / (0.08^2 / 2 + 0.02^2 / 40).
    assert degrees(changing_by(0.2, 3), changing_by(0.1, 41)) == pytest.approx(0.01 / 0.00321)
    assert degrees(changing_by(0.0, 5)) == np.inf
