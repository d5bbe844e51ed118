"""`dataset_info.json`: read back as written, and refused in words where it does not fit."""

import dataclasses
import json

import pytest

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.labels import vocabularies
from audioset_strong.records import dataset_info


@pytest.fixture
def directory(tmp_path):
    info = dataset_info.DatasetInfo(
        name="d",
        split="train",
        schema_version=1,
        sample_rate=16_000,
        encoding="flac",
        vocabulary=vocabularies.Vocabulary(("/m/0a", "/t/dd1"), ('Quote "x"', "Röhren, laut")),
        shards=[{"file": "d-0.tfrecord", "clips": 2}, {"file": "d-1.tfrecord", "clips": 1}],
        num_clips=3,
        hours=0.1 + 0.2,
        weak_clips=3,
        weak_counts=[2, 1],
        sources={"a.csv": "00ff"},
        labels_outside={"/m/0z": 7},
        fingerprint="abc",
    )
    info.save(str(tmp_path))
    for shard in info.shards:
        (tmp_path / shard["file"]).touch()
    return tmp_path, info


def test_an_info_is_read_back_as_it_was_written(directory):
    path, info = directory
    assert dataset_info.DatasetInfo.load(str(path)) == info
    assert info.shard_paths(str(path)) == [f"{path}/d-0.tfrecord", f"{path}/d-1.tfrecord"]
    assert sorted(p.name for p in path.iterdir()) == [
        "d-0.tfrecord",
        "d-1.tfrecord",
        "dataset_info.json",
    ]


def test_what_does_not_fit_is_named(directory):
    path, _ = directory
    file = path / "dataset_info.json"
    good = json.loads(file.read_text())
    cases = [
        (json.dumps(good | {"schema_version": 2}), "schema version 2, this code reads 1"),
        (json.dumps({k: v for k, v in good.items() if k != "encoding"}), "encoding"),
        (json.dumps(good | {"unheard_of": 1}), "unheard_of"),
        (json.dumps(good | {"shards": [{"clips": 1}]}), "file"),
        (json.dumps(good | {"shards": 5}), "not a dataset info"),
        (json.dumps(good | {"vocabulary": [{"mid": "/m/0a"}]}), "display_name"),
        (json.dumps([good]), "not a dataset info"),
        (file.read_text()[:100], "not a dataset info"),
        ("", "not a dataset info"),
        ("\udcff", "cannot be read"),
    ]
    for text, message in cases:
        file.write_text(text, errors="surrogateescape")
        with pytest.raises(errors.InputError, match=message) as raised:
            dataset_info.DatasetInfo.load(str(path))
        assert str(raised.value).startswith(f"{file}: ")
        assert "\n" not in str(raised.value)


def test_log_mel_has_a_front_end_and_audio_has_none(directory):
    path, info = directory
    file = path / "dataset_info.json"
    front_end = features.FrontEnd(num_bands=32, offset=0.001)
    log_mel = dataclasses.replace(info, encoding="log_mel", front_end=front_end)
    log_mel.save(str(path))
    assert dataset_info.DatasetInfo.load(str(path)) == log_mel
    # An older converter did not write it: there was only the default front end.
    values = json.loads(file.read_text())
    del values["front_end"]
    file.write_text(json.dumps(values))
    loaded = dataset_info.DatasetInfo.load(str(path))
    assert loaded == dataclasses.replace(log_mel, front_end=features.DEFAULT_FRONT_END)
    cases = [
        (values | {"encoding": "flac", "front_end": front_end.to_json()}, "take no front end"),
        (values | {"sample_rate": 8000}, "front end of 16000 Hz for .* 8000 Hz"),
        (values | {"front_end": {"num_bands": 3}}, "must have fft_length"),
    ]
    for wrong, message in cases:
        file.write_text(json.dumps(wrong))
        with pytest.raises(errors.InputError, match=message) as raised:
            dataset_info.DatasetInfo.load(str(path))
        assert str(raised.value).startswith(f"{file}: ")


def test_a_missing_shard_or_dataset_is_named(directory):
    path, _ = directory
    (path / "d-1.tfrecord").unlink()
    with pytest.raises(errors.InputError, match=r"d-1\.tfrecord: missing, although .*\.json lists"):
        dataset_info.DatasetInfo.load(str(path))
    for nowhere in (path / "nowhere", path):
        (path / "dataset_info.json").unlink(missing_ok=True)
        with pytest.raises(errors.InputError, match=f"{nowhere}: no converted dataset"):
            dataset_info.DatasetInfo.load(str(nowhere))


def test_an_info_that_cannot_be_written_is_the_users_to_mend(directory, tmp_path):
    _, info = directory
    with pytest.raises(errors.InputError, match=r"nowhere/dataset_info\.json: cannot be written"):
        info.save(str(tmp_path / "nowhere"))
