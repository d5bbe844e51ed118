"""Selection: the checkpoint that is picked, and what is told about it."""

import json

import numpy as np
import pandas as pd
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import selection
from audioset_strong.training import checkpoints

METRIC = "strong_validation/d_prime"
CHECKPOINTS = [(step, f"/runs/a/checkpoints/step-{step}") for step in (10, 20, 30)]


def results(**values):
    """Results of steps 10, 20, 30: "set__metric" -> its values."""
    rows = []
    for key, series in values.items():
        set_name, metric = key.split("__")
        for (step, _), value in zip(CHECKPOINTS, series, strict=False):
            rows.append((step, set_name, metric, value))
    table = pd.DataFrame(rows, columns=["step", "set", "metric", "value"])
    return table.astype({"step": int, "set": str, "metric": str, "value": float})


def test_the_highest_is_picked_whatever_the_eval_set_says():
    table = results(
        strong_validation__d_prime=[1.0, 1.4, 1.3],
        strong_eval__d_prime=[0.9, 1.0, 1.2],
        strong_validation__lwlrap=[0.5, 0.4, 0.6],
    )
    selected = selection.select(table, CHECKPOINTS)
    assert selected["step"] == 20
    assert selected["checkpoint"] == "checkpoints/step-20"
    assert (selected["set"], selected["metric"]) == ("strong_validation", "d_prime")
    assert selected["value"] == 1.4
    assert selected["rule"] == (
        "highest strong_validation/d_prime among 3 checkpoints; ties go to the earliest"
    )
    assert selected["candidates"] == [
        {"step": 20, "value": 1.4, "available": True},
        {"step": 30, "value": 1.3, "available": True},
        {"step": 10, "value": 1.0, "available": True},
    ]


def test_the_separate_best_of_each_metric_is_told():
    table = results(
        strong_validation__d_prime=[1.0, 1.4, 1.3],
        strong_eval__d_prime=[0.9, 1.0, 1.2],
        strong_eval__lwlrap=[0.5, 0.7, 0.7],
        strong_eval__d_prime_low=[0.8, 0.9, 1.0],
        weak_eval__mAP_implicit=[0.2, 0.1, np.nan],
        weak_eval__classes=[3, 3, 3],
    )
    assert selection.select(table, CHECKPOINTS)["best_of_each_metric"] == {
        "strong_validation/d_prime": {"step": 20, "value": 1.4},
        "strong_eval/d_prime": {"step": 30, "value": 1.2},
        "strong_eval/lwlrap": {"step": 20, "value": 0.7},
        "weak_eval/mAP_implicit": {"step": 10, "value": 0.2},
    }


def test_ties_go_to_the_earliest_checkpoint():
    table = results(strong_validation__d_prime=[1.0, 1.4, 1.4]).sample(frac=1, random_state=1)
    assert selection.select(table, CHECKPOINTS)["step"] == 20


def test_a_checkpoint_that_is_gone_is_a_candidate_but_not_picked():
    table = results(strong_validation__d_prime=[1.0, 1.4, 1.3])
    selected = selection.select(table, [CHECKPOINTS[0], CHECKPOINTS[2]])
    assert selected["step"] == 30
    assert "among 2 checkpoints" in selected["rule"]
    assert selected["candidates"][0] == {"step": 20, "value": 1.4, "available": False}
    with pytest.raises(errors.InputError, match="no evaluated checkpoint is left"):
        selection.select(table, [(40, "/runs/a/checkpoints/step-40")])


def test_another_metric_can_be_selected_by():
    table = results(
        strong_validation__d_prime=[1.0, 1.4, 1.3], strong_validation__lwlrap=[0.5, 0.4, 0.6]
    )
    metric = "strong_validation/lwlrap"
    assert selection.measured_metric(table, metric) == metric
    assert selection.select(table, CHECKPOINTS, metric=metric)["step"] == 30


@pytest.mark.parametrize(
    "metric",
    ["strong_validation/d_prim", "d_prime", "strong_validation/classes", "strong_eval/d_prime_low"],
)
def test_a_metric_that_none_can_be_picked_by_is_told_with_those_that_can(metric):
    table = results(
        strong_validation__d_prime=[1.0],
        strong_validation__classes=[3],
        strong_eval__d_prime_low=[0.5],
        strong_eval__lwlrap=[0.5],
    )
    message = "there are: strong_eval/lwlrap, strong_validation/d_prime(\n|$)"
    with pytest.raises(errors.InputError, match=message) as told:
        selection.select(table, CHECKPOINTS, metric=metric)
    assert f"select.metric = '{metric}': not measured" in str(told.value)
    with pytest.raises(errors.InputError, match=message):
        selection.measured_metric(table, metric)


def test_without_validation_data_there_is_nothing_to_select_by_and_no_error():
    assert selection.measured_metric(results(strong_eval__d_prime=[1.0])) is None
    assert selection.measured_metric(results()) is None
    assert selection.measured_metric(results(strong_validation__d_prime=[1.0])) == METRIC


def test_without_explicit_negatives_d_prime_on_complementary_ones_is_selected_by_under_its_name():
    table = results(
        strong_validation__d_prime_complementary=[1.0, 1.4, 1.3],
        strong_validation__d_prime_implicit=[2.0, 2.1, 2.2],
        strong_eval__d_prime=[0.9, 1.0, 1.2],
    )
    selected = selection.select(table, CHECKPOINTS)
    assert selected["step"] == 20
    assert (selected["set"], selected["metric"]) == ("strong_validation", "d_prime_complementary")
    assert selected["rule"].startswith("highest strong_validation/d_prime_complementary among 3")
    # One that is there under its own name is not replaced.
    table = results(
        strong_validation__d_prime=[1.0, 1.4, 1.5],
        strong_validation__d_prime_complementary=[1.0, 1.4, 1.3],
    )
    assert selection.select(table, CHECKPOINTS)["metric"] == "d_prime"
    weak = results(weak_validation__d_prime_implicit=[1.0])
    with pytest.raises(errors.InputError, match="'weak_validation/d_prime': not measured"):
        selection.select(weak, CHECKPOINTS, metric="weak_validation/d_prime")


def test_a_metric_without_a_value_counts_as_not_measured():
    assert selection.measured_metric(results(strong_validation__d_prime=[np.nan, np.inf])) is None


def test_what_is_written_is_read_back_and_found_by_the_training(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for step, _ in CHECKPOINTS:
        (tmp_path / "checkpoints" / f"step-{step}.index").touch()
    (tmp_path / "model.json").touch()
    listed = checkpoints.list_checkpoints(str(tmp_path))
    selected = selection.select(results(strong_validation__d_prime=[1.0, 1.4, 1.3]), listed)
    assert selection.read(str(tmp_path)) is None
    selection.write(str(tmp_path), selected)
    assert selection.read(str(tmp_path)) == selected
    assert json.loads((tmp_path / "selection.json").read_text()) == selected
    assert checkpoints.resolve(str(tmp_path)) == (str(tmp_path), listed[1][1])
    assert (tmp_path / selected["checkpoint"]).with_suffix(".index").exists()


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"step": "last"}', '{"step": null}'])
def test_a_file_that_is_no_selection_is_told(tmp_path, text):
    (tmp_path / "selection.json").write_text(text)
    with pytest.raises(errors.InputError, match=r"selection.json: not a selection"):
        selection.read(str(tmp_path))
