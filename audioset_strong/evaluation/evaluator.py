"""Follows workdirs: every checkpoint is evaluated once on every eval set.

Written to a workdir:
    eval/results.csv               step, set, metric, value: also the record of what is done
    eval/events.*                  TensorBoard scalars, tags "<set>/<metric>"
    eval/per_class/<set>-<step>.csv
    eval/per_class_<set>.csv       that of the selected checkpoint
    eval/scores/<name>-<step>.npz  all scores, on demand (scoring.py)
    eval/datasets.json             what was evaluated on
    selection.json                 the checkpoint that stands for the model (selection.py)

Evaluated with the moving average of the weights, the same goes to eval_ema/, and none is selected:
selection.json is that of the weights themselves, whose results stand in eval/.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

import gin
from audioset_strong import errors, progress
from audioset_strong.data import sampling
from audioset_strong.data import source as source_lib
from audioset_strong.evaluation import measures, scoring, selection
from audioset_strong.labels import vocabulary as vocabulary_lib
from audioset_strong.training import checkpoints

EVAL_DIR = "eval"
EMA_DIR = "eval_ema"
RESULTS_FILE = "results.csv"
COLUMNS = ["step", "set", "metric", "value"]
_DATASETS_FILE = "datasets.json"
_POLL_S = 2.0


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """A dataset to evaluate on, opened once for all checkpoints.

    Attributes:
      name: as in "weak_<name>", "strong_<name>".
      kinds: of labels that its clips have: "weak", "strong".
      num_clips: that are scored.
      vocabulary: of its labels.
      fingerprint: equal for equal datasets.
      directories: of the converted datasets.
      batch_size: clips a batch.
      cached: whether the log-mel is kept in memory.
    """

    name: str
    kinds: tuple[str, ...]
    num_clips: int
    vocabulary: vocabulary_lib.Vocabulary
    fingerprint: str
    directories: tuple[str, ...]
    batch_size: int
    cached: bool
    smear: bool

    def set_names(self) -> list[str]:
        """What its sets are called in results: one for each kind."""
        return [f"{kind}_{self.name}" for kind in self.kinds]

    @functools.cached_property
    def _dataset(self) -> tf.data.Dataset:
        dataset = sampling.grid_patches(self.directories, self.batch_size, self.smear)
        return dataset.cache() if self.cached else dataset

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Those of `sampling.grid_patches`.

        Raises:
          errors.InputError: a shard that is damaged or cut off.
        """
        try:
            yield from self._dataset.as_numpy_iterator()
        except tf.errors.DataLossError as error:
            raise errors.InputError(
                f"eval set {self.name!r}: a shard is damaged or cut off; convert it again ({error})"
            ) from error


def open_eval_set(
    name: str,
    directories: Sequence[str],
    batch_size: int = 16,
    cache_clips: int = 1000,
    smear: bool = False,
) -> EvalSet:
    """Opens datasets under one name.

    Args:
      name: "eval" gives the sets "weak_eval" and "strong_eval", as far as the clips have labels.
      directories: converted datasets.
      batch_size: clips a batch.
      cache_clips: up to so many clips the log-mel is kept in memory, 246 kB a clip.
      smear: whether positive labels imply those of their ancestors, see `source_lib.Source`.

    Raises:
      errors.InputError: no dataset there, one without labels (or without an ontology to smear
        them), or a name that is none.
    """
    if not re.fullmatch(r"\w+", name):
        raise errors.InputError(f"eval set {name!r}: its name must be of letters, digits and _")
    infos = source_lib.read_infos(directories)
    kinds = []
    if sum(info.weak_clips for info in infos):
        kinds.append(measures.WEAK)
    if sum(info.strong_clips for info in infos):
        kinds.append(measures.STRONG)
    if not kinds:
        raise errors.InputError(f"{', '.join(directories)}: no clip with labels to evaluate on")
    if smear:
        source_lib.ancestor_matrix(directories, infos)  # can they be?
    num_clips = sum(info.num_clips for info in infos)
    return EvalSet(
        name=name,
        kinds=tuple(kinds),
        num_clips=num_clips,
        vocabulary=infos[0].vocabulary,
        fingerprint=source_lib.fingerprint(directories) + ("-smeared" if smear else ""),
        directories=tuple(directories),
        batch_size=batch_size,
        cached=num_clips <= cache_clips,
        smear=smear,
    )


@gin.configurable(module="evaluator")
def evaluate_workdirs(
    workdirs: Sequence[str],
    eval_sets: Mapping[str, str | Sequence[str]] | None = None,
    run_once: bool = False,
    checkpoint: str | None = None,
    timeout_s: float | None = None,
    ema: bool = False,
    smear: bool = False,
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
      checkpoint: the one checkpoint to evaluate, by its path or its name such as "step-500" (with a
        single workdir). None is selected then.
      timeout_s: seconds without a new checkpoint after which following ends.
      ema: whether to evaluate the moving average of the weights (`train.ema_decay`), apart.
      smear: whether positive labels imply those of their ancestors in the ontology.
      batch_size: clips scored at a time, ten patches each.
      cache_clips: datasets up to so many clips are kept in memory as log-mel.
      bootstrap_replicates: of the confidence intervals; 0 for none.
      save_scores: whether to keep all scores.

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
    opened = [
        open_eval_set(
            name, (where,) if isinstance(where, str) else where, batch_size, cache_clips, smear
        )
        for name, where in eval_sets.items()
    ]
    follow = not run_once and checkpoint is None
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(_Workdir(path, opened, bootstrap_replicates, save_scores, ema))
            for path in workdirs
        ]
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


class _Workdir:
    """One training run and what is known of its checkpoints."""

    def __init__(
        self,
        workdir: str,
        eval_sets: Sequence[EvalSet],
        replicates: int,
        save_scores: bool,
        ema: bool = False,
    ):
        self._workdir = workdir
        self._ema = ema
        self._directory = pathlib.Path(workdir) / (EMA_DIR if ema else EVAL_DIR)
        self._eval_sets = eval_sets
        self._replicates = replicates
        self._save_scores = save_scores
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
        trained = vocabulary_lib.Vocabulary.from_json(description["vocabulary"])
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
            source = self._per_class_path(set_name, selected["step"])
            if source.exists():
                _write_text(self._directory / f"per_class_{set_name}.csv", source.read_text())

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
            or (self._save_scores and not self._scores_path(eval_set.name, step).exists())
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
            (self._directory / "per_class").mkdir(parents=True, exist_ok=True)
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
        if self._save_scores:
            (self._directory / "scores").mkdir(exist_ok=True)
            scores.save(str(self._scores_path(eval_set.name, step)))
        rows = []
        for kind, set_name in zip(eval_set.kinds, eval_set.set_names(), strict=True):
            measured = measures.measure(scores, kind, set_name, self._replicates)
            if "d_prime" not in measured.values and set_name not in set(self._results["set"]):
                logging.warning(
                    "%s has no explicit negatives: d_prime is left out, there is d_prime_implicit",
                    set_name,
                )
            table = measured.per_class
            table.insert(1, "display_name", eval_set.vocabulary.names)
            _write_text(self._per_class_path(set_name, step), table.to_csv(index=False))
            rows += [(step, set_name, name, value) for name, value in measured.values.items()]
        self._write_events(rows)
        datasets = self._datasets() | {eval_set.name: eval_set.fingerprint}
        checkpoints.write_json(self._directory / _DATASETS_FILE, datasets)
        # Last, in one go: what results.csv holds is whole.
        held = read_results(self._workdir, self._ema)
        replaced = (held["step"] == step) & held["set"].isin(eval_set.set_names())
        tables = [held[~replaced], pd.DataFrame(rows, columns=COLUMNS)]
        table = pd.concat([table for table in tables if len(table)])
        self._results = table.sort_values("step", kind="stable", ignore_index=True)
        _write_text(self._directory / RESULTS_FILE, self._results.to_csv(index=False))

    def _write_events(self, rows: Sequence[tuple[int, str, str, float]]) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._directory))
        with self._writer.as_default():
            for step, set_name, name, value in rows:
                tf.summary.scalar(f"{set_name}/{name}", value, step=step)
        self._writer.flush()

    def _per_class_path(self, set_name: str, step: int) -> pathlib.Path:
        return self._directory / "per_class" / f"{set_name}-{step}.csv"

    def _scores_path(self, name: str, step: int) -> pathlib.Path:
        return self._directory / "scores" / f"{name}-{step}.npz"


def read_results(workdir: str, ema: bool = False) -> pd.DataFrame:
    """The results of a workdir: step, set, metric, value; empty where there are none.

    Args:
      workdir: that was evaluated.
      ema: whether to read those of the moving average.

    Raises:
      errors.InputError: a file that is no results.
    """
    path = pathlib.Path(workdir) / (EMA_DIR if ema else EVAL_DIR) / RESULTS_FILE
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
    path = pathlib.Path(workdir) / (EMA_DIR if ema else EVAL_DIR) / RESULTS_FILE
    return f"{workdir}: {steps} checkpoints evaluated, {picked}; results in {path}"


def _is_meant(checkpoint: str, path: str) -> bool:
    """Whether a user means the checkpoint at `path`, by its name alone or by a path."""
    given = checkpoint.removesuffix(".index")
    return given == os.path.basename(path) or os.path.realpath(given) == os.path.realpath(path)


def _is_complete(path: str) -> bool:
    """Whether a checkpoint's files are there; they are deleted one after the other."""
    files = pathlib.Path(path).parent.glob(f"{os.path.basename(path)}.*")
    return {".index", ".data"} <= {file.suffix.partition("-")[0] for file in files}


def _write_text(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
