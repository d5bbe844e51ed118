"""What gin binds for evaluate.py, as plain arguments."""

import inspect

import pytest

from audioset_strong.configuration import evaluation_bindings, gin_files
from audioset_strong.core import errors
from audioset_strong.evaluation import following, selection
from audioset_strong.evaluation.settings import EvaluationSettings


def arguments(*bindings, **given):
    gin_files.parse([], bindings)
    return evaluation_bindings.evaluation_arguments(**given)


def test_they_are_the_arguments_of_the_evaluation_with_its_defaults():
    found = arguments()
    parameters = inspect.signature(following.evaluate_workdirs).parameters
    assert set(found) == set(parameters) - {"workdirs"}
    assert found.pop("settings") == EvaluationSettings()
    assert not any(found.values())


def test_bindings_set_arguments_and_settings():
    found = arguments(
        "evaluate_workdirs.eval_sets = {'test': 'data/test'}",
        "evaluate_workdirs.batch_size = 4",
        "evaluate_workdirs.framing_rule = 'paper'",
        "select.metric = 'weak_validation/lwlrap'",
    )
    assert found["eval_sets"] == {"test": "data/test"}
    assert found["settings"] == EvaluationSettings(
        batch_size=4, framing_rule="paper", select_metric="weak_validation/lwlrap"
    )
    assert type(found["settings"]) is EvaluationSettings


def test_what_is_given_takes_precedence_and_none_does_not():
    bindings = ("evaluate_workdirs.ema = True", "evaluate_workdirs.save_scores = 'npz'")
    found = arguments(*bindings, save_scores="parquet", ema=None)
    assert found["ema"] is True
    assert found["settings"].save_scores == "parquet"


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("evaluate_workdirs.batchsize = 1", "batchsize"),
        ("evaluate_workdirs.select_metric = 'strong_eval/auc'", "select_metric"),
        ("evaluate_workdirs.batch_size = 0", r"evaluate_workdirs\.batch_size = 0: must be a whole"),
        ("evaluate_workdirs.framing_rule = 'union'", "must be one of released, paper"),
        ("evaluate_workdirs.propagate_to_ancestors = 1", "must be True or False"),
    ],
)
def test_a_bad_binding_is_an_error(binding, message):
    with pytest.raises(errors.InputError, match=message):
        arguments(binding)


def test_the_original_functions_are_left_as_they_are():
    gin_files.parse([], ["select.metric = 'weak_eval/auc'"])
    default = inspect.signature(selection.select).parameters["metric"].default
    assert default == selection.DEFAULT_METRIC
