"""The classes: mid <-> index <-> display name."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

from audioset_strong.core import errors
from audioset_strong.labels import metadata

UNION, INTERSECTION = "union", "intersection"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """An ordered set of classes.

    Attributes:
      mids: machine ids, e.g. "/m/09x0r"; unique. What labels are joined by: the two label files of
        the release give one mid different display names.
      names: display names, in the same order.
    """

    mids: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.mids) != len(self.names):
            raise errors.InputError(f"{len(self.mids)} mids but {len(self.names)} names")
        if len(set(self.mids)) != len(self.mids):
            twice = next(mid for mid in self.mids if self.mids.count(mid) > 1)
            raise errors.InputError(f"mid {twice} is listed twice")

    def __len__(self) -> int:
        return len(self.mids)

    @functools.cached_property
    def index(self) -> Mapping[str, int]:
        """mid -> class index."""
        return {mid: i for i, mid in enumerate(self.mids)}

    def name(self, mid: str) -> str:
        """The display name of a mid; the mid itself where it is none of the classes."""
        return self.names[self.index[mid]] if mid in self.index else mid

    def union(self, other: "Vocabulary") -> "Vocabulary":
        """These classes, then the other's that are not among them."""
        new = [i for i, mid in enumerate(other.mids) if mid not in self.index]
        return Vocabulary(
            self.mids + tuple(other.mids[i] for i in new),
            self.names + tuple(other.names[i] for i in new),
        )

    def intersection(self, other: "Vocabulary") -> "Vocabulary":
        """Those of these classes that the other has too, with these names."""
        kept = [i for i, mid in enumerate(self.mids) if mid in other.index]
        return Vocabulary(tuple(self.mids[i] for i in kept), tuple(self.names[i] for i in kept))

    def to_json(self) -> list[dict[str, str]]:
        """A list that `from_json` reads back."""
        return [
            {"mid": mid, "display_name": name}
            for mid, name in zip(self.mids, self.names, strict=True)
        ]

    @classmethod
    def from_json(cls, classes: Iterable[Mapping[str, str]]) -> "Vocabulary":
        """Reads what `to_json` gave."""
        listed = list(classes)
        return cls(
            tuple(entry["mid"] for entry in listed),
            tuple(entry["display_name"] for entry in listed),
        )

    @classmethod
    def from_files(cls, paths: Sequence[str], combine: str = UNION) -> "Vocabulary":
        """The classes of one or more class lists.

        Args:
          paths: `class_labels_indices.csv`, `mid_to_display_name.tsv`, or any list that
            `metadata.read_class_list` reads.
          combine: "union" of the lists, in order; or "intersection", in the order of the first.

        Raises:
          errors.InputError: a file that is no class list, no file, or no class left.
        """
        if not paths:
            raise errors.InputError("no class list given (--class_labels)")
        if combine not in (UNION, INTERSECTION):
            raise errors.InputError(f"combine {combine!r}: must be one of {UNION}, {INTERSECTION}")
        tables = [metadata.read_class_list(path) for path in paths]
        lists = [cls(tuple(table["mid"]), tuple(table["display_name"])) for table in tables]
        vocabulary = functools.reduce(cls.union if combine == UNION else cls.intersection, lists)
        if not len(vocabulary):
            raise errors.InputError(f"{combine} of {', '.join(map(str, paths))}: no class in it")
        return vocabulary


def describe(counts: Mapping[str, int], name: Callable[[str], str], most: int = 10) -> str:
    """Says by name which labels were counted, such as those outside a vocabulary.

    Args:
      counts: mid -> number of labels.
      name: of a mid, such as `Vocabulary.name`.
      most: classes named, those of most labels first; the others are counted.

    Returns:
      Such as "25 labels of 3 classes: Howl /m/07qf0zm (20), Growling /m/0ghcn6 (4), and 1 more".
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [
        f"{mid} ({count})" if name(mid) == mid else f"{name(mid)} {mid} ({count})"
        for mid, count in ordered[:most]
    ]
    if len(ordered) > most:
        named.append(f"and {len(ordered) - most} more")
    total = sum(counts.values())
    labels = "label" if total == 1 else "labels"
    classes = "class" if len(ordered) == 1 else "classes"
    return f"{total} {labels} of {len(ordered)} {classes}: {', '.join(named)}"
