"""How large a network is: parameters, and multiply-adds of one patch."""

import dataclasses
import math

import keras


@dataclasses.dataclass(frozen=True)
class Complexity:
    """Of one network.

    Attributes:
      parameters: trainable ones.
      multiply_adds: of the convolutions and dense layers, for one patch.
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

    As in table 2 of Hershey et al. 2017: one multiply-add for each kernel value and output
    position; batch norm, activations and pooling, less than 1% together, are not counted.

    Args:
      net: a functional model of Keras layers.
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
