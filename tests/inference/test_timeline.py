"""The picture of a recording: what is where in it."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from audioset_strong.audio import features
from audioset_strong.inference import event_detection, timeline


@hypothesis.given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=20), columns=st.integers(1, 9)
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_pools_are_the_maxima_of_equally_many_rows_in_bounded_memory(counts, columns):
    total = sum(counts)
    rows = np.random.default_rng(total).normal(size=(total, 3))
    pooled = timeline.Pooled(columns)
    for part in np.split(rows, np.cumsum(counts)[:-1]):
        pooled.add(part)
        assert len(pooled.rows()) <= 2 * columns + 1
    expected = [rows[i : i + pooled.size].max(axis=0) for i in range(0, total, pooled.size)]
    np.testing.assert_array_equal(pooled.rows(), np.array(expected).reshape(-1, 3))


@pytest.mark.parametrize(("hop_s", "lead_s"), [(0.96, 0.0), (0.24, 0.36)])
def test_scores_and_events_stand_where_they_are_heard(hop_s, lead_s):
    rng = np.random.default_rng(0)
    log_mel, scores = timeline.Pooled(), timeline.Pooled()
    spectrogram, values = rng.normal(size=(1000, 64)), rng.uniform(size=(10, 4))
    log_mel.add(spectrogram)
    scores.add(values)
    found = [
        event_detection.Event(1.0, 2.5, 3, 0.9, 0.8),
        event_detection.Event(0.0, 1.0, 2, 0.9, 0.8),
    ]
    names = ["a", "b", "c" * 50, "d"]
    figure = timeline.draw(
        "x.wav",
        seconds=10.0,
        log_mel=log_mel,
        scores=scores,
        hop_s=hop_s,
        front_end=features.DEFAULT_FRONT_END,
        classes=[3, 1],
        names=names,
        events=found,
    )
    top, bottom, *_ = figure.axes
    assert top.get_title(loc="left") == "x.wav"
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["d", "b"]
    (image,) = bottom.images
    np.testing.assert_array_equal(image.get_array(), values[:, [3, 1]].T)
    assert image.get_extent() == pytest.approx((lead_s, lead_s + 10 * hop_s, 1.5, -0.5))
    assert bottom.get_xlim() == (0.0, 10.0)
    (outline,) = bottom.patches  # of the one event whose class is shown
    assert (outline.get_x(), outline.get_width()) == (1.0, 1.5)
    assert outline.get_y() < 0 < outline.get_y() + outline.get_height()
    (picture,) = top.images
    np.testing.assert_array_equal(picture.get_array(), spectrogram.T)
    assert picture.get_extent()[:2] == pytest.approx((0.0, 10.0))
    # The tick of 1 kHz stands at the band whose triangle peaks nearest to it.
    centres = 700 * np.expm1(np.linspace(np.log1p(125 / 700), np.log1p(7500 / 700), 66))[1:-1]
    ticks = dict(zip([t.get_text() for t in top.get_yticklabels()], top.get_yticks(), strict=True))
    for hz in (250, 1000, 4000):
        assert abs(ticks[str(hz)] - np.argmin(np.abs(centres - hz))) <= 0.5


def test_long_names_are_cut():
    pooled = timeline.Pooled()
    pooled.add(np.zeros((100, 64)))
    figure = timeline.draw(
        "x.wav",
        seconds=1.0,
        log_mel=pooled,
        scores=pooled,
        hop_s=0.96,
        front_end=features.DEFAULT_FRONT_END,
        classes=[0],
        names=["c" * 50] * 64,
    )
    (label,) = figure.axes[1].get_yticklabels()
    assert label.get_text() == "c" * 33 + "\u2026"


def test_the_picture_follows_the_front_end():
    front_end = features.FrontEnd(
        hop_samples=320, num_bands=32, fft_length=1024, lower_hz=300.0, upper_hz=3000.0
    )
    log_mel, scores = timeline.Pooled(), timeline.Pooled()
    log_mel.add(np.zeros((500, 32)))
    scores.add(np.zeros((10, 1)))
    figure = timeline.draw(
        "x.wav",
        seconds=10.0,
        log_mel=log_mel,
        scores=scores,
        hop_s=0.96,
        front_end=front_end,
        classes=[0],
        names=["a"],
    )
    top = figure.axes[0]
    assert top.images[0].get_extent() == pytest.approx((0.0, 10.0, -0.5, 31.5))
    edges = np.linspace(np.log1p(300 / 700), np.log1p(3000 / 700), 34)
    centres = 700 * np.expm1(edges)[1:-1]
    ticks = dict(zip([t.get_text() for t in top.get_yticklabels()], top.get_yticks(), strict=True))
    assert list(ticks) == ["500", "1000", "2000"]
    for hz in (500, 1000, 2000):
        assert abs(ticks[str(hz)] - np.argmin(np.abs(centres - hz))) <= 0.5
