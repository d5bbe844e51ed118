"""Which checkpoints go, where their number is bounded."""

import pytest
import tensorflow as tf

from audioset_strong.training import checkpoints, retention


@pytest.fixture
def workdir(tmp_path):
    saved = tf.train.Checkpoint(value=tf.Variable(1.0))
    for step in (1, 2, 3, 4, 5):
        checkpoints.save(saved, str(tmp_path), step=step, keep=True)
    return tmp_path


def kept(workdir):
    return [step for step, _ in checkpoints.list_checkpoints(str(workdir))]


def write_results(workdir, folder, steps, sets=("weak_eval", "strong_eval")):
    (workdir / folder).mkdir(exist_ok=True)
    rows = [f"{step},{name},d_prime,1.0" for step in steps for name in sets]
    (workdir / folder / "results.csv").write_text("\n".join(["step,set,metric,value", *rows, ""]))


def test_without_an_evaluation_everything_stays(workdir):
    assert retention.remove_surplus(str(workdir), 1) == []
    assert kept(workdir) == [1, 2, 3, 4, 5]


def test_the_oldest_evaluated_ones_go_and_no_more_than_are_too_many(workdir):
    write_results(workdir, "eval", (1, 2, 3, 4, 5))
    assert retention.remove_surplus(str(workdir), 3) == [1, 2]
    assert retention.remove_surplus(str(workdir), 3) == []
    assert kept(workdir) == [3, 4, 5]
    assert {path.name.partition(".")[0] for path in (workdir / "checkpoints").iterdir()} == {
        "step-3",
        "step-4",
        "step-5",
    }


def test_the_selected_one_and_the_newest_stay(workdir):
    write_results(workdir, "eval", (1, 2, 3, 4, 5))
    (workdir / "selection.json").write_text('{"step": 2}')
    assert retention.remove_surplus(str(workdir), 1) == [1, 3, 4]
    assert kept(workdir) == [2, 5]


def test_what_some_evaluation_has_not_seen_on_all_its_sets_stays(workdir):
    write_results(workdir, "eval", (1, 2, 3, 4))
    write_results(workdir, "eval_ema", (1, 3, 4))
    with (workdir / "eval" / "results.csv").open("a") as file:
        file.write("3,other,d_prime,1.0\n")  # the others have no results on this set
    assert retention.remove_surplus(str(workdir), 1) == [3]
    assert kept(workdir) == [1, 2, 4, 5]
