"""The training step: ours, the model alone, and stock Keras, in one run.

Examples:
  train_step.py                                 # ResNet-50, ours and stock, on what is here
  train_step.py --batch_size=128 --precision=bfloat16 --jit_compile

All rows train on the same batch, which lies in memory: input pipelines have their own benchmark.

  loop     as train.py runs it: several steps a call, gradient norm, input wait, TensorBoard
  bare     our network in a tf.function of one step, with nothing around it
  forward  our network's logits alone
  stock    keras.applications.ResNet50 of the same input and output, train_on_batch

At the default size ours is given the stock network's first stride, so that the two have the same
multiply-adds; `--first_stride=1` is the paper's. The rows take turns, and the fastest turn of each
counts. The last line is all of it as JSON.
"""

import itertools
import json
import time
from collections.abc import Callable

from absl import flags

from audioset_strong.core import cli

_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Examples a step.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 527, "Outputs.", lower_bound=1)
_FIRST_STRIDE = flags.DEFINE_integer("first_stride", 2, "1 is the paper's.", lower_bound=1)
_SMALL = flags.DEFINE_bool("small", False, "The demo's network, without the stock one beside it.")
_STEPS = flags.DEFINE_integer("steps", 5, "Steps a turn.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 12, "Turns of each row.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16", "float16"], "Of the layers' arithmetic."
)
_JIT_COMPILE = flags.DEFINE_bool("jit_compile", False, "Compile the steps by XLA.")


def _rows() -> tuple[dict[str, Callable[[], None]], dict[str, object]]:
    """A function of one turn for each row, and what is measured."""
    import keras
    import numpy as np
    import tensorflow as tf

    from audioset_strong.audio import features
    from audioset_strong.models import complexity, precisions, resnet
    from audioset_strong.training import losses, monitoring, optimizers
    from audioset_strong.training.step import make_step

    batch_size, classes, steps = _BATCH_SIZE.value, _CLASSES.value, _STEPS.value
    rng = np.random.default_rng(0)
    shape = (batch_size, features.PATCH_FRAMES, features.PATCH_BANDS)
    labels = (rng.random((batch_size, classes)) < 2 / classes).astype(np.float32)
    batch = {
        "log_mel": tf.constant(rng.normal(-2, 1, shape).astype(np.float32)),
        "labels": tf.constant(labels),
        "label_weights": tf.ones_like(labels),
    }
    size = {"depths": (1, 1, 1, 1), "width": 8, "bottleneck": False} if _SMALL.value else {}

    def network() -> keras.Model:
        with precisions.layers_in(_PRECISION.value):
            return resnet.resnet(classes, first_stride=_FIRST_STRIDE.value, **size)

    ours, alone = network(), network()
    optimizer = optimizers.build(optimizers.adam, 1e-4, ours)
    run_steps = make_step(
        tf.distribute.get_strategy(),
        ours,
        optimizer,
        losses.SigmoidCrossEntropy(),
        tf.Variable(0, dtype=tf.int64),
        jit_compile=_JIT_COMPILE.value,
    )
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())

    def with_loop() -> None:
        ran = {
            name: value.numpy() for name, value in run_steps(batches, tf.constant(steps)).items()
        }
        monitoring.write_scalars({"loss": float(ran["loss"].mean())}, steps)

    bare_optimizer = optimizers.build(optimizers.adam, 1e-4, alone)
    scaled = isinstance(bare_optimizer, keras.optimizers.LossScaleOptimizer)

    @tf.function(jit_compile=_JIT_COMPILE.value or None)
    def one_step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = alone(batch["log_mel"], training=True)
            loss = tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(labels=batch["labels"], logits=logits)
            )
            target = bare_optimizer.scale_loss(loss) if scaled else loss
        gradients = tape.gradient(target, alone.trainable_variables)
        bare_optimizer.apply(gradients, alone.trainable_variables)
        return loss

    @tf.function(jit_compile=_JIT_COMPILE.value or None)
    def logits_alone() -> tf.Tensor:
        return ours(batch["log_mel"], training=False)

    rows = {
        "loop": with_loop,
        "bare": lambda: [one_step() for _ in range(steps)][-1].numpy(),
        "forward": lambda: [logits_alone() for _ in range(steps)][-1].numpy(),
    }
    about: dict[str, object] = {
        "ours": str(complexity.measure(ours)),
        "devices": [d.name for d in tf.config.list_logical_devices()],
    }
    if not _SMALL.value:
        with precisions.layers_in(_PRECISION.value):
            stock = keras.applications.ResNet50(
                weights=None,
                input_shape=(*shape[1:], 1),
                classes=classes,
                classifier_activation=None,
            )
            stock.compile(
                keras.optimizers.Adam(1e-4),
                keras.losses.BinaryCrossentropy(from_logits=True),
                jit_compile=_JIT_COMPILE.value,
            )
        pictures = tf.expand_dims(batch["log_mel"], -1)

        def stock_steps() -> None:
            for _ in range(steps):
                stock.train_on_batch(pictures, batch["labels"])

        rows["stock"] = stock_steps
        about["stock"] = str(complexity.measure(stock))
    return rows, about


def main(argv: list[str]) -> None:
    """Measures, prints a table and JSON."""
    del argv
    rows, about = _rows()
    for warm_up in rows.values():
        warm_up()
    best = dict.fromkeys(rows, float("inf"))
    for _, (name, turn) in itertools.product(range(_TURNS.value), rows.items()):
        begin = time.perf_counter()
        turn()
        best[name] = min(best[name], (time.perf_counter() - begin) / _STEPS.value)
    for name, value in about.items():
        print(f"{name}: {value}")
    print("row        ms a step   examples/s   of bare")
    for name, seconds in best.items():
        rate = _BATCH_SIZE.value / seconds
        print(f"{name:<8} {1000 * seconds:>11.1f} {rate:>12.1f} {best['bare'] / seconds:>9.3f}")
    print(json.dumps(about | {"seconds": best, "batch_size": _BATCH_SIZE.value}))


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
