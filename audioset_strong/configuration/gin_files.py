"""Gin files and bindings: where they are found, and how mistakes in them are reported.

gin's own includes are not used. gin looks an included "models/resnet50.gin" up in its search paths
only after the working directory and the Python path, and there it takes a folder `models` for a
package and fails. Nor does gin notice that a file includes itself.
"""

import difflib
import pathlib
import re
from collections.abc import Sequence

import gin

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
# Where a name became two.
_ALSO = {"frame_labels.rule": "for training, evaluate_workdirs.framing_rule for evaluation"}
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
    for name in gin_files:
        _parse_file(name, ())
    for binding in gin_params:
        _parse_text(binding, f"gin binding {binding!r}")
    try:
        gin.finalize()
    except ValueError as error:
        # "No bindings specified for 'NAME/gin.macro' in config string: ..."
        macro = str(error).partition("/gin.macro")[0].rpartition("'")[2]
        raise errors.InputError(f"gin macro %{macro} is used but never set") from error
    return gin.config_str()


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


def _parse_file(name: str, including: tuple[str, ...]) -> None:
    """Parses a file, and the files that it includes at the places where it does."""
    path = _find(name, f" (included by {including[-1]})" if including else "")
    if name in including:
        raise errors.InputError(f"gin file {name} includes itself ({' > '.join(including)})")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InputError(f"gin file {name}: cannot be read ({error})") from error
    # An odd number of parts: text, included name, text, included name, ..., text.
    parts = re.split(r"""^include\s+['"](.+)['"][ \t]*(?:#.*)?$""", text, flags=re.MULTILINE)
    for i, part in enumerate(parts):
        if i % 2:
            _parse_file(part, (*including, name))
        else:
            # Empty lines in front, so that gin counts lines as the file does.
            lines_before = sum(before.count("\n") for before in parts[:i:2])
            _parse_text("\n" * lines_before + part, f"gin file {name}")


def _parse_text(text: str, label_for_errors: str) -> None:
    if re.search(r"@(?:\w+/)*constant\b", text):  # which gin would take for a function of its own
        raise errors.InputError(f"{label_for_errors}: {_renamed(text)}")
    try:
        gin.parse_config(text)
    except (ValueError, SyntaxError, TypeError, OSError, RuntimeError, AttributeError) as error:
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
    """The first old name in bindings that gin refused, and its new one, in words."""
    for name, parameter, reference in _NAME.findall(text):
        if reference in NEW_NAMES:
            return f"@{reference} is now @{NEW_NAMES[reference]}"
        old = f"{name}.{parameter}"
        new = f"{NEW_NAMES.get(name, name)}.{parameter}"
        new = NEW_PARAMETERS.get(new, new)
        if new != old:
            also = f" {_ALSO[old]}" if old in _ALSO else ""
            return f"{old} is now {new}{also}"
    return None
