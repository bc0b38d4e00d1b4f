"""One request and its answers: sends calls, screens replies, and builds a total as they come."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hansa.fedlink.messages import SETTLE, Call, Calls, Reply, Tag
from hansa.fedserver.attendance import Attendance
from hansa.fedserver.federation import Federation
from hansa.fedserver.job import Job
from hansa.fedserver.policy import Pace, Wait
from hansa.fedserver.records import Refusal, RoundRecord, Watcher
from hansa.fedserver.tally import Part, Tally
from hansa.strategies import Context, Released, Request, RoundLost, Totals
from hansa.strategies.pipeline import Names
from hansa.strategies.strategy import trains
from hansa.strategies.types import Array, Tree


@dataclass(kw_only=True)
class Exchange:
    """The coordinator's side of all requests of a run; remembers which client was last counted with a state."""

    job: Job
    federation: Federation
    run: str
    public: bytes
    own: bytes
    watch: Watcher
    counted: dict[str, Tag] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    attendance: Attendance = field(default_factory=Attendance)
    _told: dict[str, Tag] = field(default_factory=dict)

    def context(self, round: int, request: int = 0) -> Context:
        """Return the coordinator's context of a request."""
        return Context(round=round, request=request, public=self.public, own=self.own)

    def answer(self, request: Request, record: RoundRecord, names: Names, fitted: Array) -> Released:
        """Send a request to the named clients and release the total of their rows; it takes O(total) memory.

        Raises RoundLost where fewer than cohort.min rows could be counted.
        """
        ctx, call = self.open(request, record, fitted)
        calls = self.to(call, names, record)
        tally = self.tally(calls, ctx)
        wait = self.job.cohort.wait(request.endpoint, self.pace, len(names), request.to == "cohort")
        self.watch.opened(record, request.endpoint, names, wait.wanted or len(names))
        for came in self.federation.ask(calls, wait):
            for name in self.take(came, tally, record, wait.spared):
                self.watch.answered(record, name)
            del came  # its row must be gone before the next one comes
        self.count(tally)
        return self.release(tally, ctx, record, names, min(self.job.cohort.min, len(names)))

    def open(self, request: Request, record: RoundRecord, fitted: Array) -> tuple[Context, Call]:
        """Begin a round's next request; return its context and the call to each of its clients."""
        ctx = self.context(record.round, record.requests)
        record.requests += 1
        return ctx, self._call(request.endpoint, request.payload, (ctx.round, ctx.request), fitted)

    def to(self, call: Call, names: Names, record: RoundRecord) -> Calls:
        """Address a call to clients, with what each of them has to know."""
        sent = [*call.payload.values(), *([] if call.fitted is None else [call.fitted])]
        record.bytes_down += len(names) * sum(array.nbytes for array in sent)
        if trains(call.endpoint):
            self.attendance.asked(names)
        return self._calls(call, names)

    def tally(self, calls: Calls, ctx: Context) -> Tally:
        """Begin the total of the answers to some calls."""
        return Tally.of(self.job.endpoints[calls.call.endpoint], ctx, calls, calls.names, self.job.settings)

    def take(
        self, came: Reply | Part, tally: Tally, record: RoundRecord, spared: Collection[str] = ()
    ) -> Sequence[str]:
        """Add what a federation yields; write down who is left out or was not needed, and return who is done."""
        if isinstance(came, Part):
            tally.merge(came)
            left_out, done = came.refused, came.done
            if came.virtual is not None:
                record.add_time(came.virtual)
        else:
            refusal = tally.take(came)
            left_out, done = ([refusal], []) if refusal else ([], [came.client])
        for refusal in left_out:
            if refusal.client in spared:
                record.not_needed.append(refusal.client)
                self.attendance.refused(refusal)
            else:
                self.refuse(refusal, record)
        return done

    def refuse(self, refusal: Refusal, record: RoundRecord) -> None:
        """Write down that a client is left out."""
        record.refused.append(refusal)
        self.attendance.refused(refusal)
        self.watch.refused(record, refusal)

    def count(self, tally: Tally) -> None:
        """Remember whose states are counted, by the request that they answered."""
        self.counted |= dict.fromkeys(tally.staged, tally.calls.call.tag)

    def release(self, tally: Tally, ctx: Context, record: RoundRecord, names: Names, least: int) -> Released:
        """Release the total of clients of these names; raises RoundLost where fewer than ``least`` are in it."""
        record.bytes_up += tally.bytes_up
        self._enough(tally.totals, names, least, record)
        return tally.end.release(tally.totals, ctx)

    def forget(self, before: Mapping[str, Tag]) -> None:
        """Go back to whom was counted before a lost round, but for clients that know already that they were."""
        told = {name: tag for name, tag in self._told.items() if tag > before.get(name, (0, 0))}
        self.counted = {**before, **told}

    def settle(self, round: int) -> None:
        """Tell clients with a state that the run is over, so that they keep what was counted."""
        calls = self._calls(self._call(SETTLE, {}, (round, 0), None), tuple(sorted(self.counted)))
        for _ in self.federation.ask(calls, Wait(deadline=self.job.cohort.deadline)):
            pass

    def _call(self, endpoint: str, payload: Tree, tag: Tag, fitted: Array | None) -> Call:
        return Call(
            endpoint=endpoint,
            run=self.run,
            round=tag[0],
            request=tag[1],
            digest=self.job.digest,
            payload=payload,
            fitted=fitted if fitted is not None and fitted.size else None,
        )

    def _calls(self, call: Call, names: Names) -> Calls:
        counted = {name: self.counted[name] for name in names if name in self.counted} if self.counted else {}
        self._told |= counted
        return Calls(call, names, counted)

    def _enough(self, totals: Totals, names: Names, least: int, record: RoundRecord) -> None:
        if len(totals.names) >= least and totals.names:
            return
        refused = {refusal.client: refusal.why for refusal in record.refused}
        told = [f"{name}: {refused.get(name, 'no answer')}" for name in names if name not in totals.names]
        some = f"missing {'; '.join(told[:3])}{f' and {len(told) - 3} more' if len(told) > 3 else ''}"
        raise RoundLost(
            f"{len(totals.names)} of {len(names)} clients answered and cohort.min={self.job.cohort.min}; "
            f"{some if told else 'start more clients'}."
        )
