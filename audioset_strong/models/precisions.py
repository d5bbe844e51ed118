"""Arithmetic of a network's layers; their weights are float32 always."""

import contextlib
from collections.abc import Iterator

import keras

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
PRECISIONS = tuple(_POLICIES)


@contextlib.contextmanager
def layers_in(precision: str) -> Iterator[None]:
    """Layers that are made within the `with` block compute in `precision`, one of PRECISIONS."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
