"""Carries a coordinator's run out and writes down each round as it ends, whatever ends the run."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from hansa.fedserver.attendance import never_counted
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.errors import RecordError, ServerError
from hansa.fedserver.records import RoundRecord, Watcher, finite
from hansa.fedserver.run_directory import RunDirectory
from hansa.fedserver.selection.selection import Sampling
from hansa.fedtasks.errors import listed
from hansa.strategies.types import Array

Hold: TypeAlias = Callable[[], AbstractContextManager[None]]


class View(Watcher, Protocol):
    """A watcher that is told of closed rounds too, and is on show while a run goes on."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def closed(self, record: RoundRecord) -> None:
        """A round is over."""
        ...

    def say(self, text: str) -> None:
        """Something happened beside the rounds, such as a client that came or went."""
        ...


@dataclass(kw_only=True)
class Runner:
    """One run with its directory and its view; ``summary`` is complete once ``carry_out`` has ended.

    ``gather`` waits for the clients that the run begins with, ``paced`` is told how long each round took that was not
    lost, and ``absent`` says in the end why nothing was asked of clients. All that were counted in no round are then in
    ``never``, with the reason. The summary begins with the run's own, and ends with what is ``told`` of where its
    clients are. No signal interrupts what is done within ``hold``.
    """

    coordinator: Coordinator
    directory: RunDirectory
    view: View
    clock: Callable[[], float]
    gather: Callable[[], None] = lambda: None
    paced: Callable[[float], None] = lambda seconds: None
    absent: Callable[[], Mapping[str, str]] = dict
    told: Mapping[str, Any] = field(default_factory=dict)
    hold: Hold = contextlib.nullcontext
    summary: dict[str, Any] = field(default_factory=dict)
    never: dict[str, str] = field(default_factory=dict)
    _saved: tuple[Array, ...] | None = None
    """The shared and the fitted parameters that are on disk; nobody writes into them any more."""

    def carry_out(self) -> None:
        """Run to the end. However it ends, what was learnt is saved and the summary says why it stopped."""
        start, stopped = self.clock(), "interrupted"
        try:
            with self.view:
                self.gather()
                start = self.clock()
                for record in self.coordinator.rounds():
                    with self.hold():
                        self._write(record)
                    self.view.closed(record)
                    if record.round and not record.lost:
                        self.paced(record.seconds)
                    self._check_target(record)
                self._save()
            stopped = "finished"
        except Exception as error:
            stopped = str(error) if isinstance(error, ServerError) else type(error).__name__
            raise
        finally:
            with self.hold():
                self._end(stopped, self.clock() - start)

    def _write(self, record: RoundRecord) -> None:
        if self.directory.round(record, self.coordinator.tensors):
            self._saved = self._parameters()

    def _end(self, stopped: str, seconds: float) -> None:
        """Write the summary, of the model that is on disk. After an error it is that error which is told."""
        failed = stopped != "finished"
        if failed:
            with contextlib.suppress(RecordError):
                self._save()
        self.never = self.coordinator.exchange.attendance.never(self.absent())
        self.summary = self._summary(stopped, seconds)
        with contextlib.suppress(*[RecordError] * failed):
            self.directory.summary(self.summary)
        if self.never:
            self.view.say(f"counted in no round: {listed([f'{name} ({why})' for name, why in self.never.items()])}")

    def _save(self) -> None:
        self.directory.model(self.coordinator.tensors())
        self._saved = self._parameters()

    def _summary(self, stopped: str, seconds: float) -> dict[str, Any]:
        job, records = self.coordinator.job, self.directory.records
        rounds = [record for record in records if record.round > 0]
        measured = [record.metrics for record in rounds if record.metrics]
        return {
            "run_id": self.coordinator.run,
            "task": job.task,
            "strategy": job.strategy_name,
            "rounds": len(rounds),
            "seed": job.seed,
            "model_sha256": model_sha256(self._saved or self._parameters()),
            "metrics": finite(measured[-1]) if measured else {},
            "seconds": round(seconds, 3),
            "bytes_up": sum(record.bytes_up for record in records),
            "bytes_down": sum(record.bytes_down for record in records),
            "clients": max((record.cohort for record in records), default=0),
            "failures": sum(len(record.refused) for record in records),
            "stopped": stopped,
            **never_counted(self.never),
            **(job.target.took(records) if job.target else {}),
            **_sampling(self.coordinator.sampling),
            **_virtual(records),
            **self.told,
        }

    def _check_target(self, record: RoundRecord) -> None:
        """Refuse a target that no round can reach, because nothing measures it."""
        job = self.coordinator.job
        if job.target and not record.lost and (job.evaluate_every == 0 or self.coordinator.evaluates(record.round)):
            job.target.demand_measured(record)

    def _parameters(self) -> tuple[Array, ...]:
        return self.coordinator.state["model"], self.coordinator.fitted


def _sampling(sampling: Sampling | None) -> dict[str, Any]:
    """Say how the last cohort was sampled; null where a privacy accountant can count on nothing."""
    if sampling is None:
        return {"sampling": None}
    return {"sampling": sampling.scheme, "sampling_rate": sampling.rate}


def _virtual(records: Sequence[RoundRecord]) -> dict[str, float]:
    """Sum up virtual time and energy, where there are any."""
    times = [record.virtual for record in records if record.virtual is not None]
    if not times:
        return {}
    return {"virtual_seconds": round(times[-1].until, 3), "joules": round(sum(time.joules for time in times), 3)}


def model_sha256(parameters: Iterable[Array]) -> str:
    """Return the SHA-256 of the model's shared and fitted parameters: flat, little-endian, float32."""
    found = hashlib.sha256()
    for part in parameters:
        found.update(np.ascontiguousarray(part, "<f4").data)
    return found.hexdigest()
