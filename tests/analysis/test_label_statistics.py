"""Label statistics of small tables, worked out by hand or by scipy."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from audioset_strong.analysis import label_report, label_statistics
from audioset_strong.labels import table_files


def items(*pairs):
    return pd.DataFrame(pairs, columns=["clip_id", "mid"]).astype(str)


WEAK = items(("a", "/m/1"), ("a", "/m/2"), ("b", "/m/1"), ("c", "/m/3"), ("only_weak", "/m/1"))
SEGMENTS = pd.DataFrame(
    [
        ("a", 0, 1000, "/m/1"),
        ("a", 500, 750, "/m/1"),
        ("b", 0, 10_000, "/m/4"),
        ("b", 2000, 2001, "/m/1"),
        ("c", 100, 350, "/m/4"),
        ("only_strong", 0, 99, "/m/1"),
    ],
    columns=["clip_id", "start_ms", "end_ms", "mid"],
)
STRONG = label_statistics.clip_items(SEGMENTS)


def test_weak_labels_become_an_item_each():
    weak = pd.DataFrame(
        {"clip_id": ["a", "b", "c"], "labels": [("/m/1", "/m/2"), ("/m/1",), ("/m/3", "/m/1")]}
    )
    assert label_statistics.weak_items(weak).to_numpy().tolist() == [
        ["a", "/m/1"],
        ["a", "/m/2"],
        ["b", "/m/1"],
        ["c", "/m/3"],
        ["c", "/m/1"],
    ]
    assert label_statistics.weak_items(weak.iloc[:0]).empty


def test_a_clip_s_classes_count_once_whatever_their_segments():
    assert STRONG.to_numpy().tolist() == [
        ["a", "/m/1"],
        ["b", "/m/4"],
        ["b", "/m/1"],
        ["c", "/m/4"],
        ["only_strong", "/m/1"],
    ]


def test_the_summary_counts_clips_classes_and_items_of_both():
    table = label_statistics.summary({"weak": WEAK, "segments": SEGMENTS, "none": WEAK.iloc[:0]})
    rows = table.set_index("set")
    assert rows.loc["weak", ["clips", "classes", "items"]].tolist() == [4, 3, 5]
    assert rows.loc["weak", "per_class_mean"] == pytest.approx(5 / 3)
    assert rows.loc["weak", "per_class_median"] == 1
    assert rows.loc["weak", "per_clip_mean"] == 1.25
    assert rows.loc["weak", "per_clip_median"] == 1
    assert rows.loc["weak", "per_clip_max"] == 2
    assert rows.loc["segments", ["clips", "classes", "items"]].tolist() == [4, 2, 6]
    assert rows.loc["segments", "per_class_mean"] == 3
    assert rows.loc["none", ["clips", "classes", "items", "per_clip_max"]].tolist() == [0] * 4
    assert math.isnan(rows.loc["none", "per_class_mean"])


def test_classes_are_counted_in_every_set_0_where_they_are_not():
    counts = label_statistics.class_counts({"weak": WEAK, "strong": STRONG})
    assert counts.index.tolist() == ["/m/1", "/m/2", "/m/3", "/m/4"]
    assert counts["weak"].tolist() == [3, 1, 1, 0]
    assert counts["strong"].tolist() == [3, 0, 0, 2]


def test_clips_are_counted_by_their_items():
    table = label_statistics.items_per_clip({"weak": WEAK, "segments": SEGMENTS})
    assert table.to_numpy().tolist() == [
        ["weak", 1, 3, 0.75],
        ["weak", 2, 1, 0.25],
        ["segments", 1, 2, 0.5],
        ["segments", 2, 2, 0.5],
    ]


def test_durations_are_those_of_the_segments():
    table = label_statistics.segment_durations(SEGMENTS)
    assert table.loc["/m/1"].to_dict() == pytest.approx(
        {
            "total_seconds": 1.35,
            "shortest_seconds": 0.001,
            "median_seconds": (0.099 + 0.25) / 2,
            "mean_seconds": 1.35 / 4,
            "longest_seconds": 1.0,
        }
    )
    histogram = label_statistics.duration_histogram(SEGMENTS)
    assert len(histogram) == 101
    assert histogram["segments"].sum() == 6
    filled = histogram[histogram["segments"] > 0].to_numpy().tolist()
    assert filled == [[0.0, 0.1, 2], [0.2, 0.3, 2], [1.0, 1.1, 1], [10.0, 10.1, 1]]


def test_priors_are_of_the_clips_that_have_both_kinds():
    table = label_statistics.priors(WEAK, STRONG).set_index("mid")
    # a, b and c.
    assert table["weak_clips"].to_dict() == {"/m/1": 2, "/m/2": 1, "/m/3": 1, "/m/4": 0}
    assert table["strong_clips"].to_dict() == {"/m/1": 2, "/m/2": 0, "/m/3": 0, "/m/4": 2}
    assert table["weak_prior"]["/m/1"] == pytest.approx(2 / 3)
    assert table["ratio"].tolist() == [1, 0, 0, math.inf]


def random_items(rng, clips, classes, rate):
    has = rng.random((clips, classes)) < rate
    return items(*((f"c{i}", f"/m/{k}") for i, k in np.argwhere(has))), has


def test_odds_ratios_and_intervals_are_scipy_s():
    rng = np.random.default_rng(0)
    weak, has_weak = random_items(rng, 300, 4, 0.4)
    strong, has_strong = random_items(rng, 300, 5, 0.3)
    in_both = has_weak.any(axis=1) & has_strong.any(axis=1)
    assert 200 < in_both.sum() < 300
    has_weak, has_strong = has_weak[in_both], has_strong[in_both]
    for confidence in (0.95, 0.8):
        table = label_statistics.odds_ratios(weak, strong, confidence=confidence)
        assert len(table) == 20
        assert table["low"].is_monotonic_decreasing
        for row in table.itertuples():
            w, s = has_weak[:, int(row.weak_mid[3:])], has_strong[:, int(row.strong_mid[3:])]
            cells = [[sum(w & s), sum(w & ~s)], [sum(~w & s), sum(~w & ~s)]]
            assert [[row.both, row.weak_only], [row.strong_only, row.neither]] == cells
            expected = scipy.stats.contingency.odds_ratio(cells, kind="sample")
            interval = expected.confidence_interval(confidence)
            assert row.odds_ratio == pytest.approx(expected.statistic)
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
            assert row.strong_given_weak == pytest.approx(np.mean(s[w]))
            assert row.weak_given_strong == pytest.approx(np.mean(w[s]))


def test_where_a_count_is_0_a_half_is_added_to_each():
    weak = items(*((f"c{i}", "/m/w") for i in range(3)), *((f"c{i}", "/m/x") for i in range(3, 9)))
    strong = items(*((f"c{i}", "/m/s") for i in range(3)), *((f"c{i}", "/m/t") for i in range(9)))
    table = label_statistics.odds_ratios(weak, strong).set_index(["weak_mid", "strong_mid"])
    row = table.loc[("/m/w", "/m/s")]
    assert row[["both", "weak_only", "strong_only", "neither"]].tolist() == [3, 0, 0, 6]
    assert row["odds_ratio"] == pytest.approx(3.5 * 6.5 / 0.25)
    error = scipy.stats.norm.ppf(0.975) * math.sqrt(1 / 3.5 + 2 / 0.5 + 1 / 6.5)
    assert row["low"] == pytest.approx(3.5 * 6.5 / 0.25 / math.exp(error))
    assert row["high"] == pytest.approx(3.5 * 6.5 / 0.25 * math.exp(error))
    # A label of every clip goes with no other more than chance.
    assert table.loc[("/m/w", "/m/t"), "low"] < 1 < table.loc[("/m/w", "/m/t"), "high"]
    assert ("/m/x", "/m/s") not in table.index  # never together


@pytest.mark.parametrize(
    ("rank_by", "column"), [("odds_ratio", "odds_ratio"), ("lower_bound", "low")]
)
def test_the_top_pairs_are_ranked_by_what_was_chosen(rank_by, column):
    # 40 of 60 clips of "often" are of the weak label, and 3 of 3 of "rare": the ratio of "rare" is
    # the higher one, that of "often" the surer one.
    weak = [(f"c{i}", "/m/w") for i in range(60)] + [(f"c{i}", "/m/v") for i in range(60, 400)]
    strong = [(f"c{i}", "/m/often") for i in range(20, 80)]
    strong += [(f"c{i}", "/m/rare") for i in range(3)] + [("c0", "/m/once")]
    strong += [(f"c{i}", "/m/all") for i in range(400)]
    ratios = label_statistics.odds_ratios(items(*weak), items(*strong), rank_by=rank_by)
    assert ratios[column].is_monotonic_decreasing
    top = label_statistics.top_pairs(ratios, "weak_mid", 2)
    expected = {"odds_ratio": ["/m/rare", "/m/often"], "low": ["/m/often", "/m/rare"]}
    assert top.loc[top["weak_mid"] == "/m/w", "strong_mid"].tolist() == expected[column]
    assert top.loc[top["weak_mid"] == "/m/w", "rank"].tolist() == [1, 2]
    assert (top["low"] > 1).all()  # "all" is no more frequent than chance
    assert label_statistics.top_pairs(ratios, "strong_mid", 1)["rank"].eq(1).all()


def test_without_a_clip_in_common_there_is_nothing_to_compare():
    apart = items(("x", "/m/1"))
    assert label_statistics.priors(WEAK, apart).empty
    ratios = label_statistics.odds_ratios(WEAK, apart)
    assert ratios.empty
    assert label_statistics.top_pairs(ratios, "weak_mid", 3).empty


def test_tables_are_written_as_pandas_would_write_them(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["a", 'b, "c"', "d"],
            "count": [1, 2, 3],
            "share": [1 / 3, np.nan, 1e-9],
            "ratio": [np.inf, -0.0, 123456789.0],
        }
    )
    path = tmp_path / "table.csv"
    label_report._Output(str(tmp_path)).table("table", table)
    assert path.read_text() == table.to_csv(index=False, float_format="%.6g")


@pytest.mark.parametrize("values", [["b", "x", "b"], [], {"a"}, pd.Series(["c", "c"])])
def test_what_is_among_others_is_what_isin_finds(values):
    for column in (pd.Series(["a", "b", "a", "c"]), pd.Series([], dtype=str)):
        expected = column.isin(list(values)).tolist()
        assert table_files.is_among(column, values).tolist() == expected
