"""Gin text as data: what is bound, to which value, and where it was said.

gin itself keeps only the last value of each parameter. Which of two bindings came later, and what a
value looked like before its macros and references were resolved, is read here with gin's parser.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gin import config_parser


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference to a function or class, such as `@adam` or `@scope/adam()`.

    Attributes:
      scope: of the reference; "" for none.
      name: of the function or class, without its module.
      evaluate: whether it stands for what the function returns.
    """

    scope: str
    name: str
    evaluate: bool = False

    def __repr__(self) -> str:
        prefix = f"{self.scope}/" if self.scope else ""
        return f"@{prefix}{self.name}{'()' if self.evaluate else ''}"


@dataclasses.dataclass(frozen=True)
class Macro:
    """A macro that is used as a value, such as `%MU`."""

    name: str

    def __repr__(self) -> str:
        return f"%{self.name}"


@dataclasses.dataclass(frozen=True)
class Statement:
    """One line of gin text that binds a parameter or sets a macro.

    Attributes:
      scope: of the binding; "" for none.
      name: of the function or class, without its module; or of the macro.
      parameter: that is bound; "" where the line sets a macro.
      value: a literal, a `Reference`, a `Macro`, or lists, tuples and dicts of them.
      level: how late it was said. A file comes after those that it includes, and after the files
        given before it; the bindings of the command line come last and share one level.
      on_command_line: whether it was given as a binding rather than in a file.
    """

    scope: str
    name: str
    parameter: str
    value: Any
    level: int = 0
    on_command_line: bool = False

    @property
    def key(self) -> str:
        """What is bound, as users write it: "scope/name.parameter"."""
        prefix = f"{self.scope}/" if self.scope else ""
        return f"{prefix}{self.name}" + (f".{self.parameter}" if self.parameter else "")

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r}"


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as values of their own."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Reference(scope, selector.rpartition(".")[2], evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def read(text: str, *, level: int = 0, on_command_line: bool = False) -> list[Statement]:
    """The statements of gin text.

    >>> read("train.seed = %SEED")
    [Statement(scope='', name='train', parameter='seed', value=%SEED, level=0, \
on_command_line=False)]

    Args:
      text: that gin takes, without `include`.
      level: see `Statement`.
      on_command_line: see `Statement`.
    """
    return [
        Statement(
            parsed.scope,
            parsed.selector.rpartition(".")[2] if parsed.arg_name else parsed.selector,
            parsed.arg_name or "",
            parsed.value,
            level,
            on_command_line,
        )
        for parsed in config_parser.ConfigParser(text, _Delegate())
        if isinstance(parsed, config_parser.BindingStatement)
    ]


def effective(statements: Sequence[Statement]) -> dict[str, Statement]:
    """The statements that hold, by what they bind: of several, the last one."""
    return {statement.key: statement for statement in statements}


def resolved(value: Any, macros: Mapping[str, Statement]) -> Any:
    """A value in which macros are replaced by what they stand for.

    Args:
      value: of a statement.
      macros: the statements that hold, as `effective` gives them; others do no harm.
    """

    def followed(leaf: Any) -> Any:
        for _ in range(len(macros) + 1):  # a macro may stand for another
            if not isinstance(leaf, Macro) or leaf.name not in macros:
                break
            leaf = macros[leaf.name].value
        return leaf

    return changed(value, followed)


def changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value, and all that lists, tuples and dicts in it hold, put through a function.

    >>> changed([1, (2, {"a": 3})], lambda each: each + 1 if isinstance(each, int) else each)
    [2, (3, {'a': 4})]

    Args:
      value: of a statement.
      change: from a value to what takes its place, which is then looked into.
    """
    value = change(value)
    if isinstance(value, list | tuple):
        return type(value)(changed(item, change) for item in value)
    if isinstance(value, dict):
        return {key: changed(item, change) for key, item in value.items()}
    return value


def leaves(value: Any) -> Iterator[Any]:
    """All values in a value that hold no others, keys of dicts included."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def references(value: Any) -> list[Reference]:
    """All references in a value, wherever in it."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Reference)]
