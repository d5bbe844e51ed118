"""Audacity label tracks become clips with weak, strong and negative labels."""

import pandas as pd
import pytest

from audioset_strong.core import errors
from audioset_strong.labels import audacity, metadata, vocabularies


def _track(path, text):
    path.write_text(text, encoding="utf-8")
    return audacity.read_track(str(path))


def test_a_track_is_read_as_audacity_writes_it(tmp_path):
    text = "0.500000\t2.718809\tDog bark\r\n\\\t200.000000\t4000.000000\r\n3.0\t12.25\tSpeech  \r\n"
    table = _track(tmp_path / "a.txt", text)
    assert list(table.itertuples(index=False, name=None)) == [
        (500, 2719, "Dog bark"),
        (3000, 12250, "Speech"),
    ]


def test_an_empty_track_is_of_a_recording_without_the_sounds(tmp_path):
    for text in ("", "\n"):
        table = _track(tmp_path / "a.txt", text)
        assert len(table) == 0
        assert list(table.columns) == ["start_ms", "end_ms", "name"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.0\t2.0", r"a.txt, line 2: '1.0\\t2.0' must be start, end, name"),
        ("1.0\t2.0\t ", "line 2: .* must be start, end, name"),
        ("1,0\t2,0\tBark", "line 2: '1,0' is not a time in seconds"),
        ("-1\t2\tBark", "line 2: '-1' is not a time"),
        ("nan\t2\tBark", "line 2: 'nan' is not a time"),
        (
            "2.0\t2.0\tBark",
            "line 2: 'Bark' must end after it starts: from 2.0 to 2.0 s; point labels",
        ),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, line, message):
    with pytest.raises(errors.InputError, match=message):
        _track(tmp_path / "a.txt", f"0.0\t1.0\tBark\n{line}\n")
    with pytest.raises(errors.InputError, match=r"missing.txt: cannot be read"):
        audacity.read_track(str(tmp_path / "missing.txt"))


def test_names_are_those_of_a_class_list_or_classes_of_their_own():
    known = vocabularies.Vocabulary(("/m/0bt9lr", "/m/09x0r"), ("Dog", "Speech"))
    classes = audacity.name_classes(["dog", "/m/09x0r", "Our Doorbell!", "\u9ce5", "Dog"], known)
    assert classes == {
        "dog": ("/m/0bt9lr", "Dog"),
        "Dog": ("/m/0bt9lr", "Dog"),
        "/m/09x0r": ("/m/09x0r", "Speech"),
        "Our Doorbell!": ("/own/our_doorbell_", "Our Doorbell!"),
        "\u9ce5": ("/own/9ce5", "\u9ce5"),
    }
    assert audacity.name_classes(["dog"]) == {"dog": ("/own/dog", "dog")}
    with pytest.raises(errors.InputError, match="'Dog bark' and 'dog-bark': are they one class"):
        audacity.name_classes(["Dog bark", "dog-bark"])


def _tracks(length_ms, *rows):
    return {"yard": (length_ms, pd.DataFrame(rows, columns=["start_ms", "end_ms", "name"]))}


_CLASSES = {"bark": ("/own/bark", "bark"), "bell": ("/own/bell", "bell")}


def test_labels_are_cut_at_the_borders_of_the_clips():
    tracks = _tracks(25_000, (9000, 21_000, "bark"), (1000, 2000, "bell"), (10_000, 10_500, "bark"))
    clips = audacity.cut_into_clips(tracks, _CLASSES)
    assert clips.weak.values.tolist() == [
        ["yard_0", "yard", 0, 10_000, ("/own/bark", "/own/bell")],
        ["yard_10000", "yard", 10_000, 20_000, ("/own/bark",)],
        ["yard_20000", "yard", 20_000, 25_000, ("/own/bark",)],
    ]
    assert clips.strong.values.tolist() == [
        ["yard_0", 1000, 2000, "/own/bell"],
        ["yard_0", 9000, 10_000, "/own/bark"],
        ["yard_10000", 0, 500, "/own/bark"],
        ["yard_10000", 0, 10_000, "/own/bark"],
        ["yard_20000", 0, 1000, "/own/bark"],
    ]
    assert clips.negatives.values.tolist() == [
        ["yard_10000", "/own/bell"],
        ["yard_20000", "/own/bell"],
    ]
    assert clips.unlabelled == 0


def test_clips_without_a_label_are_counted():
    clips = audacity.cut_into_clips(_tracks(40_000, (12_000, 13_000, "bark")), _CLASSES)
    assert clips.weak["clip_id"].tolist() == ["yard_10000"]
    assert clips.unlabelled == 3


def test_a_label_may_end_a_little_behind_its_recording_but_not_far():
    clips = audacity.cut_into_clips(_tracks(5000, (4000, 5090, "bark")), _CLASSES)
    assert clips.strong.values.tolist() == [["yard_0", 4000, 5000, "/own/bark"]]
    with pytest.raises(errors.InputError, match=r"yard: label .bark. lasts from .* to 5.2 s, but"):
        audacity.cut_into_clips(_tracks(5000, (4000, 5200, "bark")), _CLASSES)


def test_a_class_list_is_read_back_whatever_the_names_hold(tmp_path):
    classes = vocabularies.Vocabulary(("/m/0a", "/own/b"), ('Whack, "thwack"', "Vogel \u00fc"))
    vocabularies.write_class_list(tmp_path / "classes.csv", classes)
    table = metadata.read_class_list(str(tmp_path / "classes.csv"))
    assert (tuple(table["mid"]), tuple(table["display_name"])) == (classes.mids, classes.names)
