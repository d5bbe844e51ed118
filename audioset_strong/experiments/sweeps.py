"""Sweeps: one model is trained and evaluated at every point of a grid of gin bindings.

Files in the output directory:
    sweep.json       the settings that all points share; a second run must agree with them
    runs/<point>/    a workdir for each point, as train.py and evaluate.py leave it
    logs/            the output of the runs; of a remote sweep it stays on this machine
    results.csv      a row for each point, set and metric: the point's selected checkpoint
    selection.json   the point and checkpoint selected on validation data (section 4.1)
    fig3.png         curves over the share of strong clips; <setting>_sweep.png for other settings
    hparams/         for TensorBoard
"""

import ast
import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence

import pandas as pd
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from audioset_strong.analysis import sweep_figures, sweep_tables
from audioset_strong.analysis.sweep_tables import RESULTS_FILE, SEED
from audioset_strong.configuration import gin_files, training_bindings
from audioset_strong.core import drawing, errors, files, jobs
from audioset_strong.evaluation import dashboard, eval_sets, held_out, selection
from audioset_strong.evaluation.results import read_results
from audioset_strong.evaluation.settings import EvaluationSettings
from audioset_strong.experiments import claiming, tool_imports

SETTINGS_FILE = "sweep.json"
RUNS_DIR = "runs"
_EXAMPLE = "weak_strong_mixture.mu = 0.0, 0.5, 1.0"
_PLAIN = re.compile(r"[A-Za-z0-9._=,+-]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """The settings of a sweep; the fields are the flags of `tools/sweep.py`.

    Attributes:
      output_dir: where everything is written.
      vary: gin binding -> its values, in gin's syntax; every combination is a point.
      data_dir: see train.py.
      gin_files: see train.py; the same for all points.
      gin_params: see train.py; the same for all points.
      init_from: see train.py.
      eval_data: see evaluate.py.
      validation_data: see evaluate.py; points are compared on it.
      metric: "<set>/<metric>" by which checkpoints and points are selected.
      framed_tsvs: see evaluate.py.
      select_on: see evaluate.py.
    """

    output_dir: str
    vary: Mapping[str, Sequence[str]]
    data_dir: str
    gin_files: tuple[str, ...] = ()
    gin_params: tuple[str, ...] = ()
    init_from: str | None = None
    eval_data: tuple[str, ...] = ()
    validation_data: tuple[str, ...] = ()
    metric: str = selection.DEFAULT_METRIC
    framed_tsvs: tuple[str, ...] = ()
    select_on: str | None = None

    def points(self) -> list[dict[str, str]]:
        """All combinations of the values; the last binding varies fastest."""
        return [
            dict(zip(self.vary, values, strict=True))
            for values in itertools.product(*self.vary.values())
        ]


def parse_vary(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads the values of --vary.

    Args:
      texts: each a binding and its values, such as "weak_strong_mixture.mu = 0.0, 0.5, 1.0".

    Returns:
      Binding -> its values in gin's syntax.

    Raises:
      errors.InputError: a binding or its values are missing or malformed, or occur twice.

    Example:
      >>> parse_vary(["train.seed = 0, 1", "single_source.policy = 'weak', 'strong'"])
      {'train.seed': ('0', '1'), 'single_source.policy': ("'weak'", "'strong'")}
    """
    vary: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, listed = (part.strip() for part in text.partition("="))
        try:
            # Read as a tuple, because commas inside quotes or brackets do not separate values.
            values = tuple(repr(value) for value in ast.literal_eval(f"({listed},)"))
        except (ValueError, SyntaxError):
            values = ()
        if not re.fullmatch(r"[\w./]+\.\w+", name) or not values:
            raise errors.InputError(
                f"--vary {text!r}: must be like {_EXAMPLE!r}, with strings in quotes"
            )
        if name in vary or len(set(values)) < len(values):
            raise errors.InputError(f"--vary {text!r}: a binding or a value is given twice")
        vary[name] = values
    if not vary:
        raise errors.InputError(f"nothing to vary: give --vary={_EXAMPLE!r}")
    return vary


def point_name(point: Mapping[str, str]) -> str:
    """A directory name that describes a point.

    Args:
      point: binding -> its value, in gin's syntax.

    Raises:
      errors.InputError: the values cannot be part of a directory name.

    Example:
      >>> point_name({"weak_strong_mixture.mu": "0.5", "train.seed": "1"})
      'mu=0.5,seed=1'
    """
    name = ",".join(f"{key.rpartition('.')[2]}={ast.literal_eval(v)}" for key, v in point.items())
    if not _PLAIN.fullmatch(name):
        raise errors.InputError(
            f"--vary: {name!r} cannot be the name of a directory; define such values as macros in "
            "a gin file"
        )
    return name


def commands(sweep: Sweep) -> list[jobs.Job]:
    """The jobs of all points: for each of them a training and its evaluation.

    Raises:
      errors.InputError: see `point_name`.
    """
    listed = []
    for point in sweep.points():
        name = point_name(point)
        workdir = files.place(sweep.output_dir) / RUNS_DIR / name
        train = jobs.tool_command("train", *_train_flags(sweep, point, workdir=workdir))
        evaluate = jobs.tool_command("evaluate", *_evaluate_flags(sweep, workdir))
        listed.append(jobs.Job(f"train {name}", train, cost=4))
        listed.append(jobs.Job(f"evaluate {name}", evaluate, (f"train {name}",)))
    return listed


def _train_flags(sweep: Sweep, point: Mapping[str, str], *, workdir: files.Place) -> list[str]:
    return [
        f"--workdir={workdir}",
        f"--data_dir={sweep.data_dir}",
        *([f"--init_from={sweep.init_from}"] if sweep.init_from else []),
        *(f"--gin_file={path}" for path in sweep.gin_files),
        *(f"--gin_param={binding}" for binding in sweep.gin_params),
        *(f"--gin_param={binding} = {value}" for binding, value in point.items()),
    ]


def _evaluate_flags(sweep: Sweep, workdir: files.Place) -> list[str]:
    return [
        f"--workdir={workdir}",
        *(f"--eval_data={path}" for path in sweep.eval_data),
        *(f"--validation_data={path}" for path in sweep.validation_data),
        *(f"--framed_tsv={path}" for path in sweep.framed_tsvs),
        *([f"--select_on={sweep.select_on}"] if sweep.select_on else []),
        f'--gin_param=select.metric = "{sweep.metric}"',
        "--run_once",
    ]


def check_bindings(sweep: Sweep) -> None:
    """Checks the gin files and bindings of every point, before the first run begins.

    Raises:
      errors.InputError: a binding is malformed, unknown, missing or without effect; the message
        names it.
    """
    for point in sweep.points():
        params = [f"{binding} = {value}" for binding, value in point.items()]
        gin_files.parse(sweep.gin_files, [*sweep.gin_params, *params])
        run = training_bindings.training_run(sweep.data_dir)
        run.settings.check_start(sweep.init_from)
        training_bindings.check_functions(run)


def run(sweep: Sweep, max_parallel: int = 1) -> pd.DataFrame:
    """Runs what has not been done yet, then collects the results of all points.

    Args:
      sweep: the settings.
      max_parallel: how many trainings and evaluations run at a time.

    Returns:
      See `collect`.

    Raises:
      errors.InputError: the settings are wrong, the directory holds another sweep, or a run failed.
    """
    if not (sweep.validation_data or sweep.select_on):
        raise errors.InputError("no --validation_data: points cannot be compared on the eval set")
    _check_held_out(sweep)
    out = files.place(sweep.output_dir)
    listed = commands(sweep)
    settings = dataclasses.asdict(sweep)
    del settings["output_dir"], settings["vary"]  # points may be added later
    claiming.claim_directory(out, SETTINGS_FILE, settings=settings, experiment="sweep")
    jobs.run(
        listed,
        _state_directory(sweep.output_dir),
        max_parallel=max_parallel,
        preload=tool_imports.PRELOAD,
    )
    table = collect(sweep)
    with files.writing(out):
        files.write_text(out / RESULTS_FILE, table.to_csv(index=False))
        selection.write(sweep.output_dir, select(sweep, table))
    return table


def _metric(sweep: Sweep) -> str:
    """The metric that is asked for."""
    return EvaluationSettings(select_metric=sweep.metric, select_on=sweep.select_on).metric


def _check_held_out(sweep: Sweep) -> None:
    """Raises where points would be compared on data that are not held out, nor asked for."""
    sets = {"eval": sweep.eval_data, "validation": sweep.validation_data}
    opened = {
        name: eval_sets.open_eval_set(name, paths).measured_on()
        for name, paths in sets.items()
        if paths
    }
    held_out.check_selection(
        _metric(sweep), opened, (), workdir=sweep.output_dir, select_on=sweep.select_on
    )


def _state_directory(output_dir: str) -> pathlib.Path:
    """Where the jobs of a sweep have their logs: in it, or on this machine for a remote one."""
    if not files.is_remote(output_dir):
        return pathlib.Path(output_dir) / "logs"
    name = hashlib.sha256(output_dir.rstrip("/").encode()).hexdigest()[:12]
    return pathlib.Path(tempfile.gettempdir()) / f"audioset_strong_sweep_{name}"


def collect(sweep: Sweep) -> pd.DataFrame:
    """Reads the metrics of each point's selected checkpoint.

    Returns:
      run, a column for each binding (numeric if all its values are), step, set, metric, value.

    Raises:
      errors.InputError: a point has no selected checkpoint.
    """
    results = [_point_results(sweep, point) for point in sweep.points()]
    return pd.concat(results, ignore_index=True)


def _point_results(sweep: Sweep, point: Mapping[str, str]) -> pd.DataFrame:
    name = point_name(point)
    workdir = str(files.place(sweep.output_dir) / RUNS_DIR / name)
    results = read_results(workdir)
    selected = selection.read(workdir)
    if selected is None:
        raise errors.InputError(f"{workdir}: no checkpoint is selected; evaluate it again")
    rows = results[results["step"] == selected["step"]].copy()
    rows.insert(0, "run", name)
    for i, (binding, value) in enumerate(point.items(), 1):
        rows.insert(i, binding, ast.literal_eval(value))
    return rows


def select(sweep: Sweep, table: pd.DataFrame) -> dict:
    """Selects the point and checkpoint with the highest validation metric (section 4.1).

    Points that differ only in the seed are compared by their mean. Of the best point, the seed with
    the highest value is selected.

    Args:
      sweep: the settings.
      table: see `collect`.

    Returns:
      workdir (relative to the output directory), step, set, metric, value, the rule in words, and
      candidates: bindings, mean and number of seeds of every point, best first.
    """
    measured_metric = selection.measured_metric(table, _metric(sweep))
    if measured_metric is None:
        raise errors.InputError(f"{sweep.output_dir}: {_metric(sweep)} was not measured")
    set_name, _, metric = measured_metric.partition("/")
    measured = table[(table["set"] == set_name) & (table["metric"] == metric)]
    by = [binding for binding in sweep.vary if binding != SEED] or ["run"]
    grouped = measured.groupby(by, sort=False, dropna=False)["value"]
    means = grouped.agg(["mean", "count"]).reset_index()
    means = means.sort_values("mean", ascending=False, kind="stable")
    seeds = measured.merge(means.iloc[[0]][by], on=by)
    best = seeds.sort_values("value", ascending=False).iloc[0]
    return {
        "workdir": f"{RUNS_DIR}/{best['run']}",
        "step": int(best["step"]),
        "set": set_name,
        "metric": metric,
        "value": float(best["value"]),
        "rule": f"highest {measured_metric}, mean over seeds, among {len(means)} points; of the "
        "best point the seed with the highest value",
        "candidates": json.loads(means.to_json(orient="records")),
    }


def draw(sweep: Sweep, table: pd.DataFrame) -> list[files.Place]:
    """Draws d' and lwlrap of every set against the varied setting; see `sweep_figures.draw`.

    Args:
      sweep: the settings.
      table: see `collect`.

    Returns:
      The file written; an empty list if no binding has several numeric values.
    """
    results = sweep_tables.sweep_results(sweep.output_dir, table, selected=select(sweep, table))
    if not results.figure_name:
        return []
    path = files.place(sweep.output_dir) / f"{results.figure_name}.png"
    drawing.save(sweep_figures.draw([results]), path)
    return [path]


def write_hparams(sweep: Sweep, table: pd.DataFrame) -> None:
    """Writes the bindings and metrics of every run for TensorBoard's HParams tab.

    Args:
      sweep: the settings.
      table: see `collect`.
    """
    root = files.place(sweep.output_dir) / "hparams"
    files.remove_tree(root)  # TensorBoard would show what an earlier call wrote as well
    for name, rows in sweep_tables.shown(table).groupby("run", sort=False):
        with tf.summary.create_file_writer(str(root / str(name))).as_default():
            bindings = {binding: rows.iloc[0][binding] for binding in sweep.vary}
            plain = {k: v.item() if hasattr(v, "item") else v for k, v in bindings.items()}
            hparams_api.hparams(plain, trial_id=str(name))
            for row in rows.itertuples(index=False):
                tag = dashboard.scalar_tag(str(row.set), str(row.metric))
                tf.summary.scalar(tag, row.value, step=row.step)
