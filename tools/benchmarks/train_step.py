"""The training step: ours, the model alone, and stock Keras, in one run; and a whole launch.

Examples:
  train_step.py                                 # ResNet-50, ours and stock, on what is here
  train_step.py --launch                        # from the command line to the end of the process
  train_step.py --batch_size=128 --precision=bfloat16 --jit_compile

All rows train on the same batch, which lies in memory: input pipelines have their own benchmark.

  loop     as train.py runs it: several steps a call, gradient norm, input wait, TensorBoard
  bare     our network in a tf.function of one step, with nothing around it
  unfused  the same with Keras's own batch norm, see models/batch_norm.py
  forward  our network's logits alone
  stock    keras.applications.ResNet50 of the same input and output, train_on_batch

At the default size ours is given the stock network's first stride, so that the two have the same
multiply-adds; `--first_stride=1` is the paper's. The rows take turns, and the fastest turn of each
counts. The last line is all of it as JSON.

With --launch, train.py is started as users start it: 20 steps of the demo's network on a small
synthetic dataset. Shown are the seconds from launch to the first step and to the end of the
process, and those of its processors, each the least of all turns.
"""

import itertools
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from absl import flags

from audioset_strong.core import cli, jobs

_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Examples a step.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 527, "Outputs.", lower_bound=1)
_FIRST_STRIDE = flags.DEFINE_integer("first_stride", 2, "1 is the paper's.", lower_bound=1)
_SMALL = flags.DEFINE_bool("small", False, "The demo's network, without the stock one beside it.")
_STEPS = flags.DEFINE_integer("steps", 5, "Steps a turn.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 12, "Turns of each row.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16", "float16"], "Of the layers' arithmetic."
)
_LAUNCH = flags.DEFINE_bool("launch", False, "Measure launches instead of steps.")
_JIT_COMPILE = flags.DEFINE_bool("jit_compile", False, "Compile the steps by XLA.")


Turn = Callable[[], object]


def _batch() -> dict[str, Any]:
    """One batch of noise, which lies in memory."""
    import numpy as np
    import tensorflow as tf

    from audioset_strong.audio.features import DEFAULT_FRONT_END

    rng = np.random.default_rng(0)
    shape = (_BATCH_SIZE.value, *DEFAULT_FRONT_END.patch_shape)
    labels = rng.random((_BATCH_SIZE.value, _CLASSES.value)) < 2 / _CLASSES.value
    return {
        "log_mel": tf.constant(rng.normal(-2, 1, shape).astype(np.float32)),
        "labels": tf.constant(labels.astype(np.float32)),
        "label_weights": tf.ones(labels.shape),
    }


def _network() -> Any:
    from audioset_strong.models import precisions, resnet

    size: dict[str, Any] = {}
    if _SMALL.value:
        size = {"depths": (1, 1, 1, 1), "width": 8, "bottleneck": False}
    with precisions.layers_in(_PRECISION.value):
        return resnet.resnet(_CLASSES.value, first_stride=_FIRST_STRIDE.value, **size)


def _unfused_network() -> Any:
    import keras

    from audioset_strong.models import batch_norm

    with mock.patch.object(batch_norm, "fused_batch_norm", keras.layers.BatchNormalization):
        return _network()


def _loop_turn(net: Any, batch: dict[str, Any]) -> Turn:
    """Several steps as train.py runs them."""
    import tensorflow as tf

    from audioset_strong.training import losses, monitoring, optimizers
    from audioset_strong.training.state import TrainState
    from audioset_strong.training.step import TrainStep

    optimizer = optimizers.build(optimizers.adam, 1e-4, net)
    run_steps = TrainStep(
        TrainState(net, optimizer, tf.Variable(0, dtype=tf.int64)),
        losses.SigmoidCrossEntropy(),
        strategy=tf.distribute.get_strategy(),
        to_model_input=lambda batch: batch,
        jit_compile=_JIT_COMPILE.value,
    )
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())

    def turn() -> None:
        ran = {name: value.numpy() for name, value in run_steps(batches, _STEPS.value).items()}
        monitoring.write_scalars({"loss": float(ran["loss"].mean())}, _STEPS.value)

    return turn


def _bare_turn(net: Any, batch: dict[str, Any]) -> Turn:
    """The same network in a step with nothing around it."""
    import keras
    import tensorflow as tf

    from audioset_strong.training import optimizers

    optimizer = optimizers.build(optimizers.adam, 1e-4, net)
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)

    @tf.function(jit_compile=_JIT_COMPILE.value or None, autograph=False)
    def one_step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = net(batch["log_mel"], training=True)
            loss = tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(labels=batch["labels"], logits=logits)
            )
            target = optimizer.scale_loss(loss) if scaled else loss
        gradients = tape.gradient(target, net.trainable_variables)
        optimizer.apply(gradients, net.trainable_variables)
        return loss

    return lambda: [one_step() for _ in range(_STEPS.value)][-1].numpy()


def _forward_turn(net: Any, batch: dict[str, Any]) -> Turn:
    """Logits alone."""
    import tensorflow as tf

    @tf.function(jit_compile=_JIT_COMPILE.value or None, autograph=False)
    def logits() -> tf.Tensor:
        return net(batch["log_mel"], training=False)

    return lambda: [logits() for _ in range(_STEPS.value)][-1].numpy()


def _stock_network(input_shape: tuple[int, ...]) -> Any:
    import keras

    from audioset_strong.models import precisions

    with precisions.layers_in(_PRECISION.value):
        stock = keras.applications.ResNet50(
            weights=None,
            input_shape=(*input_shape, 1),
            classes=_CLASSES.value,
            classifier_activation=None,
        )
        stock.compile(
            keras.optimizers.Adam(1e-4),
            keras.losses.BinaryCrossentropy(from_logits=True),
            jit_compile=_JIT_COMPILE.value,
        )
    return stock


def _stock_turn(stock: Any, batch: dict[str, Any]) -> Turn:
    """Steps of stock Keras."""
    import tensorflow as tf

    pictures = tf.expand_dims(batch["log_mel"], -1)

    def turn() -> None:
        for _ in range(_STEPS.value):
            stock.train_on_batch(pictures, batch["labels"])

    return turn


def _rows() -> tuple[dict[str, Turn], dict[str, object]]:
    """A function of one turn for each row, and what is measured."""
    import tensorflow as tf

    from audioset_strong.models import complexity

    batch = _batch()
    ours, alone = _network(), _network()
    rows = {
        "loop": _loop_turn(ours, batch),
        "bare": _bare_turn(alone, batch),
        "unfused": _bare_turn(_unfused_network(), batch),
        "forward": _forward_turn(ours, batch),
    }
    about: dict[str, object] = {
        "ours": str(complexity.measure(ours)),
        "devices": [d.name for d in tf.config.list_logical_devices()],
    }
    if not _SMALL.value:
        stock = _stock_network(batch["log_mel"].shape[1:])
        rows["stock"] = _stock_turn(stock, batch)
        about["stock"] = str(complexity.measure(stock))
    return rows, about


def _write_dataset(root: str) -> None:
    """A small dataset named train_strong in ROOT/data."""
    metadata = f"{root}/corpus/metadata"
    for tool, *arguments in (
        (
            "make_corpus",
            f"--output_dir={root}/corpus",
            "--train_weak_clips=1",
            "--train_strong_clips=24",
            "--eval_clips=1",
        ),
        (
            "convert",
            f"--audio={root}/corpus/audio/train",
            f"--strong_tsv={metadata}/strong_train.tsv",
            f"--class_labels={metadata}/mid_to_display_name.tsv",
            f"--output_dir={root}/data",
            "--name=train_strong",
            "--num_shards=2",
        ),
    ):
        subprocess.run(jobs.tool_command(tool, *arguments), check=True, capture_output=True)


def _launch(root: str, turn: int) -> dict[str, float]:
    """Seconds to the first step and to the end, and of the processors, of one launch."""
    from tensorboard.backend.event_processing import event_accumulator

    workdir = f"{root}/run{turn}"
    command = jobs.tool_command(
        "train",
        f"--workdir={workdir}",
        f"--data_dir={root}/data",
        "--gin_file=table1/strong_67k.gin",
        "--gin_file=demo/train.gin",
        "--gin_param=train.total_steps = 20",
        "--gin_param=train.checkpoint_every = 20",
        "--gin_param=train.steps_per_call = 1",
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.time()
    subprocess.run(command, check=True, capture_output=True)
    ended = time.time()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    events = event_accumulator.EventAccumulator(f"{workdir}/train")
    events.Reload()
    return {
        "first step": events.Tensors("Training/loss")[0].wall_time - began,
        "end": ended - began,
        "processors": sum(getattr(after, t) - getattr(before, t) for t in ("ru_utime", "ru_stime")),
    }


def _measure_launches() -> None:
    with tempfile.TemporaryDirectory() as root:
        _write_dataset(root)
        turns = [_launch(root, turn) for turn in range(_TURNS.value)]
    least = {name: min(turn[name] for turn in turns) for name in turns[0]}
    for name, seconds in least.items():
        print(f"{name:<12} {seconds:>6.1f} s")
    print(json.dumps(least))


def main(argv: list[str]) -> None:
    """Measures, prints a table and JSON."""
    del argv
    if _LAUNCH.value:
        _measure_launches()
        return
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
