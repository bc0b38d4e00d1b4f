"""Virtual time: the cohort policy decides who is counted by the clocks of made-up devices, and only they really train.

Each client's journey through a request (down, compute, up; or gone in between) is known when the request begins. The
journeys' ends are played to the policy in the order of virtual time, as a link would hear of them. Nothing depends on
how fast this machine is, and so a run repeats, times included, with any engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hansa.fedlink.messages import SETTLE, Calls, Reply
from hansa.fedserver.federation import Federation
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
    """A ``Federation``, and one that is ``Drawing``, of clients that have devices; ``inner`` carries their work out.

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
            names = tuple(sorted(wait.counted))
            counted = {name: calls.counted[name] for name in names if name in calls.counted}
            yield from self.inner.ask(Calls(calls.call, names, counted), Wait())

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
        trips, joules, counted = [], 0.0, set(wait.counted)
        for name, journey in journeys.items():
            down, compute, up = journey.until(ends[name])
            joules += self.devices.energy.joules(compute, down + up)
            late = ends[name] < journey.stops or (journey.fate == "counted" and name not in counted)
            fate = "cancelled" if late else journey.fate
            trips.append(Trip(name, endpoint, journey.at, down, compute, up, fate))
        seconds, self._told = self.now - self._told, self.now
        return VirtualTime(seconds=seconds, until=self.now, joules=joules, timeline=trips)
