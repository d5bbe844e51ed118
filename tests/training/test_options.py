"""What a run can be asked for besides the paper's training: real runs on toy clips."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.labels import vocabularies
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints, losses, optimizers
from tests.datasets import toy_clips, write_dataset
from tests.streams import take_samples
from tests.toy_training import tiny, toy_sources, train


@pytest.fixture(scope="module")
def plain(tmp_path_factory, data_dir):
    """A run without any option, to compare others with and to start from; left as it is."""
    return train(tmp_path_factory.mktemp("runs") / "plain", data_dir, checkpoint_every=5)


def series(logged, tag):
    return {step: float(value) for step, value in logged[tag]}


@pytest.mark.slow
def test_with_every_option_on_a_resumed_run_ends_with_the_same_weights(
    data_dir, tmp_path, weights, events
):
    options = {
        "ema_decay": 0.9,
        "clip_norm": 0.1,
        "optimizer": functools.partial(optimizers.adam, weight_decay=0.01),
        "loss": functools.partial(
            losses.SigmoidCrossEntropy, unknown_weight=0.5, label_smoothing=0.1
        ),
    }
    whole = train(tmp_path / "whole", data_dir, **options)
    train(tmp_path / "parts", data_dir, **options, total_steps=10)
    parts = train(tmp_path / "parts", data_dir, **options, extend=True)
    for ema in (False, True):
        for left, right in zip(weights(parts, ema=ema), weights(whole, ema=ema), strict=True):
            np.testing.assert_array_equal(left, right)
    assert series(events(parts), "loss") == series(events(whole), "loss")


def test_the_moving_average_is_that_of_the_weights_of_every_step(data_dir, tmp_path, weights):
    run = train(
        tmp_path / "run",
        data_dir,
        total_steps=6,
        checkpoint_every=1,
        ema_decay=0.3,
        prior_bias=False,
    )
    keras.utils.set_random_seed(0)
    net = tiny(4)
    trainable = [any(w is t for t in net.trainable_weights) for w in net.weights]
    average = [weight.numpy().astype(np.float64) for weight in net.weights]
    for step in range(1, 7):
        decay = min(0.3, (1 + step) / (10 + step))
        now = weights(run, step)
        average = [decay * a + (1 - decay) * w for a, w in zip(average, now, strict=True)]
    for got, wanted, plain, trained in zip(
        weights(run, ema=True), average, weights(run), trainable, strict=True
    ):
        # Batch norm's statistics are averages already: they stay as they are.
        np.testing.assert_allclose(got, wanted if trained else plain, rtol=1e-4, atol=1e-6)


def test_a_moving_average_that_was_not_kept_is_told(plain, weights):
    with pytest.raises(errors.InputError, match=r"trained without train\.ema_decay"):
        weights(plain, ema=True)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_step_is_as_long_as_the_clipped_gradient(data_dir, tmp_path, clip_norm, events):
    rate = 0.5
    run = train(
        tmp_path / "run",
        data_dir,
        rate,
        optimizer=keras.optimizers.SGD,
        clip_norm=clip_norm,
        total_steps=1,
        prior_bias=False,
    )
    (norm,) = series(events(run), "gradient_norm").values()
    assert norm > 0.1  # so clipping matters
    keras.utils.set_random_seed(0)
    before = tiny(4)
    after = checkpoints.load_model(str(run)).model
    moved = np.sqrt(
        sum(
            np.sum(np.square(b.numpy() - a.numpy()))
            for b, a in zip(before.trainable_weights, after.trainable_weights, strict=True)
        )
    )
    assert moved == pytest.approx(rate * (clip_norm or norm), rel=1e-3)


def test_in_parts_the_steps_are_those_of_the_whole_batch(data_dir, tmp_path, events, weights):
    def without_batch_norm(num_classes, *, input_shape, class_priors):
        layers = keras.layers
        return keras.Sequential(
            [layers.Input(input_shape), layers.Flatten(), layers.Dense(num_classes, name="logits")]
        )

    options = {"model": without_batch_norm, "total_steps": 10, "steps_per_call": 1, "rate": 1e-4}
    loss = functools.partial(losses.SigmoidCrossEntropy, unknown_weight=0.5)
    whole, parts = (
        train(tmp_path / f"{n}", data_dir, accumulate=n, loss=loss, clip_norm=0.5, **options)
        for n in (1, 4)
    )
    for tag in ("loss", "gradient_norm"):
        wanted, got = (series(events(run), tag) for run in (whole, parts))
        assert got == pytest.approx(wanted, rel=1e-4)
    for left, right in zip(weights(parts), weights(whole), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)
    with pytest.raises(errors.InputError, match=r"train\.accumulate = 5: must divide the 16 "):
        train(tmp_path / "run", data_dir, accumulate=5)


def test_log_mel_on_the_device_trains_the_same_model(plain, data_dir, tmp_path, weights):
    stream = StreamSettings(features_on_device=True)
    device = train(tmp_path / "device", data_dir, total_steps=5, stream=stream)
    for left, right in zip(weights(device), weights(plain, 5), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)


def test_with_several_patches_a_clip_it_trains_and_shows_its_inputs(data_dir, tmp_path, events):
    stream = StreamSettings(patches_per_clip=8)
    workdir = train(tmp_path, data_dir, batch_size=8, stream=stream)
    assert sorted(series(events(workdir), "loss")) == [5, 10, 15, 20]
    assert "inputs/patches" in events(workdir)


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_mixed_precision_learns_and_is_evaluated_in_float32(
    plain, data_dir, tmp_path, precision, events
):
    run = train(tmp_path / "run", data_dir, total_steps=30, precision=precision)
    curve, exact = (series(events(each), "loss") for each in (run, plain))
    begin, wanted = (curve[5] + curve[10]) / 2, (exact[5] + exact[10]) / 2
    assert (curve[25] + curve[30]) / 2 < 0.7 * begin
    # The first steps of float16 overflow, until the loss is scaled right.
    assert begin == pytest.approx(wanted, rel=0.2)
    assert curve[10] != exact[10]  # it was not float32 after all
    loaded = checkpoints.load_model(str(run)).model
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert {weight.dtype for weight in loaded.weights} == {"float32"}


def test_xla_is_left_out_on_a_cpu(data_dir, tmp_path, caplog):
    train(tmp_path / "run", data_dir, total_steps=1, jit_compile=True)
    assert "train.jit_compile: ignored" in caplog.text


def test_outputs_are_mapped_by_mid_to_another_vocabulary(plain, tmp_path):
    mids = ("/m/03", "/m/00", "/m/0new", "/m/01")
    other = vocabularies.Vocabulary(mids, ("three", "zero", "new", "one"))
    write_dataset(tmp_path / "data" / "train", toy_clips(16), 1, vocabulary=other)
    tuned = train(
        tmp_path / "tuned",
        str(tmp_path / "data"),
        rate=0.0,
        init_from=str(plain / "checkpoints" / "step-20"),
        total_steps=1,
    )
    before = checkpoints.load_model(str(plain)).model
    after = checkpoints.load_model(str(tuned)).model
    np.testing.assert_array_equal(
        after.get_layer("stem_conv").kernel.numpy(), before.get_layer("stem_conv").kernel.numpy()
    )
    for which in ("kernel", "bias"):
        old, new = (getattr(m.get_layer("logits"), which).numpy() for m in (before, after))
        np.testing.assert_array_equal(new[..., [0, 1, 3]], old[..., [3, 0, 1]])
        assert not np.isin(new[..., 2], old).any()  # fresh, not that of the class in its place
    report = json.loads((tuned / "initialization.json").read_text())
    assert report["kept"] == ["/m/03", "/m/00", "/m/01"]
    assert (report["new"], report["dropped"]) == (["/m/0new"], ["/m/02"])


def test_another_architecture_cannot_be_mapped(plain, tmp_path):
    other = vocabularies.Vocabulary(("/m/01", "/m/00", "/m/05"), ("b", "a", "c"))
    write_dataset(tmp_path / "data" / "train", toy_clips(16), 1, vocabulary=other)

    def wider(num_classes, **_):
        return resnet.resnet(num_classes, depths=(1,), width=8, bottleneck=False)

    with pytest.raises(errors.InputError, match="another architecture than this run's"):
        train(
            tmp_path / "tuned",
            str(tmp_path / "data"),
            model=wider,
            init_from=str(plain / "checkpoints" / "step-20"),
        )
    assert not (tmp_path / "tuned").exists()


def test_tensorboard_shows_inputs_with_labels_memory_waiting_and_histograms(
    data_dir, tmp_path, events
):
    run = train(tmp_path / "run", data_dir, inputs_every=10, histograms_every=20)
    logged = events(run)
    pictures = dict(logged["inputs/patches"])
    assert sorted(pictures) == [0, 10, 20]
    # Width and height, then a PNG each: 96 frames and 64 bands, three pixels a value.
    assert [int(size) for size in pictures[0][:2]] == [96 * 3, 64 * 3]
    first = tf.io.decode_png(pictures[0][2]).numpy()
    assert first.shape == (192, 288, 1)
    assert first.std() > 10
    batches = take_samples(21, toy_sources(data_dir), 16)
    for step, text in dict(logged["inputs/labels"]).items():
        batch = batches[step]  # they are the first examples of the very batch that is trained next
        wanted = [
            (clip_id.decode(), f"{start / 16_000:.2f} s")
            for clip_id, start in zip(batch["clip_id"][:6], batch["start"], strict=False)
        ]
        rows = text.item().decode().splitlines()[2:]
        assert [tuple(cell.strip() for cell in row.split("|")[2:4]) for row in rows] == wanted
        assert len(rows) == len(pictures[step]) - 2
    clips = {clip.clip_id: clip for clip in toy_clips(48)}
    for row in rows:
        _, _, clip_id, start, labels, _ = (cell.strip() for cell in row.split("|"))
        clip = clips[clip_id]
        (begin, end, label), *_ = clip.segments
        frame = 1000 * float(start.removesuffix(" s"))
        overlap = min(end, frame + 960) - max(begin, frame)
        if abs(overlap - 480) > 15:  # the text gives the start to 10 ms
            assert labels == (f"class {label}" if overlap > 480 else "-")
    assert min(series(events(run), "memory/host_mb").values()) > 100
    waits = series(events(run), "input_wait_share")
    assert sorted(waits) == [10, 15, 20]
    assert all(0 <= share <= 1 for share in waits.values())
    assert [step for step, _ in logged["weights/stem_conv/kernel"]] == [20]


def test_the_profiler_sees_the_steps_asked_for(data_dir, tmp_path):
    run = train(tmp_path / "run", data_dir, total_steps=10, profile_steps=[6, 8])
    assert list((run / "train" / "plugins" / "profile").glob("*/*.xplane.pb"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "int8"}, "train.precision = 'int8': must be one of float32, bfloat16"),
        ({"clip_norm": 0.0}, "train.clip_norm = 0.0: must be positive"),
        ({"ema_decay": 1.0}, r"train.ema_decay = 1.0: must lie in \(0, 1\)"),
        ({"loss": "entropy"}, "train.loss = 'entropy': must name a function"),
        ({"optimizer": "adam"}, "train.optimizer = 'adam': must name a function"),
        ({"profile_steps": [5, 5]}, "must be two steps, the first lower"),
        ({"inputs_every": -1}, "train.inputs_every = -1"),
        ({"histograms_every": 1.5}, "train.histograms_every = 1.5"),
    ],
)
def test_bad_options_stop_before_anything_is_written(data_dir, tmp_path, settings, message):
    with pytest.raises(errors.InputError, match=message):
        train(tmp_path / "run", data_dir, **settings)
    assert not (tmp_path / "run").exists()
