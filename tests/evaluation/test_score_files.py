"""Scores in files: written and read back, of other systems, and what is wrong with bad ones."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import score_files, score_tables
from tests.grid_batches import ARRAYS, BATCHES, MIDS, two_scores


@pytest.fixture
def scores():
    return two_scores()


@pytest.fixture
def probabilities(scores):
    """The same clips with probabilities, as other systems give them."""
    rng = np.random.default_rng(0)
    shape = scores.frame_scores.shape
    return dataclasses.replace(scores, frame_scores=rng.random(shape, np.float32), are_logits=False)


@pytest.mark.parametrize("kind", ["scores", "probabilities"])
@pytest.mark.parametrize("ending", score_files.FORMATS)
def test_what_is_saved_is_read_back_to_the_last_bit(request, tmp_path, ending, kind, monkeypatch):
    scores = request.getfixturevalue(kind)
    monkeypatch.setattr(score_tables, "_CLIPS_AT_A_TIME", 2)
    path = str(tmp_path / f"eval-10.{ending}")
    score_files.save(scores, path)
    back = score_files.load(path)
    assert (back.mids, back.clip_ids) == (scores.mids, scores.clip_ids)
    assert back.are_logits == scores.are_logits
    for name in ARRAYS:
        assert getattr(back, name).dtype == getattr(scores, name).dtype
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    assert [file.name for file in tmp_path.iterdir()] == [f"eval-10.{ending}"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_scores": None}, "not scores in npz format: .*frame_scores"),
        ({"mids": np.array(["/m/a"])}, r"frame_scores is float32 \(5, 10, 2\); must be .*, 1\)"),
        ({"mids": np.array(["/m/a", "/m/a"])}, "class /m/a is duplicated"),
        ({"clip_ids": np.array(["x_0"] * 5)}, "clip x_0 is duplicated"),
        ({"clip_ids": np.array(["x_0"])}, r"must be floating \(1, 10, 2\)"),
        ({"frame_scores": np.zeros((5, 2), np.float32)}, r"is float32 \(5, 2\); must be floating"),
        ({"frame_scores": np.zeros((5, 10, 2), np.int64)}, r"is int64 \(5, 10, 2\); must be float"),
        ({"frame_scores": np.full((5, 10, 2), np.inf)}, "in frame 0 of clip x_0 is inf"),
        ({"frame_scores": np.full((5, 10, 2), 1.5)}, "is 1.5; must be a probability, from 0 to 1"),
        ({"frame_valid": np.zeros((5, 9), bool)}, r"frame_valid is bool \(5, 9\); must be bool"),
        ({"weak_known": np.zeros(5)}, "weak_known is float64"),
        (
            {"frame_labels": np.full((5, 10, 2), 2, np.int8)},
            "frame_labels holds 2; must be 1, 0 or",
        ),
        ({"weak_labels": np.array([None] * 5)}, "not scores in npz format: "),
    ],
)
def test_a_bad_file_is_told_by_name(probabilities, tmp_path, change, message):
    scores = probabilities
    path = str(tmp_path / "bad.npz")
    arrays = {name: getattr(scores, name) for name in ARRAYS}
    arrays |= {"mids": np.array(scores.mids), "clip_ids": np.array(scores.clip_ids)} | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(errors.InputError, match=message) as told:
        score_files.load(path)
    assert str(told.value).startswith(f"{path}: ")


def test_a_damaged_file_is_told_wherever_the_damage_is(scores, tmp_path):
    path = tmp_path / "scores.npz"
    score_files.save(scores, str(path))
    whole = path.read_bytes()
    cut = [whole[:length] for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1)]
    middle = re.search(rb"frame_logits.npy", whole).end() + 100
    flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 40])
    for content in (*cut, flipped + whole[len(flipped) :], b"step,set,metric,value\n"):
        path.write_bytes(content)
        with pytest.raises(errors.InputError, match=r"scores.npz: not scores in npz format: "):
            score_files.load(str(path))


def test_a_file_that_is_not_there_or_no_npz_is_told(tmp_path):
    with pytest.raises(errors.InputError, match=r"none.npz: no such file"):
        score_files.load(str(tmp_path / "none.npz"))
    with pytest.raises(errors.InputError, match="not scores in npz format"):
        score_files.load(str(tmp_path))
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(errors.InputError, match=r"array.npy: not scores in npz format"):
        score_files.load(str(tmp_path / "array.npy"))


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


def assert_joined(path, scores, caplog):
    """Joined with the labels they are these scores; a class and a clip more are left out."""
    joined = score_files.ScoreFile(path).with_labels(BATCHES, mids=MIDS)
    assert (joined.mids, joined.clip_ids) == (scores.mids, scores.clip_ids)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(scores, name))
    assert f"{path}: 1 classes are not in the dataset: left out" in caplog.text
    assert f"{path}: 1 clips are not in the dataset: left out" in caplog.text


def test_scores_of_another_system_are_joined_by_clip_and_class(probabilities, tmp_path, caplog):
    path = write_foreign(tmp_path / "theirs.npz", probabilities)
    assert_joined(path, probabilities, caplog)


@pytest.mark.parametrize("ending", score_files.FORMATS)
def test_logits_are_taken_as_such_by_their_name_or_by_the_user_s_word(scores, tmp_path, ending):
    path = str(tmp_path / f"theirs.{ending}")
    if ending == score_files.NPZ:
        write_foreign(path, scores)
        arrays = dict(np.load(path))
        named = str(tmp_path / "named.npz")
        np.savez(named, frame_logits=arrays.pop("frame_scores"), **arrays)
    else:
        as_table(scores).to_parquet(path)
        named = str(tmp_path / "named.parquet")
        as_table(scores).rename(columns={mid: f"logit:{mid}" for mid in MIDS}).to_parquet(named)
    for file in (
        score_files.ScoreFile(path, logits=True),
        score_files.ScoreFile(named),
        score_files.ScoreFile(named, logits=True),
    ):
        joined = file.with_labels(BATCHES, mids=MIDS)
        assert joined.are_logits
        np.testing.assert_array_equal(joined.frame_scores, scores.frame_scores)
        np.testing.assert_array_equal(joined.clip_scores(), scores.clip_scores())
    with pytest.raises(errors.InputError, match=r"must be a probability, from 0 to 1 .*--logits"):
        score_files.ScoreFile(path).with_labels(BATCHES, mids=MIDS)


def test_probabilities_that_are_called_logits_are_refused(probabilities, tmp_path):
    path = write_foreign(tmp_path / "theirs.npz", probabilities)
    with pytest.raises(errors.InputError, match=r"--logits: all scores of .* are from 0 to 1"):
        score_files.ScoreFile(path, logits=True)
    score_files.save(probabilities, path)
    with pytest.raises(errors.InputError, match=r"--logits: all scores of .* are from 0 to 1"):
        score_files.load(path, logits=True)


@pytest.mark.parametrize("ending", score_files.FORMATS)
def test_frames_behind_the_end_of_a_clip_are_known_where_the_file_says_so(
    scores, probabilities, tmp_path, ending
):
    path = str(tmp_path / f"ours.{ending}")
    score_files.save(scores, path)
    np.testing.assert_array_equal(score_files.ScoreFile(path).frame_valid, scores.frame_valid)
    theirs = write_foreign(tmp_path / "theirs.npz", probabilities)
    assert score_files.ScoreFile(theirs).frame_valid is None
    bad = write_foreign(tmp_path / "bad.npz", probabilities, frame_valid=np.ones((6, 9), bool))
    with pytest.raises(errors.InputError, match=r"frame_valid is bool \(6, 9\); must be bool"):
        score_files.ScoreFile(bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mids": np.array(["/m/x", "/m/y", "/m/a"])},
            "no scores of 1 of 2 classes of the dataset",
        ),
        (
            {"mids": np.array(["Speech", "Dog", "Cat"])},
            "no scores of 2 of 2 classes of the dataset, such as /m/a; its own classes are Sp",
        ),
        (
            {"clip_ids": np.array(list("abcdef"))},
            "no scores of 3 of 3 clips of the dataset, such as x_0; its own clips are a, b, c",
        ),
        ({"mids": np.array(["/m/a", "/m/b", "/m/a"])}, "class /m/a is duplicated"),
        ({"clip_ids": np.array(["x_0"] * 6)}, "clip x_0 is duplicated"),
        ({"mids": np.array(["/m/a", "/m/b"])}, r"shape \(6, 10, 3\); must be .* 6 clips and 2 cl"),
        ({"frame_scores": np.zeros((6, 9, 3))}, "9 frames a clip; the labels have 10"),
        ({"frame_scores": np.zeros((6, 10, 3), int)}, "frame_scores is int64"),
        ({"frame_scores": np.full((6, 10, 3), np.nan)}, "must be finite"),
        ({"frame_scores": np.array("none")}, "must be .clips, frames, classes."),
    ],
)
def test_bad_scores_of_another_system_are_told(probabilities, tmp_path, change, message):
    path = write_foreign(tmp_path / "theirs.npz", probabilities, **change)
    with pytest.raises(errors.InputError, match=message) as told:
        score_files.ScoreFile(path).with_labels(BATCHES, mids=MIDS)
    assert str(told.value).startswith(f"{path}: ")


def as_table(scores, **more):
    """Scores as a data frame that another system's authors would write."""
    clips, frames, _ = scores.frame_scores.shape
    table = pd.DataFrame(
        {"clip_id": np.repeat(scores.clip_ids, frames), "frame": np.tile(np.arange(frames), clips)}
    )
    for k, mid in enumerate(scores.mids):
        table[mid] = scores.frame_scores[:, :, k].reshape(-1)
    return table.assign(**more)


def test_a_data_frame_of_another_system_is_read_in_any_order(probabilities, tmp_path, caplog):
    scores = probabilities
    path = str(tmp_path / "theirs.parquet")
    table = as_table(scores, **{"/m/x": 0.5})
    extra = table.head(10).assign(clip_id="unheard_0")
    pd.concat([table, extra]).sample(frac=1, random_state=0).to_parquet(path)  # with its index
    assert_joined(path, scores, caplog)


def test_a_saved_parquet_is_a_table_for_anybody(scores, tmp_path):
    path = str(tmp_path / "eval-10.parquet")
    score_files.save(scores, path)
    table = pd.read_parquet(path).set_index(["clip_id", "frame"])
    assert len(table) == 50
    row = table.loc[("z_0", 7)]
    for k, mid in enumerate(MIDS):
        assert row[f"logit:{mid}"] == scores.frame_scores[2, 7, k]
        assert row[f"strong:{mid}"] == scores.frame_labels[2, 7, k]
        assert row[f"weak:{mid}"] == scores.weak_labels[2, k]
        assert row[f"negative:{mid}"] == scores.negative_labels[2, k]
    assert row["weak_known"] == scores.weak_known[2]
    assert row["frame_valid"] == scores.frame_valid[2, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.drop(columns="frame"),
            "not scores in parquet format: it has no column 'frame'",
        ),
        (lambda t: t[["clip_id", "frame"]], "it has no column of scores"),
        (lambda t: t.iloc[:-1], "clip ü_0 has 9 rows; all clips must have as many frames"),
        (lambda t: t.assign(frame=t["frame"].replace(3, 4)), "clip x_0: frame 4 is duplicated"),
        (
            lambda t: t.assign(frame=t["frame"] + 1),
            "clip x_0: frame 1 is duplicated or not one of 0",
        ),
        (lambda t: t[t["frame"] < 9], "9 frames a clip; the labels have 10"),
        (
            lambda t: t.drop(columns="/m/b"),
            "no scores of 1 of 2 classes of the dataset, such as /m/b",
        ),
        (lambda t: t[t["clip_id"] != "y_0"], "no scores of 1 of 3 clips of the dataset, such as y"),
        (lambda t: t.assign(**{"/m/a": np.nan}), "the score of /m/a in frame 0 of clip x_0 is nan"),
        (lambda t: t.assign(**{"/m/a": "high"}), "frame_scores is object"),
    ],
)
def test_a_bad_data_frame_is_told(probabilities, tmp_path, change, message):
    path = str(tmp_path / "theirs.parquet")
    change(as_table(probabilities)).to_parquet(path)
    with pytest.raises(errors.InputError, match=message) as told:
        score_files.ScoreFile(path).with_labels(BATCHES, mids=MIDS)
    assert str(told.value).startswith(f"{path}: ")


def test_a_damaged_or_unlabelled_parquet_is_told(scores, tmp_path):
    path = tmp_path / "scores.parquet"
    score_files.save(scores, str(path))
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-1], b"clip_id,frame\n"):
        path.write_bytes(content)
        with pytest.raises(
            errors.InputError, match=r"scores.parquet: not scores in parquet format: "
        ):
            score_files.load(str(path))
    as_table(scores).to_parquet(path)
    with pytest.raises(errors.InputError, match="it has no column 'frame_valid'"):
        score_files.load(str(path))
