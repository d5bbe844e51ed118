"""Sources of training examples: which clips, under which label policy, in which share.

`opened_sources` reads what their datasets hold.
"""

import dataclasses
import numbers
import os
from collections.abc import Mapping, Sequence

from audioset_strong.core import errors
from audioset_strong.inputs import policies
from audioset_strong.inputs.policies import WEAK


@dataclasses.dataclass(frozen=True)
class Source:
    """Clips under one label policy, with their share of the training examples.

    >>> Source(("data/train",), "strong").weight
    1.0

    Attributes:
      datasets: dataset directories (each holds a `dataset_info.json`).
      policy: "weak", "diffuse" or "strong", see `policies`.
      weight: share of the examples, relative to the other sources' weights.
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

    Raises:
      errors.InputError: datasets that are not a list or tuple of names, an unknown policy, a
        weight that is no number, or a fraction outside (0, 1].
    """

    datasets: tuple[str, ...]
    policy: str
    weight: float = 1.0
    mask_unlabelled_classes: bool = False
    propagate_to_ancestors: bool = False
    video_fraction: float = 1.0
    balanced: bool = False

    def __post_init__(self) -> None:
        _check_names("Source.datasets", self.datasets)
        _check_policy("Source.policy", self.policy, policies.POLICIES)
        if not isinstance(self.weight, numbers.Real):
            raise errors.InputError(f"Source.weight = {self.weight!r}: must be a number")
        _check_fraction("Source.video_fraction", self.video_fraction)

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

    Raises:
      errors.InputError: an unknown policy, or a fraction outside (0, 1].
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
        )
    ]


def weak_strong_mixture(
    data_dir: str,
    weak_datasets: Sequence[str],
    *,
    strong_datasets: Sequence[str],
    policy: str,
    mu: float,
    mask_unlabelled_classes: bool = False,
    propagate_to_ancestors: bool = False,
    strong_video_fraction: float = 1.0,
    balanced: bool = False,
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
      weak_datasets: names of those read under the weak policy.
      strong_datasets: names of those read under `policy`.
      policy: "diffuse" or "strong".
      mu: share of the examples from `strong_datasets`.
      mask_unlabelled_classes: see `Source`; for the strong datasets.
      propagate_to_ancestors: see `Source`; for all datasets.
      strong_video_fraction: share of the videos of `strong_datasets` that is used, see `Source`.
      balanced: see `Source`; for all datasets.

    Raises:
      errors.InputError: mu outside [0, 1], an unknown policy, or a fraction outside (0, 1].
    """
    if not isinstance(mu, numbers.Real) or not 0.0 <= mu <= 1.0:
        raise errors.InputError(
            f"weak_strong_mixture.mu = {mu!r}: must lie in [0, 1], where 0 is all weak"
        )
    _check_policy("weak_strong_mixture.policy", policy, policies.POLICIES)
    _check_fraction("weak_strong_mixture.strong_video_fraction", strong_video_fraction)
    weak = Source(
        datasets=_paths("weak_strong_mixture.weak_datasets", data_dir, weak_datasets),
        policy=WEAK,
        weight=1.0 - mu,
        propagate_to_ancestors=propagate_to_ancestors,
        balanced=balanced,
    )
    strong = Source(
        datasets=_paths("weak_strong_mixture.strong_datasets", data_dir, strong_datasets),
        policy=policy,
        weight=float(mu),
        mask_unlabelled_classes=mask_unlabelled_classes,
        propagate_to_ancestors=propagate_to_ancestors,
        video_fraction=strong_video_fraction,
        balanced=balanced,
    )
    return [weak, strong]


def mu(sources: Sequence[Source]) -> float | None:
    """The share of diffuse or strong examples in a mixture (section 4); None without a mixture.

    >>> weak, strong = Source(("a",), "weak", 0.25), Source(("b",), "strong", 0.75)
    >>> mu([weak, strong]), mu([strong])
    (0.75, None)
    """
    total = sum(source.weight for source in sources)
    if len(sources) < 2 or not total > 0:
        return None
    return sum(source.weight for source in sources if source.policy != WEAK) / total


def _paths(binding: str, data_dir: str, datasets: Sequence[str]) -> tuple[str, ...]:
    _check_names(binding, datasets)
    return tuple(os.path.join(data_dir, name) for name in datasets)


def _check_names(binding: str, datasets: Sequence[str]) -> None:
    if not isinstance(datasets, list | tuple) or not all(
        isinstance(name, str | os.PathLike) for name in datasets
    ):
        raise errors.InputError(f"{binding} = {datasets!r}: must be a list of names")


def _check_policy(binding: str, policy: str, allowed: Mapping[str, object]) -> None:
    if policy not in allowed:
        raise errors.InputError(f"{binding} = {policy!r}: must be one of {', '.join(allowed)}")


def _check_fraction(binding: str, fraction: float) -> None:
    if not isinstance(fraction, numbers.Real) or not 0.0 < fraction <= 1.0:
        raise errors.InputError(f"{binding} = {fraction!r}: must lie in (0, 1]")
