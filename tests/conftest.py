"""Fixtures that tests of several packages share."""

import gc

import gin
import pytest

from tests.processes import Server


def pytest_collection_finish():
    """Spares the garbage collector the million objects of what is imported by now, and stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)  # objects; graphs are made of many


@pytest.fixture(autouse=True)
def _no_bindings_of_other_tests():
    """Leaves no gin binding to the next test, whose fixtures would train another model."""
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture(scope="session")
def server():
    """Starts the project's binaries as processes. TensorFlow is imported for all of them once."""
    with Server() as started:
        yield started
