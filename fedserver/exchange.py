"""One request and its answers: sends calls, screens replies, and builds a total as they come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hansa.fedlink.messages import SETTLE, Call, Calls, Reply, Tag
from hansa.fedserver.federation import Federation
from hansa.fedserver.job import Job
from hansa.fedserver.policy import Pace, Wait
from hansa.fedserver.records import RoundRecord, Watcher
from hansa.fedserver.tally import Part, Tally
from hansa.strategies import Context, Released, Request, RoundLost, Totals
from hansa.strategies.pipeline import Names
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
    _told: dict[str, Tag] = field(default_factory=dict)

    def context(self, round: int, request: int = 0) -> Context:
        """Return the coordinator's context of a request."""
        return Context(round=round, request=request, public=self.public, own=self.own)

    def answer(self, request: Request, record: RoundRecord, names: Names, fitted: Array) -> Released:
        """Send a request to the named clients and release the total of their rows; it takes O(total) memory.

        Raises RoundLost where fewer than cohort.min rows could be counted.
        """
        end, ctx = self.job.endpoints[request.endpoint], self.context(record.round, record.requests)
        record.requests += 1
        calls = self._calls(request.endpoint, request.payload, names, (ctx.round, ctx.request), fitted)
        tally = Tally.of(end, ctx, calls, names, self.job.settings)
        self.watch.opened(record, request.endpoint, names)
        record.bytes_down += len(names) * (fitted.nbytes + sum(array.nbytes for array in request.payload.values()))
        cohort = self.job.cohort
        wanted = cohort.expected(len(names)) if request.to == "cohort" and cohort.over else len(names)
        for came in self.federation.ask(calls, cohort.wait(request.endpoint, self.pace, wanted)):
            self._take(came, tally, record)
            del came  # its row must be gone before the next one comes
        record.bytes_up += tally.bytes_up
        self.counted |= dict.fromkeys(tally.staged, (ctx.round, ctx.request))
        self._enough(tally.totals, names, record)
        return end.release(tally.totals, ctx)

    def forget(self, before: Mapping[str, Tag]) -> None:
        """Go back to whom was counted before a lost round, but for clients that know already that they were."""
        told = {name: tag for name, tag in self._told.items() if tag > before.get(name, (0, 0))}
        self.counted = {**before, **told}

    def settle(self, round: int) -> None:
        """Tell clients with a state that the run is over, so that they keep what was counted."""
        calls = self._calls(SETTLE, {}, tuple(sorted(self.counted)), (round, 0), None)
        for _ in self.federation.ask(calls, Wait(deadline=self.job.cohort.deadline)):
            pass

    def _calls(self, endpoint: str, payload: Tree, names: Names, tag: Tag, fitted: Array | None) -> Calls:
        counted = {name: self.counted[name] for name in names if name in self.counted} if self.counted else {}
        self._told |= counted
        call = Call(
            endpoint=endpoint,
            run=self.run,
            round=tag[0],
            request=tag[1],
            digest=self.job.digest,
            payload=payload,
            fitted=fitted if fitted is not None and fitted.size else None,
        )
        return Calls(call, names, counted)

    def _take(self, came: Reply | Part, tally: Tally, record: RoundRecord) -> None:
        if isinstance(came, Part):
            tally.merge(came)
            left_out, done = came.refused, came.done
            if came.virtual is not None:
                record.add_time(came.virtual)
        else:
            refusal = tally.take(came)
            left_out, done = ([refusal], []) if refusal else ([], [came.client])
        for refusal in left_out:
            record.refused.append(refusal)
            self.watch.refused(record, refusal)
        for name in done:
            self.watch.answered(record, name)

    def _enough(self, totals: Totals, names: Names, record: RoundRecord) -> None:
        if len(totals.names) >= min(self.job.cohort.min, len(names)) and totals.names:
            return
        refused = {refusal.client: refusal.why for refusal in record.refused}
        told = [f"{name}: {refused.get(name, 'no answer')}" for name in names if name not in totals.names]
        raise RoundLost(
            f"{len(totals.names)} of {len(names)} clients answered and cohort.min={self.job.cohort.min}; "
            f"missing {'; '.join(told[:3])}{f' and {len(told) - 3} more' if len(told) > 3 else ''}."
        )
