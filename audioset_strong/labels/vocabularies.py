"""The classes: mid <-> index <-> display name."""

import csv
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from audioset_strong.core import choices, errors, files
from audioset_strong.labels import metadata

UNION, INTERSECTION = choices.COMBINATIONS


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """An ordered set of classes.

    Example:
      >>> dogs = Vocabulary(("/m/0bt9lr", "/m/05tny_"), ("Dog", "Bark"))
      >>> len(dogs), dogs.index["/m/05tny_"], dogs.name("/m/0bt9lr")
      (2, 1, 'Dog')

    Attributes:
      mids: machine ids, e.g. "/m/09x0r"; unique. Labels are joined by mid, not by name, because
        the two label files of the release give some mids different display names.
      names: display names, in the same order.
    """

    mids: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.mids) != len(self.names):
            raise errors.InputError(f"{len(self.mids)} mids but {len(self.names)} names")
        if len(set(self.mids)) != len(self.mids):
            duplicate = next(mid for mid in self.mids if self.mids.count(mid) > 1)
            raise errors.InputError(f"mid {duplicate} is listed twice")

    def __len__(self) -> int:
        return len(self.mids)

    @functools.cached_property
    def index(self) -> Mapping[str, int]:
        """mid -> class index."""
        return {mid: i for i, mid in enumerate(self.mids)}

    def name(self, mid: str) -> str:
        """The display name of a mid; the mid itself where it is not one of the classes."""
        return self.names[self.index[mid]] if mid in self.index else mid

    def union(self, other: "Vocabulary") -> "Vocabulary":
        """These classes, then the classes of `other` that are not among them.

        Example:
          >>> dogs = Vocabulary(("/m/d",), ("Dog",))
          >>> dogs.union(Vocabulary(("/m/c", "/m/d"), ("Cat", "Dog"))).names
          ('Dog', 'Cat')
        """
        new = [i for i, mid in enumerate(other.mids) if mid not in self.index]
        return Vocabulary(
            self.mids + tuple(other.mids[i] for i in new),
            self.names + tuple(other.names[i] for i in new),
        )

    def intersection(self, other: "Vocabulary") -> "Vocabulary":
        """The classes that `other` has too, in this order and with these names.

        Example:
          >>> cats = Vocabulary(("/m/c", "/m/k"), ("Cat", "Kitten"))
          >>> cats.intersection(Vocabulary(("/m/k",), ("Young cat",))).names
          ('Kitten',)
        """
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
        """Reads what `to_json` gave.

        Example:
          >>> dog = Vocabulary(("/m/d",), ("Dog",))
          >>> dog.to_json()
          [{'mid': '/m/d', 'display_name': 'Dog'}]
          >>> Vocabulary.from_json(dog.to_json()) == dog
          True
        """
        entries = list(classes)
        return cls(
            tuple(entry["mid"] for entry in entries),
            tuple(entry["display_name"] for entry in entries),
        )

    @classmethod
    def from_files(cls, paths: Sequence[str], *, combine: str = UNION) -> "Vocabulary":
        """The classes of one or more class lists.

        Args:
          paths: `class_labels_indices.csv`, `mid_to_display_name.tsv`, or any list that
            `metadata.read_class_list` reads.
          combine: "union" of the lists, in order; or "intersection", in the order of the first.

        Raises:
          errors.InputError: no file, a file that is not a class list, or no class left.

        Example:
          >>> write_class_list("dogs.csv", Vocabulary(("/m/d",), ("Dog",)))
          >>> write_class_list("cats.csv", Vocabulary(("/m/c", "/m/d"), ("Cat", "Dog")))
          >>> Vocabulary.from_files(["dogs.csv", "cats.csv"]).names
          ('Dog', 'Cat')
          >>> Vocabulary.from_files(["dogs.csv", "cats.csv"], combine="intersection").names
          ('Dog',)
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


def write_class_list(path: str | os.PathLike[str], vocabulary: Vocabulary) -> None:
    """Writes a class list as AudioSet's `class_labels_indices.csv` and YAMNet's class map have it.

    Args:
      path: of the CSV: index, mid, display_name. `metadata.read_class_list` reads it back.
      vocabulary: the classes, in the order of their indices.

    Raises:
      errors.InputError: the path cannot be written.

    Example:
      >>> dogs = Vocabulary(("/m/0bt9lr", "/m/05tny_"), ("Dog", "Bark"))
      >>> write_class_list("class_map.csv", dogs)
      >>> metadata.read_class_list("class_map.csv").values.tolist()
      [['/m/0bt9lr', 'Dog'], ['/m/05tny_', 'Bark']]
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "mid", "display_name"])
    for i, (mid, name) in enumerate(zip(vocabulary.mids, vocabulary.names, strict=True)):
        writer.writerow([i, mid, name])
    with files.writing(path):
        files.write_text(path, text.getvalue())


def list_counts(counts: Mapping[str, int], name: Callable[[str], str], *, most: int = 10) -> str:
    """Lists counted labels by class name, such as the labels outside a vocabulary.

    Args:
      counts: mid -> number of labels.
      name: gives the display name of a mid, such as `Vocabulary.name`.
      most: how many classes to name, those with the most labels first.

    Example:
      >>> howl = Vocabulary(("/m/a",), ("Howl",))
      >>> list_counts({"/m/a": 20, "/m/b": 4, "/m/c": 1}, howl.name, most=2)
      '25 labels of 3 classes: Howl /m/a (20), /m/b (4), and 1 more'
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
