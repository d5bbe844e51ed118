"""Residual networks for log-mel patches, one builder for every size.

ResNet-50 as in Hershey et al. 2017 ("CNN Architectures for Large-Scale Audio Classification",
section 3.5): the network of He et al. 2015 with the stride of its first 7x7 convolution removed,
so that a 96x64 patch ends as 6x4 activations, pooled over time and frequency, with one sigmoid
output a class. The strong-labels paper trains all its models with it (section 4).
"""

from collections.abc import Sequence

import gin
import keras
import numpy as np

from audioset_strong.audio import features
from audioset_strong.core import errors

_BOTTLENECK_EXPANSION = 4


@gin.configurable
def resnet(
    num_classes: int,
    depths: Sequence[int] = (3, 4, 6, 3),
    width: int = 64,
    bottleneck: bool = True,
    first_stride: int = 1,
    class_priors: np.ndarray | None = None,
    batch_norm_momentum: float = 0.9,
    synchronized_batch_norm: bool = False,
    input_mean: float = 0.0,
    input_scale: float = 1.0,
) -> keras.Model:
    """Builds a ResNet from log-mel patches to logits. The defaults are the paper's ResNet-50.

    Args:
      num_classes: outputs.
      depths: residual blocks of each stage; each later stage halves time and frequency.
      width: channels of the first stage (before the bottleneck's expansion); doubles each stage.
      bottleneck: 1x1, 3x3, 1x1 blocks with expansion 4 (ResNet-50 and up), else two 3x3
        convolutions (ResNet-18 and 34).
      first_stride: stride of the 7x7 convolution; 2 is the stock ResNet.
      class_priors: float `[num_classes]` in (0, 1); where given, the output biases start at their
        logits, so that training begins at the right rates.
      batch_norm_momentum: of the moving averages.
      synchronized_batch_norm: whether replicas that train together share their batches' statistics,
        as if each had the global batch.
      input_mean: subtracted from the log-mel values.
      input_scale: multiplies them thereafter.

    Returns:
      A Keras model, float32 `[batch, 96, 64]` -> logits float32 `[batch, num_classes]`.

    Raises:
      errors.InputError: depths, width or stride that describe no network.
    """
    if not isinstance(depths, Sequence) or not depths or min(*depths, width, first_stride) < 1:
        raise errors.InputError(
            f"resnet needs positive depths, width and first_stride, not {depths!r}, {width} and "
            f"{first_stride}"
        )

    def convolution(inputs, filters, size, stride=1, name=None):
        return keras.layers.Conv2D(
            filters,
            size,
            stride,
            padding="same",
            use_bias=False,  # batch norm follows and has its own
            kernel_initializer="he_normal",
            name=name,
        )(inputs)

    def batch_norm(inputs, name, gamma="ones"):
        return keras.layers.BatchNormalization(
            momentum=batch_norm_momentum,
            epsilon=1e-5,
            gamma_initializer=gamma,
            synchronized=synchronized_batch_norm,
            name=name,
        )(inputs)

    def block(inputs, filters, stride, name):
        outputs = filters * (_BOTTLENECK_EXPANSION if bottleneck else 1)
        shortcut = inputs
        if stride != 1 or inputs.shape[-1] != outputs:
            shortcut = convolution(inputs, outputs, 1, stride, f"{name}_shortcut_conv")
            shortcut = batch_norm(shortcut, f"{name}_shortcut_norm")
        # (kernel size, channels, stride): the 3x3 convolution carries the stride in both kinds.
        if bottleneck:
            layers = [(1, filters, 1), (3, filters, stride), (1, outputs, 1)]
        else:
            layers = [(3, filters, stride), (3, outputs, 1)]
        x = inputs
        for i, (size, channels, layer_stride) in enumerate(layers):
            x = convolution(x, channels, size, layer_stride, f"{name}_conv{i + 1}")
            # A zero gamma in a block's last norm lets the block start as the identity.
            last = i == len(layers) - 1
            x = batch_norm(x, f"{name}_norm{i + 1}", "zeros" if last else "ones")
            if not last:
                x = keras.layers.ReLU(name=f"{name}_relu{i + 1}")(x)
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    log_mel = keras.Input((features.PATCH_FRAMES, features.PATCH_BANDS), name="log_mel")
    x = keras.layers.Reshape((features.PATCH_FRAMES, features.PATCH_BANDS, 1), name="channel")(
        log_mel
    )
    if input_mean != 0.0 or input_scale != 1.0:
        x = keras.layers.Rescaling(input_scale, -input_mean * input_scale, name="rescale")(x)
    x = convolution(x, width, 7, first_stride, "stem_conv")
    x = keras.layers.ReLU(name="stem_relu")(batch_norm(x, "stem_norm"))
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, depth in enumerate(depths):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            x = block(x, width * 2**stage, stride, f"stage{stage + 1}_block{i + 1}")
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)

    bias = "zeros"
    if class_priors is not None:
        priors = np.clip(np.asarray(class_priors, np.float64), 1e-6, 1 - 1e-6)
        bias = keras.initializers.Constant(np.log(priors / (1 - priors)).astype(np.float32))
    # float32 whatever the precision policy: the loss needs the logits exact.
    logits = keras.layers.Dense(num_classes, bias_initializer=bias, dtype="float32", name="logits")(
        embedding
    )
    return keras.Model(log_mel, logits, name="resnet")
