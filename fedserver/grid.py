"""A federation over any Flower Grid: SuperLink's own, or one of Hansa's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from hansa.fedlink.certificates import checked_name
from hansa.fedlink.errors import CertificateError, MalformedMessage
from hansa.fedlink.flower import call_messages, read_reply
from hansa.fedlink.messages import Call, Failure, Reply, Settings
from hansa.fedserver.federation import hear
from hansa.fedserver.policy import Wait
from hansa.fedserver.screening import difference
from hansa.strategies.pipeline import Names

FIRST, LONGEST, GROWTH = 0.01, 1.0, 1.5
"""Seconds between two looks for replies: the first, the longest, and the factor from one to the next."""
FETCHED = 2**22
"""Bytes of replies that are fetched at once (but at least one reply), so that memory does not grow with the cohort."""


@dataclass(kw_only=True)
class GridFederation:
    """A ``Federation`` whose clients are nodes of a Grid; a node's client is the name that it says itself.

    ``hello`` is the call that asks for the name. ``refuse`` is told of nodes that are not let in and why.
    """

    grid: Grid
    hello: Call
    settings: Settings
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    refuse: Callable[[str, str], None]
    nodes: dict[str, int] = field(default_factory=dict)
    _known: set[int] = field(default_factory=set)
    _greeted: dict[str, int] = field(default_factory=dict)

    def population(self) -> Names:
        """Return the clients whose nodes are online and have said their names; new nodes are asked for theirs."""
        online = set(self.grid.get_node_ids())
        new = sorted(online - self._known)
        self._known = (self._known | set(new)) & online
        self._greeted = {sent: node for sent, node in self._greeted.items() if node in online}
        self._greeted |= self._push(dict.fromkeys(new, self.hello), None)
        for message in self._pull(list(self._greeted)):
            if (node := self._greeted.pop(message.metadata.reply_to_message_id, None)) is not None:
                self._admit(node, message, online)
        return tuple(sorted(name for name, node in self.nodes.items() if node in online))

    def gather(self, least: int, seconds: float) -> None:
        """Wait until so many clients are there and nobody online is still asked for a name, or the time is over."""
        end = self.clock() + seconds
        while (len(self.population()) < least or self._greeted) and self.clock() < end:
            self.sleep(LONGEST)

    def ask(self, calls: Mapping[str, Call], wait: Wait) -> Iterator[Reply]:
        """Send calls to nodes and yield each one's answer; looks often at first and less often later."""
        nodes = {self.nodes[name]: name for name in calls if name in self.nodes}
        wait.begin(nodes.values(), self.clock())
        sent = self._push({node: calls[name] for node, name in nodes.items()}, wait.deadline)
        waiting, pause, at_once = {i: nodes[node] for i, node in sent.items()}, FIRST, _at_once(calls)
        for name in set(nodes.values()) - set(waiting.values()):
            wait.failed(name, "Flower did not take its message")
        while waiting:
            came = len(waiting)
            for reply in self._answers(waiting, calls, at_once):
                hear(wait, reply, self.clock())
                yield reply
                del reply  # its row must be gone before the next one comes
                if wait.enough:
                    yield from _cancelled(wait, waiting, calls, self.clock())
            yield from _cancelled(wait, waiting, calls, self.clock())
            pause = FIRST if len(waiting) < came else min(pause * GROWTH, LONGEST)
            if waiting:
                self.sleep(min(pause, wait.wake() - self.clock()))

    def _answers(self, waiting: dict[str, str], calls: Mapping[str, Call], at_once: int) -> Iterator[Reply]:
        """Yield the replies that are there now, of those that are waited for."""
        for message in self._pull(list(waiting), at_once):
            if (name := waiting.pop(message.metadata.reply_to_message_id, None)) is not None:
                yield self._read(message, name, calls[name])
            del message  # its row must be gone before the next one comes

    def _read(self, message: Message, client: str, call: Call) -> Reply:
        """Unwrap a node's reply; it speaks for the client whose node it is, and for no other."""
        try:
            reply = read_reply(message)
            if reply.client != client:
                raise MalformedMessage(f"the node says that it is {reply.client!r} now: restart it under one name")
        except MalformedMessage as error:
            failure = Failure(stage="link", kind=type(error).__name__, text=str(error))
            return Reply.to(call, client, call.digest, failure=failure)
        return reply

    def _admit(self, node: int, message: Message, online: set[int]) -> None:
        try:
            reply = read_reply(message)
            checked_name(reply.client)
        except (MalformedMessage, CertificateError) as error:
            self.refuse(f"node {node}", str(error))
            return
        holder = self.nodes.get(reply.client, node)
        if reply.digest != self.hello.digest:
            self.refuse(reply.client, difference(self.settings, reply.differs))
        elif reply.failure is not None:
            self.refuse(reply.client, str(reply.failure))
        elif holder != node and holder in online:
            self.refuse(reply.client, "another node has this name already: give each node a name of its own")
        else:
            others = {name: at for name, at in self.nodes.items() if at != node}
            self.nodes = {**others, reply.client: node}

    def _push(self, calls: Mapping[int, Call], seconds: float | None) -> dict[str, int]:
        """Send the calls; return the nodes by the ids of the messages that Flower took."""
        nodes = list(calls)
        ids = self.grid.push_messages(call_messages(calls, seconds)) if nodes else []
        return {str(sent): node for node, sent in zip(nodes, ids, strict=False) if sent}

    def _pull(self, ids: list[str], at_once: int = 64) -> Iterator[Message]:
        for start in range(0, len(ids), at_once):
            came = list(self.grid.pull_messages(ids[start : start + at_once]))
            while came:
                yield came.pop()


def _cancelled(wait: Wait, waiting: dict[str, str], calls: Mapping[str, Call], now: float) -> Iterator[Reply]:
    """Forget the messages of whom the policy gives up, and say so; Flower has no way to take one back."""
    if not (out := wait.cut(now)):
        return
    for sent, name in [(sent, name) for sent, name in waiting.items() if name in out]:
        del waiting[sent]
        failure = Failure(stage="grid", kind="Cancelled", text=out[name])
        yield Reply.to(calls[name], name, calls[name].digest, failure=failure)


def _at_once(calls: Mapping[str, Call]) -> int:
    """Return how many replies may be fetched at once: about as large as what was sent, they stay within FETCHED."""
    largest = max((sum(array.nbytes for array in call.payload.values()) for call in calls.values()), default=0)
    return max(1, min(64, FETCHED // max(1, largest)))
