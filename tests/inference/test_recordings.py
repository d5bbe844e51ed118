"""Many recordings to files: what is in them, what they are called, and what a broken one does."""

import csv
import dataclasses
import json
import pathlib
import shutil
import zipfile

import matplotlib.image
import numpy as np
import pytest

from audioset_strong.audio import finding
from audioset_strong.core import errors, progress
from audioset_strong.inference import event_detection, recordings, writers
from audioset_strong.labels import vocabularies
from tests import audio_files

_ALL = tuple(writers.FORMATS)


def _recording(path, seconds=6.0, rate=22_050):
    """A melody that comes and goes."""
    waveform = audio_files.melody(seconds, rate, seed=len(str(path)) % 7)
    return str(audio_files.write(path, waveform * (np.arange(len(waveform)) // rate % 3 > 0), rate))


def _request(model, tmp_path=None, formats=(), threshold=0.5, output_dir=None, **settings):
    if formats:
        output_dir = str(output_dir or tmp_path / "out")
    chosen = event_detection.settings_for(model.vocabulary, threshold=threshold)
    return recordings.PredictionRequest(chosen, output_dir, formats, **settings)


def _names(directory):
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


def _lines(path):
    return pathlib.Path(path).read_text(encoding="utf-8").splitlines()


def test_every_format_tells_of_the_same_scores(model, tmp_path):
    path = _recording(tmp_path / "in" / "street noise.flac")
    done = []
    request = _request(model, tmp_path, _ALL, hop_s=0.48, top_k=3)
    assert recordings.predict(model, [path], request=request, on_result=done.append) == []
    out = tmp_path / "out"
    assert _names(out) == [
        f"street noise.flac{suffix}"
        for suffix in (
            ".events.csv",
            ".labels.txt",
            ".png",
            ".scores.csv",
            ".scores.jsonl",
            ".txt",
        )
    ]
    base = str(out / "street noise.flac")
    expected = model.predict_file(path, hop_s=0.48)
    with open(f"{base}.scores.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["start_s", "end_s", "class 0", "class 1", "class 2", "class 3"]
    table = np.array(rows, float)
    np.testing.assert_allclose(table[:, 2:], expected.scores, atol=1e-5)
    np.testing.assert_allclose(table[:, 0], expected.times)
    np.testing.assert_allclose(table[:, 1], np.minimum(expected.times + 0.96, 6.0))

    lines = [json.loads(line) for line in _lines(f"{base}.scores.jsonl")]
    assert [line["start_s"] for line in lines] == table[:, 0].tolist()
    assert [line["end_s"] for line in lines] == table[:, 1].tolist()
    assert [list(line["scores"].values()) for line in lines] == table[:, 2:].tolist()
    assert list(lines[0]["scores"]) == header[2:]

    found = event_detection.detect(
        expected.scores, request.events, seconds=6.0, hop_s=0.48, frame_s=0.96
    )
    assert len(found) > 1
    with open(f"{base}.events.csv", newline="") as file:
        listed = list(csv.DictReader(file))
    label_track = [line.split("\t") for line in _lines(f"{base}.labels.txt")]
    for event, row, label in zip(found, listed, label_track, strict=True):
        assert float(row["start_s"]) == float(label[0]) == pytest.approx(event.start_s)
        assert float(row["end_s"]) == float(label[1]) == pytest.approx(event.end_s)
        assert row["name"] == label[2] == f"class {event.label}"
        assert float(row["peak"]) == pytest.approx(event.peak, abs=1e-5)
        assert float(row["mean"]) == pytest.approx(event.mean, abs=1e-5)

    text = pathlib.Path(f"{base}.txt").read_text()
    assert text.startswith(f"{path}: 6.00 s\n  top classes\n")
    for name, score in expected.top(3):
        assert f"    {score:.3f}  {name}\n" in text
    assert text.count("\n") == 3 + 3 + len(found)

    picture = matplotlib.image.imread(f"{base}.png")
    assert picture.shape[0] > 400
    assert picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 500

    (result,) = done
    assert [model.class_names[label] for label, _ in result.top] == [
        name for name, _ in expected.top(3)
    ]


def test_a_clip_is_summed_up_by_its_mean_or_by_its_highest_scores(model, tmp_path):
    path = _recording(tmp_path / "a.wav", 12.3)
    scores = model.predict_file(path).scores
    done = []
    for top_by in ("mean", "max"):
        request = _request(model, top_by=top_by, batch_size=5)
        recordings.predict(model, [path], request=request, on_result=done.append)
    by_mean, by_max = (np.array([score for _, score in sorted(r.top)]) for r in done)
    np.testing.assert_allclose(by_mean, scores[:13].mean(axis=0), atol=1e-6)  # 12.48 s is outside
    np.testing.assert_allclose(by_max, scores.max(axis=0), atol=1e-6)


def test_no_event_leaves_empty_lists(model, tmp_path):
    path = str(audio_files.write(tmp_path / "a.wav", np.zeros(30_000), 16_000))
    request = _request(model, tmp_path, ("events", "audacity", "text", "png"), threshold=1.0)
    recordings.predict(model, [path], request=request)
    assert (tmp_path / "out" / "a.wav.labels.txt").read_text() == ""
    assert (tmp_path / "out" / "a.wav.events.csv").read_text() == "start_s,end_s,name,peak,mean\n"
    assert (tmp_path / "out" / "a.wav.txt").read_text().endswith("  no events\n")


def test_recordings_of_one_name_do_not_share_their_files(model, tmp_path):
    paths = [
        _recording(tmp_path / "in" / name, 1 + i)
        for i, name in enumerate(("a.wav", "a.flac", "x/a.wav", "x/y/a.wav"))
    ]
    request = _request(model, tmp_path, ("text",))
    recordings.predict(model, [*paths, paths[0]], request=request)
    assert _names(tmp_path / "out") == ["a.flac.txt", "a.wav.txt", "x/a.wav.txt", "x/y/a.wav.txt"]
    for i, path in enumerate(paths):
        name = pathlib.Path(path).relative_to(tmp_path / "in")
        text = (tmp_path / "out" / f"{name}.txt").read_text()
        assert text.startswith(f"{path}: {1 + i}.00 s\n")


def test_members_of_archives_are_scored_like_files(model, tmp_path):
    path = _recording(tmp_path / "in" / "a.wav", 3)
    with zipfile.ZipFile(tmp_path / "in" / "some.zip", "w") as file:
        file.write(path, "x/a.wav")
    done = []
    request = _request(model, tmp_path, ("csv",))
    paths = finding.recordings([str(tmp_path / "in")])
    assert not recordings.predict(model, paths, request=request, on_result=done.append)
    assert _names(tmp_path / "out") == ["a.wav.scores.csv", "some.zip/x/a.wav.scores.csv"]
    assert done[0].top == done[1].top
    assert done[1].path == f"{tmp_path}/in/some.zip/x/a.wav"
    beside = dataclasses.replace(request, output_dir=str(tmp_path / "in"))
    with pytest.raises(errors.InputError, match=r"some\.zip: cannot be written \(it is a file\)"):
        recordings.predict(model, paths, request=beside)


@pytest.mark.parametrize(
    ("names", "output_dir", "message"),
    [
        (("a", "a.labels"), "out", "a.labels.txt: would be written about .*/a and .*/a.labels;"),
        (("a", "a.txt"), ".", r"a\.txt: is a recording, and would be written about .*/a;"),
    ],
)
def test_no_file_is_written_twice_or_over_a_recording(model, tmp_path, names, output_dir, message):
    paths = [str(tmp_path / name) for name in names]
    for path in paths:
        shutil.copy(_recording(tmp_path / "sound.wav", 1), path)
    before = _names(tmp_path)
    request = _request(
        model, tmp_path, ("audacity", "text"), output_dir=tmp_path / output_dir, overwrite=True
    )
    with pytest.raises(errors.InputError, match=message):
        recordings.predict(model, paths, request=request)
    assert _names(tmp_path) == before


def test_files_that_are_there_are_replaced_only_when_asked_for(model, tmp_path):
    paths = [_recording(tmp_path / name) for name in ("a.wav", "b.wav")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav.txt").write_text("mine")
    with pytest.raises(errors.InputError, match=r"b.wav.txt: exists already; .*--overwrite"):
        recordings.predict(model, paths, request=_request(model, tmp_path, ("text",)))
    assert _names(tmp_path / "out") == ["b.wav.txt"]
    request = _request(model, tmp_path, ("text",), overwrite=True)
    recordings.predict(model, paths, request=request)
    assert (tmp_path / "out" / "b.wav.txt").read_text().startswith(paths[1])


def test_a_broken_recording_leaves_no_file_and_does_not_stop_the_others(model, tmp_path):
    good = [_recording(tmp_path / f"{name}.wav", 40) for name in "ac"]
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "folder").mkdir()
    halfway = audio_files.melody(60, 16_000)
    halfway[50 * 16_000] = np.nan
    broken = str(audio_files.write(tmp_path / "b.wav", halfway, 16_000, "FLOAT"))
    audio_files.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    paths = [
        good[0],
        str(tmp_path / "missing.wav"),
        broken,
        str(tmp_path / "folder"),
        str(tmp_path / "text.wav"),
        str(tmp_path / "empty.wav"),
        good[1],
    ]
    found = recordings.predict(model, paths, request=_request(model, tmp_path, _ALL))
    assert [path for path, _ in found] == paths[1:-1]
    for (_, reason), words in zip(
        found, ("no such file", "to NaN", "no such file", "libsndfile", "no audio"), strict=True
    ):
        assert words in reason
    assert {name.partition(".")[0] for name in _names(tmp_path / "out")} == {"a", "c"}
    assert len(_names(tmp_path / "out")) == 2 * len(_ALL)


def test_a_directory_that_cannot_be_written_is_named(model, tmp_path):
    path = _recording(tmp_path / "a.wav")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(errors.InputError, match="out: cannot be written"):
        recordings.predict(model, [path], request=_request(model, tmp_path, ("csv",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ("cvs",), "output_dir": "o"}, "format 'cvs': must be one of csv, jsonl"),
        ({"formats": ("csv",)}, "--output_dir"),
        ({"output_dir": "o"}, "no format to write"),
        ({"top_by": "median"}, "top_by 'median'"),
        ({"top_k": 0}, "top_k 0: must be at least 1"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"hop_s": 1.0}, "hop 1.0 s"),
    ],
)
def test_settings_are_checked_before_any_work(model, settings, message):
    chosen = event_detection.settings_for(model.vocabulary)

    def predict():
        request = recordings.PredictionRequest(chosen, **settings)
        recordings.predict(model, ["a.wav"], request=request)

    with pytest.raises(errors.InputError, match=message):
        predict()


def test_classes_that_share_a_name_are_told_apart_by_mid():
    classes = vocabularies.Vocabulary(("/m/0a", "/m/0b", "/m/0c"), ("Bark", "Bark", "Meow"))
    assert writers.unique_names(classes) == ["Bark /m/0a", "Bark /m/0b", "Meow"]


def test_the_binaries_print_what_is_in_recordings_and_list_the_broken_ones(
    server, workdir, tmp_path
):
    paths = [_recording(tmp_path / f"{name}.wav", 3) for name in "ab"]
    arguments = [f"--model={workdir}", paths[0], tmp_path / "no.wav", paths[1], "--top_k=2"]
    mixed = server.start("predict", *arguments, f"--output_dir={tmp_path / 'out'}", "--formats=csv")
    exported = server.start(
        "export", f"--model={workdir}", f"--output_dir={tmp_path / 'exp'}", "--notflite"
    )
    assert mixed.wait() == 2
    assert [line for line in mixed.stdout.split("\n") if ".wav" in line] == [
        f"{path}: 3.00 s" for path in paths
    ]
    assert mixed.stderr.strip().split("\n")[-1] == (
        f"error: 1 of 3 could not be read: {tmp_path / 'no.wav'}: no such file"
    )
    assert _names(tmp_path / "out") == ["a.wav.scores.csv", "b.wav.scores.csv"]
    assert exported.wait() == 0, exported.stderr
    assert str(tmp_path / "exp" / "model_card.md") in exported.stdout
    # The recordings lie in this folder, with the label tracks and models written beside them.
    with_export = server.start("predict", "--model", tmp_path / "exp", tmp_path, "--top_k=2")
    assert with_export.wait() == 0, with_export.stderr
    assert with_export.stdout == mixed.stdout
    for arguments, message in (
        ([f"--model={tmp_path / 'none'}", *paths], "none: no such model"),
        ([f"--model={workdir}"], "no recording given"),
        ([f"--model={tmp_path / 'none'}", paths[0], tmp_path / "out"], "no audio file in "),
        ([f"--model={tmp_path / 'none'}", tmp_path / "*.ogg"], "*.ogg: no such directory or "),
        ([*paths], "Flag --model must have a value"),
        ([f"--model={workdir}", *paths, "--tresholds=x"], "Unknown command line flag"),
    ):
        failing = server.start("predict", *arguments)
        assert failing.wait() == 2
        (line,) = failing.stderr.strip().split("\n")
        assert line.startswith("error: ")
        assert message in line


@pytest.mark.parametrize("broken", [False, True])
def test_the_bar_ends_at_the_length_of_all_recordings(model, tmp_path, monkeypatch, broken):
    status = tmp_path / "status.json"
    monkeypatch.setenv(progress.STATUS_FILE_VARIABLE, str(status))
    paths = [_recording(tmp_path / f"{number}.wav", seconds=1.9) for number in range(4)]
    if broken:
        halfway = np.full(int(1.9 * 16_000), np.nan)
        audio_files.write(tmp_path / "1.wav", halfway, 16_000, "FLOAT")
    failed = recordings.predict(model, paths, request=_request(model))
    assert len(failed) == broken
    told = json.loads(status.read_text())
    assert (told["done"], told["total"]) == (8, 8)  # 7.6 s
