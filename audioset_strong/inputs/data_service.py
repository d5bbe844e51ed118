"""Batches made by the workers of a tf.data service, instead of by the training process."""

import socket

import tensorflow as tf

from audioset_strong.core import errors

_TIMEOUT_S = 20.0


def served(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Has the workers of a tf.data service make batches.

    The service hands out the numbers of the batches to its workers as they ask for them: every
    batch of the stream comes once, in an order that depends on the workers' speed.

    Args:
      batches: all of whose work is in its graph.
      address: of the service's dispatcher, "grpc://host:port".

    Raises:
      errors.InputError: an address that is none, or at which nothing answers.
    """
    _check_answers(address)
    service = tf.data.experimental.service
    try:
        return batches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, address))
    except (tf.errors.OpError, ValueError) as error:
        reason = errors.first_line(error)
        raise errors.InputError(f"train_patches.data_service = {address!r}: {reason}") from error


def _check_answers(address: str) -> None:
    """TensorFlow would wait for ever for a dispatcher that does not exist."""
    protocol, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if protocol != "grpc" or not host or not port.isdigit():
        raise errors.InputError(
            f"train_patches.data_service = {address!r}: must be like 'grpc://host:5050'"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S).close()
    except OSError as error:
        raise errors.InputError(
            f"train_patches.data_service = {address!r}: no dispatcher answers there ({error})"
        ) from error
