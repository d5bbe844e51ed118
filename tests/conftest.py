"""Fixtures that tests of several packages share."""

import pytest

from tests.processes import Server


@pytest.fixture(scope="module")
def server():
    """Starts the project's binaries as processes."""
    with Server() as started:
        yield started
