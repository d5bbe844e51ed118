"""File names of people's downloads -> the file of each clip."""

import os
import zipfile

import pytest

from audioset_strong.audio import finding
from audioset_strong.audio.archives import catalogues
from audioset_strong.core import errors


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def find(index, ytid, start_s, end_s=None):
    """(path relative to the working directory, whether the name tells the start) or None."""
    start, end = round(start_s * 1000), round((start_s + 10 if end_s is None else end_s) * 1000)
    return index.find(ytid, start, end)


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "ytid", "start_s", "by_start"),
    [
        ("{}.wav", "abcdefghijk", 30, False),
        ("Y{}.m4a", "abcdefghijk", 30, False),
        ("{}_30.flac", "abcdefghijk", 30, True),
        ("{}_30000.flac", "abcdefghijk", 30, True),
        ("{}_30.0.flac", "abcdefghijk", 30, True),
        ("{}_30.000.MP3", "abcdefghijk", 30, True),
        ("{}_30_40.ogg", "abcdefghijk", 30, True),
        ("{}_30.0_40.0.opus", "abcdefghijk", 30, True),
        ("Y{}_30.000_40.000.wav", "abcdefghijk", 30, True),
        ("{}_30000_40000.webm", "abcdefghijk", 30, True),
        ("{}_30000_37000.webm", "abcdefghijk", 30, True),
        ("{}_0_10.mp4", "abcdefghijk", 0, True),
        ("{}_0.5.wav", "abcdefghijk", 0.5, True),
        ("{}_1234567_1244567.wav", "abcdefghijk", 1234.567, True),
        ("{}_1234.567.wav", "abcdefghijk", 1234.567, True),
        ("{}_1000000.wav", "abcdefghijk", 1_000_000, True),
        ("-bcdefghijk.wav", "-bcdefghijk", 30, False),
        ("_bcdefghij_.wav", "_bcdefghij_", 30, False),
        ("{}_30000.wav", "--_fgh__-_0", 30, True),
        ("{}_30.wav", "abcdefg_123", 30, True),
        ("{}_30_40.wav", "abcdefg_123", 30, True),
        ("{}_30_40.wav", "abcde_12_34", 30, True),
        ("Y{}.wav", "Yabcdefghij", 30, False),
        ("{}.wav", "Yabcdefghij", 30, False),
        ("train/ab/{}_30000.wav", "abcdefghijk", 30, True),
        ("00/01/{}.wav", "abcdefghijk", 30, False),
    ],
)
def test_layouts_in_use_are_recognised(tmp_path, name, ytid, start_s, by_start):
    path = name.format(ytid)
    # Neighbours that are somebody else's.
    touch(tmp_path, path, f"x{ytid}.wav", f"{ytid}x.wav", f"{ytid}_31.wav", "x/notes.txt")
    index = finding.AudioIndex(["."])
    assert find(index, ytid, start_s) == (f"./{path}", by_start)
    assert find(index, "otherotherx", start_s) is None


def test_ids_that_hold_each_other_are_kept_apart(tmp_path):
    touch(tmp_path, "Yabcdefghij.wav", "YYabcdefghij.wav", "abcdefghijk.wav", "-abcdefghi_.wav")
    index = finding.AudioIndex(["."])
    assert len(index) == 4
    assert find(index, "Yabcdefghij", 0) == ("./Yabcdefghij.wav", False)
    assert find(index, "abcdefghijk", 0) == ("./abcdefghijk.wav", False)
    assert find(index, "-abcdefghi_", 0) == ("./-abcdefghi_.wav", False)
    assert find(index, "abcdefghi_", 0) is None


def test_the_most_telling_name_wins(tmp_path):
    touch(tmp_path, "a.wav", "a_30.wav", "a_30_40.wav", "a_60_70.wav")
    index = finding.AudioIndex(["."])
    assert find(index, "a", 30) == ("./a_30.wav", True)
    assert find(index, "a", 60) == ("./a_60_70.wav", True)
    assert find(index, "a", 90) == ("./a.wav", False)


def test_of_files_with_one_name_the_first_directory_wins_and_the_rest_is_told(tmp_path, caplog):
    touch(tmp_path, "b/x_1.wav", "a/x_1.wav", "a/deep/x_1.wav", "a/x_1.flac")
    with caplog.at_level("WARNING"):
        assert find(finding.AudioIndex(["b", "a"]), "x", 1) == ("b/x_1.wav", True)
    assert "3 audio files are ignored" in caplog.text
    assert "a/x_1.flac, beside b/x_1.wav" in caplog.text
    assert find(finding.AudioIndex(["a"]), "x", 1) == ("a/x_1.flac", True)


@pytest.mark.parametrize(
    ("pattern", "path", "by_start"),
    [
        ("{ytid}-{start_s:.0f}.wav", "any/where/abc-30.wav", True),
        ("{ytid}-{start_s:.0f}", "any/where/abc-30.mkv", True),
        (
            "clip {start_ms:08d}~{end_ms:08d} of {ytid}.flac",
            "clip 00030000~00037500 of abc.flac",
            True,
        ),
        ("{ytid:.2}/{ytid}/{start_s:g}-{end_s:g}.ogg", "ab/abc/30-37.5.ogg", True),
        ("/{ytid}", "abc.m4a", False),
        ("{ytid}/audio", "abc/audio.webm", False),
    ],
)
def test_a_pattern_tells_of_any_other_layout(tmp_path, pattern, path, by_start):
    touch(tmp_path / "audio", path, "abc.wav.txt", "deep/abc.wav", "abcd-30.wav")
    index = finding.AudioIndex(["audio"], pattern)
    assert find(index, "abc", 30, 37.5) == (f"audio/{path}", by_start)
    assert find(index, "nothing", 30, 37.5) is None


@pytest.mark.parametrize(
    "pattern",
    ["{id}.wav", "{ytid", "{ytid}}", "{start_ms}.wav", "x.wav", "{}", "{ytid.x}", "{ytid:d}"],
)
def test_a_pattern_of_another_form_is_refused(tmp_path, pattern):
    touch(tmp_path, "abc.wav")
    with pytest.raises(errors.InputError, match="audio_pattern") as raised:
        finding.AudioIndex(["."], pattern)
    assert pattern in str(raised.value)


def test_glob_patterns_name_directories_or_files(tmp_path):
    touch(tmp_path, "part1/a.wav", "part2/deep/b.wav", "other/c.wav", "part3/d.txt")
    assert len(finding.AudioIndex(["part*"])) == 2
    assert len(finding.AudioIndex(["part1/*.wav", "other/?.wav"])) == 2
    assert len(finding.AudioIndex(["**/*.wav"])) == 3
    touch(tmp_path, "odd[1]/e.wav")  # a directory of that name is meant as it stands
    assert find(finding.AudioIndex(["odd[1]"]), "e", 0) == ("odd[1]/e.wav", False)


def test_other_file_systems_are_listed_through_gfile(tmp_path):
    touch(tmp_path, "train1/x/a_30.wav", "train2/b.flac", "eval/c.wav")
    root = f"file://{tmp_path}"
    assert find(finding.AudioIndex([root]), "a", 30) == (f"{root}/train1/x/a_30.wav", True)
    index = finding.AudioIndex([f"{root}/train*"], "x/{ytid}_{start_s:.0f}")
    assert find(index, "a", 30) == (f"{root}/train1/x/a_30.wav", True)
    with pytest.raises(errors.InputError, match=f"{root}/nowhere: no such directory"):
        finding.AudioIndex([f"{root}/nowhere"])


def test_links_are_followed_and_circles_end(tmp_path):
    touch(tmp_path, "disk/a.wav", "audio/b.wav")
    os.symlink(tmp_path / "disk", tmp_path / "audio" / "more")
    os.symlink(tmp_path / "audio", tmp_path / "disk" / "back")
    os.symlink(tmp_path / "nowhere.wav", tmp_path / "audio" / "c.wav")
    index = finding.AudioIndex(["audio"])
    assert find(index, "a", 0) == ("audio/more/a.wav", False)
    assert find(index, "c", 0) == ("audio/c.wav", False)  # decoding it tells what is wrong
    assert len(index) == 3


def test_directories_that_cannot_be_used_are_named(tmp_path):
    touch(tmp_path, "empty/notes.txt")
    for directory, message in {
        "nowhere": "nowhere: no such directory",
        "nowhere*": r"nowhere\*: no such directory",
        "nosuch://bucket/audio": r"nosuch://bucket/audio: cannot be listed \(.*nosuch",
        "empty": r"no audio file in empty \(looked for .*\.wav",
    }.items():
        with pytest.raises(errors.InputError, match=message) as raised:
            finding.AudioIndex([directory])
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    touch(tmp_path, "audio/a.wav", "audio/secret/b.wav")
    os.chmod("audio/secret", 0)
    try:
        with pytest.raises(errors.InputError, match=r"audio/secret: cannot be listed \(Permission"):
            finding.AudioIndex(["audio"])
    finally:
        os.chmod("audio/secret", 0o700)


def test_recordings_are_looked_for_in_folders_and_by_patterns_and_each_is_met_once(tmp_path):
    touch(tmp_path, "in/b.WAV", "in/a.mp3", "in/sub/a.wav", "in/sub/deep/c.mkv", "loose.flac")
    touch(tmp_path, "in/._b.WAV", "in/.git/d.wav", "in/b.WAV.labels.txt", "in/b.WAV.png")
    folder = ["in/a.mp3", "in/b.WAV", "in/sub/a.wav", "in/sub/deep/c.mkv"]
    assert finding.recordings(["in"]) == folder
    assert finding.recordings(["in/*"]) == folder  # as a shell that leaves the pattern to us
    assert finding.recordings(["in/**/a.*"]) == ["in/a.mp3", "in/sub/a.wav"]
    assert finding.recordings(["in/sub/../b.WAV", "in", str(tmp_path / "in/a.mp3")]) == [
        "in/sub/../b.WAV",
        *(path for path in folder if path != "in/b.WAV"),
    ]
    # What is named is taken as it is, whether it is there or not, and whatever it is called.
    touch(tmp_path, "take[1].wav", "noise.dat")
    named = ["take[1].wav", "noise.dat", "in/._b.WAV", "no.wav"]
    assert finding.recordings(named) == named


def test_recordings_in_archives_are_found(tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as file:
        for name in ("x/a.wav", "x/._a.wav", "notes.txt", "b.flac"):
            file.writestr(name, name)
    touch(tmp_path, "a.wav")
    found = finding.recordings([".", "some.zip"])
    assert [os.path.normpath(path) for path in found] == [
        "a.wav",
        "some.zip/x/a.wav",
        "some.zip/b.flac",
    ]
    assert [catalogues.read(path) for path in found[1:]] == [b"x/a.wav", b"b.flac"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("empty", "^no audio file in empty \\(looked for .aac, .*.wav, .*.zip"),
        ("only/*", r"^no audio file in only/\* \(looked for"),
        ("*.wav", r"^\*.wav: no such directory or file"),
    ],
)
def test_a_place_without_recordings_is_told(tmp_path, place, message):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "only/labels.txt", "only/.hidden.wav", "a.flac")
    with pytest.raises(errors.InputError, match=message):
        finding.recordings(["a.flac", place])
