"""Progress as a parent process reads it, and as a log shows it."""

import json

from audioset_strong.core import progress


def test_the_status_file_holds_the_stage_and_how_far_it_is(tmp_path, monkeypatch, capfd):
    path = tmp_path / "status"
    monkeypatch.setenv(progress.STATUS_FILE_VARIABLE, str(path))
    with progress.Bar("training", 10, unit="step", initial=4) as bar:
        assert json.loads(path.read_text()) == {
            "stage": "training",
            "done": 4,
            "total": 10,
            "note": "",
        }
        bar.note("loss 0.5")
        bar.update(5)
    status = json.loads(path.read_text())
    assert (status["done"], status["note"]) == (9, "loss 0.5")
    assert [file.name for file in tmp_path.iterdir()] == ["status"]
    assert capfd.readouterr().err == ""  # the parent shows it


def test_the_status_is_written_where_the_work_failed_too(tmp_path, monkeypatch):
    path = tmp_path / "status"
    monkeypatch.setenv(progress.STATUS_FILE_VARIABLE, str(path))
    try:
        with progress.Bar("converting", None, unit="clip") as bar:
            bar.update(3)
            raise ValueError
    except ValueError:
        pass
    assert json.loads(path.read_text())["done"] == 3


def test_without_a_parent_the_bar_is_on_stderr(monkeypatch, capsys):
    monkeypatch.delenv(progress.STATUS_FILE_VARIABLE, raising=False)
    with progress.Bar("evaluating", 2, unit="clip") as bar:
        bar.note("step 7")
        bar.update(2)
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.splitlines()[-1]
    for part in ("evaluating", "2/2", "clip", "step 7"):
        assert part in last
