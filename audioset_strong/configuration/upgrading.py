"""Writes the `run.json` of runs and exports of the first version, which had none.

That version kept the facts of a run in its `config.gin` and `model.json`. `upgrade` reads both
once, with gin's own parser, gives the bindings their present names, and turns them into what
train.py would make of them today.
"""

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from typing import Any

from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.configuration import gin_files, statements, training_bindings
from audioset_strong.core import errors, files
from audioset_strong.inputs import joint_datasets
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.training import workdirs
from audioset_strong.training.run_info import DatasetFacts, RunInfo, dataset_facts

OLD_CONFIG_FILE = "config_before_upgrade.gin"
_EVALUATIONS = ("eval", "eval_ema", workdirs.SELECTION_FILE)


@dataclasses.dataclass(frozen=True)
class OldConfig:
    """The bindings of a run of the first version.

    Attributes:
      bindings: lines such as "weak_strong_mixture.mu = 0.8", with the present names.
      data_dir: directory of the run's datasets.
      init_from: what the weights were started from; None for a run from scratch.
    """

    bindings: tuple[str, ...]
    data_dir: str
    init_from: str | None


def upgrade(workdir: str, *, data_dir: str | None = None) -> list[str]:
    """Writes `run.json`, and gives the bindings in `config.gin` their present names.

    The text of `config.gin` as it was is kept in `config_before_upgrade.gin`. What cannot be known
    is stored as unknown: the versions; and the sizes of datasets that are no longer there, or no
    longer those that the run was trained on.

    Args:
      workdir: of a training run, or an export.
      data_dir: where the datasets of the run are now; by default, where the run found them.

    Returns:
      Sentences on what the user should know.

    Raises:
      errors.InputError: there is a `run.json` already; `config.gin` or `model.json` is missing or
        damaged; a binding has no meaning today; or `data_dir` does not hold the run's datasets.
    """
    if files.exists(os.path.join(workdir, workdirs.RUN_FILE)):
        raise errors.InputError(f"{workdir}: has a {workdirs.RUN_FILE} already")
    vocabulary, fingerprint = _read_model_json(workdir)
    config_path = os.path.join(workdir, workdirs.CONFIG_FILE)
    with files.reading(config_path):
        config_text = files.read_text(config_path)
    old = translate(config_text, config_path)
    new_text = gin_files.parse([], old.bindings)
    bound = training_bindings.training_run(data_dir or old.data_dir, ignore_unused=True)
    _check_front_end(bound.front_end, config_path)
    paths = [path for source in bound.sources for path in source.datasets]
    facts = _known_facts(paths, fingerprint)
    if facts is None and data_dir is not None:
        raise errors.InputError(
            f"{data_dir}: does not hold the datasets that the run was trained on: "
            f"{', '.join(os.path.basename(path) for path in dict.fromkeys(paths))}"
        )
    run = RunInfo(
        front_end=bound.front_end,
        sources=bound.sources,
        vocabulary=vocabulary,
        data_fingerprint=fingerprint,
        datasets=facts or _unknown_facts(paths),
        seed=bound.settings.seed,
        batch_size=bound.settings.batch_size,
        total_steps=bound.settings.length(epoch_examples=1.0).total_steps,
        framing_rule=bound.framing_rule,
        precision=bound.settings.precision,
        ema_decay=bound.settings.ema_decay,
        init_from=old.init_from,
        augmentation=dataclasses.asdict(bound.augmentation),
        stream=dataclasses.asdict(bound.stream),
    )
    with files.writing(workdir):
        files.write_text(os.path.join(workdir, OLD_CONFIG_FILE), config_text)
        run.write(workdir)
        files.write_text(config_path, new_text)
    return _notes(workdir, run, facts_known=facts is not None)


def translate(text: str, path: str = workdirs.CONFIG_FILE) -> OldConfig:
    """Gives bindings of the first version their present names.

    >>> old = translate("train.data_dir = 'data'\\nmixture.mu = %MU\\nMU = 0.8")
    >>> old.data_dir, old.bindings
    ('data', ('weak_strong_mixture.mu = %MU', 'MU = 0.8'))

    Args:
      text: of a `config.gin`.
      path: names it in messages.

    Raises:
      errors.InputError: the text is not gin's, or does not bind `train.data_dir`.
    """
    try:
        if re.search(r"^[ \t]*(?:import|from|include)\b", text, re.MULTILINE):
            raise ValueError("it imports or includes something else")
        given = statements.read(text)
    except (SyntaxError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise errors.InputError(f"{path}: not the bindings of a run ({reason})") from error
    bindings: list[str] = []
    flags: dict[str, Any] = {}
    for one in given:
        name, value = one.name, statements.changed(one.value, _renamed)
        if one.parameter:
            name = _new_name(name)
            new = f"{name}.{one.parameter}"
            new = gin_files.NEW_PARAMETERS.get(new, new)
            if new in (_flag("data_dir"), _flag("init_from")):
                flags[one.parameter] = value
                continue
            if new in gin_files.GONE:
                continue
            name = new
        bindings.append(f"{one.scope}/{name} = {value!r}".removeprefix("/"))
    macros = statements.effective(given)
    values = {name: statements.resolved(value, macros) for name, value in flags.items()}
    if not isinstance(values.get("data_dir"), str):
        raise errors.InputError(f"{path}: does not bind train.data_dir; is it of a training run?")
    init_from = values.get("init_from")
    return OldConfig(
        tuple(bindings), values["data_dir"], init_from if isinstance(init_from, str) else None
    )


def _renamed(value: Any) -> Any:
    """A reference under its present name; everything else as it is."""
    if isinstance(value, statements.Reference):
        return dataclasses.replace(value, name=_new_name(value.name))
    return value


def _new_name(name: str) -> str:
    return gin_files.NEW_NAMES.get(name, name)


def _flag(name: str) -> str:
    """What `gin_files.NEW_PARAMETERS` says of a parameter that became a flag."""
    return gin_files.NEW_PARAMETERS[f"train.{name}"]


def _read_model_json(workdir: str) -> tuple[Vocabulary, str | None]:
    """The vocabulary, and the fingerprint of the training data where it is known."""
    path = os.path.join(workdir, workdirs.MODEL_FILE)
    with files.reading(path):
        text = files.read_text(path)
    try:
        values = json.loads(text)
        return Vocabulary.from_json(values["vocabulary"]), values.get("data")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else repr(error)
        raise errors.InputError(
            f"{path}: not the model of a first version's run ({reason}); if a {workdirs.RUN_FILE} "
            "was lost, restore it from a copy"
        ) from error


def _check_front_end(front_end: FrontEnd, path: str) -> None:
    """Refuses settings that the first version took, but with another meaning."""
    for name in ("sample_rate", "hop_samples", "num_bands"):
        value, only = getattr(front_end, name), getattr(DEFAULT_FRONT_END, name)
        if value != only:
            raise errors.InputError(
                f"{path}: log_mel.{name} = {value}: the version that trained this run worked with "
                f"{only} only; train it again with FrontEnd.{name}"
            )


def _known_facts(paths: Sequence[str], fingerprint: str | None) -> tuple[DatasetFacts, ...] | None:
    """The facts of the datasets; None unless they are those that the run was trained on."""
    try:
        infos = [DatasetInfo.load(path) for path in paths]
    except errors.InputError:
        return None
    if joint_datasets.fingerprint(paths) != fingerprint:
        return None
    return dataset_facts(paths, infos)


def _unknown_facts(paths: Sequence[str]) -> tuple[DatasetFacts, ...]:
    return tuple(DatasetFacts(path, os.path.basename(path)) for path in dict.fromkeys(paths))


def _notes(workdir: str, run: RunInfo, *, facts_known: bool) -> list[str]:
    notes = []
    if not facts_known:
        notes.append(
            "The datasets of the run are not where it found them, or not the same any more, so "
            "their sizes are stored as unknown. --data_dir says where they are now."
        )
    measured = [name for name in _EVALUATIONS if files.exists(os.path.join(workdir, name))]
    difference = run.front_end.difference(DEFAULT_FRONT_END)
    if difference and measured:
        notes.append(
            f"The model was trained with FrontEnd.{difference}, but the first version evaluated "
            f"with the default front end unless log_mel.* was bound for evaluation too. If it was "
            f"not, delete {', '.join(measured)} and evaluate again."
        )
    return notes
