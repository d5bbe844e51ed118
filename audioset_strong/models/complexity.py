"""The size of a network: its parameters, and the multiply-adds of one patch."""

import dataclasses
import math

import keras


@dataclasses.dataclass(frozen=True)
class Complexity:
    """The size of one network.

    Attributes:
      parameters: number of trainable parameters.
      multiply_adds: number of multiply-adds in convolutions and dense layers, for one patch.
    """

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e6:.2f}M parameters, "
            f"{self.multiply_adds / 1e6:,.1f}M multiply-adds a patch"
        )


def measure(net: keras.Model) -> Complexity:
    """Counts a network's parameters and multiply-adds.

    Counted as in Table 2 of Hershey et al. 2017 (https://arxiv.org/abs/1609.09430): one
    multiply-add per kernel value and output position. Batch norm, activations and pooling, together
    less than 1%, are not counted.

    Args:
      net: a functional model of Keras layers.

    Returns:
      The counts; as text, for example "24.58M parameters, 1,893.1M multiply-adds a patch".

    Example:
      >>> inputs = keras.Input([10])
      >>> measure(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
      Complexity(parameters=33, multiply_adds=30)
    """
    multiply_adds = 0
    for layer in net.layers:
        if isinstance(layer, keras.layers.Conv2D):
            positions = math.prod(layer.output.shape[1:3])
            multiply_adds += positions * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            multiply_adds += math.prod(layer.kernel.shape)
    parameters = sum(math.prod(weight.shape) for weight in net.trainable_variables)
    return Complexity(parameters, multiply_adds)
