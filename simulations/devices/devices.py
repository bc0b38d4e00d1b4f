"""A model of devices, and one client's journey through one request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from hansa.simulations.devices.availability import Availability, Windows
from hansa.simulations.devices.compute import Compute
from hansa.simulations.devices.dropout import Dropout
from hansa.simulations.devices.energy import Energy
from hansa.simulations.devices.luck import Luck
from hansa.simulations.devices.network import Network

PHASES = ("download", "compute", "upload")
Phases: TypeAlias = tuple[float, float, float]
"""Seconds of each phase."""


class Load(NamedTuple):
    """What a request costs a client: bytes down and up, examples, and operations for each of them."""

    sizes: tuple[int, int]
    work: tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Journey:
    """What a client would do from ``at`` on if nobody cancelled it, in seconds of virtual time.

    It ends by itself at ``stops``, and the coordinator hears so at ``heard``: an answer, or ``why`` there is none.
    """

    client: str
    at: float
    phases: Phases
    stops: float
    heard: float
    fate: Literal["counted", "cancelled", "dropped", "absent"] = "counted"
    why: str = ""

    def until(self, now: float) -> Phases:
        """Return the seconds of each phase that had passed at a time."""
        left, passed = min(now, self.stops) - self.at, []
        for phase in self.phases:
            passed.append(max(0.0, min(phase, left)))
            left -= phase
        return passed[0], passed[1], passed[2]


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What the clients of a simulation run on."""

    compute: Compute = field(default_factory=Compute)
    network: Network = field(default_factory=Network)
    availability: Availability = field(default_factory=Availability)
    dropout: Dropout = field(default_factory=Dropout)
    energy: Energy = field(default_factory=Energy)

    def journey(
        self, luck: Luck, windows: Windows, client: str, tag: tuple[int, int], load: Load, now: float
    ) -> Journey:
        """Return a client's journey through the request ``tag``, a round and a number, that begins now."""
        leaves = windows.until(client, now)
        if leaves is None:
            return Journey(
                client=client, at=now, phases=(0.0, 0.0, 0.0), stops=now, heard=now, fate="absent", why="not available"
            )
        down, up = self.network.seconds(luck, client, *tag, load.sizes)
        phases = down, self.compute.seconds(luck, client, *tag, load.work), up
        whole, share = sum(phases), self.dropout.share(luck, client, *tag)
        drops = math.inf if share is None else now + share * whole
        done = now + whole
        if done <= min(drops, leaves):
            return Journey(client=client, at=now, phases=phases, stops=done, heard=done)
        gone = min(drops, leaves)
        what = "dropped" if drops < leaves else "not available any more"
        return Journey(
            client=client,
            at=now,
            phases=phases,
            stops=gone,
            heard=gone + self.dropout.noticed,
            fate="dropped",
            why=f"{what}: gone after {gone - now:.1f} s, in {_phase(phases, gone - now)}",
        )


def _phase(phases: Phases, passed: float) -> str:
    """Name the phase that is on after so many seconds.

    >>> _phase((1.0, 5.0, 1.0), 2.0)
    'compute'
    """
    for name, phase in zip(PHASES, phases, strict=True):
        if passed < phase:
            return name
        passed -= phase
    return PHASES[-1]
