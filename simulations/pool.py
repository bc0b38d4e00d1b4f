"""Forked worker processes, which stay, and are replaced when they die.

A worker begins as a copy of this process: it has the model, the task and the data that are in memory, and nothing needs
to be pickled. It ends with this process, however that ends. A job is a number of items; each worker takes the next one
as long as there are some, tells of it if its crew does, and in the end sends one result for all that it did.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

from hansa.fedlink.memory import keep_all
from hansa.simulations.claims import Claims, claims_plan
from hansa.simulations.errors import EngineError, WorkerDied
from hansa.simulations.line import HungUp, Line
from hansa.simulations.sheet import Plan, Sheet

LOOK = 0.1
"""Seconds between two looks at how far a job is."""
DEATHS = 2
"""Workers that may die over one item before the run ends."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_DIES = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class Job(Protocol):
    """What is to be done; it is pickled."""

    def told(self, item: int) -> str:
        """Name an item."""
        ...


class Crew(Protocol):
    """What a worker does with a job; it lives in the worker."""

    def start(self, job: Any, shared: Sequence[Sheet], own: Sheet) -> None:
        """Begin a job, with the sheets that all see and one of its own."""
        ...

    def do(self, item: int) -> Any:
        """Do one item; return what is to be told of it at once, if anything."""
        ...

    def finish(self) -> Any:
        """End the job; return what it came to."""
        ...


class Done(NamedTuple):
    """Items that are done by now."""

    items: list[int]


class Lost(NamedTuple):
    """Items whose worker died; they are done once more, from nothing."""

    items: list[int]


class Told(NamedTuple):
    """What a crew told of one item; once more, where its worker died since."""

    value: Any


class Result(NamedTuple):
    """What a worker's share of a job came to."""

    value: Any
    own: Sheet


Event: TypeAlias = Done | Lost | Told | Result


class _Word(NamedTuple):
    """What a worker says: of one item, or ``last`` of its share; or the traceback of an error."""

    value: Any = None
    last: bool = True
    error: str | None = None


@dataclass
class _Member:
    """One worker; ``number`` counts from 1 and is never given again."""

    number: int
    process: int
    line: Line


@dataclass
class _Share:
    """What a worker is at: some of the items, its own sheet, and which items are told."""

    items: list[int]
    claims: Claims
    own: Sheet


@dataclass
class Pool:
    """Some workers with a copy each of ``crew``. Close it, whatever happens."""

    crew: Crew
    size: int
    clock: Callable[[], float] = time.monotonic
    _members: list[_Member] = field(default_factory=list)
    _born: int = 0

    def __post_init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise EngineError("federation=processes needs Linux: choose federation=inline.")

    def work(
        self, job: Job, items: int, shared: Sequence[Sheet], own: Plan, seconds: float | None = None
    ) -> Iterator[Event]:
        """Do a job's items, until ``seconds`` are over; each worker gets a sheet of its own by the plan ``own``.

        Raises WorkerDied where workers die over one item, and what a crew raises.
        """
        while len(self._members) < self.size:
            self._members.append(self._fork())
        yield from _Work(self, job, shared, own, None if seconds is None else self.clock() + seconds).all(items)

    def drop(self, member: _Member) -> None:
        """End a worker; the next job begins with another."""
        os.kill(member.process, signal.SIGKILL)
        os.waitpid(member.process, 0)
        member.line.close()
        self._members.remove(member)

    def replace(self, member: _Member) -> tuple[_Member, str]:
        """Bury a worker and fork another in its place; return it, and how the first one ended."""
        member.line.close()
        _, status = os.waitpid(member.process, 0)
        fresh = self._fork()
        self._members[self._members.index(member)] = fresh
        code = os.waitstatus_to_exitcode(status)
        return fresh, f"signal {-code}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        while self._members:
            self.drop(self._members[0])

    def _fork(self) -> _Member:
        ours, theirs = Line.pair()
        self._born += 1
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # else a worker might be born into the parent's end
        if (process := os.fork()) == 0:
            self._begin(ours, theirs, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Member(self._born, process, ours)

    def _begin(self, ours: Line, theirs: Line, parent: int) -> NoReturn:
        """Be a worker; nothing of the process that forked it may run here."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(0)
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)  # they are for the parent, which ends the workers
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            os.dup2(2, 1)  # standard output is for the run's last line
            ours.close()
            for member in self._members:
                member.line.close()
            keep_all()
            code = _serve(self.crew, theirs, self._born)
        finally:
            os._exit(code)


def _serve(crew: Crew, line: Line, number: int) -> int:
    """Do jobs until the line ends."""
    while True:
        try:
            (job, plans, items), files = line.receive()
        except HungUp:
            return 0
        claims, own, *shared = (Sheet.of(file, places) for file, places in zip(files, plans, strict=True))
        try:
            crew.start(job, shared, own)
            _do(crew, items, Claims(claims), line, number)
            word = _Word(crew.finish())
        except MemoryError:
            return 137
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
            word = _Word(error="".join(traceback.format_exception(error)))
        for file in files:
            os.close(file)
        line.send(word)


def _do(crew: Crew, items: list[int], claims: Claims, line: Line, number: int) -> None:
    while (taken := claims.take(number)) is not None:
        told = crew.do(items[taken])
        claims.done[taken] = True
        if told is not None:
            line.send(_Word(told, last=False))


@dataclass
class _Work:
    """One job at a pool, from its first item to its last result."""

    pool: Pool
    job: Job
    shared: Sequence[Sheet]
    own: Plan
    end: float | None
    shares: dict[int, tuple[_Member, _Share]] = field(default_factory=dict)
    opened: list[Claims] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    deaths: dict[int, int] = field(default_factory=dict)

    def all(self, items: int) -> Iterator[Event]:
        try:
            self._give(list(range(items)), self.pool._members[: max(1, items)])
            while self.shares:
                yield from self._look()
        finally:
            for member, share in self.shares.values():  # the job was given up
                share.own.close()
                self.pool.drop(member)
            for claims in self.opened:
                claims.close()

    def _give(self, items: list[int], members: Sequence[_Member]) -> None:
        claims = Claims(Sheet.new(claims_plan(len(items))))
        self.opened.append(claims)
        for member in members:
            own = Sheet.new(self.own)
            sheets = [claims.sheet, own, *self.shared]
            self.shares[member.number] = member, _Share(items, claims, own)
            try:
                member.line.send((self.job, [s.plan for s in sheets], items), [s.file for s in sheets])
            except HungUp:
                continue  # it died between two jobs; the next look finds it

    def _look(self) -> Iterator[Event]:
        lines = {member.line.socket: member for member, _ in self.shares.values()}
        ready, _, _ = select.select(list(lines), [], [], LOOK)
        if self.end is not None and self.pool.clock() >= self.end:
            for _, share in self.shares.values():
                share.claims.finish()
        if fresh := self._fresh():
            yield Done(fresh)
        for socket in ready:
            yield from self._hear(lines[socket])

    def _fresh(self) -> list[int]:
        """Return the items that are done and were not told of yet."""
        done = {s.items[i] for _, s in self.shares.values() for i in s.claims.done.nonzero()[0].tolist()}
        fresh = sorted(done - self.told)
        self.told |= done
        return fresh

    def _hear(self, member: _Member) -> Iterator[Event]:
        try:
            word, _ = member.line.receive()
        except HungUp:
            yield Lost(self._bury(member))
            return
        if word.error is not None:
            raise EngineError(f"a worker failed outside of any client's work: {word.error}")
        if not word.last:
            yield Told(word.value)
            return
        _, share = self.shares.pop(member.number)
        share.own.close()
        yield Result(word.value, share.own)

    def _bury(self, member: _Member) -> list[int]:
        """Let a fresh worker do again what a dead one had; return those items."""
        _, share = self.shares.pop(member.number)
        share.own.close()
        fresh, how = self.pool.replace(member)
        claimed = (share.claims.owner == member.number).nonzero()[0].tolist()
        for item in (share.items[i] for i in claimed if not share.claims.done[i]):
            self.deaths[item] = self.deaths.get(item, 0) + 1
            if self.deaths[item] >= DEATHS:
                raise WorkerDied(
                    f"{DEATHS} worker processes ended ({how}) over {self.job.told(item)}: if "
                    "memory is short, lower workers; debug=true shows what happens."
                )
        mine = [share.items[i] for i in claimed]
        self._give(mine, [fresh])
        return mine
