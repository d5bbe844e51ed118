"""Where training runs: on one device, several devices, several machines, or TPUs."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.core import choices, errors

STRATEGIES = ONE_DEVICE, MIRRORED, MULTI_WORKER, TPU = choices.STRATEGIES
_MESSAGE_BYTES = 1000  # of the line in which a worker tells the others why it ends


def make(name: str, tpu: str | None = None) -> tf.distribute.Strategy:
    """Makes a `tf.distribute` strategy; must be called before any other use of TensorFlow.

    Args:
      name: "one_device", the first GPU or else the CPU; "mirrored", all GPUs of this machine (or
        all logical CPUs); "multi_worker", one process per machine, which find each other by the
        environment variable TF_CONFIG, and wait until all have been started; "tpu".
      tpu: name or address of the TPU; by default that of this TPU VM.

    Raises:
      errors.InputError: an unknown name, or there are no such devices.
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
        with _ended_by_ctrl_c():
            logging.info("waiting for the other workers of TF_CONFIG = %s", os.environ["TF_CONFIG"])
            return tf.distribute.MultiWorkerMirroredStrategy()
    if name == TPU:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu or "local")
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (ValueError, tf.errors.OpError, RuntimeError) as error:
            reason = errors.first_line(error)
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


@contextlib.contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C end the process at once, as Python cannot while TensorFlow waits for workers.

    TensorFlow takes SIGTERM for itself when it begins to wait; afterwards Python has it back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are TPU cores."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes share the training."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints and events for all workers."""
    return not is_multi_worker(strategy) or strategy.cluster_resolver.task_id == 0


def any_worker(strategy: tf.distribute.Strategy, value: bool) -> bool:
    """Whether `value` is true in any worker.

    Args:
      strategy: of the run. All its workers must call this, equally often.
      value: of this worker.

    Raises:
      errors.InputError: another worker is gone.
    """
    if not is_multi_worker(strategy):
        return value
    with reporting_lost_workers(strategy):
        return bool(_sum_over_workers(strategy, tf.constant(float(value))) > 0)


def of_workers(strategy: tf.distribute.Strategy, values: Sequence[float]) -> np.ndarray:
    """The values of all workers.

    Args:
      strategy: of the run. All its workers must call this, equally often.
      values: of this worker, as many as the others give; exact up to 2**53.

    Returns:
      float64 `[workers, values]`.

    Raises:
      errors.InputError: another worker is gone.
    """
    if not is_multi_worker(strategy):
        return np.asarray([values], np.float64)
    resolver = strategy.cluster_resolver
    mine = np.zeros([resolver.cluster_spec().num_tasks("worker"), len(values)])
    mine[resolver.task_id] = values
    with reporting_lost_workers(strategy):
        total = _sum_over_workers(strategy, tf.constant(mine)).numpy()
    return total * len(mine) / strategy.num_replicas_in_sync  # each replica has added its worker's


def leave_together(strategy: tf.distribute.Strategy) -> None:
    """Waits for the other workers, all of which are about to end.

    A worker that ended at once would take from a slower one what they have exchanged last.

    Args:
      strategy: of the run. All its workers must call this, as their last exchange.
    """
    with contextlib.suppress(errors.InputError):  # another worker has ended: so does this one
        any_worker(strategy, False)


@contextlib.contextmanager
def ending_together(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Ends all workers when an error ends one of them within the block.

    Without it the others would wait in their next exchange for a worker that does not come.

    Args:
      strategy: of the run. All its workers must enter this, equally often, and exchange nothing
        within the block that an error may keep one of them from.

    Raises:
      errors.InputError: another worker has failed; the message is that of its error.
    """
    try:
        yield
    except Exception as error:
        with contextlib.suppress(errors.InputError):  # another worker is gone: this one ends anyway
            _failures(strategy, errors.first_line(error) or type(error).__name__)
        leave_together(strategy)
        raise
    for worker, failure in enumerate(_failures(strategy, "")):
        if failure:
            leave_together(strategy)
            raise errors.InputError(f"worker {worker} has failed: {failure}")


def _failures(strategy: tf.distribute.Strategy, mine: str) -> list[str]:
    """Why each worker fails; "" if it does not."""
    if not is_multi_worker(strategy):
        return []
    said = mine.encode()[:_MESSAGE_BYTES].ljust(_MESSAGE_BYTES, b"\0")
    heard = of_workers(strategy, list(said)).astype(np.uint8)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in heard]


@tf.function
def _sum_over_workers(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    def add() -> tf.Tensor:
        return sum_over_replicas(tf.identity(value))  # on the replica's device

    return first(strategy, strategy.run(add))


def sum_over_replicas(value: Any) -> Any:
    """Sums over all replicas; must be called in each of them.

    Args:
      value: a tensor, or a list of tensors, of one replica.

    Returns:
      The sum of each tensor over the replicas.
    """
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)


def first(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """The value of this process's first replica.

    Args:
      strategy: of the run.
      value: what `strategy.run` returned.
    """
    return strategy.experimental_local_results(value)[0]


@contextlib.contextmanager
def reporting_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's errors about a lost worker into one line for the user.

    Args:
      strategy: of the run; with one process nothing is changed.

    Raises:
      errors.InputError: another worker is gone.
    """
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
        raise errors.InputError(
            f"another worker is gone ({errors.first_line(error)}); start all of them again to "
            "continue from the last checkpoint"
        ) from error


def has_accelerator() -> bool:
    """Whether there is a GPU here."""
    return bool(tf.config.list_logical_devices("GPU"))
