"""The framing rule against sets of milliseconds, and cases worked out by hand."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from audioset_strong.core import errors
from audioset_strong.labels import framing

CLASSES = 3


def reference(segments, frame_start, frame_length, rule):
    """Labels of one clip from first principles: a segment is the set of its milliseconds."""
    labels = np.zeros((len(frame_start), CLASSES), bool)
    frames = [set(range(begin, begin + frame_length)) for begin in frame_start]
    for k in range(CLASSES):
        sounding = [set(range(s, e)) for s, e, label in segments if label == k]
        if rule == framing.PAPER:
            sounding = [set().union(*sounding)]
        for i, frame in enumerate(frames):
            overlaps = [(len(frame & ms), min(len(frame), len(ms))) for ms in sounding]
            labels[i, k] = any(both > 0 and both >= least / 2 for both, least in overlaps)
    return labels


def framed(clips, frame_start, frame_length, rule=framing.RELEASED, classes=CLASSES, scale=1):
    """`frame_labels` of clips given as lists of (start, end, label), padded to one length."""
    most = max((len(segments) for segments in clips), default=0)
    padded = [[*segments, *[(-1, -1, -1)] * (most - len(segments))] for segments in clips]
    array = np.array(padded, np.int64).reshape(len(clips), most, 3)
    return framing.frame_labels(
        array[..., 0] * scale,
        array[..., 1] * scale,
        array[..., 2],
        frame_start=np.array(frame_start, np.int64) * scale,
        frame_length=frame_length * scale,
        num_classes=classes,
        rule=rule,
    ).numpy()


@st.composite
def cases(draw):
    """Clips and frames in which ends meet: most times lie on or beside a multiple of half a frame.

    So segments often overlap a frame by exactly one half, one more, or one less; overlap each
    other, touch, repeat, or lie one within another.
    """
    length = draw(st.integers(1, 12) | st.sampled_from([25, 64, 333, 960]))
    half = st.integers(-2, 8).map(lambda i: i * length // 2)
    near = st.tuples(half, st.integers(-1, 1)).map(sum)
    time = (near | st.integers(0, 4 * length)).map(lambda ms: max(ms, 0))
    segment = st.tuples(time, time, st.integers(0, CLASSES - 1)).map(
        lambda s: (min(s[:2]), max(s[0], s[1], min(s[:2]) + 1), s[2])
    )
    clips = draw(st.lists(st.lists(segment, max_size=7), min_size=1, max_size=8))
    frames = draw(st.integers(1, 5))
    if draw(st.booleans()):
        hop = draw(st.integers(1, 2 * length))
        starts = [[i * hop for i in range(frames)]] * len(clips)
    else:
        starts = [draw(st.lists(time, min_size=frames, max_size=frames)) for _ in clips]
    return clips, starts, length


@pytest.mark.parametrize("rule", framing.RULES)
@hypothesis.given(case=cases())
@hypothesis.settings(max_examples=200, deadline=None)
def test_labels_are_those_of_the_sets_of_milliseconds(rule, case):
    clips, starts, length = case
    expected = [reference(*clip, length, rule) for clip in zip(clips, starts, strict=True)]
    np.testing.assert_array_equal(framed(clips, starts, length, rule), expected)


@pytest.mark.parametrize("rule", framing.RULES)
@pytest.mark.parametrize(("length", "hop"), [(960, 960), (960, 10), (1000, 250), (333, 500)])
def test_so_they_are_for_a_thousand_clips_on_a_grid(rule, length, hop):
    rng = np.random.default_rng(length + hop)
    starts = rng.integers(0, 2000) + np.arange(4) * hop
    clips = []
    for _ in range(1000):
        times = rng.integers(0, 8, (rng.integers(0, 6), 2)) * length // 2
        times += rng.integers(-1, 2, times.shape) + starts[0]
        clips.append([(min(t), max(t), rng.integers(CLASSES)) for t in np.maximum(times, 0)])
    expected = [reference(clip, starts, length, rule) for clip in clips]
    assert 0.1 < np.mean(expected) < 0.9
    grid = np.tile(starts, (len(clips), 1))
    np.testing.assert_array_equal(framed(clips, grid, length, rule), expected)


@hypothesis.given(case=cases(), rule=st.sampled_from(framing.RULES))
@hypothesis.settings(max_examples=40, deadline=None)
def test_samples_give_the_labels_that_milliseconds_give(rule, case):
    clips, starts, length = case
    np.testing.assert_array_equal(
        framed(clips, starts, length, rule, scale=16), framed(clips, starts, length, rule)
    )


@pytest.mark.parametrize(
    ("segments", "released", "paper"),
    [
        ([(480, 5000)], True, True),  # 480 of 960 ms: exactly half
        ([(481, 5000)], False, False),
        ([(800, 1120)], True, True),  # half of a segment of 320 ms
        ([(801, 1122)], False, False),  # 159 of 321 ms
        ([(959, 961)], True, True),  # half of 2 ms
        ([(959, 960)], True, True),  # 1 ms
        ([(960, 961)], False, False),  # begins where the frame ends
        ([(0, 10_000)], True, True),
        ([(0, 10), (2000, 4000)], True, False),  # all of one segment, a sliver of the union
        ([(500, 2000), (480, 481)], True, False),
        ([(480, 481), (481, 2000)], True, True),  # the union alone has 480 ms
        ([(500, 1500), (460, 1460)], True, True),
        ([(500, 1500), (490, 1490)], False, False),  # overlaps are not counted twice
        ([(700, 2000), (0, 0)], False, False),
    ],
)
def test_the_first_frame_by_hand(segments, released, paper):
    clip = [(*times, 0) for times in segments]
    assert framed([clip], [[0]], 960, framing.RELEASED)[0, 0, 0] == released
    assert framed([clip], [[0]], 960, framing.PAPER)[0, 0, 0] == paper


def test_a_segment_that_is_no_longer_than_a_frame_is_heard_somewhere():
    """No event is lost between two frames that touch: one of them has half of it or more."""
    clips = [
        [(start, start + length, 0)]
        for length in (1, 2, 3, 959, 960)
        for start in range(1921 - length)
    ]
    assert framed(clips, [[0, 960]] * len(clips), 960)[..., 0].any(axis=1).all()


def test_clips_of_a_batch_and_classes_do_not_mix():
    clips = [[(0, 960, 0), (960, 1920, 2)], [], [(0, 1920, 1)]]
    labels = framed(clips, [[0, 960]] * 3, 960)
    expected = np.zeros((3, 2, CLASSES), bool)
    expected[0, 0, 0] = expected[0, 1, 2] = True
    expected[2, :, 1] = True
    np.testing.assert_array_equal(labels, expected)


def test_a_batch_without_segments_or_frames_is_all_negative():
    assert framed([[], []], [[0, 960]] * 2, 960).shape == (2, 2, CLASSES)
    assert not framed([[], []], [[0, 960]] * 2, 960).any()
    assert framed([[(0, 5, 0)]], np.zeros((1, 0)), 960).shape == (1, 0, CLASSES)


@pytest.mark.parametrize("rule", framing.RULES)
def test_in_a_graph_of_unknown_shapes_the_labels_are_the_same(rule):
    clips = [[(0, 480, 0), (400, 1500, 0), (900, 1930, 2)], [(481, 1439, 1)]]
    starts = np.array([[0, 960, 1000], [0, 1, 960]])
    padded = np.array([clips[0], clips[1] + [(-1, -1, -1)] * 2])

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int64)] * 4)
    def graph(start, end, label, frame_start):
        return framing.frame_labels(
            start,
            end,
            label,
            frame_start=frame_start,
            frame_length=960,
            num_classes=CLASSES,
            rule=rule,
        )

    labels = graph(padded[..., 0], padded[..., 1], padded[..., 2], starts)
    assert labels.shape.as_list() == [2, 3, CLASSES]
    np.testing.assert_array_equal(labels, framed(clips, starts, 960, rule))


@pytest.mark.parametrize(
    ("length", "rule", "message"),
    [
        (960, "union", "rule = 'union': must be one of released, paper"),
        (0, "paper", "frame_length = 0: must be positive"),
        (-960, "released", "frame_length = -960: must be positive"),
    ],
)
def test_another_rule_or_no_frame_length_is_refused(length, rule, message):
    with pytest.raises(errors.InputError, match=message):
        framed([[(0, 5, 0)]], [[0]], length, rule)


def test_other_frames_of_a_class_that_is_heard_are_its_negatives():
    positive = np.zeros((3, 4, CLASSES), bool)
    positive[0, 1, 0] = True  # class 0 is heard in clip 0
    positive[2, :, 1] = True  # class 1 is heard all through clip 2
    negative = np.zeros((3, CLASSES), bool)
    negative[1, 2] = True  # class 2 is an explicit negative of clip 1
    labels = framing.three_valued_labels(positive, negative).numpy()
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels[0, :, 0], [0, 1, 0, 0])
    np.testing.assert_array_equal(labels[2, :, 1], [1, 1, 1, 1])
    np.testing.assert_array_equal(labels[1, :, 2], [0, 0, 0, 0])
    labels[0, :, 0] = labels[2, :, 1] = labels[1, :, 2] = -1
    assert (labels == -1).all()  # all else is unknown


def test_a_positive_frame_outweighs_an_explicit_negative_of_its_clip():
    positive = np.array([[[True], [False]]])
    labels = framing.three_valued_labels(positive, np.array([[True]])).numpy()
    np.testing.assert_array_equal(labels, [[[1], [0]]])


def test_smeared_labels_hold_for_the_ancestors_and_before_the_negatives_are_drawn():
    # 0 is a kind of 1.
    ancestors = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    positive = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]], bool)
    smeared = framing.propagate_to_ancestors(positive, ancestors)
    np.testing.assert_array_equal(smeared, [[[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]])
    labels = framing.three_valued_labels(smeared, np.zeros((1, 3), bool)).numpy()
    np.testing.assert_array_equal(labels[0, :, 1], [1, 1, 0, 0])
    np.testing.assert_array_equal(labels[0, :, 0], [1, 0, 0, 0])
