"""Whether an eval set may serve for selection: held-out clips, neither trained on nor reported."""

from collections.abc import Collection, Mapping

from audioset_strong.core import errors
from audioset_strong.evaluation import eval_metrics, selection
from audioset_strong.evaluation.measured_on import MeasuredOn
from audioset_strong.records import dataset_info
from audioset_strong.training.run_info import DatasetFacts

EVAL = "eval"  # the eval set that Table 1 reports


def check_not_trained_on(
    sets: Mapping[str, MeasuredOn], trained_on: Collection[DatasetFacts], *, workdir: str
) -> None:
    """Checks that the eval set is not what a run was trained on.

    Args:
      sets: name of each eval set -> what it is.
      trained_on: the datasets of the run.
      workdir: of the run, for messages.

    Raises:
      errors.InputError: the set "eval" holds a dataset of the run's sources. Under another name it
        may be measured on.
    """
    if EVAL not in sets:
        return
    path = _shared(sets[EVAL], trained_on)
    if path:
        raise errors.InputError(
            f"{workdir}: was trained on {path}, which cannot be its eval set; to measure on it, "
            f"bind evaluate_workdirs.eval_sets = {{'train': {path!r}}}"
        )


def check_selection(
    metric: str,
    sets: Mapping[str, MeasuredOn],
    trained_on: Collection[DatasetFacts],
    *,
    workdir: str,
    select_on: str | None = None,
) -> bool:
    """Checks that there is such a metric, and that its set is held out or asked for by name.

    Args:
      metric: "<set>/<metric>" to select by, one of `eval_metrics.METRICS`.
      sets: name of each eval set -> what it is.
      trained_on: the datasets of the run whose checkpoint is selected.
      workdir: of the run, for messages.
      select_on: a set that is asked for by name, whatever it is.

    Returns:
      Whether the set is held out.

    Raises:
      errors.InputError: it is not, and it is not asked for; there is no such metric; or there is no
        such set, and the metric is not the default one, which may be missing.
    """
    set_name, _, name = metric.partition("/")
    names = {
        eval_metrics.set_name(kind, each): each for kind in eval_metrics.KINDS for each in sets
    }
    if set_name not in names and metric != selection.DEFAULT_METRIC:
        raise errors.InputError(
            f"{workdir}: no set {set_name!r} to select on (select.metric = {metric!r}); there are: "
            f"{', '.join(sorted(names))}"
        )
    if name not in eval_metrics.METRICS:
        raise errors.InputError(
            f"{workdir}: no metric {name!r} to select by (select.metric = {metric!r}); there are: "
            f"{', '.join(sorted(eval_metrics.METRICS))}"
        )
    problem = _problem(names[set_name], sets, trained_on) if set_name in names else None
    if problem and set_name != select_on:
        raise errors.InputError(
            f"{workdir}: selecting on {set_name} would flatter the model: {problem}; give held-out "
            f"clips (audioset_strong_convert --validation_share), or say --select_on={set_name}"
        )
    return problem is None


def _problem(
    name: str, sets: Mapping[str, MeasuredOn], trained_on: Collection[DatasetFacts]
) -> str | None:
    """Why an eval set is not held out, in words; None where it is."""
    if name == EVAL:
        return "it is the eval set"
    measured_on = sets[name]
    path = _shared(measured_on, trained_on)
    if path:
        return f"the run was trained on {path}"
    for dataset in measured_on.datasets:
        if dataset.split != dataset_info.VALIDATION:
            return (
                f"{dataset.path} is of the split {dataset.split!r}, not {dataset_info.VALIDATION!r}"
            )
    path = _shared(measured_on, sets[EVAL].datasets) if EVAL in sets else None
    return f"{path} is the eval set, too" if path else None


def _shared(measured_on: MeasuredOn, others: Collection[DatasetFacts]) -> str | None:
    """The path of the first dataset of an eval set that is among others; None where none is."""
    known = {dataset.fingerprint for dataset in others if dataset.fingerprint}
    return next((each.path for each in measured_on.datasets if each.fingerprint in known), None)
