"""What TensorBoard shows of an evaluation.

It sorts groups of tags by their names, upper case first, so the names put first what is read first:

    Eval/strong_d_prime           and strong_lwlrap, weak_d_prime, weak_lwlrap: the first cards
    Training/loss, learning_rate  of `training.monitoring`
    Validation/strong_d_prime     and the others; each eval set has such a group
    details, inputs, memory, run  of `training.monitoring`
    strong_eval/auc, ...          every other metric of a set, its intervals and pictures
"""

import os
from collections.abc import Sequence

import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.hparams import api as hparams_api

from audioset_strong.evaluation import eval_metrics
from audioset_strong.training import monitoring
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.workdirs import CHECKPOINT_DIR, EMA_DIR

METRICS = ("d_prime", "lwlrap")  # that come first


def scalar_tag(set_name: str, metric: str) -> str:
    """The tag of a metric.

    >>> scalar_tag("strong_eval", "d_prime"), scalar_tag("strong_eval", "auc")
    ('Eval/strong_d_prime', 'strong_eval/auc')

    Args:
      set_name: see `eval_metrics.set_name`.
      metric: a name in results.
    """
    if metric not in METRICS:
        return f"{set_name}/{metric}"
    kind, _, name = set_name.partition("_")
    return f"{_group(name)}/{kind}_{metric}"


def _group(name: str) -> str:
    """The group of an eval set; TensorBoard sorts upper case first."""
    return name[:1].upper() + name[1:]


def write_layout(set_names: Sequence[str], *, intervals: bool) -> None:
    """Writes the layout of the Custom Scalars tab to the default event writer.

    Each metric that comes first is a chart with all runs in it, each with its interval.

    Args:
      set_names: of all sets that are evaluated, in the order of the charts.
      intervals: whether there are intervals.
    """
    categories: dict[str, list[layout_pb2.Chart]] = {}
    for set_name in set_names:
        category = categories.setdefault(_group(set_name.partition("_")[2]), [])
        category += [_chart(set_name, metric, intervals=intervals) for metric in METRICS]
    if intervals:
        # TensorBoard (2.17 to 2.20 at least) shows the charts with margins of a category from the
        # last to the first, and those with lines as they are given.
        for category in categories.values():
            category.reverse()
    tags = [monitoring.scalar_tag(name) for name in monitoring.FIRST]
    training = categories.setdefault("Training", [])
    training += [_lines(tag.partition("/")[2], tag) for tag in tags]
    layout = layout_pb2.Layout(
        category=[layout_pb2.Category(title=t, chart=charts) for t, charts in categories.items()]
    )
    serialized = custom_scalar.pb(layout).SerializeToString()
    tf.summary.experimental.write_raw_pb(serialized, step=0)


def _chart(set_name: str, metric: str, *, intervals: bool) -> layout_pb2.Chart:
    title = _title(set_name, metric)
    tag = scalar_tag(set_name, metric)
    if not intervals:
        return _lines(title, tag)
    series = layout_pb2.MarginChartContent.Series(
        value=tag,
        lower=scalar_tag(set_name, f"{metric}_low"),
        upper=scalar_tag(set_name, f"{metric}_high"),
    )
    margin = layout_pb2.MarginChartContent(series=[series])
    return layout_pb2.Chart(title=f"{title}, 95% interval", margin=margin)


def _title(set_name: str, metric: str) -> str:
    return f"{eval_metrics.display_name(set_name)} {eval_metrics.metric_title(metric)}"


def _lines(title: str, tag: str) -> layout_pb2.Chart:
    multiline = layout_pb2.MultilineChartContent(tag=[f"{tag}$"])  # a regular expression
    return layout_pb2.Chart(title=title.replace("_", " "), multiline=multiline)


def write_hparams(directory: str, run: RunInfo, set_names: Sequence[str]) -> None:
    """Writes what a run is to the default event writer, for the HParams tab.

    Args:
      directory: of its results, which names its line.
      run: its facts.
      set_names: of all sets that are evaluated; their first metrics are shown beside.
    """
    facts: dict[str, float | str | None] = {
        "batch_size": run.batch_size,
        "mu": run.mu,
        "seed": run.seed,
        "sources": " + ".join(source.policy for source in run.sources),
        "start": _start(run.init_from),
        "total_steps": run.total_steps,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    metrics = [
        hparams_api.Metric(scalar_tag(set_name, metric), display_name=_title(set_name, metric))
        for set_name in set_names
        for metric in METRICS
    ]
    hparams_api.hparams_config([hparams_api.HParam(name) for name in facts], metrics)
    hparams_api.hparams(known, trial_id=_line(directory))


def _start(init_from: str | None) -> str:
    """What the weights were started from, short enough for a cell.

    >>> _start("/data/runs/weak_1_8m"), _start("/data/runs/weak_1_8m/checkpoints/step-500")
    ('runs/weak_1_8m', 'weak_1_8m/step-500')
    """
    if init_from is None:
        return "scratch"
    parts = [part for part in init_from.split("/") if part and part != CHECKPOINT_DIR]
    return "/".join(parts[-2:])


def _line(directory: str) -> str:
    """What the line of a run is called: lines of one name would be taken together.

    >>> _line("demo/runs/plus_strong/eval"), _line("sweeps/mu/runs/mu=0.5/eval_ema")
    ('plus_strong (demo)', 'mu=0.5, ema (mu)')
    """
    *before, name, results = os.path.abspath(directory).split(os.sep)
    parent = next((folder for folder in reversed(before) if folder != "runs"), "")
    kind = ", ema" if results == EMA_DIR else ""
    return f"{name}{kind} ({parent})"
