"""The ontology: which class is a kind of which.

The release's `ontology.json` is at https://github.com/audioset/ontology.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from audioset_strong.core import errors
from audioset_strong.labels import table_files


@dataclasses.dataclass(frozen=True)
class Ontology:
    """A directed acyclic graph of classes; a class may have several parents.

    Attributes:
      names: mid -> display name.
      children: mid -> mids of its direct subclasses.
      parents: mid -> mids of the classes that it is directly a kind of.

    Example:
      >>> from audioset_strong.core import files
      >>> animal = {"id": "/m/a", "name": "Animal", "child_ids": ["/m/d"]}
      >>> dog = {"id": "/m/d", "name": "Dog", "child_ids": []}
      >>> files.write_json("ontology.json", [animal, dog])
      >>> ontology = Ontology.read("ontology.json")
      >>> ontology.ancestors("/m/d"), ontology.ancestor_indices(["/m/a", "/m/d"])
      ({'/m/a'}, [[], [0]])
    """

    names: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: str) -> "Ontology":
        """Reads `ontology.json`.

        Raises:
          errors.InputError: not JSON, another format, a node listed twice, an unknown child, or a
            cycle.
        """
        nodes = table_files.parse_json(path, table_files.read_text(path))
        try:
            if not isinstance(nodes, list) or not nodes:
                raise TypeError("no list of nodes")
            names = {node["id"]: node["name"] for node in nodes}
            children = {node["id"]: tuple(node["child_ids"]) for node in nodes}
        except (KeyError, TypeError) as error:
            raise errors.InputError(
                f"{path}: not the ontology's format: a list of nodes with id, name and child_ids"
            ) from error
        if len(names) < len(nodes):
            (duplicate, _), *_ = collections.Counter(node["id"] for node in nodes).most_common(1)
            raise errors.InputError(f"{path}: {duplicate} is listed twice")
        parents: dict[str, tuple[str, ...]] = {mid: () for mid in names}
        for mid, kinds in children.items():
            for child in kinds:
                if child not in names:
                    raise errors.InputError(f"{path}: child {child} of {mid} is not a node")
                parents[child] += (mid,)
        ontology = cls(names, children, parents)
        for mid in names:
            if mid in ontology.ancestors(mid):
                raise errors.InputError(f"{path}: {mid} is its own ancestor")
        return ontology

    def ancestors(self, mid: str) -> set[str]:
        """All classes that a class is a kind of, directly or not; none for an unknown mid."""
        found: set[str] = set()
        pending = list(self.parents.get(mid, ()))
        while pending:
            parent = pending.pop()
            if parent not in found:
                found.add(parent)
                pending.extend(self.parents[parent])
        return found

    def ancestor_indices(self, mids: Sequence[str]) -> list[list[int]]:
        """The ancestors of each class among the classes.

        Args:
          mids: the classes, in the order of their indices. One that the ontology lacks has no
            ancestors.

        Returns:
          For each class the sorted indices of its ancestors, also of those that it reaches only
          through nodes that are not among the classes. Plain lists, as JSON holds them.
        """
        index = {mid: i for i, mid in enumerate(mids)}
        return [sorted(index[a] for a in self.ancestors(mid) if a in index) for mid in mids]


def ancestor_matrix(ancestors: Sequence[Sequence[int]]) -> np.ndarray:
    """The matrix that `framing.propagate_to_ancestors` multiplies labels with.

    Args:
      ancestors: indices of the ancestors of each class, see `Ontology.ancestor_indices`.

    Returns:
      bool `[classes, classes]`: entry (i, j) is true where label i implies label j. Every label
      implies itself.

    Example, where class 0 is a kind of class 1:
      >>> ancestor_matrix([[1], []]).tolist()
      [[True, True], [False, True]]
    """
    matrix = np.eye(len(ancestors), dtype=bool)
    for i, above in enumerate(ancestors):
        matrix[i, list(above)] = True
    return matrix
