"""Bindings that would do nothing are refused; those that a later choice replaced are not."""

import pytest

from audioset_strong.configuration import gin_files, training_bindings
from audioset_strong.core import errors
from audioset_strong.experiments import sweeps

_MU = "weak_strong_mixture.mu = 0.5"
_COSINE, _CONSTANT = (f"train.learning_rate = @{n}" for n in ("warmup_cosine", "constant_schedule"))


def run_of(*bindings, files=("table1/strong_67k.gin",)):
    gin_files.parse(files, bindings)
    return training_bindings.training_run("data")


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ([_MU], f"{_MU}: has no effect, because train.sources = @single_source"),
        (["constant_schedule.learning_rate = 1.0"], "because train.learning_rate = @warmup_cosine"),
        ([_CONSTANT, "warmup_cosine.learning_rate = 1.0"], f"because {_CONSTANT}"),
        (["slow/adam.beta_1 = 0.5"], "no effect without train.optimizer = @slow/adam"),
        (["MU = 0.5"], "MU = 0.5: has no effect, because no binding has %MU"),
        (["evaluate_workdirs.ema = True"], "evaluate_workdirs"),
        (["train.strategy = 'mirrored'"], "cannot be bound: the flag --strategy"),
        (["train_patches.batch_size = 3"], "cannot be bound: bind train.batch_size"),
        (["train_patches.seed = 3"], "cannot be bound: bind train.seed"),
        (["resnet.num_classes = 3"], "cannot be bound: it is the number of classes of the data"),
        (["resnet.input_shape = (96, 64)"], "cannot be bound: it follows from FrontEnd"),
        (["adam.learning_rate = 0.1"], "cannot be bound: bind the schedule"),
    ],
)
def test_a_binding_without_effect_is_one_line_that_says_why(bindings, message):
    with pytest.raises(errors.InputError) as caught:
        run_of(*bindings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_order_of_bindings_on_the_command_line_does_not_matter():
    for bindings in ([_MU, "train.sources = @single_source"], ["train.seed = 1", _MU]):
        with pytest.raises(errors.InputError, match=r"has no effect, because train\.sources"):
            run_of(*bindings)


def test_what_a_file_binds_may_be_replaced_by_a_later_choice(tmp_path):
    run = run_of(_CONSTANT, "constant_schedule.learning_rate = 0.5")  # the row binds warmup_cosine
    assert run.settings.learning_rate(10) == 0.5
    mine = tmp_path / "mine.gin"
    mine.write_text(f'{_CONSTANT}\ninclude "table1/strong_67k.gin"\n{_CONSTANT}\n')
    assert run_of(files=[str(mine)]).settings.learning_rate(10) == 1e-3
    mine.write_text(f'include "table1/strong_67k.gin"\n{_MU}\n')
    with pytest.raises(errors.InputError, match=r"has no effect, because train\.sources"):
        run_of(files=[str(mine)])


def test_scoped_bindings_and_macros_that_are_used_pass():
    run = run_of(
        "train.optimizer = @slow/adam",
        "slow/adam.beta_1 = %BETA",
        "BETA = 0.25",
    )
    assert run.settings.optimizer(0.1).beta_1 == pytest.approx(0.25)


def test_a_sweep_over_what_has_no_effect_is_refused_before_its_first_run(tmp_path):
    sweep = sweeps.Sweep(
        output_dir=str(tmp_path),
        vary=sweeps.parse_vary(["weak_strong_mixture.mu = 0.0, 0.5"]),
        data_dir="data",
        gin_files=("table1/strong_67k.gin",),
        gin_params=(),
        init_from=None,
        eval_data=(),
        validation_data=("data/validation",),
        metric="strong_validation/d_prime",
    )
    with pytest.raises(errors.InputError, match=r"has no effect, because train\.sources"):
        sweeps.check_bindings(sweep)
    assert not list(tmp_path.iterdir())
