"""The workers on a Ray cluster: they begin when there is room, are compared, and are replaced when they die."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError, RayTaskError

from hansa.fedlink.messages import Settings, differing, fingerprints
from hansa.fedserver.screening import difference
from hansa.simulations.errors import EngineError
from hansa.simulations.ray_cluster import line
from hansa.simulations.ray_desk import Build, Desk, Greeting

LOOK = 0.1
"""Seconds between two looks."""
COMING = 120.0
"""Seconds in which one worker at least must begin."""

Ref: TypeAlias = Any
"""What Ray gives for an answer that is to come."""


@dataclass
class Member:
    """One worker; ``number`` counts from 1 and is never given again."""

    number: int
    desk: Any
    node: str = ""


@dataclass
class Crew:
    """Some workers on the cluster that this process is connected to, of which those that are ``ready`` get work.

    ``settings`` are the run's, which every node must have too.
    """

    build: Build
    own: bytes
    size: int
    settings: Settings
    told: str
    clock: Callable[[], float] = time.monotonic
    ready: list[Member] = field(default_factory=list)
    shares: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Numbers of shares, by which a worker tells them apart."""
    _coming: dict[Ref, Member] = field(default_factory=dict)
    _born: int = 0
    _failed: int = 0
    _since: float | None = None
    """When there was nobody for the first time."""

    def fill(self) -> None:
        """Let as many workers begin as are missing."""
        while len(self.ready) + len(self._coming) < self.size:
            self._born += 1
            desk = ray.remote(Desk).options(num_cpus=1, max_restarts=0, max_task_retries=0).remote(self.build, self.own)
            self._coming[desk.begin.remote()] = Member(self._born, desk)

    def look(self, refs: Iterable[Ref]) -> list[Ref]:
        """Wait a moment for answers, and welcome who has begun. Raises EngineError where nobody begins."""
        self._demand()
        done, _ = ray.wait([*self._coming, *refs], num_returns=1, timeout=LOOK)
        for ref in [ref for ref in done if ref in self._coming]:
            self._welcome(ref)
        return [ref for ref in done if ref not in self._coming]

    def drop(self, member: Member) -> None:
        """End a worker."""
        self.ready.remove(member)
        _kill(member)

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        for member in [*self.ready, *self._coming.values()]:
            _kill(member)
        self.ready.clear()
        self._coming.clear()

    def _demand(self) -> None:
        if self.ready:
            self._since = None
            return
        now = self.clock()
        self._since = now if self._since is None else self._since
        if now - self._since > COMING:
            raise EngineError(
                f"{self.told}: none of {self.size} workers could begin within {COMING:g} s: ray status shows what is "
                "free; add nodes, or end what fills them."
            )

    def _welcome(self, ref: Ref) -> None:
        member = self._coming.pop(ref)
        try:
            greeting: Greeting = ray.get(ref)
        except RayTaskError as error:
            raise EngineError(
                f"{self.told}: a worker cannot begin: {line(error.cause)}: every node needs this run's files and data, "
                "at the same paths, and the same packages."
            ) from error
        except RayError as error:
            self._failed += 1
            self._again(member, error)
            return
        if greeting.settings != self.settings:
            differs = differing(self.settings, fingerprints(greeting.settings))
            raise EngineError(f"{self.told}, node {greeting.node}: {difference(self.settings, differs)}.")
        member.node, self._failed = greeting.node, 0
        self.ready.append(member)

    def _again(self, member: Member, error: RayError) -> None:
        """Let another begin for one that ended before it did anything."""
        _kill(member)
        if self._failed > 2 * self.size:
            raise EngineError(
                f"{self.told}: {self._failed} workers ended before they began ({line(error)}): every node needs the "
                "same Python and hansa[ray], and memory for its workers."
            ) from error
        self.fill()


def _kill(member: Member) -> None:
    with contextlib.suppress(RayError):
        ray.kill(member.desk)
