"""The device's end of the line: through a proxy too, and why there is none, in words."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.calls import SERVICE
from hansa.fedlink.dial import Line, Trust, diagnose
from hansa.fedlink.errors import EnrolmentRefused, Unreachable
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.protocol import Client, Desk
from hansa.fedlink.protocol.effects import Connected, Dropped
from hansa.fedlink.server import Server
from tests.devices import Plant
from tests.identities import Side, client_side, pem, server_side

SECONDS = 20


@pytest.fixture
def plant(tmp_path):
    return Plant.make(tmp_path / "server")


@pytest.fixture
def server(plant, tmp_path):
    with Server(desk=Desk(software="x"), address="127.0.0.1:0", folder=plant.folder, spool=tmp_path) as one:
        yield one


def trust(plant: Plant, port: int, side: Side | None = None) -> Trust:
    side = side or plant.side("bergen")
    return Trust(address=f"127.0.0.1:{port}", client="bergen", ca=plant.ca, chain=side.chain, key=side.key)


def hello(where: Trust) -> list[bytes]:
    """Say hello, and leave once there is an answer."""
    frames: list[bytes] = []

    async def talk() -> None:
        def receive(raw: bytes) -> None:
            frames.append(raw)
            line.outbox.close()

        line = Line(where, receive)
        (start,) = Client(software="test").start(time.monotonic(), time.time())
        line.outbox.frame(start.frame.SerializeToString())
        await asyncio.wait_for(line.hold(), SECONDS)

    asyncio.run(talk())
    return frames


@contextmanager
def proxy(answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Iterator[tuple[int, list[str]]]:
    """A proxy that speaks CONNECT and nothing else, and remembers whereto."""
    asked: list[str] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with source, sink, contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)

    def serve() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            asked.append(head.split(b"\r\n")[0].decode())
            near.sendall(answer)
            if b" 200 " not in answer:
                near.close()
            else:
                host, port = asked[-1].split()[1].split(":")
                far = socket.create_connection((host, int(port)))
                threading.Thread(target=pump, args=(near, far), daemon=True).start()
                threading.Thread(target=pump, args=(far, near), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], asked
        listening.shutdown(socket.SHUT_RDWR)


def test_frames_go_both_ways_and_the_stream_ends_in_order(server, plant):
    (welcome,) = hello(trust(plant, server.port))
    assert pb.ServerFrame.FromString(welcome).welcome.version == 1
    kinds = [type(server.events.get(timeout=SECONDS)) for _ in range(2)]
    assert kinds == [Connected, Dropped]


def test_a_name_may_have_any_letters(server, plant):
    side = plant.side("Lübeck, Große Straße")
    hello(replace(trust(plant, server.port, side), client="Lübeck, Große Straße"))
    assert server.events.get(timeout=SECONDS).name == "Lübeck, Große Straße"


def test_a_line_through_a_proxy(server, plant, monkeypatch):
    with proxy() as (port, asked):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert pb.ServerFrame.FromString(hello(trust(plant, server.port))[0]).welcome.version == 1
        assert asked == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"] or asked[0].startswith("CONNECT 127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        hello(trust(plant, server.port))
        assert len(asked) == 1, "what no_proxy names is reached directly"


def test_a_proxy_that_refuses_is_told(server, plant, monkeypatch):
    with proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n") as (port, asked):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(Unreachable, match="the line broke"):
            hello(trust(plant, server.port))
        assert asked and "through the proxy" in diagnose(trust(plant, server.port), time.time())


def test_calls_are_answered_refused_or_say_why_there_is_nobody(server, plant):
    request = pb.EnrolRequest(token="x", signing_request=b"y")
    with pytest.raises(EnrolmentRefused, match="needs the certificate of an invitation"):
        asyncio.run(trust(plant, server.port).call("Enrol", request, time.time()))
    nobody = trust(plant, free_port())
    with pytest.raises(Unreachable, match=r"Connection refused.*is the coordinator running"):
        asyncio.run(nobody.call("Enrol", request, time.time()))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_an_unknown_name_and_a_closed_port_are_told(plant):
    where = trust(plant, free_port())
    assert "is the coordinator running (hansa serve)?" in diagnose(where, time.time())
    unknown = replace(where, address="no-such-host.invalid:8443")
    told = diagnose(unknown, time.time())
    assert "the name 'no-such-host.invalid' is unknown" in told or "cannot be reached" in told


def test_plain_text_where_tls_should_be_is_told(plant, tmp_path):
    with Server(desk=Desk(software="x"), address="127.0.0.1:0", folder=None, spool=tmp_path) as plain:
        assert "speaks no TLS 1.3" in diagnose(trust(plant, plain.port), time.time())


def test_another_federations_coordinator_is_told(server, plant):
    other = replace(trust(plant, server.port), ca=pem(new_root("plant", time.time())))
    assert "is not this federation's coordinator" in diagnose(other, time.time())


@pytest.mark.parametrize(("days", "told"), [(-100, "has expired"), (100, "is not valid yet")])
def test_a_clock_that_is_wrong_is_told_with_both_sides(plant, tmp_path, days, told):
    """As seen by the device, whose clock is off, the coordinator's certificate is out of its time."""
    now = time.time()
    root = new_root("plant", now + min(days, 0) * DAY)
    side = server_side(root, now + days * DAY)
    plant.folder.chain.write_bytes(side.chain)
    plant.folder.key.write_bytes(side.key)
    with Server(desk=Desk(software="x"), address="127.0.0.1:0", folder=plant.folder, spool=tmp_path) as server:
        where = replace(trust(plant, server.port, client_side(root, now)), ca=pem(root))
        text = diagnose(where, now)
    assert told.split()[-1] in text and "by this device's clock, which says" in text and "set the clock" in text


def test_ones_own_certificate_is_looked_at_last(server, plant):
    now = time.time()
    old = client_side(plant.issuer, now - 10 * DAY, "bergen", 5 * DAY)
    assert "this device's certificate was good until" in diagnose(trust(plant, server.port, old), now)
    stranger = client_side(new_root("plant", now), now, "bergen")
    told = diagnose(trust(plant, server.port, stranger), now)
    assert "ends the line at the sight of this device's certificate" in told and "hansa provision list" in told


def test_a_line_that_was_cut_is_not_told_as_a_certificate_that_was_turned_away(server, plant):
    assert diagnose(trust(plant, server.port), time.time()) == "the line broke before the coordinator's welcome."


def test_a_cut_in_mid_handshake_is_told_as_that(plant):
    """As a coordinator cuts it that has too many connections, or something in between."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def cut() -> None:
            with listening.accept()[0] as plain:
                plain.recv(65_536)

        threading.Thread(target=cut, daemon=True).start()
        told = diagnose(trust(plant, listening.getsockname()[1]), time.time())
    assert "closed the line in the TLS handshake" in told


def test_clocks_that_are_off_are_told_with_by_how_much(server, plant):
    """A certificate that is dated three days ahead is for the coordinator what one of today is three days behind."""
    now = time.time()
    late = trust(plant, server.port, client_side(plant.issuer, now + 5 * DAY))
    with pytest.raises(Unreachable):
        hello(late)
    told = diagnose(late, now + 5 * DAY)
    assert "or the coordinator's clock is 2.0 days behind this device's or more, or 90.0 days ahead" in told
    assert "clock says" in (told := diagnose(late, now)) and "it is 3.0 days behind, or more; set it" in told


def test_a_proxy_is_not_blamed_for_a_host_that_is_reached_without_it(server, plant, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert "through the proxy" in diagnose(trust(plant, server.port), time.time())
    monkeypatch.setenv("no_proxy", "example.org, 127.0.0.1")
    assert diagnose(trust(plant, server.port), time.time()) == "the line broke before the coordinator's welcome."


def other_end(answer: Callable[[Any, Any], Awaitable[None]]) -> tuple[str, Callable[[], None]]:
    """A coordinator in plain text whose streams go as ``answer`` has it; its address, and what ends it."""
    loop, port = asyncio.new_event_loop(), list[int]()

    async def serve() -> grpc.aio.Server:
        server = grpc.aio.server()
        method = grpc.stream_stream_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": method}),))
        port.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        return server

    server = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def end() -> None:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()

    return f"127.0.0.1:{port[0]}", end


@pytest.mark.parametrize("code", [grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
def test_a_line_that_breaks_while_it_is_written_to_is_a_broken_line_and_nothing_else(code):
    async def abort(_: object, context: Any) -> None:
        await context.read()
        await context.abort(code, "no more")

    async def flood(address: str) -> None:
        line = Line(Trust(address=address, client="bergen", ca=None), lambda raw: None)

        async def write() -> None:
            while await line.outbox.chunk(bytes(1000)):
                pass

        writing = asyncio.create_task(write())
        try:
            await asyncio.wait_for(line.hold(), SECONDS)
        finally:
            await writing

    address, end = other_end(abort)
    try:
        for _ in range(10):
            with pytest.raises(Unreachable, match="the line broke"):
                asyncio.run(flood(address))
    finally:
        end()


def test_a_stream_that_grpc_gives_up_is_a_broken_line_and_not_its_owner_s_wish_to_end(server, plant, monkeypatch):
    async def read(line: Line, stream: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Line, "_read", read)
    with pytest.raises(Unreachable, match=r"the line broke \(the stream was cancelled\)"):
        hello(trust(plant, server.port))


def test_a_goodbye_is_read_though_there_was_more_to_write():
    async def leave(_: object, context: Any) -> None:
        await context.read()
        said = pb.Goodbye(code=pb.REVOKED, text="out")
        await context.write(pb.ServerFrame(goodbye=said).SerializeToString())

    async def flood(address: str) -> list[bytes]:
        frames: list[bytes] = []
        line = Line(Trust(address=address, client="bergen", ca=None), frames.append)

        async def write() -> None:
            while await line.outbox.chunk(bytes(1000)):
                pass

        writing = asyncio.create_task(write())
        with contextlib.suppress(Unreachable):
            await asyncio.wait_for(line.hold(), SECONDS)
        await writing
        return frames

    address, end = other_end(leave)
    try:
        for _ in range(10):
            (raw,) = asyncio.run(flood(address))
            assert pb.ServerFrame.FromString(raw).goodbye.code == pb.REVOKED
    finally:
        end()


def test_a_key_is_not_shown():
    assert "secret" not in repr(Trust(address="a:1", client="b", ca=b"", chain=b"", key=b"secret"))


def test_a_line_that_is_to_end_ends_though_the_coordinator_reads_nothing(tmp_path):
    over = threading.Event()

    def session(frames, context):
        over.wait(SECONDS)
        yield b""

    handler = grpc.stream_stream_rpc_method_handler(session)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    async def hold() -> None:
        line = Line(Trust(address=f"127.0.0.1:{port}", client="riga", ca=None), lambda raw: None)
        holding = asyncio.create_task(line.hold())
        with contextlib.suppress(TimeoutError):
            while True:  # until nothing more fits between the two
                await asyncio.wait_for(line.outbox.chunk(bytes(2**21)), 1)
        line.outbox.close()
        await holding

    asyncio.run(asyncio.wait_for(hold(), SECONDS))
    over.set()
    server.stop(None)
