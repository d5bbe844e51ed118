"""Vocabularies: from files, combined, and what lies outside."""

import json

import pytest

from audioset_strong.core import errors
from audioset_strong.labels import vocabularies
from audioset_strong.labels.vocabularies import Vocabulary

WEAK = 'index,mid,display_name\n0,/m/b,"Bark"\n1,/m/a,"Animal, any"\n2,/m/c,"Cat"\n'
STRONG = "/m/c\tCat, meowing\n/m/d\tDog\n/m/a\tAnimal\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "weak.csv").write_text(WEAK)
    (tmp_path / "strong.tsv").write_text(STRONG)
    return [str(tmp_path / "weak.csv"), str(tmp_path / "strong.tsv")]


def test_indices_mids_and_names_belong_together(files):
    classes = Vocabulary.from_files(files[:1])
    assert len(classes) == 3
    assert classes.mids == ("/m/b", "/m/a", "/m/c")
    assert classes.names == ("Bark", "Animal, any", "Cat")
    assert [classes.index[mid] for mid in classes.mids] == [0, 1, 2]
    assert classes.name("/m/a") == "Animal, any"
    assert classes.name("/m/stranger") == "/m/stranger"


def test_a_union_keeps_the_first_list_s_order_and_names(files):
    classes = Vocabulary.from_files(files)
    assert classes.mids == ("/m/b", "/m/a", "/m/c", "/m/d")
    assert classes.names == ("Bark", "Animal, any", "Cat", "Dog")


def test_an_intersection_too(files):
    classes = Vocabulary.from_files(files, combine="intersection")
    assert classes.mids == ("/m/a", "/m/c")
    assert classes.names == ("Animal, any", "Cat")
    other_way = Vocabulary.from_files(files[::-1], combine="intersection")
    assert other_way.mids == ("/m/c", "/m/a")
    assert other_way.names == ("Cat, meowing", "Animal")


def test_json_gives_a_vocabulary_back(files):
    classes = Vocabulary.from_files(files)
    assert Vocabulary.from_json(json.loads(json.dumps(classes.to_json()))) == classes


def test_what_is_no_vocabulary_is_refused(files, tmp_path):
    with pytest.raises(errors.InputError, match=r"no class list given \(--class_labels\)"):
        Vocabulary.from_files([])
    with pytest.raises(
        errors.InputError, match="combine 'and': must be one of union, intersection"
    ):
        Vocabulary.from_files(files, combine="and")
    (tmp_path / "other.tsv").write_text("/m/x\tX\n")
    with pytest.raises(errors.InputError, match=r"intersection of .*other\.tsv: no class in it"):
        Vocabulary.from_files([files[0], str(tmp_path / "other.tsv")], combine="intersection")
    (tmp_path / "header.csv").write_text("index,mid,display_name\n")
    with pytest.raises(errors.InputError, match=r"union of .*header\.csv: no class in it"):
        Vocabulary.from_files([str(tmp_path / "header.csv")])
    with pytest.raises(errors.InputError, match="mid /m/a is listed twice"):
        Vocabulary(("/m/a", "/m/a"), ("A", "B"))
    with pytest.raises(errors.InputError, match="1 mids but 2 names"):
        Vocabulary(("/m/a",), ("A", "B"))


def test_labels_outside_are_described_by_name_and_number():
    names = Vocabulary(("/m/a", "/m/b", "/m/c"), ("Apple", "Bear", "Cat"))
    counts = {"/m/b": 4, "/m/zz": 4, "/m/a": 20, "/m/c": 1}
    assert vocabularies.list_counts(counts, names.name, most=3) == (
        "29 labels of 4 classes: Apple /m/a (20), Bear /m/b (4), /m/zz (4), and 1 more"
    )
    assert vocabularies.list_counts({"/m/c": 2}, names.name) == "2 labels of 1 class: Cat /m/c (2)"
    assert vocabularies.list_counts({"/m/c": 1}, names.name) == "1 label of 1 class: Cat /m/c (1)"
