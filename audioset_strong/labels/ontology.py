"""The ontology: which class is a kind of which."""

import dataclasses
import json
from collections.abc import Mapping

from audioset_strong import errors
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
          errors.InputError: no JSON, another format, a child that is no node, or a cycle.
        """
        try:
            nodes = json.load(metadata.open_text(path))
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
