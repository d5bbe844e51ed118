"""Paired differences against DeLong's test, clips really drawn again, Welch's test and scipy."""

import numpy as np
import pytest
from scipy import stats

from audioset_strong.evaluation import leave_one_out, metrics, paired
from audioset_strong.evaluation.leave_one_out import LeftOut


def two_models(seed, *, clips, classes, frames=1, better=0.4, unknown=0.2):
    """Labels, the scores of two models that share most of their noise, and clips."""
    rng = np.random.default_rng(seed)
    clip = np.repeat(np.arange(clips), frames)
    labels = rng.integers(0, 2, (clips * frames, classes)).astype(np.int8)
    shared = rng.normal(size=(clips, classes))[clip] + rng.normal(size=labels.shape)
    scores = [
        gain * labels + shared + 0.7 * rng.normal(size=labels.shape) for gain in (1 + better, 1)
    ]
    labels[rng.random(labels.shape) < unknown] = -1
    return labels, scores, clip


def classes_of(labels, scores, clip):
    return [list(leave_one_out.classes(labels, each, clip=clip)) for each in scores]


def means_of(found, num_clips):
    return [leave_one_out.mean(each, "d_prime", num_clips=num_clips) for each in found]


def delong_error(label, first, second):
    """The standard error of a difference of two AUCs, by DeLong et al. 1988, pair by pair."""

    def placements(score):
        positive, negative = score[label == 1].tolist(), score[label == 0].tolist()
        inside = [[(p > n) + (p == n) / 2 for n in negative] for p in positive]
        return np.mean(inside, axis=1), np.mean(inside, axis=0)

    (first_10, first_01), (second_10, second_01) = placements(first), placements(second)
    of_positives, of_negatives = first_10 - second_10, first_01 - second_01
    return np.sqrt(
        of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    )


def test_the_error_of_a_class_s_difference_is_delong_s():
    labels, scores, clip = two_models(0, clips=400, classes=1)
    # At AUCs that are alike, d' follows the AUC by one factor (the delta method).
    known = labels[:, 0] >= 0
    label, first, second = labels[known, 0], scores[0][known, 0], scores[1][known, 0]
    computed = [metrics.class_metrics(labels, each).auc[0] for each in scores]
    slope = np.mean([np.sqrt(2) / stats.norm.pdf(stats.norm.ppf(auc)) for auc in computed])
    found = paired.class_tests(*[[each] for each in classes_of(labels, scores, clip)])
    wanted = slope * delong_error(label, first, second)
    assert found["error"].item() == pytest.approx(wanted, rel=0.03)
    assert found["difference"].item() == pytest.approx(
        np.sqrt(2) * np.subtract(*stats.norm.ppf(computed))
    )
    degrees = min((label == 1).sum(), (label == 0).sum()) - 1
    p_value = 2 * stats.t.sf(found["difference"].item() / wanted, degrees)
    assert found["p_value"].item() == pytest.approx(p_value, rel=0.3)


def test_the_interval_of_a_mean_difference_is_that_of_clips_really_drawn_again():
    clips, frames = 120, 3
    labels, scores, clip = two_models(1, clips=clips, classes=6, frames=frames)
    means = means_of(classes_of(labels, scores, clip), clips)
    found = paired.difference([means[0]], [means[1]])
    of_all = [metrics.class_metrics(labels, each).means()["d_prime"] for each in scores]
    assert found.value == pytest.approx(of_all[0] - of_all[1])
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(500):
        chosen = rng.integers(0, clips, clips)
        rows = (frames * chosen[:, np.newaxis] + np.arange(frames)).ravel()
        first, second = (
            metrics.class_metrics(labels[rows], each[rows]).means()["d_prime"] for each in scores
        )
        drawn.append(first - second)
    # Less its bias, and 1.96 standard deviations wide to each side.
    centre = 2 * found.value - np.mean(drawn)
    assert (found.low + found.high) / 2 == pytest.approx(centre, abs=0.25 * np.std(drawn))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)
    # Unpaired, it would be wider: the clips are hard for both models.
    alone = [paired.difference([mean], [LeftOut(0.0, np.zeros(clips))]) for mean in means]
    assert found.high - found.low < 0.8 * np.hypot(*[each.high - each.low for each in alone])


def test_lwlrap_is_compared_on_the_same_clips_too():
    labels, scores, clip = two_models(3, clips=60, classes=8)
    left_out = [
        leave_one_out.lwlrap(metrics.ranking_precision(labels, each), clip=clip, num_clips=60)
        for each in scores
    ]
    found = paired.difference([left_out[0]], [left_out[1]])
    wanted = [
        [metrics.lwlrap(labels[clip != c], each[clip != c]) for c in range(60)] for each in scores
    ]
    pseudo = 60 * found.value - 59 * np.subtract(*wanted)
    interval = stats.t.interval(0.95, 59, pseudo.mean(), stats.sem(pseudo))
    assert (found.low, found.high) == pytest.approx(interval)


def test_runs_that_differ_widen_the_interval_as_in_welch_s_test():
    def runs(values):
        return [LeftOut(value, np.full(40, value)) for value in values]

    first, second = [1.30, 1.42, 1.39], [1.10, 1.13, 1.05, 1.08]
    found = paired.difference(runs(first), runs(second))
    wanted = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.value == pytest.approx(np.mean(first) - np.mean(second))
    assert found.runs == (3, 4)


def test_clips_and_runs_add_up():
    rng = np.random.default_rng(4)
    without = rng.normal(size=50) / 49
    without -= without.mean()
    first = [LeftOut(value, value + without) for value in (1.0, 1.2)]
    second = [LeftOut(0.5, np.full(50, 0.5))]
    found = paired.difference(first, second)
    of_clips = stats.sem(49 * without)
    of_runs = 0.1  # 0.2 / sqrt(2) / sqrt(2)
    total = of_clips**2 + of_runs**2
    degrees = total**2 / (of_clips**4 / 49 + of_runs**4 / 1)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(total)
    assert (found.low, found.high) == pytest.approx((0.6 - half, 0.6 + half))


def test_classes_are_tested_together_and_rare_ones_not():
    labels, (first, second), clip = two_models(5, clips=200, classes=12, better=0.0)
    first[:, :3] += 2 * (labels[:, :3] == 1)  # three classes gain, one loses
    second[:, 3] += 2 * (labels[:, 3] == 1)
    for k, kind in ((4, 1), (5, 0)):  # four clips with positives, four with negatives
        of_kind = np.nonzero(labels[:, k] == kind)[0]
        labels[of_kind[4:], k] = -1
    labels[:, 6] = -1
    found = paired.class_tests(*[[each] for each in classes_of(labels, (first, second), clip)])
    assert found["class"].tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    found = found.set_index("class")
    assert found["p_value"].isna().to_numpy().nonzero()[0].tolist() == [4, 5]
    tested = found["p_value"].dropna()
    np.testing.assert_allclose(
        found["false_discovery_rate"].dropna(), stats.false_discovery_control(tested)
    )
    beyond_chance = found.index[found["false_discovery_rate"] <= 0.05].tolist()
    assert beyond_chance == [0, 1, 2, 3]
    assert (found.loc[:2, "difference"] > 0).all()
    assert found.loc[3, "difference"] < 0
    assert found.loc[4, "clips_positive"] == 4


def test_classes_of_runs_that_differ_are_less_certain():
    labels, scores, clip = two_models(8, clips=150, classes=1)
    other = scores[0] + 3 * np.random.default_rng(9).normal(size=labels.shape)
    (first,), (second,), (worse,) = ([each] for each in classes_of(labels, [*scores, other], clip))
    alone = paired.class_tests([first], [second])
    twice = paired.class_tests([first, first], [second])
    np.testing.assert_allclose(twice["error"], alone["error"])
    varied = paired.class_tests([first, worse], [second])
    spread = (first[0].d_prime - worse[0].d_prime) / 2  # of two values over the root of 2
    assert varied["error"].item() > abs(spread)


def test_false_discovery_rates_are_those_of_benjamini_and_hochberg():
    # Their example of 1995: with 15 p-values, the first four are below 0.05 * rank / 15.
    p_values = np.array(
        [
            *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240),
            *(0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
        ]
    )
    shuffled = np.random.default_rng(6).permutation(p_values)
    rates = paired.false_discovery_rates(shuffled)
    assert np.sort(shuffled[rates <= 0.05]).tolist() == p_values[:4].tolist()
    np.testing.assert_allclose(rates, stats.false_discovery_control(shuffled))
    with_gaps = np.array([np.nan, 0.02, np.nan, 0.01])
    assert paired.false_discovery_rates(with_gaps)[[1, 3]].tolist() == [0.02, 0.02]
    assert paired.false_discovery_rates(np.full(2, np.nan)).tolist() == pytest.approx(
        [np.nan, np.nan], nan_ok=True
    )


def test_rows_without_any_difference_are_not_beyond_chance():
    labels, scores, clip = two_models(7, clips=100, classes=4)
    found = classes_of(labels, scores[:1], clip)
    table = paired.class_tests(found, found)
    assert table["p_value"].tolist() == [1.0] * 4
    assert table["false_discovery_rate"].tolist() == [1.0] * 4
