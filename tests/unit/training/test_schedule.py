import json
import math
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.errors import UserError
from src.inference.classifier import load
from src.runs.config import read_config
from src.runs.workdir import check_workdir
from src.training.adjustment import adjust_run
from src.training.periods import Periods, is_due, parse_duration
from src.training.schedule import Plateau, Schedule, make_schedule
from tests.support import format1, tiny
from tests.support.runs import trained

EPOCH = Fraction(1437, 64)  # in steps


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ("90 epochs", 90 * EPOCH),
        ("1 epoch", EPOCH),
        ("0.5 epochs", EPOCH / 2),
        ("1000 steps", 1000),
        (" 1step ", 1),
        ("2.25 epochs", EPOCH * 9 / 4),
    ],
)
def test_durations_are_exact(duration, steps):
    assert parse_duration("config.duration", duration, EPOCH) == steps


@pytest.mark.parametrize(
    "duration", ["90", "epochs", "-1 epochs", "0 steps", "0.0 epochs", "1 hour", "1e3 steps", ""]
)
def test_invalid_duration_is_rejected_with_its_value(duration):
    message = f"config.duration: {duration!r} is not a duration; write it like '90 epochs'"
    with pytest.raises(UserError, match=re.escape(message)):
        parse_duration("config.duration", duration, EPOCH)


def test_duration_of_more_steps_than_the_state_counts_is_rejected():
    config = tiny.get_config("none")
    config.duration, config.evaluate_every = "2147483647 steps", "999999999 epochs"
    assert Periods.from_config(config, 1437).total == 2**31 - 1
    config.duration = "2147483648 steps"
    with pytest.raises(UserError, match="'2147483648 steps' has more than 2,147,483,647 steps"):
        Periods.from_config(config, 1437)


@pytest.mark.parametrize("every", [EPOCH, EPOCH / 2, Fraction(7, 3), Fraction(5), Fraction(1)])
def test_each_multiple_is_due_once_at_the_first_step_that_reaches_it(every):
    due = [step for step in range(500) if is_due(step, every)]
    multiples = range(1, int(499 / every) + 1)
    assert due == [math.ceil(every * k) for k in multiples]


def test_period_shorter_than_a_step_is_due_at_each_step():
    assert [step for step in range(5) if is_due(step, Fraction(1, 3))] == [1, 2, 3, 4]


def fields(**changes) -> ConfigDict:
    schedule = {
        "name": "constant",
        "learning_rate": 0.01,
        "warmup": "",
        "factor": 10.0,
        "patience": 2,
        "max_drops": 3,
        "boundaries": (),
    }
    return ConfigDict(schedule | changes)


def periods(total: int) -> Periods:
    return Periods(EPOCH, total, EPOCH, EPOCH, log_every=1)


def test_constant():
    schedule = make_schedule(fields(), periods(1000))
    assert {schedule(step) for step in (0, 1, 999)} == {0.01}


def test_steps_divide_the_rate_at_the_first_step_after_each_boundary():
    boundaries = ("2 epochs", "100 steps")  # the first is 44.9 steps
    schedule = make_schedule(fields(name="steps", boundaries=boundaries), periods(200))
    rates = [schedule(step) for step in range(200)]
    assert rates == pytest.approx([0.01] * 45 + [0.001] * 55 + [0.0001] * 100)


def test_cosine_goes_from_the_rate_to_zero():
    schedule = make_schedule(fields(name="cosine"), periods(1000))
    rates = [schedule(step) for step in range(1001)]
    assert rates[0] == 0.01
    assert rates[250] == pytest.approx(0.01 * (1 + math.sqrt(0.5)) / 2)
    assert rates[500] == pytest.approx(0.005)
    assert rates[1000] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]),
        ({"warmup": "1 step"}, [0.01] * 6),
        # 2.5 steps: the third step would have 3 ÷ 2.5 of the rate.
        ({"warmup": "2.5 steps"}, [0.004, 0.008, 0.01, 0.01, 0.01, 0.01]),
        # 3.592 steps.
        ({"warmup": "0.16 epochs"}, [0.01 / 3.5925 * n for n in (1, 2, 3, 3.5925)] + [0.01] * 2),
        (
            {"name": "steps", "boundaries": ("2 steps", "5 steps")},
            [0.0025, 0.005, 0.00075, 0.001, 0.001, 0.0001],
        ),
        # Half a cosine over 6 steps: 1, 0.933, 0.75, 0.5, 0.25, 0.067 of the rate.
        ({"name": "cosine"}, [0.0025, 0.00466506, 0.005625, 0.005, 0.0025, 0.000669873]),
        ({"name": "plateau"}, [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]),
    ],
)
def test_warmup_grows_by_equal_parts_of_the_rate(changes, expected):
    schedule = make_schedule(fields(**{"warmup": "4 steps", **changes}), periods(6))
    assert [schedule(step) for step in range(6)] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["constant", "steps", "cosine", "plateau"])
@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_run_that_resumes_in_its_warmup_has_the_same_rates(name, stop):
    section = fields(name=name, warmup="5 steps", boundaries=("4 steps",))
    errors = [0.9, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6]

    def rates(schedule: Schedule, steps: range) -> Iterator[float]:
        for step in steps:
            yield schedule(step)
            schedule.observe(errors[step])

    whole, first, second = (make_schedule(section, periods(8)) for _ in range(3))
    expected = list(rates(whole, range(8)))
    begun = list(rates(first, range(stop)))
    second.restore(json.loads(json.dumps(first.state())))
    assert begun + list(rates(second, range(stop, 8))) == expected
    assert len(set(expected)) > 4


@pytest.mark.slow
def test_run_that_resumes_in_its_warmup_ends_bitwise_where_an_uninterrupted_run_ends(
    tmp_path, cache
):
    config = format1.recipe(cache / "prepared")
    config.optimizer.name, config.schedule.name = "lars", "constant"
    config.schedule.warmup, config.evaluate_every = "5 steps", "2 steps"
    for name, durations in {"resumed": ["2 steps", "6 steps"], "whole": ["6 steps"]}.items():
        for config.duration in durations:
            adjust_run(tmp_path / name, config)
            trained(config, tmp_path / name)
    resumed, whole = (load(tmp_path / name).params for name in ("resumed", "whole"))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_warmup_cannot_change_when_a_run_resumes(tmp_path):
    workdir = shutil.copytree(format1.WORKDIR, tmp_path / "run")
    config = read_config(workdir)
    assert config.schedule.warmup == ""  # which is younger than the run
    config.schedule.warmup, config.duration = "4 steps", "12 steps"
    adjust_run(workdir, config)
    with pytest.raises(UserError, match=r"schedule\.warmup was '' and is '4 steps'"):
        check_workdir(workdir, config)


@pytest.mark.parametrize("name", ["constant", "steps", "cosine"])
def test_schedules_that_do_not_look_at_errors_keep_nothing(name):
    schedule = make_schedule(fields(name=name, boundaries=("10 steps",)), periods(100))
    rates = [schedule(step) for step in range(100)]
    for _ in range(10):
        schedule.observe(0.5)
    schedule.restore(json.loads(json.dumps(schedule.state())))
    assert schedule.state() == {}
    assert [schedule(step) for step in range(100)] == rates


def rates_after(schedule: Plateau, errors: list[float]) -> list[float]:
    rates = []
    for error in errors:
        schedule.observe(error)
        rates.append(schedule(0))
    return rates


def test_plateau_drops_after_patience_evaluations_without_a_new_best():
    schedule = make_schedule(fields(name="plateau"), periods(1000))
    assert schedule(0) == 0.01
    # Equalling the best is no improvement; a new best, however small, starts the count again.
    errors = [0.9, 0.95, 0.8, 0.8, 0.79, 0.85, 0.80, 0.82, 0.81]
    dropped = [0, 0, 0, 0, 0, 0, 1, 1, 2]
    assert rates_after(schedule, errors) == pytest.approx([0.01 / 10**n for n in dropped])


@pytest.mark.parametrize("later", [[0.9], [0.9, 0.1, 0.05, 0.9], [0.01, 0.9, 0.9]])
def test_plateau_drops_exactly_three_times_whatever_follows(later):
    schedule = make_schedule(fields(name="plateau"), periods(1000))
    rates = rates_after(schedule, [0.5] * 7 + later * 20)
    assert len(set(rates)) == 4
    assert rates[6:] == pytest.approx([1e-5] * (1 + 20 * len(later)))


@pytest.mark.parametrize("taken_after", range(9))
def test_restored_plateau_continues_as_if_uninterrupted(taken_after):
    errors = [0.9, 0.8, 0.85, 0.82, 0.81, 0.7, 0.75, 0.74, 0.9]
    whole = make_schedule(fields(name="plateau"), periods(1000))
    expected = rates_after(whole, errors)
    first = make_schedule(fields(name="plateau"), periods(1000))
    rates = rates_after(first, errors[:taken_after])
    second = make_schedule(fields(name="plateau"), periods(1000))
    second.restore(json.loads(json.dumps(first.state())))
    assert rates + rates_after(second, errors[taken_after:]) == expected
    assert second.state() == whole.state()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "linear"},
            "config.schedule.name: 'linear' is not allowed; choose one of constant, steps, cosine, "
            "plateau",
        ),
        (
            {"name": "steps", "boundaries": ("30 epochs", "60")},
            "config.schedule.boundaries: '60' is not a duration",
        ),
        ({"warmup": "5"}, "config.schedule.warmup: '5' is not a duration"),
    ],
)
def test_unknown_schedule_is_rejected_by_name(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make_schedule(fields(**changes), periods(1000))
