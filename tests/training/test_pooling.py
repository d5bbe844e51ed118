"""Pooling of the windows of a clip: each kind against plain NumPy, in the loss, and in training."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.models import embedding
from audioset_strong.training import checkpoints, pooling
from audioset_strong.training.losses import SigmoidCrossEntropy
from tests import toy_training

BAGS, WINDOWS, CLASSES, DEPTH = 3, 4, 5, 2


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# The pooled probabilities, as the publications write them. `parameter` is alpha or the kernel.
_REFERENCES = {
    "max_pooling": lambda p, e, parameter: p.max(axis=1),
    "mean_pooling": lambda p, e, parameter: p.mean(axis=1),
    "autopool": lambda p, e, parameter: (p * _softmax(parameter * p)).sum(axis=1),
    "attention_pooling": lambda p, e, parameter: (p * _softmax(e @ parameter)).sum(axis=1),
}


def _case(name):
    """A pooling with some parameter, logits and embeddings."""
    rng = np.random.default_rng(len(name))
    layer = getattr(pooling, name)(CLASSES, depth=DEPTH)
    parameter = np.zeros(0)
    if layer.trainable_variables:
        (variable,) = layer.trainable_variables
        parameter = rng.normal(0, 2, variable.shape).astype(np.float32)
        variable.assign(parameter)
    logits = rng.normal(0, 3, [BAGS, WINDOWS, CLASSES]).astype(np.float32)
    embeddings = rng.normal(size=[BAGS, WINDOWS, DEPTH]).astype(np.float32)
    return layer, logits, embeddings, parameter


def _cross_entropy(name, logits, embeddings, parameter, labels):
    p = _REFERENCES[name](_sigmoid(logits), embeddings, parameter)
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum()


def _slopes(function, at, step=1e-5):
    """The derivatives of a function of an array, by differences."""
    found = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        moved = np.zeros(at.shape)
        moved[place] = step
        found[place] = (function(at + moved) - function(at - moved)) / (2 * step)
    return found


@pytest.mark.parametrize("name", _REFERENCES)
def test_pooled_scores_and_all_gradients_are_those_of_the_publication(name):
    layer, logits, embeddings, parameter = _case(name)
    wide = [each.astype(np.float64) for each in (logits, embeddings, parameter)]
    labels = (np.random.default_rng(1).random([BAGS, CLASSES]) < 0.5).astype(np.float32)
    inputs = [tf.constant(logits), tf.constant(embeddings)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        pooled = layer(*inputs)
        loss = SigmoidCrossEntropy()(pooled, labels, tf.ones_like(labels))
    gradients = tape.gradient(loss, [*inputs, *layer.trainable_variables])
    expected = _REFERENCES[name](_sigmoid(wide[0]), *wide[1:])
    np.testing.assert_allclose(tf.sigmoid(pooled), expected, atol=1e-6)

    def loss_at(place):
        return lambda value: _cross_entropy(name, *wide[:place], value, *wide[place + 1 :], labels)

    np.testing.assert_allclose(gradients[0], _slopes(loss_at(0), wide[0]), atol=1e-4)
    if name == "attention_pooling":
        np.testing.assert_allclose(gradients[1], _slopes(loss_at(1), wide[1]), atol=1e-4)
    if layer.trainable_variables:
        np.testing.assert_allclose(gradients[2], _slopes(loss_at(2), wide[2]), atol=1e-4)


def test_autopool_lies_between_mean_and_maximum():
    _, logits, _, _ = _case("autopool")
    pooled = [
        pooling.autopool(CLASSES, depth=1, initial_alpha=alpha)(logits)
        for alpha in (0.0, 1.0, 5.0, 1e4)
    ]
    np.testing.assert_allclose(pooled[0], pooling.mean_pooling(0, depth=0)(logits), atol=1e-5)
    np.testing.assert_allclose(pooled[-1], pooling.max_pooling(0, depth=0)(logits), atol=1e-3)
    for lower, higher in itertools.pairwise(pooled):
        assert (lower <= higher).numpy().all()


@pytest.mark.parametrize("name", _REFERENCES)
@pytest.mark.parametrize("size", [40.0, 90.0, 1e4])
def test_sure_networks_learn_from_their_mistakes(name, size):
    # p rounds to 0 or 1 in float32, yet the loss of the wrong label grows with the logits.
    layer, _, embeddings, _ = _case(name)
    for sign in (1.0, -1.0):
        logits = tf.fill([BAGS, WINDOWS, CLASSES], sign * size)
        wrong = tf.fill([BAGS, CLASSES], 0.0 if sign > 0 else 1.0)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = SigmoidCrossEntropy()(layer(logits, embeddings), wrong, tf.ones_like(wrong))
        assert float(loss) == pytest.approx(size * BAGS * CLASSES, rel=1e-3)
        gradient = tape.gradient(loss, logits).numpy()
        np.testing.assert_allclose(gradient.sum(axis=1), sign, rtol=1e-3)


def test_a_bag_has_one_loss_with_the_weight_of_its_windows():
    # Two windows of a weak clip, then two strong windows; one class.
    loss = pooling.PooledLoss(SigmoidCrossEntropy(), pooling.mean_pooling(1, depth=1), 2)
    logits = tf.constant([[0.0], [2.0], [1.0], [-1.0]])
    labels = tf.constant([[1.0], [1.0], [1.0], [0.0]])
    pooled = tf.constant([True, True, False, False])
    weights = loss.weights(tf.constant([[0.25], [0.25], [0.25], [0.5]]), pooled)
    np.testing.assert_array_equal(weights, [[0.25], [0.25], [0.25], [0.5]])
    clip = (_sigmoid(0.0) + _sigmoid(2.0)) / 2
    expected = -0.5 * np.log(clip) - 0.25 * np.log(_sigmoid(1.0)) - 0.5 * np.log(_sigmoid(1.0))
    assert float(loss(logits, None, labels, weights, pooled)) == pytest.approx(expected, rel=1e-6)


def test_a_window_that_does_not_count_takes_its_bag_along():
    loss = pooling.PooledLoss(SigmoidCrossEntropy(), pooling.max_pooling(1, depth=1), 2)
    weights = tf.constant([[1.0, 1.0], [0.0, 0.5], [0.0, 1.0], [1.0, 1.0]])
    pooled = tf.constant([True, True, False, False])
    got = loss.weights(weights, pooled)
    np.testing.assert_array_equal(got, [[0.0, 0.5], [0.0, 0.5], [0.0, 1.0], [1.0, 1.0]])


def test_label_smoothing_holds_for_bags_too():
    loss = pooling.PooledLoss(
        SigmoidCrossEntropy(label_smoothing=0.2), pooling.max_pooling(1, depth=1), 2
    )
    logits, labels = tf.constant([[0.0], [2.0]]), tf.ones([2, 1])
    got = loss(logits, None, labels, tf.fill([2, 1], 0.5), tf.constant([True, True]))
    p = _sigmoid(2.0)
    assert float(got) == pytest.approx(-0.9 * np.log(p) - 0.1 * np.log(1 - p), rel=1e-6)


def _sources(data_dir):
    """Half weak, half strong examples of one dataset."""
    path = f"{data_dir}/train"
    return [Source((path,), "weak", 0.5), Source((path,), "strong", 0.5)]


def _train(workdir, data_dir, *, kind=pooling.autopool, bag=4, **settings):
    arguments = {"sources": _sources(data_dir), "stream": StreamSettings(windows_per_bag=bag)}
    return toy_training.train(workdir, data_dir, pooling=kind, **(arguments | settings))


def _alpha(workdir, step):
    path = dict(checkpoints.list_checkpoints(str(workdir)))[step]
    return tf.train.load_variable(path, "pooling/alpha/.ATTRIBUTES/VARIABLE_VALUE")


def test_a_pooled_run_resumes_exactly_and_keeps_its_parameters(
    data_dir, tmp_path, weights, assert_same
):
    options = {"ema_decay": 0.9, "clip_norm": 1.0, "accumulate": 2}
    with toy_training.keeping_states(tmp_path / "states"):
        whole = _train(tmp_path / "whole", data_dir, **options)
    part = _train(tmp_path / "states" / "10", data_dir, **options)
    assert_same(weights(part), weights(whole))
    assert_same(weights(part, ema=True), weights(whole, ema=True))
    assert (_alpha(whole, 20) != 1.0).any()  # it learns
    assert (_alpha(whole, 10) != _alpha(whole, 20)).any()
    np.testing.assert_array_equal(_alpha(part, 20), _alpha(whole, 20))
    # What is evaluated and exported is the network of single windows.
    model = checkpoints.load_model(str(whole)).model
    assert model.output_shape == (None, 4)
    assert len(embedding.with_embedding(model).outputs) == 2


@pytest.mark.parametrize("kind", [pooling.attention_pooling, pooling.max_pooling])
def test_every_pooling_trains(data_dir, tmp_path, kind, events):
    run = _train(tmp_path / "run", data_dir, kind=kind, total_steps=60, rate=3e-2)
    losses = [float(loss) for _, loss in events(run)["loss"]]
    assert losses[-1] < 0.8 * losses[0]


_REFUSED = {
    "no bags": ({"bag": 1}, r"train.pooling = @autopool: needs several windows .*windows_per_bag"),
    "no pooling": ({"kind": None}, r"windows_per_bag = 4: has no effect without train.pooling"),
    "no clip labels": (
        {"sources": "strong"},
        r"train.pooling = @autopool: has no effect on labels of the policy strong",
    ),
    "batch": ({"batch_size": 18}, r"windows_per_bag = 4: must divide the 18 examples"),
    "parts": ({"accumulate": 8}, r"windows_per_bag = 4: must divide the 2 examples"),
    "mixup": (
        {"augmentation": Augmentation(mixup_alpha=0.2)},
        r"windows_per_bag = 4: cannot be combined with Augmentation.mixup_alpha = 0.2",
    ),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_settings_that_do_not_fit_are_refused_before_work(data_dir, tmp_path, name):
    settings, message = _REFUSED[name]
    settings = dict(settings)
    if settings.get("sources") == "strong":
        settings["sources"] = toy_training.toy_sources(data_dir)
    workdir = tmp_path / "run"
    with pytest.raises(errors.InputError, match=message) as caught:
        _train(workdir, data_dir, **settings)
    assert "\n" not in str(caught.value)
    assert not workdir.exists()


def test_an_alpha_that_is_not_finite_is_refused():
    with pytest.raises(errors.InputError, match=r"autopool.initial_alpha = inf: must be finite"):
        pooling.autopool(2, depth=1, initial_alpha=float("inf"))


def test_bags_and_patches_per_clip_exclude_each_other():
    with pytest.raises(errors.InputError, match=r"windows_per_bag = 2: cannot be combined"):
        StreamSettings(windows_per_bag=2, patches_per_clip=2)
