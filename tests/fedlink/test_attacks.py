"""Attacks on a coordinator, small enough for a test: each ends as the attacker's own loss, and others are served."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.certificates import read_peer
from hansa.fedlink.packing import Body
from hansa.fedlink.protocol import Work
from hansa.fedlink.protocol.effects import Connected
from hansa.fedlink.revocation import revoke
from hansa.fedlink.server import Server
from tests.devices import Plant, Raw, channel
from tests.fedlink.line import MODEL, event, sha256, works
from tests.http2 import DATA, HEADERS, PING, RESET, SETTINGS, WINDOW, Http2, call, context, field, frame
from tests.identities import Side

SESSION, RENEW = "/hansa.link.v1.Link/Session", "/hansa.link.v1.Link/Renew"
SECONDS = 30.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process finds its own sockets in /proc")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def message(frame_: pb.ClientFrame) -> bytes:
    """A frame of the link as gRPC's data, on stream 1."""
    raw = frame_.SerializeToString()
    return frame(DATA, 0, 1, struct.pack(">BI", 0, len(raw)) + raw)


@pytest.fixture
def mallory(plant: Plant) -> Side:
    return plant.side("mallory")


@contextlib.contextmanager
def lines(
    server: Server, plant: Plant, side: Side | None, number: int, window: int = 2**31 - 1
) -> Iterator[list[Http2]]:
    """So many connections of a side."""
    tls, made = context(side, plant.ca), list[Http2]()
    try:
        for _ in range(number):
            made.append(Http2(server.port, tls, window))
        yield made
    finally:
        for one in made:
            one.close()


def test_half_a_renewal_of_a_revoked_device_is_not_read_and_its_lines_are_ended(server, plant, mallory):
    revoke(plant.folder.revocations().path, [read_peer(mallory.chain).serial], "mallory", time.time())
    with lines(server, plant, mallory, 10) as made:
        for one in made:
            one.half(RENEW, 4, 2**20)
        assert all(one.over() for one in made), "who may not ask is not waited for"
    works(server, plant)


def test_half_a_renewal_of_a_device_is_waited_for_a_while_and_only_one_at_a_time(server, plant, mallory):
    with lines(server, plant, mallory, 3) as made:
        for one in made:
            one.half(RENEW, 4, 2**20)
        works(server, plant)
        assert all(one.over() for one in made)


def test_a_device_that_reads_nothing_is_ended_once_a_newer_line_of_it_comes(server, plant, mallory):
    server.submit(
        "mallory", Work(request_id="m/1", size=MODEL.nbytes, sha256=sha256(MODEL), answer_limit=4000), Body((MODEL,))
    )
    with lines(server, plant, mallory, 1, window=2**17) as (deaf,):
        deaf.send(call(1, SESSION), message(pb.ClientFrame(hello=pb.Hello(versions=[1], software="deaf"))))
        event(server, Connected)
        deaf.send(message(pb.ClientFrame(want=pb.Want(request_id="m/1"))))
        newer = Raw(channel(server.port, plant.ca, mallory)).hello()
        newer.until("welcome")
        assert deaf.over(), "its line, and all that was to be written to it, is gone"
        assert newer.until("work").request_id == "m/1"
        newer.close()
    works(server, plant)


def test_a_line_without_a_call_is_ended_whoever_has_it(server, plant, mallory):
    with lines(server, plant, mallory, 2) as made:
        assert all(one.over() for one in made)


@pytest.mark.parametrize(
    "raw",
    [
        b"".join(call(2 * n + 1, "/no/method") for n in range(200)),
        b"".join(call(2 * n + 1, SESSION) + frame(RESET, 0, 2 * n + 1, b"\0\0\0\x08") for n in range(200)),
        frame(SETTINGS, 0, 0, b"") * 1000,
        frame(PING, 0, 0, bytes(8)) * 1000,
        frame(WINDOW, 0, 0, b"\0\0\0\1") * 1000,
        frame(0x55, 0, 0, b"") * 1000,
        call(1, SESSION, *(field(f"x-{n}", "y" * 250) for n in range(56))),
        frame(HEADERS, 0, 1, b"") * 1000,
    ],
    ids=["unknown methods", "resets", "settings", "pings", "windows", "unknown frames", "large heads", "cut heads"],
)
def test_noise_of_http_2_ends_the_line_that_makes_it(server, plant, mallory, raw):
    with lines(server, plant, mallory, 1) as (one,):
        one.line.settimeout(SECONDS)
        one.flood(raw, 2000)
        assert one.over()
    works(server, plant)


def test_frames_without_end_are_read_slowly_and_others_are_served(server, plant, mallory):
    chatty = Raw(channel(server.port, plant.ca, mallory)).hello()
    chatty.until("welcome")
    heartbeat = pb.ClientFrame(heartbeat=pb.Heartbeat()).SerializeToString()
    for _ in range(20_000):
        chatty.raw(heartbeat)
    works(server, plant)
    chatty.close()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\0" * 2**16, b""])
def test_what_is_no_tls_is_ended(server, plant, noise):
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as line, contextlib.suppress(OSError):
        line.sendall(noise)
        while line.recv(2**16):
            pass
    works(server, plant)


def test_the_door_is_shut_while_too_many_come_and_honest_devices_get_in_all_the_same(server, plant):
    guard, sockets, shut = server._guard, list[socket.socket](), False
    try:
        for _ in range(600):
            sockets.append(one := socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.port))
            shut |= guard._closed
        until(lambda: shut or guard._closed)
        works(server, plant)
    finally:
        for one in sockets:
            one.close()
    until(lambda: not guard._closed)
    works(server, plant, "late")


SERVER = """
import resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.protocol import Desk
from hansa.fedlink.server import Server
with Server(desk=Desk(software="x"), address="127.0.0.1:0", folder=ServerFolder(path=Path(sys.argv[1]))) as server:
    print(server.port, flush=True)
    for line in sys.stdin:
        files = [open(__file__ if "__file__" in globals() else "/dev/null") for _ in range(30)]
        print(len(files), flush=True)
        for file in files:
            file.close()
"""


def test_silent_sockets_leave_the_run_its_files_where_few_may_be_open(plant, mallory):
    command = [sys.executable, "-c", SERVER, str(plant.folder.path)]
    sockets: list[socket.socket] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            port = int(process.stdout.readline())
            for _ in range(400):
                sockets.append(one := socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            time.sleep(1)
            process.stdin.write("open\n")
            process.stdin.flush()
            assert process.stdout.readline() == "30\n", "the run can open its own"
            device = Raw(channel(port, plant.ca, mallory)).hello()
            assert device.until("welcome").version == 1
            device.close()
        finally:
            for one in sockets:
                one.close()
            process.kill()
