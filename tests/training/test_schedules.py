"""Learning rates at every step against values worked out by hand."""

import math

import pytest

from audioset_strong.core import errors
from audioset_strong.training import schedules


def test_constant_is_one_number_for_all_steps():
    assert schedules.constant_schedule(100, 0.3) == 0.3


def test_warmup_cosine_rises_in_a_line_and_falls_in_half_a_cosine():
    rate = schedules.warmup_cosine(100, 2.0, warmup_share=0.2, final_share=0.1)
    for step in range(101):
        if step <= 20:
            wanted = 2.0 * step / 20
        else:
            wanted = 2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 20) / 80)))
        assert float(rate(step)) == pytest.approx(wanted, rel=1e-5, abs=1e-7), step


def test_without_warm_up_it_begins_at_the_top():
    rate = schedules.warmup_cosine(10, 1.0, warmup_share=0.0)
    assert [float(rate(step)) for step in (0, 5, 10)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-7)


@pytest.mark.parametrize("settings", [{"warmup_share": 1.5}, {"final_share": -0.1}])
def test_shares_outside_0_to_1_are_refused(settings):
    with pytest.raises(errors.InputError, match=r"must lie in \[0, 1\]"):
        schedules.warmup_cosine(10, **settings)


def test_steps_multiply_the_rate_at_each_boundary():
    schedule = schedules.step_schedule(100, 1.0, boundaries=(0.5, 0.75), factor=0.1)
    rates = [float(schedule(step)) for step in (0, 50, 51, 75, 76, 99)]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("settings", [{"boundaries": (0.7, 0.5)}, {"boundaries": (0.5, 1.0)}])
def test_boundaries_that_do_not_rise_within_the_run_are_refused(settings):
    with pytest.raises(errors.InputError, match=r"step_schedule.boundaries"):
        schedules.step_schedule(100, **settings)


def test_a_factor_that_is_not_positive_is_refused():
    with pytest.raises(errors.InputError, match=r"step_schedule.factor = 0"):
        schedules.step_schedule(100, factor=0)
