"""What gin can bind for every binary. Only this room imports gin.

Classes and functions are registered here and nowhere else; they keep their own defaults, so tests
and notebooks call them plainly. Binaries call the functions of this room, which turn bindings into
plain arguments.
"""

import dataclasses
from typing import Any

import gin

from audioset_strong.audio import features
from audioset_strong.core import errors

_front_end = gin.external_configurable(features.FrontEnd, "FrontEnd", module="features")


def front_end() -> features.FrontEnd:
    """The front end that the bindings of `FrontEnd.*` describe.

    Raises:
      errors.InputError: bindings that describe no front end.
    """
    return _front_end()


def require(name: str, configurable: Any, settings: type, example: str) -> None:
    """Checks that gin binds every field of a dataclass that has no default.

    Args:
      name: that the dataclass is registered under.
      configurable: what `gin.external_configurable` returned for it.
      settings: the dataclass.
      example: what a user could give to bind them, for the message.

    Raises:
      errors.InputError: naming what is missing.
    """
    bound = gin.get_bindings(configurable, resolve_references=False)
    missing = [
        f"{name}.{field.name}"
        for field in dataclasses.fields(settings)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in bound
    ]
    if missing:
        raise errors.InputError(f"no binding of {', '.join(missing)}: give {example}")
