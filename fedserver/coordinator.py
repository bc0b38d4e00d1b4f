"""Carries out a job: asks the task's questions, then plays the strategy's rounds and evaluates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from hansa.fedserver.asynchronous import Asynchronous
from hansa.fedserver.errors import RunFailed, TooFewClients
from hansa.fedserver.exchange import Exchange
from hansa.fedserver.federation import Drawing, Federation, Standing
from hansa.fedserver.flight import Flight
from hansa.fedserver.job import Job
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.records import RoundRecord, Values, Watcher
from hansa.fedserver.selection.selection import POISSON, Draw, Memory, Sampling, Seen
from hansa.fedserver.selection.there import Present
from hansa.strategies import Cohort, Released, Request, Round, RoundLost, State
from hansa.strategies.keys import from_seed
from hansa.strategies.losses import by_client
from hansa.strategies.pipeline import Names
from hansa.strategies.questions import PERSONAL
from hansa.strategies.strategy import trains
from hansa.strategies.types import Array

Result = TypeVar("Result")
REST, REST_GROWTH, LONGEST_REST = 10.0, 3.0, 300.0
"""Seconds between two rounds where the first was lost, how they grow from one lost round to the next, and the most."""


@dataclass(kw_only=True)
class Coordinator:
    """One run. ``own`` is the coordinator's secret key; ``clock`` gives seconds.

    ``server_sums`` evaluates shared and fitted parameters on the coordinator's own data, if it has some. ``names`` are
    all clients there are, sorted, where that is known. ``rest`` lets so many seconds pass after a lost round.
    ``memory`` is the selection's, ``seen`` what it may learn from.
    """

    job: Job
    federation: Federation
    run: str
    own: bytes
    clock: Callable[[], float]
    watch: Watcher
    server_sums: Callable[[Array, Array], Mapping[str, Array]] | None = None
    names: Sequence[str] | None = None
    rest: Callable[[float], None] = lambda seconds: None
    memory: Memory = field(init=False)
    sampling: Sampling | None = field(default=None, init=False)
    seen: dict[str, Seen] = field(default_factory=dict, init=False)
    state: State = field(init=False)
    fitted: Array = field(init=False)
    exchange: Exchange = field(init=False)
    flight: Flight | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        lay, tensors = self.job.layout, self.job.tensors
        self.memory = self.job.selection.start(self.names)
        self.state = self.job.strategy.init(lay.pack(tensors, "shared"))
        self.fitted = lay.pack(tensors, "fitted")
        self.exchange = Exchange(
            job=self.job,
            federation=self.federation,
            run=self.run,
            public=from_seed(self.job.seed, "public"),
            own=self.own,
            watch=self.watch,
        )
        if isinstance(policy := self.job.cohort, Asynchronous):
            self.flight = Flight(exchange=self.exchange, federation=_standing(self.federation), policy=policy)

    def rounds(self) -> Iterator[RoundRecord]:
        """Carry out the run, round by round.

        Raises TooFewClients before the first round, and RunFailed when queries stay unanswered or rounds go on being
        lost; what was learnt until then is in ``tensors()``.
        """
        self._check(self._clients())
        if self.job.questions:
            yield self._ask_questions()
        lost = 0
        for number in range(1, self.job.rounds + 1):
            if lost:
                self.rest(min(REST * REST_GROWTH ** (lost - 1), LONGEST_REST))
            record = self._whole_round(number)
            lost = lost + 1 if record.lost else 0
            yield record
            if lost == min(self.job.lost_rounds, self.job.rounds):
                rounds = "the only round was" if lost == 1 else f"{lost} rounds in a row were"
                raise RunFailed(f"{rounds} lost; the last: {record.lost}")
        if self.flight:
            self.flight.stop()
        self.exchange.settle(self.job.rounds + 1)

    def tensors(self) -> dict[str, Array]:
        """Return the model as it is now, without what is private to clients."""
        lay = self.job.layout
        own = {entry.name: self.job.tensors[entry.name] for entry in lay.entries if entry.kind != "private"}
        return own | lay.unpack(self.state["model"], "shared") | lay.unpack(self.fitted, "fitted")

    def parameters(self) -> Array:
        """Return the model's shared and fitted entries as one float32 vector."""
        return np.concatenate([self.state["model"], self.fitted])

    def _check(self, clients: int) -> None:
        policy = self.job.cohort
        if clients < policy.needed:
            numbers = "cohort.buffer" if self.flight else "cohort.min"
            raise TooFewClients(
                f"{clients} clients are there and a round needs {policy.needed}: "
                f"start more clients, or lower {numbers} and cohort.size."
            )
        evaluates_all = self.job.evaluate_every > 0 and self.job.evaluation.to == "everyone"
        everyone = policy.size is None and not self.flight
        if clients > policy.max and (everyone or self.job.questions or evaluates_all):
            other = "" if self.job.questions else ", or set cohort.size and evaluation.to=cohort"
            raise RunFailed(
                f"{clients} clients are more than one sum may hold (cohort.max={policy.max}): raise cohort.max{other}."
            )
        names = self.federation.population() if self.names is None else self.names
        if (why := self.job.refusal(policy.expected(clients), names)) is not None:
            raise TooFewClients(why)

    def _ask_questions(self) -> RoundRecord:
        names, start = self.federation.population(), self.clock()
        record = RoundRecord(round=0, cohort=len(names))
        for question, query in self.job.questions:
            try:
                released, counted = self._play(question.round(), record, names)
            except RoundLost as lost:
                raise RunFailed(f"query {question.query!r} found no answer: {lost}") from None
            found = query.fit({name: released.total(name) for name in released.sums})
            fitted = self.job.layout.unpack(self.fitted, "fitted") | found
            self.fitted = self.job.layout.pack(fitted, "fitted")
            record.counted = len(counted)
        record.seconds = self.clock() - start
        return record

    def _whole_round(self, number: int) -> RoundRecord:
        """Play a round; whatever interrupts it, the model is that of whole rounds, and nobody is at work."""
        before = self.state
        try:
            return self._round(number)
        except BaseException:
            self.state = before
            if self.flight:
                self.flight.stop()
            raise

    def _round(self, number: int) -> RoundRecord:
        start = self.clock()
        names: Names = ()
        record = RoundRecord(round=number, cohort=0)
        counted = dict(self.exchange.counted)
        try:
            names = self._asynchronously(record) if self.flight else self._in_step(record)
        except RoundLost as lost:
            record.lost = str(lost)
            self.exchange.forget(counted)
        if self.evaluates(number) and not record.lost:
            self._evaluate(record, names)
        record.seconds = self.clock() - start
        return record

    def _in_step(self, record: RoundRecord) -> Names:
        """Draw a cohort and learn from it; return it."""
        names, population = self._cohort(record)
        record.cohort = len(names)
        if len(names) < self.job.cohort.min:
            raise RoundLost(
                f"only {len(names)} clients could be drawn and cohort.min={self.job.cohort.min}: start more clients."
            )
        varies = self.sampling is not None and self.sampling.scheme == POISSON
        counted = self._learn(record, names, population, self.job.cohort.max if varies else len(names))
        if self.job.selection.learns:
            there = frozenset(counted)
            for name in names:
                took_part = {"round": record.round} if name in there else {}
                self._see(name, seconds=self.exchange.pace.training(name), **took_part)
        return names

    def _asynchronously(self, record: RoundRecord) -> Names:
        """Learn from the next answers of all who are at work; return whose they are."""
        return self._learn(record, (), self._clients(), 0)

    def _cohort(self, record: RoundRecord) -> tuple[Names, int]:
        """Draw a round's cohort; return it, and how many clients there are."""
        selection, policy, federation = self.job.selection, self.job.cohort, self.federation
        assert isinstance(policy, CohortPolicy)
        there = federation.there() if isinstance(federation, Drawing) else Present(federation.population())
        draw = Draw(
            ctx=self.exchange.context(record.round),
            there=there,
            cohort=policy,
            payload={"model": self.state["model"]},
            seen=self.seen,
        )
        self.sampling = selection.sampling(draw)
        (names, self.memory), _ = self._play(selection.draw(self.memory, draw), record, ())
        return names, len(there.names)

    def _clients(self) -> int:
        federation = self.federation
        return federation.clients() if isinstance(federation, Drawing) else len(federation.population())

    def _learn(self, record: RoundRecord, names: Names, population: int, most: int) -> Names:
        """Play the strategy's round with a cohort of so many at most; return who was counted."""
        policy = self.job.cohort
        cohort = Cohort(expected=policy.expected(most), max=policy.max, min=policy.min)
        now = Round(number=record.round, population=population, cohort=cohort, buffers=self.job.layout.buffers)
        (self.state, metrics), counted = self._play(self.job.strategy.round(dict(self.state), now), record, names)
        record.counted = len(counted)
        record.metrics.update(metrics)
        self.exchange.attendance.count(counted)
        return counted

    def evaluates(self, number: int) -> bool:
        """Whether the model is evaluated after this round."""
        every = self.job.evaluate_every
        return every > 0 and (number % every == 0 or number == self.job.rounds)

    def _evaluate(self, record: RoundRecord, names: Names) -> None:
        try:
            if self.job.evaluation.to:
                self._evaluate_there(record, names)
        except RoundLost:
            record.metrics["loss"] = None
        if self.server_sums is not None:
            values = self._values(self.server_sums(self.state["model"], self.fitted))
            record.metrics |= {f"server_{name}": value for name, value in values.items()}

    def _evaluate_there(self, record: RoundRecord, names: Names) -> None:
        """Evaluate where the clients are."""
        released, _ = self._play(self.job.evaluation.round(self.state), record, names)
        record.metrics |= self._values(_totals(released))
        record.metrics |= self._personal(record, names)
        if self.job.evaluation.by_client:
            for name, group in zip(released.names, np.flatnonzero(released.count_G), strict=True):
                record.clients[name] = self._values({channel: s[group] for channel, s in released.sums.items()})

    def _personal(self, record: RoundRecord, names: Names) -> Values:
        """Evaluate what each client makes of the model, where the strategy has that."""
        if PERSONAL not in self.job.endpoints:
            return {}
        try:
            released, _ = self._play(replace(self.job.evaluation, endpoint=PERSONAL).round(self.state), record, names)
        except RoundLost:
            return {"personal_loss": None}
        return {f"personal_{name}": value for name, value in self._values(_totals(released)).items()}

    def _values(self, sums: Mapping[str, Array]) -> Values:
        """Turn sums into metrics; where nobody has test data there are none."""
        if not (examples := float(sums["examples"])):
            return {}
        values: Values = {"loss": float(sums["loss"]) / examples}
        for metric in self.job.metrics:
            values |= metric.values(sums)
        return values

    def _play(
        self, flow: Generator[Request, Released, Result], record: RoundRecord, names: Names
    ) -> tuple[Result, Names]:
        """Answer a flow's requests until it returns; tell who was counted."""
        counted: Names = ()
        try:
            request = next(flow)
            while True:
                try:
                    released = self._answer(request, record, names, counted)
                except RoundLost as lost:  # a flow may know what to do without an answer
                    request = flow.throw(lost)
                    continue
                self._hear(request, released)
                counted = tuple(sorted({*counted, *released.names}))
                request = flow.send(released)
        except StopIteration as done:
            return done.value, counted

    def _answer(self, request: Request, record: RoundRecord, names: Names, counted: Names) -> Released:
        if self.flight and trains(request.endpoint):
            return self.flight.answer(request, record, self.fitted)
        return self.exchange.answer(request, record, self._addressed(request, names, counted), self.fitted)

    def _hear(self, request: Request, released: Released) -> None:
        """Keep what clients told of their losses, where rows tell it of each client and the selection wants to know."""
        rows = self.job.endpoints[request.endpoint].aggregator.groups == 0
        if self.job.selection.learns and rows and "loss" in released.sums:
            for name, (loss, examples) in by_client(released).items():
                self._see(name, loss=loss, examples=examples)

    def _see(self, name: str, **known: Any) -> None:
        self.seen[name] = replace(self.seen.get(name, Seen()), **known)

    def _addressed(self, request: Request, names: Names, counted: Names) -> Names:
        if request.to == "everyone":
            names = self.federation.population()
            return self.flight.free(names) if self.flight else names
        return {"cohort": names, "counted": counted}[request.to] if isinstance(request.to, str) else request.to


def _standing(federation: Federation) -> Standing:
    """Return a federation whose clients stay at work; raises RunFailed for one that cannot let them."""
    if not isinstance(federation, Standing):
        raise RunFailed(
            "cohort=asynchronous needs clients that take time of their own: add devices, as in devices=phones, to a "
            "simulation; a Flower SuperLink cannot carry it, hansa serve can."
        )
    return federation


def _totals(released: Released) -> dict[str, Array]:
    return {name: released.total(name) for name in released.sums}
