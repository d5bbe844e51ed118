"""What the evaluator says while it waits for a run that has not begun, maybe for ever."""

import pytest

from audioset_strong.evaluation import following
from tests import datasets


def _lines(caplog, workdir, data, timeout_s):
    caplog.clear()
    following.evaluate_workdirs([str(workdir)], {"eval": data}, timeout_s=timeout_s)
    return [line for line in caplog.messages if "no run there yet" in line]


@pytest.fixture
def data(tmp_path):
    return datasets.write_dataset(tmp_path / "data", [datasets.make_clip(i, 1.0) for i in range(3)])


def test_one_line_names_the_workdir_what_is_waited_for_and_how_to_stop(data, tmp_path, caplog):
    workdir = tmp_path / "runs" / "mistyped"
    (line,) = _lines(caplog, workdir, data, timeout_s=0.3)
    assert line == (
        f"{workdir}: no run there yet; waiting for it (the directory does not exist, and "
        "audioset_strong_train makes it; Ctrl-C stops)"
    )
    assert not workdir.exists()
    workdir.mkdir(parents=True)
    (line,) = _lines(caplog, workdir, data, timeout_s=0.3)
    assert line == (
        f"{workdir}: no run there yet; waiting for it (audioset_strong_train makes it; "
        "Ctrl-C stops)"
    )


def test_the_line_comes_again_now_and_then(data, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(following, "_REMIND_S", 0.0)
    assert len(_lines(caplog, tmp_path / "none", data, timeout_s=0.05)) >= 2
