"""Bindings that would do nothing are mistakes: a sweep over one would train equal runs."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence

from audioset_strong.configuration import bindings, statements, value_types
from audioset_strong.configuration.statements import Reference, Statement
from audioset_strong.core import errors


def check(given: Sequence[Statement], roots: Sequence[str]) -> None:
    """Checks that every binding has an effect.

    A binding of a function has one if the function is used: by name, or as a default. A file may
    bind functions that are not used because something else was chosen later, as when the command
    line chooses another schedule than the file of a row.

    Args:
      given: all statements, in their order.
      roots: names of the functions and classes that are called anyway.

    Raises:
      errors.InputError: a binding, or a macro given on the command line, has no effect.
    """
    holding = statements.effective(given)
    used = _used(holding, roots)
    for statement in holding.values():
        if not statement.parameter:
            if statement.on_command_line and not _is_used_macro(statement, holding):
                raise errors.InputError(
                    f"{statement}: has no effect, because no binding has %{statement.name}"
                )
        elif not _reaches(statement, used):
            _check_superseded(statement, holding, [*roots, *sorted({one.name for one in used})])


def _used(holding: Mapping[str, Statement], roots: Sequence[str]) -> set[Reference]:
    """What is called: the roots, and all that is reached from them by references and defaults."""
    waiting = [Reference("", name) for name in roots]
    used: set[Reference] = set()
    while waiting:
        one = waiting.pop()
        if one in used:
            continue
        used.add(one)
        bound = {}
        for statement in holding.values():
            if statement.name == one.name and _applies(statement.scope, one.scope):
                bound[statement.parameter] = statements.resolved(statement.value, holding)
        for value in bound.values():
            waiting += [
                dataclasses.replace(r, evaluate=False) for r in statements.references(value)
            ]
        waiting += [
            Reference(one.scope, name)
            for parameter, name in _defaults(one.name)
            if parameter not in bound
        ]
    return used


def _defaults(name: str) -> Iterator[tuple[str, str]]:
    """Parameters of a function whose default is one of the functions that can be bound."""
    original = bindings.ORIGINALS.get(name)
    if original is None:
        return
    names = {id(each): registered for registered, each in bindings.ORIGINALS.items()}
    for parameter in inspect.signature(original).parameters.values():
        if id(parameter.default) in names:
            yield parameter.name, names[id(parameter.default)]


def _applies(scope: str, called_in: str) -> bool:
    """Whether a binding of `scope` applies to a call in the scope `called_in`."""
    return not scope or f"/{called_in}/".startswith(f"/{scope}/")


def _reaches(statement: Statement, used: set[Reference]) -> bool:
    return any(statement.name == one.name and _applies(statement.scope, one.scope) for one in used)


def _is_used_macro(macro: Statement, holding: Mapping[str, Statement]) -> bool:
    used = statements.Macro(macro.name)
    return any(used in statements.leaves(each.value) for each in holding.values())


def _check_superseded(
    statement: Statement, holding: Mapping[str, Statement], called: Sequence[str]
) -> None:
    """Refuses a binding of a function that is not used, unless another one was chosen later."""
    reference = Reference(statement.scope, statement.name)
    for caller in called:
        if caller not in bindings.ORIGINALS:
            continue
        for parameter in inspect.signature(bindings.ORIGINALS[caller]).parameters.values():
            name = f"{caller}.{parameter.name}"
            if not value_types.chooses(caller, parameter.name, statement.name):
                continue
            choice = holding.get(name)
            if choice is None:
                raise errors.InputError(
                    f"{statement}: has no effect without {name} = {reference!r}"
                )
            if choice.level > statement.level:
                return
            raise errors.InputError(f"{statement}: has no effect, because {choice}")
    raise errors.InputError(f"{statement}: has no effect, because nothing uses {reference!r}")
