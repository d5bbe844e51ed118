"""Bootstrap: the drawn weights against clips really repeated, and intervals that cover."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from audioset_strong.evaluation import intervals, metrics


def frames(seed, clips=40, classes=5, levels=None, unknown=0.3):
    """Scores, labels and clips of frames: one to four a clip, alike within a clip."""
    rng = np.random.default_rng(seed)
    clip = np.repeat(np.arange(clips), rng.integers(1, 5, clips))
    rng.shuffle(clip)
    labels = rng.integers(0, 2, (clips, classes))[clip].astype(np.int8)
    scores = labels + rng.normal(size=(clips, classes))[clip] + rng.normal(size=labels.shape)
    if levels:
        scores = np.round(scores * levels) / levels
    labels[rng.random(labels.shape) < unknown] = -1
    return scores, labels, clip


def repeated(array, clip, drawn):
    """The samples of a replicate: those of each clip as often as it was drawn."""
    return np.repeat(array, drawn[clip], axis=0)


def d_prime_by_resampling(scores, labels, clip, weights):
    """Mean d' of each replicate, from samples really repeated and scikit-learn's AUC."""
    values = []
    for drawn in weights.T:
        d_primes = []
        for k in range(scores.shape[1]):
            label, score = (repeated(array[:, k], clip, drawn) for array in (labels, scores))
            label, score = label[label >= 0], score[label >= 0]
            if len(set(label)) == 2:
                auc = sk.roc_auc_score(label, score)
                margin = 0.5 / ((label == 1).sum() * (label == 0).sum())
                auc = min(max(auc, margin), 1 - margin) if auc in (0, 1) else auc
                d_primes.append(np.sqrt(2) * stats.norm.ppf(auc))
        values.append(np.mean(d_primes) if d_primes else np.nan)
    return np.array(values)


def lwlrap_by_resampling(scores, labels, clip, weights):
    values = []
    for drawn in weights.T:
        label, score = (repeated(array, clip, drawn) for array in (labels, scores))
        count = (label == 1).sum(axis=1)
        if count.sum():
            values.append(
                sk.label_ranking_average_precision_score(label == 1, score, sample_weight=count)
            )
        else:
            values.append(np.nan)
    return np.array(values)


PROBLEMS = {
    "frames": frames(0),
    "tied": frames(1, levels=1),
    "fully labelled": frames(2, unknown=0.0),
    "few clips": frames(3, clips=3),
    "mostly unknown": frames(4, clips=12, unknown=0.9),
}


@pytest.mark.parametrize("at_a_time", [3, 1000])
@pytest.mark.parametrize("name", PROBLEMS)
def test_replicates_of_d_prime_are_those_of_clips_really_repeated(name, at_a_time, monkeypatch):
    monkeypatch.setattr(intervals, "_REPLICATES_AT_A_TIME", at_a_time)
    scores, labels, clip = PROBLEMS[name]
    weights = intervals.draw(clip.max() + 1, 20, seed=7)
    got = intervals.d_prime(labels, scores, clip=clip, weights=weights)
    wanted = d_prime_by_resampling(scores, labels, clip, weights)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)
    if name == "few clips":
        assert np.isnan(wanted).any()  # one clip drawn thrice


@pytest.mark.parametrize("name", PROBLEMS)
def test_replicates_of_lwlrap_are_those_of_clips_really_repeated(name):
    scores, labels, clip = PROBLEMS[name]
    weights = intervals.draw(clip.max() + 1, 20, seed=7)
    got = intervals.lwlrap(metrics.ranking_precision(labels, scores), clip=clip, weights=weights)
    wanted = lwlrap_by_resampling(scores, labels, clip, weights)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)


def test_each_clip_drawn_once_gives_the_metrics_themselves():
    scores, labels, clip = PROBLEMS["frames"]
    once = np.ones((clip.max() + 1, 1), np.int64)
    means = metrics.class_metrics(labels, scores).means()
    ranking = metrics.ranking_precision(labels, scores)
    assert intervals.d_prime(labels, scores, clip=clip, weights=once)[0] == pytest.approx(
        means["d_prime"]
    )
    assert intervals.lwlrap(ranking, clip=clip, weights=once)[0] == pytest.approx(ranking.overall())


def test_draws_are_multinomial_and_fixed_by_their_seed():
    weights = intervals.draw(10, 4000, seed=1)
    assert weights.shape == (10, 4000)
    np.testing.assert_array_equal(weights.sum(axis=0), 10)
    # Each weight is binomial: 10 draws of probability 1/10.
    wanted = stats.binom.pmf([0, 1, 2], 10, 0.1)
    shares = [(weights == count).mean() for count in (0, 1, 2)]
    np.testing.assert_allclose(shares, wanted, atol=0.01)
    np.testing.assert_array_equal(weights, intervals.draw(10, 4000, seed=1))
    assert (weights != intervals.draw(10, 4000, seed=2)).any()


def test_the_interval_is_that_of_the_percentiles():
    values = np.append(np.arange(101.0), [np.nan, np.nan])
    np.random.default_rng(0).shuffle(values)
    assert intervals.interval(values) == pytest.approx((2.5, 97.5))
    assert intervals.interval(values, level=0.5) == pytest.approx((25, 75))
    assert np.isnan(intervals.interval(np.full(3, np.nan))).all()


def test_intervals_cover_what_the_scores_are_drawn_from():
    true, covered, experiments = 1.0, {"clips": 0, "frames": 0}, 100
    rng = np.random.default_rng(0)
    for _ in range(experiments):
        # Clips of four frames that share most of their noise.
        label = np.repeat(rng.integers(0, 2, 60), 4)
        shared = np.repeat(rng.normal(size=60), 4)
        noise = 0.9 * shared + np.sqrt(1 - 0.9**2) * rng.normal(size=240)
        scores = (true * label + noise)[:, np.newaxis]
        labels = label[:, np.newaxis].astype(np.int8)
        for unit, owner in (("clips", np.repeat(np.arange(60), 4)), ("frames", np.arange(240))):
            weights = intervals.draw(owner.max() + 1, 100)
            low, high = intervals.interval(
                intervals.d_prime(labels, scores, clip=owner, weights=weights)
            )
            covered[unit] += low <= true <= high
    assert 88 <= covered["clips"] <= 99
    # Frames taken for independent would promise too much: why clips are drawn.
    assert covered["frames"] < 80
