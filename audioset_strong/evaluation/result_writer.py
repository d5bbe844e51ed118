"""Writes the results of a checkpoint: tables, pictures, TensorBoard events, scores."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from absl import logging

from audioset_strong.core import files
from audioset_strong.evaluation import (
    class_plots,
    dashboard,
    eval_metrics,
    left_out_files,
    score_files,
    scoring,
)
from audioset_strong.evaluation.eval_sets import EvalSet
from audioset_strong.evaluation.results import LEFT_OUT, left_out_path
from audioset_strong.evaluation.settings import EvaluationSettings
from audioset_strong.training.run_info import RunInfo

_PER_CLASS, _CURVES, _SCORES = "per_class", "curves", "scores"


class ResultWriter:
    """Writes below one directory of results, see `results`; to be closed at the end."""

    def __init__(
        self, directory: str, settings: EvaluationSettings, *, curve_mids: Sequence[str] = ()
    ):
        """Makes a writer; nothing is written yet.

        Args:
          directory: of the results.
          settings: of the evaluation.
          curve_mids: classes whose curves are drawn.
        """
        self._directory = directory
        self._settings = settings
        self._curve_mids = curve_mids
        self._run: RunInfo | None = None
        self._set_names: list[str] = []
        self._events: tf.summary.SummaryWriter | None = None

    def close(self) -> None:
        """Closes the event file, if there is one."""
        if self._events is not None:
            self._events.close()

    def begin(self, run: RunInfo, set_names: Iterable[str]) -> None:
        """Makes the directories, so that a place that cannot be written shows before any scoring.

        Args:
          run: the facts of the run, for TensorBoard.
          set_names: of all sets that are or will be written.

        Raises:
          errors.InputError: they cannot be made.
        """
        self._run, self._set_names = run, sorted(set_names)
        folders = [_PER_CLASS]
        folders += [_CURVES] if self._curve_mids else []
        folders += [_SCORES] if self._settings.save_scores else []
        folders += [LEFT_OUT] if self._settings.intervals else []
        with files.writing(self._directory):
            for folder in folders:
                files.make_directory(os.path.join(self._directory, folder))

    def has_extras(self, eval_set: EvalSet, step: int) -> bool:
        """Whether the scores and curves of a checkpoint are there, as far as they are wanted."""
        has_scores = not self._settings.save_scores or files.exists(
            self._scores_path(eval_set.name, step)
        )
        return has_scores and all(
            class_plots.have_curves(self._stem(_CURVES, set_name, step), self._curve_mids)
            for set_name in eval_set.set_names()
        )

    def write(
        self, scores: scoring.Scores, eval_set: EvalSet, *, step: int, with_pictures: bool = True
    ) -> dict[str, dict[str, float]]:
        """Measures the scores of a checkpoint on an eval set, and writes all but results.csv.

        Args:
          scores: of the checkpoint.
          eval_set: that was scored.
          step: of the checkpoint.
          with_pictures: whether d' of all classes is drawn.

        Returns:
          Set -> metric -> value, of the weak and the strong set.

        Raises:
          errors.InputError: no class with positives and negatives; a file that cannot be written.
        """
        values, pictures = {}, {}
        with files.writing(self._directory):
            if self._settings.save_scores:
                score_files.save(scores, self._scores_path(eval_set.name, step))
            for kind, set_name in zip(eval_set.kinds, eval_set.set_names(), strict=True):
                result = eval_metrics.measure(
                    scores,
                    kind,
                    name=set_name,
                    with_intervals=self._settings.intervals,
                    negative_weighting=self._settings.negative_weighting,
                )
                values[set_name] = result.values
                if result.left_out is not None:
                    kept = dataclasses.replace(result.left_out, fingerprint=eval_set.fingerprint)
                    left_out_files.save(kept, left_out_path(self._directory, set_name, step))
                title = _title(set_name, step)
                stem = self._stem(_PER_CLASS, set_name, step)
                class_plots.write_per_class(result, eval_set.vocabulary, stem)
                if with_pictures:
                    picture = class_plots.write_picture(stem, title)
                    pictures[f"{set_name}/{_PER_CLASS}"] = picture
                if self._curve_mids:
                    stem = self._stem(_CURVES, set_name, step)
                    class_plots.write_curves(
                        eval_metrics.eval_samples(scores, kind, name=set_name),
                        eval_set.vocabulary,
                        mids=self._curve_mids,
                        title=title,
                        path_stem=stem,
                    )
                    pictures[f"{set_name}/{_CURVES}"] = f"{stem}.png"
            self._write_events(step, values, pictures)
        return values

    def copy_selected(self, step: int, set_names: Iterable[str]) -> None:
        """Copies the per-class tables of the selected checkpoint and their pictures.

        Raises:
          errors.InputError: a file that cannot be written.
        """
        with files.writing(self._directory):
            for set_name in set_names:
                stem = self._stem(_PER_CLASS, set_name, step)
                if not files.exists(f"{stem}.csv"):
                    continue
                if not files.exists(f"{stem}.png"):
                    class_plots.write_picture(stem, _title(set_name, step))
                for ending in ("csv", "png"):
                    target = os.path.join(self._directory, f"{_PER_CLASS}_{set_name}.{ending}")
                    files.copy(f"{stem}.{ending}", target)

    def has_left_out(self, eval_set: EvalSet, step: int) -> bool:
        """Whether what comparisons need of a checkpoint is there, if it is wanted."""
        return not self._settings.intervals or all(
            files.exists(left_out_path(self._directory, set_name, step))
            for set_name in eval_set.set_names()
        )

    def remove_left_out(self, *, kept_steps: Iterable[int]) -> None:
        """Removes what comparisons need of checkpoints that are gone.

        Args:
          kept_steps: the steps whose files stay.

        Raises:
          errors.InputError: a file that cannot be removed.
        """
        endings = tuple(f"-{step}.npz" for step in kept_steps)
        folder = os.path.join(self._directory, LEFT_OUT)
        with files.writing(self._directory):
            for name in files.names(folder) if files.exists(folder) else ():
                if not name.endswith(endings):
                    files.remove(os.path.join(folder, name))

    def _write_events(
        self,
        step: int,
        values: Mapping[str, Mapping[str, float]],
        pictures: Mapping[str, str],
    ) -> None:
        """Adds scalars, and pictures given by tag and path, to the TensorBoard events."""
        assert self._run is not None
        is_new = self._events is None
        self._events = self._events or tf.summary.create_file_writer(self._directory)
        with self._events.as_default():
            if is_new:
                dashboard.write_layout(self._set_names, intervals=self._settings.intervals)
                dashboard.write_hparams(self._directory, self._run, self._set_names)
            for set_name, metrics in values.items():
                for metric, value in metrics.items():
                    tf.summary.scalar(dashboard.scalar_tag(set_name, metric), value, step=step)
            for tag, path in pictures.items():
                picture = tf.io.decode_png(files.read_bytes(path), channels=3)
                tf.summary.image(tag, picture[tf.newaxis], step=step)
        self._events.flush()

    def _stem(self, folder: str, set_name: str, step: int) -> str:
        """The path of a checkpoint's table and picture, without ending."""
        return os.path.join(self._directory, folder, f"{set_name}-{step}")

    def _scores_path(self, name: str, step: int) -> str:
        file = f"{name}-{step}.{self._settings.save_scores}"
        return os.path.join(self._directory, _SCORES, file)


def _title(set_name: str, step: int) -> str:
    return f"{eval_metrics.display_name(set_name)}, step {step}"


def warn_of_missing_negatives(values: Mapping[str, Mapping[str, float]]) -> None:
    """Warns of sets without d_prime, which needs explicit negatives."""
    for set_name, metrics in values.items():
        if "d_prime" not in metrics:
            instead = [f"d_prime{suffix}" for suffix in eval_metrics.NEGATIVES]
            logging.warning(
                "%s has no explicit negatives: d_prime is left out, there is %s",
                set_name,
                next(name for name in instead if name in metrics),
            )
