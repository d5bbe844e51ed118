"""The files that an evaluation writes to a workdir, and what they already cover.

Written to WORKDIR/eval:
    results.csv                   step, set, metric, value: also the record of what is done
    events.*                      for TensorBoard: see dashboard.py
    per_class/<set>-<step>.csv    every class
    per_class/<set>-<step>.png    d' of all classes, of the last checkpoint where several waited
    per_class_<set>.csv, .png     those of the selected checkpoint
    curves/<set>-<step>.csv, .png ROC and precision-recall curves of chosen classes, on demand
    left_out/<set>-<step>.npz     what comparisons need; gone when the checkpoint is gone
    scores/<name>-<step>.npz      all scores, as logits, on demand; or .parquet (score_files.py)
    datasets.json                 what each eval set is, see `measured_on`
    checkpoints.json              step -> hash of the checkpoint that the results are of

The moving average of the weights has the same files in WORKDIR/eval_ema. WORKDIR/selection.json,
the checkpoint that represents the model (selection.py), always belongs to eval/.
"""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from audioset_strong.core import errors, files
from audioset_strong.evaluation import selection
from audioset_strong.evaluation.measured_on import MeasuredOn
from audioset_strong.training.workdirs import EMA_DIR, EVAL_DIR, RESULTS_FILE

COLUMNS = ["step", "set", "metric", "value"]
LEFT_OUT = "left_out"
DATASETS_FILE = "datasets.json"
_CHECKPOINTS_FILE = "checkpoints.json"


def results_directory(workdir: str, *, ema: bool = False) -> str:
    """Where the results of a workdir are, or those of the moving average of its weights."""
    return os.path.join(workdir, EMA_DIR if ema else EVAL_DIR)


def left_out_path(directory: str, set_name: str, step: int) -> str:
    """The file of a checkpoint's metrics without each clip, see `left_out_files`.

    Args:
      directory: of the results, see `results_directory`.
      set_name: of the eval set.
      step: of the checkpoint.
    """
    return os.path.join(directory, LEFT_OUT, f"{set_name}-{step}.npz")


class Results:
    """The results.csv of a workdir, and the datasets that it is about.

    Attributes:
      directory: of the results.
      table: rows of step, set, metric and value, as last read or written.
      digests: step -> hash of the checkpoint that its rows are of, as last read or written.
    """

    def __init__(self, workdir: str, *, ema: bool = False):
        """Reads the results of a workdir.

        Args:
          workdir: of a training run; it need not exist yet.
          ema: whether to take the results of the moving average of the weights.

        Raises:
          errors.InputError: a file that does not hold results.
        """
        self._workdir, self._ema = workdir, ema
        self.directory = results_directory(workdir, ema=ema)
        self.read()

    def read(self) -> None:
        """Reads `table` and `digests`, again where another process may have added to them."""
        self.table = read_results(self._workdir, ema=self._ema)
        self.digests = read_digests(self._workdir, ema=self._ema)

    def sets_of(self, step: int) -> set[str]:
        """The sets that a checkpoint has results on."""
        return set(self.table.loc[self.table["step"] == step, "set"])

    def replace(self, step: int, values: Mapping[str, Mapping[str, float]]) -> None:
        """Writes the results of a checkpoint on some sets, in place of earlier ones.

        Args:
          step: of the checkpoint.
          values: set -> metric -> value.

        Raises:
          OSError: they cannot be written.
        """
        rows = [
            (step, set_name, metric, value)
            for set_name, metrics in values.items()
            for metric, value in metrics.items()
        ]
        self.read()
        replaced = (self.table["step"] == step) & self.table["set"].isin(list(values))
        tables = [self.table[~replaced], pd.DataFrame(rows, columns=COLUMNS)]
        joined = pd.concat([table for table in tables if len(table)])
        self._write(joined.sort_values("step", kind="stable"))

    def measured_on(self) -> dict[str, MeasuredOn]:
        """What the results are measured on, by the name of the eval set; see `read_measured_on`."""
        return read_measured_on(self._workdir, ema=self._ema)

    def check_datasets(self, sets: Mapping[str, MeasuredOn]) -> None:
        """Checks that eval sets are what earlier results under their names were measured on.

        Args:
          sets: name of an eval set -> what it is.

        Raises:
          errors.InputError: results of an older version, or something else under a name.
        """
        earlier = self.measured_on()
        for name, measured_on in sets.items():
            difference = name in earlier and measured_on.difference(earlier[name])
            if difference:
                raise errors.InputError(
                    f"{self._path(DATASETS_FILE)}: {name!r} was another eval set before (now it "
                    f"is {difference}); give this one another name, or remove {self.directory} to "
                    "evaluate anew"
                )

    def record_dataset(self, name: str, measured_on: MeasuredOn) -> None:
        """Writes what the results under the name of an eval set are measured on.

        Raises:
          OSError: it cannot be written.
        """
        sets = self.measured_on() | {name: measured_on}
        values = {each: facts.to_json() for each, facts in sets.items()}
        files.write_json(self._path(DATASETS_FILE), values)

    def has_other_weights(self, step: int, digest: str | None) -> bool:
        """Whether the results of a checkpoint are of other weights than it holds now.

        Args:
          step: of the checkpoint.
          digest: of its content, see `CheckpointScorer.digest`; None where it is not known.
        """
        return digest is not None and bool(self.sets_of(step)) and self.digests.get(step) != digest

    def forget_other_weights(self, step: int, digest: str) -> None:
        """Records which weights a checkpoint holds, and removes results of other ones.

        Args:
          step: of the checkpoint.
          digest: of its content, see `CheckpointScorer.digest`.

        Raises:
          OSError: a file cannot be written.
        """
        self.read()
        if self.digests.get(step) == digest:
            return
        if self.has_other_weights(step, digest):
            logging.warning(
                "%s: its checkpoint of step %d has changed, and is evaluated again",
                self._workdir,
                step,
            )
            self._write(self.table[self.table["step"] != step])
        # Written after the old results are gone, so that they never pass for those of new weights.
        self.digests = dict(sorted((self.digests | {step: digest}).items()))
        files.write_json(self._path(_CHECKPOINTS_FILE), self.digests)

    def _write(self, table: pd.DataFrame) -> None:
        self.table = table.reset_index(drop=True)
        files.write_text(self._path(RESULTS_FILE), self.table.to_csv(index=False))

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def read_results(workdir: str, *, ema: bool = False) -> pd.DataFrame:
    """The results of a workdir.

    Args:
      workdir: of a training run.
      ema: whether to take the results of the moving average of the weights.

    Returns:
      step int64, set, metric, value float64; no rows where nothing has been evaluated.

    Raises:
      errors.InputError: a file that does not hold results.
    """
    path = os.path.join(results_directory(workdir, ema=ema), RESULTS_FILE)
    if not files.exists(path):
        return pd.DataFrame({"step": [], "set": [], "metric": [], "value": []}).astype(
            {"step": np.int64, "set": str, "metric": str, "value": np.float64}
        )
    try:
        table = pd.read_csv(io.StringIO(files.read_text(path)))
        return table[COLUMNS].astype({"step": np.int64, "value": np.float64})
    except (ValueError, KeyError) as error:
        raise errors.InputError(
            f"{path}: not results of audioset_strong_evaluate: {error}"
        ) from error


def read_measured_on(workdir: str, *, ema: bool = False) -> dict[str, MeasuredOn]:
    """What the results of a workdir are measured on, by the name of the eval set.

    Args:
      workdir: of a training run.
      ema: whether to take the results of the moving average of the weights.

    Raises:
      errors.InputError: results of an older version, or a file that is damaged.
    """
    directory = results_directory(workdir, ema=ema)
    path = os.path.join(directory, DATASETS_FILE)
    values = _read_object(path)
    has_results = files.exists(os.path.join(directory, RESULTS_FILE))
    if any(isinstance(each, str) for each in values.values()) or (has_results and not values):
        raise errors.InputError(
            f"{directory}: results of an older version, which do not say what they were measured "
            "on; remove the directory and evaluate anew"
        )
    try:
        return {name: MeasuredOn.from_json(each) for name, each in values.items()}
    except (TypeError, KeyError) as error:
        raise errors.InputError(f"{path}: not a list of datasets: {error!r}") from error


def read_digests(workdir: str, *, ema: bool = False) -> dict[int, str]:
    """The hash of the checkpoint that the results of each step are of.

    Raises:
      errors.InputError: a file that is damaged.
    """
    path = os.path.join(results_directory(workdir, ema=ema), _CHECKPOINTS_FILE)
    try:
        return {int(step): str(digest) for step, digest in _read_object(path).items()}
    except ValueError as error:
        raise errors.InputError(f"{path}: not a list of checkpoints: {error}") from error


def _read_object(path: str) -> dict[str, Any]:
    try:
        return dict(files.read_json(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise errors.InputError(f"{path}: not a JSON object: {error}") from error


def summary(workdir: str, *, ema: bool = False) -> str:
    """One line on what has been evaluated and selected in a workdir."""
    steps = read_results(workdir, ema=ema)["step"].nunique()
    selected = selection.read(workdir)
    picked = f"step {selected['step']} is selected" if selected else "none is selected"
    path = os.path.join(results_directory(workdir, ema=ema), RESULTS_FILE)
    return f"{workdir}: {steps} checkpoints evaluated, {picked}; results in {path}"
