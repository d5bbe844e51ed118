"""Own recordings and label tracks become a dataset, by way of metadata files."""

import numpy as np
import pytest

from audioset_strong.conversion import converter, importing
from audioset_strong.core import errors
from audioset_strong.records import dataset_info, shard_reading
from tests import audio_files
from tests.datasets import conversion_request


def _write(tmp_path, recordings):
    """recordings: name -> (seconds, label track or None)."""
    for name, (seconds, track) in recordings.items():
        path = tmp_path / "audio" / name
        audio_files.write(path, audio_files.melody(seconds, 16_000), 16_000)
        if track is not None:
            (tmp_path / "labels").mkdir(exist_ok=True)
            (tmp_path / "labels" / f"{path.stem}.txt").write_text(track)


def _import(tmp_path, class_labels=()):
    return importing.import_labels(
        str(tmp_path / "audio"),
        str(tmp_path / "labels"),
        output_dir=str(tmp_path / "out"),
        class_labels=class_labels,
    )


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
    assert info.statuses == {"written": 3}
    (shard,) = info.shard_paths(str(tmp_path / "data" / "own"))
    clips = {clip.clip_id: clip for clip in shard_reading.read_clips(shard, info.encoding)}
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
        ({"yard.wav": (1.0, None)}, "labels: no label track"),
        ({"yard.wav": (1.0, "")}, "no label in any of the 1 tracks"),
        ({"my yard.wav": (1.0, "0\t1\ta\n")}, "my yard.wav: rename it without spaces"),
        (
            {"yard.wav": (1.0, "0\t1\ta\n"), "b/yard.flac": (1.0, None)},
            "yard.wav: rename it, .*yard.flac has the same name without its suffix",
        ),
        (
            {"yard.wav": (12.0, "0\t11\ta\n"), "yard_10000.wav": (1.0, None)},
            "yard_10000.wav: rename it, its name looks like a clip",
        ),
        ({"yard.wav": (1.0, "0\t2\ta\n")}, "yard: label 'a' ends at 2 s"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, recordings, message):
    _write(tmp_path, recordings)
    with pytest.raises(errors.InputError, match=message):
        _import(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_track_needs_its_recording_and_a_recording_its_audio(tmp_path):
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
