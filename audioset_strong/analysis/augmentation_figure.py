"""What each augmentation does to a patch, as a picture."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import drawing, errors
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.labels import framing
from audioset_strong.records import clip_records

_EXAMPLES = 4
_OFF: dict[str, Any] = {
    "gain_db": 0.0,
    "mixup_alpha": 0.0,
    "time_masks": 0,
    "frequency_masks": 0,
}


def draw(
    clips: Sequence[clip_records.Clip],
    augmentation: Augmentation,
    *,
    front_end: FrontEnd = DEFAULT_FRONT_END,
    seed: int = 0,
) -> matplotlib.figure.Figure:
    """Patches of clips in a column each: unchanged, then with each augmentation alone.

    Args:
      clips: with audio; the first four that have any are shown, each at its loudest patch.
      augmentation: settings, at least one of which is on.
      front_end: of the patches.
      seed: of everything that is drawn at random.

    Raises:
      errors.InputError: no clip with audio, another sample rate, an augmentation that does
        nothing, or masks that do not fit the patches.
    """
    shown = [clip for clip in clips if len(clip.audio)][:_EXAMPLES]
    if not shown:
        raise errors.InputError("no clip with audio to show augmentation on")
    for clip in shown:
        if clip.sample_rate != front_end.sample_rate:
            raise errors.InputError(
                f"{clip.clip_id}: {clip.sample_rate} Hz, but FrontEnd.sample_rate = "
                f"{front_end.sample_rate}"
            )
    if not augmentation.enabled:
        raise errors.InputError(
            "no augmentation is on: bind for example Augmentation.time_masks = 2"
        )
    augmentation.check_fits(front_end)
    waveform = np.stack([_loudest(clip.waveform, front_end.patch_samples) for clip in shown])
    rows = {
        title: _apply(waveform, settings, front_end, seed)
        for title, settings in _each_alone(augmentation).items()
    }
    figure = drawing.new_figure(2.6 * len(shown), 1.7 * len(rows))
    axes = figure.subplots(len(rows), len(shown), sharex=True, sharey=True, squeeze=False)
    for row, (title, patches) in zip(axes, rows.items(), strict=True):
        for axis, log_mel in zip(row, patches, strict=True):
            axis.imshow(
                log_mel.T,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=front_end.silence,
                extent=(0, framing.FRAME_MS / 1000, 0, front_end.num_bands),
            )
        row[0].set_ylabel(title, fontsize=9)
    for axis, clip in zip(axes[0], shown, strict=True):
        axis.set_title(clip.clip_id, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    return figure


def _each_alone(augmentation: Augmentation) -> dict[str, Augmentation]:
    """By title: nothing at all, then each augmentation that is on, alone."""
    given = dataclasses.asdict(augmentation)
    kinds = {
        "gain": "gain_db",
        f"mixup of {augmentation.mixup_domain.replace('_', '-')}": "mixup_alpha",
        "time masks": "time_masks",
        "frequency masks": "frequency_masks",
    }
    off = dataclasses.replace(augmentation, **_OFF)
    alone = {"unchanged": off}
    for title, name in kinds.items():
        if given[name]:
            alone[title] = dataclasses.replace(off, **{name: given[name]})
    return alone


def _loudest(samples: np.ndarray, patch_samples: int) -> np.ndarray:
    """The stretch of the most energy; float32 `[patch_samples]`, padded with silence."""
    samples = np.pad(samples, (0, max(patch_samples - len(samples), 0)))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[patch_samples:] - energy[:-patch_samples]))
    return samples[start : start + patch_samples]


def _apply(
    waveform: np.ndarray, settings: Augmentation, front_end: FrontEnd, seed: int
) -> np.ndarray:
    """Augmented log-mel of waveforms; float32 `[clips, stft_frames, bands]`."""
    count = len(waveform)
    batch: TrainBatch = {
        "augment_seed": tf.range(seed * count, (seed + 1) * count, dtype=tf.int64),
        "labels": tf.zeros([count, 1]),
        "label_weights": tf.ones([count, 1]),
    }
    changed, batch = settings.of_waveform(tf.constant(waveform), batch)
    log_mel, _ = settings.of_log_mel(features.log_mel(changed, front_end), batch, front_end.silence)
    return log_mel.numpy()
