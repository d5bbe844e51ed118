"""What gin can bind for evaluate.py: `evaluate_workdirs.*` and `select.metric`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gin

from audioset_strong.configuration import bindings
from audioset_strong.evaluation import selection
from audioset_strong.evaluation.settings import EvaluationSettings


@dataclasses.dataclass(frozen=True)
class _Bindable(EvaluationSettings):
    """All that `evaluate_workdirs.*` binds: the settings, and the arguments beside them.

    Attributes:
      eval_sets: name -> dataset directory or directories; see `--eval_data`, `--validation_data`.
      framed_tsvs: name of an eval set -> framed TSVs that replace its strong labels.
      ema: whether to evaluate the moving average of the weights.
      checkpoint: the only checkpoint to evaluate, by its path or its name such as "step-500".
      run_once: whether to stop after evaluating the checkpoints that are there.
      timeout_s: seconds without a new checkpoint after which following ends; None waits on.
    """

    eval_sets: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
    framed_tsvs: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
    ema: bool = False
    checkpoint: str | None = None
    run_once: bool = False
    timeout_s: float | None = None


_evaluate_workdirs = bindings.register(
    _Bindable, "evaluate_workdirs", module="following", denylist=["select_metric"]
)
_select = bindings.register(
    selection.select, "select", module="selection", denylist=["results", "checkpoints", "held_out"]
)


def evaluation_arguments(**given: Any) -> dict[str, Any]:
    """The arguments of `following.evaluate_workdirs` besides the workdirs.

    Args:
      **given: fields of `EvaluationSettings`, or arguments of `evaluate_workdirs`, that take
        precedence over the bindings; None leaves one to its binding or its default.

    Raises:
      errors.InputError: a setting out of range.
    """
    metric = gin.get_bindings(_select).get("metric", selection.DEFAULT_METRIC)
    chosen = {name: value for name, value in given.items() if value is not None}
    with bindings.one_line():
        bound = _evaluate_workdirs(select_metric=metric, **chosen)
    values = {field.name: getattr(bound, field.name) for field in dataclasses.fields(bound)}
    settings = {
        field.name: values.pop(field.name) for field in dataclasses.fields(EvaluationSettings)
    }
    return values | {"settings": EvaluationSettings(**settings)}
