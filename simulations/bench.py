"""A worker's bench: it answers the calls that it takes, adds their rows up by itself, and tells one total."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hansa.fedclient.site import Site
from hansa.fedlink.messages import SETTLE, Call, Calls, Tag
from hansa.fedserver.records import Refusal
from hansa.fedserver.tally import Tally
from hansa.fedtasks.errors import listed
from hansa.simulations.sheet import Sheet
from hansa.strategies import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array

FITTED, PAYLOAD = "fitted", "payload."
"""Names in the sheet of what all clients of a request get."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as workers get it: ``call`` is without its arrays, which lie in shared memory."""

    call: Call
    names: Names
    counted: Mapping[str, Tag]
    fade: float = 1.0
    block: int = 1

    @property
    def items(self) -> int:
        """How many blocks there are."""
        return -(-len(self.names) // self.block)

    def clients(self, item: int) -> Names:
        """Return the clients of a block."""
        return self.names[item * self.block : (item + 1) * self.block]

    def told(self, item: int) -> str:
        return f"client {listed(self.clients(item))}"


def parted(calls: Calls, block: int = 1) -> tuple[Asked, dict[str, Array]]:
    """Part a request into what is said to workers, and the arrays that all of them get."""
    call = calls.call
    bare = dataclasses.replace(call, payload={}, fitted=None)
    arrays = {PAYLOAD + name: array for name, array in call.payload.items()}
    asked = Asked(call=bare, names=tuple(calls.names), counted=calls.counted, fade=calls.fade, block=block)
    return asked, arrays if call.fitted is None else {**arrays, FITTED: call.fitted}


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A worker's share of a request, without the sums, which lie in its sheet."""

    count_G: Array
    names: set[str]
    refused: list[Refusal]
    staged: list[str]
    bytes_up: int


@dataclass
class Bench:
    """A ``Crew`` of one site; ``own`` is the coordinator's key, which gives clients their groups."""

    site: Site
    own: bytes
    job: Asked = field(init=False)
    calls: Calls = field(init=False)
    tally: Tally | None = field(init=False)

    def start(self, job: Asked, shared: Sequence[Sheet], own: Sheet) -> None:
        sums = None
        if (endpoint := job.call.endpoint) != SETTLE:
            sums = (own if self.site.endpoints[endpoint].aggregator.groups else shared[1]).array("sum")
        self.begin(job, shared[0].arrays(), sums)

    def begin(self, job: Asked, arrays: Mapping[str, Array], sum_GD: Array | None = None) -> None:
        """Begin a job with the arrays of ``parted``; sums are in memory of zeros that is given, or in new."""
        self.job, call = job, job.call
        payload = {name.removeprefix(PAYLOAD): array for name, array in arrays.items() if name != FITTED}
        call = dataclasses.replace(call, payload=payload, fitted=arrays.get(FITTED))
        self.calls = Calls(call, job.names, job.counted, job.fade)
        self.tally = None
        if call.endpoint != SETTLE:
            end = self.site.endpoints[call.endpoint]
            ctx = Context(round=call.round, request=call.request, public=self.site.public, own=self.own)
            self.tally = Tally.of(end, ctx, self.calls, job.names, self.site.settings, sum_GD)

    def do(self, item: int) -> None:
        self.take(self.job.clients(item))

    def take(self, names: Names) -> None:
        """Let clients answer side by side, and add their rows."""
        for reply in self.site.answer_block(self.calls, names):
            if self.tally is not None:
                self.tally.take(reply)

    def finish(self) -> Folded:
        if (tally := self.tally) is None:
            return Folded(count_G=np.zeros(0, np.int64), names=set(), refused=[], staged=[], bytes_up=0)
        return Folded(
            count_G=tally.totals.count_G,
            names=tally.totals.names,
            refused=tally.refused,
            staged=tally.staged,
            bytes_up=tally.bytes_up,
        )
