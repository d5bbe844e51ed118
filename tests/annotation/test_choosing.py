"""From a converted dataset to questions and tasks."""

import dataclasses
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import soundfile

from audioset_strong.annotation import choosing, questions, tasks
from audioset_strong.annotation.candidates import Candidates, ModelScores
from audioset_strong.core import errors
from tests import datasets

# Clip -> weak labels, strong segments (None: not known), explicit negatives.
_CLIPS = (
    ((0,), None, None),
    ((0, 1), None, None),
    ((1,), None, (2,)),
    ((0, 2), ((1000, 2000, 0),), (3,)),
    ((), None, None),
    ((2,), None, None),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    clips = [
        datasets.make_clip(i, 10.0 if i else 4.0, weak, segments, negatives)
        for i, (weak, segments, negatives) in enumerate(_CLIPS)
    ]
    return str(datasets.write_dataset(tmp_path_factory.mktemp("data") / "train", clips))


def _names(dataset):
    return [f"video{i:06d}_{i * 1000}" for i in range(len(_CLIPS))]


def _save(path, dataset, clip_scores, *, mids=datasets.VOCABULARY.mids, names=None):
    """Saves scores that are the same in each frame; [clips, classes]."""
    clip_scores = np.asarray(clip_scores, np.float64)
    frames = np.repeat(clip_scores[:, np.newaxis], 10, axis=1)
    names = _names(dataset) if names is None else names
    np.savez(path, mids=mids, clip_ids=names, frame_scores=frames)
    return str(path)


_SCORES = np.array(
    [
        [0.9, 0.5, 0.1, 0.1],
        [0.9, 0.9, 0.7, 0.2],
        [0.3, 0.9, 0.9, 0.3],
        [0.9, 0.2, 0.9, 0.9],
        [0.6, 0.1, 0.2, 0.8],
        [0.1, 0.8, 0.9, 0.5],
    ]
)


def _choose(dataset, policy, **options):
    return choosing.choose(choosing.SelectionRequest(dataset, policy, **options))


def _asked(chosen):
    return [(int(each.clip_id[5:11]), each.label[-1], each.group) for each in chosen.asked]


def test_clips_for_strong_labels_bring_each_class_to_its_target(dataset):
    """Clip 3 has strong labels with class 0 already; clip 1 has two labels that are needed."""
    chosen = _choose(dataset, "strong", target=2)
    clips = list(dict.fromkeys(each.clip_id for each in chosen.asked))
    assert clips[0] == _names(dataset)[1]
    assert set(clips[1:]) == {_names(dataset)[i] for i in (2, 5)}
    assert {each.ask for each in chosen.asked} == {"events"}
    table = chosen.targets.set_index("label")
    assert table.loc["/m/00", ["available", "before", "chosen", "reached"]].tolist() == [2, 1, 1, 2]
    assert table["complete"].tolist() == [True, True, False, False]
    assert "2 of 4 classes reach the target of 2 clips" in chosen.summary()
    assert "class 3 (0), class 2 (1)" in chosen.summary()
    few = _choose(dataset, "strong", target=2, num_clips=1)
    assert _asked(few) == [(1, "0", "chosen"), (1, "1", "chosen")]


def test_without_a_target_the_clips_bring_every_class_as_far_as_they_can(tmp_path):
    """Class 0 is in every other clip beside class 1; class 2 is alone and rare."""
    weak = [(0, 1), (0,), (0, 1), (1,), (0, 1), (2,), (0, 1), (2,), (0, 1), (1,), (0,), (2,)]
    clips = [datasets.make_clip(i, 1.0, labels, None, None) for i, labels in enumerate(weak)]
    dataset = str(datasets.write_dataset(tmp_path / "train", clips))
    for num_clips, target, reached in (
        (2, 1, [1, 1, 1]),
        (5, 2, [3, 3, 2]),
        (6, 3, [3, 3, 3]),
        (99, 7, [7, 7, 3]),
    ):
        chosen = _choose(dataset, "strong", num_clips=num_clips)
        assert len({each.clip_id for each in chosen.asked}) == min(num_clips, len(weak))
        assert chosen.target == target
        assert chosen.targets["reached"].tolist()[:3] == reached
    with pytest.raises(errors.InputError, match="--target=250: no class has so many clips"):
        _choose(dataset, "strong")


def test_an_earlier_selection_counts_and_is_not_asked_again(dataset, tmp_path):
    first = _choose(dataset, "strong", target=2, num_clips=1)
    questions.write(tmp_path / "first.csv", first.asked)
    whole, rest = (
        _choose(dataset, "strong", target=2, earlier=earlier)
        for earlier in ((), (str(tmp_path / "first.csv"),))
    )
    assert _asked(first) + _asked(rest) == _asked(whole)


def test_hard_negatives_have_high_scores_and_no_label(dataset, tmp_path):
    scores = _save(tmp_path / "scores.npz", dataset, _SCORES)
    chosen = _choose(dataset, "negatives", scores=scores, per_class=1, control_per_class=9)
    by_class = {
        label: [clip for clip, mid, group in _asked(chosen) if (mid, group) == (label, "chosen")]
        for label in "0123"
    }
    assert by_class == {"0": [4], "1": [5], "2": [1], "3": [4]}
    control = [(clip, label) for clip, label, group in _asked(chosen) if group == "control"]
    assert sorted(control) == [
        (0, "1"), (0, "2"), (0, "3"), (1, "3"), (2, "0"), (2, "3"), (3, "1"), (4, "1"), (4, "2"),
        (5, "0"), (5, "3"),
    ]  # fmt: skip
    scores_asked = sorted(each.score for each in chosen.asked if each.label == "/m/03")
    np.testing.assert_allclose(scores_asked, [0.1, 0.2, 0.3, 0.5, 0.8])
    questions.write(tmp_path / "first.csv", chosen.asked)
    with pytest.raises(errors.InputError, match="no clip is left to ask about"):
        _choose(dataset, "negatives", scores=scores, earlier=(str(tmp_path / "first.csv"),))


def test_the_least_sure_clips_are_asked_about_their_least_sure_classes(dataset, tmp_path):
    scores = _save(tmp_path / "scores.npz", dataset, _SCORES)
    chosen = _choose(dataset, "uncertain", scores=scores, num_clips=2, questions_per_clip=2)
    assert {clip for clip, *_ in _asked(chosen)} == {0, 5}  # 0.5 for a class each
    assert [label for clip, label, _ in _asked(chosen) if clip == 0] == ["1", "0"]
    np.savez(
        tmp_path / "embeddings.npz",
        clip_ids=_names(dataset)[::-1],
        embeddings=[[1, 0], [0, 1], [1, 0.1], [1, 0], [1, 0], [1, 0]],
    )
    options = {"scores": scores, "num_clips": 2, "embeddings": str(tmp_path / "embeddings.npz")}
    chosen = _choose(dataset, "uncertain", **options)
    assert {clip for clip, *_ in _asked(chosen)} & {4}


def test_logits_rank_alike_and_frames_behind_the_end_do_not_count(dataset, tmp_path):
    candidates = Candidates.open(dataset)
    frames = np.random.default_rng(0).normal(size=(6, 10, 4))
    names = _names(dataset)
    np.savez(tmp_path / "l.npz", mids=datasets.VOCABULARY.mids, clip_ids=names, frame_logits=frames)
    probabilities = 1 / (1 + np.exp(-frames))
    read = ModelScores.read(str(tmp_path / "l.npz"), candidates)
    row = candidates.clip_ids.index(names[0])  # 4 s: frames 0 to 3 lie inside by half or more
    np.testing.assert_allclose(read.clips[row], probabilities[0, :4].mean(axis=0))
    row = candidates.clip_ids.index(names[1])
    np.testing.assert_allclose(read.clips[row], probabilities[1].mean(axis=0))
    np.testing.assert_allclose(read.probabilities(row), probabilities[1])


def test_tasks_for_label_studio(dataset, tmp_path):
    frames = np.full((6, 10, 4), 0.1)
    frames[1, 2:4, 3] = 0.8
    path = tmp_path / "scores.npz"
    np.savez(path, mids=datasets.VOCABULARY.mids, clip_ids=_names(dataset), frame_scores=frames)
    chosen = _choose(dataset, "strong", target=2, num_clips=1, scores=str(path))
    out = tmp_path / "out"
    tasks.write(str(out), chosen)
    (task,) = json.loads((out / "label_studio.json").read_text())
    name = _names(dataset)[1]
    assert task["data"] == {
        "audio": f"/data/local-files/?d=audio/{name}.wav",
        "clip_id": name,
        "ask": "events",
        "classes": ["class 0", "class 1"],
    }
    (region,) = task["predictions"][0]["result"]
    assert region["value"] == {"start": 1.92, "end": 3.84, "channel": 0, "labels": ["class 3"]}
    config = ElementTree.parse(out / "label_studio.xml").getroot()
    assert [each.get("value") for each in config.iter("Label")] == list(datasets.VOCABULARY.names)
    assert config.find("Labels").get("name") == region["from_name"]
    assert config.find("Audio").get("name") == region["to_name"]
    audio, rate = soundfile.read(out / "audio" / f"{name}.wav", dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(audio, datasets.make_clip(1).audio)
    track = (out / "audio" / f"{name}.predicted.txt").read_text()
    assert track == "1.920000\t3.840000\tclass 3\n"
    with pytest.raises(errors.InputError, match="out: holds a selection; choose another"):
        tasks.write(str(out), chosen)


def test_nobody_can_listen_to_log_mel(tmp_path):
    clips = [datasets.make_clip(i, 1.0, (0,), None, None) for i in range(2)]
    dataset = datasets.write_dataset(tmp_path / "train", clips, encoding="log_mel")
    chosen = _choose(str(dataset), "strong", target=1)
    with pytest.raises(errors.InputError, match="train: keeps log-mel, not audio"):
        tasks.write(str(tmp_path / "out"), chosen)
    assert not (tmp_path / "out").exists()
    tasks.write(str(tmp_path / "out"), chosen, formats=())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"questions.csv", "class_labels.csv", "targets.csv"}


def test_questions_of_presence_are_a_task_each_and_show_no_score(dataset, tmp_path):
    scores = _save(tmp_path / "scores.npz", dataset, _SCORES)
    chosen = _choose(dataset, "negatives", scores=scores, per_class=1, control_per_class=1)
    with pytest.raises(errors.InputError, match="a label track marks events; use --ask=events"):
        tasks.write(str(tmp_path / "out"), chosen, formats=("audacity",))
    tasks.write(str(tmp_path / "out"), chosen)
    written = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    assert {frozenset(task["data"]) for task in written} == {
        frozenset({"audio", "clip_id", "ask", "label", "question"})
    }
    order = [(task["data"]["clip_id"], task["data"]["label"]) for task in written]
    assert sorted(order) == sorted((each.clip_id, each.label) for each in chosen.asked)
    assert order != [(each.clip_id, each.label) for each in chosen.asked]
    again = questions.read(str(tmp_path / "out" / "questions.csv"))
    rounded = [dataclasses.replace(each, score=float(f"{each.score:.6g}")) for each in chosen.asked]
    assert list(again.values()) == rounded


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ("strong", {"target": 0}, "--target=0: must be at least 1"),
        (
            "strong",
            {"target": 4},
            "--target=4: no class has so many clips; the most has class 0, 3",
        ),
        ("strong", {"embeddings": "e.npz"}, "--embeddings is for --policy=uncertain, not strong"),
        (
            "negatives",
            {"num_clips": 3},
            "--num_clips is for --policy=strong and uncertain, not neg",
        ),
        ("strong", {"control_per_class": 0}, "--control_per_class is for --policy=negatives, not"),
        ("strong", {"logits": True}, "--logits needs --scores"),
        ("negatives", {}, "--policy=negatives needs --scores"),
        ("uncertain", {"scores": "s.npz"}, "--policy=uncertain needs --num_clips"),
        ("negatives", {"scores": "no.npz"}, "no.npz: no such file"),
    ],
)
def test_what_cannot_be_chosen_is_said(dataset, policy, options, message):
    with pytest.raises(errors.InputError, match=message):
        _choose(dataset, policy, **options)


def test_scores_and_embeddings_of_something_else_are_refused(dataset, tmp_path):
    names = _names(dataset)
    path = tmp_path / "s.npz"
    for saved, message in (
        ({"names": [*names[:-1], "other_0"]}, "no scores of 1 of 6 clips of the dataset, such as"),
        ({"mids": ["/m/00", "/m/01", "/m/02", "/m/99"]}, "no scores of 1 of 4 classes of the data"),
    ):
        _save(path, dataset, _SCORES, **saved)
        with pytest.raises(errors.InputError, match=message):
            _choose(dataset, "negatives", scores=str(path))
    np.savez(
        path,
        mids=datasets.VOCABULARY.mids,
        clip_ids=names,
        frame_scores=np.repeat(_SCORES[:, np.newaxis], 3, axis=1),
    )
    with pytest.raises(errors.InputError, match=r"3 frames a clip; must be 10 of 0.96 s"):
        _choose(dataset, "negatives", scores=str(path))
    _save(path, dataset, _SCORES * 3)
    with pytest.raises(errors.InputError, match="must be a probability"):
        _choose(dataset, "negatives", scores=str(path))
    _save(path, dataset, _SCORES)
    options = {"scores": str(path), "num_clips": 2, "embeddings": str(tmp_path / "e.npz")}
    for saved, message in (
        ({"clip_ids": names[:-1], "embeddings": np.ones((5, 2))}, "no embedding of 1 of 6 clips"),
        ({"clip_ids": names, "embeddings": np.ones(6)}, r"embeddings is \(6,\); must be finite"),
        ({"clip_ids": names}, "not an npz of clip_ids and embeddings"),
    ):
        np.savez(tmp_path / "e.npz", **saved)
        with pytest.raises(errors.InputError, match=message):
            _choose(dataset, "uncertain", **options)


def test_a_table_of_questions_is_checked_line_by_line(tmp_path):
    question = questions.Question("a_0", "/m/00", 'Bell, "big"', "presence", "chosen", 0.25)
    path = tmp_path / "questions.csv"
    questions.write(path, [question])
    assert list(questions.read(str(path)).values()) == [question]
    table = pd.read_csv(path)
    for column, value, message in (
        ("clip_id", "a", "line 2: clip id 'a': must be YTID_STARTMS"),
        ("ask", "x", "line 2: ask 'x' must be one of events, presence"),
        ("group", "x", "line 2: group 'x' must be one of chosen, control"),
        ("answer", "yes", "line 2: answer 'yes' must be one of present, absent, unsure"),
        ("score", "x", "line 2: score 'x' is not a number"),
        ("seconds", "0", "line 2: seconds '0' must be above 0"),
    ):
        table.assign(**{column: value}).to_csv(path, index=False)
        with pytest.raises(errors.InputError, match=message):
            questions.read(str(path))
    pd.concat([table, table]).to_csv(path, index=False)
    with pytest.raises(errors.InputError, match=r"line 3: a_0 and /m/00 are already in .* line 2"):
        questions.read(str(path))
    table.drop(columns=["ask"]).to_csv(path, index=False)
    with pytest.raises(errors.InputError, match="line 1: not a table of questions: no column ask"):
        questions.read(str(path))
