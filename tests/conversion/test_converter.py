"""Conversion, from what a user sees: manifest, shards read back, info; real files and processes."""

import collections
import csv
import dataclasses
import json
import os
import pathlib
import resource
import signal
import tempfile
import threading
import time

import numpy as np
import pebble
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.conversion import (
    converter,
    plans,
    shard_layout,
    shard_writing,
    splitting,
)
from audioset_strong.core import errors, locks
from audioset_strong.records import dataset_info, inspection, shard_reading
from tests.audio_files import lag, melody, write
from tests.datasets import changed, conversion_request
from tests.optional import needs_tensorflow_io

RATE = 16_000
CLASS_LABELS = """index,mid,display_name
0,/m/0a,"Siren"
1,/m/0b,"Horn, loud"
2,/m/0c,"Voice"
3,/m/0d,"Bark"
"""


def write_lines(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def weak_csv(path, rows):
    """Rows of (ytid, start s, end s, mids)."""
    lines = [f'{ytid}, {start:.3f}, {end:.3f}, "{mids}"' for ytid, start, end, mids in rows]
    return write_lines(path, "# Segments csv created today", "# num_ytids=1", "# YTID, ...", *lines)


def strong_tsv(path, rows):
    lines = ["\t".join(map(str, row)) for row in rows]
    header = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel"
    return write_lines(path, header, *lines)


def manifest(directory):
    with open(pathlib.Path(directory) / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_dataset(directory):
    """(info, clips of each shard), through the reader of a single shard."""
    info = dataset_info.DatasetInfo.load(str(directory))
    shards = [
        list(shard_reading.read_clips(path, info.encoding))
        for path in info.shard_paths(str(directory))
    ]
    return info, shards


def kill_readers(path):
    """Kills every process that reads a named pipe."""
    while True:
        pipe = os.open(path, os.O_WRONLY)  # waits for a reader
        for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
            try:
                pid = int(link.parts[2])
                if pid != os.getpid() and os.readlink(link) == str(path):
                    os.kill(pid, signal.SIGKILL)
            except OSError:  # it ended meanwhile
                continue
        os.close(pipe)


GOOD = [f"good{i:07d}" for i in range(20)]
TROUBLE_S = 6.0


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A conversion of clips of every kind; returns its directory, the request and the infos."""
    root = tmp_path_factory.mktemp("mixed")
    audio = root / "audio"
    for i, ytid in enumerate(GOOD):
        write(audio / f"{ytid}_{i * 10}.wav", melody(10, RATE, i), RATE)
    good = (audio / f"{GOOD[0]}_0.wav").read_bytes()
    write(audio / "Ym4a________.m4a", melody(10, 44_100, 100), 44_100)
    write(audio / "sevenseconds_0_7000.flac", melody(7, RATE, 101), RATE)
    write(audio / "aboutthirty.flac", melody(35, RATE, 102), RATE)
    write(audio / "sharedshort.wav", melody(10, RATE, 103), RATE)
    (audio / "notwav00000_30.wav").write_bytes((audio / "Ym4a________.m4a").read_bytes())
    (audio / "truncated00_30.wav").write_bytes(good[: 44 + RATE * 2 * 4])
    (audio / "tooshort000_30.wav").write_bytes(good[: 44 + 1000])
    (audio / "silent00000_30.wav").write_bytes(good[:44] + bytes(len(good) - 44))
    (audio / "noise000000_30.mp3").write_bytes(np.random.default_rng(0).bytes(30_000))
    (audio / "empty000000_30.wav").touch()
    (audio / "dangling000_30.wav").symlink_to(root / "nowhere.wav")
    os.mkfifo(audio / "hangs000000_30.wav")
    os.mkfifo(audio / "crashes0000_30.wav")
    threading.Thread(target=kill_readers, args=(audio / "crashes0000_30.wav",), daemon=True).start()

    trouble = ["notwav00000", "truncated00", "tooshort000", "silent00000", "noise000000"]
    trouble += ["empty000000", "dangling000", "hangs000000", "crashes0000", "missing0000"]
    weak = [(ytid, i * 10, i * 10 + 10, "/m/0a,/m/0c") for i, ytid in enumerate(GOOD)]
    weak += [(ytid, 30, 40, "/m/0b") for ytid in trouble]
    weak += [("m4a________", 30, 40, "/m/0d"), ("sevenseconds", 0, 7, "/m/0d,/m/unknown")]
    weak += [("aboutthirty", 0, 10, "/m/0a"), ("aboutthirty", 20, 30, "/m/0b")]
    weak += [("sharedshort", 0, 10, "/m/0a"), ("sharedshort", 20, 30, "/m/0b")]
    request = conversion_request(
        audio_dirs=(str(audio),),
        class_labels=(write_lines(root / "classes.csv", CLASS_LABELS.strip()),),
        output_dir=str(root / "data"),
        name="mixed",
        weak_csvs=(
            weak_csv(root / "weak1.csv", weak),
            weak_csv(
                root / "weak2.csv", [(GOOD[0], 0, 10, "/m/0c,/m/0d"), (GOOD[9], 90, 100, "/m/0a")]
            ),
        ),
        strong_tsvs=(
            strong_tsv(
                root / "strong.tsv",
                [
                    (f"{GOOD[1]}_10000", 0.5, 1.25, "/m/0a"),
                    (f"{GOOD[1]}_10000", 0.25, 9.999, "/m/0b"),
                    (f"{GOOD[1]}_10000", 2, 3, "/m/0a"),
                    (f"{GOOD[2]}_20000", 2, 3, "/m/unknown"),
                    ("strongonly0_5000", 0, 10, "/m/0d"),
                    ("missing0000_30000", 0, 10, "/m/0d"),
                ],
            ),
        ),
        framed_tsvs=(
            write_lines(
                root / "framed.tsv",
                f"{GOOD[3]}_30000\t0.0\t0.96\t/m/0a\tPRESENT",
                f"{GOOD[3]}_30000\t0.96\t1.92\t/m/0a\tNOT_PRESENT",
                f"{GOOD[3]}_30000\t0.0\t0.96\t/m/0d\tNOT_PRESENT",
                f"{GOOD[4]}_40000\t0.0\t0.96\t/m/0d\tPRESENT",
                "notaskedfor_40000\t0.0\t0.96\t/m/0d\tNOT_PRESENT",
            ),
        ),
        negatives=(
            write_lines(
                root / "negatives.csv",
                f'{GOOD[3]}_30000,"/m/0b,/m/0c"',
                f"{GOOD[5]}_50000,/m/0c",
                "notaskedfor_10000,/m/0c",
            ),
        ),
        num_shards=4,
        num_workers=2,
        clip_timeout_s=TROUBLE_S,
        command="convert.py --of=tests",
    )
    write(audio / "strongonly0_5.0_15.0.wav", melody(10, RATE, 104), RATE)
    infos = converter.convert(request)
    return root, request, infos


def test_every_clip_asked_for_has_one_row_with_the_truth(mixed):
    root, _, _ = mixed
    rows = {row["clip_id"]: row for row in manifest(root / "data" / "mixed")}
    assert len(rows) == len(manifest(root / "data" / "mixed")) == 37
    expected = {
        "missing0000_30000": ("missing", "no audio file"),
        "tooshort000_30000": ("too_short", "0.031 s of audio"),
        "silent00000_30000": ("silent", "nothing but zeros"),
        "noise000000_30000": ("undecodable", ""),
        "empty000000_30000": ("undecodable", ""),
        "dangling000_30000": ("undecodable", "No such file"),
        "hangs000000_30000": ("undecodable", "decoding took over 6 s"),
        "crashes0000_30000": ("undecodable", "the decoder crashed (exit code -9)"),
        "sharedshort_20000": ("too_short", "10.000 s of audio, but the clip begins at 20 s"),
        "truncated00_30000": ("written", "ends after 4.000 of 10 s"),
    }
    for clip_id, row in rows.items():
        status, reason = expected.get(clip_id, ("written", ""))
        assert row["status"] == status, row
        assert reason in row["reason"], row
        assert bool(row["reason"]) == (clip_id in expected), row
        assert bool(row["shard"]) == (status == "written")
        assert (float(row["seconds"]) > 0) == (status == "written")
        assert bool(row["file"]) == (status != "missing")
    assert rows["sevenseconds_0"]["seconds"] == "7.000"
    assert rows["sevenseconds_0"]["file"] == str(root / "audio" / "sevenseconds_0_7000.flac")


def test_the_shards_hold_what_the_manifest_says_and_nothing_else(mixed):
    root, _, (info,) = mixed
    _, shards = read_dataset(root / "data" / "mixed")
    found = {
        clip.clip_id: shard["file"]
        for shard, clips in zip(info.shards, shards, strict=True)
        for clip in clips
    }
    rows = manifest(root / "data" / "mixed")
    assert found == {row["clip_id"]: row["shard"] for row in rows if row["status"] == "written"}
    assert [shard["file"] for shard in info.shards] == [
        f"mixed-0000{i}-of-00004.tfrecord" for i in range(4)
    ]
    assert [shard["clips"] for shard in info.shards] == list(map(len, shards))
    names = {path.name for path in (root / "data" / "mixed").iterdir()}
    whole = {"manifest.csv", "index.parquet", "dataset_info.json"}
    assert names == {shard["file"] for shard in info.shards} | whole


def test_clips_hold_the_sound_of_their_file_and_time(mixed):
    root, _, _ = mixed
    _, shards = read_dataset(root / "data" / "mixed")
    clips = {clip.clip_id: clip for shard in shards for clip in shard}
    sounds = {f"{ytid}_{i * 10_000}": melody(10, RATE, i) for i, ytid in enumerate(GOOD)}
    sounds |= {
        "m4a_________30000": melody(10, RATE, 100),
        "notwav00000_30000": melody(10, RATE, 100),
        "sevenseconds_0": melody(7, RATE, 101),
        "aboutthirty_0": melody(35, RATE, 102)[: 10 * RATE],
        "aboutthirty_20000": melody(35, RATE, 102)[20 * RATE : 30 * RATE],
        "sharedshort_0": melody(10, RATE, 103),
        "strongonly0_5000": melody(10, RATE, 104),
        "truncated00_30000": melody(10, RATE, 0)[: 4 * RATE],
    }
    assert clips.keys() == sounds.keys()
    for clip_id, sound in sounds.items():
        assert clips[clip_id].sample_rate == RATE
        assert len(clips[clip_id].audio) == len(sound)
        assert lag(clips[clip_id].audio, sound) == 0
        if clip_id.startswith("good"):
            np.testing.assert_allclose(clips[clip_id].audio, sound * 32768, atol=1)


def test_labels_of_each_kind_are_known_or_not_as_the_files_say(mixed):
    root, _, _ = mixed
    _, shards = read_dataset(root / "data" / "mixed")
    clips = {clip.clip_id: clip for shard in shards for clip in shard}
    weak = {clip_id: (0, 2) for clip_id in clips if clip_id.startswith("good")}
    weak |= {f"{GOOD[0]}_0": (0, 2, 3)}  # two files name it
    weak |= {"m4a_________30000": (3,), "sevenseconds_0": (3,), "strongonly0_5000": None}
    weak |= {"aboutthirty_0": (0,), "aboutthirty_20000": (1,), "sharedshort_0": (0,)}
    weak |= {"notwav00000_30000": (1,), "truncated00_30000": (1,)}
    assert {clip_id: clip.weak_labels for clip_id, clip in clips.items()} == weak
    strong = {
        f"{GOOD[1]}_10000": ((250, 9999, 1), (500, 1250, 0), (2000, 3000, 0)),
        f"{GOOD[2]}_20000": (),
        "strongonly0_5000": ((0, 10_000, 3),),
    }
    negatives = {
        f"{GOOD[3]}_30000": (1, 2, 3),
        f"{GOOD[4]}_40000": (),
        f"{GOOD[5]}_50000": (2,),
    }
    for clip_id, clip in clips.items():
        assert clip.segments == strong.get(clip_id)
        assert clip.negatives == negatives.get(clip_id)


def test_the_info_counts_what_the_shards_hold(mixed):
    root, request, (returned,) = mixed
    info, shards = read_dataset(root / "data" / "mixed")
    assert info == returned
    clips = [clip for shard in shards for clip in shard]
    assert (info.name, info.split, info.encoding) == ("mixed", "all", "pcm16")
    assert (info.sample_rate, info.schema_version) == (RATE, 1)
    assert info.vocabulary.mids == ("/m/0a", "/m/0b", "/m/0c", "/m/0d")
    assert info.vocabulary.names == ("Siren", "Horn, loud", "Voice", "Bark")
    assert info.num_clips == len(clips)
    statuses = collections.Counter(row["status"] for row in manifest(root / "data" / "mixed"))
    assert info.statuses == statuses
    assert info.hours == pytest.approx(sum(len(clip.audio) for clip in clips) / RATE / 3600)
    for field, label_lists in {
        "weak": [c.weak_labels for c in clips],
        "strong": [c.segments and {s[2] for s in c.segments} for c in clips],
        "negative": [c.negatives for c in clips],
    }.items():
        known = [labels for labels in label_lists if labels is not None]
        counts = collections.Counter(label for labels in known for label in labels)
        assert getattr(info, f"{field}_clips") == len(known)
        assert getattr(info, f"{field}_counts") == [counts[i] for i in range(4)]
    for entry, held in zip(info.shards, shards, strict=True):
        assert entry["weak_clips"] == sum(clip.weak_labels is not None for clip in held)
        assert entry["strong_clips"] == sum(clip.segments is not None for clip in held)
        assert entry["negative_clips"] == sum(clip.negatives is not None for clip in held)
    segments = collections.Counter(s[2] for clip in clips for s in clip.segments or ())
    assert info.segment_counts == [segments[i] for i in range(4)] == [2, 1, 0, 1]
    assert info.labels_outside == {"/m/unknown": 2}
    assert info.command == "convert.py --of=tests"
    assert set(info.sources) == set(request.metadata.paths())
    assert all(len(digest) == 64 for digest in info.sources.values())


CLIPS = 24


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A request for clips of half a second, two a video; half of them have strong labels too."""
    root = tmp_path_factory.mktemp("small")
    clips = [(f"video{i // 2:06d}", i % 2 * 20) for i in range(CLIPS)]
    for i, (ytid, start) in enumerate(clips):
        write(root / "audio" / f"{ytid}_{start}.wav", melody(0.5, RATE, i), RATE)
    write_lines(root / "classes.csv", CLASS_LABELS.strip())
    weak_csv(
        root / "weak.csv",
        [(ytid, start, start + 10, "/m/0a") for ytid, start in clips]
        + [("missing", 0, 10, "/m/0b")],
    )
    strong = [(f"{ytid}_{start * 1000}", 0, 0.25, "/m/0b") for ytid, start in clips[::2]]
    strong_tsv(root / "strong.tsv", strong)
    return conversion_request(
        audio_dirs=(str(root / "audio"),),
        class_labels=(str(root / "classes.csv"),),
        output_dir="",
        name="small",
        weak_csvs=(str(root / "weak.csv"),),
        strong_tsvs=(str(root / "strong.tsv"),),
        num_shards=5,
        num_workers=1,
    )


def contents(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The files of an uninterrupted conversion."""
    out = tmp_path_factory.mktemp("whole")
    converter.convert(changed(small, output_dir=str(out)))
    return contents(out / "small")


def clip_ids(directory):
    return [clip.clip_id for shard in read_dataset(directory)[1] for clip in shard]


def test_shards_are_alike_in_size_and_hold_no_runs_of_neighbours(whole, small, tmp_path):
    (tmp_path / "small").mkdir()
    for name, content in whole.items():
        (tmp_path / "small" / name).write_bytes(content)
    info, shards = read_dataset(tmp_path / "small")
    assert sorted(shard["clips"] for shard in info.shards) in ([4, 5, 5, 5, 5], [5, 5, 5, 5, 4])
    order = [clip.clip_id for shard in shards for clip in shard]
    assert sorted(order) != order
    assert len(set(order)) == CLIPS


def test_the_number_of_workers_changes_no_byte(whole, small, tmp_path):
    converter.convert(changed(small, output_dir=str(tmp_path), num_workers=2))
    assert contents(tmp_path / "small") == whole


def test_flac_shards_hold_the_same_clips(whole, small, tmp_path):
    converter.convert(changed(small, output_dir=str(tmp_path / "f"), encoding="flac"))
    converter.convert(changed(small, output_dir=str(tmp_path / "p")))
    flac, pcm = (
        [clip for shard in read_dataset(tmp_path / name / "small")[1] for clip in shard]
        for name in ("f", "p")
    )
    for got, want in zip(flac, pcm, strict=True):
        np.testing.assert_array_equal(got.audio, want.audio)
        assert dataclasses.replace(got, audio=None) == dataclasses.replace(want, audio=None)


def test_log_mel_shards_hold_the_spectrograms_of_the_same_clips(small, tmp_path):
    request = changed(small, output_dir=str(tmp_path), encoding="log_mel")
    converter.convert(request)
    converter.convert(changed(request, name="pcm", encoding="pcm16"))
    got, want = (
        [clip for shard in read_dataset(tmp_path / name)[1] for clip in shard]
        for name in ("small", "pcm")
    )
    for kept, clip in zip(got, want, strict=True):
        assert (kept.clip_id, kept.num_samples) == (clip.clip_id, clip.num_samples)
        assert kept.weak_labels == clip.weak_labels
        log_mel = features.log_mel(clip.audio.astype(np.float32) / 32768).numpy()
        np.testing.assert_allclose(kept.log_mel.values[: len(log_mel)], log_mel, atol=0.002)
    rows = {row["clip_id"]: row["seconds"] for row in manifest(tmp_path / "small")}
    assert rows == {row["clip_id"]: row["seconds"] for row in manifest(tmp_path / "pcm")}


def test_log_mel_shards_are_made_with_the_front_end_of_the_request(small, tmp_path):
    front_end = features.FrontEnd(
        sample_rate=8000,
        window_samples=256,
        hop_samples=120,
        num_bands=32,
        upper_hz=4000.0,
        offset=0.1,
    )
    request = changed(
        small,
        output_dir=str(tmp_path),
        encoding="log_mel",
        sample_rate=8000,
        front_end=front_end,
    )
    (written,) = converter.convert(request)
    pcm = changed(request, name="pcm", encoding="pcm16", front_end=None)
    assert converter.convert(pcm)[0].front_end is None
    info = dataset_info.DatasetInfo.load(str(tmp_path / "small"))
    assert info == written
    assert (info.sample_rate, info.front_end) == (8000, front_end)
    assert inspection.verify(str(tmp_path / "small"), info) == []
    pcm_info = dataset_info.DatasetInfo.load(str(tmp_path / "pcm"))
    clips = inspection.clips(str(tmp_path / "pcm"), pcm_info)
    for kept, clip in zip(inspection.clips(str(tmp_path / "small"), info), clips, strict=True):
        assert (clip.sample_rate, clip.num_samples) == (8000, 4000)
        assert kept.log_mel.values.shape == (-(-4000 // 120), 32)
        log_mel = features.log_mel(clip.waveform, front_end).numpy()
        np.testing.assert_allclose(kept.log_mel.values[: len(log_mel)], log_mel, atol=0.002)
    seconds = {row["seconds"] for row in manifest(tmp_path / "pcm")}
    assert seconds == {"0.500", "0.000"}
    for change in ({"front_end": dataclasses.replace(front_end, offset=0.01)}, {"num_shards": 3}):
        with pytest.raises(errors.InputError, match="holds another conversion"):
            converter.convert(changed(request, **change))


def gfile_contents(directory):
    paths = {name: f"{directory}/{name}" for name in tf.io.gfile.listdir(directory)}
    return {name: tf.io.gfile.GFile(path, "rb").read() for name, path in paths.items()}


def test_any_file_system_of_tensorflow_holds_the_same_dataset(whole, small):
    # In memory: nothing of it can be seen by other processes, let alone be a local file.
    request = changed(small, output_dir="ram://any/file/system")
    (info,) = converter.convert(request)
    directory = "ram://any/file/system/small"
    assert gfile_contents(directory) == whole
    assert converter.convert(request) == [info]
    loaded, shards = read_dataset(directory)
    assert loaded == info
    assert sum(map(len, shards)) == CLIPS
    assert inspection.verify(directory, info) == []
    records = tf.data.TFRecordDataset(info.shard_paths(directory))
    assert len(list(records)) == CLIPS
    with pytest.raises(errors.InputError, match=r"ram://.*small holds another conversion"):
        converter.convert(changed(request, min_seconds=0.2))
    tf.io.gfile.GFile("ram://any/file/other/notes.txt", "w").write("mine")
    with pytest.raises(errors.InputError, match="ram://any/file/other holds something else"):
        converter.convert(changed(small, output_dir="ram://any/file", name="other"))


def test_a_conversion_to_another_file_system_goes_on_where_it_was(whole, small, monkeypatch):
    request = changed(small, output_dir="ram://goes/on")
    write_shard, written = shard_writing.write_shard, []

    def killed_at_the_third(path, pieces, **settings):
        write_shard(path, pieces, **settings)
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(shard_writing, "write_shard", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        converter.convert(request)
    names = set(tf.io.gfile.listdir("ram://goes/on/small"))
    assert names == {".work", *(path.rpartition("/")[2] for path in written)}
    converter.convert(request)
    assert len(written) == len(set(written)) == 5
    assert gfile_contents("ram://goes/on/small") == whole


@pytest.mark.parametrize("place", ["{tmp_path}", "ram://pieces/are/kept"])
def test_the_pieces_of_a_shard_that_was_not_finished_are_kept(
    whole, small, tmp_path, monkeypatch, place
):
    """Also where they are in the temporary directory, since the output is elsewhere."""
    monkeypatch.setattr(shard_writing, "_CHUNK", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    request = changed(small, output_dir=place.format(tmp_path=tmp_path))
    write_shard, schedule = shard_writing.write_shard, pebble.ProcessPool.schedule
    made: list[str] = []

    def counted(pool, function, arguments, **settings):
        made.append(os.path.basename(arguments[0]))
        return schedule(pool, function, arguments, **settings)

    def killed_at_the_second_piece(path, pieces, **settings):
        next(pieces), next(pieces)
        raise KeyboardInterrupt

    monkeypatch.setattr(pebble.ProcessPool, "schedule", counted)
    monkeypatch.setattr(shard_writing, "write_shard", killed_at_the_second_piece)
    with pytest.raises(KeyboardInterrupt):
        converter.convert(request)
    # Two were taken, and one of those is cut short, as after a loss of power.
    kept = [path for path in tmp_path.rglob("*.piece") if path.name in made[:2]]
    assert sorted(path.name for path in kept) == made[:2]
    os.truncate(kept[0], kept[0].stat().st_size // 2)
    made.clear()
    monkeypatch.setattr(shard_writing, "write_shard", write_shard)
    converter.convert(request)
    assert kept[0].name in made
    assert kept[1].name not in made
    assert len(made) == len(set(made))
    assert gfile_contents(os.path.join(request.output_dir, "small")) == whole
    assert not list((tmp_path / "scratch").iterdir())


def test_by_default_the_number_of_shards_follows_the_size(small, tmp_path, monkeypatch):
    # 24 clips of 10 s at 16 kHz are 7.68 MB, and FLAC counts like the samples in it.
    monkeypatch.setattr(shard_layout, "SHARD_BYTES", 10**6)
    sizes = {"pcm16": 8, "flac": 8, "log_mel": 4}  # 64 bands of 2 bytes every 10 ms
    for encoding, shards in sizes.items():
        request = changed(small, output_dir=str(tmp_path), num_shards=None, encoding=encoding)
        (info,) = converter.convert(changed(request, name=encoding))
        assert len(info.shards) == shards
    assert len(converter.convert(changed(request, name="four", num_shards=4))[0].shards) == 4


def test_what_an_older_version_began_without_a_number_goes_on_in_sixteen_shards(small, tmp_path):
    (older,) = converter.convert(changed(small, output_dir=str(tmp_path), num_shards=16))
    plain = changed(small, output_dir=str(tmp_path), num_shards=None)
    assert converter.convert(plain) == [older]
    assert len(converter.convert(changed(plain, overwrite=True, encoding="flac"))[0].shards) == 1


@needs_tensorflow_io
def test_tensorflow_io_makes_the_same_dataset_in_worker_processes(whole, small, tmp_path):
    request = changed(small, output_dir=str(tmp_path), decoder="tensorflow_io")
    converter.convert(request)
    shards = {name for name in whole if name.endswith(".tfrecord")}
    written = contents(tmp_path / "small")
    assert {name: written[name] for name in shards} == {name: whole[name] for name in shards}


def children(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def descendants(pid):
    """The fork server and its workers."""
    below = children(pid)
    return below + [pid for child in below for pid in descendants(child)]


def runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.0005)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(server, tmp_path):
    sound = write(tmp_path / "sound.wav", np.stack([melody(10, 44_100)] * 2, 1), 44_100)
    (tmp_path / "audio").mkdir()
    ids = [f"video{i:06d}" for i in range(100)]
    for ytid in ids:
        (tmp_path / "audio" / f"{ytid}_0.wav").symlink_to(sound)
    flags = [
        f"--audio_dir={tmp_path / 'audio'}",
        f"--class_labels={write_lines(tmp_path / 'classes.csv', CLASS_LABELS.strip())}",
        f"--weak_csv={weak_csv(tmp_path / 'weak.csv', [(ytid, 0, 10, '/m/0a') for ytid in ids])}",
        "--name=killed",
        "--num_shards=5",
        "--num_workers=1",
    ]

    def start(output_dir):
        return server.start("convert", *flags, f"--output_dir={output_dir}")

    assert start(tmp_path / "whole").wait() == 0
    whole = contents(tmp_path / "whole" / "killed")
    directory = tmp_path / "out" / "killed"

    def names(pattern):
        return {path.name for path in directory.glob(pattern)}

    moments = {
        "a shard is being written": lambda: names("*.tfrecord.*.tmp"),
        "the first shard is there": lambda: len(names("*.tfrecord")) >= 1,
        "its stamp is there": lambda: len(names(".work/*.tfrecord.json")) >= 1,
        "three shards are there": lambda: len(names("*.tfrecord")) >= 3,
        "the manifest is there": lambda: names("manifest.csv"),
        "the index is there": lambda: names("index.parquet"),
    }
    # Between manifest, index and info there is hardly a moment.
    hardly = ("the manifest is there", "the index is there")
    for moment, reached in moments.items():
        process = start(tmp_path / "out")
        wait_until(lambda: reached() or not runs(process.pid))  # noqa: B023
        workers = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL or moment in hardly, moment
        visible = {name: (directory / name).read_bytes() for name in names("*.tfrecord")}
        assert visible.items() <= whole.items(), moment
        if (directory / "dataset_info.json").exists():
            assert names("*") - {".work"} == whole.keys(), moment
        # Its workers do not outlive it.
        wait_until(lambda: not any(map(runs, workers)))  # noqa: B023
    assert start(tmp_path / "out").wait() == 0
    finished = contents(directory)
    assert finished.keys() == whole.keys()
    for name in finished.keys() - {"dataset_info.json"}:
        assert finished[name] == whole[name], name
    # The command lines differ, and nothing else.
    info, other = (json.loads(c["dataset_info.json"]) for c in (finished, whole))
    assert info | {"command": ""} == other | {"command": ""}


def test_a_finished_conversion_is_not_done_again(small, tmp_path):
    request = changed(small, output_dir=str(tmp_path))
    (info,) = converter.convert(request)

    def written():  # a file written anew is another one
        found = {path.name: path.stat() for path in (tmp_path / "small").iterdir()}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}

    before = written()
    assert converter.convert(changed(request, num_workers=2, command="again")) == [info]
    assert written() == before


def test_changed_inputs_are_noticed_and_can_replace_the_dataset(small, tmp_path):
    weak = tmp_path / "weak.csv"
    weak.write_text(pathlib.Path(small.metadata.weak_csvs[0]).read_text())
    sound = write(tmp_path / "more" / "missing_0.wav", melody(0.5, RATE, 50), RATE)
    request = changed(
        small,
        output_dir=str(tmp_path / "out"),
        weak_csvs=(str(weak),),
        audio_dirs=(*small.audio_dirs, str(tmp_path / "more")),
    )
    converter.convert(request)
    directory = tmp_path / "out" / "small"
    before = contents(directory)
    write(sound, melody(0.5, RATE, 51), RATE)
    changes = [{}, {"encoding": "flac"}, {"num_shards": 2}, {"min_seconds": 0.2}]
    changes += [{"validation_share": 0.5}, {"audio_dirs": small.audio_dirs}]
    for change in changes:  # {}: another sound in the same file
        with pytest.raises(
            errors.InputError, match=r"small holds another conversion .*--overwrite"
        ):
            converter.convert(changed(request, **change))
    weak.write_text(weak.read_text().replace("/m/0a", "/m/0d"))
    with pytest.raises(errors.InputError, match="holds another conversion"):
        converter.convert(request)
    assert contents(directory) == before
    (directory / "notes.txt").write_text("mine")
    converter.convert(changed(request, overwrite=True, num_shards=3))
    info, shards = read_dataset(directory)
    assert info.weak_counts == [0, 1, 0, CLIPS]
    (clip,) = (clip for shard in shards for clip in shard if clip.clip_id == "missing_0")
    assert lag(clip.audio, melody(0.5, RATE, 51)) == 0
    names = {shard["file"] for shard in info.shards}
    assert {path.name for path in directory.iterdir()} == names | {
        "manifest.csv",
        "index.parquet",
        "dataset_info.json",
        "notes.txt",
    }


def test_a_damaged_dataset_is_no_finished_one(whole, small, tmp_path):
    request = changed(small, output_dir=str(tmp_path))
    converter.convert(request)
    (tmp_path / "small" / "small-00002-of-00005.tfrecord").unlink()
    with pytest.raises(errors.InputError, match="shards are missing"):
        converter.convert(request)
    converter.convert(changed(request, overwrite=True))
    assert contents(tmp_path / "small") == whole


def test_what_others_own_is_left_alone(small, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "small-00000-of-00005.tfrecord").write_text("precious")
    with pytest.raises(errors.InputError, match="small holds something else"):
        converter.convert(changed(small, output_dir=str(tmp_path)))
    assert contents(tmp_path / "small") == {"small-00000-of-00005.tfrecord": b"precious"}


def test_two_conversions_into_one_directory_do_not_mix(small, tmp_path):
    work = tmp_path / "small" / ".work"
    work.mkdir(parents=True)
    request = changed(small, output_dir=str(tmp_path))
    with (
        locks.locked(work, "testing"),
        pytest.raises(errors.InputError, match=r"another process is converting into .*small"),
    ):
        converter.convert(request)
    converter.convert(request)  # the lock file that was left does not matter
    assert not work.exists()


def test_an_output_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").touch()
    for output_dir in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        with pytest.raises(errors.InputError, match=f"{output_dir}/small: cannot be written"):
            converter.convert(changed(small, output_dir=str(output_dir)))


def test_a_full_disk_loses_nothing(whole, small, tmp_path):
    request = changed(small, output_dir=str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may be longer: the system refuses to write on, as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(
            errors.InputError, match=r"small-00000-of-00005\.tfrecord: cannot be written"
        ) as raised:
            converter.convert(request)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "small").glob("*.tfrecord"))
    converter.convert(request)
    assert contents(tmp_path / "small") == whole


def test_a_disk_that_is_full_for_the_workers_is_named_too(server, small, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000,) * 2)"
    process = server.start(
        "convert",
        f"--audio_dir={small.audio_dirs[0]}",
        f"--class_labels={small.metadata.class_labels[0]}",
        f"--weak_csv={small.metadata.weak_csvs[0]}",
        f"--output_dir={tmp_path}",
        "--name=small",
        prelude=limit,
    )
    assert process.wait() == 2
    line = process.stderr.splitlines()[-1]
    assert line.startswith(f"error: {tmp_path}/small/small-00000-of-00001.tfrecord: cannot be wri")
    assert not list((tmp_path / "small").glob("*.tfrecord"))


def test_a_share_of_the_videos_is_held_out(small, tmp_path):
    request = changed(small, output_dir=str(tmp_path), validation_share=0.3)
    train, validation = converter.convert(request)
    assert (train.split, validation.split) == ("train", "validation")
    assert (train.name, validation.name) == ("small", "small_validation")
    kept, held = clip_ids(tmp_path / "small"), clip_ids(tmp_path / "small_validation")
    assert len(kept) + len(held) == CLIPS
    assert not {clip_id[:11] for clip_id in kept} & {clip_id[:11] for clip_id in held}
    rows = manifest(tmp_path / "small")
    assert len(rows) == CLIPS + 1
    assert {row["clip_id"] for row in rows if row["status"] == "held_out"} >= set(held)
    assert {row["reason"] for row in rows if row["status"] == "held_out"} == {
        "goes to small_validation"
    }
    written = [r["clip_id"] for r in manifest(tmp_path / "small_validation") if r["shard"]]
    assert sorted(written) == sorted(held)
    # Another dataset of the same videos holds out the same ones.
    other = changed(request, name="strong", select="strong", num_shards=2)
    converter.convert(other)
    assert set(clip_ids(tmp_path / "strong_validation")) <= set(held)
    assert set(clip_ids(tmp_path / "strong")) <= set(kept)


def test_the_share_of_held_out_videos_is_the_one_asked_for():
    ids = [f"{i:011d}_{i}" for i in range(20_000)]
    for share in (0.0, 0.05, 0.5):
        held = [splitting.is_held_out(clip_id, share) for clip_id in ids]
        assert np.mean(held) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20_000))
    # A larger share holds out more videos and none fewer.
    small, large = ({c for c in ids if splitting.is_held_out(c, s)} for s in (0.1, 0.2))
    assert small < large


def test_a_share_that_leaves_a_side_empty_is_refused_before_any_work(small, tmp_path):
    for share in (1e-9, 1 - 1e-9):
        request = changed(small, output_dir=str(tmp_path / "out"), validation_share=share)
        with pytest.raises(errors.InputError, match="it would have no clips"):
            converter.convert(request)
    assert not (tmp_path / "out").exists()


def test_clips_are_selected_by_kind_and_by_list(small, tmp_path):
    listed = write_lines(
        tmp_path / "clips.txt",
        "video000000_0",
        "video000001_20000",
        "missing_0",
        "unheardof00_7000",
    )
    cases = {
        ("all", None): CLIPS + 1,
        ("weak", None): CLIPS + 1,
        ("strong", None): CLIPS // 2,
        ("both", None): CLIPS // 2,
        ("all", listed): 3,
        ("strong", listed): 1,
    }
    vocabulary = small.metadata.vocabulary()
    for (select, clip_list), count in cases.items():
        request = changed(small, select=select, clip_list=clip_list)
        assert len(plans.make_plan(request, vocabulary)) == count
    request = changed(small, output_dir=str(tmp_path), clip_list=listed, select="strong")
    converter.convert(request)
    assert clip_ids(tmp_path / "small") == ["video000000_0"]
    statuses = {row["clip_id"]: row["status"] for row in manifest(tmp_path / "small")}
    assert statuses == {
        "video000000_0": "written",
        "video000001_20000": "not_in_metadata",
        "missing_0": "not_in_metadata",
        "unheardof00_7000": "not_in_metadata",
    }
    none = write_lines(tmp_path / "none.txt", "unheardof00_7000")
    with pytest.raises(
        errors.InputError,
        match=r"of 25 weakly and 12 strongly .* leaves none that .*none\.txt lists",
    ):
        converter.convert(changed(request, clip_list=none))


def test_labels_outside_the_vocabulary_are_left_out_and_told_by_name(small, tmp_path, caplog):
    only = write_lines(tmp_path / "classes.tsv", "/m/0b\tHooter", "/m/0x\tOther")
    request = changed(
        small,
        output_dir=str(tmp_path),
        class_labels=(*small.metadata.class_labels, only),
        combine_class_labels="intersection",
    )
    with caplog.at_level("WARNING"):
        (info,) = converter.convert(request)
    assert info.vocabulary.names == ("Horn, loud",)
    assert info.labels_outside == {"/m/0a": CLIPS}
    assert f"Siren /m/0a ({CLIPS})" in caplog.text
    assert (info.weak_clips, info.weak_counts) == (CLIPS, [0])  # known, and without a class
    assert info.strong_counts == [CLIPS // 2]


def test_nothing_to_write_is_an_error_that_leaves_the_manifest(small, tmp_path):
    for i in range(3):
        (tmp_path / "audio").mkdir(exist_ok=True)
        (tmp_path / "audio" / f"video{i:06d}_0.wav").write_text("<html>")
    request = changed(
        small, output_dir=str(tmp_path / "out"), audio_dirs=(str(tmp_path / "audio"),)
    )
    for _ in range(2):
        with pytest.raises(
            errors.InputError, match=r"none of the 25 clips .*manifest\.csv; .*reason"
        ):
            converter.convert(request)
    rows = manifest(tmp_path / "out" / "small")
    assert collections.Counter(row["status"] for row in rows) == {"missing": 22, "undecodable": 3}
    assert not (tmp_path / "out" / "small" / "dataset_info.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio_dirs": ()}, "no --audio given"),
        ({"audio_dirs": ("/nowhere",)}, "/nowhere: no such directory"),
        ({"class_labels": ()}, "no class list given"),
        ({"class_labels": ("/nowhere.csv",)}, "/nowhere.csv: cannot be read"),
        ({"weak_csvs": (), "strong_tsvs": ()}, "give --weak_csv or --strong_tsv"),
        ({"select": "best"}, "select 'best': must be one of all, weak, strong, both"),
        ({"select": "strong", "strong_tsvs": ()}, "select 'strong' leaves none"),
        ({"encoding": "mp3"}, "encoding 'mp3': must be one of pcm16, flac"),
        ({"decoder": "sox"}, "decoder 'sox': must be one of libsndfile, tensorflow_io"),
        ({"sample_rate": 22_050}, "sample_rate 22050: must be a multiple of 1000 Hz"),
        ({"sample_rate": 0}, "sample_rate 0: must be"),
        ({"front_end": features.FrontEnd()}, "encoding 'pcm16' keeps the audio and takes no Front"),
        (
            {"encoding": "log_mel", "sample_rate": 32_000},
            r"FrontEnd.sample_rate = 16000: must be .*, --sample_rate=32000",
        ),
        ({"weak_csvs": ("a.csv", "./a.csv")}, "--weak_csv: .* the same file; give each file once"),
        ({"name": ""}, "name ''"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": ".."}, r"name '\.\.'"),
        ({"output_dir": "nosuch://bucket"}, r"nosuch://bucket/small: cannot be written \(.*nosuch"),
        ({"num_shards": 0}, "num_shards 0"),
        ({"num_workers": -1}, "num_workers -1"),
        ({"validation_share": 1.0}, r"validation_share 1\.0"),
        ({"validation_share": float("nan")}, "validation_share nan"),
        ({"min_seconds": -0.1}, r"min_seconds -0\.1"),
        ({"clip_timeout_s": 0.0}, r"clip_timeout_s 0\.0"),
        ({"audio_pattern": "{ytid}.ogg"}, "no audio file .*looked for .ogg"),
        ({"audio_pattern": "x{ytid}"}, "none of the 25 clips has a file .*--audio_pattern=x"),
    ],
)
def test_impossible_requests_are_refused_before_any_work(small, tmp_path, change, message):
    request = changed(small, output_dir=str(tmp_path / "out"))
    with pytest.raises(errors.InputError, match=message) as raised:
        converter.convert(changed(request, **change))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_the_binary_reports_a_users_mistake_in_one_line(server, small, tmp_path):
    flags = {
        "audio_dir": small.audio_dirs[0],
        "class_labels": small.metadata.class_labels[0],
        "weak_csv": small.metadata.weak_csvs[0],
        "output_dir": str(tmp_path / "out"),
        "name": "small",
    }
    other = write_lines(tmp_path / "other.csv", "a,table,of,something,else")
    (tmp_path / "empty").mkdir()
    mistakes = [
        ({"audio_dir": "/nowhere"}, "/nowhere: no such directory or file"),
        ({"audio_dir": str(tmp_path / "empty")}, "no audio file in"),
        ({"weak_csv": other}, f"{other}, line 1"),
        ({"strong_tsv": small.metadata.weak_csvs[0]}, f"{small.metadata.weak_csvs[0]}, line"),
        ({"class_labels": small.metadata.weak_csvs[0]}, f"{small.metadata.weak_csvs[0]}, line"),
        ({"name": None}, "--name"),
        ({"weak_csv": None}, "give --weak_csv or --strong_tsv"),
        ({"select": "best"}, "select"),
        ({"num_shards": "many"}, "num_shards"),
        ({"unheard_of": "1"}, "unheard_of"),
        ({"gin_param": "FrontEnd.offset = 0.1"}, "takes no FrontEnd bindings"),
        ({"encoding": "log_mel", "gin_param": "FrontEnd.fft_length = 256"}, "FrontEnd.fft_length"),
    ]
    started = [
        server.start(
            "convert",
            *(f"--{flag}={value}" for flag, value in (flags | change).items() if value is not None),
        )
        for change, _ in mistakes
    ]
    for process, (change, message) in zip(started, mistakes, strict=True):
        assert process.wait() == 2, change
        (line,) = (line for line in process.stderr.splitlines() if not line.startswith("W"))
        assert line.startswith("error: "), change
        assert message in line, change
    assert not (tmp_path / "out").exists()


def test_the_binary_takes_the_front_end_of_log_mel_from_gin(server, small, tmp_path):
    (tmp_path / "front_end.gin").write_text("FrontEnd.num_bands = 40\n")
    process = server.start(
        "convert",
        f"--audio_dir={small.audio_dirs[0]}",
        f"--class_labels={small.metadata.class_labels[0]}",
        f"--weak_csv={small.metadata.weak_csvs[0]}",
        f"--output_dir={tmp_path}",
        "--name=small",
        "--encoding=log_mel",
        f"--gin_file={tmp_path / 'front_end.gin'}",
        "--gin_param=FrontEnd.offset = 0.001",
    )
    assert process.wait() == 0
    info = dataset_info.DatasetInfo.load(str(tmp_path / "small"))
    assert info.front_end == features.FrontEnd(num_bands=40, offset=0.001)
