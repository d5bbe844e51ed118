"""Augmentation of training batches; off unless gin binds it.

What is done to an example follows from its `augment_seed`, a hash of (seed, epoch, clip): a resumed
run augments as one that was never stopped. tensorflow-io has the same masks, but draws them from
TensorFlow's global state, which no checkpoint holds.
"""

import dataclasses

import gin
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import hashing

WAVEFORM, LOG_MEL = "waveform", "log_mel"
SILENCE = float(np.log(0.01))  # the log-mel of nothing


@gin.configurable(module="augmentation")
@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What to do to training examples.

    Attributes:
      gain_db: samples are made louder or softer by up to so many dB, uniformly.
      mixup_alpha: each example is mixed with its neighbour in the batch by a share drawn from
        Beta(alpha, alpha), its labels as well (Zhang et al. 2018); 0 for none.
      mixup_domain: whether samples ("waveform") or spectrograms ("log_mel") are mixed.
      time_masks, time_mask_frames: so many stretches of up to so many frames are silenced, and
      frequency_masks, frequency_mask_bands: so many stretches of up to so many bands (SpecAugment,
        Park et al. 2019).

    Raises:
      errors.InputError: a value outside its range.
    """

    gain_db: float = 0.0
    mixup_alpha: float = 0.0
    mixup_domain: str = WAVEFORM
    time_masks: int = 0
    time_mask_frames: int = 24
    frequency_masks: int = 0
    frequency_mask_bands: int = 12

    def __post_init__(self) -> None:
        for name, most in (
            ("gain_db", 100.0),
            ("mixup_alpha", 1e6),
            ("time_masks", 100),
            ("time_mask_frames", features.PATCH_FRAMES),
            ("frequency_masks", 100),
            ("frequency_mask_bands", features.PATCH_BANDS),
        ):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise errors.InputError(f"Augmentation.{name} = {value}: must lie in [0, {most:g}]")
        if self.mixup_domain not in (WAVEFORM, LOG_MEL):
            raise errors.InputError(
                f"Augmentation.mixup_domain = {self.mixup_domain!r}: must be {WAVEFORM!r} or "
                f"{LOG_MEL!r}"
            )

    @property
    def needs_waveform(self) -> bool:
        """Whether it works on samples."""
        return self.gain_db > 0 or (self.mixup_alpha > 0 and self.mixup_domain == WAVEFORM)

    @property
    def enabled(self) -> bool:
        """Whether it does anything."""
        masks = self.time_masks * self.time_mask_frames
        masks += self.frequency_masks * self.frequency_mask_bands
        return self.gain_db > 0 or self.mixup_alpha > 0 or masks > 0

    def of_waveform(
        self, waveform: tf.Tensor, batch: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Gain, and mixup of samples.

        Args:
          waveform: float32 `[batch, samples]`.
          batch: augment_seed int64 `[batch]` and what mixup changes: labels, label_weights float32
            and known bool, where there, `[batch, classes]`.

        Returns:
          Both, changed.
        """
        if self.gain_db > 0:
            drawn = hashing.uniform([batch["augment_seed"], "gain"])
            db = self.gain_db * (2.0 * drawn - 1.0)
            waveform = waveform * tf.pow(10.0, db / 20.0)[:, tf.newaxis]
        if self.mixup_alpha > 0 and self.mixup_domain == WAVEFORM:
            waveform, batch = self._mixup(waveform, batch)
        return waveform, batch

    def of_log_mel(
        self, log_mel: tf.Tensor, batch: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Mixup of spectrograms, and masks.

        Args:
          log_mel: float32 `[batch, frames, bands]`.
          batch: see `of_waveform`.

        Returns:
          Both, changed.
        """
        if self.mixup_alpha > 0 and self.mixup_domain == LOG_MEL:
            log_mel, batch = self._mixup(log_mel, batch)
        frames, bands = log_mel.shape[1:]
        seeds = batch["augment_seed"]
        for i in range(self.time_masks):
            hidden = _stretch(seeds, f"time{i}", frames, self.time_mask_frames)
            log_mel = tf.where(hidden[:, :, tf.newaxis], SILENCE, log_mel)
        for i in range(self.frequency_masks):
            hidden = _stretch(seeds, f"frequency{i}", bands, self.frequency_mask_bands)
            log_mel = tf.where(hidden[:, tf.newaxis, :], SILENCE, log_mel)
        return log_mel, batch

    def _mixup(
        self, values: tf.Tensor, batch: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        seeds = batch["augment_seed"]
        shape = [tf.shape(seeds)[0]]
        seed = tf.stack([seeds[0], seeds[-1]])
        one, other = (
            tf.random.stateless_gamma(shape, seed + i, alpha=self.mixup_alpha) for i in range(2)
        )
        # Gamma variates of a small alpha can both vanish; then nothing is mixed.
        own = tf.where(one + other > 0, one / (one + other), 1.0)

        def mixed(x: tf.Tensor) -> tf.Tensor:
            share = tf.reshape(own, [-1] + [1] * (len(x.shape) - 1))
            return share * x + (1.0 - share) * tf.roll(x, 1, axis=0)

        changed = {"labels": mixed(batch["labels"])}
        # A class counts where it does for both.
        weights = batch["label_weights"]
        changed["label_weights"] = tf.minimum(weights, tf.roll(weights, 1, axis=0))
        if "known" in batch:
            changed["known"] = batch["known"] & tf.roll(batch["known"], 1, axis=0)
        return mixed(values), batch | changed


def _stretch(seeds: tf.Tensor, name: str, length: int, most: int) -> tf.Tensor:
    """A stretch of 0 to `most` places anywhere within `length`; bool `[batch, length]`."""
    width = hashing.integers([seeds, name, "width"], most + 1)
    start = hashing.integers([seeds, name, "start"], 2**62) % (length - width + 1)
    places = tf.range(length, dtype=tf.int64)
    start, width = start[:, tf.newaxis], width[:, tf.newaxis]
    return (places >= start) & (places < start + width)
