"""A device survives what goes wrong around it: each path with a real coordinator over TLS, real files and processes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import random
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedclient import agent as module
from hansa.fedclient import workshop
from hansa.fedclient.agent import Agent
from hansa.fedclient.place import Place
from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.dial import Line
from hansa.fedlink.errors import NotWanted
from hansa.fedlink.protocol import Work
from hansa.fedlink.protocol.effects import Connected, Dropped, Failed
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived
from tests import scripted_worker
from tests.devices import Plant
from tests.fedlink.line import event, serving
from tests.fleet import until

ANSWER = "reply(order)"
DAY = 86_400.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(workshop, "COMMAND", scripted_worker.COMMAND)
    monkeypatch.setattr(module, "pause", lambda outage, uniform: 0.05)


class Living:
    """A device that lives in a thread of its own; ``told`` is its log, ``ahead`` what to add to its wall clock."""

    def __init__(self, place: Place) -> None:
        self.told: list[str] = []
        self.ahead, self.deaf = 0.0, False
        self.place, self.error = place, None
        self.thread = threading.Thread(target=self._live, daemon=True)

    def _tell(self, text: str) -> None:
        if self.deaf:
            raise BrokenPipeError(32, "Broken pipe")
        self.told.append(text)

    def _live(self) -> None:
        async def live() -> None:
            self.loop = asyncio.get_running_loop()
            self.agent = Agent(
                place=self.place,
                software="test",
                tell=self._tell,
                clock=time.monotonic,
                wall=lambda: time.time() + self.ahead,
                chance=random.Random(1),
            )
            await self.agent.live()

        try:
            asyncio.run(live())
        except NotWanted as error:
            self.error = error

    def says(self, text: str) -> None:
        until(lambda: any(text in told for told in self.told), lambda: "\n".join(self.told))

    def ends(self) -> None:
        self.thread.join(20)
        assert not self.thread.is_alive(), self.told


@contextmanager
def device(plant: Plant, server: Server, home: Path) -> Iterator[Living]:
    place = Place(
        home=home, federation="plant", address=f"127.0.0.1:{server.port}", client="bergen", task={"name": "digits"}
    )
    request = x509.load_pem_x509_csr(place.signing_request()).public_bytes(Encoding.DER)
    place.accept(plant.folder.registrar(plant.issuer).sign(request, time.time()), plant.ca)
    living = Living(place)
    living.thread.start()
    event(server, Connected)
    try:
        yield living
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended
            living.loop.call_soon_threadsafe(living.agent.leave)
        living.ends()


@pytest.fixture
def plant(tmp_path):
    return Plant.make(tmp_path / "server")


@pytest.fixture
def server(plant, tmp_path):
    with serving(plant, tmp_path) as one:
        yield one


@pytest.fixture
def bergen(plant, server, tmp_path):
    with device(plant, server, tmp_path / "home") as living:
        yield living


def submit(server: Server, name: str, *deeds: str, size: int = 0) -> None:
    body = b"m" * size
    sha256 = hashlib.sha256(body).digest() if size else b""
    work = Work(request_id=name, head=json.dumps(deeds).encode(), size=size, sha256=sha256)
    server.submit("bergen", work, Content(body))


@dataclasses.dataclass
class Content:
    body: bytes

    def pieces(self, start: int, longest: int) -> Iterator[memoryview]:
        for at in range(start, len(self.body), longest):
            yield memoryview(self.body)[at : at + longest]


def answered(server: Server, name: str) -> None:
    """The next that happens is the answer to this request: the line held, too."""
    arrived = event(server, (Arrived, Failed, Dropped))
    assert isinstance(arrived, Arrived) and arrived.request_id == name, arrived
    arrived.close()
    server.finish(name)


def test_a_disk_that_fills_on_the_last_chunk_costs_this_request_and_nothing_else(bergen, server):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20 + 2**19, hard))
    try:
        submit(server, "large", ANSWER, size=2**21)
        failed = event(server, (Failed, Dropped))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.text == "the device cannot do it: OSError: File too large"
    submit(server, "again", ANSWER, size=2**21)
    answered(server, "again")
    assert sum("large failed" in told for told in bergen.told) == 1


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("os.write(1, b'x' * 200_000)", "the worker process wrote what is no answer"),
        ("say(order['number'])", "the device cannot do it: FileNotFoundError: No such file"),
        ("(folder / 'reply.body').mkdir(); (folder / 'reply.head').write_bytes(bytes(32)); say(order['number'])", ""),
        (
            "(folder / 'reply.head').write_bytes(bytes(2**17)); (folder / 'reply.body').touch(); say(order['number'])",
            "",
        ),
    ],
    ids=["nonsense on the pipe", "no answer on disk", "an answer that cannot be read", "a head that is too long"],
)
def test_what_goes_wrong_in_one_request_ends_that_request(bergen, server, deed, told):
    submit(server, "wrong", deed)
    failed = event(server, (Failed, Dropped, Arrived))
    assert isinstance(failed, Failed) and told in failed.text, failed
    submit(server, "right", ANSWER)
    answered(server, "right")
    until(lambda: not list(bergen.place.spool.iterdir()))


def test_cancelling_the_first_of_two_requests_leaves_the_second_its_worker(bergen, server):
    submit(server, "first", "(folder / 'at it').touch(); import time; time.sleep(600)")
    until(lambda: list(bergen.place.spool.glob("*/at it")) != [])
    submit(server, "second", ANSWER)
    server.cancel("first", "it is too late")
    answered(server, "second")
    bergen.says("first is cancelled: it is too late")
    until(lambda: not list(bergen.place.spool.iterdir()))
    assert not any("once more" in told or "failed" in told for told in bergen.told)


def test_an_unreadable_certificate_is_told_once_and_renewed_when_it_can_be_read(bergen, server):
    home = bergen.place.home
    for name in ("client.pem", "client.key"):
        (home / name).rename(home / f"{name}.away")
    bergen.says("looking at the certificate failed, and is tried again: cannot read")
    server._carry_out(lambda: server.desk.end("bergen", pb.SHUTDOWN, "for a moment"))
    bergen.says("not connected: cannot read")
    for name in ("client.pem", "client.key"):
        (home / f"{name}.away").rename(home / name)
    event(server, Connected)
    bergen.ahead = 70 * DAY
    bergen.says("the certificate is renewed")
    event(server, Connected)
    assert sum("looking at the certificate" in told for told in bergen.told) == 1
    submit(server, "on", ANSWER)
    answered(server, "on")


@pytest.mark.parametrize(
    "error", [asyncio.InvalidStateError("over"), RuntimeError("can't start new thread"), OSError(5)]
)
def test_a_connection_that_ends_in_any_error_is_followed_by_another_and_work_goes_on(
    bergen, server, monkeypatch, error
):
    hold, failed = Line.hold, threading.Event()

    async def once(line: Line) -> None:
        if not failed.is_set():
            failed.set()
            raise error
        await hold(line)

    go = bergen.place.home / "go"
    wait = (
        f"from pathlib import Path\nimport time\nwhile not Path({str(go)!r}).exists(): time.sleep(0.01)\nreply(order)"
    )
    submit(server, "work", wait)
    monkeypatch.setattr(Line, "hold", once)
    server._carry_out(lambda: server.desk.end("bergen", pb.SHUTDOWN, "for a moment"))
    event(server, Connected)
    bergen.says(f"not connected: {type(error).__name__}: {error}")
    go.touch()
    answered(server, "work")


def test_a_log_that_cannot_be_written_ends_nothing(bergen, server):
    bergen.deaf = True
    server._carry_out(lambda: server.desk.end("bergen", pb.SHUTDOWN, "for a moment"))
    event(server, Connected)
    submit(server, "on", ANSWER)
    answered(server, "on")


def test_only_a_goodbye_that_says_stay_away_ends_it(bergen, server):
    server._carry_out(lambda: server.desk.end("bergen", pb.PROTOCOL, "a slip"))
    event(server, Connected)
    server._carry_out(lambda: server.desk.end("bergen", pb.REVOKED, "you are out"))
    bergen.ends()
    assert str(bergen.error) == "you are out" and bergen.error.exit_code == 3
