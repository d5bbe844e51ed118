"""Which checkpoint stands for a model: the best one on held-out validation clips (section 4.1)."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

import gin
from audioset_strong import errors

FILE_NAME = "selection.json"
DEFAULT_METRIC = "strong_validation/d_prime"


@gin.configurable(module="selection")
def select(
    results: pd.DataFrame, checkpoints: Sequence[tuple[int, str]], metric: str = DEFAULT_METRIC
) -> dict:
    """Picks the checkpoint of highest `metric`; of equals the earliest.

    Args:
      results: rows of step, set, metric, value.
      checkpoints: (step, path) of those that still exist; only they can be picked.
      metric: "<set>/<metric>".

    Returns:
      step, checkpoint (below the workdir), set, metric, value, the rule in words, candidates (best
      first, those whose files are gone marked) and best_of_each_metric, the separate best that the
      paper reports beside its table. Where the metric is undefined at every step (no usable class)
      the last checkpoint is picked, and the rule says so.

    Raises:
      errors.InputError: the metric was not measured, or no evaluated checkpoint is left.
    """
    set_name, _, name = metric.partition("/")
    paths = dict(checkpoints)
    results = results[np.isfinite(results["value"])]
    measured = results["set"] + "/" + results["metric"]
    here = results[measured == metric].sort_values(
        ["value", "step"], ascending=[False, True], kind="stable"
    )
    if here.empty:
        raise errors.InputError(
            f"selection by {metric}: not measured; there are: "
            f"{', '.join(sorted(measured.unique())) or 'no results'}"
        )
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
        "best_of_each_metric": _best_of_each(results),
    }


def _best_of_each(results: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The best step and value of every metric for which more is better, named "<set>/<metric>"."""
    best = {}
    for (set_name, name), rows in results.groupby(["set", "metric"]):
        if not str(name).startswith(("d_prime", "lwlrap", "mAP", "auc")):
            continue
        if str(name).endswith(("_low", "_high")):
            continue
        row = rows.sort_values(["value", "step"], ascending=[False, True]).iloc[0]
        best[f"{set_name}/{name}"] = {"step": int(row["step"]), "value": float(row["value"])}
    return best


def write(workdir: str, selected: dict) -> None:
    """Writes `selection.json`, by rename."""
    path = pathlib.Path(workdir) / FILE_NAME
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(selected, indent=1) + "\n")
    temporary.replace(path)


def read(workdir: str) -> dict | None:
    """What `write` wrote; None where nothing is selected."""
    path = pathlib.Path(workdir) / FILE_NAME
    if not path.exists():
        return None
    try:
        selected = json.loads(path.read_text())
        return selected | {"step": int(selected["step"])}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path}: no selection: {error}") from error
