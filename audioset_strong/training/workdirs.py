"""The directory of a training run: the names of its files, and whose directory it is.

config.gin               the bindings of the run, for people and for `claim`
run.json                 what the run is, as data; see `run_info`
model.json               the architecture of the model
checkpoints/step-N.*     weights, and their moving average if the run keeps one: evaluation chooses
                         among these
checkpoints/resume-N.*   the same with the optimizer's state, to resume from; there is only one
train/                   TensorBoard events and profiles
initialization.json      of a fine-tuned run: where its weights came from
diverged.json            the step and the clips at which the loss became non-finite
finished.json            written last: the run is complete
selection.json           the checkpoint that evaluation selected

An export holds run.json, model.json and weights/step-N.* instead of checkpoints/.
"""

import os
import re
from collections.abc import Collection, Iterator

from audioset_strong.core import errors, files, locks

CONFIG_FILE = "config.gin"
RUN_FILE = "run.json"
MODEL_FILE = "model.json"
CHECKPOINT_DIR = "checkpoints"
EXPORT_DIR = "weights"
EVENTS_DIR = "train"
INITIALIZATION_FILE = "initialization.json"
DIVERGED_FILE = "diverged.json"
FINISHED_FILE = "finished.json"
SELECTION_FILE = "selection.json"
# Where evaluation keeps its results: of the weights, and of their moving average.
EVAL_DIRS = EVAL_DIR, EMA_DIR = ("eval", "eval_ema")
RESULTS_FILE = "results.csv"
# A run that was killed before run.json, or that an earlier version refused at its first check, left
# only its config; an evaluation that was waiting for the run left its folder.
_NO_SIGN_OF_A_RUN = {CONFIG_FILE, locks.LOCK, *EVAL_DIRS}
# Bindings that do not change what is learnt, so that a run may continue with other ones.
_FREE = {
    f"train.{name}"
    for name in (
        "checkpoint_every",
        "checkpoints",
        "histograms_every",
        "inputs_every",
        "keep_checkpoints",
        "resume_every_s",
        "steps_per_call",
    )
}
_LENGTH = {f"train.total_{unit}" for unit in ("steps", "epochs", "examples")}


def check(workdir: str, config: str, *, extend: bool = False) -> None:
    """Checks that `workdir` is, or can become, the directory of the run that `config` describes.

    A run may continue with another `config` as far as that does not change what is learnt.

    Args:
      workdir: need not exist.
      config: the bindings as canonical text, as `gin_files.parse` returns them.
      extend: whether the length of the run may be another one, too.

    Raises:
      errors.InputError: the directory holds a run of another config, or files that are not a run's.
    """
    try:
        found = set(files.names(workdir))
    except OSError as error:
        reason = files.reason(error)
        raise errors.InputError(f"{workdir}: {reason}; take another --workdir") from error
    begun = {name for name in found - _NO_SIGN_OF_A_RUN if not name.endswith(files.TEMPORARY)}
    if not begun:
        return
    if CONFIG_FILE not in found:
        raise errors.InputError(
            f"{workdir} holds something other than a run (no {CONFIG_FILE}); take another --workdir"
        )
    ignored = _FREE | (_LENGTH if extend else set())
    difference = _difference(_stored(workdir), config, ignoring=ignored)
    if difference:
        raise errors.InputError(
            f"{workdir} holds a run of another config: {difference}; take another --workdir, or "
            "the same gin files and bindings"
        )


def claim(workdir: str, config: str, *, extend: bool = False) -> None:
    """Makes `workdir` the directory of the run that `config` describes; arguments as `check`'s.

    Raises:
      errors.InputError: see `check`; or the directory cannot be written.
    """
    check(workdir, config, extend=extend)
    path = os.path.join(workdir, CONFIG_FILE)
    with files.writing(path):
        files.make_directory(workdir)
        if not files.exists(path) or _stored(workdir) != config:
            files.write_text(path, config)


def _stored(workdir: str) -> str:
    path = os.path.join(workdir, CONFIG_FILE)
    with files.reading(path):
        return files.read_text(path)


def _difference(stored: str, wanted: str, *, ignoring: Collection[str]) -> str | None:
    """In which bindings two configs differ, in words; None if in none that matters."""
    old, new = (dict(_bindings(text)) for text in (stored, wanted))
    changed = [
        name
        for name in sorted(old.keys() | new.keys())
        if name not in ignoring and old.get(name) != new.get(name)
    ]
    if not changed:
        return None
    had, has = (
        "; ".join(f"{name} = {config[name]}" for name in changed if name in config)
        for config in (old, new)
    )
    return f"it has {had or 'nothing more'}, this one {has or 'less'}"


def _bindings(config: str) -> Iterator[tuple[str, str]]:
    """Name and value of each binding of a canonical config; long values span indented lines."""
    for line in re.split(r"\n(?![ \n])", config):
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            yield name.strip(), " ".join(value.replace("\\\n", " ").split())
