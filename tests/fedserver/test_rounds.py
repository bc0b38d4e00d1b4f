"""Rounds as the coordinator plays them: cohorts, requests, client states, queries, the coordinator's own data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hansa.conf.compose import compose
from hansa.conf.run import assemble
from hansa.conf.simulate import prepare
from hansa.fedlink.messages import SETTLE, Failure
from hansa.fedserver.errors import RunFailed
from hansa.fedserver.run_directory import RunDirectory
from hansa.strategies import Request, Scaffold
from tests.places import HOSPITALS, Tampered, coordinator, inline, run_of

BAD = "hungary"


def overheard(run, change=lambda reply, call: [reply]):
    """A coordinator, and the list of all calls that reach clients."""
    calls = []

    def hear(reply, call):
        calls.append((reply.client, call))
        return change(reply, call)

    return coordinator(run, Tampered(inline(run), hear)), calls


def asked(calls, endpoint):
    names: dict[int, list[str]] = {}
    for name, call in calls:
        if call.endpoint == endpoint:
            names.setdefault(call.round, []).append(name)
    return names


def test_cohorts_are_drawn_by_key_and_repeat():
    drawn = []
    for seed in (1, 1, 2):
        there, calls = overheard(run_of("cohort.size=2", "rounds=8", f"seed={seed}"))
        list(there.rounds())
        drawn.append(asked(calls, "train.update"))
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(names) == 2 for names in drawn[0].values())
    assert {name for names in drawn[0].values() for name in names} == set(HOSPITALS)
    assert len(set(map(tuple, drawn[0].values()))) > 1


def test_a_cohort_does_not_depend_on_which_rounds_were_lost():
    def losing(reply, call):
        return [] if (call.round, call.endpoint) == (2, "train.update") else [reply]

    (there, lossy), (here, whole) = (overheard(run_of("cohort.size=2"), c) for c in (losing, lambda r, c: [r]))
    assert [bool(r.lost) for r in there.rounds()] == [False, False, True, False]
    list(here.rounds())
    assert asked(lossy, "train.update") == asked(whole, "train.update")


def test_evaluation_goes_to_everyone_or_to_the_cohort():
    for to, size in (("everyone", 4), ("cohort", 2)):
        there, calls = overheard(run_of("cohort.size=2", "evaluation.every=1", f"evaluation.to={to}"))
        list(there.rounds())
        assert [len(names) for names in asked(calls, "evaluate.model").values()] == [size] * 3


def test_evaluation_goes_to_nobody_but_the_coordinator(tmp_path):
    words = ["task=digits", "clients=4", "rounds=2", "evaluation.to=nobody", f"run_dir={tmp_path / 'run'}"]
    with prepare(*compose(words)) as runner:
        runner.carry_out()
    records = [record for record in runner.directory.records if record.round]
    assert all(record.requests == 1 for record in records)
    assert all(record.metrics.keys() == {"train_loss", "server_loss", "server_accuracy"} for record in records)


def test_the_last_round_is_evaluated_too():
    there, calls = overheard(run_of("evaluation.every=2", "rounds=5"))
    records = list(there.rounds())[1:]
    assert list(asked(calls, "evaluate.model")) == [2, 4, 5]
    assert ["auc" in record.metrics for record in records] == [False, True, False, True, True]


def test_an_evaluation_that_nobody_answers_is_not_available_and_the_run_goes_on():
    there, _ = overheard(run_of("evaluation.every=1"), lambda r, call: [] if "evaluate" in call.endpoint else [r])
    records = list(there.rounds())[1:]
    assert [record.metrics["loss"] for record in records] == [None] * 3 and not any(r.lost for r in records)


def test_a_call_tells_each_client_when_it_was_last_counted_and_the_run_settles():
    def losing(reply, call):
        return [] if (reply.client, call.round) == (BAD, 2) else [reply]

    there, calls = overheard(run_of("strategy=scaffold"), losing)
    list(there.rounds())
    told = {name: [call.counted for n, call in calls if n == name and call.round] for name in HOSPITALS}
    assert told["cleveland"] == [None, (1, 0), (2, 0), (3, 0)]
    assert told[BAD] == [None, (1, 0), (1, 0), (3, 0)]
    assert [name for name, call in calls if call.endpoint == SETTLE] == list(HOSPITALS)


def test_fedavg_has_no_client_states_to_settle():
    there, calls = overheard(run_of())
    list(there.rounds())
    assert all(call.counted is None and call.endpoint != SETTLE for _, call in calls)


def test_a_lost_round_leaves_clients_and_server_as_they_were():
    def losing(reply, call):
        return [] if (reply.client, call.round) == (BAD, 2) else [reply]

    run = run_of("strategy=scaffold", "cohort.min=4", "rounds=4")
    there, calls = overheard(run, losing)
    states = [there.state for _ in there.rounds()]
    assert states[2] is states[1] is not states[3]
    assert {call.counted for _, call in calls if call.round == 3} == {(1, 0)}


@dataclass(frozen=True, kw_only=True)
class Asking(Scaffold):
    """SCAFFOLD that asks those it has counted once more."""

    def round(self, state, now):
        after = yield from super().round(state, now)
        yield Request(endpoint="train.scaffold", payload=state, to="counted")
        return after


def test_clients_that_know_that_they_were_counted_stay_so_when_the_round_is_lost_later():
    run = run_of("strategy=scaffold", "rounds=4")
    run = replace(run, job=replace(run.job, strategy=Asking()))

    def losing(reply, call):
        return [] if (call.round, call.request) == (2, 1) else [reply]

    there, calls = overheard(run, losing)
    records = list(there.rounds())[1:]
    assert [bool(record.lost) for record in records] == [False, True, False, False]
    assert not any(record.refused for record in records)
    assert {call.counted for _, call in calls if call.tag == (3, 0)} == {(2, 0)}


def test_a_query_is_answered_without_a_client_that_is_missing():
    there, _ = overheard(run_of(), lambda r, call: [] if (r.client, call.round) == (BAD, 0) else [r])
    records = list(there.rounds())
    assert (records[0].cohort, records[0].counted) == (4, 3) and records[1].counted == 4
    others = run_of()
    three = coordinator(others, inline(others, tuple(name for name in HOSPITALS if name != BAD)))
    next(three.rounds())
    assert np.array_equal(there.fitted, three.fitted)


def test_more_clients_than_a_sum_holds_are_refused_where_a_query_or_an_evaluation_asks_them_all():
    small = ("cohort.size=2", "cohort.max=3")
    with pytest.raises(RunFailed, match=r"raise cohort\.max\."):
        list(coordinator(run_of(*small, "evaluation.to=cohort")).rounds())
    for every in (0, 1):
        settings = ["task=digits", "task.parts=4", "rounds=1", *small, f"evaluation.every={every}"]
        run = assemble(*compose(settings))
        there = coordinator(run, inline(run, run.work.task.clients()))
        if every:
            with pytest.raises(RunFailed, match=r"or set cohort\.size and evaluation\.to=cohort"):
                list(there.rounds())
        else:
            assert [record.counted for record in there.rounds()] == [2]


def test_the_coordinators_own_data_gives_metrics_of_its_own():
    run = assemble(*compose(["task=digits", "task.parts=4", "rounds=3", "client.lr=0.5"]))
    there = coordinator(run, inline(run, run.work.task.clients()))
    there.server_sums = run.server_sums()
    records = list(there.rounds())
    assert [set(record.metrics) for record in records] == [{"train_loss", "server_loss", "server_accuracy"}] * 3
    assert records[2].metrics["server_accuracy"] > 0.5


def test_whatever_a_client_says_is_told_in_one_short_line():
    text = "first\nsecond " + "x" * 10_000
    failure = Failure(stage="training", kind="ValueError", text=text)
    there, _ = overheard(run_of(), lambda r, c: [replace(r, row=None, failure=failure)] if r.client == BAD else [r])
    (refusal,) = list(there.rounds())[1].refused
    assert refusal.why.startswith("training: ValueError: first second xxx")
    assert len(refusal.why.splitlines()) == 1 and len(refusal.why) < 600


def test_the_pause_after_a_lost_round_grows_until_one_is_not_lost():
    def losing(reply, call):
        return [] if call.round in (1, 2, 4, 6, 7, 8, 9, 10) else [reply]

    there, _ = overheard(run_of("rounds=10", "lost_rounds=9"), losing)
    rested: list[float] = []
    there.rest = rested.append
    assert [bool(record.lost) for record in there.rounds()][1:] == [n not in (3, 5) for n in range(1, 11)]
    assert rested == [10, 30, 10, 10, 30, 90, 270], "and none after the last"


def test_refusals_and_lost_rounds_stand_in_the_lines_of_the_run_directory(tmp_path):
    def late(reply, call):
        return [replace(reply, round=0)] if reply.client == BAD and call.round == 2 else [reply]

    directory = RunDirectory(tmp_path / "run")
    there, _ = overheard(run_of("cohort.min=4"), late)
    for record in there.rounds():
        directory.round(record, there.tensors)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["refused"] for line in (lines[1], lines[3])] == [[], []]
    assert lines[2]["refused"][0]["client"] == BAD and "too late" in lines[2]["refused"][0]["why"]
    assert f"missing {BAD}: it answers train.update of round 0" in lines[2]["lost"] and lines[2]["counted"] == 0
