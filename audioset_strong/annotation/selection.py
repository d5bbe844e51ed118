"""Which clips are worth an annotator's time, and what to ask about them.

Three policies. `cover` chooses clips for strong labels, as the paper did for its 67k (section 3.1,
Fig. 2): each class is to reach a number of clips, 250 there, with few clips in all. `hardest`
chooses the questions whose answers become explicit negatives (section 3.2): the clips with the
highest scores of each class that are not labelled with it. `uncertain` chooses the clips of which a
model is least sure, and of these such that differ (active learning; Sener and Savarese 2018,
https://arxiv.org/abs/1708.00489).

All choices are functions of their arguments: ties are broken by the hashes of the clips' ids.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from scipy import sparse, special


def cover(
    labels: sparse.csr_matrix,
    needed: np.ndarray,
    hashes: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    most: int | None = None,
) -> list[int]:
    """Chooses clips so that each class gets as many as it needs, with few clips in all.

    The next clip is always one with the most labels that are still needed: the greedy rule, which
    takes at most a logarithmic factor more clips than are needed (Dobson 1982). From the 22,160
    balanced clips of AudioSet it takes 5,834 for 20 of each class, where linear programming shows
    that at least 5,734 are needed.

    Example:
      >>> labels = sparse.csr_matrix([[1, 0], [1, 1], [0, 1]], dtype=bool)
      >>> cover(labels, np.array([1, 1]), np.arange(3))
      [1]

    Args:
      labels: bool CSR `[clips, classes]`, of the clips that may be chosen.
      needed: int `[classes]`, how many clips each class lacks; classes that do not have so many get
        all that they have.
      hashes: `[clips]`, decide among equal clips.
      scores: float `[clips, classes]`; among clips with as many needed labels, the one with the
        highest mean score of these comes first. None for none.
      most: number of clips at which to stop; None for as many as it takes.

    Returns:
      Rows of the clips, in the order of choice: the first n are the choice of n clips.
    """
    lists = [
        labels.indices[labels.indptr[row] : labels.indptr[row + 1]].tolist()
        for row in range(labels.shape[0])
    ]
    left = np.maximum(needed, 0).tolist()
    tie_breaks = hashes.tolist()

    def priority(row: int) -> tuple[int, float, int, int]:
        wanted = [label for label in lists[row] if left[label] > 0]
        score = float(np.mean(scores[row, wanted])) if scores is not None and wanted else 0.0
        return -len(wanted), -score, tie_breaks[row], row

    heap = [priority(row) for row in range(len(lists)) if lists[row]]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and (most is None or len(chosen) < most):
        entry = heapq.heappop(heap)
        now = priority(entry[-1])  # of fewer labels than when it was put there, never of more
        if not now[0]:
            continue
        if now != entry:
            heapq.heappush(heap, now)
            continue
        chosen.append(now[-1])
        for label in lists[now[-1]]:
            left[label] -= 1
    return chosen


def hardest(
    ranks: np.ndarray,
    excluded: sparse.csr_matrix,
    hashes: np.ndarray,
    *,
    label: int,
    count: int,
    control: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The clips with the highest scores of a class among those that may lack it.

    Args:
      ranks: float `[clips, classes]`, scores in any increasing form.
      excluded: bool CSC `[clips, classes]`, pairs that need no question: labelled or answered.
      hashes: uint64 `[clips]`, decide among equal scores and draw the control group.
      label: the class.
      count: how many clips; fewer if there are not so many.
      control: size of a random group of the others, to compare with.

    Returns:
      Rows of the clips, highest score first; and of the control group.
    """
    free = np.ones(ranks.shape[0], bool)
    free[excluded.indices[excluded.indptr[label] : excluded.indptr[label + 1]]] = False
    rows = np.flatnonzero(free)
    values = ranks[rows, label]
    if 0 < count < len(rows):
        at_least = np.partition(values, len(rows) - count)[len(rows) - count]
        rows, values = rows[values >= at_least], values[values >= at_least]
    chosen = rows[np.lexsort((hashes[rows], -values))][:count]
    free[chosen] = False
    others = np.flatnonzero(free)
    drawn = _mixed(hashes[others], label)
    return chosen, others[np.argsort(drawn, kind="stable")[:control]]


def _mixed(hashes: np.ndarray, label: int) -> np.ndarray:
    """Other hashes for each class: the finalizer of splitmix64 (Steele et al. 2014)."""
    step = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        mixed = hashes + step * np.uint64(label + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def uncertainty(probabilities: np.ndarray) -> np.ndarray:
    """The entropy of a yes or no with this probability, in bits: 1 at one half, 0 at 0 and 1.

    >>> uncertainty(np.array([0.5, 1.0])).tolist()
    [1.0, 0.0]
    """
    return (special.entr(probabilities) + special.entr(1.0 - probabilities)) / np.log(2.0)


def uncertain(
    uncertainties: np.ndarray,
    hashes: np.ndarray,
    *,
    count: int,
    embeddings: np.ndarray | None = None,
    pool: int | None = None,
) -> list[int]:
    """The clips of which a model is least sure; with embeddings, such of them that differ.

    Args:
      uncertainties: float `[clips]`; negative for a clip that may not be chosen.
      hashes: `[clips]`, decide among equal clips.
      count: how many clips.
      embeddings: float `[clips, dimensions]`, compared by the cosine of their angle; None to go by
        uncertainty alone.
      pool: out of how many of the least sure clips those that differ are chosen; 10 * `count` if
        None.

    Returns:
      Rows of the clips in the order of choice.
    """
    order = np.lexsort((hashes, -uncertainties))
    order = order[uncertainties[order] >= 0]
    if embeddings is None:
        return order[:count].tolist()
    order = order[: max(pool or 10 * count, count)]
    return order[farthest_first(embeddings[order], count)].tolist()


def farthest_first(embeddings: np.ndarray, count: int) -> Sequence[int]:
    """Begins with the first point, and always adds the one farthest from those that it has.

    >>> farthest_first(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 2)
    [0, 2]

    Args:
      embeddings: float `[points, dimensions]`; the distance is 1 - the cosine of the angle.
      count: how many points; fewer if there are not so many.

    Returns:
      Their rows, in the order of choice; among equals the first.
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    units = embeddings / np.where(norms > 0, norms, 1.0)
    chosen: list[int] = []
    distances = np.full(len(units), np.inf)
    while len(chosen) < min(count, len(units)):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, 1.0 - units @ units[chosen[-1]])
        distances[chosen] = -np.inf
    return chosen
