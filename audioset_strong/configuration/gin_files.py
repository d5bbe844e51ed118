"""Gin files and bindings: where they are found, and how mistakes in them are reported.

gin's own includes are not used. gin looks an included "models/resnet50.gin" up in its search paths
only after the working directory and the Python path, and there it takes a folder `models` for a
package and fails. Nor does gin notice that a file includes itself.
"""

import dataclasses
import difflib
import itertools
import pathlib
import re
import tokenize
from collections.abc import Iterator, Sequence

import gin

from audioset_strong.configuration import statements, value_types
from audioset_strong.configuration.statements import Statement
from audioset_strong.core import errors

# Old names, and the names that replaced them.
NEW_NAMES = {
    "log_mel": "FrontEnd",
    "single": "single_source",
    "mixture": "weak_strong_mixture",
    "constant": "constant_schedule",
    "steps": "step_schedule",
}
NEW_PARAMETERS = {
    "train.data_dir": "the flag --data_dir",
    "train.init_from": "the flag --init_from",
    "frame_labels.rule": "train.framing_rule",
    "single_source.fraction": "single_source.video_fraction",
    "single_source.smear": "single_source.propagate_to_ancestors",
    "weak_strong_mixture.strong_fraction": "weak_strong_mixture.strong_video_fraction",
    "weak_strong_mixture.smear": "weak_strong_mixture.propagate_to_ancestors",
    "Augmentation.time_mask_frames": "Augmentation.time_mask_stft_frames",
    "evaluate_workdirs.smear": "evaluate_workdirs.propagate_to_ancestors",
}
# Parameters that are gone, and why none took their place.
GONE = {
    "train_patches.shuffle_buffer": "every epoch is a permutation of all clips now; leave it out",
    "evaluate_workdirs.bootstrap_replicates": "intervals need no replicates now; for none of them, "
    "bind evaluate_workdirs.intervals = False",
}
# Where a name became two.
_ALSO = {"frame_labels.rule": "for training, evaluate_workdirs.framing_rule for evaluation"}
# What cannot be bound, because it follows from something else.
_FOLLOWS = {
    "train.strategy": "the flag --strategy says where training runs",
    "train.workdir": "the flag --workdir says it",
    "train.profile_steps": "the flag --profile_steps says it",
    "train_patches.batch_size": "bind train.batch_size",
    "train_patches.seed": "bind train.seed",
    "train_patches.sources": "bind train.sources",
    "resnet.num_classes": "it is the number of classes of the data",
    "resnet.input_shape": "it follows from FrontEnd.*",
    "resnet.class_priors": "they are those of the data; train.prior_bias = False leaves them out",
    "adam.learning_rate": "bind the schedule that train.learning_rate names",
    "single_source.data_dir": "the flag --data_dir says it",
    "weak_strong_mixture.data_dir": "the flag --data_dir says it",
    "evaluate_workdirs.select_metric": "bind select.metric",
    "evaluate_workdirs.workdirs": "the flag --workdir names them",
}
# Parameters of which one is enough. The one that is given last holds.
_ALTERNATIVES = (
    ("train.total_steps", "train.total_epochs", "train.total_examples"),
    ("train.checkpoint_every", "train.checkpoints"),
)
_NAME = re.compile(r"^[ \t]*(?:\w+/)*(\w+)\.(\w+)[ \t]*=|@(?:\w+/)*(\w+)", re.MULTILINE)


def gin_directory() -> pathlib.Path:
    """The folder of the project's gin files: inside the installed package, or beside a clone's."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / "gin"
    return installed if installed.is_dir() else package.parent / "gin"


def parse(gin_files: Sequence[str], gin_params: Sequence[str]) -> str:
    """Parses gin files and bindings, replacing what was parsed before.

    Args:
      gin_files: paths, from the working directory or from the project's gin folder
        ("table1/strong_67k.gin" works anywhere). Later files override earlier ones.
      gin_params: bindings, "name.parameter = value"; they override the files.

    Returns:
      The bindings as canonical text: equal configurations give equal texts.

    Raises:
      errors.InputError: a file is missing, or gin cannot take a binding.
    """
    gin.clear_config()
    levels = itertools.count()
    _given.clear()
    for name in gin_files:
        _given.extend(_parse_file(name, (), levels))
    level = next(levels)
    for binding in gin_params:
        read = _parse_text(binding, f"gin binding {binding!r}")
        _given.extend(dataclasses.replace(each, level=level, on_command_line=True) for each in read)
    for alternatives in _ALTERNATIVES:
        _keep_last(alternatives)
    try:
        gin.finalize()
    except ValueError as error:
        # "No bindings specified for 'NAME/gin.macro' in config string: ..."
        macro = str(error).partition("/gin.macro")[0].rpartition("'")[2]
        raise errors.InputError(f"gin macro %{macro} is used but never set") from error
    value_types.check(_given)
    return gin.config_str()


# The statements of the last `parse`. gin's bindings are global, and so is what is known of them.
_given: list[Statement] = []


def given() -> tuple[Statement, ...]:
    """What `parse` has read, in its order; see `statements`."""
    return tuple(_given)


def _keep_last(alternatives: Sequence[str]) -> None:
    """Unbinds all but the one of several parameters that was given last."""
    holding = statements.effective(_given)
    bound = [holding[n] for n in alternatives if n in holding and holding[n].value is not None]
    last = max((statement.level for statement in bound), default=0)
    together = [statement for statement in bound if statement.level == last]
    if len(together) > 1:
        raise errors.InputError(f"{' and '.join(map(str, together))}: give one of them")
    for statement in bound:
        if statement.level < last:
            gin.bind_parameter(statement.key, None)
            _given.append(dataclasses.replace(statement, value=None, level=last))


def _find(name: str, included_by: str) -> pathlib.Path:
    for path in (pathlib.Path(name), gin_directory() / name):
        if path.is_file():
            return path
    known = sorted(
        path.relative_to(gin_directory()).as_posix() for path in gin_directory().rglob("*.gin")
    )
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
    raise errors.InputError(
        f"gin file {name!r}{included_by} not found, neither here nor in {gin_directory()}; "
        f"close ones: {', '.join(close)}"
    )


def _parse_file(name: str, including: tuple[str, ...], levels: Iterator[int]) -> list[Statement]:
    """Parses a file, and the files that it includes at the places where it does."""
    path = _find(name, f" (included by {including[-1]})" if including else "")
    if name in including:
        raise errors.InputError(f"gin file {name} includes itself ({' > '.join(including)})")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InputError(f"gin file {name}: cannot be read ({error})") from error
    # An odd number of parts: text, included name, text, included name, ..., text.
    parts = re.split(r"""^include\s+['"](.+)['"][ \t]*(?:#.*)?$""", text, flags=re.MULTILINE)
    included: dict[int, list[Statement]] = {}
    own: dict[int, list[Statement]] = {}
    for i, part in enumerate(parts):
        if i % 2:
            included[i] = _parse_file(part, (*including, name), levels)
        else:
            # Empty lines in front, so that gin counts lines as the file does.
            lines_before = sum(before.count("\n") for before in parts[:i:2])
            own[i] = _parse_text("\n" * lines_before + part, f"gin file {name}")
    level = next(levels)  # after those of the files that it includes
    for i, read in own.items():
        own[i] = [dataclasses.replace(statement, level=level) for statement in read]
    return [statement for _, read in sorted((own | included).items()) for statement in read]


def _parse_text(text: str, label_for_errors: str) -> list[Statement]:
    if re.search(r"@(?:\w+/)*constant\b", text):  # which gin would take for a function of its own
        raise errors.InputError(f"{label_for_errors}: {_renamed(text)}")
    try:
        gin.parse_config(text)
        return statements.read(text)
    except tokenize.TokenError as error:
        raise errors.InputError(f"{label_for_errors}: a bracket or quote is not closed") from error
    except (
        AttributeError,
        ImportError,
        OSError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as error:
        renamed = _renamed(text)
        if renamed:
            raise errors.InputError(f"{label_for_errors}: {renamed}") from error
        if "No configurable matching 'FrontEnd'" in str(error):
            raise errors.InputError(
                f"{label_for_errors}: the front end is that of each run's run.json; it cannot be "
                "bound here"
            ) from error
        raise errors.InputError(f"{label_for_errors}: {' '.join(str(error).split())}") from error


def _renamed(text: str) -> str | None:
    """What to bind instead of the first old or impossible name in bindings that gin refused."""
    for name, parameter, reference in _NAME.findall(text):
        if f"{name}.{parameter}" in _FOLLOWS:
            return f"{name}.{parameter} cannot be bound: {_FOLLOWS[f'{name}.{parameter}']}"
        if reference in NEW_NAMES:
            return f"@{reference} is now @{NEW_NAMES[reference]}"
        old = f"{name}.{parameter}"
        new = f"{NEW_NAMES.get(name, name)}.{parameter}"
        new = NEW_PARAMETERS.get(new, new)
        if new in GONE:
            return f"{old} is gone: {GONE[new]}"
        if new != old:
            also = f" {_ALSO[old]}" if old in _ALSO else ""
            return f"{old} is now {new}{also}"
    return None
