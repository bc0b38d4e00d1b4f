"""What the owner of a device keeps, and with how few clients it takes part, is no matter of the run's."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from hansa.conf.bounds import check, check_work
from hansa.conf.run import Run
from hansa.fedclient.errors import BeyondLimits, NotApproved
from hansa.fedlink.messages import Call
from hansa.strategies import LayoutError
from hansa.strategies.strategy import trains
from tests.places import run_of

run_of = functools.cache(run_of)


@pytest.mark.parametrize(
    ("limits", "words", "told"),
    [
        ({"private": ["logit.*"]}, (), "the run sends logit.weight, logit.bias, which this device keeps"),
        ({"private": ["logit.weight"]}, ("private=['logit.bias']",), "the run sends logit.weight, which this device"),
        ({"private": ["standardise.*"]}, (), r"add private=\['standardise.\*'\] to the run"),
        ({"private": ["head.*"]}, (), "the run's model has no tensor 'head.*', which this device keeps"),
        ({"private": ["*"]}, (), "and 1 more"),
        ({"least_clients": 2}, (), "cohort.min=1 clients, and this device takes part with 2 or more"),
        ({"least_clients": 3}, ("cohort.min=2",), "raise cohort.min"),
    ],
)
def test_a_run_that_asks_for_more_than_the_owner_gives_is_refused_by_name(limits, words, told):
    with pytest.raises(NotApproved, match=told.replace("head.*", r"head\.\*")):
        check(limits, run_of(*words))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, ()),
        ({"private": [], "least_clients": 1, "epochs": 3, "share_errors": True}, ()),
        ({"private": ["logit.bias"]}, ("private=['logit.bias']",)),
        ({"private": ["logit.bias"]}, ("private=['*.bias']",)),
        ({"least_clients": 2}, ("cohort.min=2",)),
    ],
)
def test_a_run_within_the_owners_bounds_is_taken(limits, words):
    check(limits, run_of(*words))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("client.epochs=1001",), "it asks for 1,001 epochs, and the device gives 1,000"),
        (("client.epochs=1000000000",), "1,000,000,000 epochs"),
        (("client.steps=5001",), r"it asks for 5,001 steps, and the device gives 5,000 \(steps in site.yaml\)"),
        (("strategy=fedrep", "strategy.head_epochs=1000", "private=['*.bias']"), "1,001 epochs"),
        (("strategy=pfedme", "strategy.local_rounds=1001", "strategy.steps=5"), "5,005 steps"),
        (("strategy=ditto", "strategy.epochs=1000"), "1,001 epochs"),
    ],
)
def test_work_of_more_epochs_or_steps_than_the_owner_gives_is_refused_before_it_begins(words, told):
    (run, training), limits = trained(*words), {"epochs": 1000, "steps": 5000}
    with pytest.raises(BeyondLimits, match=told):
        check_work(limits, run, training)
    check_work({}, run, training)
    check_work(limits, run, replace(training, endpoint="evaluate.model"))
    check_work(limits, run, replace(training, endpoint="unknown"))
    check_work(limits, *trained("client.epochs=1000"))


def trained(*words: str) -> tuple[Run, Call]:
    """A run, and a call to the first training of it."""
    run = run_of(*words)
    name = next(name for name in run.job.endpoints if trains(name))
    return run, Call(run="run", round=1, request=0, endpoint=name, digest=run.job.digest, payload={})


def test_norms_that_are_not_there_are_no_protection_and_are_refused():
    with pytest.raises(LayoutError, match="no normalisation layer"):
        check({"private": ["norms"]}, run_of())
