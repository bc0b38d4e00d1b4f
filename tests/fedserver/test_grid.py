"""Any Flower Grid carries a run: here one in memory, with real messages that pass through bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity

from hansa.fedlink.flower import read_call, reply_message
from hansa.fedlink.messages import HELLO, Call, Reply, differing, fingerprints
from hansa.fedserver.grid import FIRST, LONGEST, GridFederation
from hansa.fedserver.policy import Wait
from tests.places import HOSPITALS, coordinator, inline, run_of

TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 2, 3


def through_bytes(message: Message) -> Message:
    return message_from_proto(ProtoMessage.FromString(message_to_proto(message).SerializeToString()))


@dataclass
class MemoryGrid:
    """Nodes answer when they are looked at; ``order`` may hold replies back or turn them round."""

    answer: Callable[[int, Message], Message | None]
    nodes: dict[int, str]
    order: Callable[[list[Message]], list[Message]] = list
    waiting: dict[str, Message] = field(default_factory=dict)
    ids: Any = field(default_factory=lambda: map(str, itertools.count()))
    most: int = 0

    def get_node_ids(self) -> list[int]:
        return list(self.nodes)

    def push_messages(self, messages: list[Message]) -> list[str]:
        sent = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = next(self.ids)
            sent.append(message.metadata.message_id)
            reply = self.answer(message.metadata.dst_node_id, through_bytes(message))
            if reply is not None:
                self.waiting[sent[-1]] = through_bytes(reply)
        return sent

    def pull_messages(self, ids: list[str]) -> list[Message]:
        self.most = max(self.most, len(ids))
        return self.order([self.waiting.pop(i) for i in ids if i in self.waiting])


@dataclass
class Clock:
    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def federation(run, grid, clock=None):
    clock, refused = clock or Clock(), []
    there = GridFederation(
        grid=grid,
        hello=Call(
            endpoint=HELLO,
            run="run",
            round=0,
            request=0,
            digest=run.job.digest,
            fields=fingerprints(run.job.settings),
        ),
        settings=run.job.settings,
        clock=lambda: clock.now,
        sleep=clock.sleep,
        refuse=lambda name, why: refused.append((name, why)),
    )
    return there, refused


def grid_of(run, names=HOSPITALS, change=lambda reply, call: reply, **settings):
    site = inline(run).site
    nodes = dict(enumerate(names, 10))

    def answer(node, message):
        call = read_call(message)
        reply = change(site.answer(call, nodes[node]), call)
        return reply if isinstance(reply, Message) or reply is None else reply_message(reply, message)

    return MemoryGrid(answer, nodes, **settings)


@pytest.mark.parametrize(
    "settings", [(), ("cohort.size=2",), ("strategy=scaffold",)], ids=["all", "sampled", "scaffold"]
)
@pytest.mark.parametrize("order", [list, lambda m: m[::-1]], ids=["in order", "turned"])
def test_a_grid_learns_the_model_of_the_inline_federation(settings, order):
    run = run_of(*settings)
    here, there = coordinator(run), coordinator(run, federation(run, grid_of(run, order=order))[0])
    assert [r.counted for r in here.rounds()] == [r.counted for r in there.rounds()]
    assert np.array_equal(here.parameters(), there.parameters())


def test_nodes_are_known_by_the_names_they_say_and_two_of_one_name_are_refused():
    run = run_of()
    there, refused = federation(run, grid_of(run, ("hungary", "cleveland", "hungary")))
    there.gather(2, 5)
    assert there.population() == ("cleveland", "hungary")
    assert refused == [("hungary", "another node has this name already: give each node a name of its own")]


def test_a_node_of_another_configuration_is_refused_by_the_field():
    run, other = run_of(), run_of("client.lr=0.2").job.settings
    grid = grid_of(run, change=lambda reply, call: replace(reply, digest="x", differs=differing(other, call.fields)))
    there, refused = federation(run, grid)
    assert there.population() == ()
    assert "client.lr, which is 0.1 here" in refused[0][1] and len(refused) == 4


def test_nodes_come_and_go():
    run = run_of()
    grid = grid_of(run)
    there, _ = federation(run, grid)
    late = grid.nodes.pop(13)
    assert there.population() == HOSPITALS[:3]
    grid.nodes[13] = late
    assert there.population() == HOSPITALS
    del grid.nodes[10]
    assert there.population() == HOSPITALS[1:]


def test_a_silent_node_is_waited_for_until_the_deadline_and_looked_for_less_and_less_often():
    run, clock = run_of("cohort.deadline=20"), Clock()
    grid = grid_of(run, change=lambda r, call: None if (r.client, call.endpoint) == ("hungary", "train.update") else r)
    there = coordinator(run, federation(run, grid, clock)[0])
    records = list(there.rounds())[1:]
    assert [record.counted for record in records] == [3, 3, 3]
    assert 60 <= clock.now <= 65 and min(clock.pauses) == FIRST and max(clock.pauses) == LONGEST
    assert len(clock.pauses) < 110


def test_errors_of_flower_and_of_other_names_are_failures_of_that_client():
    run = run_of()

    def odd(reply, call):
        if call.endpoint == "train.update" and reply.client == "cleveland":
            return replace(reply, client="hungary")
        return reply

    there, _ = federation(run, grid_of(run, change=odd))
    there.gather(4, 5)
    calls = {n: Call(endpoint="train.update", run="run", round=1, request=0, digest=run.job.digest) for n in HOSPITALS}
    said = {r.client: r for r in there.ask(calls, Wait(deadline=1))}
    assert "says that it is 'hungary' now" in str(said["cleveland"].failure)


def test_an_error_message_names_flowers_reason():
    run = run_of()
    there, _ = federation(run, grid_of(run))
    there.gather(4, 5)
    there.grid.answer = lambda node, message: Message(Error(3, "node left"), reply_to=message)
    calls = {"hungary": Call(endpoint="train.update", run="run", round=1, request=0, digest=run.job.digest)}
    (reply,) = there.ask(calls, Wait(deadline=1))
    assert isinstance(reply, Reply) and "Flower's error 3: node left" in str(reply.failure)


def test_large_replies_are_fetched_one_at_a_time():
    run = run_of()
    grid = grid_of(run)
    there, _ = federation(run, grid)
    there.gather(4, 5)
    grid.most, big = 0, {"model": np.zeros(2_000_000, np.float32)}
    calls = {
        n: Call(endpoint="query.hello", run="run", round=1, request=0, digest=run.job.digest, payload=big)
        for n in HOSPITALS
    }
    assert len(list(there.ask(calls, Wait(deadline=5)))) == 4 and grid.most == 1
