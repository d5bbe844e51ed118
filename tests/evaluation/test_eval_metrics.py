"""Weak eval and strong eval, on cases small enough to be worked out by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from audioset_strong.core import errors
from audioset_strong.evaluation import eval_metrics, intervals, leave_one_out, scoring

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
        are_logits=False,
    )


def of_class_a(*frames):
    """Scores `[clips, 3, 3]`: those given for A, 0.5 for B, 0.1 for C."""
    return [[[score, 0.5, 0.1] for score in clip] for clip in frames]


def test_a_clip_s_score_is_the_mean_over_its_valid_frames():
    scores = make(of_class_a([0.9, 0.7, 0.2], [0.1, 0.2, 0.3], [0.4, 0.8, 0.6]), valid={0: 2, 2: 1})
    np.testing.assert_allclose(scores.clip_scores()[:, A], [0.8, 0.2, 0.4], rtol=1e-6)


def test_what_float32_rounds_to_1_is_still_ranked():
    """Logits of 18 and more, whose probabilities are all 1.0 in float32."""
    logits = np.array([[[18, 20, -1], [19, 30, -1], [17.5, 18, -1]], [[25, 17.5, -1]] * 3])
    # B leads in all frames of clip 0, A in those of clip 1.
    labelled = {
        "positive": [(0, B), (1, A)],
        "negative": [(0, A), (1, B)],
        "frame_positive": [(0, 1, B), (1, 2, A)],
    }
    kept = dataclasses.replace(make(logits, **labelled), are_logits=True)
    rounded = make(special.expit(logits.astype(np.float32)), **labelled)
    assert set(np.unique(rounded.frame_scores[:, :, :2])) == {1.0}
    for kind in eval_metrics.KINDS:
        assert eval_metrics.measure(kept, kind, name=kind).values["lwlrap"] == 1
        assert eval_metrics.measure(rounded, kind, name=kind).values["lwlrap"] == 0.5
    assert eval_metrics.measure(kept, "weak", name="weak").values["auc"] == 1
    assert eval_metrics.measure(rounded, "weak", name="weak").values["auc"] == 0.5


@pytest.mark.parametrize("kind", ["weak", "strong"])
def test_logits_and_their_probabilities_give_the_same_metrics(kind):
    example = weak_example() if kind == "weak" else strong_example()
    logits = np.random.default_rng(0).normal(size=example.frame_scores.shape) * 4
    as_logits, as_probabilities = (
        dataclasses.replace(example, frame_scores=values, are_logits=are_logits)
        for values, are_logits in ((logits, True), (special.expit(logits), False))
    )
    got, wanted = (
        eval_metrics.measure(scores, kind, name=kind, with_intervals=True)
        for scores in (as_logits, as_probabilities)
    )
    assert got.values == wanted.values
    pd.testing.assert_frame_equal(got.per_class, wanted.per_class)


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
    assert list(table["negatives_explicit"]) == [1, 0, 0]
    assert table.loc["/m/c", ["positives", "negatives"]].eq(0).all()
    assert table.loc["/m/c"].filter(regex="auc|d_prime|precision|lwlrap").isna().all()


def test_without_explicit_negatives_there_is_only_the_d_prime_on_implicit_ones():
    scores = dataclasses.replace(weak_example(), negatives_known=np.zeros(5, bool))
    values = eval_metrics.measure(scores, "weak", name="weak_eval").values
    assert not {"d_prime", "auc", "mAP", "classes"} & set(values)
    assert "d_prime_implicit" in values
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


def without_explicit_negatives():
    scores = dataclasses.replace(strong_example(), negatives_known=np.zeros(5, bool))
    scores.frame_labels[2] = -1
    return scores


def test_without_an_explicit_negative_no_metric_of_the_strong_eval_has_the_paper_s_name():
    scores = without_explicit_negatives()
    got = eval_metrics.measure(scores, "strong", name="strong_eval", with_intervals=True)
    complementary = (2 + 1 + 1) / 6  # 0.9, 0.5, 0.6 against 0.7, 0.2
    values = got.values
    assert values["d_prime_complementary"] == pytest.approx((d_prime(complementary) + 0) / 2)
    assert values["auc_complementary"] == pytest.approx((complementary + 0.5) / 2)
    assert (values["classes_explicit"], values["classes_complementary"]) == (0, 2)
    on_known = {"d_prime", "d_prime_low", "d_prime_high", "auc", "mAP", "classes"}
    assert not on_known & set(values)
    assert {"mAP_complementary", "lwlrap", "d_prime_implicit"} <= set(values)
    assert set(got.left_out.metrics) == {
        "lwlrap",
        *(f"{name}{end}" for name in ("d_prime", "mAP") for end in ("_complementary", "_implicit")),
    }
    assert got.per_class["d_prime_complementary"][A] == pytest.approx(d_prime(complementary))
    assert "d_prime" not in got.per_class
    assert list(got.per_class["negatives_explicit"]) == [0, 0, 0]
    assert eval_metrics.class_d_prime(got.per_class) == "d_prime_complementary"


def test_the_metrics_of_a_model_are_all_that_is_measured_but_counts_and_bounds():
    names = set()
    for scores, kind in (
        (weak_example(), "weak"),
        (strong_example(), "strong"),
        (without_explicit_negatives(), "strong"),
    ):
        names |= eval_metrics.measure(scores, kind, name=kind, with_intervals=True).values.keys()
    counts = {name for name in names if name.startswith(("classes", "samples"))}
    bounds = {name for name in names if name.endswith(("_low", "_high"))}
    assert names - counts - bounds == eval_metrics.METRICS


def test_an_explicit_negative_of_a_class_without_positives_changes_nothing_of_that():
    scores = dataclasses.replace(strong_example(), negatives_known=np.array([0, 0, 0, 1, 0], bool))
    scores.frame_labels[2] = -1
    scores.negative_labels[3, C] = True
    scores.frame_labels[3, :, C] = 0
    values = eval_metrics.measure(scores, "strong", name="strong_eval").values
    assert "d_prime" not in values
    assert values["classes_explicit"] == 0


def test_explicit_and_complementary_negatives_can_count_alike_whatever_their_numbers():
    scores = strong_example()
    got = eval_metrics.measure(
        scores, "strong", name="strong_eval", with_intervals=True, negative_weighting="equal"
    )
    # A: three explicit negatives and two complementary ones. B has complementary ones alone.
    explicit, complementary = (3 + 2 + 2) / 9, (2 + 1 + 1) / 6
    equal = (explicit + complementary) / 2
    assert got.per_class["auc"][A] == pytest.approx(equal)
    assert got.values["d_prime"] == pytest.approx((d_prime(equal) + 0) / 2)
    # What has intervals would be that of all alike.
    assert set(got.left_out.metrics) == {"lwlrap", "d_prime_implicit", "mAP_implicit"}
    assert not got.left_out.classes
    # Nothing else changes, and nothing of the weak eval.
    pooled = eval_metrics.measure(scores, "strong", name="strong_eval", with_intervals=True).values
    on_known = ("d_prime", "d_prime_of_mean_auc", "auc", "mAP", "d_prime_low", "d_prime_high")
    for name in pooled.keys() - set(on_known):
        assert got.values[name] == pooled[name], name
    weak = [
        eval_metrics.measure(weak_example(), "weak", name="w", negative_weighting=each).values
        for each in eval_metrics.WEIGHTINGS
    ]
    assert weak[0] == weak[1]


def test_lwlrap_of_the_strong_eval_ranks_all_classes_of_a_frame():
    values = eval_metrics.measure(strong_example(), "strong", name="strong_eval").values
    # A leads where it scores 0.9 and 0.6, ties with B (0.5) at rank 2, and leads B's frame.
    assert values["lwlrap"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2) / 4)
    # B's frame ranks B alone, for nothing is known of A there.
    assert values["lwlrap_known"] == pytest.approx(1)


def many_clips(num_clips=60):
    """The clips of both examples and others like them, without the frames that do not count."""
    rng = np.random.default_rng(0)
    has_a, has_b = rng.random((2, num_clips)) < 0.5
    scores = rng.random((num_clips, 3, 3))
    scores[has_a, :, A] += 0.3
    return make(
        scores,
        valid={0: 2, 3: 1},
        positive=[(i, A) for i in np.nonzero(has_a)[0]] + [(i, B) for i in np.nonzero(has_b)[0]],
        negative=[(i, A) for i in np.nonzero(~has_a)[0]],
        frame_positive=[(i, i % 2, A) for i in np.nonzero(has_a)[0]],
        weak=range(1, num_clips),
        strong=range(num_clips - 1),
    )


@pytest.mark.parametrize("kind", ["weak", "strong"])
def test_intervals_are_those_of_clips_left_out(kind):
    scores = many_clips()
    values = eval_metrics.measure(scores, kind, name="set", with_intervals=True).values
    counted = range(1, 60) if kind == "weak" else range(59)

    def without(clip):
        known = f"{kind}_known"
        left = getattr(scores, known) & (np.arange(60) != clip)
        return eval_metrics.measure(
            dataclasses.replace(scores, **{known: left}), kind, name="set"
        ).values

    left_out = [without(clip) for clip in counted]
    for name in ("d_prime", "d_prime_implicit", "mAP", "mAP_implicit", "lwlrap"):
        each = leave_one_out.LeftOut(values[name], np.array([other[name] for other in left_out]))
        centre, error = intervals.corrected(each)
        low, high = values[f"{name}_low"], values[f"{name}_high"]
        assert (low + high) / 2 == pytest.approx(centre)
        assert low <= values[name] <= high
        if name == "lwlrap":
            degrees = len(counted) - 1
        elif name == "d_prime":  # of A alone: those of the rarer kind of clips
            samples = eval_metrics.eval_samples(scores, kind, name="set")
            of_kinds = [np.unique(samples.clip[samples.labels[:, A] == value]) for value in (0, 1)]
            degrees = min(map(len, of_kinds)) - 1
        else:
            continue
        assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, degrees) * error)


@pytest.mark.parametrize("kind", ["weak", "strong"])
def test_few_clips_have_no_intervals(kind):
    values = eval_metrics.measure(many_clips(30), kind, name="set", with_intervals=True).values
    assert values["samples"] > 0
    assert not any(name.endswith(("_low", "_high")) for name in values)


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
