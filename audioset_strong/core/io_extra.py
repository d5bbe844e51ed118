"""tensorflow-io, which the extra "io" installs: a decoder and more file systems.

Its last release, 0.37.1, loads its native code under TensorFlow 2.16 and 2.17 only, so everything
else does without it. Under another TensorFlow its import succeeds with a warning, and its functions
fail when they are called; here that counts as missing.
"""

import functools
import importlib.util
import warnings
from typing import Any

from audioset_strong.core import errors, extras

NAME = "tensorflow_io"
# The schemes of the file systems that it adds to `tf.io.gfile`.
SCHEMES = ("az", "hdfs", "har", "http", "https", "oss", "s3", "viewfs")
_LIMITS = "(Python 3.10 to 3.12; it takes TensorFlow 2.17 instead of a newer one)"


def load(needed_for: str) -> Any:
    """Imports tensorflow-io, which registers its file systems.

    Args:
      needed_for: the flag, binding or path that asks for it, for the message.

    Returns:
      The module `tensorflow_io`.

    Raises:
      errors.InputError: it is missing, or does not work with this TensorFlow. The line says what to
        install.
    """
    module, problem = _load()
    if module is None:
        advice = f"{extras.advice('io')} {_LIMITS}"
        raise errors.InputError(f"{needed_for} needs tensorflow-io, {problem}; {advice}")
    return module


def available() -> bool:
    """Whether tensorflow-io is installed and works with this TensorFlow."""
    return _load()[0] is not None


@functools.cache
def _load() -> tuple[Any, str]:
    """(the module, ""), or (None, why there is none)."""
    if importlib.util.find_spec(NAME) is None:
        return None, "which is not installed"
    import tensorflow as tf

    with warnings.catch_warnings():  # that its native code cannot be loaded, at length
        warnings.simplefilter("ignore")
        try:
            import tensorflow_io
        except ImportError as error:
            return None, f"which cannot be imported ({errors.first_line(error)})"
    if "s3" not in tf.io.gfile.get_registered_schemes():
        version = tensorflow_io.__version__
        return None, f"whose version {version} does not work with TensorFlow {tf.__version__}"
    return tensorflow_io, ""
