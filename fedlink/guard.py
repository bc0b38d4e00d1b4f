"""What keeps peers from holding more of the coordinator than is theirs: it carries out what ``connections`` decides."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from hansa.fedlink.connections import Connections, Rate, Rules
from hansa.fedlink.memory import give_back
from hansa.fedlink.sockets import Gate, Sockets

GLANCE, REST = 0.25, 1.0
"""Seconds between two looks while there are strangers, and else."""
CALM = 10.0
"""Seconds without a line that was ended after which memory is given back."""
SPARE = 4
"""The part of the files that this process may open which no line gets, so that a run can always open its own."""


def most_files() -> int:
    """Return how many files this process may have open."""
    if sys.platform == "win32":
        return 8192
    import resource

    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 2**20)


def most_lines() -> int:
    """Return how many lines this process may have: the rest of its files is for the run."""
    files = most_files()
    return files - min(files // SPARE, 256)


@dataclass(eq=False)
class Guard:
    """Looks after the lines of one server, from its event loop; ``knock`` alone is for any thread."""

    clock: Callable[[], float]
    lines: Connections = field(init=False)
    _sockets: Sockets = field(default_factory=lambda: Sockets(0))
    _gates: list[Gate] = field(default_factory=list)
    _one: threading.Lock = field(default_factory=threading.Lock)
    _ended: float | None = None
    """When the last line was ended after which memory was not given back."""

    def __post_init__(self) -> None:
        burst = min(Rules.strangers.burst, most_files() // SPARE)
        rules = Rules(strangers=Rate(burst=burst, every=Rules.strangers.every))
        self.lines = Connections(self.clock(), rules)

    def start(self, port: int) -> None:
        """Begin to look after the lines at a port."""
        self._sockets = Sockets(port)
        with self._one:
            self._gates = self._sockets.gates()

    def stop(self) -> None:
        """Leave the sockets to gRPC; call it before gRPC closes them."""
        with self._one:
            for gate in self._gates:
                gate.stop()
            self._gates = []

    def knock(self) -> None:
        """Say that a stranger is at the door, before anything is done for it."""
        with self._one:
            self.lines.strangers.give(-1)
            if self.lines.strangers.left < 0:
                self._close()

    async def watch(self) -> None:
        """Look after the lines until cancelled."""
        looked = self.clock()
        while True:
            pause = GLANCE if self.lines.restless or self._closed else REST
            if (now := self.clock()) - looked >= pause:
                looked = now
                self.look()
            self._let_in(now)
            await asyncio.sleep(1 / Rules.strangers.every if self._closed else pause)

    def look(self) -> None:
        """End the lines that are to be ended."""
        there, now = self._sockets.lines(), self.clock()
        if there is None:
            there = {address: line.heard for address, line in self.lines.lines.items() if line.busy}
        with self._one:
            ended = self.lines.look(there, now)
        if ended:
            self._sockets.end(ended)
            self._ended = now
        elif self._ended is not None and now - self._ended > CALM and not self._closed:
            self._ended = None
            give_back()

    def _let_in(self, now: float) -> None:
        """Open the door where it is closed and a stranger may come again."""
        with self._one:
            strangers = self.lines.strangers
            strangers.take(now, 0)
            if self._closed and strangers.left >= 1:
                for gate in self._gates:
                    gate.open()
                    strangers.give(1)  # for the bell

    def begin(self, address: str) -> bool:
        """As ``Connections.begin``; a line that has had too many calls is ended here and now."""
        with self._one:
            allowed = self.lines.begin(address, self.clock())
        if not allowed:
            self.look()
        return allowed

    def end(self, address: str) -> None:
        """As ``Connections.end``."""
        self.lines.end(address, self.clock())

    def admit(self, address: str, client: str, kind: str) -> bool:
        """As ``Connections.admit``."""
        with self._one:
            return self.lines.admit(address, client, kind, self.clock())

    def use(self, address: str, size: float) -> None:
        """As ``Connections.use``."""
        self.lines.use(address, size)

    @property
    def _closed(self) -> bool:
        return any(gate.shut for gate in self._gates)

    def _close(self) -> None:
        for gate in self._gates:
            if not gate.shut:
                gate.close()
