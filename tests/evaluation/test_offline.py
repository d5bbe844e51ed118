"""Saved scores against the framed file alone: which frames count."""

import re

import numpy as np
import pandas as pd
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import offline

MIDS = ("/m/a", "/m/b")
CLIPS = {"long_0": 10.0, "half_30000": 5.0, "odd_0": 7.2}  # seconds
# Frames of 0.96 s of which at least half lies inside the clip: 5.28 s are no more than 5.
INSIDE = {"long_0": 10, "half_30000": 5, "odd_0": 8}


@pytest.fixture
def framed(tmp_path):
    """Framed labels of ten frames of every clip: A in frame 0, B explicitly absent."""
    lines = ["segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent"]
    for clip_id in CLIPS:
        for frame in range(10):
            times = f"{frame * 0.96:.2f}\t{(frame + 1) * 0.96:.2f}"
            word = "PRESENT" if frame == 0 else "NOT_PRESENT"
            lines.append(f"{clip_id}\t{times}\t/m/a\t{word}")
            lines.append(f"{clip_id}\t{times}\t/m/b\tNOT_PRESENT")
    path = tmp_path / "framed.tsv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def segments(tmp_path):
    """A segment list, as AudioSet's eval_segments.csv."""
    lines = ["# Segments csv", "# num_ytids=3", "# YTID, start_seconds, end_seconds, labels"]
    for clip_id, seconds in CLIPS.items():
        ytid, start = clip_id.rsplit("_", 1)
        begin = int(start) / 1000
        lines.append(f'{ytid}, {begin:.3f}, {begin + seconds:.3f}, "/m/a"')
    path = tmp_path / "segments.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def save(path, **more):
    """Scores of ten frames; A scores high behind the ends of the clips, where there is nothing."""
    scores = np.full((3, 10, 2), 0.2)
    scores[:, 0] = 0.5
    for i, clip_id in enumerate(CLIPS):
        scores[i, INSIDE[clip_id] :] = 0.9
    np.savez(
        path,
        mids=np.array(MIDS),
        clip_ids=np.array(list(CLIPS)),
        frame_scores=scores.astype(np.float32),
        **more,
    )
    return str(path)


def frame_valid():
    return np.arange(10) < np.array(list(INSIDE.values()))[:, np.newaxis]


def strong_values(labelled):
    return offline.measure(labelled)["strong_eval"].values


def test_frames_behind_the_end_of_a_clip_count_no_more_than_with_a_dataset(
    framed, segments, tmp_path
):
    bare, told = save(tmp_path / "a.npz"), save(tmp_path / "b.npz", frame_valid=frame_valid())
    by_list = offline.read(bare, framed_tsvs=[framed], weak_csvs=[segments])
    by_itself = offline.read(told, framed_tsvs=[framed])
    for labelled in (by_list, by_itself):
        values = strong_values(labelled)
        assert values["samples"] == sum(INSIDE.values())
        assert (
            values["auc_complementary"] == 1
        )  # what is scored where nothing is counts for nothing
    every = strong_values(offline.read(bare, framed_tsvs=[framed]))
    assert every["samples"] == 30
    assert every["auc_complementary"] == pytest.approx(
        1 - 7 / 27
    )  # seven frames behind ends beat A


def test_where_nothing_tells_the_ends_it_is_said(framed, segments, tmp_path, caplog):
    bare = save(tmp_path / "a.npz")
    offline.read(bare, framed_tsvs=[framed], weak_csvs=[segments])
    assert "nothing tells" not in caplog.text
    offline.read(bare, framed_tsvs=[framed])
    assert f"{bare}: nothing tells where clips end, so that all framed labels count" in caplog.text


def test_the_binary_takes_the_list_and_a_table_tells_its_own_ends(
    server, framed, segments, tmp_path
):
    bare = save(tmp_path / "a.npz")
    rows = pd.DataFrame(
        {
            "clip_id": np.repeat(list(CLIPS), 10),
            "frame": np.tile(np.arange(10), 3),
            "frame_valid": frame_valid().reshape(-1),
            "/m/a": 0.5,
            "/m/b": 0.4,
        }
    )
    rows.to_parquet(tmp_path / "table.parquet")
    for flags in (
        [f"--scores={bare}", f"--weak_csv={segments}"],
        [f"--scores={tmp_path / 'table.parquet'}", "--negative_weighting=equal"],
    ):
        process = server.start("measure_scores", *flags, f"--framed_tsv={framed}", "--nointervals")
        assert process.wait() == 0, process.stderr
        assert re.search(r"^samples +23$", process.stdout, re.MULTILINE)


def test_lists_that_do_not_fit_are_told(framed, segments, tmp_path):
    bare = save(tmp_path / "a.npz")
    shorter = tmp_path / "shorter.csv"
    shorter.write_text('long, 0.000, 10.000, "/m/a"\n')
    for given, message in (
        (
            {"framed_tsvs": [framed], "weak_csvs": [str(shorter)]},
            "no row of clip half_30000, which .*a.npz scores",
        ),
        ({"weak_csvs": [segments]}, "--weak_csv: goes with --framed_tsv, without --eval_data"),
    ):
        with pytest.raises(errors.InputError, match=message):
            offline.read(bare, **given)
    odd = save(tmp_path / "odd.npz", frame_valid=np.ones((3, 10)))
    with pytest.raises(errors.InputError, match=r"frame_valid is float64 \(3, 10\); must be bool"):
        offline.read(odd, framed_tsvs=[framed])
