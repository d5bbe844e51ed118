"""Intervals: the jackknife by hand and against means and ratios, and intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from audioset_strong.evaluation import intervals, leave_one_out, metrics
from audioset_strong.evaluation.leave_one_out import LeftOut


def test_the_interval_of_a_mean_is_that_of_student():
    sample = np.random.default_rng(0).normal(size=40)
    without = (sample.sum() - sample) / 39
    got = intervals.interval(LeftOut(sample.mean(), without))
    wanted = stats.t.interval(0.95, 39, sample.mean(), stats.sem(sample))
    assert got == pytest.approx(wanted)
    narrow = intervals.interval(LeftOut(sample.mean(), without), level=0.5)
    assert narrow == pytest.approx(stats.t.interval(0.5, 39, sample.mean(), stats.sem(sample)))


def test_the_bias_of_a_variance_is_taken_away():
    # The jackknife turns the variance by n into the one by n - 1 (Quenouille's example).
    sample = np.random.default_rng(1).normal(size=35)
    without = np.array([np.delete(sample, i).var() for i in range(35)])
    centre, error = intervals.corrected(LeftOut(sample.var(), without))
    assert centre == pytest.approx(sample.var(ddof=1))
    assert intervals.interval(LeftOut(sample.var(), without)) == pytest.approx(
        (centre - stats.t.ppf(0.975, 34) * error, centre + stats.t.ppf(0.975, 34) * error)
    )


def test_there_is_no_interval_that_could_not_be_relied_on():
    rng = np.random.default_rng(2)
    without = 1 + rng.normal(size=30) / 100
    centred = without - without.mean() + 1
    assert intervals.interval(LeftOut(1.0, centred)) is not None
    assert intervals.interval(LeftOut(1.0, centred[:29])) is None  # too few clips
    assert intervals.interval(LeftOut(1.0, np.append(centred, np.nan))) is None
    # Each clip left out raises the value by a standard deviation: the bias is 30 of them.
    assert intervals.interval(LeftOut(1.0, centred + 0.01)) is None
    # A bias of 29 * 0.0005 is inside; where only a tenth of the half-width may be, it is too large.
    assert intervals.interval(LeftOut(1.0, centred + 0.0005)) is not None
    assert intervals.interval(LeftOut(1.0, centred + 0.0005, max_bias=0.1)) is None
    assert intervals.interval(LeftOut(1.0, np.ones(30))) == (1.0, 1.0)  # nothing varies


def data_set(rng, *, clips, classes, true, frames=4):
    """Frames of clips that share most of their noise within a clip; d' is `true`."""
    label = np.repeat(rng.integers(0, 2, (clips, classes)), frames, axis=0)
    shared = np.repeat(rng.normal(size=(clips, classes)), frames, axis=0)
    noise = 0.9 * shared + np.sqrt(1 - 0.9**2) * rng.normal(size=label.shape)
    return label.astype(np.int8), true * label + noise, np.repeat(np.arange(clips), frames)


@pytest.mark.filterwarnings("error")
def test_a_single_clip_has_a_value_and_no_error():
    value, error = intervals.corrected(LeftOut(2.0, np.array([1.5])))
    assert value == 2.0
    assert np.isnan(error)


def test_intervals_cover_what_the_scores_are_drawn_from():
    true, experiments = 1.0, 200
    covered = {"clips": 0, "frames": 0}
    rng = np.random.default_rng(0)
    for _ in range(experiments):
        labels, scores, clip = data_set(rng, clips=40, classes=6, true=true)
        for unit, owner in (("clips", clip), ("frames", np.arange(len(clip)))):
            found = list(leave_one_out.classes(labels, scores, clip=owner, precision=False))
            mean = leave_one_out.mean(found, "d_prime", num_clips=owner[-1] + 1)
            low, high = intervals.interval(mean)
            covered[unit] += low <= true <= high
    assert 0.91 * experiments <= covered["clips"] <= 0.985 * experiments
    # Frames taken for independent would promise too much: why whole clips are left out.
    assert covered["frames"] < 0.75 * experiments


def test_the_error_is_that_of_clips_really_drawn_again():
    rng = np.random.default_rng(3)
    labels, scores, clip = data_set(rng, clips=150, classes=5, true=1.0, frames=2)
    found = list(leave_one_out.classes(labels, scores, clip=clip))
    means = {
        "d_prime": leave_one_out.mean(found, "d_prime", num_clips=150),
        "mAP": leave_one_out.mean(found, "average_precision", num_clips=150),
    }
    drawn = []
    for _ in range(600):
        chosen = rng.integers(0, 150, 150)
        rows = (2 * chosen[:, np.newaxis] + [0, 1]).ravel()
        drawn.append(metrics.class_metrics(labels[rows], scores[rows]).means())
    for name, mean in means.items():
        _, error = intervals.corrected(mean)
        assert error == pytest.approx(np.std([each[name] for each in drawn]), rel=0.12)


@pytest.mark.parametrize(
    ("counts", "with_interval"),
    # The harmonic means are 5.9, 7.1, 14.9 and 15.
    [
        ((3, 300), []),
        ((4, 30), ["d_prime"]),
        ((10, 29), ["d_prime"]),
        ((10, 30), ["d_prime", "average_precision"]),
    ],
)
def test_classes_with_few_positives_have_no_interval_of_their_mean(counts, with_interval):
    without = np.linspace(-1, 1, 40) / 100
    classes = [
        leave_one_out.ClassLeftOut(np.arange(40), 9, count, 1.0, 0.5, 1 + without, 0.5 + without)
        for count in counts
    ]
    found = {
        metric: leave_one_out.mean([*classes, None], metric, num_clips=40)
        for metric in ("d_prime", "average_precision")
    }
    assert [m for m, mean in found.items() if intervals.interval(mean)] == with_interval
    assert found["d_prime"].value == 1
