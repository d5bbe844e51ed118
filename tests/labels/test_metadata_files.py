"""The metadata files of a command: refused where one is given twice, read as one table a kind."""

import os

import pytest

from audioset_strong.core import errors
from audioset_strong.labels import metadata
from audioset_strong.labels.metadata_files import MetadataFiles


@pytest.fixture
def strong_tsvs(tmp_path):
    paths = []
    for name, row in (("a", "x_0\t0.0\t1.0\t/m/a"), ("b", "y_0\t2.0\t3.0\t/m/b")):
        path = tmp_path / f"{name}.tsv"
        path.write_text("\t".join(metadata.STRONG_HEADER) + f"\n{row}\n")
        paths.append(str(path))
    return paths


def test_rows_of_several_files_make_one_table(strong_tsvs):
    tables = MetadataFiles(strong_tsvs=strong_tsvs).read()
    assert tables.strong["clip_id"].tolist() == ["x_0", "y_0"]
    assert tables.strong.index.tolist() == [0, 1]
    assert (tables.weak, tables.framed, tables.negatives) == (None, None, None)
    assert tables.of_clips({"y_0"}).strong["mid"].tolist() == ["/m/b"]
    assert tables.of_clips({"y_0"}).weak is None


def test_files_are_read_one_by_one_too(strong_tsvs):
    each = MetadataFiles(strong_tsvs=strong_tsvs).read_each()
    assert {kind: list(by_path) for kind, by_path in each.items()} == {
        "weak": [],
        "strong": strong_tsvs,
        "framed": [],
        "negatives": [],
    }


@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("weak_csvs", "weak_csv"),
        ("strong_tsvs", "strong_tsv"),
        ("framed_tsvs", "framed_tsv"),
        ("negatives", "negatives"),
        ("class_labels", "class_labels"),
    ],
)
def test_a_file_given_twice_is_refused_before_anything_is_read(field, flag):
    files = MetadataFiles(**{field: ("missing", "other", "missing")})
    expected = f"--{flag}: missing is given twice; give each file once"
    for method in (files.check, files.read, files.vocabulary):
        with pytest.raises(errors.InputError) as caught:
            method()
        assert str(caught.value) == expected


def test_two_names_of_one_file_are_refused(strong_tsvs, tmp_path):
    link = tmp_path / "link.tsv"
    os.symlink(strong_tsvs[0], link)
    with pytest.raises(errors.InputError, match=r"a\.tsv and .*link\.tsv are the same file"):
        MetadataFiles(strong_tsvs=(strong_tsvs[0], str(link))).read()


def test_one_file_may_be_labels_and_clip_list(strong_tsvs):
    files = MetadataFiles(strong_tsvs=strong_tsvs[:1], clip_list=strong_tsvs[0])
    files.check()
    assert files.clip_ids() == ["x_0"]
    assert MetadataFiles().clip_ids() is None


def test_every_file_is_listed():
    files = MetadataFiles(
        weak_csvs=["w"],
        strong_tsvs=["s"],
        framed_tsvs=["f"],
        negatives=["n"],
        class_labels=["c", "d"],
        ontology="o",
        clip_list="l",
    )
    assert files.paths() == ("c", "d", "w", "s", "f", "n", "l", "o")


def test_one_path_may_stand_for_a_list(strong_tsvs):
    assert MetadataFiles(strong_tsvs=strong_tsvs[0]).strong_tsvs == (strong_tsvs[0],)


def test_bad_rows_are_skipped_where_asked_for(tmp_path):
    path = tmp_path / "bad.tsv"
    path.write_text("x_0\t0.0\t1.0\t/m/a\nx_0\t2.0\t1.0\t/m/a\n")
    with pytest.raises(errors.InputError, match="line 2"):
        MetadataFiles(strong_tsvs=(str(path),)).read()
    assert len(MetadataFiles(strong_tsvs=(str(path),), skip_bad_rows=True).read().strong) == 1


def test_names_come_from_class_lists_then_from_the_ontology(tmp_path):
    classes = tmp_path / "classes.csv"
    classes.write_text("index,mid,display_name\n0,/m/a,Ay\n")
    ontology = tmp_path / "ontology.json"
    ontology.write_text(
        '[{"id": "/m/a", "name": "Other", "child_ids": []},'
        ' {"id": "/m/b", "name": "Bee", "child_ids": []}]'
    )
    names = MetadataFiles(class_labels=(str(classes),), ontology=str(ontology)).class_names()
    assert [names.name(mid) for mid in ("/m/a", "/m/b", "/m/c")] == ["Ay", "Bee", "/m/c"]
    assert len(MetadataFiles().class_names()) == 0
