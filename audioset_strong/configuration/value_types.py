"""The types of bound values, checked by the annotations of the functions that take them.

A gin file can bind any value to any parameter. Each value is compared here with the annotation of
its parameter, so that no function needs to check types for the sake of gin.
"""

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin

from audioset_strong.configuration import bindings, statements
from audioset_strong.configuration.statements import Reference, Statement
from audioset_strong.core import errors

_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string in quotes",
    type(None): "None",
}
_PLURALS = {bool: "True or False", int: "whole numbers", float: "numbers", str: "strings"}
_SEQUENCES = (collections.abc.Sequence, list, tuple)
_UNIONS = (typing.Union, types.UnionType)


def check(given: Sequence[Statement]) -> None:
    """Checks the values that hold against the annotations of their parameters.

    Args:
      given: all statements, in their order.

    Raises:
      errors.InputError: a value of a wrong type; one line with binding, value and what fits.
    """
    holding = statements.effective(given)
    for statement in holding.values():
        if not statement.parameter:
            continue
        annotation = annotation_of(statement.name, statement.parameter)
        value = statements.resolved(statement.value, holding)
        if not fits(value, annotation):
            raise errors.InputError(
                f"{statement.key} = {value!r}: must {_verb(annotation)} {wanted(annotation)}"
            )


def fits(value: Any, annotation: Any) -> bool:
    """Whether a bound value is of the type that a parameter is annotated with.

    >>> fits(1, float), fits(True, int), fits("ab", Sequence[str]), fits(None, float | None)
    (True, False, False, True)

    Args:
      value: a literal, a `Reference`, or lists, tuples and dicts of them.
      annotation: as `typing.get_type_hints` gives it. Anything fits `object`.
    """
    if annotation in (Any, object, inspect.Parameter.empty):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return any(fits(value, each) for each in arguments)
    if isinstance(value, Reference):
        if value.evaluate:
            return origin is not collections.abc.Callable and _returns(value.name, annotation)
        return origin is collections.abc.Callable and _returns(value.name, arguments[-1])
    if origin is collections.abc.Callable:
        return False  # only a reference can name a function
    if origin in _SEQUENCES:
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and arguments[-1] is not ...:
            return len(value) == len(arguments) and all(map(fits, value, arguments))
        return all(fits(item, arguments[0]) for item in value)
    if origin is collections.abc.Mapping:
        return isinstance(value, Mapping) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if annotation is float:
        return _is_number(value) and math.isfinite(value)
    if annotation is int:
        return _is_number(value) and isinstance(value, int)
    return isinstance(value, annotation)


def chooses(name: str, parameter: str, chosen: str) -> bool:
    """Whether a parameter takes a function such as `chosen`.

    >>> chooses("train", "no_such_parameter", "FrontEnd")
    False

    Args:
      name: of the function or class that has the parameter.
      parameter: its name.
      chosen: name of the function that it might take.
    """
    annotation = _hints(_original(name)).get(parameter)
    union = typing.get_origin(annotation) in _UNIONS
    options = typing.get_args(annotation) if union else (annotation,)
    return any(
        typing.get_origin(option) is collections.abc.Callable
        and fits(Reference("", chosen), option)
        for option in options
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def annotation_of(name: str, parameter: str) -> Any:
    """The annotation of a parameter; `object` where its function has none.

    Args:
      name: of the function or class that has the parameter, in gin files.
      parameter: its name.
    """
    return _hints(_original(name)).get(parameter, object)


def _original(name: str) -> Any:
    return bindings.ORIGINALS.get(name) or inspect.unwrap(gin.get_configurable(name))


def _hints(original: Any) -> dict[str, Any]:
    if inspect.isclass(original):
        # The fields of a dataclass are annotated in its body, others in their constructor.
        return typing.get_type_hints(original.__init__) | typing.get_type_hints(original)
    return typing.get_type_hints(original)


def _returns(name: str, wanted: Any) -> bool:
    """Whether a function gives what is wanted, or does not say what it gives."""
    original = _original(name)
    if inspect.isclass(original):
        return _is_kind_of(original, wanted)
    given = _hints(original).get("return", object)
    return given in (Any, object) or _is_kind_of(given, wanted)


def _is_kind_of(given: Any, wanted: Any) -> bool:
    """Whether every value of one annotation is of another one; `[...]` is not compared."""
    if wanted in (Any, object):
        return True
    if typing.get_origin(wanted) in _UNIONS:
        return any(_is_kind_of(given, each) for each in typing.get_args(wanted))
    if typing.get_origin(given) in _UNIONS:
        return all(_is_kind_of(each, wanted) for each in typing.get_args(given))
    given, wanted = (typing.get_origin(each) or each for each in (given, wanted))
    return issubclass(given, wanted) or (given is int and wanted is float)


def _verb(annotation: Any) -> str:
    return "name" if typing.get_origin(annotation) is collections.abc.Callable else "be"


def wanted(annotation: Any) -> str:
    """An annotation in words.

    >>> wanted(float | None), wanted(Sequence[str])
    ('a number or None', 'a list of strings')

    Args:
      annotation: as `typing.get_type_hints` gives it.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return " or ".join(wanted(each) for each in arguments)
    if origin is collections.abc.Callable:
        fitting = _functions(arguments[-1])
        return "a function" + (f", like {' or '.join(fitting)}" if fitting else "")
    if origin is tuple and arguments[-1] is not ...:
        return f"({', '.join(wanted(each) for each in arguments)})"
    if origin in _SEQUENCES:
        return f"a list of {_plural(arguments[0])}"
    if origin is collections.abc.Mapping:
        return f"a dict from {_plural(arguments[0])} to {_plural(arguments[1])}"
    return _WORDS.get(annotation, f"a {getattr(annotation, '__name__', annotation)}")


def _plural(annotation: Any) -> str:
    if typing.get_origin(annotation) in _UNIONS:
        return " or ".join(_plural(each) for each in typing.get_args(annotation))
    if typing.get_origin(annotation) in _SEQUENCES:
        return f"lists of {_plural(typing.get_args(annotation)[0])}"
    return _PLURALS.get(annotation, "values")


def _functions(returned: Any) -> list[str]:
    """References to those of our functions that give what is wanted."""
    originals: Mapping[str, Callable] = bindings.ORIGINALS
    if returned in (Any, object):
        return []
    return [f"@{name}" for name in originals if _returns(name, returned)]
