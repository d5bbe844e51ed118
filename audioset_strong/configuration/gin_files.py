"""Gin files and bindings: where they are found, and how mistakes in them are told."""

import difflib
import pathlib
import re
from collections.abc import Sequence

import gin

from audioset_strong.core import errors

CONFIG_FILE = "config.gin"


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
      errors.InputError: a file that is missing or a binding that gin cannot take.
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
    """Parses a file, its includes where they stand.

    gin would look an included "models/resnet50.gin" up as a resource of any Python package
    `models` first, and fail where the working directory has a folder of that name.
    """
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


def _parse_text(text: str, what: str) -> None:
    try:
        gin.parse_config(text)
    except (ValueError, SyntaxError, TypeError, OSError, RuntimeError, AttributeError) as error:
        raise errors.InputError(f"{what}: {' '.join(str(error).split())}") from error


def claim_workdir(workdir: str, config: str) -> None:
    """Makes `workdir` the home of the run that `config` describes, or checks that it is.

    Where the data lie (`train.data_dir`) is no part of a run: it may be moved. What they are is
    checked by `loop.train`.

    Args:
      workdir: created where it does not exist.
      config: what `parse` returned.

    Raises:
      errors.InputError: the directory holds a run of another config, or files that are no run.
    """
    directory = pathlib.Path(workdir)
    path = directory / CONFIG_FILE
    temporary = path.with_suffix(".tmp")
    try:
        held_names = {child.name for child in directory.iterdir()} if directory.exists() else set()
    except OSError as error:
        raise errors.InputError(f"{workdir}: {error.strerror}; take another --workdir") from error
    # A run that stopped at its first check (a wrong data directory, say) left only its config, and
    # an evaluation that was waiting for it its folder.
    begun = held_names - {path.name, temporary.name, "eval", "eval_ema"}
    if path.exists() and begun:
        held = path.read_text()
        if _without_places(held) != _without_places(config):
            raise errors.InputError(
                f"{workdir} holds a run of another config: {_difference(held, config)}; "
                "take another --workdir, or the same gin files and bindings"
            )
        return
    if begun:
        raise errors.InputError(
            f"{workdir} holds something else than a run (no {CONFIG_FILE}); take another --workdir"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary.write_text(config)
        temporary.replace(path)
    except OSError as error:
        raise errors.InputError(f"cannot write to {workdir}: {error.strerror}") from error


def _without_places(config: str) -> str:
    # gin breaks a long binding after "= \\" and indents what follows.
    return re.sub(r"^train\.data_dir = .*\n(    .*\n)*", "", config, flags=re.MULTILINE)


def _difference(held: str, wanted: str) -> str:
    before, after = (_without_places(text).splitlines() for text in (held, wanted))
    lines = [
        line
        for line in difflib.ndiff(before, after)
        if line[:2] in ("- ", "+ ") and line[2:].strip() and not line[2:].startswith("#")
    ]
    there = [line[2:].strip() for line in lines if line[0] == "-"]
    asked = [line[2:].strip() for line in lines if line[0] == "+"]
    return f"there {'; '.join(there) or 'nothing more'}, asked for {'; '.join(asked) or 'less'}"
