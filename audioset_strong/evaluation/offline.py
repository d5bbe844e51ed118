"""Metrics from saved scores: without a model, and of other systems."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.core import errors, progress
from audioset_strong.evaluation import class_plots, eval_metrics, eval_sets, score_files, scoring
from audioset_strong.labels import framed_labels, vocabularies

_CLIPS_AT_A_TIME = 256


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Scores with the labels that they are held against.

    Attributes:
      path: of the file with the scores.
      scores: on all clips.
      vocabulary: the classes; where no dataset tells their names they are the mids.
    """

    path: str
    scores: scoring.Scores
    vocabulary: vocabularies.Vocabulary

    def kinds(self) -> dict[str, str]:
        """Name of a set -> kind of labels, "weak" or "strong", as far as there are any."""
        known = {
            eval_metrics.WEAK: self.scores.weak_known,
            eval_metrics.STRONG: self.scores.strong_known,
        }
        return {f"{kind}_eval": kind for kind, clips in known.items() if clips.any()}


def read(path: str, eval_data: Sequence[str] = (), framed_tsvs: Sequence[str] = ()) -> Labelled:
    """Reads scores, with their labels.

    Args:
      path: of a file of `score_files`.
      eval_data: datasets to take the labels from.
      framed_tsvs: framed TSVs to take the strong labels from, such as
        `audioset_eval_strong_framed_posneg.tsv`; with `eval_data` in place of its own. Without
        either the labels are those of the file.

    Raises:
      errors.InputError: bad scores, bad or no labels.
    """
    if eval_data:
        opened = eval_sets.open_eval_set("eval", eval_data, cache_clips=0, framed_tsvs=framed_tsvs)
        with progress.bar("reading labels", opened.num_clips, "clip") as bar:
            scores = score_files.ScoreFile(path).against(
                opened.batches(), opened.vocabulary.mids, bar.update
            )
        return Labelled(path, scores, opened.vocabulary)
    if framed_tsvs:
        file = score_files.ScoreFile(path)
        framed = framed_labels.read_framed_clips(framed_tsvs, file.mids)
        scores = file.against(_batches(framed, file), file.mids)
    else:
        scores = score_files.load(path)
    labelled = Labelled(path, scores, vocabularies.Vocabulary(scores.mids, scores.mids))
    if not labelled.kinds():
        raise errors.InputError(f"{path}: none of its {len(scores.clip_ids)} clips has labels")
    return labelled


def _batches(
    framed: framed_labels.FramedClips, file: score_files.ScoreFile
) -> Iterator[dict[str, np.ndarray]]:
    """The labels of framed TSVs in the form of `sampling.grid_patches`, of clips with scores."""
    scored = set(file.clip_ids)
    clip_ids = [clip_id for clip_id in framed.clip_ids if clip_id in scored]
    if not clip_ids:
        raise errors.InputError(f"{file.path}: no scores of any clip of {framed.source}")
    if len(clip_ids) < len(framed.clip_ids):
        logging.warning(
            "%s: no scores of %d of the %d clips of %s",
            *(file.path, len(framed.clip_ids) - len(clip_ids), len(framed.clip_ids), framed.source),
        )
    for begin in range(0, len(clip_ids), _CLIPS_AT_A_TIME):
        chosen = clip_ids[begin : begin + _CLIPS_AT_A_TIME]
        listed, labels, negative = framed.labels(chosen)
        yield {
            "clip_id": np.array([clip_id.encode() for clip_id in chosen], object),
            "frame_valid": (labels >= 0).any(axis=2),  # frames that there are rows of
            "weak_labels": np.zeros_like(negative),
            "weak_known": np.zeros_like(listed),
            "negative_labels": negative,
            "negatives_known": listed,
            "frame_labels": labels,
            "strong_known": listed,
        }


def measure(labelled: Labelled, replicates: int = 0) -> dict[str, eval_metrics.Measured]:
    """Measures "weak_eval" and "strong_eval", as far as the clips have labels.

    Args:
      labelled: the scores.
      replicates: of the bootstrap; 0 for no intervals.

    Raises:
      errors.InputError: no usable class.
    """
    return {
        name: eval_metrics.measure(labelled.scores, kind, labelled.path, replicates)
        for name, kind in labelled.kinds().items()
    }


def to_text(measured: Mapping[str, eval_metrics.Measured]) -> str:
    """A table for people: a line a metric, a column a set, intervals in brackets."""

    def cell(values: Mapping[str, float], name: str) -> str:
        if name not in values:
            return "-"
        if f"{name}_low" not in values:
            return f"{values[name]:.4g}"
        return f"{values[name]:.4f} [{values[f'{name}_low']:.3f}, {values[f'{name}_high']:.3f}]"

    names = dict.fromkeys(name for each in measured.values() for name in each.values)
    shown = [name for name in names if not name.endswith(("_low", "_high"))]
    table = pd.DataFrame(
        {
            set_name: [cell(each.values, name) for name in shown]
            for set_name, each in measured.items()
        },
        index=shown,
    )
    return table.to_string()


def write(
    labelled: Labelled,
    measured: Mapping[str, eval_metrics.Measured],
    output_dir: str,
    drawn: Sequence[str] = (),
) -> None:
    """Writes results.csv (set, metric, value), and of each set per_class_<set>.csv and .png.

    Args:
      labelled: what was measured.
      measured: of `measure`.
      output_dir: created where it does not exist.
      drawn: mids of classes whose curves go to curves_<set>.csv and .png.

    Raises:
      errors.InputError: a directory that cannot be written.
    """
    directory = pathlib.Path(output_dir)
    rows = [
        (set_name, metric, value)
        for set_name, each in measured.items()
        for metric, value in each.values.items()
    ]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        results = pd.DataFrame(rows, columns=["set", "metric", "value"])
        results.to_csv(directory / "results.csv", index=False)
        for set_name, each in measured.items():
            title = f"{eval_metrics.title_of(set_name)}, {pathlib.Path(labelled.path).name}"
            stem = str(directory / f"per_class_{set_name}")
            class_plots.write_per_class(each, labelled.vocabulary, title, stem)
            if drawn:
                kind = labelled.kinds()[set_name]
                samples = eval_metrics.samples_of(labelled.scores, kind, labelled.path)
                stem = str(directory / f"curves_{set_name}")
                class_plots.write_curves(samples, labelled.vocabulary, drawn, title, stem)
    except OSError as error:
        raise errors.InputError(f"cannot write to {output_dir}: {error.strerror}") from error
