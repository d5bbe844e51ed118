"""How checkpoints are evaluated, as one value."""

import dataclasses

from audioset_strong.core import choices, errors
from audioset_strong.evaluation import score_files, selection
from audioset_strong.labels import framing


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How checkpoints are evaluated.

    >>> EvaluationSettings(intervals=False).select_metric
    'strong_validation/d_prime'

    Attributes:
      propagate_to_ancestors: whether positive labels imply those of their ancestors in the ontology
        (the paper's label smearing).
      framing_rule: of the strong labels, see `framing.frame_labels`.
      negative_weighting: "pooled" or "equal", how explicit and complementary negatives are mixed in
        the strong eval, see `eval_metrics`.
      batch_size: clips scored at a time, ten patches each.
      cache_clips: datasets of at most this many clips are kept in memory as log-mel, 246 kB a clip.
      intervals: whether to compute 95% intervals, see `intervals`, and to keep what comparisons of
        runs need, see `left_out_files`.
      save_scores: "npz" or "parquet" to keep all scores; None to keep none.
      plot_classes: classes whose ROC and precision-recall curves are drawn, by mid or display name.
      select_metric: "<set>/<metric>" that a checkpoint is selected by; the default one may be
        missing, in which case nothing is selected.
      select_on: a set to select on although it is not held-out validation data, such as
        "strong_eval", see `held_out`; its d' takes the place of the default metric.

    Raises:
      errors.InputError: a setting out of range.
    """

    propagate_to_ancestors: bool = False
    framing_rule: str = framing.RELEASED
    negative_weighting: str = choices.POOLED
    batch_size: int = 16
    cache_clips: int = 1000
    intervals: bool = True
    save_scores: str | None = None
    plot_classes: tuple[str, ...] = ()
    select_metric: str = selection.DEFAULT_METRIC
    select_on: str | None = None

    @property
    def metric(self) -> str:
        """The metric that a checkpoint is selected by.

        >>> EvaluationSettings(select_on="strong_eval").metric
        'strong_eval/d_prime'
        """
        if self.select_on and self.select_metric == selection.DEFAULT_METRIC:
            return f"{self.select_on}/d_prime"
        return self.select_metric

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("cache_clips", 0)):
            errors.check_whole_number(f"evaluate_workdirs.{name}", getattr(self, name), least=least)
        for name in ("propagate_to_ancestors", "intervals"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "True or False")
        framing.check_rule(self.framing_rule, "evaluate_workdirs.framing_rule")
        if self.negative_weighting not in choices.NEGATIVE_WEIGHTINGS:
            known = ", ".join(choices.NEGATIVE_WEIGHTINGS)
            raise _wrong("negative_weighting", self.negative_weighting, f"one of {known}")
        if self.save_scores not in (None, *score_files.FORMATS):
            formats = ", ".join(score_files.FORMATS)
            raise _wrong("save_scores", self.save_scores, f"one of {formats}")
        if self.select_on and self.metric.partition("/")[0] != self.select_on:
            right = f"the set of select.metric = {self.select_metric!r}"
            raise _wrong("select_on", self.select_on, right)
        object.__setattr__(self, "plot_classes", tuple(self.plot_classes))


def _wrong(name: str, value: object, right: str) -> errors.InputError:
    return errors.InputError(f"evaluate_workdirs.{name} = {value!r}: must be {right}")


DEFAULT_SETTINGS = EvaluationSettings()
