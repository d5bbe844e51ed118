"""`index.parquet`: its rows, who writes it, and that none is used that does not fit its shards."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import struct
import threading
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

from audioset_strong.conversion import converter, shard_writing
from audioset_strong.core import errors, files
from audioset_strong.records import clip_index, clip_records, dataset_info, inspection
from tests.audio_files import melody, write
from tests.datasets import changed, conversion_request, make_clip, write_dataset

RATE = 16_000
COLUMNS = {  # of the index -> the record's features: the labels, and whether they are known
    "weak_labels": ("weak/labels", "weak/known"),
    "segment_start_ms": ("strong/start_ms", "strong/known"),
    "segment_end_ms": ("strong/end_ms", "strong/known"),
    "segment_label": ("strong/label", "strong/known"),
    "negatives": ("negatives/labels", "negatives/known"),
}


def some_clips(count=9, seconds=0.1):
    """Clips of every combination of labels: not known, known and none, one, several."""
    weak = [None, (), (2,), (0, 3)]
    segments = [(), ((0, 90, 1),), None, ((0, 50, 1), (20, 100, 0), (30, 40, 1))]
    negatives = [(1,), (0, 2), None, ()]
    return [
        make_clip(
            i, seconds + i / 100, weak[i % 4], segments[i // 2 % 4], negatives[(i + i // 4) % 4]
        )
        for i in range(count)
    ]


@pytest.fixture
def dataset(tmp_path):
    """A dataset of four shards, the last of which is empty."""
    directory = tmp_path / "d"
    write_dataset(directory, some_clips(3), 4)
    return directory


def load_info(directory):
    return dataset_info.DatasetInfo.load(str(directory))


def open_index(directory):
    return clip_index.open_index(str(directory), load_info(directory))


def build_anew(directory):
    info = load_info(directory)
    clip_index.write(str(directory), info, clip_index.build(str(directory), info))


def raw_records(path):
    """(offset, record) of a TFRecord file: length, its checksum, the record, its checksum."""
    content = pathlib.Path(path).read_bytes()
    begin = 0
    while begin < len(content):
        (size,) = struct.unpack_from("<Q", content, begin)
        yield begin + 12, content[begin + 12 : begin + 12 + size]
        begin += 12 + size + 4


def examples(directory):
    """(shard, offset of the record, the record, its features) of all clips of a dataset."""
    for shard in sorted(pathlib.Path(directory).glob("*.tfrecord")):
        for offset, record in raw_records(shard):
            yield shard, offset, record, tf.train.Example.FromString(record).features.feature


@pytest.mark.parametrize("encoding", clip_records.ENCODINGS)
def test_pandas_reads_a_row_for_each_clip_that_says_what_its_record_says(tmp_path, encoding):
    directory = write_dataset(tmp_path / "d", some_clips(), 3, encoding)
    table = pd.read_parquet(f"{directory}/index.parquet")
    found = list(examples(directory))
    assert len(table) == len(found) == 9
    for row, (shard, offset, record, features) in zip(table.itertuples(), found, strict=True):
        assert row.clip_id == features["clip_id"].bytes_list.value[0].decode()
        assert row.shard == shard.name
        assert (row.record_offset, row.record_bytes) == (offset, len(record))
        assert row.num_samples == features["num_samples"].int64_list.value[0]
        (audio,) = features["audio"].bytes_list.value
        with open(shard, "rb") as file:
            file.seek(row.audio_offset)
            assert file.read(row.audio_bytes) == audio
        assert row.audio_crc32 == zlib.crc32(audio)
        for column, (labels, known) in COLUMNS.items():
            got = getattr(row, column)
            if features[known].int64_list.value[0]:
                assert got.tolist() == list(features[labels].int64_list.value)
            else:
                assert got is None


def test_labels_that_are_not_known_are_null_and_those_of_which_there_are_none_are_empty(tmp_path):
    clips = [
        make_clip(0, 0.1, weak=None, segments=(), negatives=(3,)),
        make_clip(1, 0.1, weak=(), segments=((5, 9, 2), (5, 7, 1)), negatives=None),
        make_clip(2, 0.1, weak=(1, 2), segments=None, negatives=()),
    ]
    index = open_index(write_dataset(tmp_path / "d", clips, 1))
    expected = {
        "weak_labels": ([False, True, True], [0, 0, 0, 2], [1, 2]),
        "segment_start_ms": ([True, True, False], [0, 0, 2, 2], [5, 5]),
        "segment_end_ms": ([True, True, False], [0, 0, 2, 2], [9, 7]),
        "segment_label": ([True, True, False], [0, 0, 2, 2], [2, 1]),
        "negatives": ([True, False, True], [0, 1, 1, 1], [3]),
    }
    for column, (known, offsets, values) in expected.items():
        labels = index.labels(column)
        assert labels.known.tolist() == known
        assert labels.offsets.tolist() == offsets
        assert labels.values.tolist() == values
    assert index.numbers("num_samples").tolist() == [1600] * 3


def test_clips_are_found_and_their_records_read(dataset):
    index = open_index(dataset)
    found = list(examples(dataset))
    assert len(index) == len(found) == 3
    for place, (shard, _, record, features) in enumerate(found):
        clip_id = features["clip_id"].bytes_list.value[0].decode()
        assert index.find(clip_id) == place
        assert index.clip_ids[place].as_py() == clip_id
        assert index.shards[index.shard[place]].path == str(shard)
        assert index.record(place) == record
    assert index.find("video999999_0") is None
    assert [shard.num_bytes for shard in index.shards][3:] == [0]


def test_an_index_without_clips_can_be_used(tmp_path):
    index = open_index(write_dataset(tmp_path / "d", [], 2))
    assert len(index) == len(index.shard) == len(index.numbers("audio_offset")) == 0
    assert index.labels("weak_labels").offsets.tolist() == [0]
    assert index.find("video000000_0") is None


def test_a_clip_costs_at_most_300_bytes(tmp_path):
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
    clips = []
    for _ in range(400):
        starts = rng.integers(0, 9000, rng.integers(1, 15))  # strong labels of a clip: 9 on average
        segments = [
            (int(t), int(rng.integers(t + 1, 10_001)), int(rng.integers(4))) for t in starts
        ]
        clip_id = f"{''.join(rng.choice(letters, 11))}_{rng.integers(600) * 1000}"
        clip = make_clip(0, 0.01, (0, 2, 3), tuple(sorted(segments)), (1,))
        clips.append(dataclasses.replace(clip, clip_id=clip_id))
    directory = write_dataset(tmp_path / "d", clips, 1)
    assert os.path.getsize(f"{directory}/index.parquet") <= 300 * len(clips)


def test_equal_datasets_have_equal_indices_byte_for_byte(tmp_path):
    one, two = (write_dataset(tmp_path / name / "d", some_clips()) for name in ("one", "two"))
    (tmp_path / "two" / "d" / "index.parquet").unlink()
    open_index(two)  # as it is made on first use
    assert index_bytes(one) == index_bytes(two)


def index_bytes(directory):
    return pathlib.Path(directory, "index.parquet").read_bytes()


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    """Four shards of three clips; of one shard no clip can be converted."""
    root = tmp_path_factory.mktemp("conversion")
    ids = [f"clip{i}_0" for i in range(12)]
    for i, clip_id in enumerate(ids):
        write(root / "audio" / f"{clip_id}.wav", melody(0.3, RATE, i), RATE)
    (root / "classes.csv").write_text('index,mid,display_name\n0,/m/0a,"A"\n1,/m/0b,"B"\n')
    rows = "".join(f'clip{i}, 0.000, 10.000, "/m/0a"\n' for i in range(12))
    (root / "weak.csv").write_text("# YTID, ...\n" + rows)
    (root / "strong.tsv").write_text("clip1_0\t0.25\t0.5\t/m/0b\nclip7_0\t0\t0.1\t/m/0a\n")
    request = conversion_request(
        audio_dirs=(f"{root}/audio",),
        class_labels=(f"{root}/classes.csv",),
        output_dir=f"{root}/first",
        name="d",
        weak_csvs=(f"{root}/weak.csv",),
        strong_tsvs=(f"{root}/strong.tsv",),
        num_shards=4,
        num_workers=1,
    )
    converter.convert(request)
    for row in pd.read_parquet(f"{root}/first/d/index.parquet").itertuples():
        if row.shard == "d-00001-of-00004.tfrecord":
            (root / "audio" / f"{row.clip_id}.wav").write_text("<html>")
    return changed(request, output_dir=f"{root}/out")


@pytest.fixture(scope="module")
def converted(request_):
    converter.convert(request_)
    return pathlib.Path(request_.output_dir, "d")


def test_the_converter_writes_the_index_that_its_shards_give(converted, tmp_path):
    assert [shard["clips"] for shard in load_info(converted).shards] == [3, 0, 3, 3]
    copy = shutil.copytree(converted, tmp_path / "d")
    (copy / "index.parquet").unlink()
    build_anew(copy)
    assert index_bytes(copy) == index_bytes(converted)
    strong = open_index(converted).labels("segment_start_ms")
    assert sorted(strong.values.tolist()) == [0, 250]


def test_a_conversion_that_was_killed_or_begun_by_an_older_version_ends_with_the_same_index(
    converted, request_, tmp_path, monkeypatch
):
    request = changed(request_, output_dir=str(tmp_path))
    write_shard, written = shard_writing.write_shard, []

    def killed_behind_the_third(path, pieces, **settings):
        write_shard(path, pieces, **settings)
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(shard_writing, "write_shard", killed_behind_the_third)
    with pytest.raises(KeyboardInterrupt):
        converter.convert(request)
    parts = sorted((tmp_path / "d" / ".work").glob("*.parquet"))
    assert [part.stem for part in parts] == [os.path.basename(path) for path in written]
    assert not (tmp_path / "d" / "index.parquet").exists()
    parts[2].unlink()  # an older version wrote the stamp alone
    converter.convert(request)
    assert len(written) == len(set(written)) == 4
    assert index_bytes(tmp_path / "d") == index_bytes(converted)


def test_beam_writes_the_same_index(converted, request_, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    converter.convert(changed(request_, output_dir=str(tmp_path), runner="DirectRunner"))
    assert index_bytes(tmp_path / "d") == index_bytes(converted)


def test_a_dataset_without_an_index_gets_one_when_it_is_first_used(dataset, caplog):
    before = open_index(dataset)
    content = index_bytes(dataset)
    (dataset / "index.parquet").unlink()
    with caplog.at_level("WARNING"):
        first = open_index(dataset)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{dataset}: has no index; it is made now, by reading ")
    assert first.table.equals(before.table)
    assert first.shards == before.shards
    assert index_bytes(dataset) == content
    caplog.clear()
    with caplog.at_level("WARNING"):
        assert open_index(dataset).table.equals(first.table)
    assert not caplog.records


def test_where_the_index_cannot_be_written_it_is_kept_in_memory(dataset, caplog, monkeypatch):
    before = open_index(dataset)
    (dataset / "index.parquet").unlink()

    def read_only(path, content):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "write_bytes", read_only)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("WARNING"):
            index = open_index(dataset)
        assert f"{dataset}: its index cannot be written (Permission denied)" in caplog.text
        assert index.table.equals(before.table)
        assert index.record(1) == before.record(1)
    assert not (dataset / "index.parquet").exists()


def test_threads_that_use_a_dataset_first_at_the_same_time_make_one_index(dataset, monkeypatch):
    before = open_index(dataset)
    (dataset / "index.parquet").unlink()
    threads, built = 6, []
    build, exists = clip_index.build, files.exists
    at_once, waited = threading.Barrier(threads), threading.local()

    def building(directory, info):
        built.append(directory)
        return build(directory, info)

    def exists_for_nobody_at_first(path):
        found = exists(path)
        if not hasattr(waited, "once"):
            waited.once = True
            at_once.wait(60)  # until every thread has seen that there is none
        return found

    monkeypatch.setattr(clip_index, "build", building)
    info = load_info(dataset)
    monkeypatch.setattr(files, "exists", exists_for_nobody_at_first)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(clip_index.open_index, str(dataset), info) for _ in range(threads)]
        indices = [future.result() for future in futures]
    assert len(built) == 1
    assert all(index.table.equals(before.table) for index in indices)


def test_processes_that_use_a_dataset_first_at_the_same_time_make_one_index(dataset, server):
    content = index_bytes(dataset)
    (dataset / "index.parquet").unlink()
    runs = [
        server.start("inspect_records", f"--dataset={dataset}", "--clip=video000001_1000")
        for _ in range(3)
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert sum("has no index" in run.stderr for run in runs) == 1
    assert all("video000001_1000: 0.110 s" in run.stdout for run in runs)
    assert index_bytes(dataset) == content


def test_first_use_of_damaged_shards_is_refused(dataset):
    (dataset / "index.parquet").unlink()
    shard = dataset / "d-00001-of-00004.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content + content)
    refused(dataset, f"{shard}: 2 clips, where there should be 1")
    shard.write_bytes(content[:-9])
    refused(dataset, f"{shard}: unreadable after 0 records: ")
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    refused(dataset, f"{shard}, record 0: not a clip record")
    assert not (dataset / "index.parquet").exists()


def refused(directory, beginning, words=""):
    with pytest.raises(errors.InputError) as raised:
        open_index(directory)
    message = str(raised.value)
    assert message.startswith(beginning)
    assert words in message
    assert "\n" not in message
    return message


def replace_index(directory, change):
    """Writes the index with another table or other facts; `change` returns both."""
    path = directory / "index.parquet"
    table = parquet.read_table(path)
    facts = json.loads(table.schema.metadata[b"audioset_strong"])
    table, facts = change(table, facts)
    parquet.write_table(table.replace_schema_metadata({"audioset_strong": json.dumps(facts)}), path)


def with_facts(**values):
    return lambda table, facts: (table, facts | values)


def without_a_shard(table, facts):
    return table, facts | {"shards": facts["shards"][:-1]}


def with_a_shard(table, facts):
    more = {"file": "d-00004-of-00004.tfrecord", "clips": 0, "bytes": 0}
    return table, facts | {"shards": [*facts["shards"], more]}


def with_other_counts(table, facts):
    shards = [shard | {"clips": shard["clips"] + 1} for shard in facts["shards"]]
    return table, facts | {"shards": shards}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_facts(format=2), "format 2, where this code needs 1"),
        (with_facts(schema_version=0), "schema_version 0, where this code needs 1"),
        (with_facts(fingerprint="another"), "is of another conversion than the one that wrote d-0"),
        (without_a_shard, "does not fit d-00003-of-00004.tfrecord, which has 0 clips"),
        (with_a_shard, "lists d-00004-of-00004.tfrecord, which the dataset does not have"),
        (with_other_counts, "does not fit d-00000-of-00004.tfrecord, which has 1 clips"),
        (lambda table, facts: (table[:2], facts), "which the dataset does not have"),
        (lambda table, facts: (table.drop_columns("negatives"), facts), "its columns are not clip"),
        (
            lambda table, facts: (
                table.set_column(3, "record_bytes", table["record_bytes"].cast(pa.int64())),
                facts,
            ),
            "its columns are not clip",
        ),
        (lambda table, facts: (table, {}), "not an index of clips"),
        (lambda table, facts: (table, []), "not an index of clips"),
        (lambda table, facts: (table, facts | {"shards": [{}]}), "not an index of clips"),
    ],
)
def test_an_index_of_something_else_is_refused_and_named(dataset, change, words):
    replace_index(dataset, change)
    message = refused(dataset, f"{dataset}/index.parquet: ", words)
    assert f"audioset_strong_index_dataset --dataset={dataset}" in message


def test_a_file_that_is_no_index_is_refused_and_named(dataset):
    index = dataset / "index.parquet"
    content = index.read_bytes()
    pd.DataFrame({"clip_id": ["a"]}).to_parquet(index)
    refused(dataset, f"{index}: not an index of clips")
    for other in (
        b"",
        b"PAR1",
        b"clip_id,shard\n" * 100,
        content[:-1],
        content[: len(content) // 2],
    ):
        index.write_bytes(other)
        refused(dataset, f"{index}: ", "make it anew with audioset_strong_index_dataset")


def test_a_damaged_index_is_refused_unless_the_damage_does_not_matter(dataset):
    before = open_index(dataset).table
    path = dataset / "index.parquet"
    content = path.read_bytes()
    refusals = []
    for place in range(0, len(content), 67):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :])
        try:
            assert open_index(dataset).table.equals(before), place
        except errors.InputError as error:
            refusals.append(str(error))
    # Damage to the sizes of the shards looks like shards of another size.
    places = (f"{path}: ", f"{dataset}/d-0000")
    assert [line for line in refusals if "\n" in line or not line.startswith(places)] == []
    assert len(refusals) > 50


@pytest.mark.parametrize("change", [lambda content: content + b"x", lambda content: content[:-1]])
def test_a_shard_of_another_size_is_refused_and_named(dataset, change):
    shard = dataset / "d-00002-of-00004.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(change(content))
    sizes = f"{len(change(content)):,} bytes, but index.parquet was made when it had"
    message = refused(dataset, f"{shard}: {sizes} {len(content):,}; convert the dataset again, or")
    assert f"audioset_strong_index_dataset --dataset={dataset}" in message


@pytest.fixture
def of_one_shard(tmp_path):
    directory = tmp_path / "one"
    write_dataset(directory, [make_clip(i, 0.1 + i / 100) for i in range(4)], 1)
    return directory


def rewrite(directory, place, **fields):
    """Replaces fields of a clip of the only shard, which keeps its size; returns its path."""
    (path,) = load_info(directory).shard_paths(str(directory))
    size = os.path.getsize(path)
    clips = list(inspection.clips(str(directory), load_info(directory)))
    clips[place] = dataclasses.replace(clips[place], **fields)
    with tf.io.TFRecordWriter(path) as writer:
        for clip in clips:
            writer.write(clip_records.serialize(clip))
    assert os.path.getsize(path) == size
    return path


@pytest.mark.parametrize("place", [0, 3], ids=["first record", "last record"])
def test_a_shard_with_other_clips_of_the_same_size_is_refused_and_named(of_one_shard, place):
    clip = list(inspection.clips(str(of_one_shard), load_info(of_one_shard)))[place]
    for fields, words in (
        ({"audio": clip.audio[::-1]}, f"the record of {clip.clip_id} has audio_crc32 = "),
        ({"weak_labels": (2,)}, f"{clip.clip_id} has weak_labels = [2], but index.parquet has [0]"),
        ({"clip_id": "x" * len(clip.clip_id)}, f"the record of {clip.clip_id} has clip_id = xxx"),
    ):
        path = rewrite(of_one_shard, place, **fields)
        message = refused(of_one_shard, f"{path}: ", words)
        assert f"audioset_strong_index_dataset --dataset={of_one_shard}" in message
        original = {field: getattr(clip, field) for field in fields}
        rewrite(of_one_shard, place, **original)
        open_index(of_one_shard)


def test_a_shard_with_the_same_clips_in_another_order_is_refused_and_named(of_one_shard):
    (path,) = load_info(of_one_shard).shard_paths(str(of_one_shard))
    records = [record for _, record in raw_records(path)]
    with tf.io.TFRecordWriter(path) as writer:
        for record in reversed(records):
            writer.write(record)
    refused(of_one_shard, f"{path}: byte 12 should begin the record of video000000_0, according to")


def test_a_copy_of_a_dataset_with_other_times_is_as_good(dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "copy", copy_function=shutil.copyfile)
    for shard in copy.glob("*.tfrecord"):
        os.utime(shard, (1e9, 1e9))
    index = open_index(copy)
    assert index.table.equals(open_index(dataset).table)
    assert {shard.mtime_ns for shard in index.shards} == {10**18}
    assert all(shard.path.startswith(f"{copy}/") for shard in index.shards)


def test_the_tool_makes_an_index_anew(dataset, of_one_shard, server):
    content = index_bytes(dataset)
    (dataset / "index.parquet").write_bytes(content[:-100])
    rewrite(of_one_shard, 0, weak_labels=(2,))
    run = server.start("index_dataset", f"--dataset={dataset}", f"--dataset={of_one_shard}")
    assert run.wait() == 0
    lines = run.stdout.splitlines()
    assert [line.rpartition(",")[0] for line in lines] == [
        f"{dataset}/index.parquet: 3 clips",
        f"{of_one_shard}/index.parquet: 4 clips",
    ]
    assert index_bytes(dataset) == content
    assert open_index(of_one_shard).labels("weak_labels").values.tolist() == [2, 0, 0, 0]


def test_the_tool_names_what_it_cannot_index_or_write(dataset, tmp_path, server):
    shard = dataset / "d-00000-of-00004.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-9])
    runs = {
        f"{shard}: unreadable after 0 records": server.start(
            "index_dataset", f"--dataset={dataset}"
        ),
        "no converted dataset": server.start("index_dataset", f"--dataset={tmp_path}"),
        "dataset": server.start("index_dataset"),
    }
    assert [run.wait() for run in runs.values()] == [2, 2, 2]
    for words, run in runs.items():
        assert run.stderr.splitlines()[-1].startswith("error: ")
        assert words in run.stderr.splitlines()[-1]
    shard.write_bytes(content)
    (dataset / "index.parquet").unlink()
    (dataset / "index.parquet").mkdir()
    run = server.start("index_dataset", f"--dataset={dataset}")
    assert run.wait() == 2
    assert f"error: {dataset}/index.parquet: cannot be written" in run.stderr


def test_a_dataset_on_any_file_system_of_tensorflow_has_an_index(dataset, caplog):
    remote = "ram://clip/index/d"
    tf.io.gfile.makedirs(remote)
    for path in dataset.glob("*.*"):
        if path.name != "index.parquet":
            tf.io.gfile.copy(str(path), f"{remote}/{path.name}", overwrite=True)
    with caplog.at_level("WARNING"):
        first = open_index(remote)
    assert f"{remote}: has no index" in caplog.text
    with tf.io.gfile.GFile(f"{remote}/index.parquet", "rb") as file:
        assert file.read() == index_bytes(dataset)
    index, local = open_index(remote), open_index(dataset)
    assert index.table.equals(first.table)
    assert index.table.equals(local.table)
    assert [index.record(row) for row in range(3)] == [local.record(row) for row in range(3)]
    shard = f"{remote}/d-00001-of-00004.tfrecord"
    with tf.io.gfile.GFile(shard, "ab") as file:
        file.write(b"more")
    refused(remote, f"{shard}: ", "bytes, but index.parquet was made when it had")
    with tf.io.gfile.GFile(f"{remote}/index.parquet", "wb") as file:
        file.write(index_bytes(dataset)[:-5])
    refused(remote, f"{remote}/index.parquet: not an index of clips")
