"""The federation of worker processes: the model in shared memory, and one partial total back from each worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hansa.fedlink.messages import SETTLE, Calls
from hansa.fedserver.policy import Wait
from hansa.fedserver.tally import Part
from hansa.simulations.bench import Bench, Folded, parted
from hansa.simulations.pool import Done, Lost, Pool, Result
from hansa.simulations.sheet import Plan, Sheet, copied, plan
from hansa.strategies import Endpoint, Totals, exact
from hansa.strategies.pipeline import Names


@dataclass
class Processes:
    """A ``Federation`` of ``workers`` forked processes; the total is the same to the bit for any number of them.

    A worker takes clients in blocks of ``block``, which count for a ``Trainer`` that trains side by side.
    """

    bench: Bench
    names: Names
    workers: int
    block: int = 1
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = Pool(self.bench, self.workers)

    def population(self) -> Names:
        return self.names

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Part]:
        request = _Request(self.bench, calls, self.block)
        try:
            for event in self.pool.work(request.job, request.job.items, request.shared, request.own, wait.deadline):
                if isinstance(event, Done):
                    yield Part(done=request.clients(event.items))
                elif isinstance(event, Lost):
                    request.lose(event)
                elif isinstance(event, Result):
                    request.add(event)
            if calls.call.endpoint != SETTLE:
                yield request.part()
        finally:
            for sheet in request.shared:
                sheet.close()

    def close(self) -> None:
        self.pool.close()


class _Request:
    """One request on its way through the workers."""

    def __init__(self, bench: Bench, calls: Calls, block: int) -> None:
        self.calls, call = calls, calls.call
        self.job, arrays = parted(calls, block)
        self.shared = [copied(arrays)]
        self.own: Plan = {}
        self.totals: Totals | None = None
        self.folded: list[Folded] = []
        if call.endpoint != SETTLE:
            self._lay_out(bench.site.endpoints[call.endpoint])

    def _lay_out(self, end: Endpoint) -> None:
        """Give each worker room for its sums; rows have one writer each, so that one room is enough for all."""
        self.spec, groups = end.pipeline.wire, end.aggregator.groups
        sums = plan({"sum": ((groups or len(self.calls), self.spec.dim), exact.kind(self.spec))})
        if groups:
            self.own = sums
        else:
            self.shared.append(Sheet.new(sums))
            self.totals = end.aggregator.empty(self.spec, self.job.names, self.shared[1].array("sum"))

    def clients(self, items: Sequence[int]) -> list[str]:
        """Return the clients of some blocks."""
        return [name for item in items for name in self.job.clients(item)]

    def lose(self, lost: Lost) -> None:
        """Forget what a dead worker may have written of these clients' rows."""
        if self.totals is not None and not self.own:
            block = self.job.block
            for item in lost.items:
                self.totals.sum_GD[item * block : (item + 1) * block] = 0

    def add(self, result: Result) -> None:
        share: Folded = result.value
        self.folded.append(share)
        if self.own:
            sum_GD = result.own.array("sum")
            totals = Totals(spec=self.spec, sum_GD=sum_GD, count_G=share.count_G, names=share.names)
            if self.totals is None:
                self.totals = totals
            else:
                self.totals.merge(totals)
        elif self.totals is not None:
            self.totals.count_G += share.count_G
            self.totals.names |= share.names

    def part(self) -> Part:
        return Part(
            totals=self.totals,
            refused=[refusal for share in self.folded for refusal in share.refused],
            staged=[name for share in self.folded for name in share.staged],
            bytes_up=sum(share.bytes_up for share in self.folded),
        )
