"""The generator as an annotator, against the strong labels that the corpus comes with."""

import collections
import csv
import json

import pytest

from audioset_strong.core import errors
from audioset_strong.synthetic import annotators, embedded_corpus

_CORPUS = embedded_corpus.Corpus(seed=3, train_weak_clips=4, train_strong_clips=12, eval_clips=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    embedded_corpus.make_corpus(str(directory), _CORPUS, num_workers=1)
    return directory


def _names(corpus):
    with open(corpus / "metadata" / "class_labels_indices.csv", newline="") as file:
        return {row["mid"]: row["display_name"] for row in csv.DictReader(file)}


def test_it_marks_what_the_strong_labels_say(corpus, tmp_path):
    names, expected = _names(corpus), collections.defaultdict(list)
    with open(corpus / "metadata" / "strong_train.tsv", newline="") as file:
        for clip_id, start, end, mid in list(csv.reader(file, delimiter="\t"))[1:]:
            expected[clip_id].append((float(start), float(end), names[mid]))
    assert len(expected) == 12
    paths = annotators.mark_sounds(str(corpus), list(expected), str(tmp_path / "anna"))
    assert paths == sorted(str(path) for path in (tmp_path / "anna").iterdir())
    for clip_id, events in expected.items():
        lines = (tmp_path / "anna" / f"{clip_id}.txt").read_text().splitlines()
        found = [line.split("\t") for line in lines]
        assert sorted((float(start), float(end), name) for start, end, name in found) == sorted(
            events
        )


def test_it_knows_clips_without_strong_labels(corpus, tmp_path):
    with open(corpus / "metadata" / "weak_train.csv", newline="") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if row[0][0] != "#"]
    clip_ids = {f"{ytid}_{round(1000 * float(start))}" for ytid, start, *_ in rows}
    assert len(clip_ids) == 16
    assert len(annotators.mark_sounds(str(corpus), clip_ids, str(tmp_path / "anna"))) == 16


def test_mistakes_are_refused_before_anything_is_written(corpus, tmp_path):
    out = tmp_path / "anna"
    with pytest.raises(errors.InputError, match=r": has no training clip nobody_0$"):
        annotators.mark_sounds(str(corpus), ["nobody_0"], str(out))
    with pytest.raises(errors.InputError, match=r"no finished corpus .no readable corpus\.json"):
        annotators.mark_sounds(str(tmp_path), [], str(out))
    older = json.loads((corpus / "corpus.json").read_text()) | {"version": 1}
    (tmp_path / "corpus.json").write_text(json.dumps(older))
    with pytest.raises(errors.InputError, match="a corpus of version 1, but this version makes 2"):
        annotators.mark_sounds(str(tmp_path), [], str(out))
    assert not out.exists()
