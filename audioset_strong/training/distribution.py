"""Where training runs: one device, several, several machines, or TPUs."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from audioset_strong.core import errors

ONE_DEVICE, MIRRORED, MULTI_WORKER, TPU = "one_device", "mirrored", "multi_worker", "tpu"
STRATEGIES = (ONE_DEVICE, MIRRORED, MULTI_WORKER, TPU)


def make(name: str, tpu: str | None = None) -> tf.distribute.Strategy:
    """A `tf.distribute` strategy; to be called before anything else of TensorFlow's.

    Args:
      name: "one_device", the first GPU or else the CPU; "mirrored", all GPUs of this machine (or
        logical CPUs); "multi_worker", one process a machine, which the environment variable
        TF_CONFIG introduces to each other; "tpu".
      tpu: name or address of the TPU; by default that of the TPU VM.

    Raises:
      errors.InputError: another name, or no such devices.
    """
    if name == ONE_DEVICE:
        return tf.distribute.get_strategy()
    if name == MIRRORED:
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.MirroredStrategy(
            [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        )
    if name == MULTI_WORKER:
        _check_tf_config()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == TPU:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu or "local")
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (ValueError, tf.errors.OpError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise errors.InputError(f"no TPU at {tpu or 'this machine'}: {reason}") from error
    raise errors.InputError(f"strategy {name!r}: must be one of {', '.join(STRATEGIES)}")


def _check_tf_config() -> None:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        if task["type"] == "worker" and 0 <= task["index"] < len(workers):
            return
    except (ValueError, KeyError, TypeError):
        pass
    example = {
        "cluster": {"worker": ["host0:2222", "host1:2222"]},
        "task": {"type": "worker", "index": 0},
    }
    raise errors.InputError(
        f"TF_CONFIG = {text!r}: the multi_worker strategy needs it, like {json.dumps(example)}"
    )


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes share the training."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes checkpoints and events for all."""
    return not is_multi_worker(strategy) or strategy.cluster_resolver.task_id == 0


def any_worker(strategy: tf.distribute.Strategy, value: bool) -> bool:
    """Whether `value` holds in any worker; all of them must ask alike."""
    if not is_multi_worker(strategy):
        return value
    with reporting_lost_workers(strategy):
        return bool(_sum_over_workers(strategy, tf.constant(float(value))) > 0)


@tf.function
def _sum_over_workers(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    def add() -> tf.Tensor:
        return sum_over_replicas(tf.identity(value))  # on the replica's device

    return first(strategy, strategy.run(add))


def sum_over_replicas(value: Any) -> Any:
    """The sum of a tensor, or of each of some, over all replicas; called in each of them."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)


def first(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """What the first of this process's replicas returned."""
    return strategy.experimental_local_results(value)[0]


@contextlib.contextmanager
def reporting_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns what TensorFlow says of a worker that is gone into the user's error."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        if not is_multi_worker(strategy):
            raise
        reason = str(error).partition("\n")[0]
        raise errors.InputError(
            f"another worker is gone ({reason}); start all of them again to go on from the last "
            "checkpoint"
        ) from error


def has_accelerator() -> bool:
    """Whether there is a GPU here."""
    return bool(tf.config.list_logical_devices("GPU"))
