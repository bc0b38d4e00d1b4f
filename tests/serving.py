"""A coordinator's server for tests: in this process, where what happens can be waited for, or in one of its own.

As a program (``python -m tests.serving FOLDER``) it gives each client that connects one request with a large body, says
its port on the first line, and each answer on another, until its standard input is closed.
"""

from __future__ import annotations

import hashlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hansa.conf.main import GRPC
from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.protocol import Desk, Limits, Work
from hansa.fedlink.protocol.effects import Connected
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived, Told
from tests.devices import Caller, Plant, Raw, channel

SECONDS = 20.0
LARGE = 2**25
Event = TypeVar("Event", bound=Told)


@dataclass(frozen=True)
class Memory:
    """A request's body in memory."""

    content: bytes

    def pieces(self, start: int, longest: int) -> Iterator[memoryview]:
        for at in range(start, len(self.content), longest):
            yield memoryview(self.content)[at : at + longest]

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.content).digest() if self.content else b""


@dataclass(eq=False)
class Serving:
    """A server, and what has happened so far."""

    server: Server
    plant: Plant | None
    happened: list[Told] = field(default_factory=list)
    ending: list[Callable[[], None]] = field(default_factory=list)

    def raw(self, name: str = "bergen", side: Any = None) -> Raw:
        """Connect a device that misbehaves; it has said nothing yet."""
        if self.plant is None:
            raw = Raw(channel(self.server.port, None), (("hansa-client", name),))
        else:
            raw = Raw(channel(self.server.port, self.plant.ca, side or self.plant.side(name)))
        self.ending.append(raw.close)
        return raw

    def caller(self, name: str, work: Any, **fields: Any) -> Caller:
        """Connect a device that behaves."""
        caller = Caller.of(self.server.port, name, work, self.plant)
        for key, value in fields.items():
            setattr(caller, key, value)
        self.ending.append(caller.call().drop)
        return caller

    def submit(self, name: str, request_id: str, body: bytes = b"", limit: int = 2**26) -> None:
        memory = Memory(body)
        work = Work(request_id=request_id, size=len(body), sha256=memory.sha256, answer_limit=limit)
        self.server.submit(name, work, memory)

    def until(self, kind: type[Event], **fields: Any) -> Event:
        """Wait until such a thing has happened; what was waited for once does not count again."""
        end = time.monotonic() + SECONDS
        while True:
            for event in self.happened:
                if isinstance(event, kind) and all(getattr(event, key) == value for key, value in fields.items()):
                    self.happened.remove(event)
                    return event
            try:
                self.happened.append(self.server.events.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no {kind.__name__} of {fields} in {self.happened}") from None


@contextmanager
def serving(
    plant: Plant | None, spool: Path, wall: Callable[[], float] = time.time, **limits: float
) -> Iterator[Serving]:
    """Listen on loopback."""
    desk = Desk(software="test", run="run", limits=Limits(**limits))  # type: ignore[arg-type]
    folder = None if plant is None else plant.folder
    with Server(desk=desk, address="127.0.0.1:0", folder=folder, spool=spool, wall=wall) as server:
        there = Serving(server, plant)
        try:
            yield there
        finally:
            for end in there.ending:
                end()
            for event in there.happened:
                if isinstance(event, Arrived):
                    event.close()


@dataclass(eq=False)
class Program:
    """The server in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def memory(self) -> int:
        """Return the bytes of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def program(folder: Path, errors: Path) -> Iterator[Program]:
    """Start the server in a process of its own, and end it."""
    command = [sys.executable, "-m", "tests.serving", str(folder)]
    root, environment = Path(__file__).parents[1], {k: v for k, v in os.environ.items() if k not in GRPC}
    with errors.open("w") as err:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True
        )
    with process:
        there = Program(process, 0)
        there.port = int(there.line())
        yield there
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(SECONDS) == 0, errors.read_text()


def _wait_for_the_end(events: queue.SimpleQueue[Any]) -> None:
    sys.stdin.read()
    events.put(None)


def main(folder: Path) -> None:
    spool, body = Path(tempfile.mkdtemp()), Memory(os.urandom(LARGE))
    desk = Desk(software="test", run="run")
    with Server(desk=desk, address="127.0.0.1:0", folder=ServerFolder(path=folder), spool=spool) as server:
        print(server.port, flush=True)
        threading.Thread(target=_wait_for_the_end, args=[server.events], daemon=True).start()
        while (event := server.events.get()) is not None:
            if isinstance(event, Connected):
                request = Work(request_id=event.name, size=LARGE, sha256=body.sha256, answer_limit=LARGE)
                server.submit(event.name, request, body)
            elif isinstance(event, Arrived):
                print(event.name, event.size, flush=True)
                server.finish(event.request_id)
                event.close()
    spool.rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
