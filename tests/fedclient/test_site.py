"""A site answers a call once, whatever comes twice, and a lost round leaves no trace in a client."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.fedclient.state import MemoryStates
from hansa.fedlink.messages import HELLO, SETTLE, Call
from hansa.strategies import Bound, FedAvg, LocalTraining, Plan, Request, Spec, compose
from hansa.strategies.strategy import keeper
from tests.places import coordinator, inline, run_of


def scaffold_call(run, **changed):
    zero = np.zeros(run.work.layout.size("shared"), np.float32)
    usual = {"endpoint": "train.scaffold", "run": "run", "round": 1, "request": 0, "digest": run.job.digest}
    return Call(**{**usual, "payload": {"model": zero, "control": zero}, **changed})


def test_the_same_call_twice_gives_the_same_row_and_state():
    run = run_of("strategy=scaffold")
    states = MemoryStates()
    site = inline(run, states=states).site
    rows = [site.answer(scaffold_call(run), "hungary").row for _ in range(2)]
    assert np.array_equal(*rows) and {slot for _, _, slot in states.versions} == {"staged"}


def test_an_answer_that_was_not_counted_leaves_no_trace():
    run = run_of("strategy=scaffold")
    lossy, clean = inline(run).site, inline(run).site
    for site in (lossy, clean):
        site.answer(scaffold_call(run), "hungary")
    lossy.answer(scaffold_call(run, round=2, counted=(1, 0)), "hungary")  # and its reply is lost
    there, here = (site.answer(scaffold_call(run, round=3, counted=(1, 0)), "hungary") for site in (lossy, clean))
    assert np.array_equal(there.row, here.row)


def test_other_configurations_and_unknown_endpoints_are_answered_with_a_failure():
    run = run_of()
    site = inline(run).site
    other = site.answer(Call(endpoint=HELLO, run="r", round=0, request=0, digest="x"), "hungary")
    assert other.failure.kind == "DigestDiffers" and other.differs == ()
    unknown = site.answer(scaffold_call(run), "hungary")
    assert (unknown.failure.stage, unknown.failure.kind) == ("train.scaffold", "KeyError")


def test_an_interrupt_is_not_taken_for_a_failure(monkeypatch):
    run = run_of()
    site = inline(run).site
    monkeypatch.setattr(type(run.work), "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        site.answer(scaffold_call(run, endpoint="train.update"), "hungary")


class Twice(FedAvg):
    """Asks for the same rows twice in a round."""

    def endpoints(self, problem):
        return {name: replace(end, keep=True) for name, end in super().endpoints(problem).items()}

    def round(self, state, now):
        yield Request(endpoint="train.update", payload=state)
        return (yield from super().round(state, now))


def test_local_work_is_done_once_a_round(monkeypatch):
    run = run_of()
    problem_endpoints = {**run.job.endpoints, "train.update": replace(run.job.endpoints["train.update"], keep=True)}
    twice = replace(run, job=replace(run.job, strategy=Twice(), endpoints=problem_endpoints))
    done, train = [], type(run.work).train
    monkeypatch.setattr(type(run.work), "train", lambda *a, **k: (done.append(a[3]), train(*a, **k))[1])
    there, here = coordinator(twice), coordinator(run)
    assert len(list(there.rounds())) == 4 and len(done) == 3 * 4
    list(here.rounds())
    assert np.array_equal(there.parameters(), here.parameters())


def test_only_equal_works_share_a_kept_row(monkeypatch):
    run = run_of()
    end = replace(run.job.endpoints["train.update"], keep=True)
    more = {name: Plan(epochs=epochs) for name, epochs in (("once", 1), ("twice", 2), ("two", 2))}
    ends = {f"train.{name}": replace(end, work=LocalTraining(plan=plan)) for name, plan in more.items()}
    bare = Spec(channels=end.pipeline.row.channels[1:], cohort=end.pipeline.row.cohort)
    ends["train.bare"] = replace(ends["train.two"], pipeline=compose(bare, (Bound(),)))
    assert [keeper(ends, name) for name in ends] == ["train.once", "train.twice", "train.twice", "train.bare"]
    alone, site = (replace(inline(run).site, endpoints=ends) for _ in range(2))
    done, train = [], type(run.work).train
    monkeypatch.setattr(type(run.work), "train", lambda *a, **k: (done.append(a[5]), train(*a, **k))[1])
    names = ("train.once", "train.twice", "train.two", "train.once")
    rows = [site.answer(scaffold_call(run, endpoint=name), "hungary").row for name in names]
    assert done == [more["once"], more["twice"]], "equal works share, and others do not"
    assert np.array_equal(rows[1], rows[2]) and np.array_equal(rows[0], rows[3])
    assert np.array_equal(rows[1], alone.answer(scaffold_call(run, endpoint="train.two"), "hungary").row)
    assert not np.array_equal(rows[0], rows[1])


def test_a_run_ends_with_states_settled():
    run = run_of("strategy=scaffold")
    federation = inline(run)
    list(coordinator(run, federation).rounds())
    assert {slot for _, _, slot in federation.site.states.versions} == {"committed"}
    assert federation.site.answer(scaffold_call(run, endpoint=SETTLE, counted=(3, 0)), "hungary").failure is None
