"""Sources of training examples: which clips, under which label policy, in which share.

`opened_sources` reads what their datasets hold.
"""

import dataclasses
import numbers
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from audioset_strong.core import errors
from audioset_strong.inputs import policies, weight_schedules
from audioset_strong.inputs.policies import DIFFUSE, PSEUDO_STRONG, STRONG, WEAK
from audioset_strong.inputs.weight_schedules import Weight, WeightSchedule


@dataclasses.dataclass(frozen=True)
class Source:
    """Clips under one label policy, with their share of the training examples.

    >>> Source(("data/train",), "strong").weight
    1.0

    Attributes:
      datasets: dataset directories (each holds a `dataset_info.json`).
      policy: "weak", "diffuse", "strong" or "pseudo_strong", see `policies`.
      weight: share of the examples, relative to the other sources' weights; a `WeightSchedule` if
        it changes over the run.
      mask_unlabelled_classes: whether classes that no clip of this source is labelled with are
        left out of its loss (151 of the 527 weak classes have no strong training label). By
        default they count as negative, as every unlabelled class in the paper.
      propagate_to_ancestors: whether a label implies those of its ancestors in the ontology ("label
        smearing" in the paper); the datasets must have been converted with an ontology.
      video_fraction: share of the videos that is used, in (0, 1]. Videos are chosen by a hash of
        their ids, so a smaller share lies within a larger one (Fig. 3 of the paper).
      balanced: whether clips of rare classes are drawn more often, instead of every clip once an
        epoch. A clip's rate is the sum of 1 / (clips of that class) over its classes, as in the
        balanced sampling of PANNs (https://arxiv.org/abs/1912.10211). Clips without labels are
        never drawn.
      teacher: name of a model that has scored the datasets, see `teacher_scores`; only for weak and
        pseudo-strong labels.
      missing_share: share of the clips without a class, those that the teacher scores highest, in
        which the class is left out of the loss, because its label may be missing; in [0, 1).
      frame_quantile: of pseudo-strong labels, see `teacher_scores.pseudo_strong`; in [0, 1].

    Raises:
      errors.InputError: datasets that are not a list or tuple of names, an unknown policy, a
        weight that is no number, a fraction outside its range, or a teacher that is missing or has
        no effect.
    """

    datasets: tuple[str, ...]
    policy: str
    weight: Weight = 1.0
    mask_unlabelled_classes: bool = False
    propagate_to_ancestors: bool = False
    video_fraction: float = 1.0
    balanced: bool = False
    teacher: str | None = None
    missing_share: float = 0.0
    frame_quantile: float = 0.5

    def __post_init__(self) -> None:
        _check_names("Source.datasets", self.datasets)
        _check_policy("Source.policy", self.policy, policies.POLICIES)
        if not isinstance(self.weight, numbers.Real | WeightSchedule):
            raise errors.InputError(f"Source.weight = {self.weight!r}: must be a number")
        _check_fraction("Source.video_fraction", self.video_fraction)
        self._check_teacher()

    def _check_teacher(self) -> None:
        for name, below in (("missing_share", True), ("frame_quantile", False)):
            value = getattr(self, name)
            right = isinstance(value, int | float) and 0 <= value <= 1
            if not right or (below and value == 1):
                raise errors.InputError(
                    f"{name} = {value!r}: must lie in [0, 1{')' if below else ']'}"
                )
        needed = self.label_policy.needs_teacher or self.missing_share > 0
        if self.teacher is None and needed:
            what = f"missing_share = {self.missing_share}"
            if self.label_policy.needs_teacher:
                what = f"policy = {self.policy!r}"
            raise errors.InputError(
                f"{what}: needs a teacher; let a model score the datasets with "
                "audioset_strong_teach, and bind its name as teacher"
            )
        if self.teacher is not None and self.label_policy.needs is not policies.WEAK_LABELS:
            raise errors.InputError(
                f"teacher = {self.teacher!r}: has no effect on {self.policy} labels, which are "
                "complete; it is for weak and pseudo_strong ones"
            )
        if self.teacher is not None and not needed:
            raise errors.InputError(
                f"teacher = {self.teacher!r}: has no effect on weak labels without a missing_share "
                "such as 0.02"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Source":
        """What `dataclasses.asdict` gave, after its way through JSON."""
        weight = values.get("weight", 1.0)
        if isinstance(weight, Mapping):
            weight = WeightSchedule.from_json(weight)
        return cls(**{**values, "datasets": tuple(values["datasets"]), "weight": weight})

    @property
    def mean_weight(self) -> float:
        """The weight, or its mean over the run."""
        return weight_schedules.mean(self.weight)

    @property
    def label_policy(self) -> policies.Policy:
        """The policy that `policy` names."""
        return policies.POLICIES[self.policy]

    @property
    def name(self) -> str:
        """The datasets, for messages."""
        return ", ".join(self.datasets)


def single_source(
    data_dir: str,
    datasets: Sequence[str],
    *,
    policy: str,
    mask_unlabelled_classes: bool = False,
    propagate_to_ancestors: bool = False,
    video_fraction: float = 1.0,
    balanced: bool = False,
    teacher: str | None = None,
    missing_share: float = 0.0,
    frame_quantile: float = 0.5,
) -> list[Source]:
    """One source: the training sets of Table 1 that are not mixtures.

    >>> [source] = single_source("data", ["train"], policy="strong", video_fraction=0.5)
    >>> source.datasets, source.video_fraction
    (('data/train',), 0.5)

    Args:
      data_dir: directory of the datasets.
      datasets: their names in it.
      policy: see `Source`.
      mask_unlabelled_classes: see `Source`.
      propagate_to_ancestors: see `Source`.
      video_fraction: see `Source`.
      balanced: see `Source`.
      teacher: see `Source`.
      missing_share: see `Source`.
      frame_quantile: see `Source`.

    Raises:
      errors.InputError: see `Source`.
    """
    _check_policy("single_source.policy", policy, policies.POLICIES)
    _check_fraction("single_source.video_fraction", video_fraction)
    return [
        Source(
            datasets=_paths("single_source.datasets", data_dir, datasets),
            policy=policy,
            mask_unlabelled_classes=mask_unlabelled_classes,
            propagate_to_ancestors=propagate_to_ancestors,
            video_fraction=video_fraction,
            balanced=balanced,
            teacher=teacher,
            missing_share=missing_share,
            frame_quantile=frame_quantile,
        )
    ]


def weak_strong_mixture(
    data_dir: str,
    weak_datasets: Sequence[str],
    *,
    strong_datasets: Sequence[str],
    policy: str,
    mu: float | Callable[[], WeightSchedule],
    mask_unlabelled_classes: bool = False,
    propagate_to_ancestors: bool = False,
    strong_video_fraction: float = 1.0,
    balanced: bool = False,
    weak_policy: str = WEAK,
    teacher: str | None = None,
    missing_share: float = 0.0,
    frame_quantile: float = 0.5,
) -> list[Source]:
    """Weak examples mixed with diffuse or strong ones (section 4 of the paper).

    `mu` sets the shares: at 0 all examples are weak, at 1 all are diffuse or strong.

    >>> weak, strong = weak_strong_mixture(
    ...     "data", ["weak"], strong_datasets=["strong"], policy="strong", mu=0.75
    ... )
    >>> weak.weight, strong.weight
    (0.25, 0.75)

    Args:
      data_dir: directory of the datasets.
      weak_datasets: names of those read under `weak_policy`.
      strong_datasets: names of those read under `policy`.
      policy: "diffuse" or "strong"; "weak" to compare with.
      mu: share of the examples from `strong_datasets`; or what makes a schedule of it, see
        `mu_schedule`.
      mask_unlabelled_classes: see `Source`; for the strong datasets.
      propagate_to_ancestors: see `Source`; for all datasets.
      strong_video_fraction: share of the videos of `strong_datasets` that is used, see `Source`.
      balanced: see `Source`; for all datasets.
      weak_policy: "weak" or "pseudo_strong".
      teacher: see `Source`; for the weak datasets.
      missing_share: see `Source`; for the weak datasets.
      frame_quantile: see `Source`; for the weak datasets.

    Raises:
      errors.InputError: mu outside [0, 1], an unknown policy, or what `Source` refuses.
    """
    _check_policy("weak_strong_mixture.policy", policy, (WEAK, DIFFUSE, STRONG))
    _check_fraction("weak_strong_mixture.strong_video_fraction", strong_video_fraction)
    _check_policy("weak_strong_mixture.weak_policy", weak_policy, (WEAK, PSEUDO_STRONG))
    weak_weight, strong_weight = _shares(mu)
    weak = Source(
        datasets=_paths("weak_strong_mixture.weak_datasets", data_dir, weak_datasets),
        policy=weak_policy,
        weight=weak_weight,
        propagate_to_ancestors=propagate_to_ancestors,
        balanced=balanced,
        teacher=teacher,
        missing_share=missing_share,
        frame_quantile=frame_quantile,
    )
    strong = Source(
        datasets=_paths("weak_strong_mixture.strong_datasets", data_dir, strong_datasets),
        policy=policy,
        weight=strong_weight,
        mask_unlabelled_classes=mask_unlabelled_classes,
        propagate_to_ancestors=propagate_to_ancestors,
        video_fraction=strong_video_fraction,
        balanced=balanced,
    )
    return [weak, strong]


def _shares(mu: float | Callable[[], WeightSchedule]) -> tuple[Weight, Weight]:
    """The weights of the weak examples, and of the others."""
    if callable(mu):
        schedule = mu()
        return schedule.complement(), schedule
    if not isinstance(mu, numbers.Real) or not 0.0 <= mu <= 1.0:
        raise errors.InputError(
            f"weak_strong_mixture.mu = {mu!r}: must lie in [0, 1], where 0 is all weak"
        )
    return 1.0 - mu, float(mu)


def mu_schedule(
    points: Sequence[tuple[float, float]] = ((0.0, 0.2), (1.0, 0.9)),
) -> WeightSchedule:
    """mu as a function of the share of the run that is done; for `weak_strong_mixture`.

    By default mu goes from about where lwlrap is best in the paper to where d' is.

    >>> mu_schedule([(0.0, 0.2), (1.0, 0.8)]).mean
    0.5

    Args:
      points: (share of the run, mu) each, joined by straight lines. Two points at the same share
        are a step. Before the first and after the last point mu stays what it is there.

    Raises:
      errors.InputError: shares that do not rise within [0, 1], or mu outside [0, 1].
    """
    try:
        schedule = WeightSchedule(tuple(points))
    except (errors.InputError, TypeError) as error:
        raise errors.InputError(f"mu_schedule.points: {error}") from error
    outside = [value for _, value in schedule.points if value > 1]
    if outside:
        raise errors.InputError(
            f"mu_schedule.points = {points!r}: mu must lie in [0, 1], where 0 is all weak, not "
            f"{outside[0]:g}"
        )
    return schedule


def with_length(sources: Sequence[Source], examples: int) -> tuple[Source, ...]:
    """Sources whose schedules are over a run of so many examples; those that have a length keep it.

    Args:
      sources: of the run.
      examples: of the whole run.
    """
    return tuple(
        dataclasses.replace(source, weight=source.weight.of_length(examples))
        if isinstance(source.weight, WeightSchedule)
        else source
        for source in sources
    )


def mu(sources: Sequence[Source]) -> float | None:
    """The share of diffuse or strong examples in a mixture (section 4); None without a mixture.

    Of a schedule it is the mean over the run.

    >>> weak, strong = Source(("a",), "weak", 0.25), Source(("b",), "strong", 0.75)
    >>> mu([weak, strong]), mu([strong])
    (0.75, None)
    """
    total = sum(source.mean_weight for source in sources)
    if len(sources) < 2 or not total > 0:
        return None
    strong = [s for s in sources if s.label_policy.needs is policies.STRONG_LABELS]
    return sum(source.mean_weight for source in strong) / total


def _paths(binding: str, data_dir: str, datasets: Sequence[str]) -> tuple[str, ...]:
    _check_names(binding, datasets)
    return tuple(os.path.join(data_dir, name) for name in datasets)


def _check_names(binding: str, datasets: Sequence[str]) -> None:
    if not isinstance(datasets, list | tuple) or not all(
        isinstance(name, str | os.PathLike) for name in datasets
    ):
        raise errors.InputError(f"{binding} = {datasets!r}: must be a list of names")


def _check_policy(binding: str, policy: str, allowed: Collection[str]) -> None:
    if policy not in allowed:
        raise errors.InputError(f"{binding} = {policy!r}: must be one of {', '.join(allowed)}")


def _check_fraction(binding: str, fraction: float) -> None:
    if not isinstance(fraction, numbers.Real) or not 0.0 < fraction <= 1.0:
        raise errors.InputError(f"{binding} = {fraction!r}: must lie in (0, 1]")
