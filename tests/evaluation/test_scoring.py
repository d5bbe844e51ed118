"""Scores: made from batches, written and read back, and what is wrong with bad ones."""

import dataclasses
import re

import numpy as np
import pytest

from audioset_strong import errors
from audioset_strong.evaluation import scoring

MIDS = ("/m/a", "/m/b")
CLIPS, FRAMES, CLASSES = 5, 10, 2
ARRAYS = [field.name for field in dataclasses.fields(scoring.Scores)][2:]


def batch(clip_ids, seed=0):
    """What `sampling.grid_patches` gives, of small patches."""
    rng = np.random.default_rng(seed)
    clips = len(clip_ids)

    def flags(*shape):
        return rng.random((clips, *shape)) < 0.5

    return {
        "clip_id": np.array([clip_id.encode() for clip_id in clip_ids], object),
        "log_mel": rng.normal(size=(clips, FRAMES, 3, 2)).astype(np.float32),
        "frame_valid": flags(FRAMES),
        "weak_labels": flags(CLASSES),
        "weak_known": flags(),
        "negative_labels": flags(CLASSES),
        "negatives_known": flags(),
        "frame_labels": rng.integers(-1, 2, (clips, FRAMES, CLASSES)).astype(np.int8),
        "strong_known": flags(),
    }


BATCHES = [batch(["x_0", "y_0", "z_0"]), batch(["-a_30000", "ü_0"], seed=1)]


def two_logits(patches):
    """Of each patch: the mean, and a logit so large that a naive sigmoid overflows."""
    return np.stack([patches.mean(axis=(1, 2)), -1000 * np.ones(len(patches))], axis=1)


@pytest.fixture
def scores():
    return scoring.score(scoring.of_model(two_logits), BATCHES, MIDS)


def test_scores_are_the_sigmoid_of_the_logits_of_each_patch_in_its_place(scores):
    assert scores.clip_ids == ("x_0", "y_0", "z_0", "-a_30000", "ü_0")
    assert scores.mids == MIDS
    assert scores.frame_scores.dtype == np.float32
    means = np.concatenate([b["log_mel"] for b in BATCHES]).mean(axis=(2, 3), dtype=np.float64)
    np.testing.assert_allclose(scores.frame_scores[:, :, 0], 1 / (1 + np.exp(-means)), rtol=1e-6)
    np.testing.assert_array_equal(scores.frame_scores[:, :, 1], 0)
    for name in ARRAYS[1:]:
        wanted = np.concatenate([b[name] for b in BATCHES])
        np.testing.assert_array_equal(getattr(scores, name), wanted)


def test_progress_counts_clips():
    counted = []
    scoring.score(scoring.of_model(two_logits), BATCHES, MIDS, on_batch=counted.append)
    assert counted == [3, 2]


def test_what_is_saved_is_read_back_to_the_last_bit(scores, tmp_path):
    path = str(tmp_path / "eval-10.npz")
    scores.save(path)
    back = scoring.Scores.load(path)
    assert (back.mids, back.clip_ids) == (scores.mids, scores.clip_ids)
    for name in ARRAYS:
        assert getattr(back, name).dtype == getattr(scores, name).dtype
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    assert [file.name for file in tmp_path.iterdir()] == ["eval-10.npz"]


def test_explicit_negatives_are_those_of_clips_where_they_are_known(scores):
    wanted = [
        [bool(label) and bool(known) for label in labels]
        for labels, known in zip(scores.negative_labels, scores.negatives_known, strict=True)
    ]
    np.testing.assert_array_equal(scores.explicit_negatives(), wanted)


@pytest.mark.parametrize(
    ("batches", "predict", "message"),
    [
        ([], two_logits, "my set: the dataset has no clip"),
        ([BATCHES[0], BATCHES[0]], two_logits, "my set: clip x_0 is there twice"),
        (BATCHES, lambda x: two_logits(x)[:, :1], r"frame_scores is float32 \(5, 10, 1\); must be"),
        (
            BATCHES,
            lambda x: two_logits(x) * np.where(np.arange(len(x)) == 17, np.nan, 1)[:, np.newaxis],
            "my set: the score of /m/a in frame 7 of clip y_0 is nan; must be finite",
        ),
    ],
)
def test_what_is_no_scores_is_told(batches, predict, message):
    with pytest.raises(errors.InputError, match=message):
        scoring.score(scoring.of_model(predict), batches, MIDS, "my set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_scores": None}, "no npz of scores: .*frame_scores"),
        ({"mids": np.array(["/m/a"])}, r"frame_scores is float32 \(5, 10, 2\); must be .*, 1\)"),
        ({"mids": np.array(["/m/a", "/m/a"])}, "class /m/a is there twice"),
        ({"clip_ids": np.array(["x_0"] * 5)}, "clip x_0 is there twice"),
        ({"clip_ids": np.array(["x_0"])}, r"must be floating \(1, 10, 2\)"),
        ({"frame_scores": np.zeros((5, 2), np.float32)}, r"is float32 \(5, 2\); must be floating"),
        ({"frame_scores": np.zeros((5, 10, 2), np.int64)}, r"is int64 \(5, 10, 2\); must be float"),
        ({"frame_scores": np.full((5, 10, 2), np.inf)}, "in frame 0 of clip x_0 is inf"),
        ({"frame_valid": np.zeros((5, 9), bool)}, r"frame_valid is bool \(5, 9\); must be bool"),
        ({"weak_known": np.zeros(5)}, "weak_known is float64"),
        ({"frame_labels": np.full((5, 10, 2), 2, np.int8)}, "frame_labels: 2 .* must be 1, 0 or"),
        ({"weak_labels": np.array([None] * 5)}, "no npz of scores: "),
    ],
)
def test_a_bad_file_is_told_by_name(scores, tmp_path, change, message):
    path = str(tmp_path / "bad.npz")
    arrays = {name: getattr(scores, name) for name in ARRAYS}
    arrays |= {"mids": np.array(scores.mids), "clip_ids": np.array(scores.clip_ids)} | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(errors.InputError, match=message) as told:
        scoring.Scores.load(path)
    assert str(told.value).startswith(f"{path}: ")


def test_a_damaged_file_is_told_wherever_the_damage_is(scores, tmp_path):
    path = tmp_path / "scores.npz"
    scores.save(str(path))
    whole = path.read_bytes()
    cut = [whole[:length] for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1)]
    middle = re.search(rb"frame_scores.npy", whole).end() + 100
    flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 40])
    for content in (*cut, flipped + whole[len(flipped) :], b"step,set,metric,value\n"):
        path.write_bytes(content)
        with pytest.raises(errors.InputError, match=r"scores.npz: no npz of scores: "):
            scoring.Scores.load(str(path))


def test_a_file_that_is_not_there_or_no_npz_is_told(tmp_path):
    with pytest.raises(errors.InputError, match=r"none.npz: no such file"):
        scoring.Scores.load(str(tmp_path / "none.npz"))
    with pytest.raises(errors.InputError, match="no npz of scores"):
        scoring.Scores.load(str(tmp_path))
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(errors.InputError, match=r"array.npy: no npz of scores"):
        scoring.Scores.load(str(tmp_path / "array.npy"))


def write_foreign(path, scores, **changes):
    """Another system's file: clips and classes in another order, and more of both."""
    arrays = {
        "mids": np.array(["/m/x", *scores.mids[::-1]]),
        "clip_ids": np.array([*scores.clip_ids[::-1], "unheard_0"]),
        "frame_scores": np.pad(
            scores.frame_scores[::-1, :, ::-1].astype(np.float64), ((0, 1), (0, 0), (1, 0))
        ),
    }
    np.savez(path, **(arrays | changes))
    return str(path)


def test_scores_of_another_system_are_joined_by_clip_and_class(scores, tmp_path, caplog):
    path = write_foreign(tmp_path / "theirs.npz", scores)
    joined = scoring.of_file(path, BATCHES, MIDS)
    assert (joined.mids, joined.clip_ids) == (scores.mids, scores.clip_ids)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(scores, name))
    assert f"{path}: 1 classes are not in the dataset: left out" in caplog.text
    assert f"{path}: 1 clips are not in the dataset: left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mids": np.array(["/m/x", "/m/y", "/m/a"])}, "no scores of class /m/b of the dataset"),
        ({"clip_ids": np.array(list("abcdef"))}, "no scores of clip x_0 of the dataset"),
        ({"mids": np.array(["/m/a", "/m/b", "/m/a"])}, "class /m/a is there twice"),
        ({"clip_ids": np.array(["x_0"] * 6)}, "clip x_0 is there twice"),
        ({"mids": np.array(["/m/a", "/m/b"])}, r"shape \(6, 10, 3\); must be .* 6 clips and 2 cl"),
        ({"frame_scores": np.zeros((6, 9, 3))}, "9 frames a clip; the dataset has 10"),
        ({"frame_scores": np.zeros((6, 10, 3), int)}, "frame_scores is int64"),
        ({"frame_scores": np.full((6, 10, 3), np.nan)}, "must be finite"),
        ({"frame_scores": np.array("none")}, "must be .clips, frames, classes."),
    ],
)
def test_bad_scores_of_another_system_are_told(scores, tmp_path, change, message):
    path = write_foreign(tmp_path / "theirs.npz", scores, **change)
    with pytest.raises(errors.InputError, match=message) as told:
        scoring.of_file(path, BATCHES, MIDS)
    assert str(told.value).startswith(f"{path}: ")
