"""Which point of a sweep is best for each metric, as section 4.1 tells of mu.

The paper picks one mu on validation data, and says where mu fell when each metric was optimized by
itself: at 0.7 to 0.95 for d', at about 0.2 for lwlrap.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from audioset_strong.analysis import paper_table, sweep_tables
from audioset_strong.analysis.sweep_tables import SEED, SweepResults
from audioset_strong.evaluation import eval_metrics

_COLUMNS = ("curve", "set", "metric", "best", "mean", "std", "seeds", "seeds_from", "seeds_to")
_PAPERS_ROWS = {row.name for row in paper_table.ROWS if row.fine_tuned}


def has_optima(results: SweepResults) -> bool:
    """Whether best points are told: of all settings but the share of strong clips (Fig. 3)."""
    return results.figure_name not in ("", sweep_tables.FIG3)


def optima(results: SweepResults) -> pd.DataFrame:
    """Finds the best point of each curve for each set and metric, by the mean over seeds.

    Every set is its own judge here: on an eval set, the best point is better than one that was
    picked on validation data can be expected to be.

    Args:
      results: of a sweep with an axis.

    Returns:
      curve, set, metric; best, the setting with the highest mean (of equal ones the lowest), and
      its mean, std and seeds as in `sweep_tables.summarise`; seeds_from and seeds_to, the lowest
      and the highest setting that is best for a seed by itself, of seeds with all points of the
      curve (NaN where there is none); lowest and highest, the ends of the curve.
    """
    lines = []
    for curve, rows in sweep_tables.curves(results):
        for (set_name, metric), measured in rows.dropna(subset="value").groupby(
            ["set", "metric"], sort=False
        ):
            points = sweep_tables.summarise(measured).sort_values(results.axis)
            best = points.loc[points["mean"].idxmax()]
            own = _best_of_each_seed(measured, results.axis)
            lines.append(
                {
                    "curve": curve,
                    "set": set_name,
                    "metric": metric,
                    "best": best[results.axis],
                    **best[["mean", "std", "seeds"]],
                    "seeds_from": own.min(),
                    "seeds_to": own.max(),
                    "lowest": points[results.axis].min(),
                    "highest": points[results.axis].max(),
                }
            )
    return pd.DataFrame(lines, columns=[*_COLUMNS, "lowest", "highest"])


def _best_of_each_seed(measured: pd.DataFrame, axis: str) -> pd.Series:
    """The best setting of each seed that has all points; a sweep without seeds counts as one."""
    measured = measured.sort_values(axis)
    seeds = measured[SEED] if SEED in measured else pd.Series(0, measured.index)
    complete = [
        rows
        for _, rows in measured.groupby(seeds)
        if rows[axis].nunique() == measured[axis].nunique()
    ]
    return pd.Series([rows.loc[rows["value"].idxmax(), axis] for rows in complete], dtype=float)


def selected_by(sweeps: Sequence[SweepResults]) -> str:
    """The metric and set by which sweeps selected their points, in words."""
    names = (
        f"{each.selection['set'].replace('_', ' ')} "
        f"{eval_metrics.metric_title(each.selection['metric'])}"
        for each in sweeps
    )
    return " or ".join(dict.fromkeys(names))


def table(sweeps: Sequence[SweepResults]) -> pd.DataFrame:
    """Sets the best points for d' and for lwlrap side by side, as text.

    Args:
      sweeps: of one `figure_name`.

    Returns:
      A line for each curve and set. Of mu, the eval sets of the paper's rows have its own optima
      beside ours.
    """
    setting = sweep_tables.short(sweeps[0].axis)
    lines = []
    for results in sweeps:
        found = optima(results)
        for (curve, set_name), rows in found.groupby(["curve", "set"], sort=False):
            by_metric = {_plain(line["metric"]): line for line in rows.to_dict("records")}
            line = {"sweep": curve, "set": str(set_name).replace("_", " ")}
            for metric in paper_table.METRICS:
                title = eval_metrics.metric_title(metric)
                line |= _cells(by_metric.get(metric), f"best {setting} for {title}", title)
            line["apart"] = _apart(by_metric)
            if setting == "mu":
                line |= _paper(results.row, str(set_name))
            lines.append(line)
    return pd.DataFrame(lines)


def _plain(metric: str) -> str:
    """d' for d' on complementary negatives, which stands in its place."""
    return "d_prime" if metric.startswith("d_prime") else metric


def _cells(line: Mapping | None, heading: str, title: str) -> dict[str, str]:
    if line is None:
        return {heading: "-", f"{title}: single seeds": "-", f"{title} there": "-"}
    at_end = line["best"] in (line["lowest"], line["highest"])
    value = f"{line['mean']:.3f}" + (f" ± {line['std']:.3f}" if line["seeds"] > 1 else "")
    if line["metric"] not in paper_table.METRICS:
        value += f" ({eval_metrics.NEGATIVES[line['metric'].removeprefix('d_prime')]})"
    return {
        heading: f"{line['best']:g}" + (" (end)" if at_end else ""),
        f"{title}: single seeds": _range(line["seeds_from"], line["seeds_to"]),
        f"{title} there": value,
    }


def _range(low: float, high: float) -> str:
    if pd.isna(low):
        return "-"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _apart(by_metric: Mapping[str, Mapping]) -> str:
    if len(by_metric) < len(paper_table.METRICS):
        return "-"
    first, second = (by_metric[metric]["best"] for metric in paper_table.METRICS)
    return f"{first - second:.3g}"


def _paper(row: str, set_name: str) -> dict[str, str]:
    told = row in _PAPERS_ROWS and set_name == "strong_eval"
    return {
        f"paper: {eval_metrics.metric_title(metric)}": _range(*paper_table.BEST_MU[metric])
        if told
        else "-"
        for metric in paper_table.METRICS
    }


def note(sweeps: Sequence[SweepResults]) -> str:
    """What the table says, and on which data its points were chosen.

    Args:
      sweeps: of one `figure_name`.
    """
    setting, picked = sweep_tables.short(sweeps[0].axis), selected_by(sweeps)
    sentences = [
        f"Best: the {setting} with the highest mean over seeds (± standard deviation), each chosen "
        "on the set of its own line. On an eval set that flatters the model; a choice can be made "
        "on the validation sets alone.",
        f"The ring is at the point that was selected by {picked}, by which the checkpoint of every "
        "point was selected, too.",
        f"Single seeds: the lowest and the highest {setting} that is best for a seed by itself.",
        f"(end): no lower, or no higher, {setting} was tried.",
        f"Apart: the best {setting} for d' minus that for lwlrap.",
    ]
    if setting == "mu":
        sentences.append(
            "The paper (section 4.1, AudioSet) chooses the checkpoint for each metric, too: mu "
            f"typically fell in {_range(*paper_table.BEST_MU['d_prime'])} for d', and was around "
            f"{_range(*paper_table.BEST_MU['lwlrap'])} for lwlrap."
        )
    return " ".join(sentences)
