"""Files of what an eval set's metrics are without each clip: what comparisons of runs need.

Exact paired differences follow from them, of means and of single classes, without any score. At the
size of AudioSet's strong eval a file has 1.2 MB, where the scores would have 128 MB in half
precision: a class changes only without the clips in which its label is known.
"""

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from audioset_strong.core import errors, files
from audioset_strong.evaluation.leave_one_out import ClassLeftOut, LeftOut

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class SetLeftOut:
    """The metrics of a model on an eval set, with and without each clip.

    Attributes:
      clip_ids: `[clips]`, those that are measured.
      mids: of all classes.
      metrics: by the names that they have in results.
      classes: d' of each class on the negatives that are known, None where it has none; empty where
        no class has known negatives. Average precision is not kept.
      fingerprint: of the eval set; "" where it was not given.
    """

    clip_ids: tuple[str, ...]
    mids: tuple[str, ...]
    metrics: dict[str, LeftOut]
    classes: Sequence[ClassLeftOut | None]
    fingerprint: str = ""


def save(left_out: SetLeftOut, path: str) -> None:
    """Writes a file; it appears whole or not at all.

    Raises:
      OSError: it cannot be written.
    """
    used = [k for k, each in enumerate(left_out.classes) if each is not None]
    classes = [each for each in left_out.classes if each is not None]
    metrics = left_out.metrics.values()
    with files.replacing(path) as file:
        np.savez_compressed(
            file,
            fingerprint=np.array(left_out.fingerprint),
            clip_ids=np.array(left_out.clip_ids),
            mids=np.array(left_out.mids),
            metrics=np.array(list(left_out.metrics)),
            values=np.array([each.value for each in metrics]),
            without=np.array([each.without for each in metrics]),
            enough_positives=np.array([each.enough_positives for each in metrics], bool),
            degrees=np.array([each.degrees for each in metrics]),
            max_bias=np.array([each.max_bias for each in metrics]),
            classes=np.array(used, np.int32),
            clips_of_classes=_joined([each.clips for each in classes], np.int32),
            lengths=np.array([len(each.clips) for each in classes], np.int32),
            num_clips=np.array(
                [(each.num_negative_clips, each.num_positive_clips) for each in classes], np.int32
            ).reshape(-1, 2),
            d_prime=np.array([each.d_prime for each in classes]),
            # The small changes, rather than the values, keep their digits in single precision.
            d_prime_change=_joined(
                [each.d_prime_without - each.d_prime for each in classes], np.float32
            ),
        )


def _joined(arrays: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *arrays]).astype(kind)


def load(path: str) -> SetLeftOut:
    """Reads what `save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      errors.InputError: it holds something else, or is damaged.
    """
    try:
        with files.local_copy(path) as local, np.load(local) as file:
            return _parsed({name: file[name] for name in file.files})
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        raise errors.InputError(
            f"{path}: not what an evaluation wrote, or damaged; remove it and evaluate its "
            f"checkpoint again ({error})"
        ) from error


def _parsed(arrays: dict[str, np.ndarray]) -> SetLeftOut:
    mids = tuple(arrays["mids"].tolist())
    metrics = {
        name: LeftOut(float(value), without, bool(enough), float(degrees), float(max_bias))
        for name, value, without, enough, degrees, max_bias in zip(
            arrays["metrics"].tolist(),
            arrays["values"],
            arrays["without"],
            arrays["enough_positives"],
            arrays["degrees"],
            arrays["max_bias"],
            strict=True,
        )
    }
    ends = np.cumsum(arrays["lengths"])[:-1]
    classes: list[ClassLeftOut | None] = [None] * (len(mids) if len(arrays["classes"]) else 0)
    for k, counts, d_prime, clips, change in zip(
        arrays["classes"].tolist(),
        arrays["num_clips"].tolist(),
        arrays["d_prime"].tolist(),
        np.split(arrays["clips_of_classes"], ends),
        np.split(arrays["d_prime_change"], ends),
        strict=len(classes) > 0,  # nothing split gives one empty part
    ):
        unknown = np.full(len(clips), np.nan)
        classes[k] = ClassLeftOut(
            clips, counts[0], counts[1], d_prime, np.nan, d_prime + change, unknown
        )
    return SetLeftOut(
        tuple(arrays["clip_ids"].tolist()),
        mids,
        metrics,
        classes,
        str(arrays["fingerprint"]),
    )
