"""How checkpoints are evaluated, as one value."""

import dataclasses

from audioset_strong.core import errors
from audioset_strong.evaluation import score_files, selection
from audioset_strong.labels import framing


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How checkpoints are evaluated.

    >>> EvaluationSettings(bootstrap_replicates=0).select_metric
    'strong_validation/d_prime'

    Attributes:
      propagate_to_ancestors: whether positive labels imply those of their ancestors in the ontology
        (the paper's label smearing).
      framing_rule: of the strong labels, see `framing.frame_labels`.
      batch_size: clips scored at a time, ten patches each.
      cache_clips: datasets of at most this many clips are kept in memory as log-mel, 246 kB a clip.
      bootstrap_replicates: of the confidence intervals; 0 for none.
      save_scores: "npz" or "parquet" to keep all scores; None to keep none.
      plot_classes: classes whose ROC and precision-recall curves are drawn, by mid or display name.
      select_metric: "<set>/<metric>" that a checkpoint is selected by; the default one may be
        missing, in which case nothing is selected.

    Raises:
      errors.InputError: a setting out of range.
    """

    propagate_to_ancestors: bool = False
    framing_rule: str = framing.RELEASED
    batch_size: int = 16
    cache_clips: int = 1000
    bootstrap_replicates: int = 200
    save_scores: str | None = None
    plot_classes: tuple[str, ...] = ()
    select_metric: str = selection.DEFAULT_METRIC

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("cache_clips", 0), ("bootstrap_replicates", 0)):
            errors.check_whole_number(f"evaluate_workdirs.{name}", getattr(self, name), least=least)
        if not isinstance(self.propagate_to_ancestors, bool):
            raise _wrong("propagate_to_ancestors", self.propagate_to_ancestors, "True or False")
        framing.check_rule(self.framing_rule, "evaluate_workdirs.framing_rule")
        if self.save_scores not in (None, *score_files.FORMATS):
            formats = ", ".join(score_files.FORMATS)
            raise _wrong("save_scores", self.save_scores, f"one of {formats}")
        object.__setattr__(self, "plot_classes", tuple(self.plot_classes))


def _wrong(name: str, value: object, right: str) -> errors.InputError:
    return errors.InputError(f"evaluate_workdirs.{name} = {value!r}: must be {right}")


DEFAULT_SETTINGS = EvaluationSettings()
