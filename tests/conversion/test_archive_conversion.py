"""Conversion from archives as they are: the dataset that the same loose files give."""

import csv
import os
import pathlib
import pickle

import numpy as np
import pytest

from audioset_strong.audio import finding
from audioset_strong.audio.archives import members
from audioset_strong.conversion import converter, shard_writing
from audioset_strong.core import errors
from audioset_strong.records import dataset_info, inspection, shard_reading
from tests.archives import packed_hdf5, packed_panns, packed_parquet, packed_tar, packed_zip
from tests.audio_files import melody, write
from tests.datasets import changed, conversion_request

RATE = 16_000
NAMES = [f"abcdefghij{i}" for i in range(8)]
MIDS = ["/m/0a", "/m/0b", "/m/0c"]
CLASSES = "index,mid,display_name\n" + "".join(
    f'{i},{mid},"Class, {mid[-1]}"\n' for i, mid in enumerate(MIDS)
)


def labels_of(i):
    return [MIDS[i % 3], *([MIDS[2]] if i % 3 == 0 else [])]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Loose files, whole videos and clips, and archives of them; metadata that name the clips."""
    root = tmp_path_factory.mktemp("archives")
    contents = {}
    for i, name in enumerate(NAMES):
        seconds = 2.0 if i % 2 else 13.0  # the clip, or the video, of which it is 10 to 12 s
        path = write(root / "loose" / f"{name}.flac", melody(seconds, RATE, i), RATE)
        contents[path.name] = path.read_bytes()
    packed_tar(root / "x.tar", contents)
    packed_zip(root / "x.zip", contents)
    packed_parquet(root / "x.parquet", contents, row_group_size=3)
    rows = [f'{name}, 10.000, 12.000, "{",".join(labels_of(i))}"' for i, name in enumerate(NAMES)]
    (root / "weak.csv").write_text("# YTID, ...\n" + "\n".join(rows) + "\n")
    (root / "strong.tsv").write_text("".join(f"{name}_10000\t0\t1\t/m/0b\n" for name in NAMES))
    (root / "classes.csv").write_text(CLASSES)
    return root


def request(root, audio, output_dir, **fields):
    labelled = {} if fields.get("labels_from_archive") else {"weak_csvs": (f"{root}/weak.csv",)}
    return conversion_request(
        **{
            "audio_dirs": tuple(str(root / place) for place in audio),
            "class_labels": (f"{root}/classes.csv",),
            "output_dir": str(output_dir),
            "name": "d",
            "num_shards": 2,
            "num_workers": 1,
            **labelled,
            **fields,
        }
    )


def labelled(root, tmp_path, archive, **fields):
    """A request that takes audio and labels from an archive in the directory of a test."""
    audio = (f"{tmp_path}/{archive}",)
    return request(root, [], tmp_path, audio_dirs=audio, labels_from_archive=True, **fields)


def shards(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).glob("*.tfrecord")}


def manifest(directory):
    with open(pathlib.Path(directory) / "manifest.csv", newline="") as file:
        return {row["clip_id"]: row for row in csv.DictReader(file)}


def weak_labels(directory):
    """Clip id -> mids of its weak labels, from the records."""
    info = dataset_info.DatasetInfo.load(str(directory))
    return {
        clip.clip_id: [info.vocabulary.mids[label] for label in clip.weak_labels]
        for path in info.shard_paths(str(directory))
        for clip in shard_reading.read_clips(path)
    }


@pytest.fixture(scope="module")
def loose(root):
    converter.convert(request(root, ["loose"], root / "from_loose"))
    return root / "from_loose" / "d"


@pytest.mark.parametrize(
    ("audio", "member"),
    [
        (["x.tar"], "x.tar/{}.flac"),
        (["x.zip"], "x.zip/{}.flac"),
        (["x.parquet"], "x.parquet/{}.flac"),
        (["*.tar", "x.zip", "loose"], "x.tar/{}.flac"),  # the first place counts
    ],
    ids=lambda value: str(value),
)
def test_archives_give_the_bytes_that_loose_files_give(root, loose, tmp_path, audio, member):
    converter.convert(request(root, audio, tmp_path))
    assert shards(tmp_path / "d") == shards(loose)
    rows = manifest(tmp_path / "d")
    assert {row["status"] for row in rows.values()} == {"written"}
    for name in NAMES:
        assert rows[f"{name}_10000"]["file"] == str(root / member.format(name))
    assert not inspection.verify(
        str(tmp_path / "d"), dataset_info.DatasetInfo.load(str(tmp_path / "d"))
    )


def test_an_interrupted_conversion_goes_on(root, loose, tmp_path, monkeypatch):
    whole = shard_writing.write_shard
    written = []

    def fail_at_the_second(path, pieces, **arguments):
        if written:
            raise errors.InputError("the disk is full")
        written.append(path)
        whole(path, pieces, **arguments)

    from_tar = request(root, ["x.tar"], tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(shard_writing, "write_shard", fail_at_the_second)
        with pytest.raises(errors.InputError, match="the disk is full"):
            converter.convert(from_tar)
    assert len(shards(tmp_path / "d")) == 1
    converter.convert(from_tar)
    assert shards(tmp_path / "d") == shards(loose)


def test_beam_gives_the_same_bytes(root, loose, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    converter.convert(request(root, ["x.parquet"], tmp_path, runner="DirectRunner"))
    assert shards(tmp_path / "d") == shards(loose)


def test_an_archive_that_changed_is_another_conversion(root, tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes((root / "x.tar").read_bytes())
    from_tar = request(root, [], tmp_path / "out", audio_dirs=(str(path),))
    converter.convert(from_tar)
    converter.convert(from_tar)
    os.utime(path, ns=(1, 1))
    with pytest.raises(errors.InputError, match="holds another conversion"):
        converter.convert(from_tar)


def test_split_by_sees_the_archive_and_the_name(root, tmp_path):
    for part, names in (("site1", NAMES[:3]), ("site4", NAMES[3:])):
        contents = {f"{n}.flac": (root / "loose" / f"{n}.flac").read_bytes() for n in names}
        packed_tar(tmp_path / f"{part}.tar", contents)
    by_site = request(root, [], tmp_path, audio_dirs=(f"{tmp_path}/site*.tar",))
    by_site = changed(by_site, split_by=r"site\d", validation_share=0.5)
    converter.convert(by_site)
    sides = [
        {
            pathlib.Path(row["file"]).parent.name
            for row in manifest(tmp_path / d).values()
            if row["shard"]
        }
        for d in ("d", "d_validation")
    ]
    assert sorted(map(sorted, sides)) == [["site1.tar"], ["site4.tar"]]


def test_a_damaged_member_costs_its_clip_alone(root, tmp_path, caplog):
    data = bytearray((root / "x.zip").read_bytes())
    at = data.find((root / "loose" / f"{NAMES[2]}.flac").read_bytes())
    data[at + 500] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(data)
    whole = root / "x.tar"
    last = (root / "loose" / f"{NAMES[-1]}.flac").read_bytes()
    (tmp_path / "x.tar").write_bytes(whole.read_bytes()[: whole.read_bytes().find(last) + 1000])
    for kind, lost, reason in (
        ("zip", NAMES[2], "damaged in the zip file (its checksum is another)"),
        ("tar", NAMES[-1], f"the archive ends after 1000 of the {len(last)} bytes of the member"),
    ):
        audio = (str(tmp_path / f"x.{kind}"),)
        converter.convert(request(root, [], tmp_path / kind, audio_dirs=audio))
        rows = manifest(tmp_path / kind / "d")
        assert {n for n, row in rows.items() if row["status"] != "written"} == {f"{lost}_10000"}
        row = rows[f"{lost}_10000"]
        assert (row["status"], row["reason"]) == ("undecodable", reason)
    assert f"x.tar: cut off after 1000 of the {len(last)} bytes of {NAMES[-1]}.flac" in caplog.text


def test_hdf5_of_panns_and_passt_with_their_labels(root, tmp_path):
    pytest.importorskip("h5py", reason="needs the extra hdf5")
    sounds = np.stack([melody(2, RATE, 2 * i + 1) for i in range(4)])
    names = [f"Y{NAMES[2 * i + 1]}.wav" for i in range(4)]
    targets = np.array([[mid in labels_of(2 * i + 1) for mid in MIDS] for i in range(4)])
    waveforms = np.round(sounds * 32767).astype(np.int16)
    packed_panns(tmp_path / "panns.h5", names, waveforms, RATE, targets)
    files = {name: (root / "loose" / f"{name[1:-4]}.flac").read_bytes() for name in names}
    packed_hdf5(tmp_path / "passt.hdf", files, targets)
    for kind in ("panns.h5", "passt.hdf"):
        out = tmp_path / f"out_{kind}"
        audio = (str(tmp_path / kind),)
        (info,) = converter.convert(
            request(root, [], out, audio_dirs=audio, labels_from_archive=True)
        )
        assert weak_labels(out / "d") == {
            f"{n}_0": labels_of(2 * i + 1) for i, n in enumerate(NAMES[1::2])
        }
        assert info.archive_labels == {"HDF5 dataset target": 4}
        for path in info.shard_paths(str(out / "d")):
            for clip in shard_reading.read_clips(path):
                row = NAMES[1::2].index(clip.clip_id[:-2])
                np.testing.assert_allclose(clip.audio, waveforms[row], atol=1)
    wide = np.zeros((4, 5), bool)
    wide[:, 0] = True
    packed_panns(tmp_path / "wide.h5", names, waveforms, RATE, wide)
    wrong = labelled(root, tmp_path, "wide.h5")
    with pytest.raises(errors.InputError, match=r"of 5 classes; .*lists of 3\)"):
        converter.convert(wrong)


def by_hand(**labels):
    """JSON files of WebDataset."""
    return {f"{name}.json": text.encode() for name, text in labels.items()}


def test_labels_of_an_archive_stand_in_for_the_weak_csv(root, loose, tmp_path):
    labels = [labels_of(i) for i in range(len(NAMES))]
    contents = {f"{n}.flac": (root / "loose" / f"{n}.flac").read_bytes() for n in NAMES}
    packed_parquet(tmp_path / "x.parquet", contents, labels)
    with_strong = labelled(root, tmp_path, "x.parquet", strong_tsvs=(f"{root}/strong.tsv",))
    (info,) = converter.convert(with_strong)
    # The strong file says where in its video each clip is.
    assert weak_labels(tmp_path / "d") == weak_labels(loose)
    assert info.archive_labels == {"Parquet column labels": len(NAMES)}
    assert (info.weak_clips, info.strong_clips) == (len(NAMES), len(NAMES))


def test_labels_by_name_with_starts_in_names_and_without(root, tmp_path, caplog):
    sound = (root / "loose" / f"{NAMES[1]}.flac").read_bytes()
    members_ = ["dog_30.flac", "cat_5000_7000.flac", "owl.flac", "whole.flac", "mute.flac"]
    contents = dict.fromkeys(members_, sound) | by_hand(
        dog_30='{"tag": ["Class, a", "Class, c"]}',
        cat_5000_7000='{"labels": ["/m/0b", "Unheard of"]}',
        owl='{"original_data": {"class_labels": ["/m/0c"]}}',
        whole='{"tag": ["Class, a"]}',
    )
    packed_tar(tmp_path / "x.tar", contents)
    (tmp_path / "strong.tsv").write_text("whole_0\t0\t1\t/m/0a\nwhole_10000\t0\t1\t/m/0a\n")
    (info,) = converter.convert(
        labelled(root, tmp_path, "x.tar", select="weak", strong_tsvs=(f"{tmp_path}/strong.tsv",))
    )
    assert weak_labels(tmp_path / "d") == {
        "dog_30000": ["/m/0a", "/m/0c"],
        "cat_5000": ["/m/0b"],
        "owl_0": ["/m/0c"],
    }
    assert info.labels_outside == {"Unheard of": 1}
    assert info.archive_labels == {"WebDataset JSON": 3}
    for text in (
        "1 members of archives have no labels",
        "the labels of 1 members are left out: each is a whole video",
        "1 members of archives do not state where in the video their clip begins",
    ):
        assert text in caplog.text


def test_labels_of_a_long_member_are_not_taken_for_those_of_its_first_ten_seconds(root, tmp_path):
    contents = {}
    for name, seconds in (("owl", 10.9), ("cat", 13), ("dog_5", 13), ("fox_5_17", 13), ("elk", 13)):
        path = write(tmp_path / f"{name}.flac", melody(seconds, RATE), RATE)
        contents[path.name] = path.read_bytes()
        contents[f"{name}.json"] = b'{"tag": ["Class, a"]}'
    packed_tar(tmp_path / "x.tar", contents)
    (tmp_path / "strong.tsv").write_text("elk_2000\t0\t1\t/m/0a\n")
    converter.convert(labelled(root, tmp_path, "x.tar", strong_tsvs=(f"{tmp_path}/strong.tsv",)))
    rows = manifest(tmp_path / "d")
    assert {clip: (row["status"], float(row["seconds"])) for clip, row in rows.items()} == {
        "owl_0": ("written", 10.0),
        "cat_0": ("undecodable", 0.0),
        "dog_5000": ("undecodable", 0.0),
        "fox_5000": ("written", 12.0),
        "elk_2000": ("written", 10.0),  # of a whole video
    }
    assert rows["cat_0"]["reason"] == (
        "longer than 10 s, and nothing says which part its labels are of"
    )


def test_a_name_that_other_metadata_have_is_that_of_the_video(root, tmp_path):
    """Without it, Yellow_dog_1 would be the video ellow_dog_1, as YouTube's are named."""
    sound = (root / "loose" / f"{NAMES[1]}.flac").read_bytes()
    labels = by_hand(Yellow_dog_1='{"tag": ["Class, a"]}', cat_9='{"tag": ["Class, a"]}')
    packed_tar(
        tmp_path / "x.tar", dict.fromkeys(("Yellow_dog_1.flac", "cat_9.flac"), sound) | labels
    )
    (tmp_path / "strong.tsv").write_text("Yellow_dog_1_0\t0\t1\t/m/0b\ncat_9_0\t0\t1\t/m/0b\n")
    (info,) = converter.convert(
        labelled(root, tmp_path, "x.tar", strong_tsvs=(f"{tmp_path}/strong.tsv",))
    )
    assert weak_labels(tmp_path / "d") == {"Yellow_dog_1_0": ["/m/0a"], "cat_9_0": ["/m/0a"]}
    assert (info.weak_clips, info.strong_clips) == (2, 2)


def test_a_member_that_is_ignored_does_not_lend_its_labels(root, tmp_path, caplog):
    sounds = [(root / "loose" / f"{NAMES[i]}.flac").read_bytes() for i in (1, 3)]
    packed_tar(tmp_path / "0.tar", {"0.flac": sounds[0], "1.flac": sounds[0]})
    labels = by_hand(**{"0": '{"tag": ["Class, a"]}', "2": '{"tag": ["Class, a"]}'})
    packed_tar(tmp_path / "1.tar", {"0.flac": sounds[1], "2.flac": sounds[1], **labels})
    from_tars = request(root, [], tmp_path, audio_dirs=(str(tmp_path),), labels_from_archive=True)
    converter.convert(from_tars)
    assert list(manifest(tmp_path / "d")) == ["2_0"]
    assert "1 audio files are ignored, because others have the same name" in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"weak_csvs": ("weak.csv",)},
            "--labels_from_archive takes the place of --weak_csv=weak.csv",
        ),
        ({"audio_pattern": "{ytid}.wav"}, "--labels_from_archive: with an --audio_pattern"),
        ({"audio": ["loose"]}, "no labels in the archives"),
        ({"audio": ["x.tar"]}, "no labels in the archives .8 members without"),
    ],
)
def test_labels_that_cannot_be_taken_are_refused_before_any_work(root, tmp_path, fields, message):
    audio = fields.pop("audio", ["x.parquet"])
    with pytest.raises(errors.InputError, match=message) as raised:
        converter.convert(request(root, audio, tmp_path, labels_from_archive=True, **fields))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "d").exists()


def test_a_name_of_two_classes_is_refused(root, tmp_path):
    (tmp_path / "twice.csv").write_text('index,mid,display_name\n0,/m/0x,"Class, a"\n')
    packed_tar(tmp_path / "x.tar", {"a.flac": b"", **by_hand(a='{"tag": ["Class, a"]}')})
    twice = labelled(root, tmp_path, "x.tar")
    twice = changed(twice, class_labels=(f"{root}/classes.csv", f"{tmp_path}/twice.csv"))
    with pytest.raises(errors.InputError, match="'Class, a' is the name of /m/0a and of /m/0x"):
        converter.convert(twice)


def test_members_are_read_by_workers_and_do_not_take_others_along(root):
    """What a worker is sent is the place of its member, not those of the whole archive."""
    found, _ = finding.AudioIndex([str(root / "x.tar")]).find(NAMES[3], 0, 10)
    sent = pickle.loads(pickle.dumps(found))
    assert isinstance(sent, members.MemberPath)
    assert (sent, sent.archive, sent.place) == (found, found.archive, found.place)
    assert len(sent._places) == 1
