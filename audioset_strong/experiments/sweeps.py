"""Sweeps: one model trained and evaluated at every point of a grid of gin bindings.

Written to the output directory:
    sweep.json       what is swept; a second run must agree with it, and goes on
    runs/<point>/    a workdir each, as train.py and evaluate.py leave it
    logs/            the runs' output
    results.csv      one row a point, set and metric, of the point's selected checkpoint
    selection.json   the point and checkpoint picked on validation data (section 4.1)
    fig3.png over the share of strong clips, <setting>_sweep.png over another one
    hparams/         for TensorBoard
"""

import ast
import dataclasses
import itertools
import json
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence

import pandas as pd
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api

from audioset_strong.analysis import sweep_figures, tables
from audioset_strong.analysis.sweep_figures import RESULTS_FILE, SEED
from audioset_strong.configuration import gin_files
from audioset_strong.core import drawing, errors, jobs
from audioset_strong.evaluation import evaluator, selection
from audioset_strong.training import loop

SETTINGS_FILE = "sweep.json"
RUNS_DIR = "runs"
_PLAIN = re.compile(r"[A-Za-z0-9._=,+-]+")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What to run; the fields are the flags of `tools/sweep.py`.

    Attributes:
      output_dir: of everything.
      vary: gin binding -> the values it takes, as gin writes them; every combination is a point.
      data_dir: as train.py's.
      gin_files, gin_params: as train.py's, common to all points.
      init_from: as train.py's.
      eval_data, validation_data: as evaluate.py's.
      metric: "<set>/<metric>" that points and checkpoints are picked by.
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

    def points(self) -> list[dict[str, str]]:
        """The combinations, the last binding varying fastest."""
        return [
            dict(zip(self.vary, values, strict=True))
            for values in itertools.product(*self.vary.values())
        ]


def parse_vary(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads "weak_strong_mixture.mu = 0.0, 0.5, 1.0".

    Raises:
      errors.InputError: no binding, no value, or one of either twice.
    """
    vary: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, listed = (part.strip() for part in text.partition("="))
        try:
            # As a tuple, so that commas inside quotes or brackets separate nothing.
            values = tuple(repr(value) for value in ast.literal_eval(f"({listed},)"))
        except (ValueError, SyntaxError):
            values = ()
        if not re.fullmatch(r"[\w./]+\.\w+", name) or not values:
            raise errors.InputError(
                f"--vary {text!r}: must be like 'weak_strong_mixture.mu = 0.0, 0.5, 1.0', strings in quotes"
            )
        if name in vary or len(set(values)) < len(values):
            raise errors.InputError(f"--vary {text!r}: a binding or a value stands there twice")
        vary[name] = values
    if not vary:
        raise errors.InputError(
            "nothing to vary: give --vary='weak_strong_mixture.mu = 0.0, 0.5, 1.0'"
        )
    return vary


def point_name(point: Mapping[str, str]) -> str:
    """A directory name that tells the point: "mu=0.5,seed=1".

    Raises:
      errors.InputError: values that make no directory name.
    """
    name = ",".join(f"{key.rpartition('.')[2]}={ast.literal_eval(v)}" for key, v in point.items())
    if not _PLAIN.fullmatch(name):
        raise errors.InputError(
            f"--vary: {name!r} makes no directory name; put such values into a gin file as macros"
        )
    return name


def commands(sweep: Sweep) -> list[jobs.Job]:
    """The jobs of all points: a training each, and its evaluation."""
    runs = pathlib.Path(sweep.output_dir) / RUNS_DIR
    listed = []
    for point in sweep.points():
        name = point_name(point)
        train = jobs.tool_command(
            "train",
            f"--workdir={runs / name}",
            f"--data_dir={sweep.data_dir}",
            *([f"--init_from={sweep.init_from}"] if sweep.init_from else []),
            *(f"--gin_file={path}" for path in sweep.gin_files),
            *(f"--gin_param={binding}" for binding in sweep.gin_params),
            *(f"--gin_param={binding} = {value}" for binding, value in point.items()),
        )
        evaluate = jobs.tool_command(
            "evaluate",
            f"--workdir={runs / name}",
            *(f"--eval_data={path}" for path in sweep.eval_data),
            *(f"--validation_data={path}" for path in sweep.validation_data),
            f'--gin_param=select.metric = "{sweep.metric}"',
            "--run_once",
        )
        listed.append(jobs.Job(f"train {name}", train, cost=4))
        listed.append(jobs.Job(f"evaluate {name}", evaluate, (f"train {name}",)))
    return listed


def check_bindings(sweep: Sweep) -> None:
    """Checks that every point's gin files and bindings parse, before the first run begins.

    Raises:
      errors.InputError: naming the binding.
    """
    for point in sweep.points():
        params = [f"{binding} = {value}" for binding, value in point.items()]
        params.append(f"train.data_dir = {sweep.data_dir!r}")
        gin_files.parse(sweep.gin_files, [*sweep.gin_params, *params])
        loop.check_bindings()


def run(sweep: Sweep, max_parallel: int = 1) -> pd.DataFrame:
    """Runs what is not done yet, then collects everything.

    Args:
      sweep: what to run.
      max_parallel: trainings and evaluations at a time.

    Returns:
      What `collect` returns.

    Raises:
      errors.InputError: bad settings, a directory that holds another sweep, a run that failed.
    """
    if not sweep.validation_data:
        raise errors.InputError("no --validation_data: points cannot be compared on the eval set")
    out = pathlib.Path(sweep.output_dir)
    listed = commands(sweep)
    _claim(out, sweep)
    jobs.run(listed, out / "logs", max_parallel)
    table = collect(sweep)
    temporary = out / (RESULTS_FILE + ".tmp")
    table.to_csv(temporary, index=False)
    temporary.replace(out / RESULTS_FILE)
    selection.write(sweep.output_dir, select(sweep, table))
    return table


def _claim(out: pathlib.Path, sweep: Sweep) -> None:
    path = out / SETTINGS_FILE
    settings = dataclasses.asdict(sweep)
    del settings["output_dir"], settings["vary"]  # more points may be added to a sweep
    wanted = json.dumps(settings, indent=1) + "\n"
    if path.exists():
        if path.read_text() != wanted:
            raise errors.InputError(
                f"{out} holds a sweep of other settings ({path.name}); take another --output_dir"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise errors.InputError(f"{out} holds something else; take another --output_dir")
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted)
    except OSError as error:
        raise errors.InputError(f"cannot write to {out}: {error.strerror}") from error


def collect(sweep: Sweep) -> pd.DataFrame:
    """The metrics of each point's selected checkpoint.

    Returns:
      run, a column for each binding (numbers where all its values are), step, set, metric, value.
    """
    tables = []
    for point in sweep.points():
        name = point_name(point)
        workdir = str(pathlib.Path(sweep.output_dir) / RUNS_DIR / name)
        results = evaluator.read_results(workdir)
        picked = selection.read(workdir)
        if picked is None:
            raise errors.InputError(f"{workdir}: no checkpoint is selected; evaluate it again")
        chosen = results[results["step"] == picked["step"]].copy()
        chosen.insert(0, "run", name)
        for i, (binding, value) in enumerate(point.items(), 1):
            chosen.insert(i, binding, ast.literal_eval(value))
        tables.append(chosen)
    return pd.concat(tables, ignore_index=True)


def select(sweep: Sweep, table: pd.DataFrame) -> dict:
    """The point and checkpoint of highest validation metric (section 4.1).

    Points that differ in the seed alone are compared by their mean; of the best ones the seed with
    the highest value stands for them.

    Args:
      sweep: what was run.
      table: what `collect` returned.

    Returns:
      workdir (below the output directory), step, set, metric, value, the rule in words, and
      candidates: every point's bindings, mean and number of seeds, best first.
    """
    set_name, _, metric = sweep.metric.partition("/")
    here = table[(table["set"] == set_name) & (table["metric"] == metric)]
    bindings = [binding for binding in sweep.vary if binding != SEED]
    by = bindings or ["run"]
    grouped = here.groupby(by, sort=False, dropna=False)["value"]
    means = grouped.agg(["mean", "count"]).reset_index()
    means = means.sort_values("mean", ascending=False, kind="stable")
    best = here.merge(means.iloc[[0]][by], on=by).sort_values("value", ascending=False).iloc[0]
    return {
        "workdir": f"{RUNS_DIR}/{best['run']}",
        "step": int(best["step"]),
        "set": set_name,
        "metric": metric,
        "value": float(best["value"]),
        "rule": f"highest {sweep.metric}, mean over seeds, among {len(means)} points; of the best "
        "point the seed with the highest value",
        "candidates": json.loads(means.to_json(orient="records")),
    }


def draw(sweep: Sweep, table: pd.DataFrame) -> list[pathlib.Path]:
    """Draws d' and lwlrap of every set against what is swept, see `sweep_figures.draw`.

    Returns:
      The file written; none where no binding has several numeric values.
    """
    results = sweep_figures.of(sweep.output_dir, table, select(sweep, table))
    if not results.figure_name:
        return []
    path = pathlib.Path(sweep.output_dir) / f"{results.figure_name}.png"
    drawing.save(sweep_figures.draw([results]), path)
    return [path]


def write_hparams(sweep: Sweep, table: pd.DataFrame) -> None:
    """Writes every run's bindings and metrics for TensorBoard's HParams tab, anew each time."""
    root = pathlib.Path(sweep.output_dir) / "hparams"
    shutil.rmtree(root, ignore_errors=True)
    kept = table[table["metric"].isin(tables.METRICS)]
    for name, rows in kept.groupby("run", sort=False):
        with tf.summary.create_file_writer(str(root / str(name))).as_default():
            bindings = {binding: rows.iloc[0][binding] for binding in sweep.vary}
            plain = {k: v.item() if hasattr(v, "item") else v for k, v in bindings.items()}
            hparams_api.hparams(plain, trial_id=str(name))
            for row in rows.itertuples(index=False):
                tf.summary.scalar(f"{row.set}/{row.metric}", row.value, step=row.step)
