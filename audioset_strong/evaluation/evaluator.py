"""Follows workdirs: every checkpoint is evaluated once on every eval set.

Written to a workdir:
    eval/results.csv                   step, set, metric, value: also the record of what is done
    eval/events.*                      TensorBoard scalars, tags "<set>/<metric>", and the pictures
    eval/per_class/<set>-<step>.csv    every class, and .png: d' of all classes
    eval/per_class_<set>.csv, .png     those of the selected checkpoint
    eval/curves/<set>-<step>.csv, .png ROC and precision-recall curves of chosen classes, on demand
    eval/scores/<name>-<step>.npz      all scores, on demand; or .parquet (score_files.py)
    eval/datasets.json                 what was evaluated on
    selection.json                     the checkpoint that stands for the model (selection.py)

Evaluated with the moving average of the weights, the same goes to eval_ema/, and none is selected:
selection.json is that of the weights themselves, whose results stand in eval/.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence

import gin
import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

from audioset_strong.core import errors, progress
from audioset_strong.evaluation import class_plots, eval_metrics, score_files, scoring, selection
from audioset_strong.evaluation.eval_sets import EvalSet, open_eval_set
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints

EVAL_DIR = "eval"
EMA_DIR = "eval_ema"
RESULTS_FILE = "results.csv"
COLUMNS = ["step", "set", "metric", "value"]
_DATASETS_FILE = "datasets.json"
_POLL_S = 2.0


@gin.configurable(module="evaluator")
def evaluate_workdirs(
    workdirs: Sequence[str],
    eval_sets: Mapping[str, str | Sequence[str]] | None = None,
    run_once: bool = False,
    checkpoint: str | None = None,
    timeout_s: float | None = None,
    ema: bool = False,
    propagate_to_ancestors: bool = False,
    batch_size: int = 16,
    cache_clips: int = 1000,
    bootstrap_replicates: int = 200,
    save_scores: str | None = None,
    plot_classes: Sequence[str] = (),
    framed_tsvs: Mapping[str, str | Sequence[str]] | None = None,
) -> None:
    """Evaluates the checkpoints of training runs, as they come or as they are.

    Args:
      workdirs: of train.py. Those of runs that go on are followed until they are finished.
      eval_sets: name -> dataset directory or directories; "eval" and "validation" give the sets
        weak_eval, strong_eval, weak_validation, strong_validation in one pass over each.
      run_once: whether to evaluate what is there and end.
      checkpoint: the one checkpoint to evaluate, by its path or its name such as "step-500" (with a
        single workdir). None is selected then.
      timeout_s: seconds without a new checkpoint after which following ends.
      ema: whether to evaluate the moving average of the weights (`train.ema_decay`), apart.
      propagate_to_ancestors: whether positive labels imply those of their ancestors in the ontology.
      batch_size: clips scored at a time, ten patches each.
      cache_clips: datasets up to so many clips are kept in memory as log-mel.
      bootstrap_replicates: of the confidence intervals; 0 for none.
      save_scores: "npz" or "parquet" to keep all scores.
      plot_classes: classes to draw ROC and precision-recall curves of, mids or display names.
      framed_tsvs: name of an eval set -> framed TSVs with its strong labels, such as
        `audioset_eval_strong_framed_posneg.tsv`; see `eval_set.open_eval_set`.

    Raises:
      errors.InputError: bad settings, no such workdir or dataset, another vocabulary, a checkpoint
        of another model, scores that are no numbers.
    """
    if not workdirs:
        raise errors.InputError("no workdir given (--workdir)")
    if checkpoint and len(workdirs) != 1:
        raise errors.InputError("--checkpoint goes with exactly one --workdir")
    if not eval_sets:
        raise errors.InputError(
            "no eval set: give --eval_data (and --validation_data), or bind "
            "evaluate_workdirs.eval_sets"
        )
    for setting, value, least in (
        ("batch_size", batch_size, 1),
        ("cache_clips", cache_clips, 0),
        ("bootstrap_replicates", bootstrap_replicates, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise errors.InputError(
                f"evaluate_workdirs.{setting} = {value!r}: must be a whole number, at least {least}"
            )
    if save_scores not in (None, *score_files.FORMATS):
        raise errors.InputError(
            f"evaluate_workdirs.save_scores = {save_scores!r}: must be one of "
            f"{', '.join(score_files.FORMATS)}"
        )
    framed_tsvs = framed_tsvs or {}
    unknown = framed_tsvs.keys() - eval_sets.keys()
    if unknown:
        raise errors.InputError(f"framed labels of {min(unknown)!r}: there is no such eval set")
    opened = [
        open_eval_set(
            *(name, _listed(where), batch_size, cache_clips, propagate_to_ancestors),
            framed_tsvs=_listed(framed_tsvs.get(name, ())),
        )
        for name, where in eval_sets.items()
    ]
    # Every eval set has the classes of the model, which is checked below.
    drawn = class_plots.find_classes(plot_classes, opened[0].vocabulary)
    wanted = _Wanted(bootstrap_replicates, save_scores, drawn)
    follow = not run_once and checkpoint is None
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(_Workdir(path, opened, wanted, ema)) for path in workdirs]
        for run in runs:
            # A run to be followed need not have begun.
            run.check(may_be_missing=follow)
        last_news = time.monotonic()
        while True:
            # Asked before looking: a checkpoint that comes between is then not missed.
            finished = all(checkpoints.is_finished(path) for path in workdirs)
            # A list, not a generator: every workdir gets its turn.
            if any([run.evaluate_new(checkpoint) for run in runs]):
                last_news = time.monotonic()
            elif finished or not follow:
                break
            elif timeout_s is not None and time.monotonic() - last_news > timeout_s:
                logging.warning("no new checkpoint for %g s: stopped following", timeout_s)
                break
            else:
                time.sleep(_POLL_S if timeout_s is None else min(_POLL_S, timeout_s))
        if checkpoint is None and not ema:
            for run in runs:
                run.select()


def _listed(paths: str | Sequence[str]) -> Sequence[str]:
    return (paths,) if isinstance(paths, str) else paths


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What is to be found out about each checkpoint."""

    replicates: int  # of the bootstrap
    save_scores: str | None  # the format
    drawn: tuple[str, ...]  # mids of the classes with curves


class _Workdir:
    """One training run and what is known of its checkpoints."""

    def __init__(
        self,
        workdir: str,
        eval_sets: Sequence[EvalSet],
        wanted: _Wanted,
        ema: bool = False,
    ):
        self._workdir = workdir
        self._ema = ema
        self._directory = _results_directory(workdir, ema)
        self._eval_sets = eval_sets
        self._wanted = wanted
        self._results = read_results(workdir, ema)
        self._loaded: checkpoints.LoadedModel | None = None
        self._predict: Callable | None = None
        self._writer: tf.summary.SummaryWriter | None = None
        self._incomplete: set[str] = set()  # checkpoints whose files are not all there

    def __enter__(self) -> "_Workdir":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def check(self, may_be_missing: bool = False) -> None:
        """Checks that the eval sets are for this run, before anything is evaluated or written.

        Raises:
          errors.InputError: no run, a vocabulary that differs, or another dataset under a name that
            results stand under already.
        """
        held = self._datasets()
        for eval_set in self._eval_sets:
            if held.get(eval_set.name, eval_set.fingerprint) != eval_set.fingerprint:
                raise errors.InputError(
                    f"{self._directory / _DATASETS_FILE}: {eval_set.name!r} was another dataset "
                    f"before; give this one another name, or remove {self._directory} to evaluate "
                    "anew"
                )
        if may_be_missing and not (pathlib.Path(self._workdir) / checkpoints.MODEL_FILE).exists():
            logging.warning("%s: no run there yet; waiting for it", self._workdir)
            return
        description = checkpoints.read_description(self._workdir)
        trained = vocabularies.Vocabulary.from_json(description["vocabulary"])
        for eval_set in self._eval_sets:
            if eval_set.vocabulary.mids != trained.mids:
                raise errors.InputError(
                    f"{self._workdir}: trained with {len(trained)} classes, but eval set "
                    f"{eval_set.name!r} has {len(eval_set.vocabulary)} or another order; convert "
                    "it with the same --class_labels"
                )

    def evaluate_new(self, checkpoint: str | None) -> bool:
        """Evaluates the checkpoints without results; whether there were any.

        Args:
          checkpoint: the one to look at; by default all are.
        """
        self._results = read_results(
            self._workdir, self._ema
        )  # another process may have added to them
        listed = checkpoints.list_checkpoints(self._workdir)
        if checkpoint is not None:
            listed = [item for item in listed if _is_meant(checkpoint, item[1])]
            if not listed:
                raise errors.InputError(f"{checkpoint}: no checkpoint of {self._workdir}")
        gone = {path for path in self._incomplete if not _is_complete(path)}
        pending = [(s, path) for s, path in listed if self._missing(s) and path not in gone]
        if not pending:
            return False
        evaluated = False
        total = sum(s.num_clips for step, _ in pending for s in self._missing(step))
        name = os.path.basename(os.path.normpath(self._workdir))
        with progress.bar(f"evaluating {name}", total, "clip") as bar:
            for step, path in pending:
                bar.note(f"step {step}")
                try:
                    self._load(path)
                except errors.InputError:
                    if checkpoint or _is_complete(path):
                        raise
                    logging.warning("%s: its files are gone, it cannot be evaluated", path)
                    self._incomplete.add(path)
                    continue
                for eval_set in self._missing(step):
                    self._evaluate(eval_set, step, bar)
                evaluated = True
                if checkpoint is None:
                    # A metric that is not measured stops it here, not after the last checkpoint.
                    selection.can_select(self._results)
        return evaluated

    def select(self) -> None:
        """Writes selection.json, where there is a validation set to select on."""
        if self._results.empty:
            logging.warning("%s: no checkpoint to evaluate", self._workdir)
            return
        if not selection.can_select(self._results):
            # Choosing on the eval set would flatter the model: better not to choose.
            logging.warning(
                "%s: no checkpoint selected, for %s was not measured (--validation_data)",
                self._workdir,
                selection.DEFAULT_METRIC,
            )
            return
        listed = checkpoints.list_checkpoints(self._workdir)
        selected = selection.select(self._results, listed)
        selection.write(self._workdir, selected)
        for set_name in sorted(set(self._results["set"])):
            for ending in ("csv", "png"):
                source = f"{self._stem('per_class', set_name, selected['step'])}.{ending}"
                if os.path.exists(source):
                    target = self._directory / f"per_class_{set_name}.{ending}"
                    temporary = target.with_name(target.name + ".tmp")
                    shutil.copyfile(source, temporary)
                    temporary.replace(target)

    def _datasets(self) -> dict[str, str]:
        """The fingerprints of what was evaluated on, by name."""
        path = self._directory / _DATASETS_FILE
        try:
            return dict(json.loads(path.read_text())) if path.exists() else {}
        except (ValueError, TypeError) as error:
            raise errors.InputError(f"{path}: no list of datasets: {error}") from error

    def _missing(self, step: int) -> list[EvalSet]:
        """The eval sets that a checkpoint has still to be evaluated on."""
        done = set(self._results.loc[self._results["step"] == step, "set"])
        return [
            eval_set
            for eval_set in self._eval_sets
            if not done.issuperset(eval_set.set_names())
            or (self._wanted.save_scores and not self._scores_path(eval_set.name, step).exists())
            or not all(
                class_plots.have_curves(self._stem("curves", name, step), self._wanted.drawn)
                for name in eval_set.set_names()
            )
        ]

    def _load(self, path: str) -> None:
        if self._loaded is not None:
            checkpoints.load_weights(self._loaded.model, path, self._ema)
            return
        self.check()
        self._loaded = checkpoints.load_model(self._workdir, path, self._ema)
        model = self._loaded.model
        self._predict = scoring.of_model(
            tf.function(
                lambda log_mel: model(log_mel, training=False),
                input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)],
            )
        )
        try:
            for folder in ("per_class", *(["curves"] if self._wanted.drawn else [])):
                (self._directory / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.InputError(
                f"cannot write to {self._directory}: {error.strerror}"
            ) from error

    def _evaluate(self, eval_set: EvalSet, step: int, bar: progress.Bar) -> None:
        """One pass over one dataset; its weak and its strong set."""
        assert self._predict is not None
        scores = scoring.score(
            self._predict,
            eval_set.batches(),
            eval_set.vocabulary.mids,
            f"{self._workdir} at step {step} on {eval_set.name!r}",
            bar.update,
        )
        if self._wanted.save_scores:
            (self._directory / "scores").mkdir(exist_ok=True)
            score_files.save(scores, str(self._scores_path(eval_set.name, step)))
        rows: list[tuple[int, str, str, float]] = []
        pictures = {}
        for kind, set_name in zip(eval_set.kinds, eval_set.set_names(), strict=True):
            measured = eval_metrics.measure(scores, kind, set_name, self._wanted.replicates)
            if "d_prime" not in measured.values and set_name not in set(self._results["set"]):
                logging.warning(
                    "%s has no explicit negatives: d_prime is left out, there is d_prime_implicit",
                    set_name,
                )
            title = f"{eval_metrics.title_of(set_name)}, step {step}"
            stem = self._stem("per_class", set_name, step)
            class_plots.write_per_class(measured, eval_set.vocabulary, title, stem)
            pictures[f"{set_name}/per_class"] = stem
            if self._wanted.drawn:
                stem = self._stem("curves", set_name, step)
                samples = eval_metrics.samples_of(scores, kind, set_name)
                class_plots.write_curves(
                    *(samples, eval_set.vocabulary, self._wanted.drawn, title, stem)
                )
                pictures[f"{set_name}/curves"] = stem
            rows += [(step, set_name, name, value) for name, value in measured.values.items()]
        self._write_events(step, rows, pictures)
        datasets = self._datasets() | {eval_set.name: eval_set.fingerprint}
        checkpoints.write_json(self._directory / _DATASETS_FILE, datasets)
        # Last, in one go: what results.csv holds is whole.
        held = read_results(self._workdir, self._ema)
        replaced = (held["step"] == step) & held["set"].isin(eval_set.set_names())
        tables = [held[~replaced], pd.DataFrame(rows, columns=COLUMNS)]
        table = pd.concat([table for table in tables if len(table)])
        self._results = table.sort_values("step", kind="stable", ignore_index=True)
        checkpoints.write_text(self._directory / RESULTS_FILE, self._results.to_csv(index=False))

    def _write_events(
        self,
        step: int,
        rows: Sequence[tuple[int, str, str, float]],
        pictures: Mapping[str, str],
    ) -> None:
        """Adds scalars, and pictures given by tag and path without ending."""
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._directory))
        with self._writer.as_default():
            for _, set_name, name, value in rows:
                tf.summary.scalar(f"{set_name}/{name}", value, step=step)
            for tag, stem in pictures.items():
                picture = tf.io.decode_png(pathlib.Path(f"{stem}.png").read_bytes(), channels=3)
                tf.summary.image(tag, picture[tf.newaxis], step=step)
        self._writer.flush()

    def _stem(self, folder: str, set_name: str, step: int) -> str:
        """The path of a checkpoint's table and picture, without ending."""
        return str(self._directory / folder / f"{set_name}-{step}")

    def _scores_path(self, name: str, step: int) -> pathlib.Path:
        return self._directory / "scores" / f"{name}-{step}.{self._wanted.save_scores}"


def _results_directory(workdir: str, ema: bool) -> pathlib.Path:
    return pathlib.Path(workdir) / (EMA_DIR if ema else EVAL_DIR)


def read_results(workdir: str, ema: bool = False) -> pd.DataFrame:
    """The results of a workdir: step, set, metric, value; empty where there are none.

    Args:
      workdir: that was evaluated.
      ema: whether to read those of the moving average.

    Raises:
      errors.InputError: a file that is no results.
    """
    path = _results_directory(workdir, ema) / RESULTS_FILE
    if not path.exists():
        return pd.DataFrame({"step": [], "set": [], "metric": [], "value": []}).astype(
            {"step": np.int64, "set": str, "metric": str, "value": np.float64}
        )
    try:
        table = pd.read_csv(path)
        return table[COLUMNS].astype({"step": np.int64, "value": np.float64})
    except (ValueError, KeyError) as error:
        raise errors.InputError(f"{path}: no results of evaluate.py: {error}") from error


def summary(workdir: str, ema: bool = False) -> str:
    """What is evaluated and selected in a workdir, in a line."""
    steps = read_results(workdir, ema)["step"].nunique()
    selected = selection.read(workdir)
    picked = f"step {selected['step']} is selected" if selected else "none is selected"
    path = _results_directory(workdir, ema) / RESULTS_FILE
    return f"{workdir}: {steps} checkpoints evaluated, {picked}; results in {path}"


def _is_meant(checkpoint: str, path: str) -> bool:
    """Whether a user means the checkpoint at `path`, by its name alone or by a path."""
    given = checkpoint.removesuffix(".index")
    return given == os.path.basename(path) or os.path.realpath(given) == os.path.realpath(path)


def _is_complete(path: str) -> bool:
    """Whether a checkpoint's files are there; they are deleted one after the other."""
    files = pathlib.Path(path).parent.glob(f"{os.path.basename(path)}.*")
    return {".index", ".data"} <= {file.suffix.partition("-")[0] for file in files}
