"""What gin can bind in every binary. Only this package, `configuration`, imports gin.

Classes and functions are registered here and nowhere else, and only what gin calls has bindings
applied: tests and notebooks that call the same functions get their plain defaults. Binaries call
the functions of this package, which turn bindings into plain arguments.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gin

from audioset_strong.audio import features
from audioset_strong.core import errors

# What can be bound, by its name in gin files.
ORIGINALS: dict[str, Any] = {}
# Those parameters of each that cannot be bound, because whoever calls it gives them.
GIVEN: dict[str, tuple[str, ...]] = {}


def register(original: Any, name: str, *, module: str, denylist: Sequence[str] = ()) -> Any:
    """Makes a function or class bindable.

    Args:
      original: the function or class; it stays as it is.
      name: under which it is bound.
      module: in front of the name, for gin.
      denylist: parameters that cannot be bound, because whoever calls it gives them.

    Returns:
      What gin calls in its place, with the bindings applied.
    """
    ORIGINALS[name] = original
    GIVEN[name] = tuple(denylist)
    return gin.external_configurable(original, name, module=module, denylist=list(denylist))


_front_end = register(features.FrontEnd, "FrontEnd", module="features")


def front_end() -> features.FrontEnd:
    """The front end that the bindings of `FrontEnd.*` describe.

    Raises:
      errors.InputError: the bindings describe an impossible front end.
    """
    return _front_end()


def require(name: str, configurable: Callable, example: str, given: Sequence[str] = ()) -> None:
    """Checks that gin binds every parameter that has no default.

    Args:
      name: under which the configurable is registered.
      configurable: the class or function itself.
      example: what a user could give to bind them, for the message.
      given: parameters that the caller gives.

    Raises:
      errors.InputError: naming what is missing.
    """
    bound = gin.get_bindings(name, resolve_references=False)
    missing = [
        f"{name}.{parameter.name}"
        for parameter in inspect.signature(configurable).parameters.values()
        if parameter.default is parameter.empty
        and parameter.name not in bound
        and parameter.name not in given
    ]
    if missing:
        raise errors.InputError(f"no binding of {', '.join(missing)}: give {example}")


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Removes what gin appends to the errors of the functions that it calls.

    Raises:
      errors.InputError: the block raised one, or a value that gin needs for a call is not bound.
    """
    try:
        yield
    except errors.InputError as error:
        raise errors.InputError(_first_part(error)) from error
    except (TypeError, RuntimeError) as error:
        if "No values supplied by Gin" not in str(error) and "Required bindings" not in str(error):
            raise
        raise errors.InputError(_first_part(error)) from error


def _first_part(error: Exception) -> str:
    return str(error).partition("\n  ")[0]
