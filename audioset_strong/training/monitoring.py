"""What people watch in TensorBoard while a model trains."""

import contextlib
import pathlib
import resource
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import augmentation
from audioset_strong.labels import vocabularies

PICTURES = 6
_SCALE = 3  # pixels a log-mel value


def write_scalars(values: dict[str, float], step: int) -> None:
    """Scalars of the calls since the last ones, and the memory in use."""
    for name, value in values.items():
        tf.summary.scalar(name, value, step)
    tf.summary.scalar("memory/host_mb", _resident_mb(), step)
    for i, device in enumerate(tf.config.list_logical_devices("GPU")):
        used = tf.config.experimental.get_memory_info(device.name)["peak"] / 2**20
        tf.summary.scalar(f"memory/gpu{i}_peak_mb", used, step)


def _resident_mb() -> float:
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:  # no Linux: the highest so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_inputs(
    batch: dict[str, tf.Tensor], vocabulary: vocabularies.Vocabulary, step: int
) -> None:
    """Pictures of a batch's first patches, and their labels as text.

    Args:
      batch: log_mel float32 `[batch, 96, 64]`; labels float32 `[batch, classes]`; clip_id and start
        (samples) of each.
      vocabulary: of the labels.
      step: that the batch is for.
    """
    batch = {name: np.asarray(value)[:PICTURES] for name, value in batch.items()}
    log_mel = batch["log_mel"]
    low = augmentation.SILENCE
    high = max(float(log_mel.max()), low + 1e-6)
    grey = np.clip((log_mel - low) / (high - low), 0.0, 1.0)
    upright = grey.transpose(0, 2, 1)[:, ::-1, :, np.newaxis]  # high frequencies on top
    large = upright.repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
    tf.summary.image("inputs", large.astype(np.float32), step, max_outputs=PICTURES)
    rows = ["| picture | clip | start | labels |", "|---|---|---|---|"]
    for i in range(len(log_mel)):
        labels = batch["labels"][i]
        named = [
            vocabulary.names[k] + ("" if labels[k] == 1 else f" ({labels[k]:.2f})")
            for k in np.flatnonzero(labels)
        ]
        start = int(batch["start"][i]) / features.SAMPLE_RATE
        clip_id = batch["clip_id"][i].decode()
        rows.append(f"| {i} | {clip_id} | {start:.2f} s | {', '.join(named) or '-'} |")
    tf.summary.text("input_labels", "\n".join(rows), step)


def write_histograms(net: keras.Model, step: int) -> None:
    """The distribution of each weight."""
    for weight in net.trainable_variables:
        tf.summary.histogram(f"weights/{weight.path}", weight.value, step)


def check_profile_steps(steps: Sequence[int] | None) -> None:
    """Checks `Profile`'s argument.

    Raises:
      errors.InputError: not two steps in order.
    """
    if steps is not None and (len(steps) != 2 or not 0 <= steps[0] < steps[1]):
        raise errors.InputError(
            f"profile_steps = {list(steps)}: must be two steps, the first lower"
        )


class Profile(contextlib.AbstractContextManager):
    """Profiles a run from one step to another, for TensorBoard's profiler."""

    def __init__(self, directory: str, steps: Sequence[int] | None):
        self._directory, self._steps = directory, steps
        self._running = False

    def ends(self) -> Iterator[int]:
        """Steps at which calls of several steps must end."""
        yield from self._steps or ()

    def at(self, step: int) -> None:
        """Starts or stops, where `step` says so."""
        if self._steps is None:
            return
        if not self._running and self._steps[0] <= step < self._steps[1]:
            tf.profiler.experimental.start(self._directory)
            self._running = True
        elif self._running and step >= self._steps[1]:
            self._stop()

    def _stop(self) -> None:
        tf.profiler.experimental.stop()
        self._running = False

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._stop()
