"""The label policies: which labels a window of a clip is trained with.

The paper compares three over the same clips (section 4, Table 1). A fourth, pseudo-strong labels,
asks a teacher where weak labels hold. To add one, write its function
and enter it into `POLICIES`: everything else that depends on a policy asks its `Policy`.
"""

import dataclasses
from collections.abc import Callable

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core.lazy import tf
from audioset_strong.inputs import clip_labels
from audioset_strong.inputs.clip_labels import Clips

WEAK, DIFFUSE, STRONG = "weak", "diffuse", "strong"
PSEUDO_STRONG = "pseudo_strong"


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of a batch of clips, one each, that are to be labelled.

    Attributes:
      start: int64 `[batch]`, first sample of each window.
      num_classes: size of the vocabulary.
      front_end: whose label frame of 0.96 s counts from `start` on.
      framing_rule: "released" or "paper", see `framing.frame_labels`.
    """

    start: "tf.Tensor"
    num_classes: int
    front_end: FrontEnd
    framing_rule: str


def weak_labels(clips: Clips, windows: Windows) -> "tf.Tensor":
    """The weak labels of the clip, whatever the window: Weak-67k and Weak-1.8M (section 4).

    Args:
      clips: what is known about each, see `clip_labels.Clips`.
      windows: of the clips.

    Returns:
      bool `[batch, classes]`.
    """
    return clip_labels.multi_hot(clips["weak_labels"], windows.num_classes)


def diffuse_labels(clips: Clips, windows: Windows) -> "tf.Tensor":
    """Each strong label expanded to the entire clip: Diffuse-67k (section 4, see also 3.1).

    The labels come from the strong annotation, so only their extent in time differs from
    `strong_labels`.

    Args:
      clips: what is known about each, see `clip_labels.Clips`.
      windows: of the clips.

    Returns:
      bool `[batch, classes]`.
    """
    return clip_labels.multi_hot(clips["segment_label"], windows.num_classes)


def strong_labels(clips: Clips, windows: Windows) -> "tf.Tensor":
    """The strong labels that the framing rule finds in the window: Strong-67k (section 4).

    Training windows and evaluation frames are labelled by one rule, that of section 3.2; see
    `framing.frame_labels`.

    Args:
      clips: what is known about each, see `clip_labels.Clips`.
      windows: of the clips.

    Returns:
      bool `[batch, classes]`.
    """
    frames = clip_labels.frame_labels(
        clips,
        windows.start[:, tf.newaxis],
        num_classes=windows.num_classes,
        front_end=windows.front_end,
        rule=windows.framing_rule,
    )
    return frames[:, 0]


def pseudo_strong_labels(clips: Clips, windows: Windows) -> "tf.Tensor":
    """The weak labels, where in the clip a teacher hears them: see `teacher_scores.pseudo_strong`.

    As in "Pseudo strong labels for large scale weakly supervised audio tagging", Dinkel et al.
    2022, https://arxiv.org/abs/2204.13430; but labels that the clip does not have are never added.

    Args:
      clips: what is known about each, see `clip_labels.Clips`, with what the teacher says, see
        `TaughtLabels`.
      windows: of the clips.

    Returns:
      bool `[batch, classes]`.
    """
    taught = {
        f"segment_{name}": clips[f"taught_{name}"] for name in ("label", "start_ms", "end_ms")
    }
    return strong_labels(clips | taught, windows)


@dataclasses.dataclass(frozen=True)
class LabelKind:
    """A kind of annotation, and the names under which records and datasets keep it.

    Attributes:
      name: for messages.
      labels: class indices of a parsed clip, ragged int64 `[batch, (labels)]`.
      known: whether a parsed clip has this annotation, bool `[batch]`.
      clips: the field of `DatasetInfo`, and of its shards, that counts the clips that have it.
      counts: the field of `DatasetInfo` that counts the clips of each class.
    """

    name: str
    labels: str
    known: str
    clips: str
    counts: str


WEAK_LABELS = LabelKind("weak", "weak_labels", "weak_known", "weak_clips", "weak_counts")
STRONG_LABELS = LabelKind(
    "strong", "segment_label", "strong_known", "strong_clips", "strong_counts"
)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What a source needs to know about its label policy.

    Attributes:
      label: from parsed clips and their windows to labels, bool `[batch, classes]`.
      needs: the annotation that the labels come from. Clips without it are skipped; it decides
        how often clips come in balanced sampling, and it is counted for class masks and priors.
      of_clip: whether the labels are those of the whole clip, so that windows can be pooled, see
        `training.pooling`; else the framing rule decides which of them each window has.
      complementary_negatives: whether a class that sounds elsewhere in the clip, but not in the
        window, is known to be negative there (section 3.2).
      needs_teacher: whether the labels are those that a teacher finds, see `TaughtLabels`.
    """

    label: Callable[[Clips, Windows], "tf.Tensor"]
    needs: LabelKind
    of_clip: bool = False
    complementary_negatives: bool = False
    needs_teacher: bool = False


POLICIES = {
    WEAK: Policy(weak_labels, WEAK_LABELS, of_clip=True),
    DIFFUSE: Policy(diffuse_labels, STRONG_LABELS, of_clip=True),
    STRONG: Policy(strong_labels, STRONG_LABELS, complementary_negatives=True),
    PSEUDO_STRONG: Policy(
        pseudo_strong_labels, WEAK_LABELS, complementary_negatives=True, needs_teacher=True
    ),
}
