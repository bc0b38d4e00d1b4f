"""The federation of workers on a Ray cluster, wherever its nodes are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hansa.fedclient.site import Site
from hansa.fedlink.messages import SETTLE, Calls
from hansa.fedserver.policy import Wait
from hansa.fedserver.tally import Part
from hansa.simulations.ray_cluster import Cluster
from hansa.simulations.ray_crew import Crew
from hansa.simulations.ray_desk import Build
from hansa.simulations.ray_request import LARGEST, RayRequest
from hansa.strategies.pipeline import Names


@dataclass
class OnRay:
    """A ``Federation`` of workers on a cluster; ``site`` is the run's own here, which keeps the states."""

    site: Site
    names: Names
    build: Build
    own: bytes
    cluster: Cluster
    workers: int
    clock: Callable[[], float] = time.monotonic
    crew: Crew = field(init=False)

    def __post_init__(self) -> None:
        self.crew = Crew(self.build, self.own, self.workers, self.site.settings, self.cluster.told)

    def population(self) -> Names:
        return self.names

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Part]:
        self.crew.fill()
        while not self.crew.ready:  # the seconds are those of the work, not of its place
            self.crew.look(())
        end = None if wait.deadline is None else self.clock() + wait.deadline
        # What a worker has begun comes back after the deadline too, so let it be little.
        request = RayRequest(self.crew, self.site, calls, LARGEST if end is None else 1)
        try:
            while request.open:
                if end is not None and self.clock() >= end:
                    request.stop()
                yield from request.look()
            if calls.call.endpoint != SETTLE:
                yield request.part()
        finally:
            request.close()

    def close(self) -> None:
        try:
            self.crew.close()
        finally:
            self.cluster.close()
