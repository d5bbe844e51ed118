"""Events from scores: by hand, against scipy, and the same however the scores come in."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

from audioset_strong.core import errors
from audioset_strong.inference import event_detection
from tests import datasets


def _detect(columns, seconds=None, hop_s=0.96, frame_s=0.96, **settings):
    scores = np.array(columns, np.float32).T
    settings.setdefault("thresholds", np.full(scores.shape[1], 0.5))
    seconds = len(scores) * hop_s if seconds is None else seconds
    found = event_detection.detect(
        scores,
        event_detection.EventSettings(**settings),
        seconds=seconds,
        hop_s=hop_s,
        frame_s=frame_s,
    )
    return [(round(e.start_s, 3), round(e.end_s, 3), e.label) for e in found]


def test_an_event_is_a_run_of_frames_at_or_above_the_threshold():
    found = _detect([[0, 0.5, 0.6, 0.4, 0.9], [0.7, 0.1, 0.1, 0.1, 0.1]])
    assert found == [(0.0, 0.96, 1), (0.96, 2.88, 0), (3.84, 4.8, 0)]


def test_the_last_event_ends_with_the_recording():
    assert _detect([[0, 0, 0.9]], seconds=2.5) == [(1.92, 2.5, 0)]
    assert _detect([[0.9]], seconds=0.1) == [(0.0, 0.1, 0)]


def test_each_class_has_a_threshold_of_its_own():
    found = _detect([[0.3, 0.3], [0.3, 0.3]], thresholds=np.array([0.2, 0.4]))
    assert found == [(0.0, 1.92, 0)]


def test_with_hysteresis_an_event_goes_on_above_the_lower_threshold():
    scores = [[0.3, 0.6, 0.35, 0.2, 0.35, 0.35, 0.2, 0.9, 0.31]]
    found = _detect(scores, hop_s=1.0, frame_s=1.0, hysteresis=0.6)
    assert found == [(0.0, 3.0, 0), (7.0, 9.0, 0)]  # 0.35, 0.35 alone reach no threshold
    assert _detect(scores, hop_s=1.0, frame_s=1.0) == [(1.0, 2.0, 0), (7.0, 8.0, 0)]


def test_the_median_filter_takes_single_frames_out_and_fills_single_gaps():
    scores = [[0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1]]
    found = _detect(scores, hop_s=1.0, frame_s=1.0, median_hops=3)
    assert found == [(0.0, 3.0, 0)]


def test_frames_that_overlap_stand_for_their_middle():
    # At a hop of 0.24 s a frame's middle 0.24 s begin 0.36 s after the frame.
    scores = [[0.9, 0.1, 0.9, 0.9, 0.1, 0.9]]
    found = _detect(scores, seconds=2.0, hop_s=0.24)
    assert found == [(0.0, 0.6, 0), (0.84, 1.32, 0), (1.56, 2.0, 0)]


def test_peak_and_mean_are_of_the_frames_of_the_event():
    scores = np.array([[0.1], [0.6], [0.8], [0.1]])
    (event,) = event_detection.detect(
        scores,
        event_detection.EventSettings(np.array([0.5])),
        seconds=4.0,
        hop_s=1.0,
        frame_s=1.0,
    )
    assert (event.peak, event.mean) == (pytest.approx(0.8), pytest.approx(0.7))


def _reference(scores, thresholds, hysteresis, median_hops):
    """scipy's filter and connected components."""
    filtered = ndimage.median_filter(scores, (median_hops, 1), mode="nearest")
    found = []
    for label in range(scores.shape[1]):
        components, count = ndimage.label(filtered[:, label] >= thresholds[label] * hysteresis)
        for component in range(1, count + 1):
            (frames,) = np.nonzero(components == component)
            part = filtered[frames, label]
            if part.max() >= thresholds[label]:
                found.append((frames[0], frames[-1] + 1, label, part.max(), part.mean()))
    return sorted(found, key=lambda event: (event[0], event[2]))


@hypothesis.given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 60),
    hysteresis=st.sampled_from([1.0, 0.7, 0.3]),
    median_hops=st.sampled_from([1, 3, 5, 9]),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_scores_in_any_pieces_give_the_events_of_scipy(seed, frames, hysteresis, median_hops, cuts):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 9, (frames, 3)) / 8
    thresholds = np.array([0.25, 0.5, 0.75])
    settings = event_detection.EventSettings(thresholds, hysteresis, median_hops)
    detector = event_detection.Detector(settings, hop_s=1.0, frame_s=1.0)
    for part in np.split(scores, sorted(cut for cut in cuts if cut <= frames)):
        detector.add(part)
    got = [(e.start_s, e.end_s, e.label, e.peak, e.mean) for e in detector.finish(frames)]
    expected = _reference(scores, thresholds, hysteresis, median_hops)
    assert [e[:3] for e in got] == [e[:3] for e in expected]
    np.testing.assert_allclose(np.array([e[3:] for e in got]), np.array([e[3:] for e in expected]))


def test_thresholds_of_single_classes_come_from_a_file(tmp_path):
    path = tmp_path / "thresholds.csv"
    path.write_text("display_name,mid,threshold\nclass 2,/m/02,0.25\nclass 0, /m/00 ,1\n")
    settings = event_detection.settings_for(
        datasets.VOCABULARY,
        threshold=0.4,
        thresholds_file=str(path),
        hysteresis=0.5,
        median_hops=3,
    )
    np.testing.assert_array_equal(settings.thresholds, [1.0, 0.4, 0.25, 0.4])
    assert (settings.hysteresis, settings.median_hops) == (0.5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mid,score\n/m/00,0.5\n", "line 1: must name the columns mid and threshold"),
        ("mid,threshold\n/m/09,0.5\n", "line 2: '/m/09' is not a class of the model"),
        ("mid,threshold\n/m/00,0.5\n/m/00,0.5\n", "line 3: /m/00 is named twice"),
        ("mid,threshold\n/m/00,high\n", "line 2: threshold 'high' is not a number"),
        ("mid,threshold\n/m/00\n", "line 2: threshold None is not a number"),
        ("mid,threshold\n/m/00,0\n", r"line 2: threshold 0: must lie in \(0, 1\]"),
        ("mid,threshold\n/m/00,nan\n", "line 2: threshold nan: must lie in"),
        ("", "empty file"),
    ],
)
def test_mistakes_in_the_file_are_named_with_their_line(tmp_path, text, message):
    path = tmp_path / "thresholds.csv"
    path.write_text(text)
    with pytest.raises(errors.InputError, match=message):
        event_detection.settings_for(datasets.VOCABULARY, thresholds_file=str(path))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"threshold": 0.0}, r"threshold 0: must lie in \(0, 1\]"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"hysteresis": 0.0}, "hysteresis 0.0"),
        ({"hysteresis": 1.1}, "hysteresis 1.1"),
        ({"median_hops": 2}, "median_hops 2: must be odd"),
        ({"median_hops": -1}, "median_hops -1: must be odd"),
    ],
)
def test_invalid_settings_are_refused(setting, message):
    with pytest.raises(errors.InputError, match=message):
        event_detection.settings_for(datasets.VOCABULARY, **setting)
