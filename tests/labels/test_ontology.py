"""The ontology: a small graph drawn by hand, and files that are none."""

import json

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.labels import framing, ontology

# sound -> animal -> dog -> bark; sound -> pets -> dog; things -> bell; pets -> cat
CHILDREN = {
    "/m/sound": ["/m/animal", "/m/pets"],
    "/m/animal": ["/m/dog"],
    "/m/pets": ["/m/dog", "/m/cat"],
    "/m/dog": ["/m/bark"],
    "/m/cat": [],
    "/m/bark": [],
    "/m/things": ["/m/bell"],
    "/m/bell": [],
}


def nodes(children):
    return [
        {"id": mid, "name": mid[3:].title(), "child_ids": kinds, "restrictions": []}
        for mid, kinds in children.items()
    ]


def write(tmp_path, content):
    path = tmp_path / "ontology.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.fixture
def graph(tmp_path):
    return ontology.Ontology.read(write(tmp_path, nodes(CHILDREN)))


def test_ancestors_are_found_by_way_of_every_parent(graph):
    assert graph.ancestors("/m/bark") == {"/m/dog", "/m/animal", "/m/pets", "/m/sound"}
    assert graph.ancestors("/m/cat") == {"/m/pets", "/m/sound"}
    assert graph.ancestors("/m/sound") == set()
    assert graph.ancestors("/m/unheard_of") == set()
    assert graph.parents["/m/dog"] == ("/m/animal", "/m/pets")
    assert graph.children["/m/pets"] == ("/m/dog", "/m/cat")
    assert graph.names["/m/bell"] == "Bell"


def test_ancestors_among_classes_skip_the_nodes_between_and_keep_strangers_apart(graph):
    mids = ["/m/pets", "/m/bark", "/m/unheard_of", "/m/sound", "/m/bell"]
    above = graph.ancestor_indices(mids)
    assert above == [[3], [0, 3], [], [], []]
    assert json.loads(json.dumps(above)) == above
    matrix = ontology.ancestor_matrix(above)
    np.testing.assert_array_equal(
        matrix,
        [
            [1, 0, 0, 1, 0],
            [1, 1, 0, 1, 0],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 1],
        ],
    )
    labels = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(
        framing.propagate_to_ancestors(labels, matrix),
        [[1, 1, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]],
    )


def test_smearing_twice_changes_nothing_more(graph):
    matrix = ontology.ancestor_matrix(graph.ancestor_indices(list(CHILDREN)))
    labels = np.eye(len(CHILDREN), dtype=bool)
    once = framing.propagate_to_ancestors(labels, matrix)
    np.testing.assert_array_equal(framing.propagate_to_ancestors(once, matrix), once)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "ontology.json: empty file"),
        ('[\n{"id": 1,]', "ontology.json, line 2: not JSON"),
        ("{}", "not the ontology's format: a list of nodes with id, name and child_ids"),
        ('["/m/a"]', "not the ontology's format"),
        ([{"id": "/m/a", "name": "A"}], "not the ontology's format"),
        ([{"id": "/m/a", "name": "A", "child_ids": None}], "not the ontology's format"),
        (nodes({"/m/a": ["/m/b"]}), "child /m/b of /m/a is not a node"),
        (nodes({"/m/a": []}) * 2, "/m/a is listed twice"),
        (nodes({"/m/a": ["/m/b"], "/m/b": ["/m/c"], "/m/c": ["/m/a"]}), "/m/a is its own ancestor"),
        (nodes({"/m/a": ["/m/a"]}), "/m/a is its own ancestor"),
    ],
)
def test_a_file_that_is_no_ontology_is_refused(tmp_path, content, message):
    with pytest.raises(errors.InputError, match=message):
        ontology.Ontology.read(write(tmp_path, content))
