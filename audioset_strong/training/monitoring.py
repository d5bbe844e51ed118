"""What people watch in TensorBoard while a model trains.

It sorts groups of tags by their names, upper case first: `Training` holds what is watched first,
`details`, `memory`, `inputs`, `run` and `weights` everything else. `evaluation.dashboard` names the
groups of evaluation.
"""

import contextlib
import os
import pathlib
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs.batches import TrainBatch
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.training import workdirs
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.settings import TrainSettings

FIRST = ("loss", "learning_rate")  # scalars that are watched first
_PICTURES = 6
_SCALE = 3  # pixels per log-mel value


class Monitor(contextlib.AbstractContextManager):
    """Writes a run's scalars, histograms, pictures of inputs and profile, in the chief process."""

    def __init__(
        self,
        workdir: str,
        net: keras.Model,
        *,
        run: RunInfo,
        settings: TrainSettings,
        preview: Callable[[int, int], TrainBatch],
        chief: bool = True,
        profile_steps: Sequence[int] | None = None,
    ):
        """Opens the event file.

        Args:
          workdir: directory of the run; events go to `train/` in it.
          net: the network that is trained.
          run: the facts of the run.
          settings: its settings, which say what is written how often.
          preview: from a number of examples and a step to a batch; see `TrainInput.preview`.
          chief: whether this process writes; others write nothing.
          profile_steps: first and last step to profile.
        """
        self._net, self._run, self._preview, self._chief = net, run, preview, chief
        self._inputs_every = settings.inputs_every
        self._histograms_every = settings.histograms_every
        directory = os.path.join(workdir, workdirs.EVENTS_DIR)
        self._profile = Profile(directory, profile_steps if chief else None)
        if chief:
            self._writer = tf.summary.create_file_writer(directory)
        else:
            self._writer = tf.summary.create_noop_writer()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Monitor":
        self._stack.enter_context(self._writer.as_default())
        self._stack.enter_context(self._profile)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def begin(self, step: int, config_text: str) -> None:
        """Writes what is known before the first step: the run, and pictures of its inputs.

        Args:
          step: number of steps done.
          config_text: the bindings that the run comes from.
        """
        for name, text in (("config", config_text), ("facts", self._run.summary())):
            tf.summary.text(
                f"run/{name}", "\n".join(f"    {line}" for line in text.splitlines()), step
            )
        if self._chief:
            self._write_inputs(step)

    def before(self, step: int) -> None:
        """Starts or stops the profiler where a call of several steps begins."""
        self._profile.at(step)

    def ends(self, step: int) -> list[int]:
        """The steps after `step` at which a call of several steps must end."""
        periods = [every for every in (self._inputs_every, self._histograms_every) if every]
        profiled = [end for end in self._profile.ends() if end > step]
        return [next_multiple(step, every) for every in periods] + profiled

    def after(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of a call, and whatever else is due at its last step."""
        write_scalars(scalars, step)
        if self._histograms_every and step % self._histograms_every == 0:
            write_histograms(self._net, step)
        if self._chief and self._inputs_every and step % self._inputs_every == 0:
            self._write_inputs(step)

    def flush(self) -> None:
        """Makes everything visible to readers of the event file."""
        self._writer.flush()

    def _write_inputs(self, step: int) -> None:
        batch = self._preview(_PICTURES, step)
        write_inputs(batch, step, vocabulary=self._run.vocabulary, front_end=self._run.front_end)


def next_multiple(step: int, every: int) -> int:
    """The first multiple of `every` after `step`.

    >>> next_multiple(10, 5), next_multiple(11, 5)
    (15, 15)
    """
    return (step // every + 1) * every


def scalar_tag(name: str) -> str:
    """The tag of a scalar of training.

    >>> scalar_tag("loss"), scalar_tag("gradient_norm")
    ('Training/loss', 'details/gradient_norm')
    """
    return f"{'Training' if name in FIRST else 'details'}/{name}"


def write_scalars(values: Mapping[str, float], step: int) -> None:
    """Writes scalars to the default event writer, with the memory in use.

    Args:
      values: scalars by name.
      step: of the scalars.
    """
    for name, value in values.items():
        tf.summary.scalar(scalar_tag(name), value, step)
    tf.summary.scalar("memory/host_mb", _resident_mb(), step)
    for i, device in enumerate(tf.config.list_logical_devices("GPU")):
        used = tf.config.experimental.get_memory_info(device.name)["peak"] / 2**20
        tf.summary.scalar(f"memory/gpu{i}_peak_mb", used, step)


def _resident_mb() -> float:
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:  # not Linux: the highest so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_inputs(
    batch: TrainBatch, step: int, *, vocabulary: Vocabulary, front_end: FrontEnd
) -> None:
    """Writes pictures of a batch's patches, and their labels as text.

    Args:
      batch: log_mel float32 `[batch, stft_frames, bands]`; labels float32 `[batch, classes]`;
        clip_id and start (in samples) of each example.
      step: of the pictures.
      vocabulary: of the labels.
      front_end: of the log-mel.
    """
    arrays = {name: np.asarray(value) for name, value in batch.items()}
    log_mel = arrays["log_mel"]
    low = front_end.silence
    high = max(float(log_mel.max()), low + 1e-6)
    grey = np.clip((log_mel - low) / (high - low), 0.0, 1.0)
    upright = grey.transpose(0, 2, 1)[:, ::-1, :, np.newaxis]  # high frequencies on top
    large = upright.repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
    tf.summary.image("inputs/patches", large.astype(np.float32), step, max_outputs=len(large))
    rows = ["| picture | clip | start | labels |", "|---|---|---|---|"]
    for i in range(len(log_mel)):
        labels = arrays["labels"][i]
        named = [
            vocabulary.names[k] + ("" if labels[k] == 1 else f" ({labels[k]:.2f})")
            for k in np.flatnonzero(labels)
        ]
        start = int(arrays["start"][i]) / front_end.sample_rate
        clip_id = arrays["clip_id"][i].decode()
        rows.append(f"| {i} | {clip_id} | {start:.2f} s | {', '.join(named) or '-'} |")
    tf.summary.text("inputs/labels", "\n".join(rows), step)


def write_histograms(net: keras.Model, step: int) -> None:
    """Writes the distribution of each weight.

    Args:
      net: whose trainable weights are meant.
      step: of the histograms.
    """
    for weight in net.trainable_variables:
        tf.summary.histogram(f"weights/{weight.path}", weight.value, step)


def check_profile_steps(steps: Sequence[int] | None) -> None:
    """Checks the argument of `Profile`.

    Raises:
      errors.InputError: these are not two steps in order.
    """
    if steps is not None and (len(steps) != 2 or not 0 <= steps[0] < steps[1]):
        raise errors.InputError(
            f"profile_steps = {list(steps)}: must be two steps, the first lower"
        )


class Profile(contextlib.AbstractContextManager):
    """Profiles a run from one step to another, for TensorBoard's profiler."""

    def __init__(self, directory: str, steps: Sequence[int] | None):
        """Takes the first and the last step; None profiles nothing."""
        self._directory, self._steps = directory, steps
        self._running = False

    def ends(self) -> Iterator[int]:
        """Steps at which calls of several steps must end."""
        yield from self._steps or ()

    def at(self, step: int) -> None:
        """Starts or stops profiling if this is the step to do so."""
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
