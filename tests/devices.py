"""Devices for tests of the coordinator: real gRPC and the product's own machine, with work that a test gives."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

from hansa.fedclient.site import Site
from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY, Authority, new_root
from hansa.fedlink.door import NAME
from hansa.fedlink.folder import Federation, ServerFolder
from hansa.fedlink.packing import pack_reply, read_call
from hansa.fedlink.protocol import LARGEST_FRAME, Answer, Client
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk
from tests.identities import Side, client_side, pem

OPTIONS = [("grpc.max_receive_message_length", LARGEST_FRAME)]
METHOD = "/hansa.link.v1.Link/Session"
ONE_MODEL = threading.Lock()
"""All sites of a test share one model and torch's one generator."""
Work = Callable[[bytes, bytes], tuple[bytes, bytes]]
"""From a request's head and body to an answer's."""


@dataclass(frozen=True)
class Plant:
    """A coordinator's folder, and the authority behind it."""

    folder: ServerFolder
    root: Authority
    issuer: Authority

    @classmethod
    def make(cls, path: Path) -> Plant:
        now = time.time()
        root = new_root("plant", now)
        issuer = root.issuing("plant", now)
        folder = ServerFolder(path=path)
        federation = Federation(name="plant", address="127.0.0.1:8443", task="heart_disease")
        folder.make(root, issuer, federation, now)
        return cls(folder, root, issuer)

    def side(self, name: str, seconds: float = 90 * DAY) -> Side:
        return client_side(self.issuer, time.time(), name, seconds)

    @property
    def ca(self) -> bytes:
        return pem(self.root)


def channel(port: int, ca: bytes | None, side: Side | None = None) -> grpc.Channel:
    """Connect as a side of TLS; in plain text where there is no CA."""
    if ca is None:
        return grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS)
    key, chain = (side.key, side.chain) if side is not None else (None, None)
    return grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(ca, key, chain), OPTIONS)


def answers(site: Site, client: str) -> Work:
    """Work as a site does it."""

    def work(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        with ONE_MODEL:
            reply_head, reply_body = pack_reply(site.answer(read_call(head, body), client))
        return reply_head, b"".join(reply_body.pieces(0, 2**20))

    return work


@dataclass(eq=False)
class Raw:
    """A stream whose frames are written and read one by one, for devices that misbehave."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = ()
    _out: queue.SimpleQueue[bytes | None] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.stream = self.channel.stream_stream(METHOD)(iter(self._out.get, None), metadata=self.metadata)

    def send(self, **kind: Any) -> Self:
        self._out.put(pb.ClientFrame(**kind).SerializeToString())
        return self

    def raw(self, frame: bytes) -> None:
        self._out.put(frame)

    def hello(self) -> Self:
        return self.send(hello=pb.Hello(versions=[1], software="raw", clock_ms=round(time.time() * 1000)))

    def next(self) -> pb.ServerFrame:
        return pb.ServerFrame.FromString(next(self.stream))

    def until(self, kind: str) -> Any:
        while (frame := self.next()).WhichOneof("kind") != kind:
            pass
        return getattr(frame, kind)

    def close(self) -> None:
        self._out.put(None)
        self.stream.cancel()
        self.channel.close()


@dataclass(eq=False)
class Caller:
    """A well-behaved device; what it holds survives its connections, and it may come back as soon as one is lost.

    Work that raises ConnectionError loses the line.
    """

    name: str
    connect: Callable[[], grpc.Channel]
    work: Work
    metadata: tuple[tuple[str, str], ...] = ()
    comes_back: bool = False
    client: Client = field(default_factory=lambda: Client(software="test"))
    bodies: dict[str, bytearray] = field(default_factory=dict)
    done: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    ended: list[do.Ended] = field(default_factory=list)
    worked: list[str] = field(default_factory=list)
    downloaded: int = 0

    @classmethod
    def of(cls, port: int, name: str, work: Work, plant: Plant | None) -> Caller:
        if plant is None:
            return cls(name, lambda: channel(port, None), work, ((NAME, name),))
        side = plant.side(name)
        return cls(name, lambda: channel(port, plant.ca, side), work)

    def call(self) -> Self:
        """Connect, and work in a thread until the stream ends."""
        self._dial()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def drop(self) -> None:
        """Leave without a word."""
        self.comes_back = False
        self._out.put(None)
        self.stream.cancel()
        self._thread.join(20)
        self._channel.close()

    def _dial(self) -> None:
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = self.connect()
        self.stream = self._channel.stream_stream(METHOD)(iter(self._out.get, None), metadata=self.metadata)
        self._do(self.client.start(time.monotonic(), time.time()))

    def _listen(self) -> None:
        self._read()
        while self.comes_back:
            self._channel.close()
            self._dial()
            self._read()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError, ConnectionError):
            for raw in self.stream:
                self._do(self.client.receive(raw, time.monotonic()))
        self._out.put(None)
        self.stream.cancel()
        self._do(self.client.closed(time.monotonic()))

    def _do(self, effects: list[do.ClientEffect]) -> None:
        for effect in effects:
            self._do(list(self._one(effect)))

    def _one(self, effect: do.ClientEffect) -> Iterator[do.ClientEffect]:
        match effect:
            case do.Send():
                self._out.put(effect.frame.SerializeToString())
            case do.StartBody():
                self.bodies[effect.request_id] = bytearray()
            case do.StoreBody():
                self.bodies[effect.request_id] += effect.data
                self.downloaded += len(effect.data)
            case do.BodyComplete():
                assert hashlib.sha256(self.bodies[effect.request_id]).digest() == effect.sha256
                yield from self.client.downloaded(effect.request_id)
            case do.RunWork():
                self.worked.append(effect.request_id)
                head, body = self.work(effect.head, bytes(self.bodies.get(effect.request_id, b"")))
                self.done[effect.request_id] = head, body
                sha256 = hashlib.sha256(body).digest() if body else b""
                yield from self.client.answered(effect.request_id, Answer(head=head, size=len(body), sha256=sha256))
            case do.UploadFrom():
                body = self.done[effect.request_id][1]
                for at in range(effect.offset, len(body), effect.chunk):
                    self._out.put(write_chunk(effect.request_id, at, body[at : at + effect.chunk]))
            case do.Forget() | do.CancelWork():
                self.bodies.pop(effect.request_id, None)
                self.done.pop(effect.request_id, None)
            case do.Ended():
                self.ended.append(effect)
