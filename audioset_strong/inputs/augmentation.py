"""Augmentation of training batches; off by default.

What happens to an example is a function of its `augment_seed`, a hash of (seed, epoch, clip), so a
resumed run augments as one that was never stopped. tensorflow-io has the same masks, but draws them
from TensorFlow's global state, which no checkpoint holds. All of it compiles with XLA, so that it
can run where the model does.
"""

import dataclasses
import functools
from typing import cast

import numpy as np
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs import hashing
from audioset_strong.inputs.batches import TrainBatch

WAVEFORM, LOG_MEL = "waveform", "log_mel"
_QUANTILES = 2**16


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to training examples.

    >>> Augmentation().enabled
    False
    >>> Augmentation(time_masks=2).needs_waveform
    False

    Attributes:
      gain_db: the level of the samples changes by up to this many dB either way, uniformly.
      mixup_alpha: each example is mixed with its neighbour in the batch, and so are their labels,
        in a proportion drawn from Beta(alpha, alpha); 0 for no mixup (Zhang et al. 2018,
        https://arxiv.org/abs/1710.09412).
      mixup_domain: whether samples ("waveform") or spectrograms ("log_mel") are mixed.
      time_masks: number of stretches of STFT frames that are silenced (SpecAugment, Park et al.
        2019, https://arxiv.org/abs/1904.08779).
      time_mask_stft_frames: length of the longest such stretch.
      frequency_masks: number of stretches of mel bands that are silenced.
      frequency_mask_bands: width of the widest such stretch.

    Raises:
      errors.InputError: a value outside its range.
    """

    gain_db: float = 0.0
    mixup_alpha: float = 0.0
    mixup_domain: str = WAVEFORM
    time_masks: int = 0
    time_mask_stft_frames: int = 24
    frequency_masks: int = 0
    frequency_mask_bands: int = 12

    def __post_init__(self) -> None:
        for name, highest in (("gain_db", 100.0), ("mixup_alpha", 1e6)):
            self._check(name, highest)
        for name in ("time_masks", "frequency_masks"):
            self._check_whole(name)
            self._check(name, 100)
        for name in ("time_mask_stft_frames", "frequency_mask_bands"):
            self._check_whole(name)
            if getattr(self, name) < 0:
                raise self._wrong(name, "must not be negative")
        if self.mixup_domain not in (WAVEFORM, LOG_MEL):
            raise self._wrong("mixup_domain", f"must be {WAVEFORM!r} or {LOG_MEL!r}")

    def _check(self, name: str, highest: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, int | float) or not 0 <= value <= highest:
            raise self._wrong(name, f"must lie in [0, {highest:g}]")

    def _check_whole(self, name: str) -> None:
        if not isinstance(getattr(self, name), int):
            raise self._wrong(name, "must be a whole number")

    def _wrong(self, name: str, right: str) -> errors.InputError:
        return errors.InputError(f"Augmentation.{name} = {getattr(self, name)!r}: {right}")

    def check_fits(self, front_end: FrontEnd) -> None:
        """Checks that masks fit into the patches of a front end.

        Raises:
          errors.InputError: a mask can be larger than a patch.
        """
        stft_frames, bands = front_end.patch_shape
        for masks, name, size, unit in (
            (self.time_masks, "time_mask_stft_frames", stft_frames, "STFT frames"),
            (self.frequency_masks, "frequency_mask_bands", bands, "bands"),
        ):
            if masks and getattr(self, name) > size:
                raise self._wrong(name, f"must lie in [0, {size}], the {unit} of a patch")

    @property
    def needs_waveform(self) -> bool:
        """Whether it works on samples."""
        return self.gain_db > 0 or (self.mixup_alpha > 0 and self.mixup_domain == WAVEFORM)

    @property
    def enabled(self) -> bool:
        """Whether it does anything."""
        masks = self.time_masks * self.time_mask_stft_frames
        masks += self.frequency_masks * self.frequency_mask_bands
        return self.gain_db > 0 or self.mixup_alpha > 0 or masks > 0

    def of_waveform(self, waveform: tf.Tensor, batch: TrainBatch) -> tuple[tf.Tensor, TrainBatch]:
        """Gain, and mixup of samples.

        Args:
          waveform: float32 `[batch, samples]`.
          batch: holds augment_seed, and what mixup changes: labels, label_weights and, if present,
            known_labels.

        Returns:
          The changed waveform and the changed batch.
        """
        if self.gain_db > 0:
            drawn = hashing.device_uniform(batch["augment_seed"], "gain")
            db = self.gain_db * (2.0 * drawn - 1.0)
            waveform = waveform * tf.pow(10.0, db / 20.0)[:, tf.newaxis]
        if self.mixup_alpha > 0 and self.mixup_domain == WAVEFORM:
            waveform, batch = self._mixup(waveform, batch)
        return waveform, batch

    def of_log_mel(
        self, log_mel: tf.Tensor, batch: TrainBatch, silence: float
    ) -> tuple[tf.Tensor, TrainBatch]:
        """Mixup of spectrograms, and masks.

        Args:
          log_mel: float32 `[batch, stft_frames, bands]`.
          batch: see `of_waveform`.
          silence: value of masked places, see `FrontEnd.silence`.

        Returns:
          The changed log-mel and the changed batch.
        """
        if self.mixup_alpha > 0 and self.mixup_domain == LOG_MEL:
            log_mel, batch = self._mixup(log_mel, batch)
        stft_frames, bands = log_mel.shape[1:]
        seeds = batch["augment_seed"]
        for i in range(self.time_masks):
            masked = _stretch(seeds, f"time{i}", stft_frames, self.time_mask_stft_frames)
            log_mel = tf.where(masked[:, :, tf.newaxis], silence, log_mel)
        for i in range(self.frequency_masks):
            masked = _stretch(seeds, f"frequency{i}", bands, self.frequency_mask_bands)
            log_mel = tf.where(masked[:, tf.newaxis, :], silence, log_mel)
        return log_mel, batch

    def _mixup(self, values: tf.Tensor, batch: TrainBatch) -> tuple[tf.Tensor, TrainBatch]:
        own = _beta(batch["augment_seed"], self.mixup_alpha)

        def mixed(x: tf.Tensor) -> tf.Tensor:
            share = tf.reshape(own, [-1] + [1] * (len(x.shape) - 1))
            return share * x + (1.0 - share) * tf.roll(x, 1, axis=0)

        changed = cast(TrainBatch, dict(batch))
        changed["labels"] = mixed(batch["labels"])
        # A class counts where it does for both examples.
        weights = batch["label_weights"]
        changed["label_weights"] = tf.minimum(weights, tf.roll(weights, 1, axis=0))
        if "known_labels" in batch:
            known = batch["known_labels"]
            changed["known_labels"] = known & tf.roll(known, 1, axis=0)
        return mixed(values), changed


NO_AUGMENTATION = Augmentation()


def _beta(seeds: tf.Tensor, alpha: float) -> tf.Tensor:
    """Numbers from Beta(alpha, alpha); float32 `[batch]`.

    One of 65,536 quantiles is drawn, each with the same probability, so that the distribution
    function is nowhere off by more than 2**-17. Rejection sampling, as TensorFlow's own gamma
    variates need it, does not compile with XLA.
    """
    drawn = tf.bitwise.right_shift(hashing.device_integers(seeds, "mixup"), 16)
    return tf.gather(tf.constant(_beta_quantiles(alpha)), drawn)


@functools.lru_cache(maxsize=4)
def _beta_quantiles(alpha: float) -> np.ndarray:
    from scipy import special  # here, because it takes a while and mixup is rare

    probabilities = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return special.betaincinv(alpha, alpha, probabilities).astype(np.float32)


def _stretch(seeds: tf.Tensor, name: str, length: int, longest: int) -> tf.Tensor:
    """A stretch of 0 to `longest` places anywhere within `length`; bool `[batch, length]`."""
    width = hashing.device_integers(seeds, f"{name}/width") % (longest + 1)
    start = hashing.device_integers(seeds, f"{name}/start") % (length - width + 1)
    places = tf.range(length, dtype=tf.int64)
    start, width = start[:, tf.newaxis], width[:, tf.newaxis]
    return (places >= start) & (places < start + width)
