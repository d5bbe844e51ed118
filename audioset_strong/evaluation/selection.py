"""Which checkpoint represents a model: the best one on held-out validation clips (section 4.1).

By default it is the one with the highest d' on the strong validation. Where no class of a set has
explicit negatives, as in AudioSet's training data, its d' on complementary negatives takes the
place of d', and `selection.json` and the report say so.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from audioset_strong.core import errors, files
from audioset_strong.evaluation import eval_metrics
from audioset_strong.training import workdirs

DEFAULT_METRIC = "strong_validation/d_prime"


def select(
    results: pd.DataFrame,
    checkpoints: Sequence[tuple[int, str]],
    *,
    metric: str = DEFAULT_METRIC,
    held_out: bool = True,
) -> dict:
    """Picks the checkpoint with the highest value of a metric; ties go to the earliest.

    Args:
      results: rows of step, set, metric, value.
      checkpoints: (step, path) of the checkpoints that still exist; only they can be picked.
      metric: "<set>/<metric>", one of `eval_metrics.METRICS`; see `measured_metric`.
      held_out: whether the set is held-out validation data, see `held_out`.

    Returns:
      step, checkpoint (below the workdir), set, metric, held_out, value, the rule in words,
      candidates (best first, each with whether its files are available), and best_of_each_metric:
      the step with the highest value of each metric by itself, which the paper reports beside its
      table.

    Raises:
      errors.InputError: the metric was not measured, or no evaluated checkpoint is left.
    """
    measured = measured_metric(results, metric)
    results = _best_first(results)
    if measured is None:
        raise _not_measured(metric, results)
    metric = measured
    set_name, _, name = metric.partition("/")
    paths = dict(checkpoints)
    candidates = results[results["name"] == metric]
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
        "held_out": held_out,
        "value": float(best["value"]),
        "rule": f"highest {metric} among {len(available)} checkpoints; ties go to the earliest"
        + ("" if held_out else "; not on held-out data"),
        "candidates": [
            {"step": int(s), "value": float(v), "available": int(s) in paths}
            for s, v in zip(candidates["step"], candidates["value"], strict=True)
        ],
        "best_of_each_metric": {
            row.name: {"step": int(row.step), "value": float(row.value)}
            for row in results.groupby("name").head(1).itertuples(index=False)
        },
    }


def measured_metric(results: pd.DataFrame, metric: str = DEFAULT_METRIC) -> str | None:
    """The metric that `select` picks by, as far as it was measured.

    Args:
      results: rows of step, set, metric, value.
      metric: that is asked for.

    Returns:
      The metric itself; d' on complementary negatives instead of d' where no class of its set has
      explicit ones; None where the default metric was not measured at all.

    Raises:
      errors.InputError: the metric is not the default one, and it was not measured.
    """
    results = _best_first(results)
    names = set(results["name"])
    instead = f"{metric}_complementary" if metric.endswith("/d_prime") else metric
    found = next((name for name in (metric, instead) if name in names), None)
    if found is None and metric != DEFAULT_METRIC:
        raise _not_measured(metric, results)
    return found


def _not_measured(metric: str, results: pd.DataFrame) -> errors.InputError:
    names = ", ".join(sorted(set(results["name"]))) or "no results"
    return errors.InputError(f"select.metric = {metric!r}: not measured; there are: {names}")


def _best_first(results: pd.DataFrame) -> pd.DataFrame:
    """Values of `eval_metrics.METRICS`: name ("<set>/<metric>"), step, value; the best first."""
    of_model = results["metric"].isin(eval_metrics.METRICS)
    kept = results[of_model & np.isfinite(results["value"])]
    kept = kept.assign(name=kept["set"] + "/" + kept["metric"])
    return kept.sort_values(["name", "value", "step"], ascending=[True, False, True])


def _path(workdir: str) -> str:
    return os.path.join(workdir, workdirs.SELECTION_FILE)


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
