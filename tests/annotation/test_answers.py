"""Answers come back whole, and annotators are compared before they are merged."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from audioset_strong.annotation import answers, merging, questions, writing
from audioset_strong.core import errors
from audioset_strong.labels import metadata, vocabularies
from tests import label_studio

_VOCABULARY = vocabularies.Vocabulary(("/m/00", "/m/01", "/m/02"), ("Bark", "Bell", "Hiss"))


def _question(clip, label, ask="presence", group="chosen"):
    return questions.Question(f"{clip}_0", f"/m/0{label}", _VOCABULARY.names[label], ask, group)


_PRESENCE = (
    _question("a", 0),
    _question("b", 0),
    _question("c", 0, group="control"),
    _question("a", 1),
)
_EVENTS = (_question("a", 0, "events"), _question("a", 1, "events"), _question("b", 2, "events"))


@pytest.fixture
def ask(tmp_path):
    """Writes a selection's directory, and gives a function that imports answers to it."""

    def write(asked):
        (tmp_path / "ask").mkdir(exist_ok=True)
        questions.write(tmp_path / "ask" / "questions.csv", asked)
        vocabularies.write_class_list(tmp_path / "ask" / "class_labels.csv", _VOCABULARY)

        def read(*paths, **options):
            return writing.import_answers(
                str(tmp_path / "ask"),
                [str(path) for path in paths],
                output_dir=str(tmp_path / "out"),
                **options,
            )

        return read

    return write


def _table(path, asked, filled):
    """A copy of the table of questions with some answers."""
    texts = (*filled, *[""] * (len(asked) - len(filled)))
    rows = [dataclasses.replace(each, answer=text) for each, text in zip(asked, texts, strict=True)]
    questions.write(path, rows)
    return path


def _export(path, *tasks):
    path.write_text(json.dumps(tasks))
    return path


def _presence_task(number, clip, label, *annotations):
    data = {"audio": f"/data/local-files/?d=audio/{clip}_0.wav", "clip_id": f"{clip}_0"}
    data |= {"ask": "presence", "label": f"/m/0{label}", "question": "?"}
    return label_studio.task(number, data, *annotations)


def _events_task(number, clip, *annotations):
    data = {"audio": "x.wav", "clip_id": f"{clip}_0", "ask": "events", "classes": []}
    return label_studio.task(number, data, *annotations)


def _answer(text, **options):
    return label_studio.annotation(label_studio.choice(text), **options)


def _marks(*regions, **options):
    return label_studio.annotation(*(label_studio.region(*each) for each in regions), **options)


def _tsv(tmp_path, name, reader):
    """The rows of a file that was written, by its reader; none for one without rows."""
    path = tmp_path / "out" / name
    return list(reader(str(path)).itertuples(index=False, name=None))


def test_answers_of_label_studio_become_negatives(ask, tmp_path):
    export = _export(
        tmp_path / "export.json",
        _presence_task(1, "a", 0, _answer("absent")),
        _presence_task(2, "b", 0, _answer("present")),
        _presence_task(3, "c", 0, _answer("unsure")),
        _presence_task(4, "a", 1),
    )
    imported = ask(_PRESENCE)(export)
    assert _tsv(tmp_path, "negatives.tsv", metadata.read_negatives) == [("a_0", "/m/00")]
    assert _tsv(tmp_path, "positives.tsv", metadata.read_negatives) == [("b_0", "/m/00")]
    assert imported.skipped == {"tasks that nobody annotated": 1}
    assert "1 answers of unsure" in imported.summary()
    total = imported.rates[imported.rates["label"] == ""].set_index("group")
    assert total.loc["chosen", ["asked", "answered", "present", "rate"]].tolist() == [3, 2, 1, 0.5]
    assert total.loc["control", ["asked", "answered", "present"]].tolist() == [1, 0, 0]


def test_a_skipped_or_empty_answer_is_none(ask, tmp_path):
    tasks = (
        _presence_task(1, "a", 0, label_studio.annotation(skipped=True)),
        _presence_task(2, "b", 0, label_studio.annotation()),
    )
    read = ask(_PRESENCE)
    with pytest.raises(errors.InputError, match=r"export.json: no answer to any question"):
        read(_export(tmp_path / "export.json", *tasks))
    imported = read(
        _export(tmp_path / "export.json", *tasks, _presence_task(3, "c", 0, _answer("absent")))
    )
    assert imported.merged.negatives == (("c_0", "/m/00"),)
    assert imported.skipped == {"skipped tasks": 1, "annotations without an answer": 1}


def test_what_is_marked_becomes_strong_labels_and_what_was_asked_for_and_is_not_there_negatives(
    ask, tmp_path
):
    export = _export(
        tmp_path / "export.json",
        _events_task(1, "a", _marks(("Bark", 1.0, 2.5), ("Hiss", 9.0, 10.04))),
        _events_task(2, "b", _marks()),
    )
    imported = ask(_EVENTS)(export)
    assert _tsv(tmp_path, "strong.tsv", metadata.read_strong_tsv) == [
        ("a_0", 1000, 2500, "/m/00"),
        ("a_0", 9000, 10_000, "/m/02"),
    ]
    expected = [("a_0", "/m/01"), ("b_0", "/m/02")]
    assert _tsv(tmp_path, "negatives.tsv", metadata.read_negatives) == expected
    assert "1 clips with strong labels, 1 clips without any sound" in imported.summary()


def test_label_tracks_and_filled_tables_are_answers_too(ask, tmp_path):
    tracks = tmp_path / "anna"
    tracks.mkdir()
    (tracks / "a_0.txt").write_text("1.0\t2.5\tBark\n")
    (tracks / "a_0.predicted.txt").write_text("0.0\t9.0\tHiss\n")
    (tracks / "a_0.wav").write_bytes(b"")
    read = ask(_EVENTS)
    read(tracks)
    assert _tsv(tmp_path, "strong.tsv", metadata.read_strong_tsv) == [("a_0", 1000, 2500, "/m/00")]
    assert _tsv(tmp_path, "negatives.tsv", metadata.read_negatives) == [("a_0", "/m/01")]
    read = ask(_PRESENCE)
    imported = read(_table(tmp_path / "bert.csv", _PRESENCE, ["absent", "present", "unsure"]))
    assert imported.merged.negatives == (("a_0", "/m/00"),)
    assert imported.merged.positives == (("b_0", "/m/00"),)
    assert imported.skipped == {"questions without an answer": 1}


def test_two_annotators_are_compared_and_what_they_dispute_stays_unknown(ask, tmp_path):
    read = ask(_PRESENCE)
    anna = _table(tmp_path / "anna.csv", _PRESENCE, ["absent", "present", "absent", "present"])
    bert = _table(tmp_path / "bert.csv", _PRESENCE, ["absent", "absent", "unsure", "present"])
    imported = read(anna, bert)
    assert imported.merged.negatives == (("a_0", "/m/00"), ("c_0", "/m/00"))
    assert imported.merged.positives == (("a_0", "/m/01"),)
    table = pd.read_csv(tmp_path / "out" / "disagreements.csv")
    assert table.values.tolist() == [["b_0", "/m/00", "anna", "bert", "unknown"]]
    agreed = imported.agreement.set_index("label")
    assert agreed.loc["/m/00", ["clips", "agreement", "kappa"]].tolist() == [2, 0.5, 0.0]
    assert agreed.loc["", ["clips", "agreement"]].tolist() == [3, 2 / 3]
    assert "anna and bert agree on 66.7% of 3 answers (kappa 0.40)" in imported.summary()
    settled = read(anna, bert, prefer="bert")
    assert ("b_0", "/m/00") in settled.merged.negatives
    with pytest.raises(errors.InputError, match="--prefer=carl: no such annotator; there are anna"):
        read(anna, bert, prefer="carl")


def test_an_annotation_without_an_account_has_an_annotator_too(ask, tmp_path):
    export = _export(
        tmp_path / "export.json",
        _presence_task(1, "a", 0, _answer("absent", by={})),
        _presence_task(2, "b", 0, _answer("absent", by=None)),
    )
    assert ask(_PRESENCE)(export).merged.negatives == (("a_0", "/m/00"), ("b_0", "/m/00"))


def test_the_majority_counts_but_makes_no_negative(ask, tmp_path):
    read = ask(_PRESENCE)
    files = [
        _table(tmp_path / f"{name}.csv", _PRESENCE, texts)
        for name, texts in (
            ("anna", ["absent", "present"]),
            ("bert", ["absent", "present"]),
            ("carl", ["present", "absent"]),
        )
    ]
    merged = read(*files).merged
    assert (merged.negatives, merged.positives) == ((), (("b_0", "/m/00"),))
    assert merged.disagreements["outcome"].tolist() == ["unknown", "present"]


def test_kappa_is_scikit_learn_s(ask, tmp_path):
    rng = np.random.default_rng(0)
    asked = [_question(f"v{i}", i % 2) for i in range(60)]
    said = np.where(rng.random((2, 60)) < 0.4, "present", "absent")
    said[1] = np.where(rng.random(60) < 0.6, said[0], said[1])
    read = ask(asked)
    imported = read(*(_table(tmp_path / f"{i}.csv", asked, said[i]) for i in range(2)))
    table = imported.agreement.set_index("label")
    for label, rows in (
        ("/m/00", slice(0, None, 2)),
        ("/m/01", slice(1, None, 2)),
        ("", slice(60)),
    ):
        expected = metrics.cohen_kappa_score(said[0, rows], said[1, rows])
        assert table.loc[label, "kappa"] == pytest.approx(expected)


def test_the_times_that_both_marked_are_kept(ask, tmp_path):
    """Clip a: both mark Bark, at times that overlap. Clip b: one of them marks nothing."""
    both = (
        _marks(("Bark", 1.0, 3.0), ("Bark", 5.0, 6.0), by=1),
        _marks(("Bark", 2.0, 4.0), by=2),
    )
    export = _export(
        tmp_path / "export.json",
        _events_task(1, "a", *both),
        _events_task(2, "b", _marks(("Bell", 0.0, 1.0), by=1), _marks(by=2)),
    )
    read = ask(_EVENTS)
    imported = read(export)
    assert imported.merged.strong == {"a_0": ((2000, 3000, "/m/00"),)}
    assert imported.merged.withheld == ("b_0",)
    expected = [("b_0", "/m/01", "1", "2", "unknown")]
    rows = imported.merged.disagreements.itertuples(index=False, name=None)
    assert list(rows) == expected
    assert imported.merged.negatives == (("a_0", "/m/01"), ("b_0", "/m/02"))
    overlap = imported.agreement.set_index("label")["overlap"]
    assert overlap["/m/00"] == pytest.approx(1 / 4)  # 1 of 4 s
    assert overlap["/m/01"] == 0.0
    assert overlap[""] == pytest.approx(1 / 5)
    assert "1 clips are not in strong.tsv" in imported.summary()
    settled = read(export, prefer="1").merged.strong
    assert settled["a_0"] == ((1000, 3000, "/m/00"), (5000, 6000, "/m/00"))
    assert settled["b_0"] == ((0, 1000, "/m/01"),)


def test_marks_without_a_common_time_are_a_disagreement(ask, tmp_path):
    export = _export(
        tmp_path / "export.json",
        _events_task(1, "a", _marks(("Bark", 1.0, 3.0), by=1), _marks(("Bark", 4.0, 5.0), by=2)),
    )
    merged = ask(_EVENTS)(export).merged
    assert (dict(merged.strong), merged.withheld) == ({}, ("a_0",))
    assert merged.positives == (("a_0", "/m/00"),)
    assert merged.disagreements["outcome"].tolist() == ["other times"]


def test_common_times_by_hand():
    three = [[(0, 10)], [(5, 20)], [(8, 9), (15, 30)]]
    assert merging.common_times(three) == [(5, 10), (15, 20)]
    assert merging.common_times([[(0, 5), (3, 8)]]) == [(0, 5), (3, 8)]
    assert merging.common_times([[(0, 5)], [(5, 8)]]) == []
    assert merging.common_times([]) == []


def test_what_is_not_read_is_told(ask, tmp_path, caplog):
    tracks = tmp_path / "anna"
    (tracks / "monday").mkdir(parents=True)
    for name in ("a_0.txt", "a_0.predicted.txt", "b_0.TXT", "monday/b_0.txt"):
        (tracks / name).write_text("1.0\t2.5\tBark\n")
    (tracks / "a_0.wav").write_bytes(b"")
    read = ask(_EVENTS)
    imported = read(tracks)
    assert imported.skipped == {
        f"files or folders in {tracks} that are no track CLIP_ID.txt": 2,
        f"tracks *.predicted.txt of the model in {tracks}": 1,
    }
    assert f"2 files or folders in {tracks} that are no track" in imported.summary()
    draft = _events_task(1, "a") | {"drafts": [{"result": []}]}
    read_table = ask(_PRESENCE)
    note = {"id": "n", "type": "textarea", "value": {"text": ["two bells"]}}
    answered = label_studio.annotation(label_studio.choice("absent"), note)
    export = _export(tmp_path / "e.json", draft, _presence_task(2, "b", 0, answered))
    imported = read_table(export)
    assert imported.skipped == {
        "tasks that nobody annotated": 1,
        "drafts that were not submitted": 1,
    }
    assert "results of type 'textarea' left out" in caplog.text
    assert "choices" not in caplog.text


def test_what_all_marked_in_a_disputed_clip_is_present_though_nobody_asked(ask, tmp_path):
    asked = [_question("a", 0, "events")]
    both = ("Hiss", 1, 2)
    export = _export(
        tmp_path / "export.json",
        _events_task(1, "a", _marks(both, ("Bark", 3, 4), by=1), _marks(both, by=2)),
    )
    merged = ask(asked)(export).merged
    assert merged.withheld == ("a_0",)
    assert merged.positives == (("a_0", "/m/02"),)
    assert merged.negatives == ()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            _presence_task(1, "z", 0, _answer("absent")),
            "task 1: nobody was asked about /m/00 in .*z",
        ),
        (_presence_task(1, "b", 1, _answer("absent")), "nobody was asked about /m/01 in clip b_0"),
        (_presence_task(1, "a", 0, _answer("maybe")), "the answer 'maybe' must be one of present"),
        (_events_task(1, "z", _marks()), "nobody was asked about clip z_0"),
        (_events_task(1, "a", _marks(("Moo", 1, 2))), "'Moo' is no class of the dataset"),
        (_events_task(1, "a", _marks(("Bark", 9, 11))), "'Bark' lasts to 11 s, but the clip ends"),
        (label_studio.task(1, {"audio": "a.wav"}), "task 1: not a task of a selection"),
        (
            _presence_task(1, "a", 0, _answer("absent"), _answer("present")),
            "task 1: 1 answered otherwise in .*task 1, on clip a_0; keep one",
        ),
        (
            _events_task(1, "a", _marks(("Bark", 1, 2)), _marks()),
            "1 answered otherwise in .*task 1, on clip a_0; keep one",
        ),
    ],
)
def test_an_answer_that_cannot_be_one_is_named(ask, tmp_path, task, message):
    with pytest.raises(errors.InputError, match=message):
        ask(_PRESENCE)(_export(tmp_path / "export.json", task))


def test_an_annotator_does_not_contradict_what_they_marked(ask, tmp_path):
    tracks = tmp_path / "anna"
    tracks.mkdir()
    (tracks / "a_0.txt").write_text("1.0\t2.5\tBark\n")
    table = _table(tmp_path / "anna.csv", _EVENTS, ["absent", "unsure"])
    read = ask(_EVENTS)
    with pytest.raises(
        errors.InputError, match=r"anna.csv, line 2: anna says that /m/00 is absent"
    ):
        read(tracks, table)
    assert read(tracks, f"bert={table}").merged.withheld == ("a_0",)


def test_files_that_are_no_answers_are_named(ask, tmp_path):
    read = ask(_PRESENCE)
    with pytest.raises(errors.InputError, match=r"no.json: no such file or directory"):
        read(tmp_path / "no.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InputError, match=r"empty: no label track CLIP_ID.txt in it"):
        read(tmp_path / "empty")
    (tmp_path / "a.json").write_text("[1")
    with pytest.raises(errors.InputError, match=r"a.json, line 1: not JSON"):
        read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"id": 1}')
    with pytest.raises(errors.InputError, match=r"a.json: not an export of Label Studio as JSON"):
        read(tmp_path / "a.json")
    table = _table(tmp_path / "anna.csv", _PRESENCE, ["absent"])
    with pytest.raises(errors.InputError, match=r"anna.csv: given twice"):
        read(table, table)
    with pytest.raises(errors.InputError, match=r"questions.csv: cannot be read"):
        answers.Selection.read(str(tmp_path))
