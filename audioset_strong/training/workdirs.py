"""The directory of a training run: the names of its files, and whose directory it is.

config.gin               the bindings of the run, for people and for `claim`
run.json                 what the run is, as data; see `run_info`
model.json               the architecture of the model
checkpoints/step-N.*     weights, their moving average if the run keeps one, optimizer and step:
                         evaluation chooses among these
checkpoints/resume-N.*   the same, only to resume from; replaced by the next checkpoint
train/                   TensorBoard events and profiles
initialization.json      of a fine-tuned run: where its weights came from
diverged.json            the step and the clips at which the loss became non-finite
finished.json            written last: the run is complete
selection.json           the checkpoint that evaluation selected

An export holds run.json, model.json and weights/step-N.* instead of checkpoints/.
"""

import difflib
import os

from audioset_strong.core import errors, files

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
# A run that stopped at its first check (a wrong data directory, say) left only its config, and an
# evaluation that was waiting for the run left its folder.
_NO_SIGN_OF_A_RUN = {CONFIG_FILE, files.LOCK, "eval", "eval_ema"}


def claim(workdir: str, config: str) -> None:
    """Makes `workdir` the directory of the run that `config` describes, or checks that it is.

    Args:
      workdir: created if it does not exist.
      config: the bindings as canonical text, as `gin_files.parse` returns them.

    Raises:
      errors.InputError: the directory holds a run of another config, or files that are not a run's.
    """
    path = os.path.join(workdir, CONFIG_FILE)
    try:
        found = set(files.names(workdir))
    except OSError as error:
        reason = files.reason(error)
        raise errors.InputError(f"{workdir}: {reason}; take another --workdir") from error
    begun = {name for name in found - _NO_SIGN_OF_A_RUN if not name.endswith(files.TEMPORARY)}
    if begun and CONFIG_FILE in found:
        stored = files.read_text(path)
        if stored != config:
            raise errors.InputError(
                f"{workdir} holds a run of another config: {_difference(stored, config)}; take "
                "another --workdir, or the same gin files and bindings"
            )
        return
    if begun:
        raise errors.InputError(
            f"{workdir} holds something other than a run (no {CONFIG_FILE}); take another --workdir"
        )
    with files.writing(path):
        files.make_directory(workdir)
        files.write_text(path, config)


def _difference(stored: str, wanted: str) -> str:
    lines = [
        line
        for line in difflib.ndiff(stored.splitlines(), wanted.splitlines())
        if line[:2] in ("- ", "+ ") and line[2:].strip() and not line[2:].startswith("#")
    ]
    removed = [line[2:].strip() for line in lines if line[0] == "-"]
    added = [line[2:].strip() for line in lines if line[0] == "+"]
    return f"it has {'; '.join(removed) or 'nothing more'}, this one {'; '.join(added) or 'less'}"
