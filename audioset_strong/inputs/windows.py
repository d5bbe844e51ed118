"""Windows of clips: drawn, read and labelled.

In every epoch each clip gives one random window of 960 ms (section 4 of the paper): `random_start`
is where that happens.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.inputs import clip_labels, hashing, policies, taught_labels
from audioset_strong.inputs.batches import Patches
from audioset_strong.inputs.clip_labels import Clips
from audioset_strong.inputs.example_order import Examples
from audioset_strong.inputs.opened_sources import OpenedSource, OpenedSources
from audioset_strong.labels import framing
from audioset_strong.records import clip_records, window_cutting

# (rows of clips, first sample of each window) -> (int16 windows, whether each clip is sound); see
# `WindowReader.read`.
ReadWindows = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def random_start(
    key: list[hashing.Part],
    num_samples: tf.Tensor,
    *,
    front_end: FrontEnd,
    step: int = 1,
    part: tf.Tensor | None = None,
    parts: tf.Tensor | None = None,
) -> tf.Tensor:
    """Draws ONE RANDOM 960 ms window of each clip, uniform over the valid starts (section 4).

    A patch reads 15,600 samples by default, a little more than the 15,360 of the 960 ms that are
    labelled; a start is valid where all of them lie inside the clip. Shorter clips start at 0.

    Args:
      key: what the draw depends on: clip ids string `[batch]`, seed, epoch; see `hashing.integers`.
      num_samples: int64 `[batch]`, lengths of the clips.
      front_end: whose patches are cut.
      step: samples between valid starts.
      part: int64 `[batch]`; if given, starts are drawn from this one of `parts` equal parts of the
        valid ones.
      parts: int64 `[batch]`.

    Returns:
      int64 `[batch]`, the first sample of each window, a multiple of `step`.
    """
    last = tf.maximum(num_samples - front_end.patch_samples, 0)
    drawn, starts = hashing.integers(key, 2**62), last // step + 1
    if part is None:
        return (drawn % starts) * step
    first, end = part * starts // parts, (part + 1) * starts // parts
    return (first + drawn % tf.maximum(end - first, 1)) * step


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """What holds for the windows of all sources of a stream.

    Attributes:
      seed: of the windows.
      front_end: of the patches.
      framing_rule: of the strong policy.
      known_labels: whether windows say which of their labels are known.
      augmented: whether windows carry a seed for their augmentation.
    """

    seed: int = 0
    front_end: FrontEnd
    framing_rule: str = framing.RELEASED
    known_labels: bool = False
    augmented: bool = False


@dataclasses.dataclass(frozen=True)
class WindowSampler:
    """Takes the windows of a batch of examples.

    A window is a function of (seed, epoch, clip, copy), and nothing else.

    Attributes:
      opened: the sources.
      read: reads windows of their clips.
      settings: of the stream.
    """

    opened: OpenedSources
    read: ReadWindows
    settings: WindowSettings

    def patches(self, examples: Examples) -> Patches:
        """One window of each example's clip, in-graph.

        Returns:
          See `Patches`; `[examples, ...]`.
        """
        encoding, front_end = self.opened.encoding, self.settings.front_end
        clips = self.opened.clips.gather(examples.row)
        key: list[hashing.Part] = [
            clips["clip_id"],
            "window",
            self.settings.seed,
            examples.epoch,
            examples.copy,
        ]
        # Log-mel records hold one STFT frame a hop, so windows begin on multiples of it.
        hop = front_end.hop_samples if encoding == clip_records.LOG_MEL else 1
        start = random_start(
            key,
            clips["num_samples"],
            front_end=front_end,
            step=hop,
            part=examples.part,
            parts=examples.parts,
        )
        window, sound = self.read(examples.row, start)
        patches: Patches = {
            "clip_id": clips["clip_id"],
            "source": examples.source,
            "start": start,
            "sound": sound,
            **self._labels(clips, start, examples),
        }
        if encoding == clip_records.LOG_MEL:
            patches["log_mel"] = window_cutting.decode_log_mel(
                window, start // hop, clips["num_samples"], front_end=front_end
            )
        else:
            patches["pcm"] = window
        if self.settings.augmented:
            patches["augment_seed"] = hashing.integers([*key, "augment"], 2**31)
        return patches

    def _labels(self, clips: Clips, start: tf.Tensor, examples: Examples) -> Patches:
        """The labels of the windows, each by its source, and on demand what is known of them."""
        sources = self.opened.sources
        if len(sources) == 1:
            return self._labels_of(sources[0], clips, start, examples.row)
        places = [tf.where(examples.source == i)[:, 0] for i in range(len(sources))]
        parts = [
            self._labels_of(
                one,
                {name: tf.gather(v, mine) for name, v in clips.items()},
                tf.gather(start, mine),
                tf.gather(examples.row, mine),
            )
            for one, mine in zip(sources, places, strict=True)
        ]
        columns = {name: [part[name] for part in cast(list[dict], parts)] for name in parts[0]}
        return cast(Patches, {name: _stitched(places, c) for name, c in columns.items()})

    def _labels_of(
        self, one: OpenedSource, clips: Clips, start: tf.Tensor, rows: tf.Tensor
    ) -> Patches:
        """The labels of windows of one source."""
        if one.taught:
            clips = clips | one.taught.gather(rows)
        settings, classes = self.settings, self.opened.num_classes
        policy, ancestors = one.source.label_policy, one.labels.ancestors
        windows = policies.Windows(start, classes, settings.front_end, settings.framing_rule)
        labels = policy.label(clips, windows)
        if ancestors is not None:
            labels = framing.propagate_to_ancestors(labels, ancestors)
        found: Patches = {"labels": labels}
        if any(each.source.missing_share for each in self.opened.sources):
            found["missing"] = tf.zeros_like(labels)
            if one.source.missing_share:
                missing = clip_labels.multi_hot(clips[taught_labels.MISSING], classes)
                found["missing"] = missing & ~labels
        if not settings.known_labels:
            return found
        known = labels | clip_labels.multi_hot(clips["negatives"], classes)
        if policy.complementary_negatives:
            known |= clip_labels.multi_hot(clips[policy.needs.labels], classes)
        found["known_labels"] = known
        return found


def _stitched(places: Sequence[tf.Tensor], parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Rows of several tensors, put back to the places that they came from."""
    return tf.dynamic_stitch([tf.cast(place, tf.int32) for place in places], list(parts))


def class_masks(opened: OpenedSources) -> np.ndarray:
    """Which classes count for each source; float32 `[sources, classes]`."""
    return np.stack([one.labels.class_mask for one in opened.sources])
