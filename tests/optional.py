"""Packages that not every installation has."""

import sys

import pytest

from audioset_strong.core import io_extra

needs_tensorflow_io = pytest.mark.skipif(
    not io_extra.available(), reason="needs the extra io (TensorFlow 2.17)"
)


def hide_tensorflow_io(monkeypatch):
    """Makes this process believe that tensorflow-io is not installed, until the test ends."""
    monkeypatch.setitem(sys.modules, io_extra.NAME, None)
    # A loader of its own, since the usual one remembers what it found.
    monkeypatch.setattr(io_extra, "_load", io_extra._load.__wrapped__)
