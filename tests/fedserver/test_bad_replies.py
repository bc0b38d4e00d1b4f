"""A bad reply is refused by name, and the round is to the bit what it would be without that client."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from hansa.fedlink.messages import Failure
from hansa.fedserver.errors import RunFailed, TooFewClients
from hansa.strategies.types import Array
from tests.places import HOSPITALS, Tampered, coordinator, inline, run_of

BAD, GOOD = "hungary", ("cleveland", "switzerland", "va_long_beach")
LAST = -1  # where FedAvg's row holds the weight


def with_entry(row: Array, value: float, where: int = 0) -> Array:
    changed = row.copy()
    changed[where] = value
    return changed


CASES = {
    "NaN": (lambda r: [replace(r, row=with_entry(r.row, np.nan))], "'delta' holds nan: training diverged"),
    "infinite": (lambda r: [replace(r, row=with_entry(r.row, np.inf))], "'delta' holds inf"),
    "shape": (lambda r: [replace(r, row=r.row[:-1])], r"\[15\] where float32\[16\] is due"),
    "type": (lambda r: [replace(r, row=r.row.astype(np.float64))], "float64"),
    "negative weight": (lambda r: [replace(r, row=with_entry(r.row, -0.5, LAST))], "'weight' holds -0.5 where nothing"),
    "absurd weight": (lambda r: [replace(r, row=with_entry(r.row, 1e9, LAST))], "'weight' holds 1e.09, above its cap"),
    "over its cap": (lambda r: [replace(r, row=with_entry(r.row, 7e4))], "above its cap of 65536"),
    "old round": (lambda r: [replace(r, round=r.round - 1)], "it answers train.update of round .*too late"),
    "other run": (lambda r: [replace(r, run="old")], "it answers run 'old', not 'run'"),
    "other digest": (lambda r: [replace(r, digest="x")], "it answers under another configuration"),
    "other settings": (
        lambda r: [replace(r, digest="x", differs=("strategy.lr",))],
        "strategy.lr, which is 1.0 here",
    ),
    "other file": (
        lambda r: [replace(r, digest="x", differs=("task file",))],
        "task file, which is absent here",
    ),
    "no row": (lambda r: [replace(r, row=None)], "it has no row"),
    "failure": (
        lambda r: [replace(r, row=None, failure=Failure(stage="training", kind="ValueError", text="odd"))],
        "training: ValueError: odd",
    ),
}


def tampered(run, change, every=True):
    def changed(reply, call):
        bad = reply.client == BAD and call.endpoint == "train.update" and (every or call.round == 2)
        return change(reply) if bad else [reply]

    return Tampered(inline(run), changed)


def without_bad(run):
    """The same run where the bad client's training replies never come."""
    reference = coordinator(run, tampered(run, lambda reply: []))
    list(reference.rounds())
    return reference.parameters()


@pytest.mark.parametrize("case", CASES)
def test_a_bad_reply_is_left_out_and_named(case):
    change, words = CASES[case]
    run = run_of()
    there = coordinator(run, tampered(run, change))
    records = list(there.rounds())[1:]
    assert [record.counted for record in records] == [3, 3, 3] and not any(record.lost for record in records)
    for record in records:
        assert [refusal.client for refusal in record.refused] == [BAD]
        assert re.search(words, record.refused[0].why), record.refused[0].why
    assert np.array_equal(there.parameters(), without_bad(run))


def test_a_reply_that_comes_twice_counts_once():
    run = run_of()
    there, here = coordinator(run, tampered(run, lambda reply: [reply, reply])), coordinator(run)
    records = list(there.rounds())[1:]
    list(here.rounds())
    assert "is in the sum already" in records[0].refused[0].why
    assert np.array_equal(there.parameters(), here.parameters())


def test_a_client_that_was_not_asked_is_refused():
    run = run_of()
    there = coordinator(run, tampered(run, lambda reply: [replace(reply, client="nobody")]))
    assert "it was not asked" in list(there.rounds())[1].refused[0].why


def test_fewer_clients_than_the_minimum_lose_the_round_and_nothing_else():
    run = run_of("cohort.min=4")
    there = coordinator(run, tampered(run, lambda reply: [], every=False))
    states = []
    for record in there.rounds():
        states.append(there.parameters())
        if record.round == 2:
            assert "3 of 4 clients answered and cohort.min=4; missing hungary: no answer" in str(record.lost)
    assert np.array_equal(states[1], states[2]) and not np.array_equal(states[2], states[3])


def test_rounds_that_go_on_being_lost_end_the_run():
    run = run_of("cohort.min=4", "rounds=9", "lost_rounds=2")
    there = coordinator(run, tampered(run, lambda reply: []))
    with pytest.raises(RunFailed, match="2 rounds in a row were lost; the last: 3 of 4"):
        list(there.rounds())


def test_too_few_or_too_many_clients_are_refused_before_the_first_round():
    with pytest.raises(TooFewClients, match="4 clients are there and a round needs 5: start more"):
        list(coordinator(run_of("cohort.min=5")).rounds())
    with pytest.raises(RunFailed, match=r"raise cohort\.max\."):
        list(coordinator(run_of("cohort.max=3")).rounds())


def test_all_weights_zero_lose_the_round():
    run = run_of()

    def weightless(reply, call):
        return [replace(reply, row=np.zeros_like(reply.row))] if call.endpoint == "train.update" else [reply]

    records = coordinator(run, Tampered(inline(run), weightless)).rounds()
    with pytest.raises(RunFailed, match="no client has training examples"):
        list(records)


def test_scaffold_clients_stay_in_step_with_the_server_when_replies_are_lost():
    run = run_of("strategy=scaffold", "rounds=5")

    def lossy(reply, call):
        gone = call.endpoint == "train.scaffold" and HOSPITALS[call.round % 4] == reply.client
        return [] if gone else [reply]

    federation = inline(run)
    there = coordinator(run, Tampered(federation, lossy))
    list(there.rounds())
    states = federation.site.states
    controls = [states.read("run", name, "committed").states["scaffold"] for name in HOSPITALS]
    assert np.allclose(np.mean(controls, axis=0), there.state["control"], atol=1e-6)


def test_evaluation_by_client_keeps_names_with_their_values_when_one_is_missing():
    run = run_of("evaluation.every=3", "evaluation.by_client=true")

    def missing(reply, call):
        return [] if call.endpoint == "evaluate.model" and reply.client == BAD else [reply]

    whole = list(coordinator(run).rounds())[-1].clients
    part = list(coordinator(run, Tampered(inline(run), missing)).rounds())[-1].clients
    assert set(whole) == set(HOSPITALS) and part == {name: whole[name] for name in GOOD}
    assert whole["switzerland"]["auc"] is None


def test_a_query_that_nobody_answers_ends_the_run():
    run = run_of()
    nobody = Tampered(inline(run), lambda reply, call: [])
    with pytest.raises(RunFailed, match="query 'moments' found no answer"):
        list(coordinator(run, nobody).rounds())
