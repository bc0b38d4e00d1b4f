"""Nodes of a Grid that are restarted, renamed, late or silent; and the Flower ClientApp itself behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Context, Error, Message, RecordDict

from hansa.fedclient.app import app
from hansa.fedlink.messages import Call, Failure
from hansa.fedserver.grid import FIRST, LONGEST
from hansa.fedserver.policy import Pace, Wait
from tests.fedserver.test_grid import Clock, MemoryGrid, federation, grid_of
from tests.places import HOSPITALS, coordinator, run_of


def calls_of(run, names=HOSPITALS, **changed):
    usual = {"endpoint": "query.moments", "run": "run", "round": 0, "request": 0, "digest": run.job.digest}
    return {name: Call(**{**usual, **changed}) for name in names}


@pytest.mark.parametrize("settings", ["", "cohort.size=2", "strategy=scaffold", "strategy=median"])
def test_flowers_client_app_behind_a_grid_learns_the_model_of_the_inline_federation(settings):
    run = run_of(*settings.split())
    wire = f"task=heart_disease rounds=3 evaluation.every=0 {settings}"
    contexts = {
        node: Context(
            run_id=2, node_id=node, node_config={"hansa-client": name}, state=RecordDict(), run_config={"hansa": wire}
        )
        for node, name in enumerate(HOSPITALS, 10)
    }
    grid = MemoryGrid(lambda node, message: app(message, contexts[node]), dict(enumerate(HOSPITALS, 10)))
    there, refused = federation(run, grid)
    here, there = coordinator(run), coordinator(run, there)
    assert [r.counted for r in here.rounds()] == [r.counted for r in there.rounds()] and refused == []
    assert np.array_equal(here.parameters(), there.parameters())


def test_a_node_that_comes_back_under_another_name_gives_up_the_first():
    run = run_of()
    grid = grid_of(run)
    there, _ = federation(run, grid)
    there.gather(4, 5)
    name = grid.nodes.pop(13)
    assert name not in there.population()
    grid.nodes[13] = "harbour"
    assert set(there.population()) == {*HOSPITALS, "harbour"} - {name}
    assert len(list(there.ask(calls_of(run, there.population()), Wait(deadline=5)))) == 4


def test_a_client_may_move_to_another_node_once_the_first_is_gone():
    run = run_of()
    grid = grid_of(run)
    there, refused = federation(run, grid)
    there.gather(4, 5)
    grid.nodes[99] = grid.nodes.pop(13)
    assert there.population() == HOSPITALS and there.nodes[HOSPITALS[3]] == 99 and refused == []


def test_a_node_that_left_before_it_said_its_name_is_not_waited_for():
    run, clock = run_of(), Clock()
    grid = grid_of(run)
    silent = 77
    answer = grid.answer
    grid.nodes[silent] = "mute"
    grid.answer = lambda node, message: None if node == silent else answer(node, message)
    there, _ = federation(run, grid, clock)
    there.gather(4, 30)
    assert clock.now >= 30, "while it is online it is waited for"
    del grid.nodes[silent]
    clock.now = 0.0
    there.gather(4, 30)
    assert clock.now == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda r: replace(r, failure=Failure(stage="s", kind="E", text="no data")), "s: E: no data"),
        (lambda r: replace(r, digest="x"), "start the client with this run's settings"),
    ],
)
def test_a_node_that_cannot_take_part_is_named_and_asked_once(answer, told):
    run = run_of()
    grid = grid_of(run, change=lambda reply, call: answer(reply) if reply.client == "hungary" else reply)
    there, refused = federation(run, grid)
    for _ in range(3):
        assert len(there.population()) == 3
    ((name, why),) = refused
    assert name == "hungary" and told in why


def test_a_node_whose_app_fails_is_named_by_its_number():
    run = run_of()
    grid = grid_of(run)
    grid.answer = lambda node, message: Message(Error(2, "app crashed"), reply_to=message)
    there, refused = federation(run, grid)
    assert there.population() == () and ("node 10", "Flower's error 2: app crashed") in refused


def test_a_client_that_is_gone_when_it_is_asked_is_left_out():
    run = run_of()
    there, _ = federation(run, grid_of(run))
    there.gather(4, 5)
    asked = calls_of(run, (*HOSPITALS, "never seen"))
    assert sorted(reply.client for reply in there.ask(asked, Wait(deadline=5))) == list(HOSPITALS)


def test_messages_that_flower_does_not_take_are_not_waited_for():
    run, clock = run_of(), Clock()
    grid = grid_of(run)
    there, _ = federation(run, grid, clock)
    there.gather(4, 5)
    push = grid.push_messages
    grid.push_messages = lambda messages: [i if k else "" for k, i in enumerate(push(messages))]
    assert len(list(there.ask(calls_of(run), Wait()))) == 3


def test_looks_are_quick_again_once_something_came():
    run, clock = run_of(), Clock()
    grid = grid_of(run)
    there, _ = federation(run, grid, clock)
    there.gather(4, 5)
    due = {"cleveland": 0.0, "hungary": 9.0, "switzerland": 9.005, "va_long_beach": 30.0}
    names = dict(zip(map(str, range(4, 8)), HOSPITALS, strict=True))
    grid.order = lambda messages: later(grid, messages, lambda i: due[names[i]] <= clock.now)
    clock.pauses.clear()
    assert len(list(there.ask(calls_of(run), Wait()))) == 4
    slowest = clock.pauses.index(LONGEST)
    assert clock.pauses[0] == FIRST and FIRST in clock.pauses[slowest:]
    assert 30 <= clock.now < 31 and len(clock.pauses) < 60


def later(grid, messages, due):
    """Give out what is due and put the rest back."""
    now = [message for message in messages if due(message.metadata.reply_to_message_id)]
    grid.waiting |= {m.metadata.reply_to_message_id: m for m in messages if m not in now}
    return now


def test_a_deadline_is_kept_and_what_came_until_then_counts():
    run, clock = run_of(), Clock()
    grid = grid_of(run)
    there, _ = federation(run, grid, clock)
    there.gather(4, 5)
    grid.order = lambda messages: later(grid, messages, lambda i: i != "4" and clock.now >= 6.999)
    *came, cancelled = there.ask(calls_of(run), Wait(deadline=7.0))
    assert len(came) == 3 and all(reply.failure is None for reply in came)
    assert cancelled.client == "cleveland" and "no answer within cohort.deadline=7.0" in str(cancelled.failure)
    assert clock.now == pytest.approx(7.0, abs=1e-6)


def test_a_reply_that_comes_after_the_deadline_does_not_enter_the_next_request():
    run, clock = run_of(), Clock()
    grid = grid_of(run)
    there, _ = federation(run, grid, clock)
    there.gather(4, 5)
    grid.order = lambda messages: later(grid, messages, lambda i: int(i) >= 8)
    assert all(reply.failure is not None for reply in there.ask(calls_of(run), Wait(deadline=2.0)))
    replies = list(there.ask(calls_of(run, request=1), Wait(deadline=2.0)))
    assert [(reply.request, reply.failure) for reply in replies] == [(1, None)] * 4


def test_with_over_selection_the_first_answers_are_enough_and_the_others_are_named():
    run, clock = run_of("cohort.size=2", "cohort.over=1.0"), Clock()
    grid = grid_of(run)
    there, _ = federation(run, grid, clock)
    there.gather(4, 5)
    names = dict(zip(map(str, range(4, 8)), HOSPITALS, strict=True))
    due = {"cleveland": 9.0, "hungary": 1.0, "switzerland": 5.0, "va_long_beach": 3.0}
    grid.order = lambda messages: later(grid, messages, lambda i: due[names[i]] <= clock.now)
    replies = list(there.ask(calls_of(run), run.job.cohort.wait("train", Pace(), 4, cohort=True)))
    assert [reply.client for reply in replies if reply.failure is None] == ["hungary", "va_long_beach"]
    assert {reply.client for reply in replies if reply.failure} == {"cleveland", "switzerland"}
    assert 3 <= clock.now < 4


def test_many_small_replies_are_fetched_in_handfuls():
    run = run_of()
    names = tuple(f"n{i:03d}" for i in range(200))
    grid = grid_of(run, names)
    there, _ = federation(run, grid)
    there.gather(200, 5)
    assert len(there.population()) == 200 and grid.most == 64
