"""The networks against counts worked out by hand."""

import numpy as np
import pytest

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.models import resnet


def _trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def _bottleneck_count(num_classes):
    """Trainable parameters of ResNet-50 with one input channel and bias-free convolutions."""
    total = 7 * 7 * 1 * 64 + 2 * 64
    channels = 64
    for filters, depth in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for i in range(depth):
            if i == 0:
                total += channels * 4 * filters + 2 * 4 * filters
            total += channels * filters + 2 * filters
            total += 9 * filters * filters + 2 * filters
            total += filters * 4 * filters + 2 * 4 * filters
            channels = 4 * filters
    return total + channels * num_classes + num_classes


def test_resnet50_has_the_known_number_of_parameters_and_a_6x4_end():
    model = resnet.resnet(527)
    assert _trainable(model) == 24_581_583 == _bottleneck_count(527)
    assert model.get_layer("embedding").input.shape[1:] == (6, 4, 2048)
    assert model.output.shape[1:] == (527,)


def test_3087_classes_give_the_30m_parameters_that_hershey_2017_quotes():
    assert _bottleneck_count(3087) == 29_827_023


def test_stock_stride_halves_time_and_frequency():
    model = resnet.resnet(2, depths=(1, 1, 1, 1), width=4, bottleneck=False, first_stride=2)
    assert model.get_layer("embedding").input.shape[1:] == (3, 2, 32)


def test_basic_blocks_parameter_count():
    # Stem 7*7*8 + 16; stage 1: two 3x3x8x8 and norms; stage 2: 8->16 with a 1x1 shortcut; logits.
    expected = (392 + 16) + (2 * 576 + 32) + (1152 + 2304 + 64 + 128 + 32) + (16 * 3 + 3)
    model = resnet.resnet(3, depths=(1, 1), width=8, bottleneck=False)
    assert _trainable(model) == expected


def test_untrained_model_with_priors_predicts_about_the_priors():
    priors = np.array([0.5, 0.1, 0.002])
    model = resnet.resnet(3, depths=(1, 1), width=4, bottleneck=False, class_priors=priors)
    bias = model.get_layer("logits").bias.numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), priors, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{"depths": ()}, {"depths": 3}, {"width": 0}, {"first_stride": 0}]
)
def test_impossible_networks_are_refused(arguments):
    with pytest.raises(errors.InputError, match="resnet needs positive"):
        resnet.resnet(3, **arguments)


def test_the_input_has_the_shape_of_the_front_end_s_patches():
    front_end = FrontEnd(hop_samples=320, num_bands=32)
    model = resnet.resnet(2, input_shape=front_end.patch_shape, depths=(1,), width=4)
    assert model.input.shape[1:] == (48, 32)
    assert model.output.shape[1:] == (2,)
