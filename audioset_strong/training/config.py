"""Gin files and bindings: where they are found, and how mistakes in them are told."""

import difflib
import os
import pathlib
from collections.abc import Callable, Sequence

import gin

from audioset_strong import errors

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
    for name in gin_files:
        if not os.path.exists(name) and not (gin_directory() / name).exists():
            known = sorted(
                path.relative_to(gin_directory()).as_posix()
                for path in gin_directory().rglob("*.gin")
            )
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
            raise errors.InputError(
                f"gin file {name!r} not found, neither here nor in {gin_directory()}; "
                f"close ones: {', '.join(close)}"
            )
    gin.clear_config()
    gin.add_config_file_search_path(str(gin_directory()))
    for name in gin_files:
        _try(lambda name=name: gin.parse_config_file(name), f"gin file {name}")
    for binding in gin_params:
        _try(lambda binding=binding: gin.parse_config(binding), f"gin binding {binding!r}")
    return gin.config_str()


def _try(parse_one: Callable[[], object], what: str) -> None:
    try:
        parse_one()
    except (ValueError, SyntaxError, TypeError, OSError, RuntimeError, AttributeError) as error:
        raise errors.InputError(f"{what}: {' '.join(str(error).split())}") from error


def claim_workdir(workdir: str, config: str) -> None:
    """Makes `workdir` the home of the run that `config` describes, or checks that it is.

    Args:
      workdir: created where it does not exist.
      config: what `parse` returned.

    Raises:
      errors.InputError: the directory holds a run of another config, or files that are no run.
    """
    directory = pathlib.Path(workdir)
    path = directory / CONFIG_FILE
    if path.exists():
        held = path.read_text()
        if held != config:
            raise errors.InputError(
                f"{workdir} holds a run of another config: {_difference(held, config)}; "
                "take another --workdir, or the same gin files and bindings"
            )
        return
    if directory.exists() and (not directory.is_dir() or (directory / "checkpoints").exists()):
        raise errors.InputError(
            f"{workdir} is no directory of ours (no {CONFIG_FILE}); take another --workdir"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(config)
        temporary.replace(path)
    except OSError as error:
        raise errors.InputError(f"cannot write to {workdir}: {error.strerror}") from error


def _difference(held: str, wanted: str) -> str:
    lines = [
        line
        for line in difflib.ndiff(held.splitlines(), wanted.splitlines())
        if line[:2] in ("- ", "+ ") and line[2:].strip() and not line[2:].startswith("#")
    ]
    there = [line[2:].strip() for line in lines if line[0] == "-"]
    asked = [line[2:].strip() for line in lines if line[0] == "+"]
    return f"there {'; '.join(there) or 'nothing more'}, asked for {'; '.join(asked) or 'less'}"
