"""A few clients' work on trial, to learn how long it takes; nothing of it is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from hansa.fedclient.site import Site
from hansa.fedclient.state import MemoryStates
from hansa.fedlink.messages import Call
from hansa.fedserver.job import Job
from hansa.strategies import Cohort, Request, Round
from hansa.strategies.pipeline import Names

CLIENTS, SECONDS = 4, 0.5


def seconds_a_client(job: Job, site: Site, names: Names, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long one client takes for a round's first request: the median of a few, without the first of all."""
    call, place = _first_call(job, names), dataclasses.replace(site, states=MemoryStates())
    taken, start = [], clock()
    for name in names[: CLIENTS + 1]:
        before = clock()
        place.answer(call, name)
        taken.append(clock() - before)
        if clock() - start > SECONDS:
            break
    return float(np.median(taken[1:] or taken))


def _first_call(job: Job, names: Names) -> Call:
    """Return the call of the first request of a strategy's first round."""
    cohort = Cohort(expected=min(len(names), job.cohort.size or len(names)), max=job.cohort.max, min=1)
    state = job.strategy.init(job.layout.pack(job.tensors, "shared"))
    request: Request = next(job.strategy.round(state, Round(number=1, population=len(names), cohort=cohort)))
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
