"""The split into training and validation by groups of one's own clips."""

import os
import re

import numpy as np
import pytest

from audioset_strong.conversion import converter, splitting
from audioset_strong.core import errors
from audioset_strong.records import shard_reading
from tests.audio_files import melody, write
from tests.datasets import changed, conversion_request

SITES, PER_SITE = 6, 3


@pytest.fixture(scope="module")
def request_by_site(tmp_path_factory):
    """Recordings of six sites, three of each, every one a "video" of its own."""
    root = tmp_path_factory.mktemp("sites")
    lines, table = [], ["recording\tsite\tspeaker"]
    for i in range(SITES * PER_SITE):
        name = f"rec{i:02d}"
        directory = root / "audio" / f"site{i % SITES}"
        directory.mkdir(parents=True, exist_ok=True)
        write(directory / f"{name}_0.wav", melody(0.5, 16_000, i), 16_000)
        lines.append(f'{name}, 0.000, 10.000, "/m/0a"')
        table.append(f"{name}\tsite{i % SITES}\tnobody")
    (root / "weak.csv").write_text("\n".join([*lines, 'gone, 0.000, 10.000, "/m/0a"']) + "\n")
    (root / "sites.tsv").write_text("\n".join(table) + "\n")
    (root / "classes.csv").write_text('index,mid,display_name\n0,/m/0a,"Siren"\n')
    return conversion_request(
        audio_dirs=(str(root / "audio"),),
        weak_csvs=(str(root / "weak.csv"),),
        class_labels=(str(root / "classes.csv"),),
        output_dir=str(root / "unused"),
        name="own",
        num_shards=1,
        num_workers=1,
        validation_share=0.4,
    )


def sites_of(directory, info):
    """The sites of a dataset's clips."""
    ids = [
        clip.clip_id
        for path in info.shard_paths(str(directory / info.name))
        for clip in shard_reading.read_clips(path, info.encoding)
    ]
    return {int(clip_id[3:5]) % SITES for clip_id in ids}, len(ids)


def table_of(request):
    return os.path.join(os.path.dirname(request.audio_dirs[0]), "sites.tsv")


def test_a_pattern_or_a_column_keeps_a_group_on_one_side(request_by_site, tmp_path):
    by_video = converter.convert(changed(request_by_site, output_dir=str(tmp_path / "video")))
    both = [sites_of(tmp_path / "video", info)[0] for info in by_video]
    assert both[0] & both[1]  # by videos, recordings of one site come to both sides
    found = []
    for name, split_by in (
        ("pattern", r"/(site\d)/"),
        ("column", f"{table_of(request_by_site)}:site"),
    ):
        request = changed(request_by_site, output_dir=str(tmp_path / name), split_by=split_by)
        infos = converter.convert(request)
        (train, kept), (validation, held) = (sites_of(tmp_path / name, info) for info in infos)
        assert not train & validation
        assert kept + held == SITES * PER_SITE
        assert [info.split_by for info in infos] == [split_by, split_by]
        found.append((train, validation))
    assert found[0] == found[1]  # the same groups go the same way, whatever names them


def test_a_repeated_conversion_with_another_split_is_another_conversion(request_by_site, tmp_path):
    request = changed(request_by_site, output_dir=str(tmp_path), split_by=r"site\d")
    first = converter.convert(request)
    assert [i.fingerprint for i in converter.convert(request)] == [i.fingerprint for i in first]
    with pytest.raises(errors.InputError, match="holds another conversion"):
        converter.convert(changed(request, split_by=None))


def test_the_group_is_what_stands_in_parentheses_or_the_whole_match():
    paths = ["a/site1/x_mic2.wav", "a/site2/y_mic1.wav", "a/site1/z_mic1.wav"]
    ids = ["x_0", "y_0", "z_0"]
    assert splitting.groups(r"site\d", ids, paths) == ["site1", "site2", "site1"]
    assert splitting.groups(r"site(\d).*mic(\d)", ids, paths) == ["1/2", "2/1", "1/1"]
    assert splitting.groups(r"(?:site1|(site2))", ids, paths) == ["site1", "site2", "site1"]


def test_clips_without_a_file_decide_nothing():
    ids, paths = ["x_0", "x_10000", "y_0"], [None, "site1/x.wav", None]
    assert splitting.groups(r"site\d", ids, paths) == ["site1", "site1", "y"]


def test_files_of_both_sides_are_told(request_by_site, tmp_path, caplog):
    """Names of which a pattern takes a part only, so that two "videos" are cut of one file."""
    (tmp_path / "audio").mkdir()
    lines = []
    for i in range(8):
        write(tmp_path / "audio" / f"take{i}.wav", melody(25.0, 16_000, i), 16_000)
        lines += [
            f'take{i}{half}, {start}.000, {start + 10}.000, "/m/0a"'
            for half, start in (("a", 0), ("b", 10))
        ]
    (tmp_path / "weak.csv").write_text("\n".join(lines) + "\n")
    request = changed(
        request_by_site,
        audio_dirs=(str(tmp_path / "audio"),),
        audio_pattern="{ytid:.5}.wav",
        weak_csvs=(str(tmp_path / "weak.csv"),),
        output_dir=str(tmp_path / "video"),
    )
    train, validation = converter.convert(request)
    shared = train.files_on_both_sides
    assert shared == validation.files_on_both_sides > 0
    assert f"{shared} audio files have clips both in own and in own_validation, the" in caplog.text
    caplog.clear()
    infos = converter.convert(
        changed(request, output_dir=str(tmp_path / "file"), split_by=r"take\d")
    )
    assert [info.files_on_both_sides for info in infos] == [0, 0]
    assert "have clips both in" not in caplog.text


def test_one_file_under_two_links_is_one_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    os.symlink(tmp_path / "a.wav", tmp_path / "b.wav")
    os.link(tmp_path / "a.wav", tmp_path / "c.wav")
    (tmp_path / "d.wav").write_bytes(b"x")
    paths = [*(str(tmp_path / f"{name}.wav") for name in "abcd"), None, "gs://bucket/e.wav"]
    sides = np.array([False, True, False, True, True, True])
    assert splitting.files_on_both_sides(paths, sides) == [paths[1]]
    assert splitting.files_on_both_sides(paths, sides & False) == []


@pytest.mark.parametrize(
    ("split_by", "share", "message"),
    [
        (r"room\d", 0.4, r"--split_by=room\d: does not match "),
        ("site(", 0.4, "--split_by=site(: missing ), unterminated subpattern"),
        ("{table}", 0.4, "names no column; must be FILE.csv:COLUMN"),
        ("{table}:sites", 0.4, "sites.tsv:sites: no such column; there are: site, speaker"),
        ("{table}:recording", 0.4, "no such column; there are: site, speaker"),
        ("{table}x.csv:site", 0.4, "sites.tsvx.csv: cannot be read"),
        (r"site\d", 0.0, "--split_by: nothing is split without --validation_share"),
    ],
)
def test_mistakes_are_one_line_before_any_work(request_by_site, tmp_path, split_by, share, message):
    split_by = split_by.replace("{table}", table_of(request_by_site))
    request = changed(
        request_by_site,
        output_dir=str(tmp_path / "out"),
        split_by=split_by,
        validation_share=share,
    )
    with pytest.raises(errors.InputError, match=re.escape(message)) as told:
        converter.convert(request)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_tables_that_do_not_fit_are_told(tmp_path):
    ids, paths = ["x_0", "x_10000"], ["x1.wav", "x2.wav"]
    table = tmp_path / "groups.csv"
    for text, message in (
        ("clip,site\nx_0,a\n", "groups.csv: neither lists clip x_10000 nor its video"),
        ("clip,site\nx_0,a\nx_0,b\n", "groups.csv: clip x_0 is listed twice"),
        ("clip,site\nx_0,a\nx_10000,\n", "groups.csv, line 3: no site; the columns are clip, site"),
        (
            "clip,site\nx_0,a\nx_10000,b\n",
            "clips of video x are of the groups 'a' and 'b'; a video must be of one",
        ),
    ):
        table.write_text(text)
        with pytest.raises(errors.InputError, match=re.escape(message)):
            splitting.groups(f"{table}:site", ids, paths)
    table.write_text("clip,site\nx,a\n")
    assert splitting.groups(f"{table}:site", ids, paths) == ["a", "a"]


def test_the_binary_splits_by_groups(server, request_by_site, tmp_path):
    process = server.start(
        "convert",
        *(f"--audio_dir={path}" for path in request_by_site.audio_dirs),
        *(f"--weak_csv={path}" for path in request_by_site.metadata.weak_csvs),
        *(f"--class_labels={path}" for path in request_by_site.metadata.class_labels),
        *(f"--output_dir={tmp_path}", "--name=own", "--num_shards=1", "--num_workers=1"),
        *("--validation_share=0.4", r"--split_by=site\d"),
    )
    assert process.wait() == 0, process.stderr
    assert "own_validation: " in process.stdout
    assert "have clips in the other split" not in process.stdout
