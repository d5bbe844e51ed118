"""What each augmentation does to a patch, as a picture."""

import dataclasses
from typing import Any

import matplotlib.figure
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import drawing, errors
from audioset_strong.inputs import augmentation
from audioset_strong.records import clip_records

_EXAMPLES = 4
_OFF: dict[str, Any] = {
    "gain_db": 0.0,
    "mixup_alpha": 0.0,
    "time_masks": 0,
    "frequency_masks": 0,
}


def draw(
    clips: list[clip_records.Clip], augment: augmentation.Augmentation, seed: int = 0
) -> matplotlib.figure.Figure:
    """Patches of clips in a column each: as they are, then with each augmentation alone.

    Args:
      clips: with audio; the first four that have any are shown, from their loudest second on.
      augment: settings, some of which are on.
      seed: of what is drawn.

    Raises:
      errors.InputError: no clip with audio, or an augmentation that does nothing.
    """
    shown = [clip for clip in clips if len(clip.audio)][:_EXAMPLES]
    if not shown:
        raise errors.InputError("no clip with audio to show augmentation on")
    if not augment.enabled:
        raise errors.InputError(
            "no augmentation is on: bind for example Augmentation.time_masks = 2"
        )
    waveform = np.stack([_loudest(clip.waveform) for clip in shown])
    off = dataclasses.replace(augment, **_OFF)
    alone = {"as it is": off} | {
        title: dataclasses.replace(off, **values) for title, values in _each(augment).items()
    }
    figure = drawing.new_figure(2.6 * len(shown), 1.7 * len(alone))
    axes = figure.subplots(len(alone), len(shown), sharex=True, sharey=True, squeeze=False)
    for row, (title, settings) in zip(axes, alone.items(), strict=True):
        for axis, log_mel in zip(row, _apply(waveform, settings, seed), strict=True):
            axis.imshow(
                log_mel.T,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=augmentation.SILENCE,
                extent=(0, 0.96, 0, features.PATCH_BANDS),
            )
        row[0].set_ylabel(title, fontsize=9)
    for axis, clip in zip(axes[0], shown, strict=True):
        axis.set_title(clip.clip_id, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    return figure


def _each(augment: augmentation.Augmentation) -> dict[str, dict[str, Any]]:
    """The settings of each augmentation that is on, by a title."""
    given = dataclasses.asdict(augment)
    kinds = {
        "gain": ("gain_db",),
        f"mixup of {augment.mixup_domain.replace('_', '-')}": ("mixup_alpha", "mixup_domain"),
        "time masks": ("time_masks", "time_mask_frames"),
        "frequency masks": ("frequency_masks", "frequency_mask_bands"),
    }
    return {
        title: {name: given[name] for name in names}
        for title, names in kinds.items()
        if given[names[0]]
    }


def _loudest(samples: np.ndarray) -> np.ndarray:
    """The patch that begins where a second of the most energy does; float32 `[15600]`."""
    samples = np.pad(samples, (0, max(features.PATCH_SAMPLES - len(samples), 0)))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[features.PATCH_SAMPLES :] - energy[: -features.PATCH_SAMPLES]))
    return samples[start : start + features.PATCH_SAMPLES]


def _apply(waveform: np.ndarray, settings: augmentation.Augmentation, seed: int) -> np.ndarray:
    count = len(waveform)
    batch = {
        "augment_seed": tf.range(seed * count, (seed + 1) * count, dtype=tf.int64),
        "labels": tf.zeros([count, 1]),
        "label_weights": tf.ones([count, 1]),
    }
    changed, batch = settings.of_waveform(tf.constant(waveform), batch)
    log_mel, _ = settings.of_log_mel(features.log_mel(changed), batch)
    return log_mel.numpy()
