"""Output directories that belong to one experiment: a second run must have the same settings."""

import json
from collections.abc import Mapping
from typing import Any

from audioset_strong.core import errors, files

_CHOOSE = "choose another --output_dir"


def claim_directory(
    directory: files.Place, settings_file: str, *, settings: Mapping[str, Any], experiment: str
) -> None:
    """Makes a directory the home of an experiment, or checks that it already is.

    Args:
      directory: created if it does not exist; otherwise empty, or claimed before.
      settings_file: name of the JSON file in it that holds the settings.
      settings: what must be equal when the experiment is continued; JSON values.
      experiment: "demo" or "sweep", for messages.

    Raises:
      errors.InputError: the directory holds an experiment with other settings, or something else,
        or it cannot be written.
    """
    path = directory / settings_file
    wanted = json.loads(json.dumps(settings))  # as they are read back: tuples become lists
    if files.exists(path):
        differences = _differences(_read(path), wanted)
        if differences:
            raise errors.InputError(
                f"{directory} holds a {experiment} with other settings ({differences}); {_CHOOSE}"
            )
        return
    if files.names(directory):
        raise errors.InputError(
            f"{directory} holds something other than a {experiment} (no {settings_file}); {_CHOOSE}"
        )
    with files.writing(directory):
        files.make_directory(directory)
        files.write_json(path, wanted)


def _read(path: files.Place) -> dict[str, Any]:
    try:
        with files.reading(path):
            settings = files.read_json(path)
    except errors.InputError:
        raise
    except ValueError as error:
        raise errors.InputError(f"{path}: not JSON ({error}); {_CHOOSE}") from error
    if not isinstance(settings, dict):
        raise errors.InputError(f"{path}: not the settings of an experiment; {_CHOOSE}")
    return settings


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The settings that differ, in words; "" where all are equal."""
    missing = object()
    return ", ".join(
        f"{name} = {stored.get(name, 'not set')!r} there, {wanted.get(name, 'not set')!r} here"
        for name in dict.fromkeys([*stored, *wanted])
        if stored.get(name, missing) != wanted.get(name, missing)
    )
