"""What a request has come to so far: a total, whose rows are in it, whose are not and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hansa.fedlink.messages import Calls, Reply, Settings
from hansa.fedserver.errors import Refused
from hansa.fedserver.records import Refusal, VirtualTime
from hansa.fedserver.screening import screen
from hansa.strategies import Context, Endpoint, SumError, Totals
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a place that folds its clients' rows by itself has to tell: who is done, and at its end the total.

    Virtual devices also tell what time has passed for them.
    """

    done: Sequence[str] = ()
    totals: Totals | None = None
    refused: Sequence[Refusal] = ()
    staged: Sequence[str] = ()
    bytes_up: int = 0
    virtual: VirtualTime | None = None


@dataclass(kw_only=True)
class Tally:
    """Screens the replies to one request's calls and adds them up, wherever they come in."""

    end: Endpoint
    ctx: Context
    calls: Calls
    names: Names
    settings: Settings
    totals: Totals
    refused: list[Refusal] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    bytes_up: int = 0

    @classmethod
    def of(
        cls,
        end: Endpoint,
        ctx: Context,
        calls: Calls,
        names: Names,
        settings: Settings,
        sum_GD: Array | None = None,
    ) -> Tally:
        """Begin with nobody, in memory of zeros that is given, or in new."""
        totals = end.aggregator.empty(end.pipeline.wire, names, sum_GD)
        return cls(end=end, ctx=ctx, calls=calls, names=names, settings=settings, totals=totals)

    def take(self, reply: Reply) -> Refusal | None:
        """Add a reply's row, or return why it is left out."""
        try:
            row_D = screen(reply, self.calls, self.settings)
            group = self.end.aggregator.group(reply.client, self.names, self.ctx)
            self.totals.add(reply.client, row_D, group, self.calls.fade)
        except (Refused, SumError) as error:
            self.refused.append(Refusal(reply.client, str(error)))
            return self.refused[-1]
        self.bytes_up += row_D.nbytes
        if reply.staged:
            self.staged.append(reply.client)
        return None

    def merge(self, part: Part) -> None:
        """Add what another place has folded. Raises SumError for a client that is in both."""
        self.refused.extend(part.refused)
        self.staged.extend(part.staged)
        self.bytes_up += part.bytes_up
        if part.totals is None:
            return
        if self.totals.names:
            self.totals.merge(part.totals)
        else:
            self.totals = part.totals

    def part(self) -> Part:
        """Return all of it, to be merged elsewhere."""
        return Part(totals=self.totals, refused=self.refused, staged=self.staged, bytes_up=self.bytes_up)
