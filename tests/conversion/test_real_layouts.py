"""Downloads in one mess of layouts and formats: each clip gets its own sound."""

import csv

import numpy as np
import pytest

from audioset_strong.conversion import converter
from audioset_strong.records import dataset_info, shard_reading
from tests.audio_files import lag, melody, write
from tests.datasets import conversion_request

RATE = 16_000
VIDEO_S = 45

# (file, video id, start in s, whether the file is the full-length video)
FILES = [
    ("flat/{}.wav", "abcdefghijk", 30, False),
    ("flat/{}.wav", "-bcdefghijk", 30, False),
    ("flat/{}.flac", "_bcdefghij-", 0, False),
    ("flat/Y{}.mp3", "Ybcdefghijk", 10, False),
    ("flat/{}_30.ogg", "bcd_fgh_jk0", 30, False),
    ("flat/{}_30000.opus", "bcd_fgh_jk1", 30, False),
    ("flat/{}_30_40.m4a", "bcd_fgh_jk2", 30, False),
    ("flat/{}_30000_40000.webm", "bcd_fgh_jk3", 30, False),
    ("flat/Y{}_30.000_40.000.WAV", "bcd_fgh_jk4", 30, False),
    ("flat/{}_30.0_40.0.mp4", "bcd_fgh_jk5", 30, False),
    ("part0/aa/bb/{}_7.5.mkv", "bcd_fgh_jk6", 7.5, False),
    ("part1/{}.m4a", "video_full0", 30, True),
    ("part1/{}.webm", "video_full1", 30, True),
    ("part1/Y{}.mp4", "-ideo_full2", 30, True),
    ("part2/{}.opus", "video_full3", 12.34, True),
    ("part2/{}.wav", "video_full4", 20, True),
    ("remote/x/{}.mp3", "video_full5", 30, True),
    ("remote/{}_10000.flac", "bcd_fgh_jk7", 10, False),
]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    root = tmp_path_factory.mktemp("layouts")
    rows = []
    for seed, (name, ytid, start_s, full_length) in enumerate(FILES):
        path = root / name.format(ytid)
        rate = 48_000 if path.suffix in (".opus", ".webm") else 44_100
        sound = melody(VIDEO_S if full_length else 10, rate, seed)
        lower = path.with_suffix(path.suffix.lower())
        write(lower, sound, rate).rename(path)
        rows.append(f'{ytid}, {start_s:.3f}, {start_s + 10:.3f}, "/m/0a"')
    (root / "weak.csv").write_text("\n".join(["# YTID, ...", *rows]) + "\n")
    (root / "classes.csv").write_text('index,mid,display_name\n0,/m/0a,"A"\n')
    converter.convert(
        conversion_request(
            audio_dirs=(f"{root}/flat", f"{root}/part*", f"file://{root}/remote"),
            class_labels=(f"{root}/classes.csv",),
            output_dir=f"{root}/data",
            name="all",
            weak_csvs=(f"{root}/weak.csv",),
            num_shards=2,
            num_workers=1,
        )
    )
    info = dataset_info.DatasetInfo.load(f"{root}/data/all")
    clips = {
        clip.clip_id: clip
        for path in info.shard_paths(f"{root}/data/all")
        for clip in shard_reading.read_clips(path)
    }
    with open(root / "data" / "all" / "manifest.csv", newline="") as file:
        rows = {row["clip_id"]: row for row in csv.DictReader(file)}
    return root, clips, rows


@pytest.mark.parametrize("seed", range(len(FILES)), ids=[name for name, *_ in FILES])
def test_each_clip_gets_its_own_sound(converted, seed):
    root, clips, rows = converted
    name, ytid, start_s, full_length = FILES[seed]
    clip_id = f"{ytid}_{round(start_s * 1000)}"
    assert rows[clip_id]["status"] == "written", rows[clip_id]
    assert rows[clip_id]["file"].removeprefix("file://") == f"{root}/{name.format(ytid)}"
    begin = round(start_s * RATE) if full_length else 0
    want = melody(VIDEO_S, RATE, seed)[begin:] if full_length else melody(10, RATE, seed)
    got = clips[clip_id].audio / 32768
    assert len(got) == pytest.approx(10 * RATE, abs=0.04 * RATE)
    assert abs(lag(got, want[: 10 * RATE])) <= 0.001 * RATE  # Matroska's resolution
    shifts = [
        np.correlate(got[50:-50], want[50 + i : len(got) - 50 + i])[0] for i in range(-20, 21)
    ]
    energy = np.sqrt(np.sum(got**2) * np.sum(want[: len(got)] ** 2))
    assert max(shifts) / energy > 0.95


def test_every_file_serves_its_clip_alone(converted):
    _, clips, rows = converted
    assert len(clips) == len(rows) == len(FILES)
