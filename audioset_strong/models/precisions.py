"""The arithmetic of a network's layers; weights are always float32."""

import contextlib
from collections.abc import Iterator

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
PRECISIONS = tuple(_POLICIES)


@contextlib.contextmanager
def layers_in(precision: str) -> Iterator[None]:
    """Makes layers that are built within the `with` block compute in a given precision.

    Args:
      precision: one of `PRECISIONS`.

    Example:
      >>> import keras
      >>> with layers_in("bfloat16"):
      ...     layer = keras.layers.Dense(1)
      >>> layer.compute_dtype, layer.variable_dtype
      ('bfloat16', 'float32')
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
