"""What a request is said to cost a client is what its work really asks of a trainer, for every strategy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from hansa.conf.catalogue import rows
from hansa.fedclient.torch_work import TorchWork
from hansa.fedlink.messages import SETTLE, Call, Calls
from hansa.fedserver.policy import Wait
from hansa.simulations.effort import Effort
from hansa.simulations.inline import Inline
from hansa.strategies import Work
from tests.places import coordinator, inline, run_of

SMALL = ("task=synthetic", "clients=10", "rounds=2", "evaluation.every=1", "client.batch_size=8")
PRIVATE = "private=['*bias']"
WORDS = {
    "fedper": (PRIVATE,),
    "fedbn": (PRIVATE,),
    "fedrep": (PRIVATE, "strategy.head_epochs=2", "strategy.body_epochs=3"),
    "fltrust": ("strategy.root={root}",),
    "pfedme": ("strategy.local_rounds=3", "strategy.steps=4"),
    "ditto": ("strategy.epochs=2",),
    "fine_tuning": ("strategy.epochs=3",),
    "ifca": ("strategy.clusters=3",),
}
CASES = {name: (f"strategy={name}", *WORDS.get(name, ())) for name, *_ in rows("strategy")} | {
    "ditto, the client's own passes": ("strategy=ditto", "client.epochs=2"),
    "scaffold, option 1": ("strategy=scaffold", "strategy.option=1"),
    "scaffold, steps": ("strategy=scaffold", "strategy.option=1", "client.steps=7"),
    "fedavg, all at once": ("client.batch_size=0", "client.steps=2"),
    "a selection that asks for losses": ("selection=power_of_choice", "cohort.size=3"),
    "queries": ("task=heart_disease", "clients=null"),
}


@dataclass
class Counting(TorchWork):
    """A trainer that counts the examples which it is really given, and their passes in units of a forward one."""

    examples: int = 0
    passes: int = 0

    def taken(self, count, passes):
        self.examples, self.passes = self.examples + count, self.passes + passes * count

    def _batches(self, *given):
        for inputs, targets in super()._batches(*given):
            self.taken(len(targets), 3)
            yield inputs, targets

    def _contrasting(self, plan):
        step = super()._contrasting(plan)

        def counted(inputs, targets, *trained):
            self.passes += 2 * len(targets)
            return step(inputs, targets, *trained)

        return counted

    def _loss(self, model_P, private_Q, name):
        loss, count = super()._loss(model_P, private_Q, name)
        self.taken(count, 1)
        return loss, count

    def _evaluate(self, model_P, private_Q, name):
        self.taken(len(self.data(name).test), 1)
        return super()._evaluate(model_P, private_Q, name)

    def query(self, query, names):
        self.taken(sum(len(self.data(name).train) for name in names), 0)
        return super().query(query, names)


@dataclass
class Weighed:
    """Clients of whom each is told its effort before it works, and held to it."""

    inner: Inline
    effort: Effort
    asked: Counter[str] = field(default_factory=Counter)

    def population(self):
        return self.inner.population()

    def ask(self, calls, wait):
        work = self.effort.work
        for name, call in calls.items():
            told = (0, 0.0) if call.endpoint == SETTLE else self.effort.of(call, name).work
            work.examples = work.passes = 0
            (reply,) = self.inner.ask(Calls(call, (name,), calls.counted), Wait())
            operations = 2 * work.passes * (work.layout.size("shared") + work.layout.size("private"))
            assert reply.failure is None and told[0] == work.examples, call.endpoint
            assert told[0] * told[1] == pytest.approx(operations), call.endpoint
            if call.endpoint != SETTLE:
                self.effort.did(call, name)
                self.asked[call.endpoint] += 1
            yield reply


@pytest.mark.parametrize("case", CASES)
def test_a_request_costs_what_its_work_really_does(case):
    names = run_of(*SMALL).work.task.clients()
    run = run_of(*SMALL, *(word.format(root=names[0]) for word in CASES[case]))
    work = Counting(run.work.task, run.work.settings, run.work.seed, run.work.private_patterns)
    run = replace(run, work=work)
    there = Weighed(inline(run, tuple(work.task.clients())), Effort(work, run.job.endpoints))
    list(coordinator(run, there).rounds())
    assert set(there.asked) == set(run.job.endpoints)


class Own(Work):
    """A work of somebody's own, which says nothing of its cost."""


@pytest.mark.parametrize(("kind", "share"), [("train", 3), ("evaluate", 1), ("query", 0)])
def test_work_that_says_nothing_is_one_training_evaluation_or_query(kind, share):
    run = run_of()
    end = replace(run.job.endpoints["train.update"], work=Own())
    call = Call(endpoint=f"{kind}.own", run="r", round=1, request=0, digest="d")
    data = run.work.data("hungary")
    expected = len(data.test) if kind == "evaluate" else len(data.train)
    parameters = run.work.layout.size("shared")
    assert Effort(run.work, {call.endpoint: end}).of(call, "hungary").work == (expected, 2 * share * parameters)
