"""Gin files and bindings as a user gives them, mistakes included."""

import gin
import pytest

from audioset_strong.configuration import gin_files, training_bindings  # noqa: F401 (registers)
from audioset_strong.core import errors


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


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("log_mel.offset = 0.1", "log_mel.offset is now FrontEnd.offset"),
        ("single.policy = 'weak'", "single.policy is now single_source.policy"),
        ("single.fraction = 0.5", "single.fraction is now single_source.video_fraction"),
        ("mixture.mu = 0.5", "mixture.mu is now weak_strong_mixture.mu"),
        ("constant.learning_rate = 0.5", "is now constant_schedule.learning_rate"),
        ("steps.factor = 0.5", "steps.factor is now step_schedule.factor"),
        ("train.learning_rate = @constant", "@constant is now @constant_schedule"),
        ("train.sources = @mixture", "@mixture is now @weak_strong_mixture"),
        (
            "frame_labels.rule = 'paper'",
            "train.framing_rule for training, evaluate_workdirs.framing_rule for evaluation",
        ),
        ("evaluate_workdirs.smear = True", "is now evaluate_workdirs.propagate_to_ancestors"),
        (
            "train_patches.shuffle_buffer = 9",
            "every epoch is a permutation of all clips now; leave it out",
        ),
        ("train.data_dir = 'data'", "train.data_dir is now the flag --data_dir"),
        ("train.init_from = 'run'", "train.init_from is now the flag --init_from"),
        ("Augmentation.time_mask_frames = 9", "is now Augmentation.time_mask_stft_frames"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(binding, message):
    with pytest.raises(errors.InputError) as caught:
        gin_files.parse([], [binding])
    assert str(caught.value).startswith(f"gin binding {binding!r}: ")
    assert str(caught.value).endswith(message)
    assert "\n" not in str(caught.value)


def test_equal_bindings_give_equal_texts():
    one = gin_files.parse([], ["train.seed = 1", "resnet.width = 2"])
    assert one == gin_files.parse([], ["resnet.width = 3", "train.seed = 1", "resnet.width = 2"])
    assert one != gin_files.parse([], ["train.seed = 1", "resnet.width = 3"])


def test_a_folder_named_like_one_of_ours_does_not_hide_the_included_file(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    gin_files.parse(["table1/strong_67k.gin"], [])
    assert gin.query_parameter("resnet.depths") == (3, 4, 6, 3)


def test_mistakes_in_files_are_reported_with_file_and_line(tmp_path, monkeypatch):
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


def test_a_byte_order_mark_is_no_part_of_a_gin_file(tmp_path, monkeypatch):
    """Editors of Windows write one, and CRLF line ends; an included file may have one, too."""
    monkeypatch.chdir(tmp_path)
    mark = b"\xef\xbb\xbf"
    (tmp_path / "inner.gin").write_bytes(mark + b"train.batch_size = 8\r\n")
    (tmp_path / "own.gin").write_bytes(mark + b'include "inner.gin"\r\ntrain.seed = 3\r\n')
    (tmp_path / "plain.gin").write_text("train.batch_size = 8\ntrain.seed = 3\n")
    assert gin_files.parse(["own.gin"], []) == gin_files.parse(["plain.gin"], [])
    assert gin.query_parameter("train.batch_size") == 8
