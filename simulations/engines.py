"""Which engine carries a simulation out: the one that was named, or the one that a trial says is the fastest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from hansa.fedclient.site import Site
from hansa.fedserver.federation import Federation
from hansa.fedserver.job import Job
from hansa.simulations.bench import Bench
from hansa.simulations.errors import EngineError
from hansa.simulations.inline import Inline
from hansa.simulations.processes import Processes
from hansa.simulations.trial import seconds_a_client
from hansa.strategies.pipeline import Names

ENGINES = ("auto", "inline", "processes")
START, REQUEST = 0.1, 0.004
"""Seconds that worker processes cost to start, and for each request to them."""


class Engine(Federation, Protocol):
    """A federation on this machine, which is closed when a run is over, however it ends."""

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine's name, its number of workers, and in one line why it is this one."""

    engine: str
    workers: int
    why: str

    @property
    def told(self) -> dict[str, object]:
        """What a run's summary says of it."""
        return {"engine": self.engine, "workers": self.workers, "exact": True}


def choose(word: str, workers: int | None, debug: bool, job: Job, site: Site, names: Names) -> Choice:
    """Choose an engine; raises EngineError for a word that is none, and for what does not go together."""
    if word not in ENGINES:
        raise EngineError(f"federation={word}: it is one of {', '.join(ENGINES)}.")
    if workers is not None and workers < 1:
        raise EngineError(f"workers={workers}: it must be at least 1, or empty for one a core.")
    if debug:
        if word not in ("auto", "inline"):
            raise EngineError(f"debug=true takes one client at a time: leave federation={word} out, or take inline.")
        return Choice(engine="inline", workers=1, why="one client at a time, for debug=true")
    cohort = job.cohort.size or len(names)
    many = workers or max(1, min(len(os.sched_getaffinity(0)), cohort))
    if word == "auto":
        return _measured(many, cohort, job.rounds, seconds_a_client(job, site, names))
    return Choice(engine=word, workers=1 if word == "inline" else many, why="as it was asked for")


def _measured(workers: int, cohort: int, rounds: int, seconds: float) -> Choice:
    alone = rounds * cohort * seconds
    together = START + rounds * (REQUEST + -(-cohort // workers) * seconds)
    best = workers > 1 and together < alone
    told = f"a client takes {_short(seconds)}, so that {rounds} rounds of {cohort} take {_short(alone)}"
    other = f" and {_short(together)} in {workers} processes" if workers > 1 else "; there is one core"
    return Choice(
        engine="processes" if best else "inline", workers=workers if best else 1, why=f"{told} in one process{other}"
    )


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.0f} s"


def start(choice: Choice, site: Site, own: bytes, names: Names, debug: bool) -> Engine:
    """Start an engine; ``own`` is the coordinator's key."""
    if choice.engine == "inline":
        return Inline(site, names, debug)
    return Processes(Bench(site, own), names, choice.workers)
