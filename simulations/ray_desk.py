"""What a worker on a Ray cluster is: it builds the run's site by itself, and adds up the answers of its clients.

It imports no Ray, and no code comes to it: Ray sends the name of this class, and the name of a function that builds the
site from settings, both of which the node must have.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from hansa.fedclient.site import Site
from hansa.fedclient.state import States, Version
from hansa.fedlink.messages import Settings
from hansa.simulations.bench import Asked, Bench, Folded
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array

Build: TypeAlias = Callable[[States], Site]
"""Builds a run's site; it is pickled by its name."""
Key: TypeAlias = tuple[str, str, str]
"""A run, a client and a slot."""


class Greeting(NamedTuple):
    """Where a worker is, and what the run's learning settings are there."""

    node: str
    settings: Settings


class Share(NamedTuple):
    """A worker's share of a request: the sums of those groups that it has clients of, in the order of the groups."""

    folded: Folded
    sum_GD: Array | None


@dataclass
class Carried:
    """Implements ``States`` by what came with a call; what is ``written`` goes back with its answer."""

    versions: Mapping[Key, Version] = field(default_factory=dict)
    written: dict[Key, Version | None] = field(default_factory=dict)

    def read(self, run: str, client: str, slot: str) -> Version | None:
        key = run, client, slot
        return self.written[key] if key in self.written else self.versions.get(key)

    def write(self, run: str, client: str, slot: str, version: Version | None) -> None:
        self.written[run, client, slot] = version


class Desk:
    """A worker; ``own`` is the coordinator's key. Its calls come one after the other."""

    def __init__(self, build: Build, own: bytes) -> None:
        self.build, self.own = build, own
        self.share = 0
        self.states = Carried()

    def begin(self) -> Greeting:
        """Build the site; raises the errors of all packages."""
        self.bench = Bench(self.build(self.states), self.own)
        return Greeting(socket.gethostname(), self.bench.site.settings)

    def take(
        self, share: int, order: tuple[Asked, Mapping[str, Array]], names: Names, versions: Mapping[Key, Version]
    ) -> Mapping[Key, Version | None]:
        """Let clients answer an order; a share that is new begins with nobody. Return what became of their states."""
        if share != self.share:
            self.bench.begin(*order)
            self.share = share
        self.states.versions, self.states.written = versions, {}
        for name in names:
            self.bench.take((name,))
        return self.states.written

    def finish(self) -> Share:
        """Return the share, which is over."""
        folded, tally = self.bench.finish(), self.bench.tally
        return Share(folded, None if tally is None else tally.totals.sum_GD[folded.count_G > 0])
