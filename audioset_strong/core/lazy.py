"""What is imported when it is first used: attributes of a package, and TensorFlow.

`import audioset_strong` must be quick and must not import TensorFlow. The package lazy_loader does
this for the submodules of a package; here most names stand for modules deeper down, so it would
need a lazy `__init__` in every room, and it is no shorter than this.
"""

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any


def attributes(
    package: str, targets: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the functions `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
      package: its `__name__`.
      targets: name of an attribute -> what it stands for: a module ("a.b"), or something in a
        module ("a.b:c").

    Returns:
      `__getattr__`, which imports an attribute and keeps it in the package; and `__dir__`, which
      lists the package's `__all__`.

    Example:
      >>> getattribute, _ = attributes("audioset_strong.core", {"square_root": "math:sqrt"})
      >>> getattribute("square_root")(9.0)
      3.0
      >>> getattribute("cube_root")
      Traceback (most recent call last):
      AttributeError: module 'audioset_strong.core' has no attribute 'cube_root'; it has square_root
    """

    def getattribute(name: str) -> Any:
        if name not in targets:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; it has {', '.join(targets)}",
                name=name,
                obj=sys.modules[package],
            )
        module_name, _, attribute = targets[name].partition(":")
        module = importlib.import_module(module_name)
        value = getattr(module, attribute) if attribute else module
        setattr(sys.modules[package], name, value)
        return value

    def directory() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return getattribute, directory


class _Module(types.ModuleType):
    """Stands for a module of the same name."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)
        return value


def module(name: str) -> types.ModuleType:
    """A module that is imported when one of its attributes is first used.

    For TensorFlow, whose import takes seconds, in modules whose facts and simple functions are used
    without it. The annotations in such a module are strings.

    Example:
      >>> root = module("cmath").sqrt  # imports it
      >>> root(-4)
      2j

    Args:
      name: of the module, without a dot.
    """
    return _Module(name)


# TensorFlow for modules whose facts and simple functions are used without it, by
# `from audioset_strong.core.lazy import tf`.
if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = module("tensorflow")
