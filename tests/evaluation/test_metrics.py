"""Metrics against scikit-learn, and against values worked out by hand."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from scipy import integrate, stats
from sklearn import metrics as sk

from audioset_strong.core import errors
from audioset_strong.evaluation import metrics

NAN = float("nan")
few = hypothesis.settings(max_examples=60, deadline=None)


def problem(seed, samples=400, classes=7, levels=None, unknown=0.0, rate=0.2):
    """Scores and labels; `levels` distinct scores make ties, a share of `unknown` is masked."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((samples, classes)) < rate).astype(np.int8)
    scores = (rng.normal(size=labels.shape) + labels).astype(np.float32)
    if levels:
        scores = np.round(scores * levels / 4) / levels
    labels[rng.random(labels.shape) < unknown] = -1
    return scores, labels


PROBLEMS = {
    "random": problem(0),
    "tied": problem(1, levels=3),
    "nearly constant": problem(2, levels=1),
    "masked": problem(3, unknown=0.5),
    "masked and tied": problem(4, unknown=0.8, levels=4),
    "few samples": problem(5, samples=9, classes=40, unknown=0.3),
    "rare positives": problem(6, samples=3000, rate=0.002),
    "mostly positive": problem(7, rate=0.95, levels=8),
    "float64": tuple(a.astype(d) for a, d in zip(problem(8), (np.float64, np.int64), strict=True)),
}
# Arrays that hypothesis fills: few distinct values, so that ties and empty classes are common.
shapes = st.tuples(st.integers(1, 12), st.integers(1, 5))
problems = shapes.flatmap(
    lambda shape: st.tuples(
        np_st.arrays(np.float32, shape, elements=st.sampled_from([-1.5, 0.0, 0.25, 3.0])),
        np_st.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1])),
    )
)


def by_class(scores, labels, function):
    """A scikit-learn metric of each class's known samples; NaN without positives or negatives."""
    values = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = label >= 0
        usable = len(set(label[known])) == 2
        values.append(function(label[known], score[known]) if usable else NAN)
    return np.array(values)


def sk_lwlrap(scores, labels):
    positive = labels == 1
    # SciPy 1.18 gives the ranks of float32 as float32, so that their quotients would be, too.
    return sk.label_ranking_average_precision_score(
        positive, scores.astype(np.float64), sample_weight=positive.sum(axis=1)
    )


def check_class_metrics(scores, labels):
    got = metrics.class_metrics(labels, scores)
    auc = by_class(scores, labels, sk.roc_auc_score)
    np.testing.assert_allclose(got.auc, auc, rtol=0, atol=1e-9)
    precision = by_class(scores, labels, sk.average_precision_score)
    np.testing.assert_allclose(got.average_precision, precision, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(got.positives, (labels == 1).sum(axis=0))
    np.testing.assert_array_equal(got.negatives, (labels == 0).sum(axis=0))
    inner = (auc > 0) & (auc < 1)
    np.testing.assert_allclose(
        got.d_prime[inner], np.sqrt(2) * stats.norm.ppf(auc[inner]), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_auc_average_precision_and_d_prime_are_those_of_scikit_learn_and_scipy(name):
    check_class_metrics(*PROBLEMS[name])


@few
@hypothesis.given(problems)
def test_auc_and_average_precision_hold_however_degenerate_the_labels(given):
    check_class_metrics(*given)


@pytest.mark.parametrize("name", PROBLEMS)
def test_two_parts_of_the_negatives_count_alike_as_with_scikit_learn_s_sample_weights(name):
    scores, labels = PROBLEMS[name]
    first = np.random.default_rng(0).random(labels.shape) < np.linspace(0, 1, labels.shape[1])
    got = metrics.class_metrics(labels, scores, equal_parts=first)
    plain = metrics.class_metrics(labels, scores)
    for k in range(labels.shape[1]):
        known = labels[:, k] >= 0
        label, score, part = labels[known, k], scores[known, k], first[known, k]
        if len(set(label)) < 2:
            assert np.isnan(got.auc[k])
            continue
        sizes = [np.count_nonzero((label == 0) & (part == side)) for side in (True, False)]
        if 0 in sizes:
            assert (got.auc[k], got.average_precision[k]) == (
                plain.auc[k],
                plain.average_precision[k],
            )
            continue
        weight = np.where(part, 0.5 / sizes[0], 0.5 / sizes[1]) * sum(sizes)
        weight[label == 1] = 1
        for value, function in (
            (got.auc[k], sk.roc_auc_score),
            (got.average_precision[k], sk.average_precision_score),
        ):
            assert value == pytest.approx(function(label, score, sample_weight=weight), abs=1e-9)
        each = [
            sk.roc_auc_score(
                label[(label == 1) | (part == side)], score[(label == 1) | (part == side)]
            )
            for side in (True, False)
        ]
        assert got.auc[k] == pytest.approx(np.mean(each), abs=1e-9)
    with pytest.raises(errors.InputError, match="equal_parts of shape"):
        metrics.class_metrics(labels, scores, equal_parts=first[:1])


def test_two_parts_that_are_both_perfect_or_both_reversed_are_at_the_limit_exactly():
    scores = np.concatenate([np.full(7, 0.9), np.linspace(0.1, 0.5, 13)])[:, np.newaxis]
    labels = (scores > 0.6).astype(np.int8)
    part = np.arange(20)[:, np.newaxis] % 3 == 0
    for sign, auc in ((1, 1.0), (-1, 0.0)):
        assert metrics.class_metrics(labels, sign * scores, equal_parts=part).auc.tolist() == [auc]


@pytest.mark.parametrize("name", PROBLEMS)
def test_lwlrap_is_scikit_learn_s_with_samples_weighted_by_their_positives(name):
    scores, labels = PROBLEMS[name]
    assert metrics.lwlrap(labels, scores) == pytest.approx(sk_lwlrap(scores, labels), abs=1e-9)


@few
@hypothesis.given(problems)
def test_lwlrap_holds_however_degenerate_the_labels(given):
    scores, labels = given
    if scores.shape[1] == 1:  # which scikit-learn takes for no ranking
        scores, labels = np.repeat(scores, 2, axis=1), np.repeat(labels, 2, axis=1)
    if (labels == 1).any():
        assert metrics.lwlrap(labels, scores) == pytest.approx(sk_lwlrap(scores, labels), abs=1e-9)
    else:
        assert np.isnan(metrics.lwlrap(labels, scores))


@pytest.mark.parametrize("name", ["masked", "masked and tied", "few samples"])
def test_lwlrap_of_known_classes_is_that_of_samples_without_the_unknown_ones(name):
    scores, labels = PROBLEMS[name]
    total, count = 0.0, 0
    for score, label in zip(scores, labels, strict=True):
        known = label >= 0
        positives = int((label == 1).sum())
        if positives:
            # A class below all others, so that even one known class is a ranking.
            score, label = np.append(score[known], -99), np.append(label[known], 0)
            total += positives * sk.label_ranking_average_precision_score([label == 1], [score])
            count += positives
    got = metrics.lwlrap(labels, scores, known_only=True)
    assert got == pytest.approx(total / count, abs=1e-9)


def test_lwlrap_by_hand():
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.2, 0.1]])
    labels = np.array([[0, 1, 0, 1], [1, 0, 0, 1]])
    # Ranks 2 and 4 hold 1 and 2 positives; the tie puts class 0 at rank 2; rank 4 holds 2.
    ranking = metrics.ranking_precision(labels, scores)
    np.testing.assert_array_equal(ranking.sample, [0, 0, 1, 1])
    np.testing.assert_array_equal(ranking.label, [1, 3, 0, 3])
    np.testing.assert_allclose(ranking.precision, [1 / 2, 2 / 4, 1 / 2, 2 / 4])
    scores[1, 1] = 0.4
    ranking = metrics.ranking_precision(labels, scores)
    np.testing.assert_allclose(ranking.per_class(), [1, 1 / 2, NAN, 1 / 2])
    assert ranking.overall() == pytest.approx((1 / 2 + 2 / 4 + 1 + 2 / 4) / 4)


@pytest.mark.parametrize("name", PROBLEMS)
def test_lwlrap_of_the_classes_weighted_by_their_positives_is_the_overall_one(name):
    scores, labels = PROBLEMS[name]
    ranking = metrics.ranking_precision(labels, scores)
    weights = (labels == 1).sum(axis=0)
    per_class = ranking.per_class()
    np.testing.assert_array_equal(np.isnan(per_class), weights == 0)
    assert np.nansum(per_class * weights) / weights.sum() == pytest.approx(ranking.overall())


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("name", ["tied", "masked"])
def test_no_digit_depends_on_how_the_work_is_cut(name, chunk, monkeypatch):
    scores, labels = PROBLEMS[name]
    whole = metrics.class_metrics(labels, scores)
    ranking = metrics.ranking_precision(labels, scores)
    monkeypatch.setattr(metrics, "_CLASSES_AT_A_TIME", chunk)
    monkeypatch.setattr(metrics, "_COMPARISONS_AT_A_TIME", chunk)
    cut = metrics.class_metrics(labels, scores)
    for field in ("positives", "negatives", "auc", "d_prime", "average_precision"):
        np.testing.assert_array_equal(getattr(cut, field), getattr(whole, field))
    np.testing.assert_array_equal(
        metrics.ranking_precision(labels, scores).precision, ranking.precision
    )


@pytest.mark.parametrize("name", ["tied", "masked"])
def test_a_class_does_not_depend_on_the_others_nor_on_the_order_of_samples(name):
    scores, labels = PROBLEMS[name]
    whole = metrics.class_metrics(labels, scores)
    order = np.random.default_rng(9).permutation(len(scores))
    alone = metrics.class_metrics(labels[order, 2:3], scores[order, 2:3])
    assert alone.auc[0] == whole.auc[2]
    assert alone.d_prime[0] == whole.d_prime[2]
    assert alone.average_precision[0] == pytest.approx(whole.average_precision[2], abs=1e-15)


@few
@hypothesis.given(problems)
def test_reversed_scores_reverse_auc_and_d_prime_exactly(given):
    scores, labels = given
    straight, reverse = (metrics.class_metrics(labels, s) for s in (scores, -scores))
    np.testing.assert_allclose(reverse.auc, 1 - straight.auc, rtol=0, atol=1e-15)
    np.testing.assert_allclose(reverse.d_prime, -straight.d_prime, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("auc", "d_prime"),
    [
        # Phi(1 / sqrt 2), Phi(sqrt 2), Phi(1): from tables of the normal distribution.
        (0.5, 0.0),
        (0.7602499389065233, 1.0),
        (0.9213503964748574, 2.0),
        (0.8413447460685429, 1.4142135623730951),
        (1 - 0.7602499389065233, -1.0),
        (0.0, -np.inf),
        (1.0, np.inf),
        (NAN, NAN),
    ],
)
def test_d_prime_by_hand(auc, d_prime):
    assert metrics.d_prime(auc) == pytest.approx(d_prime, abs=1e-12, nan_ok=True)


def test_d_prime_is_the_distance_of_two_unit_normals():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200_000)[:, np.newaxis]
    scores = rng.normal(size=labels.shape) + 1.39 * labels
    assert metrics.class_metrics(labels, scores).d_prime[0] == pytest.approx(1.39, abs=0.02)


def test_a_perfect_class_is_taken_half_a_pair_from_the_limit():
    scores = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [4.0, 2.0], [5.0, 1.0]])
    labels = np.array([[0, 0], [0, 0], [0, 0], [1, 1], [1, 1]])
    got = metrics.class_metrics(labels, scores)
    np.testing.assert_array_equal(got.auc, [1, 0])
    wanted = np.sqrt(2) * stats.norm.ppf(1 - 0.5 / 6)
    np.testing.assert_allclose(got.d_prime, [wanted, -wanted])
    # Half of one of the twelve pairs of both classes is what their mean AUC is short of the limit.
    perfect = metrics.class_metrics(labels, scores[:, [0, 0]])
    assert perfect.means()["d_prime_of_mean_auc"] == pytest.approx(
        np.sqrt(2) * stats.norm.ppf(1 - 0.5 / 12)
    )


def test_only_the_limits_are_corrected():
    near = [1e-9, 0.25, 1 - 1e-9]
    np.testing.assert_array_equal(metrics.d_prime(near, np.full(3, 6)), metrics.d_prime(near))


def test_constant_scores_are_chance():
    labels = np.array([[1], [0], [0], [0], [-1]])
    got = metrics.class_metrics(labels, np.zeros((5, 1)))
    assert got.auc[0] == 0.5
    assert got.d_prime[0] == 0
    assert got.average_precision[0] == 0.25


def test_classes_without_positives_or_negatives_are_counted_and_left_out_of_the_means():
    scores = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.2, 0.2, 0.5, 0.3]])
    labels = np.array([[1, 0, -1, 1], [0, 0, -1, 1], [0, -1, -1, 1]])
    got = metrics.class_metrics(labels, scores)
    np.testing.assert_array_equal(got.used, [True, False, False, False])
    np.testing.assert_array_equal(got.positives, [1, 0, 0, 3])
    np.testing.assert_array_equal(got.negatives, [2, 2, 0, 0])
    assert np.isnan(got.auc[1:]).all()
    assert np.isnan(got.d_prime[1:]).all()
    means = got.means()
    assert means["auc"] == got.auc[0] == 0
    assert means["mAP"] == pytest.approx(1 / 3)
    assert means["d_prime"] == pytest.approx(np.sqrt(2) * stats.norm.ppf(0.25))


def test_the_mean_of_d_prime_is_not_the_d_prime_of_the_mean():
    scores = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [0.0, 4.0], [1.5, 0.0]])
    labels = np.array([[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]])
    # Of its six pairs class 0 wins 3 + 1, and class 1 wins 1 + 2.
    got = metrics.class_metrics(labels, scores)
    np.testing.assert_allclose(got.auc, [4 / 6, 3 / 6])
    means = got.means()
    assert means["d_prime"] == pytest.approx(stats.norm.ppf(4 / 6) / np.sqrt(2))
    assert means["d_prime_of_mean_auc"] == pytest.approx(np.sqrt(2) * stats.norm.ppf(7 / 12))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_measure_gives_nothing(shape):
    got = metrics.class_metrics(np.zeros(shape, np.int8), np.zeros(shape))
    assert got.auc.shape == (shape[1],)
    assert not got.used.any()
    assert all(np.isnan(value) for value in got.means().values())
    assert np.isnan(metrics.lwlrap(np.zeros(shape, np.int8), np.zeros(shape)))


def test_one_sample_has_a_ranking_but_no_auc():
    scores, labels = np.array([[0.3, 0.9, 0.5]]), np.array([[1, 0, 0]])
    assert np.isnan(metrics.class_metrics(labels, scores).auc).all()
    assert metrics.lwlrap(labels, scores) == pytest.approx(1 / 3)


def test_arguments_are_left_as_they_are():
    scores, labels = (array.copy() for array in PROBLEMS["masked"])
    for array in (scores, labels):
        array.setflags(write=False)
    metrics.class_metrics(labels, scores)
    metrics.lwlrap(labels, scores, known_only=True)


@pytest.mark.parametrize("function", [metrics.class_metrics, metrics.ranking_precision])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.1, NAN]], [[0, 1]], "score nan at sample 0, class 1: must be finite"),
        ([[0.1, 0.2], [np.inf, 0.2]], [[0, 1], [0, 1]], "score inf at sample 1, class 0"),
        ([[0.1, 0.2]], [[0, 1, 1]], r"shape \(1, 3\) with scores of shape \(1, 2\)"),
        ([0.1, 0.2], [0, 1], r"must be \[samples, classes\]"),
        ([[0.1]], [[2]], "labels must be whole numbers: 1"),
        ([[0.1]], [[-2]], "labels must be whole numbers: 1"),
        ([[0.1]], [[0.5]], "labels must be whole numbers: 1"),
    ],
)
def test_bad_arrays_are_told(function, scores, labels, message):
    with pytest.raises(errors.InputError, match=message):
        function(np.array(labels), np.array(scores))


@pytest.mark.parametrize("ties", [False, True])
def test_curves_are_those_of_scikit_learn(ties):
    rng = np.random.default_rng(5)
    labels = rng.integers(-1, 2, 300).astype(np.int8)
    scores = rng.normal(size=300) + labels
    scores = np.round(scores, 1) if ties else scores
    curve = metrics.curve(labels, scores)
    known = labels >= 0
    false_positives, true_positives, thresholds = sk.roc_curve(
        labels[known], scores[known], drop_intermediate=False
    )
    wanted = {
        t: (r, f) for t, r, f in zip(thresholds, true_positives, false_positives, strict=True)
    }
    got = zip(curve.threshold, curve.recall, curve.false_positive_rate, strict=True)
    assert all(np.allclose(wanted[t], (r, f), atol=1e-12) for t, r, f in got)
    assert integrate.trapezoid(curve.recall, curve.false_positive_rate) == pytest.approx(
        sk.roc_auc_score(labels[known], scores[known]), abs=1e-12
    )
    precision, recall, at = sk.precision_recall_curve(labels[known], scores[known])
    by_threshold = dict(zip(at, zip(precision[:-1], recall[:-1], strict=True), strict=True))
    for t, p, r in list(zip(curve.threshold, curve.precision, curve.recall, strict=True))[1:]:
        assert by_threshold[t] == pytest.approx((p, r), abs=1e-12)
    first = np.unique(curve.recall, return_index=True)[1]
    average = np.diff(curve.recall[first]) @ curve.precision[first][1:]
    assert average == pytest.approx(sk.average_precision_score(labels[known], scores[known]))


def test_a_curve_keeps_the_points_that_shape_it():
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2.0])
    curve = metrics.curve(np.array([1, 0, 0, 0, 1, -1, 0, 0]), scores)
    np.testing.assert_array_equal(curve.threshold, [np.inf, 9, 6, 5, 2])
    np.testing.assert_array_equal(curve.recall, [0, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(curve.false_positive_rate, [0, 0, 0.6, 0.6, 1])
    np.testing.assert_array_equal(curve.precision, [1, 1, 0.25, 0.4, 2 / 7])


@pytest.mark.parametrize("labels", [[1, 1, -1], [0, 0, -1]])
def test_a_curve_of_one_kind_of_labels_is_refused(labels):
    with pytest.raises(errors.InputError, match="needs both positives and negatives"):
        metrics.curve(np.array(labels), np.arange(3.0))
