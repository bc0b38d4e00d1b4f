"""A round of 100 replies of a million parameters: memory above idle, rows a second, and what screening costs.

    python benchmarks/aggregation.py

Measured on 2 cores of an AMD EPYC, 2026-11-25, other work on the machine, three runs:

    memory above idle   11.8 to 12.0 MB = 2.95 to 3.00 x the model: 2 x for the int64 total, 1 x for the row
    rows aggregated     1.21, 1.35 and 1.42 GB/s, screening and bookkeeping included
    their cost          25, 29 and 32 % over adding alone

The goals were 3 x, 1 GB/s and 30 %.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hansa.fedlink.messages import Call, Reply
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.job import Job
from hansa.fedserver.policy import CohortPolicy, Wait
from hansa.fedserver.records import Refusal, RoundRecord
from hansa.fedserver.selection import Uniform
from hansa.strategies import Channel, Cohort, Evaluation, FedAvg, Layout, Problem, exact
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array

CLIENTS, PARAMETERS = 100, 1_000_000
MODEL_MB = PARAMETERS * 4 / 1e6


@dataclass
class Generated:
    """A federation whose rows come from memory; ``fresh`` copies each, as if it had just been received."""

    rows: list[Array]
    fresh: bool
    names: Names = tuple(f"client-{i:03}" for i in range(CLIENTS))
    spent: float = 0.0

    def population(self) -> Names:
        return self.names

    def ask(self, calls: dict[str, Call], wait: Wait) -> Iterator[Reply]:
        for i, (name, call) in enumerate(calls.items()):
            row = self.rows[i % len(self.rows)]
            yield Reply.to(call, name, call.digest, row=row.copy() if self.fresh else row)


@dataclass
class Nobody:
    """Watches nothing."""

    seen: list[Refusal] = field(default_factory=list)

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None: ...

    def joined(self, record: RoundRecord, names: Names) -> None: ...

    def answered(self, record: RoundRecord, client: str) -> None: ...

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        self.seen.append(refusal)


def job() -> Job:
    """FedAvg of one flat tensor."""
    strategy, problem = FedAvg(), Problem(parameters=PARAMETERS, cohort=Cohort(expected=CLIENTS, max=CLIENTS))
    tensors = {"weight": np.full(PARAMETERS, 0.01, np.float32)}
    return Job(
        task="flat",
        strategy_name="fedavg",
        strategy=strategy,
        problem=problem,
        endpoints=strategy.endpoints(problem),
        layout=Layout.of(tensors),
        tensors=tensors,
        questions=[],
        evaluation=Evaluation(channels=(Channel(name="examples"), Channel(name="loss"))),
        metrics=[],
        cohort=CohortPolicy(max=CLIENTS),
        selection=Uniform(),
        rounds=15,
        evaluate_every=0,
        lost_rounds=1,
        seed=1,
        settings={},
        digest="",
    )


def coordinator(rows: list[Array], fresh: bool) -> Coordinator:
    federation = Generated(rows, fresh)
    return Coordinator(job=job(), federation=federation, run="r", own=b"k", clock=time.perf_counter, watch=Nobody())


def row(seed: int) -> Array:
    """A row as FedAvg sends it: the update, the loss, the weight."""
    update = np.random.default_rng(seed).normal(0, 0.01, PARAMETERS + 2).astype(np.float32)
    update[-2:] = 0.5
    return update


def resident(line: str) -> float:
    """Return a line of /proc/self/status in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(text for text in status.splitlines() if text.startswith(line)).split()[1]) / 1000


def memory() -> float:
    """Return the peak of a run above what the process held before it, in MB."""
    ctypes.CDLL(None).mallopt(-3, 2**20)  # M_MMAP_THRESHOLD: arrays that are freed leave the process at once
    run = coordinator([row(0)], fresh=True)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    idle = resident("VmRSS")
    played(run)
    return resident("VmHWM") - idle


def played(run: Coordinator, between: Callable[[], float] = lambda: 0.0) -> tuple[float, float]:
    """Play a run; return the least seconds of a round, and the least of what is called between rounds."""
    took = []
    for record in run.rounds():
        assert record.counted == CLIENTS
        took.append((record.seconds, between()))
    rounds, others = zip(*took, strict=True)
    return min(rounds), min(others)


def throughput() -> tuple[float, float]:
    """Return GB of rows a second of whole rounds, and the share of their time over that of adding alone."""
    rows = [row(i) for i in range(10)]
    run = coordinator(rows, fresh=False)
    spec = run.job.endpoints["train.update"].pipeline.wire
    whole, alone = played(run, lambda: adding(spec, rows))
    return CLIENTS * MODEL_MB / 1000 / whole, whole / alone


def adding(spec: exact.Spec, rows: list[Array]) -> float:
    """Return the seconds of nothing but the sums: as many rows, each piece scaled, rounded and added unseen."""
    total_D, scaled = exact.zeros(spec, 1)[0], np.empty(exact.CHUNK)
    start = time.perf_counter()
    for i in range(CLIENTS):
        row_D = rows[i % len(rows)]
        for _, scale, where in exact.chunks(spec):
            part = scaled[: where.stop - where.start]
            np.multiply(row_D[where], scale, out=part, dtype=np.float64)
            np.rint(part, out=part)
            np.add(total_D[where], part, out=total_D[where], dtype=np.int64, casting="unsafe")
    return time.perf_counter() - start


if __name__ == "__main__":
    above = memory()
    rate, ratio = throughput()
    print(f"{CLIENTS} replies of {PARAMETERS:,} parameters ({MODEL_MB:.0f} MB each)")
    print(f"memory above idle: {above:.2f} MB = {above / MODEL_MB:.2f} x the model")
    print(
        f"rows aggregated: {rate:.2f} GB/s; screening and bookkeeping cost {100 * (ratio - 1):.0f} % over adding alone"
    )
