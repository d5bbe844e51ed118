"""Framed tables against a plain-Python reference, clip by clip."""

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from audioset_strong.core import errors
from audioset_strong.labels import framed_labels, framing, metadata
from audioset_strong.labels.metadata_files import MetadataFiles


def table(rows, columns=("clip_id", "start_ms", "end_ms", "mid")):
    """A table as the readers return it; of the right types without rows, too."""
    types = {"clip_id": str, "mid": str, "start_ms": "int64", "end_ms": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype({name: types[name] for name in columns})


def pairs(rows):
    return table(rows, ("clip_id", "mid"))


def rows_of(frame_table):
    return list(frame_table.itertuples(index=False, name=None))


def reference(strong, negatives, starts, length):
    """Every row of the framed table under the released rule, from first principles."""
    rows = []
    for clip, mid in sorted({(s[0], s[3]) for s in strong} | set(negatives)):
        segments = [(start, end) for c, start, end, m in strong if (c, m) == (clip, mid)]
        present = []
        for frame in starts:
            overlaps = [min(e, frame + length) - max(s, frame) for s, e in segments]
            present.append(
                any(
                    overlap > 0 and min(length, e - s) <= 2 * overlap
                    for overlap, (s, e) in zip(overlaps, segments, strict=True)
                )
            )
        if any(present) or (clip, mid) in negatives:
            rows += [(clip, s, s + length, mid, p) for s, p in zip(starts, present, strict=True)]
    return rows


_CLIPS = st.sampled_from(["-a_0", "B_10000", "_x_y_0", "b_0"])
_MIDS = st.sampled_from(["/g/1", "/m/0a", "/m/0b", "/t/dd1"])
_SEGMENTS = st.tuples(_CLIPS, st.integers(0, 9999), st.integers(1, 10_000), _MIDS).map(
    lambda s: (s[0], s[1], min(s[1] + s[2], 10_000), s[3])
)


@hypothesis.given(
    strong=st.lists(_SEGMENTS, max_size=25),
    negatives=st.lists(st.tuples(_CLIPS, _MIDS), max_size=8, unique=True),
    frames=st.sampled_from([(960, None), (960, 480), (1000, None), (100, 777), (10_000, None)]),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_rows_are_those_of_every_known_pair_sorted_by_clip_label_and_time(
    strong, negatives, frames
):
    length, hop = frames
    starts = range(0, 10_000 - length + 1, hop or length)
    got = framed_labels.frame_table(table(strong), pairs(negatives), frame_ms=length, hop_ms=hop)
    assert rows_of(got) == reference(strong, negatives, starts, length)


def test_by_default_a_clip_has_ten_frames(tmp_path):
    strong = table([("a_0", 0, 10_000, "/m/a")])
    got = framed_labels.frame_table(strong)
    assert got["start_ms"].tolist() == [0, 960, 1920, 2880, 3840, 4800, 5760, 6720, 7680, 8640]
    assert got["end_ms"].iloc[-1] == 9600
    assert got["present"].all()
    text = pd.Series(["a"]).dtype  # "object" in pandas 2, "str" in pandas 3
    assert got.dtypes.tolist() == [text, np.int64, np.int64, text, np.bool_]


def test_large_tables_are_framed_in_batches_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 9_000, 3000)
    strong = pd.DataFrame(
        {
            # Of many segments for some pairs and one for others.
            "clip_id": [f"c{i}_0" for i in np.minimum(rng.geometric(0.02, 3000), 90)],
            "start_ms": start,
            "end_ms": start + rng.integers(1, 1000, 3000),
            "mid": [f"/m/{i}" for i in rng.integers(0, 3, 3000)],
        }
    )
    whole = framed_labels.frame_table(strong)
    monkeypatch.setattr(framed_labels, "_BATCH_OVERLAPS", 64)
    pd.testing.assert_frame_equal(framed_labels.frame_table(strong), whole)
    segments = list(strong.itertuples(index=False, name=None))
    assert rows_of(whole) == reference(segments, [], range(0, 9041, 960), 960)


def test_the_rule_is_the_paper_s_where_it_is_asked_for():
    strong = table([("a_0", 0, 10, "/m/a"), ("a_0", 2000, 4000, "/m/a")])
    assert framed_labels.frame_table(strong)["present"].iloc[0]
    assert not framed_labels.frame_table(strong, rule=framing.PAPER)["present"].iloc[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame_ms": 0}, r"frame length 0 ms: must lie in \[1, 10000\]"),
        ({"frame_ms": 10_001}, r"frame length 10001 ms: must lie in"),
        ({"hop_ms": 0}, "hop 0 ms: must be at least 1"),
        ({"rule": "x"}, "rule = 'x': must be one of released, paper"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(errors.InputError, match=message):
        framed_labels.frame_table(table([("a_0", 0, 10, "/m/a")]), **arguments)


STRONG = """\
b_0\t1.0\t2.0\t/m/b
a_0\t0.0\t0.96\t/m/b
a_0\t5.28\t5.76\t/m/a
a_0\t9.7\t9.9\t/m/late
c_0\t0.0\t0.5\t/m/a
"""


def test_files_become_a_file_and_what_its_rows_do_not_show_is_logged(tmp_path, caplog):
    for name in ("strong.tsv", "again.tsv"):  # the same rows twice: they count once
        (tmp_path / name).write_text(STRONG)
    (tmp_path / "negatives.csv").write_text("a_0,/m/c\na_0,/m/a\nc_0,/m/c\n")
    (tmp_path / "clips.txt").write_text("a_0\nb_0\nempty_0\n")
    out = str(tmp_path / "framed.tsv")
    with caplog.at_level("WARNING", logger="absl"):
        files = MetadataFiles(
            strong_tsvs=(str(tmp_path / "strong.tsv"), str(tmp_path / "again.tsv")),
            negatives=str(tmp_path / "negatives.csv"),
            clip_list=str(tmp_path / "clips.txt"),
        )
        written = framed_labels.frame_files(files, out)
    lines = (tmp_path / "framed.tsv").read_text().splitlines()
    assert lines[0] == "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent"
    assert lines[1:3] == [
        "a_0\t0.0\t0.96\t/m/a\tNOT_PRESENT",
        "a_0\t0.96\t1.92\t/m/a\tNOT_PRESENT",
    ]
    assert lines[6] == "a_0\t4.8\t5.76\t/m/a\tPRESENT"  # 0.48 of 0.96 s: exactly half
    fields = [line.split("\t") for line in lines[1:]]
    assert len(fields) == 40
    assert [f[0::3] for f in fields[::10]] == [
        ["a_0", "/m/a"],
        ["a_0", "/m/b"],
        ["a_0", "/m/c"],
        ["b_0", "/m/b"],
    ]
    assert sum(f[4] == "PRESENT" for f in fields) == 3
    pd.testing.assert_frame_equal(metadata.read_framed_tsv(out), written)
    assert "labels whose segments make no frame PRESENT: 1, the first a_0 /m/late" in caplog.text
    assert "explicit negatives with PRESENT frames: 1, the first a_0 /m/a" in caplog.text
    assert "clips of the list without a row: 1, the first empty_0" in caplog.text


def test_only_positives_are_written_on_request(tmp_path):
    (tmp_path / "strong.tsv").write_text(STRONG)
    out = tmp_path / "framed.tsv"
    files = MetadataFiles(strong_tsvs=str(tmp_path / "strong.tsv"))
    framed_labels.frame_files(files, str(out), positives_only=True)
    lines = out.read_text().splitlines()[1:]
    assert lines == [
        "a_0\t4.8\t5.76\t/m/a\tPRESENT",
        "a_0\t0.0\t0.96\t/m/b\tPRESENT",
        "b_0\t0.96\t1.92\t/m/b\tPRESENT",
        "c_0\t0.0\t0.96\t/m/a\tPRESENT",
    ]


class TestFramedClips:
    HEADER = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent\n"
    MIDS = ("/m/dog", "/m/animal", "/m/cat")

    def read(self, path, rows, **settings):
        """Rows of (clip, frame, mid, present)."""
        lines = [
            f"{clip}\t{frame * 0.96:.3f}\t{(frame + 1) * 0.96:.3f}\t{mid}\t{word}\n"
            for clip, frame, mid, word in rows
        ]
        path.write_text(self.HEADER + "".join(lines))
        return framed_labels.read_framed_clips([str(path)], self.MIDS, **settings)

    ROWS = (
        ("b_0", 9, "/m/dog", "PRESENT"),
        ("b_0", 0, "/m/dog", "NOT_PRESENT"),
        ("b_0", 0, "/m/cat", "NOT_PRESENT"),
        ("a_0", 3, "/m/cat", "PRESENT"),
        ("c_0", 3, "/m/elsewhere", "PRESENT"),
    )

    def test_labels_stand_where_the_rows_say(self, tmp_path, caplog):
        clips = self.read(tmp_path / "framed.tsv", self.ROWS)
        assert clips.clip_ids == ("a_0", "b_0")
        assert "left out 1 label of 1 class: /m/elsewhere (1)" in caplog.text
        listed, labels, negative = clips.labels(["b_0", "unknown_0", "a_0", "c_0"])
        np.testing.assert_array_equal(listed, [True, False, True, False])
        wanted = np.full((4, 10, 3), -1)
        wanted[0, 9, 0], wanted[0, 0, 0], wanted[0, 0, 2], wanted[2, 3, 2] = 1, 0, 0, 1
        np.testing.assert_array_equal(labels, wanted)
        np.testing.assert_array_equal(negative, [[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]])

    def test_labels_are_propagated_to_ancestors(self, tmp_path):
        ancestors = np.eye(3, dtype=bool)
        ancestors[0, 1] = True
        clips = self.read(tmp_path / "framed.tsv", self.ROWS, ancestors=ancestors)
        (animal,) = clips.labels(["b_0"])[1][:, :, 1]
        np.testing.assert_array_equal(animal, [0] * 9 + [1])  # its other frames are negatives

    def test_the_fingerprint_is_of_the_labels_in_any_order(self, tmp_path):
        path = tmp_path / "framed.tsv"
        first = self.read(path, self.ROWS).fingerprint
        assert self.read(path, self.ROWS[::-1]).fingerprint == first
        changed = (*self.ROWS[:3], ("a_0", 3, "/m/cat", "NOT_PRESENT"))
        assert self.read(path, changed).fingerprint != first

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (
                [("a_0", 0.5, "/m/dog", "PRESENT")],
                "a_0, /m/dog from 0.48 to 1.44 s: not a frame of",
            ),
            (
                [("a_0", 1, "/m/dog", "PRESENT"), ("a_0", 1, "/m/dog", "NOT_PRESENT")],
                "line 3: duplicate row: a_0, 960, 1920, /m/dog is already in a line above",
            ),
            ([("a_0", 1, "/m/horse", "PRESENT")], "none of its labels is one of the 3 classes"),
        ],
    )
    def test_malformed_framed_labels_are_refused(self, tmp_path, rows, message):
        with pytest.raises(errors.InputError, match=message) as caught:
            self.read(tmp_path / "framed.tsv", rows)
        assert str(tmp_path / "framed.tsv") in str(caught.value)
