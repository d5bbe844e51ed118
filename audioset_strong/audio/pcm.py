"""16-bit samples and floating-point samples: the one place that converts between them."""

import typing

import numpy as np

if typing.TYPE_CHECKING:  # TensorFlow is not imported where only waveforms are decoded
    import tensorflow as tf

FULL_SCALE = 32768


def to_float(pcm: np.ndarray) -> np.ndarray:
    """int16 samples of any shape -> float32 in [-1, 1).

    >>> to_float(np.array([-32768, 16384], np.int16))
    array([-1. ,  0.5], dtype=float32)
    """
    return np.multiply(pcm, np.float32(1 / FULL_SCALE), dtype=np.float32)


def from_float(waveform: np.ndarray) -> np.ndarray:
    """float samples of any shape -> int16, rounded and clipped at full scale.

    >>> from_float(np.array([-2.0, 0.5, 1.0], np.float32))
    array([-32768,  16384,  32767], dtype=int16)
    """
    scaled = waveform * np.float32(FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1, out=scaled)
    return scaled.astype(np.int16)


def tensor_to_float(pcm: "tf.Tensor") -> "tf.Tensor":
    """`to_float` in a TensorFlow graph: int16 samples of any shape -> float32."""
    import tensorflow as tf

    return tf.cast(pcm, tf.float32) / float(FULL_SCALE)
