"""The embedding of a network: its last layer before the classes."""

import keras

from audioset_strong.core import errors

LAYER = "embedding"


def with_embedding(network: keras.Model) -> keras.Model:
    """A network that returns logits and embeddings, on the same weights.

    Raises:
      errors.InputError: it has no layer "embedding".

    Example:
      >>> inputs = keras.Input([10])
      >>> embedding = keras.layers.Dense(4, name="embedding")(inputs)
      >>> network = keras.Model(inputs, keras.layers.Dense(3)(embedding))
      >>> [output.shape for output in with_embedding(network).outputs]
      [(None, 3), (None, 4)]
    """
    if LAYER not in [layer.name for layer in network.layers]:
        raise errors.InputError(f"the network has no layer {LAYER!r}")
    return keras.Model(network.inputs, [network.outputs[0], network.get_layer(LAYER).output])
