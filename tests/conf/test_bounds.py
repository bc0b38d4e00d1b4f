"""What the owner of a device keeps, and with how few clients it takes part, is no matter of the run's."""

from __future__ import annotations

import functools

import pytest

from hansa.conf.bounds import check
from hansa.fedclient.errors import NotApproved
from hansa.strategies import LayoutError
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


def test_norms_that_are_not_there_are_no_protection_and_are_refused():
    with pytest.raises(LayoutError, match="no normalisation layer"):
        check({"private": ["norms"]}, run_of())
