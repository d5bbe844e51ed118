"""The ontology: which class is a kind of which."""

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np

from audioset_strong.core import errors
from audioset_strong.labels import metadata


@dataclasses.dataclass(frozen=True)
class Ontology:
    """A directed acyclic graph of classes; a class may have several parents.

    Attributes:
      names: mid -> display name.
      children: mid -> mids of its direct kinds.
      parents: mid -> mids of what it directly is a kind of.
    """

    names: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: str) -> "Ontology":
        """Reads `ontology.json`.

        Raises:
          errors.InputError: no JSON, another format, a node listed twice, a child that is no node,
            or a cycle.
        """
        try:
            nodes = json.loads(metadata.read_text(path))
            if not isinstance(nodes, list) or not nodes:
                raise TypeError("no list of nodes")
            names = {node["id"]: node["name"] for node in nodes}
            children = {node["id"]: tuple(node["child_ids"]) for node in nodes}
        except json.JSONDecodeError as error:
            raise errors.InputError(
                f"{path}, line {error.lineno}: no JSON ({error.msg})"
            ) from error
        except (KeyError, TypeError) as error:
            raise errors.InputError(
                f"{path}: not the ontology's format: a list of nodes with id, name and child_ids"
            ) from error
        if len(names) < len(nodes):
            (twice, _), *_ = collections.Counter(node["id"] for node in nodes).most_common(1)
            raise errors.InputError(f"{path}: {twice} is listed twice")
        parents: dict[str, tuple[str, ...]] = {mid: () for mid in names}
        for mid, kinds in children.items():
            for child in kinds:
                if child not in names:
                    raise errors.InputError(f"{path}: child {child} of {mid} is no node")
                parents[child] += (mid,)
        ontology = cls(names, children, parents)
        for mid in names:
            if mid in ontology.ancestors(mid):
                raise errors.InputError(f"{path}: {mid} is its own ancestor")
        return ontology

    def ancestors(self, mid: str) -> set[str]:
        """All that a class is a kind of, directly or not; empty for a mid that is no node."""
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
          mids: the classes, in the order of their indices. One that is no node has no ancestors.

        Returns:
          For each class the sorted indices of those that it is a kind of, be it by way of nodes
          that are none of the classes. A plain list, as JSON holds it.
        """
        index = {mid: i for i, mid in enumerate(mids)}
        return [sorted(index[a] for a in self.ancestors(mid) if a in index) for mid in mids]


def ancestor_matrix(ancestors: Sequence[Sequence[int]]) -> np.ndarray:
    """What `framing.propagate_to_ancestors` multiplies labels with.

    Args:
      ancestors: of each class, see `Ontology.ancestor_indices`.

    Returns:
      bool `[classes, classes]`: entry (i, j) tells whether label i implies j. Each implies itself.
    """
    matrix = np.eye(len(ancestors), dtype=bool)
    for i, above in enumerate(ancestors):
        matrix[i, list(above)] = True
    return matrix
