"""The evaluation grid of real TFRecord shards, against the clips that were written."""

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import evaluation_grid
from tests.datasets import make_clip, write_dataset


def grid_of(*datasets, **settings):
    batches = evaluation_grid.grid_patches(datasets, **settings).as_numpy_iterator()
    return list(batches)


def test_grid_gives_ten_windows_and_three_valued_labels(tmp_path):
    clips = [
        make_clip(0),
        make_clip(1, seconds=9.0, negatives=None),
        make_clip(2, segments=None),
    ]
    directory = write_dataset(tmp_path / "grid", clips, num_shards=1)
    batches = grid_of(directory, batch_size=2)
    assert [len(batch["clip_id"]) for batch in batches] == [2, 1]
    merged = {k: np.concatenate([batch[k] for batch in batches]) for k in batches[0]}
    assert merged["log_mel"].shape == (3, 10, 96, 64)
    np.testing.assert_array_equal(merged["frame_valid"].sum(axis=1), [10, 9, 10])
    frames = merged["frame_labels"]
    # Class 1 sounds 1.0-3.0 s: frames 1 and 2 whole; of frame 0 nothing; of frame 3 0.12 s.
    np.testing.assert_array_equal(frames[0, :, 1], [0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(frames[0, :, 2], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(frames[0, :, 3], 0)
    np.testing.assert_array_equal(frames[0, :, 0], -1)
    np.testing.assert_array_equal(frames[1, :, 3], -1)
    np.testing.assert_array_equal(frames[2], -1)
    np.testing.assert_array_equal(merged["weak_labels"][0], [1, 0, 0, 0])
    np.testing.assert_array_equal(merged["negatives_known"], [True, False, True])
    window = make_clip(0).audio[3 * 15360 : 3 * 15360 + 15600] / 32768
    expected = features.log_mel(tf.constant(window[np.newaxis], tf.float32))[0]
    np.testing.assert_allclose(merged["log_mel"][0, 3], expected, atol=1e-4)


def test_the_grid_follows_the_front_end(tmp_path):
    directory = write_dataset(tmp_path / "grid", [make_clip(0)], 1)
    front_end = features.FrontEnd(hop_samples=320, num_bands=32, offset=1e-6)
    (batch,) = grid_of(directory, front_end=front_end)
    assert batch["log_mel"].shape == (1, 10, 48, 32)
    window = make_clip(0).audio[3 * 15360 : 3 * 15360 + front_end.patch_samples] / 32768
    wanted = features.log_mel(tf.constant(window, tf.float32), front_end)
    np.testing.assert_allclose(batch["log_mel"][0, 3], wanted, atol=1e-3)
    with pytest.raises(errors.InputError, match="grid: sample rate 16000 Hz, but FrontEnd"):
        grid_of(directory, front_end=features.FrontEnd(sample_rate=8000, upper_hz=4000.0))


def test_the_framing_rule_decides_the_frame_labels(tmp_path):
    # Two segments of 0.3 s in the first frame: each half of itself, together over half the frame.
    clip = make_clip(0, segments=((0, 300, 1), (500, 800, 1), (700, 1200, 2)))
    directory = write_dataset(tmp_path / "grid", [clip], 1)
    labels = {
        rule: grid_of(directory, framing_rule=rule)[0]["frame_labels"][0]
        for rule in ("released", "paper")
    }
    for frames in labels.values():
        np.testing.assert_array_equal(frames[:3, 2], [1, 0, 0])
    np.testing.assert_array_equal(labels["paper"][:, 1], [1] + [0] * 9)
    with pytest.raises(errors.InputError, match="framing_rule = 'half'"):
        grid_of(directory, framing_rule="half")


@pytest.mark.parametrize("encoding", ["pcm16", "log_mel"])
def test_labels_alone_are_those_of_the_grid_and_take_no_audio(tmp_path, encoding):
    clips = [make_clip(i, 10.0 - i, negatives=None if i % 2 else (3,)) for i in range(5)]
    clips.append(make_clip(5, segments=None))
    one = write_dataset(tmp_path / "one", clips[:4], 2, encoding=encoding)
    other = write_dataset(tmp_path / "other", clips[4:], 1, encoding=encoding)
    grid = grid_of(one, other, batch_size=4)
    labels = list(evaluation_grid.grid_labels([one, other], batch_size=4).as_numpy_iterator())
    for whole, alone in zip(grid, labels, strict=True):
        assert set(alone) == set(whole) - {"log_mel"}
        for name in alone:
            np.testing.assert_array_equal(alone[name], whole[name])
