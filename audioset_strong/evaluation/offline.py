"""Metrics of saved scores: without a model, and of other systems."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.core import errors, files, progress
from audioset_strong.evaluation import class_plots, eval_metrics, score_files, scoring
from audioset_strong.labels import framed_labels, framing, metadata_files, vocabularies

_CLIPS_AT_A_TIME = 256


@dataclasses.dataclass(frozen=True)
class LabelledScores:
    """Scores from a file, with labels.

    Attributes:
      path: of the file with the scores.
      scores: of all clips.
      vocabulary: the classes; the mids stand in for the display names where no dataset gives them.
    """

    path: str
    scores: scoring.Scores
    vocabulary: vocabularies.Vocabulary

    def kinds(self) -> dict[str, str]:
        """The kind of labels of each set that there are labels for, by the name of the set."""
        known = {
            eval_metrics.WEAK: self.scores.weak_known,
            eval_metrics.STRONG: self.scores.strong_known,
        }
        return {
            eval_metrics.set_name(kind, "eval"): kind
            for kind, clips in known.items()
            if clips.any()
        }


def read(
    path: str,
    *,
    eval_data: Sequence[str] = (),
    framed_tsvs: Sequence[str] = (),
    weak_csvs: Sequence[str] = (),
    logits: bool = False,
) -> LabelledScores:
    """Reads scores and their labels.

    Args:
      path: of a file of scores, see `score_files`.
      eval_data: datasets to take the labels from.
      framed_tsvs: framed TSVs to take the strong labels from, such as
        `audioset_eval_strong_framed_posneg.tsv`; with `eval_data` they replace its strong labels.
        Without either, the labels are those in the file of scores.
      weak_csvs: segment lists such as `eval_segments.csv`, for framed TSVs without `eval_data`:
        they tell where a clip ends, and frames behind its end do not count. Otherwise the file of
        scores tells it, where it holds frame_valid.
      logits: whether the scores are logits although their file does not say so.

    Raises:
      errors.InputError: bad scores, bad labels or none.
    """
    if weak_csvs and (eval_data or not framed_tsvs):
        raise errors.InputError("--weak_csv: goes with --framed_tsv, without --eval_data")
    if eval_data:
        from audioset_strong.evaluation import eval_sets  # imports TensorFlow, which datasets need

        opened = eval_sets.open_eval_set("eval", eval_data, cache_clips=0, framed_tsvs=framed_tsvs)
        with progress.Bar("reading labels", opened.num_clips, unit="clip") as bar:
            scores = score_files.ScoreFile(path, logits=logits).with_labels(
                opened.label_batches(), mids=opened.vocabulary.mids, on_batch=bar.update
            )
        return LabelledScores(path, scores, opened.vocabulary)
    if framed_tsvs:
        file = score_files.ScoreFile(path, logits=logits)
        framed = framed_labels.read_framed_clips(framed_tsvs, file.mids)
        valid = _valid_frames(file, framed, weak_csvs)
        scores = file.with_labels(_batches(framed, file, valid), mids=file.mids)
    else:
        scores = score_files.load(path, logits=logits)
    labelled = LabelledScores(path, scores, vocabularies.Vocabulary(scores.mids, scores.mids))
    if not labelled.kinds():
        raise errors.InputError(f"{path}: none of its {len(scores.clip_ids)} clips has labels")
    return labelled


def _valid_frames(
    file: score_files.ScoreFile, framed: framed_labels.FramedClips, weak_csvs: Sequence[str]
) -> np.ndarray:
    """Which frames lie inside their clip, bool `[clips, 10]`: by segment lists or the file itself.

    Raises:
      errors.InputError: malformed lists, or a clip with framed labels that they do not name.
    """
    table = metadata_files.MetadataFiles(weak_csvs=weak_csvs).read().weak
    if table is not None:
        lengths = dict(zip(table["clip_id"], table["end_ms"] - table["start_ms"], strict=True))
        missing = set(framed.clip_ids).intersection(file.clip_ids).difference(lengths)
        if missing:
            raise errors.InputError(
                f"{', '.join(weak_csvs)}: no row of clip {min(missing)}, which {file.path} scores"
            )
        length = np.array([lengths.get(clip_id, 0) for clip_id in file.clip_ids])
        grid = framed_labels.frame_grid()
        return framing.frames_inside(grid, framing.FRAME_MS, length[:, np.newaxis])
    every = np.ones((len(file.clip_ids), framing.FRAMES_PER_CLIP), bool)
    if file.frame_valid is None:
        logging.warning(
            "%s: nothing tells where clips end, so that all framed labels count; --weak_csv "
            "(eval_segments.csv) leaves out those behind the end of shorter clips",
            file.path,
        )
        return every
    same = file.frame_valid.shape == every.shape  # if not, joining the labels tells what is wrong
    return file.frame_valid if same else every


def _batches(
    framed: framed_labels.FramedClips, file: score_files.ScoreFile, valid: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """The labels of framed TSVs as batches of the evaluation grid, of the clips with scores."""
    row = {clip_id: i for i, clip_id in enumerate(file.clip_ids)}
    clip_ids = [clip_id for clip_id in framed.clip_ids if clip_id in row]
    if not clip_ids:
        raise errors.InputError(f"{file.path}: no scores of any clip of {framed.source}")
    missing = len(framed.clip_ids) - len(clip_ids)
    if missing:
        total = len(framed.clip_ids)
        logging.warning(
            "%s: no scores of %d of the %d clips of %s", file.path, missing, total, framed.source
        )
    for begin in range(0, len(clip_ids), _CLIPS_AT_A_TIME):
        chosen = clip_ids[begin : begin + _CLIPS_AT_A_TIME]
        has_rows, labels, negative = framed.labels(chosen)
        yield {
            "clip_id": np.array([clip_id.encode() for clip_id in chosen], object),
            "frame_valid": np.any(labels >= 0, axis=2) & valid[[row[each] for each in chosen]],
            "weak_labels": np.zeros_like(negative),
            "weak_known": np.zeros_like(has_rows),
            "negative_labels": negative,
            "negatives_known": has_rows,
            "frame_labels": labels,
            "strong_known": has_rows,
        }


def measure(
    labelled: LabelledScores,
    *,
    with_intervals: bool = False,
    negative_weighting: str = eval_metrics.POOLED,
) -> dict[str, eval_metrics.EvalResult]:
    """Measures "weak_eval" and "strong_eval", each where there are labels for it.

    Args:
      labelled: the scores.
      with_intervals: whether to compute 95% intervals.
      negative_weighting: see `eval_metrics.measure`.

    Raises:
      errors.InputError: no class has both positives and negatives.
    """
    return {
        name: eval_metrics.measure(
            labelled.scores,
            kind,
            name=labelled.path,
            with_intervals=with_intervals,
            negative_weighting=negative_weighting,
        )
        for name, kind in labelled.kinds().items()
    }


def to_text(results: Mapping[str, eval_metrics.EvalResult]) -> str:
    """A table to print: a line for each metric, a column for each set, intervals in brackets."""

    def cell(values: Mapping[str, float], name: str) -> str:
        if name not in values:
            return "-"
        if f"{name}_low" not in values:
            return f"{values[name]:.4g}"
        return f"{values[name]:.4f} [{values[f'{name}_low']:.3f}, {values[f'{name}_high']:.3f}]"

    names = dict.fromkeys(name for result in results.values() for name in result.values)
    shown = [name for name in names if not name.endswith(("_low", "_high"))]
    table = pd.DataFrame(
        {
            set_name: [cell(result.values, name) for name in shown]
            for set_name, result in results.items()
        },
        index=shown,
    )
    return table.to_string()


def write(
    labelled: LabelledScores,
    results: Mapping[str, eval_metrics.EvalResult],
    *,
    output_dir: str,
    curve_mids: Sequence[str] = (),
) -> None:
    """Writes results.csv (set, metric, value), and per_class_<set>.csv and .png of each set.

    Args:
      labelled: the scores.
      results: of `measure`.
      output_dir: created where it does not exist.
      curve_mids: classes whose curves go to curves_<set>.csv and .png.

    Raises:
      errors.InputError: the directory cannot be written.
    """
    rows = [
        (set_name, metric, value)
        for set_name, result in results.items()
        for metric, value in result.values.items()
    ]
    table = pd.DataFrame(rows, columns=["set", "metric", "value"])
    with files.writing(output_dir):
        files.make_directory(output_dir)
        files.write_text(os.path.join(output_dir, "results.csv"), table.to_csv(index=False))
        for set_name, result in results.items():
            title = f"{eval_metrics.display_name(set_name)}, {pathlib.Path(labelled.path).name}"
            stem = os.path.join(output_dir, f"per_class_{set_name}")
            class_plots.write_per_class(result, labelled.vocabulary, stem)
            class_plots.write_picture(stem, title)
            if curve_mids:
                kind = labelled.kinds()[set_name]
                class_plots.write_curves(
                    eval_metrics.eval_samples(labelled.scores, kind, name=labelled.path),
                    labelled.vocabulary,
                    mids=curve_mids,
                    title=title,
                    path_stem=os.path.join(output_dir, f"curves_{set_name}"),
                )
