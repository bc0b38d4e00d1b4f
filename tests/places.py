"""Small runs for tests: a job from settings, its federation, and one that tampers with replies."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hansa.conf.compose import compose
from hansa.conf.run import Run, assemble
from hansa.fedclient.state import MemoryStates, States
from hansa.fedlink.messages import Call, Calls, Reply
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.federation import Ended, Federation
from hansa.fedserver.policy import Wait
from hansa.fedserver.records import Refusal, RoundRecord
from hansa.fedserver.selection.there import Present
from hansa.simulations.inline import Inline
from hansa.strategies import Request
from hansa.strategies.keys import from_seed
from hansa.strategies.pipeline import Names

HOSPITALS = ("cleveland", "hungary", "switzerland", "va_long_beach")


@dataclass
class Told:
    """A watcher that remembers refusals."""

    refusals: list[Refusal] = field(default_factory=list)

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None: ...

    def joined(self, record: RoundRecord, names: Names) -> None: ...

    def answered(self, record: RoundRecord, client: str) -> None: ...

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        self.refusals.append(refusal)


@dataclass
class Tampered:
    """Hands every reply to ``change``, which gives back the replies that arrive in its place."""

    inner: Inline
    change: Callable[[Reply, Call], list[Reply]]

    def population(self) -> Names:
        return self.inner.population()

    def ask(self, calls: Mapping[str, Call], wait: Wait) -> Iterator[Reply]:
        for reply in self.inner.ask(calls, wait):
            yield from self.change(reply, calls[reply.client])


@dataclass
class Replayed:
    """A ``Standing`` federation whose clients answer as a log says, round by round, whenever they really answered."""

    inner: Inline
    log: deque[str]

    def population(self) -> Names:
        return HOSPITALS

    def around(self) -> Present:
        return Present(HOSPITALS)

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Reply]:
        return self.inner.ask(calls, wait)

    def start(self, calls: Calls, deadline: float | None) -> None: ...

    def next(self) -> Ended:
        return Ended(self.log.popleft())

    def collect(self, calls: Calls) -> Iterator[Reply]:
        return self.inner.ask(calls, Wait())

    def stop(self) -> None: ...


def run_of(*settings: str) -> Run:
    return assemble(*compose(["task=heart_disease", "rounds=3", "evaluation.every=0", *settings]))


def inline(run: Run, names: Names = HOSPITALS, states: States | None = None) -> Inline:
    return Inline(run.site(states or MemoryStates(), from_seed(run.job.seed, "client")), names)


def coordinator(run: Run, federation: Federation | None = None) -> Coordinator:
    return Coordinator(
        job=run.job,
        federation=federation or inline(run),
        run="run",
        own=from_seed(run.job.seed, "coordinator"),
        clock=time.perf_counter,
        watch=Told(),
    )


def calls_of(playing: Coordinator, endpoint: str, names: Names, round: int = 1) -> Calls:
    """Return a round's first request to some clients, about the model as it is now."""
    record = RoundRecord(round=round, cohort=len(names))
    request = Request(endpoint=endpoint, payload=dict(playing.state))
    _, call = playing.exchange.open(request, record, playing.fitted)
    return playing.exchange.to(call, names, record)


def replayed(run: Run, log: deque[str]) -> Coordinator:
    """Return the coordinator of an asynchronous run whose clients answer by a log."""
    return coordinator(run, Replayed(inline(run), log))
