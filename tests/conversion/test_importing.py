"""Own recordings and label tracks become a dataset, by way of metadata files."""

import json
import os

import numpy as np
import pytest

from audioset_strong.conversion import converter, importing
from audioset_strong.core import errors
from audioset_strong.labels import annotation_files
from audioset_strong.records import dataset_info, shard_reading
from tests import audio_files, label_studio
from tests.datasets import conversion_request


def _write(tmp_path, recordings):
    """recordings: name -> (seconds, label track or None)."""
    for name, (seconds, track) in recordings.items():
        path = tmp_path / "audio" / name
        audio_files.write(path, audio_files.melody(seconds, 16_000), 16_000)
        if track is not None:
            (tmp_path / "labels").mkdir(exist_ok=True)
            (tmp_path / "labels" / f"{path.stem}.txt").write_text(track)


def _import(tmp_path, class_labels=(), **options):
    return importing.import_labels(
        str(tmp_path / "audio"),
        str(tmp_path / "labels"),
        output_dir=str(tmp_path / "out"),
        class_labels=class_labels,
        **options,
    )


def _convert(tmp_path):
    """The clips of the dataset that comes of what was imported, by id."""
    out = tmp_path / "out"
    converter.convert(
        conversion_request(
            audio_dirs=(str(tmp_path / "audio"),),
            class_labels=(str(out / "class_labels.csv"),),
            output_dir=str(tmp_path / "data"),
            name="own",
            weak_csvs=(str(out / "weak.csv"),),
            strong_tsvs=(str(out / "strong.tsv"),),
            negatives=(str(out / "negatives.tsv"),),
            num_shards=1,
            num_workers=1,
        )
    )
    info = dataset_info.DatasetInfo.load(str(tmp_path / "data" / "own"))
    (shard,) = info.shard_paths(str(tmp_path / "data" / "own"))
    return info, {clip.clip_id: clip for clip in shard_reading.read_clips(shard, info.encoding)}


def test_the_converter_reads_what_was_imported(tmp_path):
    _write(
        tmp_path,
        {
            "yard.wav": (23.5, "1.0\t2.0\tbark\n8.0\t12.0\tbell\n"),
            "sub/hall.flac": (9.0, "0.5\t8.9\tbark\n"),
            "unlabelled.wav": (3.0, None),
            "quiet.wav": (4.0, ""),
        },
    )
    imported = _import(tmp_path)
    assert (imported.recordings, imported.all_recordings) == (3, 4)
    assert (imported.clips, imported.unlabelled, imported.segments) == (3, 2, 4)
    assert imported.classes.mids == ("/own/bark", "/own/bell")
    info, clips = _convert(tmp_path)
    assert info.statuses == {"written": 3}
    assert {name: clip.segments for name, clip in clips.items()} == {
        "yard_0": ((1000, 2000, 0), (8000, 10_000, 1)),
        "yard_10000": ((0, 2000, 1),),
        "hall_0": ((500, 8900, 0),),
    }
    assert {name: (c.weak_labels, c.negatives) for name, c in clips.items()} == {
        "yard_0": ((0, 1), None),
        "yard_10000": ((1,), (0,)),
        "hall_0": ((0,), (1,)),
    }
    melody = audio_files.melody(23.5, 16_000)[160_000:320_000]
    assert audio_files.snr_db(clips["yard_10000"].audio / 32768, melody) > 60


def test_labels_named_as_in_a_class_list_get_its_mids(tmp_path):
    _write(tmp_path, {"yard.wav": (5.0, "1\t2\tDOG\n2\t3\tgate\n")})
    (tmp_path / "classes.csv").write_text("mid,display_name\n/m/0bt9lr,Dog\n/m/09x0r,Speech\n")
    imported = _import(tmp_path, [str(tmp_path / "classes.csv")])
    assert imported.classes.mids == ("/m/0bt9lr", "/own/gate")
    assert imported.classes.names == ("Dog", "gate")


@pytest.mark.parametrize(
    ("recordings", "message"),
    [
        ({"yard.wav": (1.0, None)}, "labels: No such file or directory"),
        ({"yard.wav": (1.0, "")}, "no label in any of the 1 tracks"),
        ({"a,b.wav": (1.0, "0\t1\ta\n")}, "a,b.wav: rename it without tabs, commas"),
        (
            {"my yard.wav": (1.0, "0\t1\ta\n"), "my_yard.wav": (1.0, None)},
            "my_yard.wav: rename it, .*my yard.wav has the same name",
        ),
        (
            {"yard.wav": (1.0, "0\t1\ta\n"), "b/yard.flac": (1.0, None)},
            "yard.flac: rename it, .*yard.wav has the same name without its suffix",
        ),
        (
            {"yard.wav": (12.0, "0\t11\ta\n"), "yard_10000.wav": (1.0, None)},
            "yard_10000.wav: rename it, its name looks like the clip of yard at 10 s",
        ),
        (
            {"yard.wav": (12.0, "0\t11\ta\n"), "yard_10.wav": (1.0, "0\t1\ta\n")},
            "yard_10.wav: rename it, its name looks like the clip of yard at 10 s",
        ),
        (
            {"yard.wav": (1.0, "0\t2\ta\n")},
            "yard.txt, line 1: label 'a' lasts from 0 to 2 s, but the recording yard ends at 1 s",
        ),
        (
            {"yard.wav": (1.0, "0\t1\ta\n1.02\t1.06\tb\n")},
            "yard.txt, line 2: label 'b' lasts from 1.02 to 1.06 s, but the recording yard ends",
        ),
        (
            {"yard.wav": (1.0, "0\t1\ta\n0.5\t0.5\tb\n")},
            "yard.txt, line 2: 'b' must end .*; point labels need --point_seconds",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, recordings, message):
    _write(tmp_path, recordings)
    with pytest.raises(errors.InputError, match=message):
        _import(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_track_needs_its_recording_and_a_recording_its_audio(tmp_path):
    with pytest.raises(errors.InputError, match="audio: no such directory"):
        _import(tmp_path)
    (tmp_path / "audio").mkdir()
    with pytest.raises(errors.InputError, match="audio: no recording in it"):
        _import(tmp_path)
    _write(tmp_path, {"yard.wav": (1.0, "0\t1\ta\n")})
    (tmp_path / "labels" / "lawn.txt").write_text("0\t1\ta\n")
    with pytest.raises(errors.InputError, match=r"lawn.txt: no recording lawn in"):
        _import(tmp_path)
    audio_files.write(tmp_path / "audio" / "lawn.wav", np.zeros(0), 16_000)
    with pytest.raises(errors.InputError, match=r"lawn.wav: no audio that can be read"):
        _import(tmp_path)
    (tmp_path / "labels" / "lawn.txt").unlink()
    (tmp_path / "out").write_text("a file")
    with pytest.raises(errors.InputError, match="out: cannot be written"):
        _import(tmp_path)


def test_names_are_the_same_however_they_were_typed(tmp_path):
    """Blanks, and accents in one character or in two; the hidden files of macOS are no files."""
    composed, split = "caf\u00e9", "cafe\u0301"
    _write(
        tmp_path,
        {
            f"my {split}.wav": (12.0, None),
            "b.wav": (3.0, f"0\t1\t{split}\n"),
        },
    )
    (tmp_path / "labels" / f"my {composed}.txt").write_text(f"10.5\t11\t{composed}\n")
    for name in ("audio/._b.wav", "labels/._b.txt", "audio/.trash/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(100))
    imported = _import(tmp_path)
    assert imported.classes.names == (composed,)
    _, clips = _convert(tmp_path)
    assert {name: clip.segments for name, clip in clips.items()} == {
        f"my_{composed}_10000": ((500, 1000, 0),),
        "b_0": ((0, 1000, 0),),
    }


def test_the_label_tracks_that_predict_wrote_are_taken_back(tmp_path):
    _write(tmp_path, {"hall.wav": (3.0, None), "yard.mp3": (3.0, None)})
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "hall.wav.labels.txt").write_text("0.96\t1.92\tbark\n")
    (tmp_path / "labels" / "yard.mp3.txt").write_text("0\t1\tbark\n")
    assert _import(tmp_path).recordings == 2
    (tmp_path / "labels" / "hall.txt").write_text("0\t1\tbark\n")
    with pytest.raises(errors.InputError, match=r"hall.wav has other labels, .*hall.txt; keep"):
        _import(tmp_path)


def test_point_labels_are_sounds_of_a_given_length(tmp_path):
    _write(tmp_path, {"yard.wav": (12.0, "1\t1\tclick\n9.95\t9.95\tclick\n11.99\t11.99\tclick\n")})
    _import(tmp_path, options=annotation_files.ReadOptions(point_seconds=0.1))
    rows = (tmp_path / "out" / "strong.tsv").read_text().splitlines()[1:]
    assert rows == [
        "yard_0\t1.0\t1.1\t/own/click",
        "yard_0\t9.95\t10.0\t/own/click",
        "yard_10000\t0.0\t0.05\t/own/click",
        "yard_10000\t1.99\t2.0\t/own/click",
    ]
    for seconds in (0.0, float("nan"), 11.0):
        with pytest.raises(errors.InputError, match=rf"point_seconds {seconds}: must lie in"):
            annotation_files.ReadOptions(point_seconds=seconds)


def test_a_name_that_is_not_utf_8_is_refused_before_any_work(tmp_path):
    _write(tmp_path, {"yard.wav": (1.0, "0\t1\ta\n")})
    (tmp_path / "audio" / "yard.wav").rename(tmp_path / "audio" / os.fsdecode(b"M\xfcller.wav"))
    with pytest.raises(errors.InputError, match=r"M\\xfcller.wav: rename it, its name is not"):
        _import(tmp_path)


def test_a_length_that_the_header_guesses_is_not_believed(tmp_path):
    sound = np.concatenate([audio_files.melody(3, 16_000), np.zeros(17 * 16_000)])
    audio_files.write(tmp_path / "audio" / "yard.aac", sound, 16_000)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "yard.txt").write_text("0\t16\tsound\n")
    assert _import(tmp_path).clips == 2


def test_one_file_labels_many_recordings(tmp_path):
    """A DCASE table says nothing of absence; a list of classes that were looked for does."""
    _write(tmp_path, {"yard.wav": (12.0, None), "sub/hall.flac": (9.0, None), "x.wav": (1.0, None)})
    rows = ("yard.wav\t9\t11\tbark\n", "hall.wav\t0\t1\tbell\n", "gone.wav\t0\t1\tbell\n")
    (tmp_path / "labels").mkdir()
    table = tmp_path / "labels" / "all.tsv"
    table.write_text("filename\tonset\toffset\tevent_label\n" + "".join(rows))
    imported = _import(tmp_path)
    assert (imported.recordings, imported.all_recordings, imported.missing) == (2, 3, ("gone.wav",))
    assert (imported.clips, imported.segments, imported.negatives) == (3, 3, 0)
    (tmp_path / "looked_for.txt").write_text("# of the day\nbark\nhorn\n")
    imported = importing.import_labels(
        str(tmp_path / "audio"),
        str(table),
        output_dir=str(tmp_path / "out"),
        looked_for=str(tmp_path / "looked_for.txt"),
    )
    assert imported.classes.names == ("bark", "bell", "horn")
    _, clips = _convert(tmp_path)
    assert {name: (clip.segments, clip.negatives) for name, clip in clips.items()} == {
        "yard_0": (((9000, 10_000, 0),), (2,)),
        "yard_10000": (((0, 1000, 0),), (2,)),
        "hall_0": (((0, 1000, 1),), (0, 2)),
    }


def test_no_annotation_is_left_out_in_silence(tmp_path, caplog):
    _write(tmp_path, {"yard.wav": (3.0, None)})
    (tmp_path / "labels").mkdir()
    table = tmp_path / "labels" / "all.tsv"
    header = "filename\tonset\toffset\tevent_label\n"
    table.write_text(f"{header}lawn.wav\t0\t1\tbark\n")
    with pytest.raises(errors.InputError, match=r"no annotation of a recording in .*of lawn.wav"):
        _import(tmp_path)
    table.write_text(f"{header}yard.wav\t0\t1\tbark\n")
    (tmp_path / "labels" / "b.tsv").write_text(f"{header}yard.wav\t0\t1\tbark\n")
    with pytest.raises(errors.InputError, match=r"b.tsv, line 2: .*yard.wav has other labels, .*2"):
        _import(tmp_path)
    (tmp_path / "labels" / "b.tsv").unlink()
    (tmp_path / "labels" / "notes.json").write_text("{}")
    with pytest.raises(errors.InputError, match=r"notes.json: neither JAMS nor an export"):
        _import(tmp_path)
    tasks = [
        label_studio.task(1, {"audio": "yard.wav"}, label_studio.annotation(skipped=True)),
    ]
    (tmp_path / "labels" / "notes.json").write_text(json.dumps(tasks))
    with caplog.at_level("WARNING"):
        assert _import(tmp_path).segments == 1
    assert "1 skipped annotations left out" in caplog.text


def test_a_class_list_tells_what_was_looked_for(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("mid,display_name\n/m/0bt9lr,Dog\n/m/09x0r,Speech\n")
    assert importing.read_class_names(str(path)) == {"Dog", "Speech"}
    path.write_text("/m/0bt9lr\tDog\n/m/09x0r\tSpeech\n")
    assert importing.read_class_names(str(path)) == {"Dog", "Speech"}
    path.write_text("Dog\n\n#no\n Door  bell \n")
    assert importing.read_class_names(str(path)) == {"Dog", "Door bell"}
