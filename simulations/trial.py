"""A few clients' work on trial, to learn how long it takes; nothing of it is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hansa.fedclient.errors import StageFailed
from hansa.fedclient.site import Site
from hansa.fedclient.state import MemoryStates
from hansa.fedlink.messages import Call, Calls
from hansa.fedserver.job import Job
from hansa.fedtasks.errors import listed
from hansa.simulations.errors import EngineError
from hansa.strategies import Cohort, Request, Round
from hansa.strategies.pipeline import Names

TIMES, SECONDS = 3, 0.2
"""How often each block is tried, and the seconds after which no other is begun."""


@dataclass(frozen=True)
class Trial:
    """The first request of a strategy's first round, as clients of a run would get it."""

    job: Job
    names: Names
    clock: Callable[[], float] = time.perf_counter

    def seconds(self, site: Site, block: int) -> float:
        """Return how long one client takes, in blocks of so many: the least of a few tries, without reading its data.

        Raises EngineError where the site cannot do the work at all side by side.
        """
        place = dataclasses.replace(site, states=MemoryStates())
        blocks = [self.names[at : at + block] for at in range(0, min(len(self.names), 2 * block), block)]
        self._warm_up(place, blocks)
        best, start = math.inf, self.clock()
        for names in blocks * TIMES:
            before = self.clock()
            self._answer(place, names)
            best = min(best, (self.clock() - before) / len(names))
            if self.clock() - start > SECONDS:
                break
        return best

    def _warm_up(self, place: Site, blocks: Sequence[Names]) -> None:
        """Have the data in memory, and what the first work of a process imports."""
        with contextlib.suppress(StageFailed):  # clients whose data cannot be read will say so when they are asked
            for name in sorted({name for names in blocks for name in names}):
                place.work.data(name)
        self._answer(place, blocks[0][:2])

    def _answer(self, place: Site, names: Names) -> None:
        calls = Calls(self._call(), names, {})
        if len(names) == 1:
            place.answer(calls[names[0]], names[0])
            return
        try:
            place.block(calls, names)
        except StageFailed as failed:
            if failed.stage == "loading data":
                return
            if isinstance(failed.__cause__, EngineError):
                raise failed.__cause__ from None
            raise EngineError(
                f"federation=vectorised: clients {listed(names)} cannot be trained side by side: {failed.kind}: "
                f"{failed}: choose federation=processes."
            ) from failed

    def _call(self) -> Call:
        job = self.job
        cohort = Cohort(expected=min(len(self.names), job.cohort.size or len(self.names)), max=job.cohort.max, min=1)
        state = job.strategy.init(job.layout.pack(job.tensors, "shared"))
        now = Round(number=1, population=len(self.names), cohort=cohort)
        request: Request = next(job.strategy.round(state, now))
        fitted = job.layout.pack(job.tensors, "fitted")
        return Call(
            endpoint=request.endpoint,
            run="trial",
            round=1,
            request=0,
            digest=job.digest,
            payload=request.payload,
            fitted=fitted if fitted.size else None,
        )
