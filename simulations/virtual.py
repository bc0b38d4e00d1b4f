"""Virtual time: the cohort policy decides who is counted by the clocks of made-up devices, and only they really train.

Each client's journey through a request (down, compute, up; or gone in between) is known when the request begins. The
journeys' ends are played to the policy in the order of virtual time, as a link would hear of them. Nothing depends on
how fast this machine is, and so a run repeats, times included, with any engine.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hansa.fedlink.messages import SETTLE, Calls, Reply
from hansa.fedserver.federation import Ended, Federation
from hansa.fedserver.policy import Wait
from hansa.fedserver.records import Refusal, Trip, VirtualTime
from hansa.fedserver.selection.there import There
from hansa.fedserver.tally import Part
from hansa.simulations.crowd import Crowd, Here
from hansa.simulations.devices import Devices, Journey, Luck
from hansa.simulations.effort import Effort
from hansa.strategies.pipeline import Names


@dataclass
class Virtual:
    """A ``Federation``, ``Drawing`` and ``Standing``, of clients that have devices; ``inner`` carries their work out.

    A round begins when ``least`` clients are there. ``now`` is in seconds of virtual time.
    """

    inner: Federation
    devices: Devices
    effort: Effort
    crowd: Crowd
    luck: Luck
    least: int = 1
    now: float = 0.0
    _told: float = field(default=0.0, init=False)
    """Until when the time that has passed was told."""
    _flying: list[tuple[float, str, str, Journey]] = field(default_factory=list, init=False)
    """Those who stay at work, a heap: when they are heard of, who they are, what was asked, and their journey."""
    _trips: list[tuple[Trip, float]] = field(default_factory=list, init=False)
    """Trips that are not told yet, and their joules."""

    def clients(self) -> int:
        return len(self.crowd.names)

    def population(self) -> Names:
        """Return who is there; where nobody is, time passes until somebody is."""
        self.now = self.crowd.soonest(1, self.now)
        return self.crowd.here(self.now)

    def there(self) -> There:
        """See ``Drawing``; time passes until enough clients are there for a round."""
        self.now = self.crowd.soonest(self.least, self.now)
        return Here(self.crowd, self.now)

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Reply | Part]:
        if calls.call.endpoint == SETTLE:
            yield from self.inner.ask(calls, Wait())
            return
        journeys = {name: self._journey(calls, name) for name in calls.names}
        ends = self._play(journeys, wait)
        refused = [Refusal(name, why) for name, why in wait.refused.items()]
        yield Part(refused=refused, virtual=self._passed(calls.call.endpoint, journeys, ends, wait))
        if wait.counted:
            for name in wait.counted:
                self.effort.did(calls.call, name)
            yield from self.inner.ask(calls.to(tuple(sorted(wait.counted))), Wait())

    def around(self) -> There:
        """See ``Standing``; where nobody is at work time passes until enough clients are there."""
        return Here(self.crowd, self.now) if self._flying else self.there()

    def start(self, calls: Calls, deadline: float | None) -> None:
        for name in calls.names:
            journey = self._journey(calls, name)
            if deadline is not None and journey.heard > self.now + deadline:
                why = f"late: no answer within cohort.deadline={deadline}"
                end = self.now + deadline
                journey = replace(journey, stops=min(journey.stops, end), heard=end, fate="cancelled", why=why)
            heapq.heappush(self._flying, (journey.heard, name, calls.call.endpoint, journey))

    def next(self) -> Ended | None:
        if not self._flying:
            return None
        heard, name, endpoint, journey = heapq.heappop(self._flying)
        self.now = max(self.now, heard)
        self._trips.append(self._trip(endpoint, journey, journey.stops, journey.fate))
        return Ended(name, journey.why)

    def collect(self, calls: Calls) -> Iterator[Reply | Part]:
        trips, self._trips = self._trips, []
        yield Part(virtual=self._until_now([trip for trip, _ in trips], sum(joules for _, joules in trips)))
        for name in calls.names:
            self.effort.did(calls.call, name)
        if calls.names:
            yield from self.inner.ask(calls, Wait())

    def stop(self) -> None:
        self._flying.clear()
        self._trips.clear()

    def _journey(self, calls: Calls, name: str) -> Journey:
        load = self.effort.of(calls.call, name)
        return self.devices.journey(self.luck, self.crowd.windows, name, calls.call.tag, load, self.now)

    def _play(self, journeys: Mapping[str, Journey], wait: Wait) -> Mapping[str, float]:
        """Tell the policy what happens, in order; return until when each client was at work."""
        ends = {name: journey.stops for name, journey in journeys.items()}
        wait.begin(journeys, self.now)
        for journey in sorted(journeys.values(), key=lambda one: (one.heard, one.client)):
            while not wait.over and (wake := wait.wake()) < journey.heard:
                self._cut(wait, wake, ends)
            if wait.over:
                break
            self.now = journey.heard
            if journey.fate == "counted":
                wait.answered(journey.client, self.now)
            else:
                wait.failed(journey.client, journey.why)
            self._cut(wait, self.now, ends)
        return ends

    def _cut(self, wait: Wait, now: float, ends: dict[str, float]) -> None:
        """Cancel whom the policy gives up; who had gone already ended then."""
        for name in wait.cut(now):
            self.now = now
            ends[name] = min(ends[name], now)

    def _passed(
        self, endpoint: str, journeys: Mapping[str, Journey], ends: Mapping[str, float], wait: Wait
    ) -> VirtualTime:
        """Return the time since the last request was over, and who did what in it."""
        trips, total, counted = [], 0.0, set(wait.counted)
        for name, journey in journeys.items():
            late = ends[name] < journey.stops or (journey.fate == "counted" and name not in counted)
            trip, joules = self._trip(endpoint, journey, ends[name], "cancelled" if late else journey.fate)
            trips.append(trip)
            total += joules
        return self._until_now(trips, total)

    def _trip(self, endpoint: str, journey: Journey, end: float, fate: str) -> tuple[Trip, float]:
        """Return what a client did until it ended, and the joules that it took."""
        down, compute, up = journey.until(end)
        joules = self.devices.energy.joules(compute, down + up)
        return Trip(journey.client, endpoint, journey.at, down, compute, up, fate), joules

    def _until_now(self, trips: list[Trip], joules: float) -> VirtualTime:
        seconds, self._told = self.now - self._told, self.now
        return VirtualTime(seconds=seconds, until=self.now, joules=joules, timeline=trips)
