"""The label policies as functions, on a clip whose labels are worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.inputs import policies
from audioset_strong.records import clip_records
from tests.datasets import make_clip

AT_32_KHZ = FrontEnd(sample_rate=32_000, window_samples=800, hop_samples=320, fft_length=1024)


@pytest.fixture(scope="module")
def clips():
    """Twice the same clip: weak 0; class 1 from 1 to 3 s, class 2 from 0.5 to 0.7 s."""
    return clip_records.parse(tf.constant([clip_records.serialize(make_clip(0))] * 2))


def windows(*starts_s, front_end=DEFAULT_FRONT_END):
    start = tf.constant([round(s * front_end.sample_rate) for s in starts_s], tf.int64)
    return policies.Windows(start, 4, front_end, "released")


def test_weak_labels_are_the_clips_whatever_the_window(clips):
    labels = policies.weak_labels(clips, windows(0.0, 9.0))
    np.testing.assert_array_equal(labels, [[1, 0, 0, 0]] * 2)


def test_diffuse_labels_are_those_of_all_segments_whatever_the_window(clips):
    labels = policies.diffuse_labels(clips, windows(0.0, 9.0))
    np.testing.assert_array_equal(labels, [[0, 1, 1, 0]] * 2)


@pytest.mark.parametrize("front_end", [DEFAULT_FRONT_END, AT_32_KHZ])
def test_strong_labels_are_those_that_overlap_the_window_by_half(clips, front_end):
    # From 0.52 s on, the window holds 0.48 s of class 1, which is half of it; before, less.
    for starts, wanted in (
        ((0.0, 0.51), [[0, 0, 1, 0], [0, 0, 1, 0]]),
        ((0.52, 2.0), [[0, 1, 1, 0], [0, 1, 0, 0]]),
        ((2.52, 2.53), [[0, 1, 0, 0], [0, 0, 0, 0]]),
    ):
        labels = policies.strong_labels(clips, windows(*starts, front_end=front_end))
        np.testing.assert_array_equal(labels, wanted)


def test_each_policy_says_what_it_needs():
    assert {name: policy.needs.name for name, policy in policies.POLICIES.items()} == {
        "weak": "weak",
        "diffuse": "strong",
        "strong": "strong",
        "pseudo_strong": "weak",
    }
