"""What was said of recordings becomes clips with weak, strong and negative labels."""

import pytest

from audioset_strong.core import errors
from audioset_strong.labels import annotations, metadata, vocabularies


def test_names_are_those_of_a_class_list_or_classes_of_their_own():
    known = vocabularies.Vocabulary(("/m/0bt9lr", "/m/09x0r"), ("Dog", "Speech"))
    classes = annotations.name_classes(["dog", "/m/09x0r", "Our Doorbell!", "\u9ce5", "Dog"], known)
    assert classes == {
        "dog": ("/m/0bt9lr", "Dog"),
        "Dog": ("/m/0bt9lr", "Dog"),
        "/m/09x0r": ("/m/09x0r", "Speech"),
        "Our Doorbell!": ("/own/our_doorbell_", "Our Doorbell!"),
        "\u9ce5": ("/own/9ce5", "\u9ce5"),
    }
    assert annotations.name_classes(["dog"]) == {"dog": ("/own/dog", "dog")}
    with pytest.raises(errors.InputError, match="'Dog bark' and 'dog-bark': are they one class"):
        annotations.name_classes(["Dog bark", "dog-bark"])


def _tracks(length_ms, *labels, **said):
    rows = annotations.LabelRows()
    for number, (start_ms, end_ms, name) in enumerate(labels, 1):
        rows.add(f"yard.txt, line {number}", start_ms / 1000, end_ms / 1000, name)
    said = said or {"complete": True}
    return {"yard": (length_ms, annotations.Annotation("yard.txt", rows.table(), **said))}


_CLASSES = {"bark": ("/own/bark", "bark"), "bell": ("/own/bell", "bell")}


def test_labels_are_cut_at_the_borders_of_the_clips():
    tracks = _tracks(25_000, (9000, 21_000, "bark"), (1000, 2000, "bell"), (10_000, 10_500, "bark"))
    clips = annotations.cut_into_clips(tracks, _CLASSES)
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


def test_only_what_was_looked_for_is_absent():
    classes = _CLASSES | {"horn": ("/own/horn", "horn")}
    label = (1000, 2000, "bark")
    looked_for = frozenset({"bark", "horn"})
    for said, absent in (
        ({"looked_for": None}, []),
        ({"looked_for": frozenset()}, []),
        ({"looked_for": looked_for}, ["/own/horn"]),
        ({"looked_for": looked_for, "complete": True}, ["/own/bell", "/own/horn"]),
    ):
        clips = annotations.cut_into_clips(_tracks(5000, label, **said), classes)
        assert clips.negatives["mid"].tolist() == absent


def test_clips_without_a_label_are_counted():
    clips = annotations.cut_into_clips(_tracks(40_000, (12_000, 13_000, "bark")), _CLASSES)
    assert clips.weak["clip_id"].tolist() == ["yard_10000"]
    assert clips.unlabelled == 3


def test_a_label_may_end_a_little_behind_its_recording_but_not_far():
    clips = annotations.cut_into_clips(_tracks(5000, (4000, 5090, "bark")), _CLASSES)
    assert clips.strong.values.tolist() == [["yard_0", 4000, 5000, "/own/bark"]]
    with pytest.raises(
        errors.InputError, match=r"yard.txt, line 1: label .bark. lasts .* to 5.2 s, but"
    ):
        annotations.cut_into_clips(_tracks(5000, (4000, 5200, "bark")), _CLASSES)


def test_a_class_list_is_read_back_whatever_the_names_hold(tmp_path):
    classes = vocabularies.Vocabulary(("/m/0a", "/own/b"), ('Whack, "thwack"', "Vogel \u00fc"))
    vocabularies.write_class_list(tmp_path / "classes.csv", classes)
    table = metadata.read_class_list(str(tmp_path / "classes.csv"))
    assert (tuple(table["mid"]), tuple(table["display_name"])) == (classes.mids, classes.names)
