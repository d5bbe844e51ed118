"""Which checkpoint stands for a model: the best one on held-out validation clips (section 4.1)."""

import json
import pathlib
from collections.abc import Sequence

import gin
import numpy as np
import pandas as pd

from audioset_strong.core import errors
from audioset_strong.training import checkpoints

DEFAULT_METRIC = "strong_validation/d_prime"
# Beginnings of the names of metrics of which more is better.
_BETTER = ("d_prime", "lwlrap", "mAP", "auc")


@gin.configurable(module="selection")
def select(
    results: pd.DataFrame, checkpoints: Sequence[tuple[int, str]], metric: str = DEFAULT_METRIC
) -> dict:
    """Picks the checkpoint of highest `metric`; of equals the earliest.

    Args:
      results: rows of step, set, metric, value.
      checkpoints: (step, path) of those that still exist; only they can be picked.
      metric: "<set>/<metric>", one of which more is better.

    Returns:
      step, checkpoint (below the workdir), set, metric, value, the rule in words, candidates (best
      first, those whose files are gone marked) and best_of_each_metric, the separate best that the
      paper reports beside its table.

    Raises:
      errors.InputError: the metric was not measured, or no evaluated checkpoint is left.
    """
    set_name, _, name = metric.partition("/")
    paths = dict(checkpoints)
    results = _ordered(results)
    here = results[results["name"] == metric]
    if here.empty:
        raise _not_measured(metric, results)
    available = here[here["step"].isin(list(paths))]
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
        "rule": f"highest {metric} among {len(available)} checkpoints; of equals the earliest",
        "candidates": [
            {"step": int(s), "value": float(v), "available": int(s) in paths}
            for s, v in zip(here["step"], here["value"], strict=True)
        ],
        "best_of_each_metric": {
            row.name: {"step": int(row.step), "value": float(row.value)}
            for row in results.groupby("name").head(1).itertuples(index=False)
        },
    }


def can_select(results: pd.DataFrame) -> bool:
    """Whether the metric that `select` would take was measured.

    Raises:
      errors.InputError: gin binds another than the default, and that was not measured.
    """
    metric = gin.get_bindings(select).get("metric", DEFAULT_METRIC)
    ordered = _ordered(results)
    found = metric in set(ordered["name"])
    if not found and metric != DEFAULT_METRIC:
        raise _not_measured(metric, ordered)
    return found


def _not_measured(metric: str, ordered: pd.DataFrame) -> errors.InputError:
    names = ", ".join(sorted(set(ordered["name"]))) or "no results"
    return errors.InputError(f"select.metric = {metric!r}: not measured; there are: {names}")


def _ordered(results: pd.DataFrame) -> pd.DataFrame:
    """The metrics of which more is better: name ("<set>/<metric>"), step, value; best first."""
    metric = results["metric"]
    bound = metric.str.endswith("_low") | metric.str.endswith("_high")
    kept = results[metric.str.startswith(_BETTER) & ~bound & np.isfinite(results["value"])]
    kept = kept.assign(name=kept["set"] + "/" + kept["metric"])
    return kept.sort_values(["name", "value", "step"], ascending=[True, False, True])


def write(workdir: str, selected: dict) -> None:
    """Writes `selection.json`, so that no reader sees half of it."""
    checkpoints.write_json(pathlib.Path(workdir) / checkpoints.SELECTION_FILE, selected)


def read(workdir: str) -> dict | None:
    """What `write` wrote; None where nothing is selected."""
    path = pathlib.Path(workdir) / checkpoints.SELECTION_FILE
    if not path.exists():
        return None
    try:
        selected = json.loads(path.read_text())
        return selected | {"step": int(selected["step"])}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path}: no selection: {error}") from error
