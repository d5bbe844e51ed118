"""Labels: AudioSet's files, the classes and their ontology, and the framing rule."""

from typing import TYPE_CHECKING

from audioset_strong.core import lazy

if TYPE_CHECKING:
    from audioset_strong.labels import (
        annotation_files,
        annotation_json,
        annotations,
        framed_labels,
        framing,
        metadata,
        metadata_files,
        metadata_writing,
        ontology,
        vocabularies,
    )

__all__ = [
    "annotation_files",
    "annotation_json",
    "annotations",
    "framed_labels",
    "framing",
    "metadata",
    "metadata_files",
    "metadata_writing",
    "ontology",
    "vocabularies",
]

if not TYPE_CHECKING:  # mypy would take any name for an attribute of a module with __getattr__
    __getattr__, __dir__ = lazy.attributes(
        __name__, {name: f"{__name__}.{name}" for name in __all__}
    )
