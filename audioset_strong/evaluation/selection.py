"""Which checkpoint represents a model: the best one on held-out validation clips (section 4.1)."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audioset_strong.core import errors, files
from audioset_strong.training import checkpoints

DEFAULT_METRIC = "strong_validation/d_prime"
# How the names of metrics begin whose higher values are better.
_BETTER = ("d_prime", "lwlrap", "mAP", "auc")


def select(
    results: pd.DataFrame,
    checkpoints: Sequence[tuple[int, str]],
    *,
    metric: str = DEFAULT_METRIC,
) -> dict:
    """Picks the checkpoint with the highest value of a metric; ties go to the earliest.

    Args:
      results: rows of step, set, metric, value.
      checkpoints: (step, path) of the checkpoints that still exist; only they can be picked.
      metric: "<set>/<metric>", one whose higher values are better.

    Returns:
      step, checkpoint (below the workdir), set, metric, value, the rule in words, candidates (best
      first, each with whether its files are available), and best_of_each_metric: the step with the
      highest value of each metric by itself, which the paper reports beside its table.

    Raises:
      errors.InputError: the metric was not measured, or no evaluated checkpoint is left.
    """
    set_name, _, name = metric.partition("/")
    paths = dict(checkpoints)
    results = _best_first(results)
    candidates = results[results["name"] == metric]
    if candidates.empty:
        raise _not_measured(metric, results)
    available = candidates[candidates["step"].isin(list(paths))]
    if available.empty:
        raise errors.InputError(f"selection by {metric}: no evaluated checkpoint is left")
    best = available.iloc[0]
    step = int(best["step"])
    return {
        "step": step,
        "checkpoint": "/".join(pathlib.Path(paths[step]).parts[-2:]),
        "set": set_name,
        "metric": name,
        "value": float(best["value"]),
        "rule": f"highest {metric} among {len(available)} checkpoints; ties go to the earliest",
        "candidates": [
            {"step": int(s), "value": float(v), "available": int(s) in paths}
            for s, v in zip(candidates["step"], candidates["value"], strict=True)
        ],
        "best_of_each_metric": {
            row.name: {"step": int(row.step), "value": float(row.value)}
            for row in results.groupby("name").head(1).itertuples(index=False)
        },
    }


def can_select(results: pd.DataFrame, *, metric: str = DEFAULT_METRIC) -> bool:
    """Whether the metric that `select` picks by was measured.

    Raises:
      errors.InputError: the metric is not the default one, and it was not measured.
    """
    results = _best_first(results)
    measured = metric in set(results["name"])
    if not measured and metric != DEFAULT_METRIC:
        raise _not_measured(metric, results)
    return measured


def _not_measured(metric: str, results: pd.DataFrame) -> errors.InputError:
    names = ", ".join(sorted(set(results["name"]))) or "no results"
    return errors.InputError(f"select.metric = {metric!r}: not measured; there are: {names}")


def _best_first(results: pd.DataFrame) -> pd.DataFrame:
    """Values whose higher is better: name ("<set>/<metric>"), step, value; the best come first."""
    metric = results["metric"]
    bound = metric.str.endswith("_low") | metric.str.endswith("_high")
    kept = results[metric.str.startswith(_BETTER) & ~bound & np.isfinite(results["value"])]
    kept = kept.assign(name=kept["set"] + "/" + kept["metric"])
    return kept.sort_values(["name", "value", "step"], ascending=[True, False, True])


def _path(workdir: str) -> str:
    return os.path.join(workdir, checkpoints.SELECTION_FILE)


def write(workdir: str, selected: dict) -> None:
    """Writes `selection.json`.

    Args:
      workdir: of the run.
      selected: what `select` returned.

    Raises:
      OSError: it cannot be written.
    """
    files.write_json(_path(workdir), selected)


def read(workdir: str) -> dict | None:
    """Reads `selection.json`; None where there is none.

    Raises:
      errors.InputError: the file is not a selection.
    """
    path = _path(workdir)
    try:
        selected = files.read_json(path)
        return selected | {"step": int(selected["step"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path}: not a selection: {error}") from error
