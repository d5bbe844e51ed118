"""The metadata files that a command is given, and one reader for all of them.

A `MetadataFiles` names files; reading gives a `LabelTables`. Everything that takes metadata takes
a `MetadataFiles`: conversion, label statistics, framing and the picture of a clip.
"""

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd

from audioset_strong.core import errors, files
from audioset_strong.labels import metadata, vocabularies
from audioset_strong.labels.ontology import Ontology

# Of each kind of label: the field of `MetadataFiles` and the reader of its files.
_KINDS: Mapping[str, tuple[str, Callable[..., pd.DataFrame]]] = {
    "weak": ("weak_csvs", metadata.read_weak_csv),
    "strong": ("strong_tsvs", metadata.read_strong_tsv),
    "framed": ("framed_tsvs", metadata.read_framed_tsv),
    "negatives": ("negatives", metadata.read_negatives),
}
# The fields that hold several files, in the order of `MetadataFiles.paths`, and their flags.
_FLAGS = {
    "class_labels": "class_labels",
    "weak_csvs": "weak_csv",
    "strong_tsvs": "strong_tsv",
    "framed_tsvs": "framed_tsv",
    "negatives": "negatives",
}


@dataclasses.dataclass(frozen=True)
class LabelTables:
    """The rows of metadata files; a kind of label is None where no file of it was given.

    Attributes:
      weak: clip_id, ytid, start_ms, end_ms, labels; see `metadata.read_weak_csv`.
      strong: clip_id, start_ms, end_ms, mid; see `metadata.read_strong_tsv`.
      framed: clip_id, start_ms, end_ms, mid, present; see `metadata.read_framed_tsv`.
      negatives: clip_id, mid; see `metadata.read_negatives`.
    """

    weak: pd.DataFrame | None = None
    strong: pd.DataFrame | None = None
    framed: pd.DataFrame | None = None
    negatives: pd.DataFrame | None = None

    def of_clips(self, clip_ids: Collection[str]) -> "LabelTables":
        """The rows of some clips only.

        Example:
          >>> negatives = pd.DataFrame({"clip_id": ["a_0", "b_0"], "mid": ["/m/x", "/m/y"]})
          >>> tables = LabelTables(negatives=negatives).of_clips({"b_0"})
          >>> tables.negatives.values.tolist(), tables.weak
          ([['b_0', '/m/y']], None)
        """
        tables = {kind: getattr(self, kind) for kind in _KINDS}
        return LabelTables(
            **{
                kind: table[table["clip_id"].isin(clip_ids)].reset_index(drop=True)
                for kind, table in tables.items()
                if table is not None
            }
        )


@dataclasses.dataclass(frozen=True)
class MetadataFiles:
    """Paths of metadata files. Nothing is read before a method asks for it.

    Attributes:
      weak_csvs: weak label CSVs.
      strong_tsvs: strong label TSVs.
      framed_tsvs: framed label TSVs.
      negatives: lists of clip-level explicit negatives.
      class_labels: class lists, which make the vocabulary.
      combine_class_labels: "union" or "intersection" of the class lists.
      ontology: `ontology.json`, or None.
      clip_list: file of clip ids, or None for all clips.
      skip_bad_rows: leave malformed rows out instead of raising.

    Example:
      >>> from audioset_strong.labels.metadata_writing import write_rows
      >>> segments = [["a_0", "0.5", "1.5", "/m/x"], ["b_0", "2.0", "3.0", "/m/x"]]
      >>> write_rows("strong.tsv", None, segments)
      >>> write_rows("classes.tsv", None, [["/m/x", "Bark"]])
      >>> write_rows("list.txt", None, [["b_0"]])
      >>> given = MetadataFiles(
      ...     strong_tsvs="strong.tsv", class_labels="classes.tsv", clip_list="list.txt"
      ... )
      >>> given.paths()
      ('classes.tsv', 'strong.tsv', 'list.txt')
      >>> given.vocabulary().names, given.vocabulary() == given.class_names(), given.clip_ids()
      (('Bark',), True, ['b_0'])
      >>> given.read().of_clips(given.clip_ids()).strong.values.tolist()
      [['b_0', 2000, 3000, '/m/x']]
      >>> {kind: list(tables) for kind, tables in given.read_each().items() if tables}
      {'strong': ['strong.tsv']}
      >>> MetadataFiles(negatives=["a.tsv", "a.tsv"]).check()
      Traceback (most recent call last):
      audioset_strong.core.errors.InputError: --negatives: a.tsv is given twice; give each file once
    """

    weak_csvs: Sequence[str] = ()
    strong_tsvs: Sequence[str] = ()
    framed_tsvs: Sequence[str] = ()
    negatives: Sequence[str] = ()
    class_labels: Sequence[str] = ()
    combine_class_labels: str = vocabularies.UNION
    ontology: str | None = None
    clip_list: str | None = None
    skip_bad_rows: bool = False

    def __post_init__(self) -> None:
        for field in _FLAGS:
            value = getattr(self, field)
            paths = (value,) if isinstance(value, (str, os.PathLike)) else value
            object.__setattr__(self, field, tuple(map(os.fspath, paths)))

    def check(self) -> None:
        """Refuses a file that is given twice for the same kind of metadata.

        Raises:
          errors.InputError: two paths of one field lead to the same file.
        """
        for field, flag in _FLAGS.items():
            repeated = files.first_repeated(getattr(self, field))
            if repeated:
                other, path = repeated
                problem = (
                    f"{path} is given twice"
                    if other == path
                    else f"{other} and {path} are the same file"
                )
                raise errors.InputError(f"--{flag}: {problem}; give each file once")

    def paths(self) -> tuple[str, ...]:
        """Every file that is given."""
        several = [path for field in _FLAGS for path in getattr(self, field)]
        return (*several, *(path for path in (self.clip_list, self.ontology) if path))

    def read(self) -> LabelTables:
        """Reads the labels. The rows of a kind's files follow each other in one table.

        Raises:
          errors.InputError: a file given twice, or a file that is missing or malformed.
        """
        return LabelTables(
            **{
                kind: tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
                for kind, by_path in self.read_each().items()
                if (tables := list(by_path.values()))
            }
        )

    def read_each(self) -> dict[str, dict[str, pd.DataFrame]]:
        """Reads the labels, file by file.

        Returns:
          Of each kind ("weak", "strong", "framed", "negatives"): path -> table.

        Raises:
          errors.InputError: a file given twice, or a file that is missing or malformed.
        """
        self.check()
        return {
            kind: {
                path: reader(path, skip_bad_rows=self.skip_bad_rows)
                for path in getattr(self, field)
            }
            for kind, (field, reader) in _KINDS.items()
        }

    def vocabulary(self) -> vocabularies.Vocabulary:
        """The classes of the class lists.

        Raises:
          errors.InputError: no class list, one given twice, a malformed one, or no class left.
        """
        self.check()
        return vocabularies.Vocabulary.from_files(
            self.class_labels, combine=self.combine_class_labels
        )

    def class_names(self) -> vocabularies.Vocabulary:
        """All classes that have a name: those of the class lists, then those of the ontology.

        Raises:
          errors.InputError: a file given twice or malformed.
        """
        classes = self.vocabulary() if self.class_labels else vocabularies.Vocabulary((), ())
        if not self.ontology:
            return classes
        names = Ontology.read(self.ontology).names
        return classes.union(vocabularies.Vocabulary(tuple(names), tuple(names.values())))

    def clip_ids(self) -> list[str] | None:
        """The ids in the clip list; None where there is no list.

        Raises:
          errors.InputError: see `metadata.read_clip_list`.
        """
        return metadata.read_clip_list(self.clip_list) if self.clip_list else None
