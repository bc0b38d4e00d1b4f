"""The inline federation: all clients in one process, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hansa.fedserver.policy import Wait
from hansa.simulations.inline import Inline
from tests.places import HOSPITALS, calls_of, coordinator, inline, run_of


@dataclass(frozen=True)
class Shuffled:
    """The same clients, asked in another order each time."""

    inner: Inline
    order: np.random.Generator

    def population(self):
        return self.inner.population()

    def ask(self, calls, wait):
        names = [str(name) for name in self.order.permutation(list(calls))]
        return self.inner.ask({name: calls[name] for name in names}, wait)


def learnt(run, federation=None):
    there = coordinator(run, federation)
    list(there.rounds())
    return there.parameters().tobytes()


SETTINGS = ["", "strategy=scaffold", "strategy=median", "pipeline=quantised cohort.max=8", "strategy=rfa"]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_seed_gives_one_model_in_any_order_of_clients(settings):
    words = settings.split()
    here = learnt(run_of(*words))
    shuffled = run_of(*words)
    assert learnt(shuffled, Shuffled(inline(shuffled), np.random.default_rng(7))) == here
    assert learnt(run_of(*words, "seed=2")) != here


def test_the_geometric_median_is_the_same_from_rows_and_from_sums():
    sums, rows = (np.frombuffer(learnt(run_of(f"strategy={name}")), "<f4") for name in ("rfa", "geometric_median"))
    assert np.abs(sums - rows).max() < 1e-6 < np.abs(rows).max()


def test_only_those_who_are_asked_work_and_one_at_a_time():
    run = run_of()
    federation = inline(run)
    there = coordinator(run, federation)
    assert federation.population() == HOSPITALS
    calls = calls_of(there, "query.moments", ("hungary",), round=0)
    replies = federation.ask(calls, Wait())
    assert not federation.site.work.data._kept, "nothing is read before a reply is wanted"
    assert [reply.client for reply in replies] == ["hungary"]
    assert list(federation.site.work.data._kept) == ["hungary"]


def test_states_stay_apart_between_runs_of_one_place():
    run = run_of("strategy=scaffold")
    federation = inline(run)
    first, second = (coordinator(run, federation) for _ in range(2))
    second.run = second.exchange.run = "another run"
    list(first.rounds())
    list(second.rounds())
    assert np.array_equal(first.parameters(), second.parameters())


def test_evaluation_does_not_change_what_is_learnt():
    never, always = run_of("evaluation.every=0"), run_of("evaluation.every=1")
    assert learnt(never) == learnt(always)
