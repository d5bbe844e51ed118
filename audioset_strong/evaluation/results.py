"""The files that an evaluation writes to a workdir, and what they already cover.

Written to WORKDIR/eval:
    results.csv                   step, set, metric, value: also the record of what is done
    events.*                      TensorBoard scalars, tags "<set>/<metric>", and the pictures
    per_class/<set>-<step>.csv    every class, and .png: d' of all classes
    per_class_<set>.csv, .png     those of the selected checkpoint
    curves/<set>-<step>.csv, .png ROC and precision-recall curves of chosen classes, on demand
    scores/<name>-<step>.npz      all scores, on demand; or .parquet (score_files.py)
    datasets.json                 fingerprints of the datasets that were evaluated on

The moving average of the weights has the same files in WORKDIR/eval_ema. WORKDIR/selection.json,
the checkpoint that represents the model (selection.py), always belongs to eval/.
"""

import io
import os
from collections.abc import Mapping

import numpy as np
import pandas as pd

from audioset_strong.core import errors, files
from audioset_strong.evaluation import selection
from audioset_strong.training.workdirs import EMA_DIR, EVAL_DIR, RESULTS_FILE

COLUMNS = ["step", "set", "metric", "value"]
_DATASETS_FILE = "datasets.json"


def results_directory(workdir: str, *, ema: bool = False) -> str:
    """Where the results of a workdir are, or those of the moving average of its weights."""
    return os.path.join(workdir, EMA_DIR if ema else EVAL_DIR)


class Results:
    """The results.csv of a workdir, and the datasets that it is about.

    Attributes:
      directory: of the results.
      table: rows of step, set, metric and value, as last read or written.
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
        self.table = read_results(workdir, ema=ema)

    def read(self) -> None:
        """Reads `table` again, because another process may have added to it."""
        self.table = read_results(self._workdir, ema=self._ema)

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
        self.table = joined.sort_values("step", kind="stable", ignore_index=True)
        text = self.table.to_csv(index=False)
        files.write_text(os.path.join(self.directory, RESULTS_FILE), text)

    def check_datasets(self, fingerprints: Mapping[str, str]) -> None:
        """Checks that eval sets are the datasets that earlier results under their names are about.

        Args:
          fingerprints: name of an eval set -> fingerprint.

        Raises:
          errors.InputError: another dataset under a name.
        """
        earlier = self._datasets()
        for name, fingerprint in fingerprints.items():
            if earlier.get(name, fingerprint) != fingerprint:
                raise errors.InputError(
                    f"{self._datasets_path()}: {name!r} was another dataset before; give this one "
                    f"another name, or remove {self.directory} to evaluate anew"
                )

    def record_dataset(self, name: str, fingerprint: str) -> None:
        """Writes which dataset the results under a name are about.

        Raises:
          OSError: it cannot be written.
        """
        files.write_json(self._datasets_path(), self._datasets() | {name: fingerprint})

    def _datasets_path(self) -> str:
        return os.path.join(self.directory, _DATASETS_FILE)

    def _datasets(self) -> dict[str, str]:
        try:
            return dict(files.read_json(self._datasets_path()))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise errors.InputError(
                f"{self._datasets_path()}: not a list of datasets: {error}"
            ) from error


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
        raise errors.InputError(f"{path}: not results of evaluate.py: {error}") from error


def summary(workdir: str, *, ema: bool = False) -> str:
    """One line on what has been evaluated and selected in a workdir."""
    steps = read_results(workdir, ema=ema)["step"].nunique()
    selected = selection.read(workdir)
    picked = f"step {selected['step']} is selected" if selected else "none is selected"
    path = os.path.join(results_directory(workdir, ema=ema), RESULTS_FILE)
    return f"{workdir}: {steps} checkpoints evaluated, {picked}; results in {path}"
