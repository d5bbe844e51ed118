"""PSDS and F1 of events: against sed_scores_eval and sed_eval, and worked out by hand."""

import importlib
import warnings

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import event_metrics, frame_times, joined_clips
from audioset_strong.inference import event_detection
from audioset_strong.labels import vocabularies

with warnings.catch_warnings():  # of pkg_resources
    warnings.simplefilter("ignore")
    sed_eval = pytest.importorskip("sed_eval")
    sed_scores_eval = pytest.importorskip("sed_scores_eval")
    statistics = importlib.import_module("sed_scores_eval.base_modules.statistics")

HOP_S, FRAME_S = 0.5, 1.5


def _vocabulary(count):
    return vocabularies.Vocabulary(
        tuple(f"/m/{i}" for i in range(count)), tuple(f"class {i}" for i in range(count))
    )


def _boundaries(frames, seconds):
    return frame_times.boundaries(frames, hop_s=HOP_S, frame_s=FRAME_S, seconds=seconds)


def _measure(scores, events, seconds, vocabulary, **settings):
    return event_metrics.measure(
        scores,
        events,
        seconds=seconds,
        vocabulary=vocabulary,
        **{"hop_s": HOP_S, "frame_s": FRAME_S} | settings,
    )


def _case(seed, decimals, classes=4, clips=12):
    """Clips of other lengths, with scores that are higher where a class is heard.

    The last class has no event; most classes are not heard in most clips.
    """
    rng = np.random.default_rng(seed)
    scores, events, seconds = {}, {}, {}
    for i in range(clips):
        clip_id, frames = f"clip{i}", int(rng.integers(50, 240))
        seconds[clip_id] = round(frames * HOP_S + float(rng.uniform(0.6, 1.0)), 3)
        times = _boundaries(frames, seconds[clip_id])
        events[clip_id] = []
        truth = np.zeros((frames, classes))
        for label in rng.choice(classes - 1, size=rng.integers(0, 3), replace=False).tolist():
            for _ in range(rng.integers(1, 6)):
                onset = round(float(rng.uniform(0, seconds[clip_id] - 1)), 3)
                offset = onset + round(float(rng.uniform(0.3, 9)), 3)
                events[clip_id].append((onset, offset, label))
                truth[(times[:-1] < offset) & (times[1:] > onset), label] = 1
        noise = rng.normal(0, 0.8, (frames + 4, classes))
        noise = sum(noise[j : frames + j] for j in range(5)) / 5
        scores[clip_id] = np.round(1 / (1 + np.exp(3 - 5 * truth - 4 * noise)), decimals)
    return scores, events, seconds, _vocabulary(classes)


def _merged(events, seconds):
    return {clip_id: joined_clips.merge(events[clip_id], seconds[clip_id]) for clip_id in events}


@pytest.fixture
def package(monkeypatch):
    """sed_scores_eval's own functions, helped over pandas 3: it takes no read-only arrays."""
    curves = statistics.onset_offset_curves
    monkeypatch.setattr(
        statistics,
        "onset_offset_curves",
        lambda scores, times, *rest: curves(np.array(scores), np.array(times), *rest),
    )
    return sed_scores_eval


@pytest.mark.parametrize(("seed", "decimals"), [(0, 9), (1, 9), (2, 1), (3, 2)])
def test_all_metrics_are_those_of_sed_scores_eval(package, seed, decimals):
    scores, events, seconds, classes = _case(seed, decimals)
    measured = _measure(scores, events, seconds, classes)
    names = classes.names[:3]  # those with events; the package counts the others as zero
    frames = {
        clip_id: package.base_modules.scores.create_score_dataframe(
            scores[clip_id][:, :3],
            _boundaries(len(scores[clip_id]), seconds[clip_id]),
            names,
        )
        for clip_id in scores
    }
    truth = {
        clip_id: [(onset, offset, names[label]) for onset, offset, label in listed]
        for clip_id, listed in _merged(events, seconds).items()
    }
    psds = package.intersection_based.psds
    settings = {"max_efpr": 100.0, "unit_of_time": "hour"}
    scenario1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7}
    scenario2 = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5}
    below = 0.5 - 1e-9  # a score at the threshold counts; not so with the package
    collars = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
    for name, expected in (
        ("psds1", psds(frames, truth, seconds, alpha_st=1.0, **scenario1, **settings)),
        ("psds1_macro", psds(frames, truth, seconds, alpha_st=0.0, **scenario1, **settings)),
        ("psds2", psds(frames, truth, seconds, alpha_st=1.0, **scenario2, **settings)),
    ):
        score, of_classes, *_ = expected
        assert measured.values[name] == pytest.approx(score, abs=1e-9)
        column = name.removesuffix("_macro")
        assert measured.per_class[column][:3].tolist() == pytest.approx(
            [of_classes[n] for n in names], abs=1e-9
        )
    assert 0 < measured.values["psds1"] < measured.values["psds1_macro"] < 1
    assert 0 < measured.values["psds2"] < 1
    for name, (expected, *_) in (
        ("event_f1", package.collar_based.fscore(frames, truth, below, **collars)),
        ("event_f1_best", package.collar_based.best_fscore(frames, truth, **collars)),
        (
            "segment_f1",
            package.segment_based.fscore(frames, truth, seconds, below, segment_length=1.0),
        ),
        (
            "segment_f1_best",
            package.segment_based.best_fscore(frames, truth, seconds, segment_length=1.0),
        ),
    ):
        kind, _, best = name.partition("_f1")
        for average in ("macro", "micro"):
            got = measured.values[f"{kind}_f1_{average}{best}"]
            # Of thresholds with one macro F1 either may be taken, which changes the micro F1.
            if (average, best) != ("micro", "_best"):
                assert got == pytest.approx(expected[f"{average}_average"], abs=1e-9)
            assert 0 < got < 1
        assert measured.per_class[name][:3].tolist() == pytest.approx(
            [expected[n] for n in names], abs=1e-9
        )


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_f1_is_that_of_sed_eval_on_the_events_of_inference(threshold):
    scores, events, seconds, classes = _case(7, 9)
    measured = _measure(scores, events, seconds, classes, threshold=threshold)
    labels = list(classes.names[:3])
    by_event = sed_eval.sound_event.EventBasedMetrics(
        labels, t_collar=0.2, percentage_of_length=0.2, event_matching_type="optimal"
    )
    by_segment = sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=1.0)
    settings = event_detection.EventSettings(np.full(len(classes), threshold))

    def as_list(listed):
        return [
            {
                "event_label": classes.names[label],
                "event_onset": onset,
                "event_offset": offset,
                "file": "",
            }
            for onset, offset, label in listed
        ]

    for clip_id, truth in _merged(events, seconds).items():
        found = event_detection.detect(
            scores[clip_id], settings, seconds=seconds[clip_id], hop_s=HOP_S, frame_s=FRAME_S
        )
        found = [(e.start_s, e.end_s, e.label) for e in found if e.label < 3]
        by_event.evaluate(as_list(truth), as_list(found))
        by_segment.evaluate(
            as_list(truth), as_list(found), evaluated_length_seconds=seconds[clip_id]
        )
    for kind, expected in (("event", by_event), ("segment", by_segment)):
        of_classes = [expected.class_wise_f_measure(label)["f_measure"] for label in labels]
        of_classes = np.nan_to_num(of_classes)
        np.testing.assert_allclose(measured.per_class[f"{kind}_f1"][:3], of_classes, atol=1e-9)
        assert measured.values[f"{kind}_f1_macro"] == pytest.approx(np.mean(of_classes))
        micro = expected.overall_f_measure()["f_measure"]
        assert measured.values[f"{kind}_f1_micro"] == pytest.approx(micro)
        assert micro > 0


# An hour of frames of ten seconds, for what is worked out by hand.
TEN_S, HOUR = 10.0, 3600.0


def _hour(**runs):
    """Scores float `[360, 2]`: a="3-5:0.9 ..." gives frames 3 and 4 of class 0 the score 0.9."""
    scores = np.full((360, 2), 0.01)
    for label, name in enumerate("ab"):
        for run in runs.get(name, "").split():
            place, _, score = run.partition(":")
            first, _, last = place.partition("-")
            scores[int(first) : int(last), label] = float(score)
    return scores


def _measure_hour(scores, *events, threshold=0.5):
    return _measure(
        {"c": scores},
        {"c": events},
        {"c": HOUR},
        _vocabulary(2),
        hop_s=TEN_S,
        frame_s=TEN_S,
        threshold=threshold,
    )


A, B = (30.0, 50.0, 0), (100.0, 200.0, 1)  # frames 3 and 4; frames 10 to 19


@pytest.mark.parametrize(
    ("runs", "psds1", "macro", "psds2"),
    [
        ({"a": "3-5:.9", "b": "10-20:.8"}, 1.0, 1.0, 1.0),  # perfect
        ({}, 0.0, 0.0, 0.0),  # one detection of the whole hour, wrong for both
        # A wrong detection that is surer: nothing is found below one false positive an hour.
        ({"a": "3-5:.9 50-60:.95", "b": "10-20:.8 50-60:.9"}, 0.99, 0.99, 0.99),
        ({"a": "3-5:.9 50-60:.85", "b": "10-20:.8 50-60:.7"}, 1.0, 1.0, 1.0),
        # Of one class only: mean and deviation are both a half up to one false positive an hour.
        ({"a": "3-5:.9 50-60:.95", "b": "10-20:.8"}, 0.99, 0.995, 0.99),
        ({"a": "3-5:.9"}, 0.0, 0.5, 0.0),  # never found
        # 7 of 10 frames of B are enough for both scenarios, 6 for the second alone.
        ({"a": "3-5:.9", "b": "10-17:.8"}, 1.0, 1.0, 1.0),
        ({"a": "3-5:.9", "b": "10-16:.8"}, 0.0, 0.5, 1.0),
        # Of 14 frames 10 are right, 0.714; of 15, 0.667.
        ({"a": "3-5:.9", "b": "10-24:.8"}, 1.0, 1.0, 1.0),
        ({"a": "3-5:.9", "b": "10-25:.8"}, 0.0, 0.5, 1.0),
        # A is said, surer, where B is: a false positive, and in scenario 2 a trigger of
        # 0.5 x 3600 s / 100 s of B.
        ({"a": "3-5:.9 12-14:.95", "b": "10-20:.8"}, 0.99, 0.995, 0.81),
        # 2 of 7 frames on B are less than 0.3 of it, 2 of 6 are a trigger.
        ({"a": "3-5:.9 18-25:.95", "b": "10-20:.8"}, 0.99, 0.995, 0.99),
        ({"a": "3-5:.9 18-24:.95", "b": "10-20:.8"}, 0.99, 0.995, 0.81),
    ],
)
def test_psds_by_hand(runs, psds1, macro, psds2):
    values = _measure_hour(_hour(**runs), A, B).values
    assert values["psds1"] == pytest.approx(psds1)
    assert values["psds1_macro"] == pytest.approx(macro)
    assert values["psds2"] == pytest.approx(psds2)


def test_a_trigger_counts_alike_in_clips_with_the_class_and_without():
    scores = _hour(a="300-302:.9 12-14:.95", b="10-20:.8")
    together = _measure_hour(scores, (3000.0, 3020.0, 0), B)
    measured = _measure(
        {"x": scores[:180], "y": scores[180:]},
        {"x": [B], "y": [(1200.0, 1220.0, 0)]},
        {"x": HOUR / 2, "y": HOUR / 2},
        _vocabulary(2),
        hop_s=TEN_S,
        frame_s=TEN_S,
    )
    for name in ("psds1", "psds2"):
        assert measured.values[name] == pytest.approx(together.values[name])
    assert measured.values["psds1"] == pytest.approx(0.99)
    assert measured.values["psds2"] == pytest.approx(0.81)
    assert measured.values["hours"] == 1


def test_no_more_than_a_hundred_false_positives_an_hour_count():
    wrong = " ".join(f"{i}-{i + 1}:.95" for i in range(100, 302, 2))  # 101 of them
    scores = _hour(a=f"3-5:.9 {wrong}", b="10-20:.8")
    assert _measure_hour(scores, A, B).values["psds1_macro"] == pytest.approx(0.5)
    scores[300, 0] = 0.01  # 100
    assert _measure_hour(scores, A, B).values["psds1_macro"] == pytest.approx(0.5)
    scores[298, 0] = 0.01  # 99
    assert _measure_hour(scores, A, B).values["psds1_macro"] == pytest.approx(0.505)


def test_f1_by_hand():
    # a: found, and one wrong at 0.6; b: found at 0.4 only, and two wrong above that.
    scores = _hour(a="3-5:.9 50-60:.6", b="10-20:.4 50-60:.6 70-80:.7")
    measured = _measure_hour(scores, A, B)
    values, table = measured.values, measured.per_class
    assert table["event_f1"].tolist() == pytest.approx([2 / 3, 0])
    assert table["event_f1_best"].tolist() == pytest.approx([1, 2 / 4])
    assert table["event_best_threshold"].tolist() == pytest.approx([0.75, 0.205])
    assert values["event_f1_macro"] == pytest.approx(1 / 3)
    assert values["event_f1_micro"] == pytest.approx(2 / (2 + 1 + 3))  # one right, three wrong
    assert values["event_f1_macro_best"] == pytest.approx(0.75)
    assert values["event_f1_micro_best"] == pytest.approx(2 * 2 / (2 + 2 + 2))
    # Segments of a second: of a 20 right, 100 wrong; of b none and 200.
    assert values["segment_f1_macro"] == pytest.approx((40 / 140) / 2)
    assert values["segment_f1_micro"] == pytest.approx(40 / (120 + 20 + 300))
    assert table["segment_f1_best"].tolist() == pytest.approx([1, 200 / 400])
    # A frame at the threshold is a detection.
    assert _measure_hour(scores, A, B, threshold=0.6).per_class["event_f1"][0] == 2 / 3
    assert _measure_hour(scores, A, B, threshold=0.601).per_class["event_f1"][0] == 1


def test_what_was_measured_is_told():
    scores = _hour(a="3-5:.9")
    called = []
    measured = _measure(
        {"c": scores, "d": scores[:36]},
        {"c": [A, (20.0, 40.0, 0)], "d": []},
        {"c": HOUR, "d": 360.0},
        _vocabulary(2),
        hop_s=TEN_S,
        frame_s=TEN_S,
        on_class=lambda: called.append(1),
    )
    expected = {
        "clips": 2,
        "hours": 1.1,
        "classes": 1,
        "classes_without_events": 1,
        "events": 1,  # two that overlap
        "threshold": 0.5,
    }
    assert {name: measured.values[name] for name in expected} == pytest.approx(expected)
    assert measured.per_class["mid"].tolist() == ["/m/0", "/m/1"]
    assert measured.per_class["display_name"].tolist() == ["class 0", "class 1"]
    assert measured.per_class["events"].tolist() == [1, 0]
    assert measured.per_class.iloc[0].notna().all()
    assert measured.per_class.iloc[1, 3:].isna().all()
    assert len(called) == 1
    assert set(measured.rocs) == {"psds1", "psds1_macro", "psds2"}
    for name, roc in measured.rocs.items():
        assert roc.fp_per_hour[0] == 0
        assert (np.diff(roc.fp_per_hour) > 0).all()
        assert roc.area() == measured.values[name]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_neither_order_nor_type_nor_company_make_a_difference(dtype):
    scores, events, seconds, classes = _case(5, 9)
    scores = {clip_id: frames.astype(dtype) for clip_id, frames in scores.items()}
    first = _measure(scores, events, seconds, classes)
    kept = {clip_id: frames.copy() for clip_id, frames in scores.items()}
    order = np.random.default_rng(0).permutation(len(scores))
    names = {f"{order[i]:02d}": clip_id for i, clip_id in enumerate(scores)}
    classes_reversed = vocabularies.Vocabulary(classes.mids[::-1], classes.names[::-1])
    second = _measure(
        {new: scores[old][:, ::-1].astype(np.float64) for new, old in names.items()},
        {new: [(a, b, 3 - k) for a, b, k in events[old][::-1]] for new, old in names.items()},
        {new: seconds[old] for new, old in names.items()},
        classes_reversed,
    )
    assert second.values == pytest.approx(first.values, abs=1e-12)
    for column in first.per_class:
        back = second.per_class[column][::-1].tolist()
        assert back == pytest.approx(first.per_class[column].tolist(), abs=1e-12, nan_ok=True)
    for clip_id, frames in kept.items():
        np.testing.assert_array_equal(scores[clip_id], frames)


def test_events_that_overlap_or_touch_are_one():
    events = [
        (3.0, 4.0, 1),
        (1.0, 2.0, 1),
        (2.0, 2.5, 1),
        (2.6, 2.7, 1),
        (5.0, 9.0, 0),
        (6.0, 7.0, 0),
        (8.5, 12.0, 0),
        (11.0, 12.0, 2),  # behind the end
        (-1.0, 0.5, 2),
        (9.5, 10.5, 2),
    ]
    expected = [
        (5.0, 10.0, 0),
        (1.0, 2.5, 1),
        (2.6, 2.7, 1),
        (3.0, 4.0, 1),
        (0.0, 0.5, 2),
        (9.5, 10.0, 2),
    ]
    assert joined_clips.merge(events, 10.0) == expected
    assert joined_clips.merge(events[::-1], 10.0) == expected
    assert joined_clips.merge([], 10.0) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {}}, "event metrics: no clip"),
        ({"scores": {"c": np.full((20, 2), np.nan)}}, "c: scores that are not finite"),
        ({"scores": {"c": np.full((20, 2), np.inf)}}, "c: scores that are not finite"),
        ({"scores": {"c": np.zeros((20, 3))}}, r"c: scores of shape \(20, 3\); must be .frames, 2"),
        ({"scores": {"c": np.zeros(20)}}, r"c: scores of shape \(20,\)"),
        ({"scores": {"c": np.zeros((0, 2))}}, r"c: scores of shape \(0, 2\)"),
        ({"scores": {"c": np.zeros((40, 2))}}, "c: 40 frames at a hop of 0.5 s do not fit into 11"),
        ({"events": {}}, "c: a clip of either scores or events; must be both"),
        ({"events": {"c": [], "d": []}}, "d: a clip of either scores or events"),
        ({"seconds": {}}, "c: a clip of either scores or seconds"),
        ({"seconds": {"c": float("nan")}}, "c: 20 frames at a hop of 0.5 s do not fit into nan"),
        ({"events": {"c": []}}, "no event in any of 1 clips"),
        ({"events": {"c": [(12.0, 13.0, 0)]}}, "no event in any of 1 clips"),
        ({"events": {"c": [(1.0, 1.0, 0)]}}, "c: event from 1.0 to 1.0 s of class 0; must end"),
        ({"events": {"c": [(float("nan"), 1.0, 0)]}}, "c: event from nan"),
        ({"events": {"c": [(1.0, 2.0, 2)]}}, "of class 2; must .* be of one of 2 classes"),
        ({"events": {"c": [(1.0, 2.0, -1)]}}, "of class -1"),
        ({"segment_s": 0.0}, "segment_s 0.0: must be more than 0"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {
        "scores": {"c": np.zeros((20, 2))},
        "events": {"c": [(1.0, 2.0, 0)]},
        "seconds": {"c": 11.0},
        "vocabulary": _vocabulary(2),
        "hop_s": HOP_S,
        "frame_s": FRAME_S,
    }
    event_metrics.measure(**given)
    with pytest.raises(errors.InputError, match=message):
        event_metrics.measure(**given | change)


def test_a_package_that_is_missing_is_told(monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name.startswith("sed_scores_eval"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    event_metrics.check_installed()
    monkeypatch.setattr(importlib, "import_module", without)
    message = r"sed_scores_eval is missing .*pip install 'sed_eval"
    with pytest.raises(errors.InputError, match=message):
        event_metrics.check_installed()
    with pytest.raises(errors.InputError, match=message):
        _measure_hour(_hour(), A, B)
