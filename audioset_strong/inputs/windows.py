"""Windows of clips: drawn, cut out of the records and labelled.

In every epoch each clip gives one random window of 960 ms (section 4 of the paper): `random_start`
is where that happens.
"""

import dataclasses
from typing import cast

import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.inputs import clip_labels, hashing, opened_sources, policies
from audioset_strong.inputs.batches import Patches
from audioset_strong.inputs.clip_labels import Clips
from audioset_strong.inputs.opened_sources import OpenedSource
from audioset_strong.labels import framing
from audioset_strong.records import clip_records, pcm_cut


def random_start(
    key: list[hashing.Part], num_samples: tf.Tensor, *, front_end: FrontEnd, step: int = 1
) -> tf.Tensor:
    """Draws ONE RANDOM 960 ms window of each clip, uniform over the valid starts (section 4).

    A patch reads 15,600 samples by default, a little more than the 15,360 of the 960 ms that are
    labelled; a start is valid where all of them lie inside the clip. Shorter clips start at 0.

    Args:
      key: what the draw depends on: clip ids string `[batch]`, seed, epoch; see `hashing.integers`.
      num_samples: int64 `[batch]`, lengths of the clips.
      front_end: whose patches are cut.
      step: samples between valid starts.

    Returns:
      int64 `[batch]`, the first sample of each window, a multiple of `step`.
    """
    last = tf.maximum(num_samples - front_end.patch_samples, 0)
    return (hashing.integers(key, 2**62) % (last // step + 1)) * step


def cut(clips: Clips, start: tf.Tensor, *, encoding: str, front_end: FrontEnd) -> Patches:
    """Cuts a patch out of each clip, while its audio is still bytes.

    Args:
      clips: see `clip_records.parse`.
      start: int64 `[batch]`; of log-mel records, multiples of the hop.
      encoding: of the records.
      front_end: whose patches are cut.

    Returns:
      log_mel of log-mel records, pcm of all others; see `Patches`.
    """
    if encoding == clip_records.LOG_MEL:
        log_mel = clip_records.crop_log_mel(
            clips,
            start // front_end.hop_samples,
            stft_frames=front_end.stft_frames_per_patch,
            front_end=front_end,
        )
        return {"log_mel": log_mel}
    samples = front_end.patch_samples
    return {"pcm": pcm_cut.cut(clips, start, samples=samples, encoding=encoding)}


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
    """Takes windows of the clips of one source.

    A window is a function of (seed, epoch, clip, copy), and nothing else.

    Attributes:
      opened: the source.
      index: its number in the stream.
      settings: of the stream.
    """

    opened: OpenedSource
    index: int
    settings: WindowSettings

    def one_each(self, serialized: tf.Tensor, epoch: tf.Tensor) -> Patches:
        """One window of each clip that has the labels that the policy needs.

        Args:
          serialized: string `[records]`.
          epoch: int64 scalar.

        Returns:
          See `Patches`; `[clips, ...]`.
        """
        clips = clip_records.parse(serialized)
        return self._of_wanted(clips, self._windows(clips, epoch))

    def several_each(self, serialized: tf.Tensor, epoch: tf.Tensor, copies: int) -> Patches:
        """As `one_each`, but several windows of each clip; `[clips, copies, ...]`."""
        clips = clip_records.parse(serialized)
        each = [cast(Clips, self._windows(clips, epoch, copy)) for copy in range(copies)]
        stacked = {name: tf.stack([patches[name] for patches in each], 1) for name in each[0]}
        return self._of_wanted(clips, cast(Patches, stacked))

    def repeated(self, serialized: tf.Tensor, epoch: tf.Tensor, repeats: tf.Tensor) -> Patches:
        """As many windows of each clip as `repeats` says, int64 `[records]`; `[windows, ...]`."""
        clips = clip_records.parse(serialized)
        rows = tf.repeat(tf.range(tf.shape(serialized, tf.int64)[0]), repeats)
        first = tf.repeat(tf.cumsum(repeats, exclusive=True), repeats)
        copy = tf.range(tf.size(rows, tf.int64)) - first
        chosen = {name: tf.gather(value, rows) for name, value in clips.items()}
        return self._windows(chosen, epoch, copy)

    def _of_wanted(self, clips: Clips, patches: Patches) -> Patches:
        if self.opened.uses_all_records:
            return patches
        wanted = opened_sources.wanted(clips, self.opened.source)
        kept = {name: tf.boolean_mask(value, wanted) for name, value in patches.items()}
        return cast(Patches, kept)

    def _windows(
        self, clips: Clips, epoch: tf.Tensor, copy: tf.Tensor | int | None = None
    ) -> Patches:
        """One window of each clip; `copy` tells windows of a clip within an epoch apart."""
        encoding, front_end = self.opened.encoding, self.settings.front_end
        key: list[hashing.Part] = [clips["clip_id"], "window", self.settings.seed, epoch]
        if copy is not None:
            key.append(copy)
        # Log-mel records hold one STFT frame a hop, so windows begin on multiples of it.
        step = front_end.hop_samples if encoding == clip_records.LOG_MEL else 1
        start = random_start(key, clips["num_samples"], front_end=front_end, step=step)
        patches: Patches = {
            "clip_id": clips["clip_id"],
            "source": tf.fill(tf.shape(start), tf.constant(self.index, tf.int64)),
            "start": start,
            **cut(clips, start, encoding=encoding, front_end=front_end),
            **self._labels(clips, start),
        }
        if self.settings.augmented:
            patches["augment_seed"] = hashing.integers([*key, "augment"], 2**31)
        return patches

    def _labels(self, clips: Clips, start: tf.Tensor) -> Patches:
        """The labels of the windows, and on demand which of them are known."""
        opened, settings = self.opened, self.settings
        policy, classes = opened.source.label_policy, opened.num_classes
        windows = policies.Windows(start, classes, settings.front_end, settings.framing_rule)
        labels = policy.label(clips, windows)
        if opened.ancestors is not None:
            labels = framing.propagate_to_ancestors(labels, opened.ancestors)
        if not settings.known_labels:
            return {"labels": labels}
        known = labels | clip_labels.multi_hot(clips["negatives"], classes)
        if policy.complementary_negatives:
            known |= clip_labels.multi_hot(clips[policy.needs.labels], classes)
        return {"labels": labels, "known_labels": known}
