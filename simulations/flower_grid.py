"""Flower's ``Grid`` over a pool of worker processes: any ServerApp drives its ClientApp on this machine."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from hansa.fedlink.flower import become, error_reply, from_bytes, head_bytes, record_bytes, stamp
from hansa.simulations.flower_crew import Letter, Post, state_file
from hansa.simulations.pool import Pool, Told
from hansa.simulations.sheet import copied
from hansa.strategies.types import Array


@dataclass(kw_only=True)
class PoolGrid(Grid):
    """Nodes 1 to ``nodes``, of which node i + 1 is partition i. Messages are worked off when replies are asked for.

    ``folder`` has the nodes' states: each its own after its ``_last`` message, and for a while ``_old`` ones.
    """

    pool: Pool
    nodes: int
    run_id: int
    folder: Path
    done: int = 0
    failed: int = 0
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _waiting: dict[str, Message] = field(default_factory=dict)
    _replies: dict[str, Message] = field(default_factory=dict)
    _last: dict[int, str] = field(default_factory=dict)
    _old: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        become(self.run_id)

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
        return list(range(1, self.nodes + 1))

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node) for node in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = []
        for message in messages:
            name = str(next(self._ids))
            stamp(message, name)
            self._waiting[name] = message
            sent.append(name)
        return sent

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        wanted = list(message_ids)
        if any(name in self._waiting for name in wanted):
            self._work()
        return [self._replies.pop(name) for name in wanted if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _work(self) -> None:
        """Let the workers answer all that waits."""
        post, arrays = self._post()
        sheet = copied(arrays)
        try:
            for event in self.pool.work(post, len(post.nodes), [sheet], {}):
                if isinstance(event, Told):
                    for name, raw in event.value:
                        self._take(name, raw)
        finally:
            sheet.close()
        while self._old:  # until now a worker might have died, and another needed them
            state_file(self.folder, self._old.pop()).unlink()

    def _post(self) -> tuple[Post, dict[str, Array]]:
        """Return what waits, by node, and the records, of which each is written once however many messages have it."""
        by_node: dict[int, list[Letter]] = {}
        arrays: dict[str, Array] = {}
        for name, message in list(self._waiting.items()):
            node = message.metadata.dst_node_id
            if not 1 <= node <= self.nodes:
                self._replies[name] = error_reply(self._waiting.pop(name), f"there is no node {node}")
                continue
            places = {f"{key}-{id(record)}": (key, record) for key, record in message.content.items()}
            for place in places.keys() - arrays.keys():
                arrays[place] = np.frombuffer(record_bytes(*places[place]), np.uint8)
            mine = by_node.setdefault(node - 1, [])
            before = mine[-1].name if mine else self._last.get(node)
            mine.append(Letter(name, head_bytes(message), list(places), before))
        return Post(nodes=list(by_node), letters=list(by_node.values())), arrays

    def _take(self, name: str, raw: bytes) -> None:
        if name not in self._waiting:
            return  # it was told before its worker died
        node = self._waiting.pop(name).metadata.dst_node_id
        self._old += [self._last[node]] if node in self._last else []
        self._last[node] = name
        reply = stamp(from_bytes(raw), f"reply-{name}")
        self._replies[name] = reply
        self.done += 1
        if reply.has_error():
            self.failed += 1
            print(f"node {reply.metadata.src_node_id}: {reply.error.reason}", file=sys.stderr, flush=True)
