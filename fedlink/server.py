"""The coordinator's end of the link: a gRPC server in a thread of its own, for an application that may block."""

from __future__ import annotations

import asyncio
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from hansa.fedlink.calls import SERVICE, Calls, Signing
from hansa.fedlink.door import Door
from hansa.fedlink.errors import PortTaken
from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.guard import Guard, most_lines
from hansa.fedlink.protocol import LARGEST_FRAME, Desk, Work
from hansa.fedlink.protocol.effects import Notice, ServerEffect
from hansa.fedlink.service import Arrived, Content, Service, Told

Result = TypeVar("Result")
GRACE = 5.0
"""Seconds that streams have to end when the server stops."""
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_FRAME),
    ("grpc.experimental.tcp_max_read_buffer_size", 2**16),
    ("grpc.max_metadata_size", 2**13),
    ("grpc.absolute_max_metadata_size", 2**13),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


@dataclass(kw_only=True, eq=False)
class Server:
    """Listens at ``address`` (host:port; port 0 for a free one) while it is entered; ``events`` are what happened.

    ``folder`` holds certificates and keys; None stands for plain text, which is for a loopback address only.
    All methods may be called from any thread.
    """

    desk: Desk
    address: str
    folder: ServerFolder | None
    spool: Path = Path(tempfile.gettempdir())
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    events: queue.SimpleQueue[Told] = field(default_factory=queue.SimpleQueue)
    port: int = 0
    _service: Service = field(init=False)
    _signing: Signing = field(init=False)
    _guard: Guard = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def __post_init__(self) -> None:
        folder, self._guard = self.folder, Guard(self.clock)
        self._signing = Signing(
            registrar=None if folder is None else folder.registrar(folder.issuer()),
            roots=b"" if folder is None else folder.credentials()[2],
            guard=self._guard,
            wall=self.wall,
        )
        self._service = Service(
            desk=self.desk,
            door=Door(revocations=None if folder is None else folder.revocations()),
            guard=self._guard,
            spool=self.spool,
            tell=self.events.put,
            clock=self.clock,
            wall=self.wall,
        )

    def __enter__(self) -> Self:
        """Begin to listen; raises PortTaken, and the errors of the folder's files."""
        self._ready: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="hansa-link", daemon=True)
        self._thread.start()
        if (error := self._ready.get()) is not None:
            self._thread.join()
            raise error
        if self.folder is not None and (text := self.folder.behind(self.wall())) is not None:
            self.events.put(Notice(text=text))
        return self

    def __exit__(self, *_: object) -> None:
        """Say goodbye to everybody and stop."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._service.close()
        while not self.events.empty():
            if isinstance(event := self.events.get(), Arrived):
                event.close()

    def submit(self, name: str, work: Work, body: Content) -> None:
        """Open a request for a client; raises what ``Desk.submit`` raises."""

        def submit() -> list[ServerEffect]:
            effects = self.desk.submit(name, work)
            self._service.bodies[work.request_id] = body
            return effects

        self._carry_out(submit)

    def finish(self, request_id: str) -> None:
        """Say that an answer is taken for good."""
        self._carry_out(lambda: self._over_with(request_id, self.desk.finish(request_id)))

    def cancel(self, request_id: str, reason: str) -> None:
        """Take a request back."""
        self._carry_out(lambda: self._over_with(request_id, self.desk.cancel(request_id, reason)))

    def _over_with(self, request_id: str, effects: list[ServerEffect]) -> list[ServerEffect]:
        self._service.forget(request_id)
        return effects

    def _carry_out(self, decide: Callable[[], list[ServerEffect]]) -> None:
        """Let the machine decide in its own thread, and do what it says."""

        async def decided() -> None:
            self._service.carry_out(decide())

        asyncio.run_coroutine_threadsafe(decided(), self._loop).result()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await self._listening()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._ready.put(error)
            return
        self._guard.start(self.port)
        tending = [asyncio.create_task(tend) for tend in (self._service.tend(), self._guard.watch())]
        for one in tending:
            one.add_done_callback(lambda _: self._over.set())  # nobody is served whom nobody looks after
        self._ready.put(None)
        await self._over.wait()
        for one in tending:
            one.cancel()
        self._guard.stop()
        self._service.carry_out(self.desk.shutdown("the coordinator stops."))
        await server.stop(GRACE)

    async def _listening(self) -> grpc.aio.Server:
        options = (*OPTIONS, ("grpc.max_allowed_incoming_connections", most_lines()))
        server = grpc.aio.server(options=options)
        calls = {f"/{SERVICE}/Session": self._service.session, **self._signing.calls()}
        server.add_generic_rpc_handlers((Calls(self._guard, calls),))
        try:
            if self.folder is None:
                self.port = server.add_insecure_port(self.address)
            else:
                self.port = server.add_secure_port(self.address, _credentials(self.folder, self._guard.knock))
        except RuntimeError:
            raise PortTaken(
                f"cannot listen at {self.address}: another program has the port, or the address is not this machine's: "
                "end it, or choose another with listen=HOST:PORT."
            ) from None
        await server.start()
        return server


def _credentials(folder: ServerFolder, knock: Callable[[], None]) -> grpc.ServerCredentials:
    """Return credentials of mutual TLS, which follow the folder's files where these are renewed."""
    seen, one = [folder.changed()], threading.Lock()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Called for each connection, by threads of gRPC; None stands for no change, and is by far the usual answer:
        gRPC has been seen to crash where every connection of many brings new credentials."""
        knock()
        if (now := folder.changed()) == seen[0]:
            return None
        with one:
            configuration, seen[0] = _configuration(folder), now
        return configuration

    return grpc.dynamic_ssl_server_credentials(_configuration(folder), renewed, require_client_authentication=True)


def _configuration(folder: ServerFolder) -> grpc.ServerCertificateConfiguration:
    key, chain, roots = folder.credentials()
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)
