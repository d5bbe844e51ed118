"""Readers against files written by hand: the release's formats, and every way to get them wrong."""

import codecs

import hypothesis
import pandas as pd
import pytest
from hypothesis import strategies as st

from audioset_strong.core import errors
from audioset_strong.labels import metadata, metadata_writing

WEAK = """\
# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
_a_JHxphWEs, 0.000, 9.500, "/m/09x0r"
YPJHxphWEs1, 122.700, 132.700, "/m/09x0r,/g/122z_qxw"
"""
STRONG = """\
segment_id\tstart_time_seconds\tend_time_seconds\tlabel
--PJHxphWEs_30000\t1.474\t3.777\t/t/dd00002
--PJHxphWEs_30000\t0.0\t10.0\t/t/dd00002
_a_JHxphWEs_0\t4.34\t4.341\t/m/073cg4
"""
FRAMED = """\
segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent
--PJHxphWEs_30000\t0.0\t0.96\t/m/09x0r\tNOT_PRESENT
--PJHxphWEs_30000\t0.96\t1.92\t/m/09x0r\tPRESENT
--PJHxphWEs_30000\t0.0\t0.96\t/m/073cg4\tNOT_PRESENT
_a_JHxphWEs_0\t0.0\t0.96\t/m/09x0r\tNOT_PRESENT
"""
NEGATIVES = "segment_id\tlabel\nabc_0\t/m/a\nabc_0\t/m/b\nx_y_30000\t/m/a\n"
READERS = {
    "weak": (metadata.read_weak_csv, WEAK),
    "strong": (metadata.read_strong_tsv, STRONG),
    "framed": (metadata.read_framed_tsv, FRAMED),
    "negatives": (metadata.read_negatives, NEGATIVES),
}


def write(tmp_path, content, name="file"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def records(table):
    return list(table.itertuples(index=False, name=None))


def test_weak_csv_gives_clips_with_their_labels(tmp_path):
    table = metadata.read_weak_csv(write(tmp_path, WEAK))
    assert records(table) == [
        ("--PJHxphWEs_30000", "--PJHxphWEs", 30000, 40000, ("/m/09x0r", "/t/dd00088")),
        ("_a_JHxphWEs_0", "_a_JHxphWEs", 0, 9500, ("/m/09x0r",)),
        ("YPJHxphWEs1_122700", "YPJHxphWEs1", 122700, 132700, ("/m/09x0r", "/g/122z_qxw")),
    ]
    assert list(table.columns) == ["clip_id", "ytid", "start_ms", "end_ms", "labels"]
    assert table["start_ms"].dtype == table["end_ms"].dtype == "int64"


def test_a_label_listed_twice_for_a_clip_is_one_label(tmp_path):
    path = write(tmp_path, 'abc, 0.000, 10.000, "/m/b,/m/a,/m/b"\n')
    assert metadata.read_weak_csv(path)["labels"][0] == ("/m/b", "/m/a")


def test_strong_tsv_gives_segments_overlapping_and_of_a_millisecond_too(tmp_path):
    expected = [
        ("--PJHxphWEs_30000", 1474, 3777, "/t/dd00002"),
        ("--PJHxphWEs_30000", 0, 10000, "/t/dd00002"),
        ("_a_JHxphWEs_0", 4340, 4341, "/m/073cg4"),
    ]
    table = metadata.read_strong_tsv(write(tmp_path, STRONG))
    assert list(table.columns) == ["clip_id", "start_ms", "end_ms", "mid"]
    assert records(table) == expected
    headless = STRONG.partition("\n")[2]
    assert records(metadata.read_strong_tsv(write(tmp_path, headless))) == expected


def test_framed_tsv_gives_frames_and_the_negatives_of_whole_clips(tmp_path):
    table = metadata.read_framed_tsv(write(tmp_path, FRAMED))
    assert records(table)[:2] == [
        ("--PJHxphWEs_30000", 0, 960, "/m/09x0r", False),
        ("--PJHxphWEs_30000", 960, 1920, "/m/09x0r", True),
    ]
    assert table["present"].dtype == bool
    assert records(metadata.negatives_from_framed(table)) == [
        ("--PJHxphWEs_30000", "/m/073cg4"),
        ("_a_JHxphWEs_0", "/m/09x0r"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        NEGATIVES,
        NEGATIVES.partition("\n")[2],
        NEGATIVES.replace("\t", ","),
        "segment_id\tlabels\nabc_0\t/m/a,/m/b\nx_y_30000\t/m/a\n",
        'abc_0,"/m/a,/m/b"\nx_y_30000,/m/a\n',
        'abc_0, "/m/a"\nabc_0, "/m/b,/m/a"\nx_y_30000, "/m/a"\n',
    ],
)
def test_negatives_are_pairs_whatever_the_spelling(tmp_path, content):
    table = metadata.read_negatives(write(tmp_path, content))
    assert records(table) == [("abc_0", "/m/a"), ("abc_0", "/m/b"), ("x_y_30000", "/m/a")]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "spell",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.removesuffix("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("\n", "\n\n", 1),
        lambda text: "# of somebody's own, with more, and more, and more, commas\n" + text,
        lambda text: text + '# a comment, "with an open quote\n',
        lambda text: text + "# a\tcomment\tof\ttoo\tmany\tcolumns\twithin, as, of, cat, too\n",
    ],
)
def test_the_spelling_of_a_file_does_not_matter(tmp_path, kind, spell):
    read, content = READERS[kind]
    plain = read(write(tmp_path, content))
    pd.testing.assert_frame_equal(read(write(tmp_path, spell(content))), plain)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("content", [b"", b"\n \r\n", codecs.BOM_UTF8])
def test_an_empty_file_is_refused(tmp_path, kind, content):
    with pytest.raises(errors.InputError, match=r"/file: empty file$"):
        READERS[kind][0](write(tmp_path, content))


@pytest.mark.parametrize("kind", ["strong", "framed", "negatives"])
def test_a_file_of_a_header_alone_is_a_table_without_rows(tmp_path, kind):
    read, content = READERS[kind]
    whole = read(write(tmp_path, content))
    none = read(write(tmp_path, content.partition("\n")[0]))
    pd.testing.assert_frame_equal(none, whole.iloc[:0], check_index_type=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WEAK.encode("utf-16-le"), r"line 1: not UTF-8 text \(byte 0x00\)"),
        (WEAK.encode("utf-16"), r"line 1: not UTF-8 text"),
        (WEAK.encode() + b"caf\xe9, 0, 10, /m/a\n", r"line 7: not UTF-8 text \(byte 0xe9\)"),
    ],
)
def test_text_of_another_encoding_is_refused(tmp_path, content, message):
    with pytest.raises(errors.InputError, match=message):
        metadata.read_weak_csv(write(tmp_path, content))


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(errors.InputError, match=rf"{path}: cannot be read \("):
            metadata.read_weak_csv(str(path))


# The bad row follows the good ones, and is named by its own line number.
BAD_ROWS = [
    ("weak", 'abc, x.5, 40.000, "/m/a"', "start_seconds 'x.5' is not a time"),
    ("weak", 'abc, -1.0, 40.000, "/m/a"', "start_seconds '-1.0' is not a time"),
    ("weak", 'abc, nan, 40.000, "/m/a"', "start_seconds 'nan' is not a time"),
    ("weak", 'abc, 1.0, inf, "/m/a"', "end_seconds 'inf' is not a time"),
    ("weak", 'abc, 1.0, 1e300, "/m/a"', "end_seconds '1e300' is not a time"),
    ("weak", 'abc, 40.000, 30.000, "/m/a"', "end_seconds 30.000 is not after start_seconds 40.000"),
    ("weak", 'abc, 30.000, 30.000, "/m/a"', "end_seconds 30.000 is not after"),
    ("weak", 'abc, 30.000, 40.000, "/m/a,Speech"', "'/m/a,Speech' is not a mid, nor a comma-separ"),
    ("weak", 'abc, 30.000, 40.000, "/m/a,"', "'/m/a,' is not a mid"),
    ("weak", 'abc, 30.000, 40.000, ""', "no positive_labels; the columns are ytid, start_seconds"),
    ("weak", "abc, 30.000, 40.000", "no positive_labels; the columns are"),
    ("weak", "abc", "no start_seconds; the columns are"),
    ("weak", ', 30.000, 40.000, "/m/a"', "no ytid; the columns are"),
    ("weak", 'a c, 30.000, 40.000, "/m/a"', "segment_id 'a c_30000' is not YTID_STARTMS"),
    (
        "weak",
        "abc, 30.000, 40.000, /m/a, /m/b",
        "'/m/b' is an unexpected extra column; the columns are",
    ),
    ("weak", "abc, 30.000, 40.000, /m/a, /m/b, /m/c", "'/m/b,/m/c' is an unexpected extra column"),
    ("weak", 'abc, 30.000, 40.000, "/m/a', "does not fall into columns"),
    ("weak", '_a_JHxphWEs, 0.000, 10.000, "/m/a"', "duplicate row: _a_JHxphWEs_0 is already"),
    (
        "strong",
        "abc_0\t1,5\t2.0\t/m/a",
        "start_time_seconds '1,5' is not a time in seconds, 0 or more",
    ),
    ("strong", "abc_0\t-0.001\t2.0\t/m/a", "start_time_seconds '-0.001' is not a time"),
    ("strong", "abc_0\t1.0\tNaN\t/m/a", "end_time_seconds 'NaN' is not a time"),
    ("strong", "abc_0\t1.0\t-inf\t/m/a", "end_time_seconds '-inf' is not a time"),
    ("strong", "abc_0\t2.5\t1.5\t/m/a", "end_time_seconds 1.5 is not after start_time_seconds 2.5"),
    ("strong", "abc_0\t9.0\t10.001\t/m/a", "end_time_seconds 10.001 lies beyond the clip's 10 sec"),
    ("strong", "abc_0\t9.0\t10.0\t/M/09x0r", "'/M/09x0r' is not a mid such as /m/09x0r"),
    ("strong", "abc_0\t9.0\t10.0\tSpeech", "'Speech' is not a mid such as /m/09x0r"),
    ("strong", "abc_0\t9.0\t10.0\t/m/a,/m/b", "'/m/a,/m/b' is not a mid such as"),
    ("strong", "abc\t9.0\t10.0\t/m/a", "segment_id 'abc' is not YTID_STARTMS"),
    ("strong", "abc_3.5\t9.0\t10.0\t/m/a", "segment_id 'abc_3.5' is not YTID_STARTMS"),
    ("strong", "abc_0\t9.0\t10.0", "no label; the columns are segment_id, start_time_seconds"),
    ("strong", "abc_0\t\t10.0\t/m/a", "no start_time_seconds; the columns are"),
    (
        "strong",
        "abc_0\t9.0\t10.0\t/m/a\tPRESENT",
        "'PRESENT' is an unexpected extra column; the columns are",
    ),
    (
        "strong",
        "abc_0\t9.0\t10.0\t/m/a\tb\tc",
        "'b\\tc' is an unexpected extra column; the columns are",
    ),
    (
        "strong",
        "_a_JHxphWEs_0\t4.340\t4.341\t/m/073cg4",
        "duplicate row: _a_JHxphWEs_0, 4340, 4341",
    ),
    (
        "strong",
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel",
        "'segment_id' is not YTI",
    ),
    ("framed", "abc_0\t0.0\t0.96\t/m/a\tpresent", "present 'present' is neither PRESENT nor NOT_P"),
    ("framed", "abc_0\t0.0\t0.96\t/m/a\t1", "present '1' is neither PRESENT nor NOT_PRESENT"),
    ("framed", "abc_0\t0.0\t0.96\t/m/a", "no present; the columns are"),
    ("framed", "abc_0\t9.6\t10.56\t/m/a\tPRESENT", "end_time_seconds 10.56 lies beyond the clip's"),
    (
        "framed",
        "_a_JHxphWEs_0\t0.0\t0.96\t/m/09x0r\tPRESENT",
        "duplicate row: _a_JHxphWEs_0, 0, 960",
    ),
    ("negatives", "abc\t/m/a", "segment_id 'abc' is not YTID_STARTMS"),
    (
        "negatives",
        "abc_0\tSpeech",
        "'Speech' is not a mid, nor a comma-separated list of mids, such",
    ),
    ("negatives", "abc_0\t/m/a", "duplicate row: abc_0, /m/a is already in a line above"),
    ("negatives", "abc_0", "no label; the columns are segment_id, label"),
    (
        "negatives",
        "abc_0\t/m/d\t/m/c",
        "'/m/c' is an unexpected extra column; the columns are segment_id, label",
    ),
]


@pytest.mark.parametrize(("kind", "row", "message"), BAD_ROWS)
def test_a_bad_row_is_named_by_file_line_and_value(tmp_path, kind, row, message):
    read, content = READERS[kind]
    path = write(tmp_path, content + row + "\n")
    line = content.count("\n") + 1
    with pytest.raises(errors.InputError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}, line {line}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "row"), [(kind, row) for kind, row, message in BAD_ROWS if "duplicate" not in message]
)
def test_bad_rows_can_be_skipped_and_are_then_listed(tmp_path, kind, row):
    read, content = READERS[kind]
    head, _, last = content.removesuffix("\n").rpartition("\n")
    # A good row follows a bad one: it must not be lost with it.
    mixed = write(tmp_path, "\n".join([head, row, last, row, ""]))
    table = read(mixed, skip_bad_rows=True)
    pd.testing.assert_frame_equal(table, read(write(tmp_path, content, "good")))
    line = content.count("\n")
    lines = [text.partition(": ")[0] for text in table.attrs["bad_rows"]]
    assert lines == [f"{mixed}, line {line}", f"{mixed}, line {line + 2}"]


def test_of_duplicate_rows_the_first_is_kept(tmp_path):
    rows = ["a_0\t1.0\t2.0\t/m/a", "a_0\t1.0\t2.00\t/m/a", "a_0\t1.0\t2.001\t/m/a"] * 2
    table = metadata.read_strong_tsv(write(tmp_path, "\n".join(rows)), skip_bad_rows=True)
    assert records(table) == [("a_0", 1000, 2000, "/m/a"), ("a_0", 1000, 2001, "/m/a")]
    assert len(table.attrs["bad_rows"]) == 4


def test_every_skipped_row_is_logged(tmp_path, caplog):
    rows = [f"abc_0\t{i}.5\tx\t/m/a" for i in range(30)]
    path = write(tmp_path, STRONG + "\n".join(rows))
    with caplog.at_level("WARNING", logger="absl"):
        table = metadata.read_strong_tsv(path, skip_bad_rows=True)
    assert len(table) == 3
    for line in range(5, 35):
        assert f"{path}, line {line}: end_time_seconds 'x'" in caplog.text
    assert f"{path}: 30 bad rows skipped" in caplog.text


def test_the_first_bad_row_is_told_and_the_others_are_counted(tmp_path):
    path = write(tmp_path, STRONG + "abc_0\t9\t8\t/m/a\nabc\t1\t2\t/m/a\nabc_0\t1\t2\tx\n")
    with pytest.raises(errors.InputError, match=r"line 5: .* is not after .*\(and 2 more bad rows"):
        metadata.read_strong_tsv(path)


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        (
            "weak",
            STRONG,
            r"line 1: 'segment_id\\tstart_time_.* is not a row of a weak label CSV; its",
        ),
        (
            "strong",
            WEAK,
            r"line 4: '--PJHxphWEs, 30.* is not a row of a strong label TSV; its columns",
        ),
        (
            "strong",
            "abc_0\t1\t2\t/m/a\tx\ty\n",
            r"line 1: 'x\\ty' is an unexpected extra column; the columns are",
        ),
        ("strong", FRAMED, r"line 2: 'NOT_PRESENT' is an unexpected extra column; the columns are"),
        (
            "framed",
            STRONG,
            r"line 1: 'segment_id\\tstart_time_.* is not a row of a framed label TSV",
        ),
        (
            "strong",
            "onset\toffset\tfile\tlabel\n",
            r"line 1: segment_id 'onset' is not YTID_STARTMS",
        ),
        (
            "negatives",
            "abc_0\n",
            r"line 1: 'abc_0' is not a row of a list of negatives; its columns",
        ),
        ("strong", "\x7fELF\x01\x02\n", r"line 1: '\\x7fELF\\x01\\x02' is not a row of a strong"),
    ],
)
def test_a_file_of_another_format_is_refused_at_its_first_line(tmp_path, kind, other, message):
    with pytest.raises(errors.InputError, match=message):
        READERS[kind][0](write(tmp_path, other))


def test_a_quote_left_open_costs_its_own_row_only(tmp_path):
    rows = [f'abc{i}, 0.000, 10.000, "/m/a,/m/b"' for i in range(6)]
    rows[1] = rows[1].removesuffix('"')
    rows[4] = rows[4].removesuffix('"')
    table = metadata.read_weak_csv(write(tmp_path, "\n".join(rows)), skip_bad_rows=True)
    assert table["ytid"].tolist() == ["abc0", "abc2", "abc3", "abc5"]
    assert len(table.attrs["bad_rows"]) == 2
    assert ", line 2: " in table.attrs["bad_rows"][0]
    assert ", line 5: " in table.attrs["bad_rows"][1]


def test_every_millisecond_of_a_clip_is_read_exactly(tmp_path):
    """Times that a float holds only nearly, such as 1.001, must not slip to another."""
    times = [(ms, ms + 1) for ms in range(metadata.CLIP_MS)]
    rows = [f"a_0\t{metadata_writing.seconds(s)}\t{e / 1000:.3f}\t/m/a" for s, e in times]
    table = metadata.read_strong_tsv(write(tmp_path, "\n".join(rows)))
    assert list(zip(table["start_ms"], table["end_ms"], strict=True)) == times


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0.0"), (960, "0.96"), (1920, "1.92"), (4800, "4.8"), (10000, "10.0"), (7, "0.007")],
)
def test_times_are_written_as_the_release_writes_them(ms, text):
    assert metadata_writing.seconds(ms) == text


_SEGMENT_IDS = st.builds(
    metadata.make_clip_id,
    st.text("abcXYZ019-_", min_size=1, max_size=11),
    st.integers(0, 10**7),
)


@hypothesis.given(
    st.lists(
        st.tuples(
            _SEGMENT_IDS,
            st.integers(0, 9000),
            st.from_regex(r"/[mgt]/[a-z0-9_]{1,9}", fullmatch=True),
            st.booleans(),
        ),
        unique_by=lambda row: row[:3],
        max_size=20,
    )
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_framed_labels_survive_being_written_and_read(tmp_path_factory, rows):
    table = pd.DataFrame(
        {
            "clip_id": pd.Series([row[0] for row in rows], dtype=str),
            "start_ms": pd.Series([row[1] for row in rows], dtype="int64"),
            "end_ms": pd.Series([row[1] + 960 for row in rows], dtype="int64"),
            "mid": pd.Series([row[2] for row in rows], dtype=str),
            "present": pd.Series([row[3] for row in rows], dtype=bool),
        }
    )
    path = str(tmp_path_factory.mktemp("framed") / "framed.tsv")
    metadata_writing.write_framed_tsv(path, table)
    pd.testing.assert_frame_equal(
        metadata.read_framed_tsv(path), table, check_index_type=False, check_column_type=False
    )


def test_an_output_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "taken", tmp_path / "nowhere" / "out.tsv"):
        with pytest.raises(errors.InputError, match=rf"{path}: cannot be written \("):
            metadata_writing.write_rows(str(path), None, [("a", "b")])
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("clip_id", "parts"),
    [
        ("abc_30000", ("abc", 30000)),
        ("_a_b-_0", ("_a_b-", 0)),
        ("YT_1_2", ("YT_1", 2)),
    ],
)
def test_a_segment_id_is_split_at_its_last_underscore(clip_id, parts):
    assert metadata.split_clip_id(clip_id) == parts
    assert metadata.make_clip_id(*parts) == clip_id


@pytest.mark.parametrize("text", ["abc", "_30000", "abc_", "abc_3.5", "abc_-1", "abc_\u00b2"])
def test_other_text_is_no_segment_id(text):
    with pytest.raises(errors.InputError, match="must be YTID_STARTMS"):
        metadata.split_clip_id(text)


@pytest.mark.parametrize(
    "content",
    [
        "abc_0\nx_y_30000\n",
        "segment_id\nabc_0\n\nx_y_30000\nabc_0",
        "# chosen\nsegment_id,label\nabc_0,/m/a\nx_y_30000,/m/b\n",
        "abc_0\t1.0\r\nx_y_30000\t2.0\r\n",
    ],
)
def test_a_clip_list_is_the_first_column_of_anything(tmp_path, content):
    assert metadata.read_clip_list(write(tmp_path, content)) == ["abc_0", "x_y_30000"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("abc_0\nabc\n", "line 2: clip id 'abc': must be YTID_STARTMS"),
        ("abc_0\nsegment_id\n", "line 2: clip id 'segment_id': must be"),
        ("segment_id\n", "no clip id in it"),
        ("", "empty file"),
    ],
)
def test_a_bad_clip_list_is_refused(tmp_path, content, message):
    with pytest.raises(errors.InputError, match=message):
        metadata.read_clip_list(write(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        'index,mid,display_name\n0,/m/a,"Speech"\n1,/m/b,"Male speech, man speaking"\n',
        '"index","mid","display_name"\n"0","/m/a","Speech"\n"1","/m/b","Male speech, man speaking"',
        '# ours\nmid,display_name\n/m/a,Speech\n/m/b,"Male speech, man speaking"\n',
        'display_name,colour,mid\nSpeech,red,/m/a\n"Male speech, man speaking",blue,/m/b\n',
        '/m/a,Speech\n/m/b,"Male speech, man speaking"\n',
        "/m/a\tSpeech\n/m/b\tMale speech, man speaking\n",
        "mid\tdisplay_name\r\n/m/a\tSpeech\r\n/m/b\tMale speech, man speaking\r\n",
    ],
)
def test_a_class_list_is_read_in_the_release_s_two_formats_and_others(tmp_path, content):
    table = metadata.read_class_list(write(tmp_path, content))
    assert list(table.columns) == ["mid", "display_name"]
    assert records(table) == [("/m/a", "Speech"), ("/m/b", "Male speech, man speaking")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("index,mid,display_name\n0,/m/a,A\n2,/m/b,B\n", "line 3: index '2' should be 1"),
        ("index,mid,display_name\n1,/m/a,A\n", "line 2: index '1' should be 0"),
        ("/m/a\tA\n/m/a\tB\n", "line 2: duplicate row: /m/a is already in a line above"),
        ("/m/a\tA\nDog\tB\n", "line 2: 'Dog' is not a mid such as /m/09x0r"),
        ("/m/a\tA\n/m/b\n", "line 2: no display_name; the columns are mid, display_name"),
        ("/m/a\tA\n/m/b\tB\tC\n", "line 2: 'C' is an unexpected extra column"),
        (
            "index,mid,display_name\n0,/m/a,Male speech, man\n",
            "line 2: 'man' is an unexpected extra column",
        ),
        (
            "Speech\n",
            "line 1: 'Speech' is not a row of a list of classes; its columns are mid, disp",
        ),
    ],
)
def test_a_bad_class_list_is_refused(tmp_path, content, message):
    with pytest.raises(errors.InputError, match=message):
        metadata.read_class_list(write(tmp_path, content))


def test_what_a_spreadsheet_made_of_an_id_is_a_bad_row(tmp_path):
    path = tmp_path / "weak.csv"
    path.write_text("# YTID, ...\naaa,8.0,18.0,/m/a\n#NAME?,30.0,40.0,/m/a\n#N/A,0,10,/m/a\n")
    message = r"weak.csv, line 3: ytid '#NAME\?' is what a spreadsheet .* \(and 1 more bad rows\)"
    with pytest.raises(errors.InputError, match=message):
        metadata.read_weak_csv(str(path))
    table = metadata.read_weak_csv(str(path), skip_bad_rows=True)
    assert table["ytid"].tolist() == ["aaa"]
    assert len(table.attrs["bad_rows"]) == 2
    path.write_text("#NAME?,30.0,40.0,/m/a\n")
    with pytest.raises(errors.InputError, match=r"line 1: ytid '#NAME\?' is what a spreadsheet"):
        metadata.read_weak_csv(str(path))
    path.write_text("# a comment\n#NAME?\n")
    with pytest.raises(errors.InputError, match=r"line 2: clip id '#NAME\?'"):
        metadata.read_clip_list(str(path))


def test_a_name_typed_on_two_systems_is_one_name(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("mid,display_name\n/m/a,cafe\u0301\n", encoding="utf-8")
    assert metadata.read_class_list(str(path))["display_name"].tolist() == ["caf\u00e9"]
