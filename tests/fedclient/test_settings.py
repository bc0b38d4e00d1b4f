"""Settings of local training: what they refuse, and the rates of their schedules."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from hansa.fedclient import Local
from hansa.fedclient.errors import ClientError, SettingsError

NUMBERS = tuple(field.name for field in fields(Local) if not isinstance(field.default, str))


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, -math.inf])
def test_a_number_is_finite_and_at_least_zero(field, value):
    with pytest.raises(SettingsError, match=rf"^client\.{field}={value}: it must be a number of at least 0\.$"):
        Local(**{field: value})


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("optimiser", "sgd, adam, adamw"),
        ("schedule", "constant, linear, cosine, step"),
        ("device", "cpu, cuda, mps"),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(field, known):
    for value in ("", "SGD", "cuda:0"):
        with pytest.raises(SettingsError, match=rf"^client\.{field}='{value}': it is one of {known}\.$"):
            Local(**{field: value})


@pytest.mark.parametrize("schedule", ["linear", "cosine", "step"])
def test_a_schedule_needs_its_horizon(schedule):
    with pytest.raises(SettingsError, match=rf"client\.schedule={schedule} needs client\.horizon"):
        Local(schedule=schedule)
    assert Local(schedule=schedule, horizon=1).rate(1) == 0.1


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_momentum_is_sgds(optimiser):
    with pytest.raises(SettingsError, match=rf"leave it at 0 with client\.optimiser={optimiser}"):
        Local(optimiser=optimiser, momentum=0.9)


def test_something_must_be_trained():
    with pytest.raises(SettingsError, match="one of them must be at least 1"):
        Local(epochs=0)
    assert Local(epochs=0, steps=1).steps == 1


def test_messages_are_one_line_of_the_packages_own_tree():
    with pytest.raises(ClientError) as refused:
        Local(optimiser="two\nlines")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"epochs": 3, "schedule": "linear", "horizon": 5}, True),
        ({"momentum": 0.1}, False),
        ({"weight_decay": 0.1}, False),
        ({"proximal": 0.1}, False),
        ({"optimiser": "adam"}, False),
    ],
)
def test_plain_is_sgd_with_nothing_added(settings, plain):
    assert Local(**settings).plain is plain


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [2, 2, 2, 2, 2, 2]),
        ("linear", [2, 1.5, 1, 0.5, 0, 0]),
        ("cosine", [2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 0, 0]),
        ("step", [2, 2, 2, 2, 0.2, 0.2]),
    ],
)
def test_rates_of_rounds_1_to_6_with_a_horizon_of_4(schedule, rates):
    settings = Local(lr=2.0, schedule=schedule, horizon=4)
    assert [settings.rate(round) for round in range(1, 7)] == pytest.approx(rates)


def test_the_step_schedule_falls_at_every_multiple_of_its_horizon():
    settings = Local(lr=1.0, schedule="step", horizon=2, decay=0.5)
    assert [settings.rate(round) for round in range(1, 8)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_rates_never_rise_and_stay_at_least_zero_long_after_the_horizon():
    for schedule in ("linear", "cosine", "step"):
        settings = Local(lr=0.3, schedule=schedule, horizon=7)
        rates = [settings.rate(round) for round in range(1, 100)]
        assert rates == sorted(rates, reverse=True) and min(rates) >= 0
