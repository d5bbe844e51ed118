"""Datasets that are used together: whether they fit each other, and what they are."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.labels import ontology
from audioset_strong.records import dataset_info
from audioset_strong.records.dataset_info import DatasetInfo


def read_infos(
    datasets: Sequence[str], front_end: FrontEnd = DEFAULT_FRONT_END
) -> list[DatasetInfo]:
    """Loads the infos of datasets that are to be used together.

    Args:
      datasets: dataset directories.
      front_end: of the model.

    Returns:
      The info of each dataset.

    Raises:
      errors.InputError: no dataset given, not a dataset, datasets whose vocabulary or encoding
        differ, or a dataset of another sample rate or another front end.
    """
    infos = compatible_infos(datasets)
    check_front_end(datasets, infos, front_end)
    return infos


def check_front_end(
    datasets: Sequence[str], infos: Sequence[DatasetInfo], front_end: FrontEnd
) -> None:
    """Checks that a front end fits datasets.

    Args:
      datasets: dataset directories.
      infos: of the datasets.
      front_end: of the model.

    Raises:
      errors.InputError: a dataset of another sample rate or another front end.
    """
    for path, info in zip(datasets, infos, strict=True):
        if info.sample_rate != front_end.sample_rate:
            raise errors.InputError(
                f"{path}: sample rate {info.sample_rate} Hz, but FrontEnd.sample_rate = "
                f"{front_end.sample_rate}; convert it again, or bind "
                f"FrontEnd.sample_rate = {info.sample_rate}"
            )
        difference = info.front_end and info.front_end.difference(front_end)
        if difference:  # log-mel records were made with a front end
            raise errors.InputError(
                f"{path}: its log-mel was made with FrontEnd.{difference}; convert it again with "
                "this front end, or as audio (--encoding=pcm16)"
            )


def compatible_infos(datasets: Sequence[str]) -> list[DatasetInfo]:
    """As `read_infos`, without regard to the front end.

    Args:
      datasets: dataset directories.

    Raises:
      errors.InputError: see `read_infos`.
    """
    if not datasets:
        raise errors.InputError("no dataset given: a source needs at least one")
    infos = [DatasetInfo.load(path) for path in datasets]
    check_compatible(datasets, infos)
    return infos


def check_compatible(datasets: Sequence[str], infos: Sequence[DatasetInfo]) -> None:
    """Checks that datasets can be used together.

    Args:
      datasets: dataset directories.
      infos: of the datasets.

    Raises:
      errors.InputError: their vocabulary or encoding differ.
    """
    for path, info in zip(datasets, infos, strict=True):
        if info.vocabulary.mids != infos[0].vocabulary.mids:
            raise errors.InputError(
                f"{path}: another vocabulary ({len(info.vocabulary)} classes) than {datasets[0]} "
                f"({len(infos[0].vocabulary)}); convert both with the same --class_labels"
            )
        if info.encoding != infos[0].encoding:
            raise errors.InputError(
                f"{path}: encoding {info.encoding}, but {datasets[0]} has {infos[0].encoding}; "
                "convert both with the same --encoding"
            )


def fingerprint(datasets: Sequence[str], also: Sequence[str] = ()) -> str:
    """A hash of what the datasets are, wherever they lie: of their `dataset_info.json`.

    Args:
      datasets: dataset directories.
      also: hashes of what is used beside them.

    Returns:
      16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for directory in datasets:
        digest.update(files.read_bytes(os.path.join(directory, dataset_info.FILE_NAME)))
    for each in also:
        digest.update(each.encode())
    return digest.hexdigest()[:16]


def ancestor_matrix(datasets: Sequence[str], infos: Sequence[DatasetInfo]) -> np.ndarray:
    """Which label implies which in datasets, for `framing.propagate_to_ancestors`.

    Args:
      datasets: dataset directories.
      infos: of the datasets.

    Returns:
      bool `[classes, classes]`, see `ontology.ancestor_matrix`.

    Raises:
      errors.InputError: a dataset without an ontology, or with another.
    """
    for path, info in zip(datasets, infos, strict=True):
        if not info.ancestors or info.ancestors != infos[0].ancestors:
            another = f"with another --ontology than {datasets[0]}"
            how = another if info.ancestors else "without --ontology"
            raise errors.InputError(
                f"{path}: labels cannot be propagated to their ancestors, because it was converted "
                f"{how}; convert it again"
            )
    return ontology.ancestor_matrix(infos[0].ancestors)
