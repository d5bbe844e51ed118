"""The embedded corpus on disk, read by the readers that serve the real release."""

import csv
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from audioset_strong.core import errors
from audioset_strong.labels import metadata, ontology, vocabularies
from audioset_strong.synthetic import embedded_corpus, scenes, sounds

_CORPUS = embedded_corpus.Corpus(seed=5, train_weak_clips=10, train_strong_clips=14, eval_clips=8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus") / "c"
    embedded_corpus.make_corpus(str(directory), _CORPUS, num_workers=1)
    return directory


def _digest(directory):
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_every_metadata_file_reads_as_its_official_counterpart(corpus):
    folder = corpus / "metadata"
    weak = metadata.read_weak_csv(str(folder / "weak_train.csv"))
    assert len(weak) == 24
    assert (folder / "weak_train.csv").read_text().splitlines()[2].startswith("# YTID, start_sec")
    strong = metadata.read_strong_tsv(str(folder / "strong_train.tsv"))
    assert strong["clip_id"].nunique() == 14
    assert set(strong["clip_id"]) <= set(weak["clip_id"])
    negatives = metadata.read_negatives(str(folder / "train_negatives.tsv"))
    assert set(negatives["clip_id"]) == set(strong["clip_id"])
    classes = vocabularies.Vocabulary.from_files([str(folder / "class_labels_indices.csv")])
    strong_classes = vocabularies.Vocabulary.from_files([str(folder / "mid_to_display_name.tsv")])
    assert len(classes) == 24 + 6
    assert len(strong_classes) == 24
    assert {mid for mids in weak["labels"] for mid in mids} <= set(classes.mids)
    assert set(strong["mid"]) <= set(strong_classes.mids)
    graph = ontology.Ontology.read(str(folder / "ontology.json"))
    bell = strong_classes.mids[strong_classes.names.index("Bell")]
    assert {graph.names[mid] for mid in graph.ancestors(bell)} == {"Impulse", "Synthetic sounds"}


def test_explicit_negatives_do_not_contradict_the_strong_labels(corpus):
    for split in ("strong_train.tsv", "eval_strong.tsv"):
        strong = metadata.read_strong_tsv(str(corpus / "metadata" / split))
        name = "train_negatives.tsv" if split.startswith("strong") else "eval_negatives.tsv"
        negatives = metadata.read_negatives(str(corpus / "metadata" / name))
        both = strong.merge(negatives, on=["clip_id", "mid"])
        assert both.empty


def test_there_is_an_audio_file_of_the_right_length_for_every_clip(corpus):
    suffixes = set()
    for split, name in (("train", "weak_train.csv"), ("eval", "eval_weak.csv")):
        weak = metadata.read_weak_csv(str(corpus / "metadata" / name))
        files = {path.stem: path for path in (corpus / "audio" / split).iterdir()}
        assert set(files) == set(weak["clip_id"])
        for row in weak.itertuples():
            info = soundfile.info(files[row.clip_id])
            assert info.samplerate == 16000
            assert info.frames == (row.end_ms - row.start_ms) * 16
            suffixes.add(files[row.clip_id].suffix)
    assert suffixes == {".wav", ".flac"}
    ytids = set(weak["ytid"])
    assert {ytid[0] for ytid in ytids} >= {"-", "_"}  # as some of the release's do


def test_framed_labels_are_those_of_the_released_rule(corpus):
    strong = metadata.read_strong_tsv(str(corpus / "metadata" / "eval_strong.tsv"))
    negatives = metadata.read_negatives(str(corpus / "metadata" / "eval_negatives.tsv"))
    framed = metadata.read_framed_tsv(str(corpus / "metadata" / "eval_strong_framed_posneg.tsv"))
    expected = {}
    for row in strong.itertuples():
        for frame in range(10):
            start = 960 * frame
            overlap = min(row.end_ms, start + 960) - max(row.start_ms, start)
            if overlap > 0 and 2 * overlap >= min(960, row.end_ms - row.start_ms):
                for other in range(10):
                    expected.setdefault((row.clip_id, row.mid, 960 * other), False)
                expected[row.clip_id, row.mid, start] = True
    for row in negatives.itertuples():
        for frame in range(10):
            expected.setdefault((row.clip_id, row.mid, 960 * frame), False)
    got = {(r.clip_id, r.mid, r.start_ms): r.present for r in framed.itertuples()}
    assert got == expected


def test_events_are_heard_where_the_strong_labels_say(corpus):
    """Loud events raise the energy inside their segments above that of the rest of the clip."""
    louder = []
    for index in range(_CORPUS.train_strong_clips):
        scene = scenes.make_scene(5, "train", index=index, num_classes=24)
        path = corpus / "audio" / "train" / (scene.clip_id + scene.suffix)
        audio, _ = soundfile.read(path)
        inside = np.zeros(len(audio), bool)
        for event in scene.events:
            if event.snr_db > 10:
                inside[event.start_ms * 16 : event.end_ms * 16] = True
        if inside.any() and not inside.all():
            louder.append(np.mean(audio[inside] ** 2) > 2 * np.mean(audio[~inside] ** 2))
    assert len(louder) >= 5
    assert np.mean(louder) >= 0.8


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(corpus, tmp_path):
    again = tmp_path / "again"
    embedded_corpus.make_corpus(str(again), _CORPUS, num_workers=2)
    assert _digest(again) == _digest(corpus)
    first = scenes.make_scene(5, "train", index=3, num_classes=24)
    assert first != scenes.make_scene(6, "train", index=3, num_classes=24)
    assert first != scenes.make_scene(5, "eval", index=3, num_classes=24)


def test_an_interrupted_corpus_is_completed_and_a_finished_one_left_alone(corpus, tmp_path):
    whole = _digest(corpus)
    (corpus / "corpus.json").rename(corpus / "corpus_plan.json")
    lost = next((corpus / "audio" / "train").iterdir())
    lost.unlink()
    (corpus / "metadata" / "strong_train.tsv").unlink()
    embedded_corpus.make_corpus(str(corpus), _CORPUS, num_workers=1)
    assert _digest(corpus) == whole
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    embedded_corpus.make_corpus(str(corpus), _CORPUS, num_workers=1)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_leaves_no_process_behind(sign, tmp_path):
    command = [sys.executable, "-m", "audioset_strong.tools.make_corpus"]
    command += [f"--output_dir={tmp_path / 'c'}", "--train_weak_clips=2000", "--num_workers=2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    audio = tmp_path / "c" / "audio" / "train"
    _wait(lambda: audio.is_dir() and any(audio.glob("*.wav")))
    children = _children(process.pid)
    assert len(children) >= 2
    process.send_signal(sign)
    assert process.wait(timeout=60) == (-sign if sign == signal.SIGKILL else 128 + sign)
    _wait(lambda: not any(_alive(child) for child in children))


def _children(pid):
    listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def _alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_mistakes_are_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(errors.InputError, match="another corpus"):
        embedded_corpus.make_corpus(str(corpus), embedded_corpus.Corpus(seed=6))
    for settings, message in (
        ({"eval_clips": 0}, "eval_clips = 0: must be at least 1"),
        ({"num_classes": 25}, "num_classes = 25: must lie in"),
        ({"seed": -1}, "seed = -1"),
    ):
        with pytest.raises(errors.InputError, match=message):
            embedded_corpus.make_corpus(str(tmp_path / "new"), embedded_corpus.Corpus(**settings))
        assert not (tmp_path / "new").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(errors.InputError, match="something else"):
        embedded_corpus.make_corpus(str(tmp_path / "thesis"), _CORPUS)


@pytest.mark.parametrize("sound", sounds.CLASSES, ids=lambda sound: sound.name)
def test_every_class_makes_sound_of_the_level_asked_for(sound):
    for seed, samples in enumerate((800, 16000)):
        rng = np.random.default_rng(seed)
        wave = sounds.render_event(sound, rng, samples=samples, rms=0.1)
        assert wave.shape == (samples,)
        assert np.isfinite(wave).all()
        assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.1, rel=1e-3)


def _scenes_and_ratings(*, selected):
    options = {"num_classes": 24}
    drawn = [
        scenes.make_scene(0, "train", index=i, selected=selected, **options) for i in range(800)
    ]
    return drawn, [
        scenes.rate(0, "train", index=i, scene=scene, **options) for i, scene in enumerate(drawn)
    ]


def test_labels_follow_what_the_paper_describes():
    """Section 3: weak labels incomplete, general and at times wrong, strong ones complete."""
    drawn, rated = _scenes_and_ratings(selected=False)
    both = list(zip(drawn, rated, strict=True))
    present = sum(len(scene.present) for scene in drawn)
    assert sum(len({label for _, _, label in r.segments}) for r in rated) == present
    weak = [(label, scene) for scene, ratings in both for label in ratings.weak]
    specific = [label in scene.present for label, scene in weak if label < 24]
    assert 0.5 < sum(specific) / present < 0.7  # classes that sound and have their weak label
    assert 0.1 < 1 - np.mean(specific) < 0.25  # wrong
    assert 0.3 < 1 - len(specific) / len(weak) < 0.5  # general
    assert min(len(ratings.weak) for ratings in rated) >= 1
    durations = [e.end_ms - e.start_ms for scene in drawn for e in scene.events]
    assert min(durations) < 200
    assert max(durations) > 9_900
    overlapping = sum(
        any(a.end_ms > b.start_ms for a, b in zip(s.events, s.events[1:], strict=False))
        for s in drawn
    )
    assert overlapping > 200


def test_explicit_negatives_are_of_silent_classes_without_a_weak_label():
    general = 0
    for scene, ratings in zip(*_scenes_and_ratings(selected=True), strict=True):
        families = [sounds.FAMILIES.index(sounds.CLASSES[label].family) for label in scene.present]
        sounding = {*scene.present, *(24 + family for family in families)}
        assert not sounding & set(ratings.negatives)
        assert not set(ratings.weak) & set(ratings.negatives)
        general += sum(label >= 24 for label in ratings.negatives)
    assert general > 1000


@pytest.mark.parametrize(("selected", "least", "most"), [(True, 1, 2), (False, 10, 40)])
def test_only_selected_clips_have_all_classes_alike(selected, least, most):
    drawn, _ = _scenes_and_ratings(selected=selected)
    counts = np.bincount([label for scene in drawn for label in scene.present], minlength=24)
    assert least < counts.max() / counts.min() < most


def test_the_list_of_classes_is_written_as_csv_readers_expect(corpus):
    with open(corpus / "metadata" / "class_labels_indices.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(30))
    assert json.loads((corpus / "corpus.json").read_text())["seed"] == 5
