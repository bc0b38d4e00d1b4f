"""Which engine carries a simulation out: the one that was named, or the one that a trial says is the fastest."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from hansa.fedclient.site import Site
from hansa.fedserver.federation import Federation
from hansa.fedserver.job import Job
from hansa.simulations.bench import Bench
from hansa.simulations.errors import EngineError
from hansa.simulations.inline import Inline
from hansa.simulations.processes import Processes
from hansa.simulations.ray_desk import Build
from hansa.simulations.trial import SECONDS, Trial
from hansa.simulations.vectorised_work import VectorisedWork
from hansa.strategies.pipeline import Names

HERE = ("inline", "processes")
EXACT = (*HERE, "ray")
ENGINES = ("auto", "fast", *HERE, "vectorised", "ray")
START, REQUEST = 0.03, 0.002
"""Seconds that worker processes cost to start, and for each request to them."""
BLOCK = 64
"""The most clients that are trained side by side."""


class Engine(Federation, Protocol):
    """A federation on this machine, or on a cluster; it is closed when a run is over, however it ends."""

    @property
    def workers(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine's name, its workers (0 where its cluster decides), the clients of a block, and in one line why."""

    engine: str
    workers: int
    why: str
    block: int = 1

    def told(self, engine: Engine) -> dict[str, object]:
        """What a run's summary says of it."""
        return {"engine": self.engine, "workers": engine.workers, "exact": self.engine in EXACT}


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The engines of one run; ``own`` is the coordinator's key, ``workers`` None for one a core.

    ``build`` makes the run's site on the nodes of a Ray cluster, which is at ``ray_address``, or begins here.
    """

    job: Job
    site: Site
    names: Names
    own: bytes
    build: Build
    workers: int | None = None
    debug: bool = False
    ray_address: str | None = None

    def choose(self, word: str) -> Choice:
        """Choose by a word of `ENGINES`; raises EngineError for another, and for what does not go together."""
        if word not in ENGINES:
            raise EngineError(f"federation={word}: it is one of {', '.join(ENGINES)}.")
        if self.workers is not None and self.workers < 1:
            raise EngineError(f"workers={self.workers}: it must be at least 1, or empty for one a core.")
        if self.ray_address is not None and word != "ray":
            raise EngineError(
                f"ray_address={self.ray_address} does nothing with federation={word}: leave one out, or take "
                "federation=ray."
            )
        if self.debug:
            if word not in ("auto", "fast", "inline"):
                raise EngineError(
                    f"debug=true takes one client at a time: leave federation={word} out, or take inline."
                )
            return self._choice("inline", "one client at a time, for debug=true")
        if word in ("auto", "fast"):
            return self._measured(HERE if word == "auto" else (*HERE, "vectorised"))
        choice = self._choice(word, "as it was asked for")
        if word == "vectorised":
            Trial(self.job, self.names).seconds(self._side_by_side, min(2, choice.block))
        return choice

    def start(self, choice: Choice) -> Engine:
        """Start an engine. Raises EngineError for work that cannot be vectorised, and where no cluster answers."""
        if choice.engine == "inline":
            return Inline(self.site, self.names, self.debug)
        if choice.engine == "ray":
            return self._on_ray()
        site = self._side_by_side if choice.engine == "vectorised" else self.site
        return Processes(Bench(site, self.own), self.names, choice.workers, choice.block)

    @property
    def _cohort(self) -> int:
        return min(self.job.cohort.size or len(self.names), len(self.names))

    def _on_ray(self) -> Engine:
        if (device := self.site.work.settings.device) != "cpu":
            raise EngineError(f"federation=ray works on CPUs only: leave client.device={device} out.")
        try:
            from hansa.simulations.ray_cluster import Cluster  # Ray is imported where it was asked for only
            from hansa.simulations.ray_engine import OnRay
        except ModuleNotFoundError as error:
            raise EngineError(f"federation=ray: {error}: install it by pip install 'hansa[ray]'.") from error
        most = self.workers or len(os.sched_getaffinity(0))
        cluster = Cluster.here(most) if self.ray_address is None else Cluster.at(self.ray_address)
        workers = self.workers or max(1, min(cluster.cores, self._cohort))
        return OnRay(self.site, self.names, self.build, self.own, cluster, workers)

    def _choice(self, engine: str, why: str) -> Choice:
        if engine in ("inline", "ray"):
            return Choice(engine=engine, workers=int(engine == "inline"), why=why)
        workers = self.workers or max(1, min(len(os.sched_getaffinity(0)), self._cohort))
        block = min(BLOCK, -(-self._cohort // workers)) if engine == "vectorised" else 1
        return Choice(engine=engine, workers=workers, why=why, block=block)

    @cached_property
    def _side_by_side(self) -> Site:
        """The site that trains blocks; what a trial reads and records serves the workers that are forked later."""
        work = self.site.work
        block = VectorisedWork(work.task, work.settings, work.seed, work.private_patterns)
        block.data = work.data
        return dataclasses.replace(self.site, work=block)

    def _measured(self, words: tuple[str, ...]) -> Choice:
        """Choose the engine that a trial expects to be over first."""
        trial = Trial(self.job, self.names)
        seconds = {"inline": trial.seconds(self.site, 1)}
        seconds["processes"] = seconds["inline"]
        if "vectorised" in words:
            few = max(2, int(SECONDS / seconds["inline"]))  # a large block of heavy work would only take longer
            self._try(
                seconds, lambda: trial.seconds(self._side_by_side, min(few, self._choice("vectorised", "").block))
            )
        whole = {word: self._whole(word, value) for word, value in seconds.items()}
        best = min(whole, key=lambda word: whole[word])
        told = ", ".join(f"{word} {_short(value)}" for word, value in whole.items())
        rounds = f"{self.job.rounds} rounds of {self._cohort} client{'s'[: self._cohort != 1]}"
        return self._choice(best, f"a trial of a few clients expects of {rounds}: {told}")

    def _try(self, seconds: dict[str, float], measure: Callable[[], float]) -> None:
        """Leave vectorised out where the work cannot be batched."""
        try:
            seconds["vectorised"] = measure()
        except EngineError:
            return

    def _whole(self, word: str, seconds: float) -> float:
        """Return the seconds of all rounds, where one client takes so many."""
        choice = self._choice(word, "")
        if word == "inline":
            return self.job.rounds * self._cohort * seconds
        return START + self.job.rounds * (REQUEST + -(-self._cohort // choice.workers) * seconds)


def _short(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
