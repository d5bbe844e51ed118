"""Everything that gin can bind, as facts: names, types, defaults, descriptions."""

import dataclasses
import inspect
import re
import sys
from typing import Any

from audioset_strong.configuration import bindings, value_types

_SEE = re.compile(r"see `(\w+)`")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One setting, `name.parameter` in gin files.

    Attributes:
      name: of the parameter.
      wanted: what its value must be, in words.
      default: as a gin file would have it; None where there is none.
      description: what it does, from the docstring of its function or class.
    """

    name: str
    wanted: str
    default: str | None
    description: str


@dataclasses.dataclass(frozen=True)
class Bindable:
    """A function or class with parameters that can be bound.

    Attributes:
      name: in gin files.
      summary: the first line of its docstring.
      parameters: those that can be bound, in the order of its signature.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]


def bindables() -> list[Bindable]:
    """All that can be bound, for training and for evaluation.

    >>> mixture = next(each for each in bindables() if each.name == "weak_strong_mixture")
    >>> [each.name for each in mixture.parameters if each.default is None]
    ['weak_datasets', 'strong_datasets', 'policy', 'mu']
    """
    # They register what they bind, and need `bindings` for it.
    from audioset_strong.configuration import evaluation_bindings, training_bindings

    del evaluation_bindings, training_bindings
    return [_described(name, original) for name, original in bindings.ORIGINALS.items()]


def _described(name: str, original: Any) -> Bindable:
    descriptions = _descriptions(original)
    parameters = [
        Parameter(
            name=parameter.name,
            wanted=value_types.wanted(value_types.annotation_of(name, parameter.name)),
            default=_default(original, parameter),
            description=descriptions.get(parameter.name, ""),
        )
        for parameter in inspect.signature(original).parameters.values()
        if parameter.name not in bindings.GIVEN[name]
    ]
    summary = (inspect.getdoc(original) or "").partition("\n")[0]
    return Bindable(name, summary, tuple(parameters))


def _default(original: Any, parameter: inspect.Parameter) -> str | None:
    value = parameter.default
    if value is parameter.empty:
        return None
    if dataclasses.is_dataclass(original):
        (field,) = (each for each in dataclasses.fields(original) if each.name == parameter.name)
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
    for name, registered in bindings.ORIGINALS.items():
        if value is registered:
            return f"@{name}"
    return repr(value)


def _descriptions(original: Any) -> dict[str, str]:
    """What the docstring says of each parameter; of a class, also those of its base classes."""
    if not inspect.isclass(original):
        found = _entries(inspect.getdoc(original) or "", "Args")
    else:
        found = {}
        for each in reversed(original.__mro__):
            found |= _entries(inspect.cleandoc(each.__doc__ or ""), "Attributes")
    module = sys.modules[original.__module__]
    return {name: _spelled_out(name, text, module) for name, text in found.items()}


def _spelled_out(name: str, text: str, module: Any) -> str:
    """A description with what `Source` says of the same name in the place of "see `Source`"."""
    reference = _SEE.match(text)
    target = getattr(module, reference[1], None) if reference else None
    if not reference or not inspect.isclass(target):
        return text
    said = _entries(inspect.cleandoc(target.__doc__ or ""), "Attributes").get(name)
    return said.rstrip(".") + text[reference.end() :] if said else text


def _entries(docstring: str, section: str) -> dict[str, str]:
    """The entries of a section of a docstring in Google's style, each as one line."""
    match = re.search(rf"^{section}:\n((?: .*\n|\n)*)", f"{docstring}\n", re.MULTILINE)
    entries = re.findall(r"^  (\w+): (.*(?:\n {3,}.*)*)", match[1], re.MULTILINE) if match else []
    return {name: " ".join(text.split()) for name, text in entries}
