"""Flower's ``Grid`` over Hansa's own link: any Flower ServerApp and any of Flower's strategies can drive a fleet.

A node is a client; its id is a hash of its name, so that it is the same in every run. Messages are pushed and replies
come by themselves: nothing polls.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import queue
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from hansa.fedlink.errors import MalformedMessage, ProtocolError
from hansa.fedlink.flower import become, error_reply, from_bytes, stamp, to_bytes
from hansa.fedlink.flower_replies import checked
from hansa.fedlink.packing import FLOWER, Body
from hansa.fedlink.protocol import Work
from hansa.fedlink.protocol.effects import Failed
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived, Told
from hansa.fedserver.presence import Presence
from hansa.fedserver.waiting import Tempo, Vigil

GLANCE = 0.5
"""Seconds between two looks at the clock while nothing comes."""
ROOM = 2**26
"""Bytes that a reply may have beyond twice the message that it answers."""


def node_id(client: str) -> int:
    """Return the id of a client's node: positive, below 2^63, and the same everywhere."""
    return int.from_bytes(hashlib.sha256(client.encode()).digest()[:8], "little") >> 1 or 1


@dataclass(kw_only=True)
class LinkGrid(Grid):
    """The nodes of a server. ``largest`` bounds a reply in bytes, and is ``ROOM`` and twice the message where it is
    None; ``clock`` gives seconds.

    A round of ``tempo`` is from when messages are pushed while none was open until none is.

    A message to a node that is not there, or that nobody can answer, is replied to with Flower's own error.
    """

    server: Server
    presence: Presence
    clock: Callable[[], float]
    run_id: int
    largest: int | None = None
    tempo: Tempo = field(default_factory=Tempo)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _waiting: dict[str, tuple[str, Message]] = field(default_factory=dict)
    _replies: dict[str, Message] = field(default_factory=dict)

    def __post_init__(self) -> None:
        become(self.run_id)
        self._vigil = Vigil(clock=self.clock, say=self.presence.say, doing=self.presence.doing)

    def set_run(self, run: Run) -> None:
        self.run_id = run.run_id

    @property
    def run(self) -> Run:
        return Run.create_empty(self.run_id)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        return [node.node_id for node in self.get_nodes()]

    def get_nodes(self) -> list[NodeInfo]:
        self._drain(0.0)
        return [NodeInfo(node_id=node_id(name), name=name) for name in self.presence.here()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = {node_id(name): name for name in self.presence.here()}
        if not self._waiting:
            self._vigil.begin("")
        return [self._push(message, names.get(message.metadata.dst_node_id)) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        self._drain(0.0)
        return [self._replies.pop(sent) for sent in message_ids if sent in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        sent, came = self.push_messages(messages), list[Message]()
        end = math.inf if timeout is None else self.clock() + timeout
        while len(came) < len(sent) and (left := end - self.clock()) > 0:
            came += self.pull_messages(sent)
            if len(came) < len(sent):
                self._drain(min(GLANCE, left))
        came += self.pull_messages(sent)
        for late in [request_id for request_id in sent if request_id in self._waiting]:
            self.cancel(late)
        return came

    def cancel(self, message_id: str) -> None:
        """Take back a message that has no reply yet."""
        if self._waiting.pop(message_id, None) is not None:
            self.server.cancel(message_id, "the round goes on without this answer: it is too late.")

    def _push(self, message: Message, client: str | None) -> str:
        sent = f"{self.run_id}/{next(self._ids)}"
        stamp(message, sent)
        if client is None:
            self._replies[sent] = error_reply(message, f"node {message.metadata.dst_node_id} is not connected")
            return sent
        raw = to_bytes(message)
        body, sha256 = Body((np.frombuffer(raw, np.uint8),)), hashlib.sha256(raw).digest()
        limit = 2 * body.size + ROOM if self.largest is None else self.largest
        work = Work(request_id=sent, head=FLOWER, size=body.size, sha256=sha256, answer_limit=limit)
        try:
            self.server.submit(client, work, body)
            self._waiting[sent] = client, message
            self.presence.now(client, "fetching")
        except ProtocolError as error:
            self._replies[sent] = error_reply(message, str(error))
        return sent

    def _drain(self, seconds: float) -> None:
        """Take in all that happened, or wait for the first of it; tell whom the app waits for, if that takes long."""
        waited = bool(self._waiting)
        try:
            self._read(self.server.events.get(timeout=seconds) if seconds else self.server.events.get_nowait())
            while True:
                self._read(self.server.events.get_nowait())
        except queue.Empty:
            self._give_up()
        if self._waiting:
            self._vigil.look("the app", (client for client, _ in self._waiting.values()))
        elif waited:
            self.tempo.over(self._vigil.end())

    def _read(self, event: Told) -> None:
        match event:
            case Arrived():
                self._arrived(event)
            case Failed() if event.request_id in self._waiting:
                self._without(event.request_id, event.text)
            case _:
                self.presence.note(event)

    def _arrived(self, event: Arrived) -> None:
        if event.request_id in self._waiting:
            self.presence.now(event.name, "connected")
            try:
                self._replies[event.request_id] = self._reply(event)
                del self._waiting[event.request_id]
            except MalformedMessage as error:
                self._without(event.request_id, str(error))
            self.server.finish(event.request_id)
        event.close()

    def _reply(self, event: Arrived) -> Message:
        _, message = self._waiting[event.request_id]
        event.file.seek(0)
        reply = from_bytes(event.file.read(event.size))
        return checked(reply, message, event.name, node_id(event.name))

    def _without(self, sent: str, text: str) -> None:
        _, message = self._waiting.pop(sent)
        self._replies[sent] = error_reply(message, text)

    def _give_up(self) -> None:
        for sent, (client, _) in list(self._waiting.items()):
            if self.presence.lost(client):
                why = self.presence.why(client)
                self._without(sent, why)
                self.server.cancel(sent, f"the round goes on without it: {why}")
