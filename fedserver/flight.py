"""Clients at work across rounds: keeps so many of them busy, and makes a total of the next answers that come in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from hansa.fedlink.messages import Calls
from hansa.fedserver.asynchronous import Asynchronous
from hansa.fedserver.errors import RunFailed
from hansa.fedserver.exchange import Exchange
from hansa.fedserver.federation import CAME, Standing
from hansa.fedserver.records import Refusal, RoundRecord
from hansa.fedserver.selection.there import There
from hansa.fedserver.tally import Tally
from hansa.strategies import Context, Released, Request
from hansa.strategies.keys import derive
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array


@dataclass(kw_only=True)
class Flight:
    """The training of an asynchronous run. ``at_work`` has the calls that each busy client is at."""

    exchange: Exchange
    federation: Standing
    policy: Asynchronous
    at_work: dict[str, Calls] = field(default_factory=dict)
    _round: int = 0
    """The last round that was asked for."""

    def answer(self, request: Request, record: RoundRecord, fitted: Array) -> Released:
        """Let idle clients begin with the request's payload, and release the next answers of all who are at work.

        Raises RoundLost where fewer than cohort.min come, and RunFailed for a round's second request.
        """
        if self._round == record.round:
            raise RunFailed(
                f"round {record.round} asks clients to train twice, which an asynchronous round cannot: leave "
                "cohort=asynchronous out, or choose another strategy."
            )
        self._round = record.round
        buffer = _Buffer(self, request, record, fitted)
        busy = tuple(sorted(self.at_work))
        self.exchange.watch.opened(record, request.endpoint, busy, self.policy.buffer)
        buffer.begin()
        record.cohort = len(self.at_work)
        buffer.fill()
        return buffer.release()

    def free(self, names: Names) -> Names:
        """Return those of some clients who are not at work."""
        return tuple(name for name in names if name not in self.at_work)

    def stop(self) -> None:
        """Take back what clients are at work on."""
        self.at_work.clear()
        self.federation.stop()


class _Buffer:
    """One round's answers as they come in; ``turns`` are the clients that answered or failed in it."""

    def __init__(self, flight: Flight, request: Request, record: RoundRecord, fitted: Array) -> None:
        self.flight, self.record, self.exchange = flight, record, flight.exchange
        self.ctx, self.call = self.exchange.open(request, record, fitted)
        self.tally = self.exchange.tally(Calls(self.call, (), {}), self.ctx)
        self.turns, self.begun = set[str](), 0

    def begin(self) -> None:
        """Let clients begin that are neither at work nor had their turn in this round, as many as are missing."""
        policy, at_work = self.flight.policy, self.flight.at_work
        if (size := None if policy.size is None else policy.size - len(at_work)) == 0:
            return
        key = derive(self.ctx.own, "next", self.begun) if self.begun else self.ctx.own
        busy = at_work.keys() | self.turns
        if not (names := drawn(self.flight.federation.around(), busy, replace(self.ctx, own=key), size)):
            return
        self.begun += len(names)
        calls = self.exchange.to(self.call, names, self.record)
        at_work |= dict.fromkeys(names, calls)
        self.exchange.watch.joined(self.record, names)
        self.flight.federation.start(calls, policy.deadline)

    def fill(self) -> None:
        """Take answers until the buffer is full or nobody is at work; those that are refused leave their place."""
        while missing := self.flight.policy.buffer - len(self.tally.totals.names):
            if not (done := self._done(missing)):
                self._take(Calls(self.call, (), {}), self.tally)  # the time of those who failed
                return
            for tag in sorted({calls.call.tag for calls in done.values()}):
                self._collect({name: calls for name, calls in done.items() if calls.call.tag == tag})

    def release(self) -> Released:
        """Release the total; see ``Exchange.release``."""
        if stale := self.record.staleness:
            self.record.metrics["staleness"] = sum(stale.values()) / len(stale)
        turns, least = tuple(sorted(self.turns)), self.flight.policy.min
        return self.exchange.release(self.tally, self.ctx, self.record, turns, least)

    def _done(self, most: int) -> dict[str, Calls]:
        """Wait for so many answers, or for all that still come; return what each client answers."""
        done: dict[str, Calls] = {}
        while len(done) < most:
            self.begin()
            if (ended := self.flight.federation.next()) is None:
                break
            if ended is CAME:
                continue
            calls = self.flight.at_work.pop(ended.client)
            self.turns.add(ended.client)
            if ended.why:
                self.exchange.refuse(Refusal(ended.client, ended.why), self.record)
            else:
                done[ended.client] = calls
                self.exchange.watch.answered(self.record, ended.client)
        return done

    def _collect(self, done: Mapping[str, Calls]) -> None:
        """Add the answers to one request."""
        call, names = next(iter(done.values())).call, tuple(sorted(done))
        staleness = self.record.round - call.round
        counted = {name: done[name].counted[name] for name in names if name in done[name].counted}
        calls = Calls(call, names, counted, self.flight.policy.fade(staleness))
        tally = self.exchange.tally(calls, replace(self.ctx, round=call.round, request=call.request))
        self._take(calls, tally)
        self.exchange.count(tally)
        self.tally.merge(tally.part())
        self.record.staleness |= dict.fromkeys(sorted(tally.totals.names), staleness)

    def _take(self, calls: Calls, tally: Tally) -> None:
        for came in self.flight.federation.collect(calls):
            self.exchange.take(came, tally, self.record)
            del came  # its row must be gone before the next one comes


def drawn(there: There, busy: Collection[str], ctx: Context, size: int | None) -> Names:
    """Draw so many of those who are there and not busy, uniformly without replacement; all, where no size is given.

    Of a uniform draw those who are not busy are one too, and so are some of them.
    """
    if size is None:
        return tuple(name for name in there.all() if name not in busy)
    free = tuple(name for name in there.sample(ctx, size + len(busy)) if name not in busy)
    return free if len(free) <= size else replace(ctx, own=derive(ctx.own, "free")).sample(free, size)
