"""Sizes of networks against hand-worked counts."""

import keras
import pytest

from audioset_strong.models import complexity, resnet


def test_a_small_network_counted_by_hand():
    net = resnet.resnet(5, depths=(1,), width=4, bottleneck=False)
    # Stem: 7 * 7 * 1 * 4 weights at 96 * 64 places, batch norm 2 * 4. Block: two 3 * 3 * 4 * 4 at
    # 48 * 32 places (after the pooling), batch norm 2 * 4 each. Output: 4 * 5 and 5 biases.
    assert complexity.measure(net) == complexity.Complexity(
        parameters=196 + 8 + 2 * (144 + 8) + 25,
        multiply_adds=96 * 64 * 196 + 48 * 32 * 2 * 144 + 20,
    )


def test_a_bottleneck_with_stride_and_shortcut_counted_by_hand():
    net = resnet.resnet(3, depths=(1, 1), width=2, first_stride=2)
    # 48 * 32 after the stem, 24 * 16 after the pooling: 1x1 2 -> 2, 3x3 2 -> 2, 1x1 2 -> 8, and a
    # shortcut 2 -> 8. Stage 2 has width 4: 1x1 8 -> 4 before the stride, then at 12 * 8:
    # 3x3 4 -> 4, 1x1 4 -> 16, shortcut 8 -> 16.
    stem = 48 * 32 * 49 * 2
    first = 24 * 16 * (4 + 36 + 16 + 16)
    second = 24 * 16 * 32 + 12 * 8 * (144 + 64 + 128)
    assert complexity.measure(net).multiply_adds == stem + first + second + 16 * 3


def test_the_paper_s_resnet_50():
    size = complexity.measure(resnet.resnet(527))
    # ResNet-50 without its classifier has 23,454,912 weights in convolutions and 53,120 in batch
    # norms (keras.applications); a stem of one channel lacks 2 * 7 * 7 * 64 of them.
    stock = keras.applications.ResNet50(include_top=False, weights=None)
    trainable = sum(w.size for w in map(lambda v: v.numpy(), stock.trainable_variables))
    biases = sum(
        layer.bias.shape[0] for layer in stock.layers if isinstance(layer, keras.layers.Conv2D)
    )
    assert size.parameters == trainable - biases - 2 * 49 * 64 + 2048 * 527 + 527
    # With 96x64 input and a stem of stride 1 the four stages see 48x32, 24x16, 12x8 and 6x4.
    assert str(size).startswith(f"{size.parameters / 1e6:.2f}M parameters")


def test_the_stock_stride_costs_about_a_quarter():
    ours, stock = (
        complexity.measure(resnet.resnet(10, first_stride=stride)).multiply_adds
        for stride in (1, 2)
    )
    assert ours / stock == pytest.approx(4, rel=0.01)
