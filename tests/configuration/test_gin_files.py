"""Gin files and bindings as a user gives them, mistakes included."""

import pathlib

import gin
import pytest

from audioset_strong.configuration import gin_files
from audioset_strong.core import errors
from audioset_strong.inputs import training_sources
from audioset_strong.models import resnet
from audioset_strong.training import loop

_ROWS = ("weak_67k", "diffuse_67k", "strong_67k", "weak_1_8m", "plus_diffuse", "plus_strong")


@pytest.fixture(autouse=True)
def _fresh_gin():
    yield
    gin.clear_config()


@pytest.mark.parametrize("row", _ROWS)
def test_every_row_of_table_1_binds_a_full_run_of_resnet_50(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the files are found from anywhere
    gin_files.parse([f"table1/{row}.gin"], ["train.data_dir = 'x'"])
    loop.check_bindings()
    assert gin.query_parameter("resnet.depths") == (3, 4, 6, 3)
    assert gin.query_parameter("resnet.first_stride") == 1
    for kind in ("pretrain", "train", "fine_tune"):
        gin_files.parse([f"table1/{row}.gin", f"demo/{kind}.gin"], [])
        assert gin.query_parameter("resnet.width") == 8


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("weak_67k", [("train_strong", "weak", 1.0)]),
        ("diffuse_67k", [("train_strong", "diffuse", 1.0)]),
        ("strong_67k", [("train_strong", "strong", 1.0)]),
        ("weak_1_8m", [("train_weak", "weak", 1.0)]),
        ("plus_diffuse", [("train_weak", "weak", 0.3), ("train_strong", "diffuse", 0.7)]),
        ("plus_strong", [("train_weak", "weak", 0.2), ("train_strong", "strong", 0.8)]),
    ],
)
def test_rows_train_on_the_paper_s_sets(row, expected):
    gin_files.parse([f"table1/{row}.gin"], [])
    sources = (training_sources.mixture if row.startswith("plus") else training_sources.single)(
        "data"
    )
    got = [(pathlib.Path(s.datasets[0]).name, s.policy, pytest.approx(s.weight)) for s in sources]
    assert got == expected


@pytest.mark.parametrize(
    ("files", "params", "message"),
    [
        (["table1/strong_67.gin"], [], "table1/strong_67k.gin"),
        ([], ["resnet.widht = 3"], "widht"),
        ([], ["no_such_function.x = 3"], "no_such_function"),
        ([], ["resnet.width 3"], "resnet.width 3"),
        ([], ["resnet.model = @nothing"], "nothing"),
        ([], ["single_source.datasets = %NOWHERE"], "%NOWHERE is used but never set"),
    ],
)
def test_mistakes_are_one_line_that_names_them(files, params, message):
    with pytest.raises(errors.InputError) as caught:
        gin_files.parse(files, params)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_bindings_are_named():
    gin_files.parse([], ["train.batch_size = 3", "train.data_dir = 'd'"])
    with pytest.raises(errors.InputError, match=r"train\.sources, train\.total_steps"):
        loop.check_bindings()


def test_bindings_override_files_and_reach_the_function():
    gin_files.parse(["models/resnet50.gin"], ["resnet.width = 2", "resnet.depths = (1,)"])
    assert resnet.resnet(3, bottleneck=False).get_layer("embedding").output.shape[-1] == 2


def test_a_workdir_keeps_to_one_config(tmp_path):
    workdir = str(tmp_path / "run")
    first = gin_files.parse([], ["train.batch_size = 3"])
    gin_files.claim_workdir(workdir, first)
    gin_files.claim_workdir(workdir, gin_files.parse([], ["train.batch_size = 3"]))
    other = gin_files.parse([], ["train.batch_size = 4"])
    (tmp_path / "run" / "model.json").write_text("{}")  # the run has begun
    with pytest.raises(errors.InputError, match=r"there train.batch_size = 3.*for .*size = 4"):
        gin_files.claim_workdir(workdir, other)


def test_a_workdir_is_the_same_run_s_wherever_its_data_lie(tmp_path):
    workdir = str(tmp_path / "run")
    long = "/a/path/that/is/so/long/that/gin/breaks/the/line/" + 8 * "further/"
    first, moved, other = (
        gin_files.parse([], [f"train.data_dir = {where!r}", f"train.batch_size = {size}"])
        for where, size in (("data", 3), (long, 3), (long, 4))
    )
    gin_files.claim_workdir(workdir, first)
    (tmp_path / "run" / "model.json").write_text("{}")
    gin_files.claim_workdir(workdir, moved)
    with pytest.raises(errors.InputError, match=r"there train.batch_size = 3, asked for \S+ = 4;"):
        gin_files.claim_workdir(workdir, other)


def test_a_claim_that_was_killed_half_way_is_made_again(tmp_path):
    (tmp_path / "config.tmp").write_text("train.batch")
    gin_files.claim_workdir(str(tmp_path), "train.batch_size = 3\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config.gin"]


def test_a_mu_outside_0_to_1_is_refused():
    with pytest.raises(errors.InputError, match=r"mu = 1\.5"):
        training_sources.weak_strong_mixture("d", ("a",), ("b",), "strong", 1.5)


def test_a_workdir_whose_run_never_began_takes_another_config(tmp_path):
    workdir = str(tmp_path / "run")
    gin_files.claim_workdir(workdir, "train.data_dir = 'mistyped'\n")
    gin_files.claim_workdir(workdir, "train.data_dir = 'right'\n")
    assert (tmp_path / "run" / "config.gin").read_text() == "train.data_dir = 'right'\n"


def test_a_directory_of_something_else_is_no_workdir(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(errors.InputError, match="something else than a run"):
        gin_files.claim_workdir(str(tmp_path), "train.batch_size = 3\n")


def test_a_folder_named_like_one_of_ours_does_not_hide_the_included_file(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    gin_files.parse(["table1/strong_67k.gin"], [])
    assert gin.query_parameter("resnet.depths") == (3, 4, 6, 3)


def test_mistakes_in_files_are_told_by_file_and_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = 'include "table1/common.gin"\n\n# a comment\nresnet.widht = 3\n'
    (tmp_path / "mine.gin").write_text(text)
    with pytest.raises(errors.InputError, match=r"mine\.gin.*widht.*line 4"):
        gin_files.parse(["mine.gin"], [])
    (tmp_path / "loop.gin").write_text('include "loop.gin"\n')
    with pytest.raises(errors.InputError, match=r"loop\.gin includes itself"):
        gin_files.parse(["loop.gin"], [])
    (tmp_path / "typo.gin").write_text('include "table1/comon.gin"\n')
    with pytest.raises(errors.InputError, match=r"included by typo\.gin.*table1/common\.gin"):
        gin_files.parse(["typo.gin"], [])
