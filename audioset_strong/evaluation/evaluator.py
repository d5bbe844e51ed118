"""Follows workdirs: every checkpoint is evaluated once on every eval set.

Written to a workdir:
    eval/results.csv               step, set, metric, value: also the record of what is done
    eval/events.*                  TensorBoard scalars, tags "<set>/<metric>"
    eval/per_class/<set>-<step>.csv
    eval/per_class_<set>.csv       that of the selected checkpoint
    eval/datasets.json             what was evaluated on
    selection.json                 the checkpoint that stands for the model (selection.py)
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

import gin
from audioset_strong import errors, progress
from audioset_strong.data import dataset_info, sampling
from audioset_strong.evaluation import measures, scoring, selection
from audioset_strong.training import checkpoints

EVAL_DIR = "eval"
RESULTS_FILE = "results.csv"
COLUMNS = ["step", "set", "metric", "value"]
_DATASETS_FILE = "datasets.json"
_POLL_S = 5.0


@dataclasses.dataclass
class _EvalSet:
    """A dataset to evaluate on, opened once for all checkpoints."""

    name: str
    kinds: tuple[str, ...]  # of labels that its clips have: weak, strong
    num_clips: int
    mids: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str
    batches: tf.data.Dataset

    def set_names(self) -> list[str]:
        return [f"{kind}_{self.name}" for kind in self.kinds]


def open_eval_set(
    name: str, directories: Sequence[str], batch_size: int = 16, cache_clips: int = 1000
) -> _EvalSet:
    """Opens datasets under one name.

    Args:
      name: "eval" gives the sets "weak_eval" and "strong_eval", as far as the clips have labels.
      directories: converted datasets.
      batch_size: clips a batch.
      cache_clips: up to so many clips the log-mel is kept in memory, 246 kB a clip.

    Raises:
      errors.InputError: no dataset there, or one without labels.
    """
    infos = sampling.read_infos(directories)
    kinds = []
    if sum(info.weak_clips for info in infos):
        kinds.append(measures.WEAK)
    if sum(info.strong_clips for info in infos):
        kinds.append(measures.STRONG)
    if not kinds:
        raise errors.InputError(f"{', '.join(directories)}: no clip with labels to evaluate on")
    digest = hashlib.sha256()
    for directory in directories:
        digest.update((pathlib.Path(directory) / dataset_info.FILE_NAME).read_bytes())
    num_clips = sum(info.num_clips for info in infos)
    batches = sampling.grid_patches(directories, batch_size)
    if num_clips <= cache_clips:
        batches = batches.cache()
    return _EvalSet(
        name=name,
        kinds=tuple(kinds),
        num_clips=num_clips,
        mids=infos[0].vocabulary.mids,
        names=infos[0].vocabulary.names,
        fingerprint=digest.hexdigest()[:16],
        batches=batches,
    )


@gin.configurable(module="evaluator")
def evaluate_workdirs(
    workdirs: Sequence[str],
    eval_sets: Mapping[str, str | Sequence[str]] = gin.REQUIRED,
    run_once: bool = False,
    checkpoint: str | None = None,
    timeout_s: float | None = None,
    batch_size: int = 16,
    cache_clips: int = 1000,
    bootstrap_replicates: int = 200,
    save_scores: bool = False,
) -> None:
    """Evaluates the checkpoints of training runs, as they come or as they are.

    Args:
      workdirs: of train.py. Those of runs that go on are followed until they are finished.
      eval_sets: name -> dataset directory or directories; "eval" and "validation" give the sets
        weak_eval, strong_eval, weak_validation, strong_validation in one pass over each.
      run_once: whether to evaluate what is there and end.
      checkpoint: the one checkpoint to evaluate (with a single workdir).
      timeout_s: seconds without a new checkpoint after which following ends.
      batch_size: clips scored at a time, ten patches each.
      cache_clips: datasets up to so many clips are kept in memory as log-mel.
      bootstrap_replicates: of the confidence intervals; 0 for none.
      save_scores: whether to write the scores to eval/scores/<name>-<step>.npz (score.py reads it).

    Raises:
      errors.InputError: no such workdir or dataset, another vocabulary, a checkpoint of another
        model, scores that are no numbers.
    """
    if not workdirs:
        raise errors.InputError("no workdir given (--workdir)")
    if checkpoint and len(workdirs) != 1:
        raise errors.InputError("--checkpoint goes with exactly one --workdir")
    if not eval_sets:
        raise errors.InputError("no eval set given (--eval_data, --validation_data)")
    opened = [
        open_eval_set(name, (where,) if isinstance(where, str) else where, batch_size, cache_clips)
        for name, where in eval_sets.items()
    ]
    if run_once or checkpoint:
        for workdir in workdirs:
            checkpoints.read_description(workdir)  # a workdir of ours?
    measure = _Measure(bootstrap_replicates, save_scores)
    with contextlib.ExitStack() as stack:
        followed = [stack.enter_context(_Workdir(path, opened, measure)) for path in workdirs]
        last_news = time.monotonic()
        while True:
            # Asked before looking: a checkpoint that comes between is then not missed.
            finished = all(checkpoints.is_finished(path) for path in workdirs)
            # A list, not a generator: every workdir gets its turn.
            news = any([run.evaluate_new(checkpoint) for run in followed])
            if news:
                last_news = time.monotonic()
                continue
            if finished or run_once or checkpoint:
                break
            if timeout_s is not None and time.monotonic() - last_news > timeout_s:
                logging.warning("no new checkpoint for %g s: stopped following", timeout_s)
                break
            time.sleep(_POLL_S if timeout_s is None else min(_POLL_S, timeout_s))
        for run in followed:
            run.select()


@dataclasses.dataclass(frozen=True)
class _Measure:
    bootstrap_replicates: int
    save_scores: bool


class _Workdir:
    """One training run and what is known of its checkpoints."""

    def __init__(self, workdir: str, eval_sets: Sequence[_EvalSet], settings: _Measure):
        self._workdir = workdir
        self._directory = pathlib.Path(workdir) / EVAL_DIR
        self._eval_sets = eval_sets
        self._settings = settings
        self._results = read_results(workdir)
        self._loaded: checkpoints.LoadedModel | None = None
        self._predict: Callable | None = None
        self._writer: tf.summary.SummaryWriter | None = None
        self._check_datasets()

    def __enter__(self) -> "_Workdir":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def evaluate_new(self, checkpoint: str | None) -> bool:
        """Evaluates the checkpoints without results; whether there were any."""
        listed = checkpoints.list_checkpoints(self._workdir)
        if checkpoint is not None:
            wanted = os.path.basename(checkpoint).removesuffix(".index")
            listed = [item for item in listed if os.path.basename(item[1]) == wanted]
            if not listed:
                raise errors.InputError(f"{checkpoint}: no checkpoint of {self._workdir}")
        pending = [(step, path) for step, path in listed if self._missing(step)]
        if not pending:
            return False
        total = sum(s.num_clips for step, _ in pending for s in self._missing(step))
        name = os.path.basename(os.path.normpath(self._workdir))
        with progress.bar(f"evaluating {name}", total, "clip") as bar:
            for step, path in pending:
                bar.note(f"step {step}")
                try:
                    self._load(path)
                except errors.InputError:
                    if (step, path) in checkpoints.list_checkpoints(self._workdir):
                        raise
                    logging.warning("%s was deleted before it could be evaluated", path)
                    continue
                for eval_set in self._missing(step):
                    self._evaluate(eval_set, step, bar)
        return True

    def select(self) -> None:
        """Writes selection.json, where there is a validation set to select on."""
        if self._results.empty:
            logging.warning("%s: nothing to evaluate", self._workdir)
            return
        measured = set(self._results["set"])
        bound = selection_metric()
        if bound == selection.DEFAULT_METRIC and bound.split("/")[0] not in measured:
            # Choosing on the eval set would flatter the model: better not to choose.
            logging.warning(
                "%s: no checkpoint selected, for there is no validation set (--validation_data)",
                self._workdir,
            )
            return
        listed = checkpoints.list_checkpoints(self._workdir)
        selected = selection.select(self._results, listed)
        selection.write(self._workdir, selected)
        for set_name in sorted(measured):
            source = self._per_class_path(set_name, selected["step"])
            if source.exists():
                _write_text(self._directory / f"per_class_{set_name}.csv", source.read_text())
        logging.info("%s: step %d, by %s", self._workdir, selected["step"], selected["rule"])

    def _check_datasets(self) -> None:
        """Results of one name must be of one dataset."""
        path = self._directory / _DATASETS_FILE
        held = json.loads(path.read_text()) if path.exists() else {}
        for eval_set in self._eval_sets:
            if held.get(eval_set.name, eval_set.fingerprint) != eval_set.fingerprint:
                raise errors.InputError(
                    f"{path}: {eval_set.name!r} was another dataset before; give this one another "
                    f"name, or remove {self._directory} to evaluate anew"
                )
            held[eval_set.name] = eval_set.fingerprint
        if pathlib.Path(self._workdir).is_dir():
            self._directory.mkdir(exist_ok=True)
            _write_text(path, json.dumps(held, indent=1) + "\n")

    def _missing(self, step: int) -> list[_EvalSet]:
        done = set(self._results.loc[self._results["step"] == step, "set"])
        return [s for s in self._eval_sets if not done.issuperset(s.set_names())]

    def _load(self, path: str) -> None:
        if self._loaded is None:
            self._loaded = checkpoints.load_model(self._workdir, path)
            model = self._loaded.model
            for eval_set in self._eval_sets:
                if eval_set.mids != self._loaded.vocabulary.mids:
                    raise errors.InputError(
                        f"{self._workdir}: trained with {len(self._loaded.vocabulary)} classes, "
                        f"but eval set {eval_set.name!r} has {len(eval_set.mids)} or another "
                        "order; convert it with the same --class_labels"
                    )
            self._predict = tf.function(
                lambda log_mel: model(log_mel, training=False),
                input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)],
            )
        else:
            checkpoints.load_weights(self._loaded.model, path)

    def _evaluate(self, eval_set: _EvalSet, step: int, bar: progress.Bar) -> None:
        """One pass over one dataset; its weak and its strong set."""
        self._directory.mkdir(exist_ok=True)
        assert self._predict is not None
        scores = scoring.score(
            self._predict,
            eval_set.batches.as_numpy_iterator(),
            eval_set.mids,
            f"{self._workdir} at step {step} on {eval_set.name!r}",
            bar.update,
        )
        if self._settings.save_scores:
            (self._directory / "scores").mkdir(exist_ok=True)
            scores.save(str(self._directory / "scores" / f"{eval_set.name}-{step}.npz"))
        rows = []
        for kind, set_name in zip(eval_set.kinds, eval_set.set_names(), strict=True):
            measured = measure(scores, kind, set_name, self._settings.bootstrap_replicates)
            table = measured.per_class
            table.insert(1, "display_name", eval_set.names)
            path = self._per_class_path(set_name, step)
            path.parent.mkdir(exist_ok=True)
            _write_text(path, table.to_csv(index=False))
            rows += [(step, set_name, name, value) for name, value in measured.values.items()]
        self._write_events(rows)
        # Last, in one go: what results.csv holds is whole.
        new = pd.DataFrame(rows, columns=COLUMNS)
        kept = self._results[
            ~((self._results["step"] == step) & self._results["set"].isin(eval_set.set_names()))
        ]
        self._results = new if kept.empty else pd.concat([kept, new], ignore_index=True)
        ordered = self._results.sort_values("step", kind="stable")
        _write_text(self._directory / RESULTS_FILE, ordered.to_csv(index=False))

    def _write_events(self, rows: Sequence[tuple[int, str, str, float]]) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._directory))
        with self._writer.as_default():
            for step, set_name, name, value in rows:
                tf.summary.scalar(f"{set_name}/{name}", value, step=step)
        self._writer.flush()

    def _per_class_path(self, set_name: str, step: int) -> pathlib.Path:
        return self._directory / "per_class" / f"{set_name}-{step}.csv"


def check_bindings(arguments: Mapping[str, object]) -> None:
    """Checks that the eval sets are among the arguments or bound by gin.

    Raises:
      errors.InputError: they are neither.
    """
    bound = gin.get_bindings(evaluate_workdirs, resolve_references=False)
    if "eval_sets" not in {**bound, **arguments}:
        raise errors.InputError(
            "no eval set: give --eval_data (and --validation_data), or bind "
            "evaluate_workdirs.eval_sets"
        )


def measure(
    scores: scoring.Scores, kind: str, set_name: str, bootstrap_replicates: int
) -> measures.Measured:
    """`measures.measure`, with the bounds of 95% intervals as "<metric>_low" and "_high"."""
    measured = measures.measure(scores, kind, set_name)
    if not bootstrap_replicates:
        return measured
    bounds = measures.intervals(scores, kind, bootstrap_replicates)
    return dataclasses.replace(measured, values=measured.values | bounds)


def read_results(workdir: str) -> pd.DataFrame:
    """The results of a workdir: step, set, metric, value; empty where there are none.

    Raises:
      errors.InputError: a file that is no results.
    """
    path = pathlib.Path(workdir) / EVAL_DIR / RESULTS_FILE
    if not path.exists():
        return pd.DataFrame({"step": [], "set": [], "metric": [], "value": []}).astype(
            {"step": np.int64, "set": str, "metric": str, "value": np.float64}
        )
    try:
        table = pd.read_csv(path)
        return table[COLUMNS].astype({"step": np.int64, "value": np.float64})
    except (ValueError, KeyError) as error:
        raise errors.InputError(f"{path}: no results of evaluate.py: {error}") from error


def selection_metric() -> str:
    """The metric that gin binds for the selection, or the default."""
    bound = gin.get_bindings(selection.select)
    return bound.get("metric", selection.DEFAULT_METRIC)


def _write_text(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
