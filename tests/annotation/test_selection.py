"""The policies: classes reach their numbers with few clips, and every choice can be recomputed."""

import itertools

import numpy as np
import pytest
from scipy import optimize, sparse

from audioset_strong.annotation import selection


def _labels(rng, clips, classes):
    """Labels whose classes differ in frequency, as AudioSet's do."""
    share = 0.5 ** np.linspace(1, 6, classes)
    return sparse.csr_matrix(rng.random((clips, classes)) < share)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_gets_what_it_needs_with_few_clips(seed):
    rng = np.random.default_rng(seed)
    labels = _labels(rng, 400, 12)
    available = np.asarray(labels.sum(axis=0)).ravel()
    needed = np.full(12, 15)
    rows = selection.cover(labels, needed, np.arange(400))
    got = np.asarray(labels[rows].sum(axis=0)).ravel()
    assert len(set(rows)) == len(rows)
    assert (got >= np.minimum(needed, available)).all()
    bound = optimize.linprog(
        np.ones(400), -labels.T.astype(float), -np.minimum(needed, available), bounds=(0, 1)
    ).fun
    assert len(rows) <= 1.15 * bound


def test_the_best_clip_comes_next():
    """Against the rule in plain Python."""
    rng = np.random.default_rng(3)
    labels = _labels(rng, 60, 6)
    dense, left, expected = labels.toarray(), np.array([4, 3, 0, 5, 2, 9]), []
    hashes = rng.integers(0, 50, 60)
    free = set(range(60))
    while True:
        gains = {row: int((dense[row] & (left > 0)).sum()) for row in free}
        row = min(free, key=lambda r: (-gains[r], hashes[r], r))
        if not gains[row]:
            break
        expected.append(row)
        free.remove(row)
        left = left - dense[row]
    needed = np.array([4, 3, 0, 5, 2, 9])
    assert selection.cover(labels, needed, hashes) == expected
    assert selection.cover(labels, needed, hashes, most=5) == expected[:5]


def test_scores_decide_among_clips_with_as_many_needed_labels():
    labels = sparse.csr_matrix(np.ones((4, 1), bool))
    scores = np.array([[0.2], [0.9], [0.4], [0.9]])
    rows = selection.cover(labels, np.array([3]), np.array([3, 2, 1, 0]), scores=scores)
    assert rows == [3, 1, 2]


def test_the_hardest_negatives_are_the_highest_scores_without_the_label():
    rng = np.random.default_rng(0)
    ranks = np.round(rng.normal(size=(200, 3)), 1)  # with ties
    excluded = sparse.csc_matrix(rng.random((200, 3)) < 0.2)
    hashes = rng.permutation(200).astype(np.uint64)
    for label in range(3):
        free = np.flatnonzero(~excluded.toarray()[:, label])
        order = sorted(free, key=lambda row: (-ranks[row, label], hashes[row]))
        for count in (1, 17, len(free), 500):
            rows, control = selection.hardest(
                ranks, excluded, hashes, label=label, count=count, control=10
            )
            assert rows.tolist() == order[:count]
            assert len(control) == min(10, len(free) - len(rows))
            assert not set(control) & set(rows)
            assert set(control) <= set(free)


def test_the_control_group_is_a_fair_sample():
    """Every clip that was not chosen is drawn about as often, whatever its score."""
    ranks = np.arange(50.0)[:, np.newaxis] * np.ones((1, 400))
    excluded = sparse.csc_matrix((50, 400), dtype=bool)
    hashes = np.random.default_rng(0).integers(0, 2**63, 50, dtype=np.uint64)
    drawn = np.zeros(50)
    for label in range(400):
        _, control = selection.hardest(ranks, excluded, hashes, label=label, count=10, control=10)
        drawn[control] += 1
    assert not drawn[40:].any()
    expected = 400 * 10 / 40
    assert np.abs(drawn[:40] - expected).max() < 4.5 * np.sqrt(expected * 0.75)


def test_the_least_sure_come_first_and_differ():
    unsure = np.array([0.5, 0.9, -1.0, 0.9, 0.1])
    hashes = np.array([0, 5, 1, 2, 3])
    assert selection.uncertain(unsure, hashes, count=9) == [3, 1, 0, 4]
    embeddings = np.array([[1.0, 1.0], [0.0, 1.0], [9.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    chosen = selection.uncertain(unsure, hashes, count=2, embeddings=embeddings)
    assert chosen == [3, 4]
    chosen = selection.uncertain(unsure, hashes, count=2, embeddings=embeddings, pool=3)
    assert chosen == [3, 0]


def test_farthest_first_against_its_definition():
    points = np.random.default_rng(1).normal(size=(30, 4))
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    chosen = [0]
    while len(chosen) < 8:
        nearest = {
            row: min(1 - units[row] @ units[other] for other in chosen)
            for row in range(30)
            if row not in chosen
        }
        chosen.append(max(nearest, key=nearest.get))
    assert selection.farthest_first(points, 8) == chosen
    assert sorted(selection.farthest_first(points[:3], 8)) == [0, 1, 2]
    assert len(selection.farthest_first(np.zeros((4, 2)), 4)) == 4


def test_uncertainty_is_the_entropy_in_bits():
    probabilities = np.array([0.0, 0.11, 0.5, 0.89, 1.0])
    expected = [0.0, 0.499916, 1.0, 0.499916, 0.0]
    np.testing.assert_allclose(selection.uncertainty(probabilities), expected, atol=1e-6)
    for low, high in itertools.pairwise(np.linspace(0.01, 0.5, 9)):
        assert selection.uncertainty(low) < selection.uncertainty(high)
