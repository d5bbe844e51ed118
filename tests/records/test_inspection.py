"""Looking into shards: what is shown, exported, and found wrong."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import tensorflow as tf
from pyarrow import parquet

from audioset_strong.conversion import converter
from audioset_strong.core import errors
from audioset_strong.records import (
    clip_index,
    clip_records,
    dataset_info,
    inspection,
    shard_reading,
)
from tests.audio_files import melody, write
from tests.datasets import conversion_request, make_clip, write_dataset

RATE = 16_000


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    root = tmp_path_factory.mktemp("inspection")
    for i in range(9):
        write(root / "audio" / f"clip{i}_0.wav", melody(0.5 + i / 10, RATE, i), RATE)
    (root / "classes.csv").write_text(
        'index,mid,display_name\n0,/m/0a,"Horn, loud"\n1,/m/0b,"Bark"\n2,/m/0c,"Siren"\n'
    )
    weak = [f'clip{i}, 0.000, 10.000, "/m/0a,/m/0b"\n' for i in range(10)]
    (root / "weak.csv").write_text("# YTID, ...\n" + "".join(weak))
    (root / "strong.tsv").write_text("clip1_0\t0.25\t0.5\t/m/0b\nclip1_0\t0\t1.125\t/m/0a\n")
    (root / "negatives.csv").write_text("clip1_0,/m/0c\n")
    converter.convert(
        conversion_request(
            audio_dirs=(f"{root}/audio",),
            class_labels=(f"{root}/classes.csv",),
            output_dir=f"{root}/data",
            name="d",
            weak_csvs=(f"{root}/weak.csv",),
            strong_tsvs=(f"{root}/strong.tsv",),
            negatives=(f"{root}/negatives.csv",),
            num_shards=3,
            num_workers=1,
        )
    )
    return root / "data" / "d"


@pytest.fixture
def dataset(converted, tmp_path):
    """A copy of the dataset, to be damaged."""
    shutil.copytree(converted, tmp_path / "d")
    return tmp_path / "d"


def verify(directory):
    info = dataset_info.DatasetInfo.load(str(directory))
    return inspection.verify(str(directory), info)


def rewrite(directory, shard, change):
    """Writes a shard anew with its records changed; returns its path."""
    path = dataset_info.DatasetInfo.load(str(directory)).shard_paths(str(directory))[shard]
    clips = list(shard_reading.read_clips(path))
    with tf.io.TFRecordWriter(path) as writer:
        for clip in change(clips):
            writer.write(clip if isinstance(clip, bytes) else clip_records.serialize(clip))
    return path


def test_a_whole_dataset_has_no_problems(converted):
    assert verify(converted) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weak_labels": (0, 3)}, "weak label 3, where there are 3 classes"),
        ({"negatives": (-1,)}, "negative -1, where there are 3 classes"),
        ({"segments": ((0, 5, 7),)}, "label of a segment 7, where there are 3 classes"),
        ({"segments": ((5, 5, 1),)}, "segment from 5 to 5 ms"),
        ({"segments": ((-5, 5, 1),)}, "segment from -5 to 5 ms"),
        ({"sample_rate": 8000}, "8000 Hz in a dataset of 16000 Hz"),
        ({"audio": np.zeros(0, np.int16)}, "no audio"),
    ],
)
def test_a_record_that_does_not_fit_is_named(dataset, change, problem):
    clip_ids = []

    def alter(clips):
        clip_ids.append(clips[1].clip_id)
        return [clips[0], dataclasses.replace(clips[1], **change), *clips[2:]]

    path = rewrite(dataset, 2, alter)
    assert f"{path}, record 1, {clip_ids[0]}: {problem}" in verify(dataset)


def test_damage_of_every_kind_is_found_and_the_other_shards_are_still_read(dataset):
    first, second, third = (rewrite(dataset, shard, lambda clips: clips) for shard in range(3))
    with open(first, "r+b") as file:
        file.seek(-100, 2)
        file.write(b"damage")
    with open(second, "r+b") as file:
        file.truncate(file.seek(0, 2) - 7)
    rewrite(dataset, 2, lambda clips: [*clips[:-1], clips[0]])
    problems = verify(dataset)
    clips = {p: sum(1 for _ in _readable(p)) for p in (first, second)}
    for path, read in clips.items():
        assert any(p.startswith(f"{path}: unreadable after {read} records") for p in problems)
        assert any(p.startswith(f"{path}: {read} clips, where there should be") for p in problems)
    assert any(p.startswith(f"{third}, record") and "also in d-00002" in p for p in problems)
    assert "dataset_info.json: num_clips does not agree with the shards" in problems
    assert "dataset_info.json: hours does not agree with the shards" in problems
    assert sum(p.startswith("manifest.csv: clip") and "but is in none" in p for p in problems) == 3


def _readable(path):
    try:
        yield from shard_reading.read_clips(path)
    except Exception:
        return


def test_a_shard_cut_between_two_records_is_noticed(dataset):
    path = rewrite(dataset, 1, lambda clips: clips[:-1])
    assert f"{path}: 2 clips, where there should be 3" in verify(dataset)


def test_records_of_something_else_are_noticed(dataset):
    path = rewrite(dataset, 1, lambda clips: [clips[0], b"junk", *clips[2:]])
    assert any(p.startswith(f"{path}, record 1: not a clip record") for p in verify(dataset))


def test_counts_and_manifest_are_compared_with_the_shards(dataset):
    path = dataset / "dataset_info.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"weak_counts": [9, 9, 9], "strong_clips": 2}))
    manifest = dataset / "manifest.csv"
    text = manifest.read_text()
    row = next(line for line in text.splitlines(True) if line.startswith("clip3_0"))
    manifest.write_text(text.replace(row, ""))
    assert verify(dataset) == [
        "dataset_info.json: strong_clips does not agree with the shards",
        "dataset_info.json: weak_counts does not agree with the shards",
        "manifest.csv: no row of clip3_0",
    ]
    manifest.unlink()
    assert f"{manifest}: cannot be read (No such file or directory)" in verify(dataset)
    manifest.write_text(text.replace("clip3_0,", "clip3_0,,,"))
    assert any(p.startswith(f"{manifest}: not a manifest (line") for p in verify(dataset))


def test_a_shards_count_of_known_labels_is_compared_with_its_records(dataset):
    path = dataset / "dataset_info.json"
    values = json.loads(path.read_text())
    shard = values["shards"][1]
    counted = shard["strong_clips"]
    shard["strong_clips"] += 1
    path.write_text(json.dumps(values))
    (problem,) = verify(dataset)
    assert problem.endswith(f"{counted} strong_clips, where there should be {counted + 1}")
    # Older infos do not have them.
    for shard in values["shards"]:
        del shard["weak_clips"], shard["strong_clips"], shard["negative_clips"]
    path.write_text(json.dumps(values))
    assert verify(dataset) == []


def test_clips_are_found_by_name_and_in_that_order(dataset):
    info = dataset_info.DatasetInfo.load(str(dataset))
    found = inspection.find_clips(str(dataset), info, ["clip4_0", "clip0_0", "clip4_0"])
    assert [clip.clip_id for clip in found] == ["clip4_0", "clip0_0", "clip4_0"]
    by_id = {clip.clip_id: clip for clip in inspection.clips(str(dataset), info)}
    clip = inspection.find_clip(str(dataset), info, "clip1_0")
    np.testing.assert_array_equal(clip.audio, by_id["clip1_0"].audio)
    for clip_id, message in {
        "clip9_0": r"clip9_0: not in .*: missing \(no audio file\)",
        "clip77_0": "clip77_0: .* has no clip of that name",
    }.items():
        with pytest.raises(errors.InputError, match=message):
            inspection.find_clip(str(dataset), info, clip_id)
    # The manifest only knows why a clip is missing.
    manifest = dataset / "manifest.csv"
    manifest.write_text("another,table\n1,2\n")
    assert inspection.find_clip(str(dataset), info, "clip1_0").clip_id == "clip1_0"
    with pytest.raises(errors.InputError, match=f"^{manifest}: not a manifest"):
        inspection.find_clip(str(dataset), info, "clip9_0")
    manifest.unlink()
    assert inspection.find_clip(str(dataset), info, "clip1_0").clip_id == "clip1_0"
    with pytest.raises(errors.InputError, match=r"clip9_0: .* has no clip of that name"):
        inspection.find_clip(str(dataset), info, "clip9_0")


def test_a_damaged_record_is_refused_when_its_clip_is_asked_for_and_matters_to_no_other(dataset):
    info = dataset_info.DatasetInfo.load(str(dataset))
    path = info.shard_paths(str(dataset))[1]
    ids = [clip.clip_id for clip in shard_reading.read_clips(path)]
    index = clip_index.open_index(str(dataset), info)
    with open(path, "r+b") as file:  # in the middle of the shard: its ends are compared at once
        file.seek(int(index.numbers("audio_offset")[index.find(ids[1])]) + 1000)
        file.write(b"damage")
    for clip_id in (ids[0], ids[2]):
        assert inspection.find_clip(str(dataset), info, clip_id).clip_id == clip_id
    with pytest.raises(errors.InputError) as raised:
        inspection.find_clip(str(dataset), info, ids[1])
    assert str(raised.value).startswith(f"{path}: the record of {ids[1]} has audio_crc32 = ")
    assert "\n" not in str(raised.value)


def change_index(directory, clip_id, values):
    """Writes the index with other values for a clip."""
    path = directory / "index.parquet"
    table = parquet.read_table(path)
    rows = table.to_pylist()
    (row,) = (row for row in rows if row["clip_id"] == clip_id)
    row.update(values)
    parquet.write_table(pa.Table.from_pylist(rows, table.schema), path)


@pytest.mark.parametrize(
    "values",
    [
        {"record_offset": 7},
        {"audio_offset": 100},
        {"audio_crc32": 1},
        {"num_samples": 1},
        {"weak_labels": [0]},
        {"weak_labels": None},
        {"negatives": []},
        {"segment_end_ms": [500, 1125]},
        {"clip_id": "clip10_0"},
    ],
)
def test_an_index_that_says_something_else_than_a_record_is_noticed(dataset, values):
    info = dataset_info.DatasetInfo.load(str(dataset))
    index = clip_index.open_index(str(dataset), info)
    row = index.find("clip1_0")
    path = index.shards[index.shard[row]].path
    number = [clip.clip_id for clip in shard_reading.read_clips(path)].index("clip1_0")
    change_index(dataset, "clip1_0", values)
    line = f"index.parquet: clip1_0 differs from record {number} of {path}"
    assert verify(dataset) == [line]


def test_an_index_of_other_shards_is_noticed_and_that_of_none_is_no_problem(dataset):
    path = rewrite(dataset, 1, lambda clips: [clips[1], clips[0], clips[2]])
    first = next(shard_reading.read_clips(path)).clip_id
    assert verify(dataset) == [f"index.parquet: {first} differs from record 0 of {path}"]
    index = dataset / "index.parquet"
    content = index.read_bytes()
    index.write_bytes(content[:-7])
    (problem,) = verify(dataset)
    assert problem.startswith(f"{index}: not an index of clips (")
    assert "\n" not in problem
    rewrite(dataset, 1, lambda clips: [clips[1], clips[0]])
    index.write_bytes(content)
    problems = [line for line in verify(dataset) if line.startswith("index.parquet: ")]
    assert [line.partition(" differs from ")[2] for line in problems] == [f"record 2 of {path}"]
    rewrite(dataset, 1, lambda clips: clips)
    index.unlink()
    assert not [line for line in verify(dataset) if "index.parquet" in line]
    assert not index.exists()  # verifying writes nothing


def test_a_dataset_of_log_mel_is_shown_and_verified_but_not_exported(tmp_path):
    clips = [make_clip(i, 0.5, segments=((100, 300, 1),)) for i in range(4)]
    directory = write_dataset(tmp_path / "d", clips, 2, "log_mel")
    info = dataset_info.DatasetInfo.load(directory)
    clip = next(inspection.clips(directory, info))
    shown = inspection.describe_clip(clip, info.vocabulary).splitlines()
    assert shown[0] == "video000000_0: 0.500 s at 16000 Hz, 50 STFT frames of log-mel"
    with pytest.raises(errors.InputError, match=r"video000000_0: cannot be exported, .* log-mel"):
        inspection.export_wav(clip, str(tmp_path))
    assert inspection.verify(directory, info) == []
    spoilt = clip.log_mel.values.copy()
    spoilt[3, 5] = np.nan
    log_mel = dataclasses.replace(clip.log_mel, values=spoilt)
    path = info.shard_paths(directory)[0]
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(clip_records.serialize(dataclasses.replace(clip, log_mel=log_mel), "log_mel"))
    problems = inspection.verify(directory, info)
    assert f"{path}, record 0, {clip.clip_id}: log-mel that is not finite" in problems


def test_the_first_clips_are_read_by_the_index_or_without_one(dataset):
    info = dataset_info.DatasetInfo.load(str(dataset))
    want = [clip.clip_id for clip in inspection.clips(str(dataset), info)]
    first = [clip.clip_id for clip in inspection.first_clips(str(dataset), info, 4)]
    assert first == want[:4]
    assert sum(1 for _ in inspection.first_clips(str(dataset), info, 99)) == len(want) == 9
    last = rewrite(dataset, 2, lambda clips: clips[:1])
    assert [clip.clip_id for clip in inspection.first_clips(str(dataset), info, 4)] == want[:4]
    with pytest.raises(errors.InputError, match=f"{last}: byte .* should begin the record"):
        list(inspection.first_clips(str(dataset), info, 9))
    (dataset / "index.parquet").unlink()
    assert [clip.clip_id for clip in inspection.first_clips(str(dataset), info, 4)] == want[:4]
    assert not (dataset / "index.parquet").exists()


def test_the_binary_shows_and_exports_clips(converted, server, tmp_path):
    runs = {
        name: server.start("inspect_records", f"--dataset={converted}", *flags)
        for name, flags in {
            "first": ["--first=2"],
            "clip": ["--clip=clip1_0", "--clip=clip4_0", f"--export_dir={tmp_path / 'wav'}"],
            "counts": ["--counts"],
            "verify": ["--verify"],
            "missing": ["--clip=clip9_0"],
            "unknown": ["--clip=clip10_0"],
            "nowhere": [f"--dataset={tmp_path}"],
        }.items()
    }
    codes = {name: run.wait() for name, run in runs.items()}
    assert codes == dict.fromkeys(runs, 0) | {"missing": 2, "unknown": 2, "nowhere": 2}
    assert runs["first"].stdout.startswith("d (all): 9 clips, ")
    assert runs["first"].stdout.count("s at 16000 Hz, peak 0.") == 2
    shown = runs["clip"].stdout.splitlines()[1:]
    assert shown[0].startswith("clip1_0: 0.600 s at 16000 Hz, peak 0.")
    assert shown[1:6] == [
        "  weak: Horn, loud; Bark",
        "  negatives: Siren",
        "  strong: 2 segments",
        "    0.000 to 1.125 s: Horn, loud",
        "    0.250 to 0.500 s: Bark",
    ]
    assert shown[8:11] == [
        "  weak: Horn, loud; Bark",
        "  negatives: not known",
        "  strong: not known",
    ]
    for i in (1, 4):
        got, rate = soundfile.read(tmp_path / "wav" / f"clip{i}_0.wav", dtype="int16")
        want, _ = soundfile.read(converted.parents[1] / "audio" / f"clip{i}_0.wav", dtype="int16")
        np.testing.assert_array_equal(got, want)
        assert rate == RATE
    assert runs["counts"].stdout.splitlines() == [
        "mid\tdisplay_name\tweak_clips\tstrong_clips\tsegments\tnegative_clips",
        "/m/0a\tHorn, loud\t9\t1\t1\t0",
        "/m/0b\tBark\t9\t1\t1\t0",
        "/m/0c\tSiren\t0\t0\t0\t1",
    ]
    assert runs["verify"].stdout == "d: 0 problems in 3 shards\n"
    assert "clip9_0: not in" in runs["missing"].stderr
    assert "missing (no audio file)" in runs["missing"].stderr
    assert "clip10_0" in runs["unknown"].stderr
    assert "no converted dataset" in runs["nowhere"].stderr


def test_the_binary_tells_of_damage_by_its_exit_code(dataset, server):
    path = rewrite(dataset, 1, lambda clips: clips[:-1])
    run = server.start("inspect_records", f"--dataset={dataset}", "--verify")
    assert run.wait() == 1
    assert f"{path}: 2 clips, where there should be 3" in run.stdout
