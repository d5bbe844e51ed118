"""What the tests of inference share: a run that looks trained, and its model."""

import pytest

import audioset_strong
from tests import trained


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return trained.write_workdir(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def model(workdir):
    return audioset_strong.load_model(workdir)
