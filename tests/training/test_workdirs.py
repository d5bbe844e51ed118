"""Whose directory a workdir is."""

import pytest

from audioset_strong.core import errors
from audioset_strong.training import workdirs


def test_a_workdir_keeps_to_one_config(tmp_path):
    workdir = str(tmp_path / "run")
    workdirs.claim(workdir, "train.batch_size = 3\n")
    workdirs.claim(workdir, "train.batch_size = 3\n")
    (tmp_path / "run" / "run.json").write_text("{}")  # the run has begun
    workdirs.claim(workdir, "train.batch_size = 3\n")
    message = r"it has train.batch_size = 3, this one train.batch_size = 4; take another --workdir"
    with pytest.raises(errors.InputError, match=message):
        workdirs.claim(workdir, "train.batch_size = 4\n")


def test_settings_that_do_not_change_the_result_may_change(tmp_path):
    stored = (
        "# Parameters for train:\n# ====\ntrain.batch_size = 3\ntrain.data = \\\n    ('one',\n"
        "     'two')\ntrain.seed = 1\ntrain.steps_per_call = 5\n"
    )
    workdirs.claim(str(tmp_path), stored)
    (tmp_path / "run.json").write_text("{}")
    changed = stored.replace("per_call = 5", "per_call = 7") + "train.resume_every_s = 1.0\n"
    workdirs.claim(str(tmp_path), changed)
    assert (tmp_path / "config.gin").read_text() == changed
    for old, new in (("seed = 1", "seed = 2"), ("'two'", "'three'"), ("batch_size = 3", "x = 3")):
        with pytest.raises(errors.InputError, match="holds a run of another config"):
            workdirs.claim(str(tmp_path), changed.replace(old, new))


def test_the_length_of_a_run_may_change_only_where_that_is_asked_for(tmp_path):
    workdirs.claim(str(tmp_path), "train.total_steps = 10\n")
    (tmp_path / "run.json").write_text("{}")
    message = r"it has train\.total_steps = 10, this one train\.total_epochs = 2"
    with pytest.raises(errors.InputError, match=message):
        workdirs.claim(str(tmp_path), "train.total_epochs = 2\n")
    workdirs.claim(str(tmp_path), "train.total_epochs = 2\n", extend=True)


@pytest.mark.parametrize("left", ["config.gin.0123.tmp", ".lock", "eval", "eval_ema"])
def test_what_a_run_leaves_that_never_began_is_no_run(tmp_path, left):
    (tmp_path / left).touch()
    workdirs.claim(str(tmp_path), "train.batch_size = 3\n")
    workdirs.claim(str(tmp_path), "train.batch_size = 4\n")
    assert (tmp_path / "config.gin").read_text() == "train.batch_size = 4\n"


def test_a_directory_of_something_else_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(errors.InputError, match="something other than a run"):
        workdirs.claim(str(tmp_path), "train.batch_size = 3\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_workdir(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.InputError, match="Not a directory; take another --workdir"):
        workdirs.claim(str(tmp_path / "file"), "train.batch_size = 3\n")
