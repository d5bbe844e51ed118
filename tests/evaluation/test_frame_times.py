"""Frames in time: the boundaries between them, and the median filter over them."""

import numpy as np
import pytest

from audioset_strong.evaluation import frame_times


def test_a_frame_stands_for_the_hop_at_its_centre():
    got = frame_times.boundaries(4, hop_s=0.16, frame_s=0.96, seconds=1.5)
    np.testing.assert_allclose(got, [0, 0.56, 0.72, 0.88, 1.5])


@pytest.mark.parametrize(
    ("num_frames", "hop_s", "seconds", "expected"),
    [(1, 0.16, 0.2, [0, 0.2]), (3, 0.96, 3, [0, 0.96, 1.92, 3])],
)
def test_the_ends_of_the_recording_belong_to_the_frames_there(num_frames, hop_s, seconds, expected):
    got = frame_times.boundaries(num_frames, hop_s=hop_s, frame_s=0.96, seconds=seconds)
    np.testing.assert_allclose(got, expected)


def test_boundaries_behind_the_end_are_moved_to_it():
    got = frame_times.boundaries(4, hop_s=0.16, frame_s=0.96, seconds=0.7)
    np.testing.assert_allclose(got, [0, 0.56, 0.7, 0.7, 0.7])


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_the_median_filter_repeats_the_frames_at_the_ends(width):
    scores = np.random.default_rng(0).random((7, 2))
    padded = np.pad(scores, ((width // 2, width // 2), (0, 0)), mode="edge")
    expected = [np.median(padded[i : i + width], axis=0) for i in range(7)]
    np.testing.assert_array_equal(frame_times.median_filtered(scores, width), expected)


def test_a_stream_can_be_filtered_in_chunks_with_half_a_width_of_neighbours():
    scores, half = np.random.default_rng(1).random((20, 3)), 2
    whole = frame_times.median_filtered(scores, 2 * half + 1)
    chunk = frame_times.median_filtered(scores[6 - half : 14 + half], 2 * half + 1)
    np.testing.assert_array_equal(chunk[half:-half], whole[6:14])
