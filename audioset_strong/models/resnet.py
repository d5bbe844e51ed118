"""Residual networks for log-mel patches, one builder for every size.

ResNet-50 as in Hershey et al. 2017, "CNN Architectures for Large-Scale Audio Classification",
section 3.5, https://arxiv.org/abs/1609.09430: the network of He et al. 2015
(https://arxiv.org/abs/1512.03385) with the stride of its first 7x7 convolution removed, so that a
96x64 patch ends as 6x4 activations, which are pooled over time and frequency, and with one sigmoid
output per class. The strong-labels paper trains all its models with it (section 4).
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from audioset_strong.core import errors
from audioset_strong.models import batch_norm

_BOTTLENECK_EXPANSION = 4


def resnet(
    num_classes: int,
    *,
    input_shape: tuple[int, int] = (96, 64),
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

    >>> resnet(3, depths=(1, 1), width=4, bottleneck=False).output.shape
    (None, 3)

    Args:
      num_classes: number of outputs.
      input_shape: (STFT frames, bands) of a patch, as `FrontEnd.patch_shape` gives it.
      depths: number of residual blocks in each stage; every stage after the first halves time and
        frequency.
      width: channels of the first stage (before the bottleneck's expansion); they double from
        stage to stage.
      bottleneck: True for blocks of 1x1, 3x3 and 1x1 convolutions with an expansion of 4 (ResNet-50
        and larger); False for blocks of two 3x3 convolutions (ResNet-18 and 34).
      first_stride: stride of the 7x7 convolution; the stock ResNet has 2.
      class_priors: float `[num_classes]` in (0, 1). If given, the output biases start at their
        logits, so training begins at the right rates.
      batch_norm_momentum: momentum of the moving averages.
      synchronized_batch_norm: whether replicas that train together share the statistics of their
        batches, as if each had the global batch.
      input_mean: subtracted from the log-mel values.
      input_scale: multiplies the log-mel values after that.

    Returns:
      A Keras model from float32 `[batch, *input_shape]` to logits, float32 `[batch, num_classes]`.

    Raises:
      errors.InputError: depths, width or stride that describe no network, a momentum outside
        [0, 1), or an input scale of zero.
    """
    if not isinstance(depths, Sequence) or not depths or min(*depths, width, first_stride) < 1:
        raise errors.InputError(
            f"resnet needs positive depths, width and first_stride, not {depths!r}, {width} and "
            f"{first_stride}"
        )
    if not 0 <= batch_norm_momentum < 1:
        raise errors.InputError(
            f"resnet.batch_norm_momentum = {batch_norm_momentum}: must lie in [0, 1)"
        )
    if input_scale == 0:
        raise errors.InputError(f"resnet.input_scale = {input_scale}: must not be zero")
    layers = _Layers(
        bottleneck=bottleneck,
        batch_norm_momentum=batch_norm_momentum,
        synchronized_batch_norm=synchronized_batch_norm,
    )
    log_mel = keras.Input(tuple(input_shape), name="log_mel")
    x = keras.layers.Reshape((*input_shape, 1), name="channel")(log_mel)
    if input_mean != 0.0 or input_scale != 1.0:
        x = keras.layers.Rescaling(input_scale, -input_mean * input_scale, name="rescale")(x)
    x = layers.convolution(x, width, size=7, stride=first_stride, name="stem_conv")
    x = keras.layers.ReLU(name="stem_relu")(layers.batch_norm(x, name="stem_norm"))
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, depth in enumerate(depths):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            name = f"stage{stage + 1}_block{i + 1}"
            x = layers.block(x, width * 2**stage, stride=stride, name=name)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = _logits(embedding, num_classes, class_priors)
    return keras.Model(log_mel, logits, name="resnet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layers:
    """Makes the layers of a network, with what all of them share."""

    bottleneck: bool
    batch_norm_momentum: float
    synchronized_batch_norm: bool

    def convolution(self, inputs, filters, *, size, name, stride=1):
        """A convolution without bias, because batch norm follows and has one."""
        return keras.layers.Conv2D(
            filters,
            size,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
        )(inputs)

    def batch_norm(self, inputs, *, name, gamma="ones"):
        """Batch normalisation."""
        return batch_norm.fused_batch_norm(
            momentum=self.batch_norm_momentum,
            epsilon=1e-5,
            gamma_initializer=gamma,
            synchronized=self.synchronized_batch_norm,
            name=name,
        )(inputs)

    def block(self, inputs, filters, *, stride, name):
        """A residual block."""
        outputs = filters * (_BOTTLENECK_EXPANSION if self.bottleneck else 1)
        shortcut = inputs
        if stride != 1 or inputs.shape[-1] != outputs:
            shortcut = self.convolution(
                inputs, outputs, size=1, stride=stride, name=f"{name}_shortcut_conv"
            )
            shortcut = self.batch_norm(shortcut, name=f"{name}_shortcut_norm")
        # (kernel size, channels, stride): the 3x3 convolution carries the stride in both kinds.
        if self.bottleneck:
            layers = [(1, filters, 1), (3, filters, stride), (1, outputs, 1)]
        else:
            layers = [(3, filters, stride), (3, outputs, 1)]
        x = inputs
        for i, (size, channels, layer_stride) in enumerate(layers, 1):
            x = self.convolution(
                x, channels, size=size, stride=layer_stride, name=f"{name}_conv{i}"
            )
            # A zero gamma in a block's last norm lets the block start as the identity.
            last = i == len(layers)
            x = self.batch_norm(x, name=f"{name}_norm{i}", gamma="zeros" if last else "ones")
            if not last:
                x = keras.layers.ReLU(name=f"{name}_relu{i}")(x)
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        return keras.layers.ReLU(name=f"{name}_relu")(x)


def _logits(embedding, num_classes, class_priors):
    """The output layer: float32 under any precision policy, because the loss needs exact logits."""
    bias = "zeros"
    if class_priors is not None:
        priors = np.clip(np.asarray(class_priors, np.float64), 1e-6, 1 - 1e-6)
        bias = keras.initializers.Constant(np.log(priors / (1 - priors)).astype(np.float32))
    return keras.layers.Dense(num_classes, bias_initializer=bias, dtype="float32", name="logits")(
        embedding
    )
