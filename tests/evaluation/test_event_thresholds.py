"""Event metrics look at high thresholds alone, and are as if they had looked at all of them."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audioset_strong.evaluation import event_f1, event_metrics, joined_clips, psds
from audioset_strong.labels import vocabularies

with warnings.catch_warnings():  # of pkg_resources
    warnings.simplefilter("ignore")
    pytest.importorskip("sed_scores_eval")

CLASSES, FRAMES, HOP_S, FRAME_S, SECONDS = 3, 12, 0.16, 0.96, 3.0


def _case(seed, *, skill, decimals, clips=90):
    """Short clips, most of them without a class, and a model of a certain skill."""
    rng = np.random.default_rng(seed)
    middle = np.arange(FRAMES) * HOP_S + FRAME_S / 2
    scores, events = {}, {}
    for i in range(clips):
        noise = rng.normal(size=(FRAMES + 2, CLASSES)).cumsum(axis=0)
        logits = noise[2:] - noise[:-2] + rng.normal(-3, 1, CLASSES)
        events[f"{i}"] = []
        for label in np.flatnonzero(rng.random(CLASSES) < 0.1).tolist():
            for onset in rng.uniform(0, 2.5, rng.integers(1, 4)).tolist():
                offset = onset + float(rng.exponential(0.7)) + 0.1
                events[f"{i}"].append((onset, offset, label))
                logits[(middle > onset) & (middle < offset), label] += skill
        scores[f"{i}"] = np.round(1 / (1 + np.exp(-logits)), decimals)
    return scores, events


def _measure(scores, events, threshold=0.5):
    mids = tuple(f"/m/{i}" for i in range(CLASSES))
    return event_metrics.measure(
        scores,
        events,
        seconds=dict.fromkeys(scores, SECONDS),
        vocabulary=vocabularies.Vocabulary(mids, mids),
        hop_s=HOP_S,
        frame_s=FRAME_S,
        threshold=threshold,
    )


@pytest.mark.parametrize("decimals", [12, 2, 1, 0])
@pytest.mark.parametrize("skill", [0.0, 1.5, 6.0])
def test_thresholds_that_were_left_out_change_nothing(monkeypatch, skill, decimals):
    seeds = range(3)
    cases = [_case(seed, skill=skill, decimals=decimals) for seed in seeds]
    thresholds = (0.5, 0.05, 0.99)
    lowest = []

    def note(scores, *, above, real=joined_clips.runs):
        lowest.append(above)
        return real(scores, above=above)

    with monkeypatch.context() as patch:
        patch.setattr(joined_clips, "runs", note)
        quick = [_measure(*case, threshold=t) for case in cases for t in thresholds]
    if decimals:  # with the scores 0 and 1 alone there is nothing to leave out
        assert np.isfinite(lowest).any()

    monkeypatch.setattr(psds, "lowest_threshold", lambda *_, **__: -np.inf)
    monkeypatch.setattr(event_f1, "enough_counts", lambda count, *_, **__: count(-np.inf))
    whole = [_measure(*case, threshold=t) for case in cases for t in thresholds]
    for got, expected in zip(quick, whole, strict=True):
        assert got.values == expected.values
        pd.testing.assert_frame_equal(got.per_class, expected.per_class, check_exact=True)
        for name, roc in expected.rocs.items():
            np.testing.assert_array_equal(got.rocs[name].fp_per_hour, roc.fp_per_hour)
            np.testing.assert_array_equal(got.rocs[name].tp_rate, roc.tp_rate)


SCORES = st.lists(st.integers(0, 4), min_size=1, max_size=9)


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(-1, 4))
def test_runs_are_those_that_one_counts(clips, above):
    def count(threshold):
        reached = "".join("|" + "".join("#" if s >= threshold else "." for s in c) for c in clips)
        return sum(bool(run) for run in reached.replace("|", ".").split("."))

    slots = np.array([-np.inf, *(s for clip in clips for s in (*clip, -np.inf))], float)
    changes = joined_clips.runs(slots, above=above)
    assert (changes[:, 0] > above).all()
    for threshold in range(above + 1, 6):
        assert changes[changes[:, 0] >= threshold, 1].sum() == count(threshold)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 2.0, 6.0]), st.sampled_from([0.02, 0.3, 0.6]))
def test_no_threshold_has_a_higher_f1_than_the_best(seed, skill, threshold):
    scores, events = _case(seed, skill=skill, decimals=4, clips=20)
    assume(any(events.values()))  # seed 460 has none
    measured = _measure(scores, events, threshold)
    values, table = measured.values, measured.per_class
    for kind in ("event", "segment"):
        found = table[table["events"] > 0]
        assert (found[f"{kind}_f1_best"] >= found[f"{kind}_f1"]).all()
        assert values[f"{kind}_f1_macro_best"] >= values[f"{kind}_f1_macro"]


def test_the_micro_f1_of_the_best_thresholds_may_be_lower():
    # a is found at 0.9. b is found only where all segments but one are: 18 of them wrongly. At 0.5
    # nothing is wrong.
    scores = np.zeros((20, 2))
    scores[3, 0] = 0.9
    scores[:, 1] = 0.1
    scores[7, 1] = 0.05
    vocabulary = vocabularies.Vocabulary(("/m/a", "/m/b"), ("a", "b"))
    events = [(3.0, 4.0, 0), (9.0, 10.0, 1)]
    measured = event_metrics.measure(
        {"c": scores},
        {"c": events},
        seconds={"c": 20.0},
        vocabulary=vocabulary,
        hop_s=1.0,
        frame_s=1.0,
    )
    values = measured.values
    assert measured.per_class["segment_f1_best"].tolist() == pytest.approx([1, 2 / 20])
    assert values["segment_f1_micro"] == pytest.approx(2 / 3)
    assert values["segment_f1_micro_best"] == pytest.approx(2 * 2 / (2 + 2 + 18))
