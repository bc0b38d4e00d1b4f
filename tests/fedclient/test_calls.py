"""Calls to one client, one after another: what its state is, whatever was lost, doubled or refused on the way."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.fedclient import Local
from hansa.fedclient.site import Site
from hansa.fedclient.state import COMMITTED, STAGED, DiskStates, MemoryStates
from hansa.fedclient.torch_work import TorchWork
from hansa.fedlink.messages import HELLO, SETTLE, Call, fingerprints
from hansa.fedtasks.digits import Digits
from hansa.strategies import Cohort, FedAvg, Problem
from tests.places import inline, run_of

run_of = functools.cache(run_of)
SCAFFOLD = "strategy=scaffold"


def site(*words, states=None, keep=False):
    run = run_of(*words)
    ends = {name: replace(end, keep=keep) for name, end in run.job.endpoints.items()}
    return inline(replace(run, job=replace(run.job, endpoints=ends)), states=states).site


def call(there, endpoint="train.scaffold", **changed):
    model_P = np.full(there.work.layout.size("shared"), 0.1, np.float32)
    usual = {"run": "run", "round": 1, "request": 0, "payload": {"model": model_P, "control": model_P}}
    return Call(**{"endpoint": endpoint, "digest": there.digest, **usual, **changed})


def control(there, slot, client="hungary"):
    version = there.states.read("run", client, slot)
    return None if version is None else version.states["scaffold"]


def test_a_state_is_staged_promoted_when_counted_and_dropped_when_not():
    there = site(SCAFFOLD)
    assert there.answer(call(there), "hungary").staged
    first = control(there, STAGED)
    assert first.any() and control(there, COMMITTED) is None
    there.answer(call(there, round=2, counted=(1, 0)), "hungary")
    assert np.array_equal(control(there, COMMITTED), first) and not np.array_equal(control(there, STAGED), first)
    there.answer(call(there, endpoint="evaluate.model", round=2, request=1, counted=(1, 0)), "hungary")
    assert np.array_equal(control(there, COMMITTED), first) and control(there, STAGED) is None


@given(st.lists(st.sampled_from(["counted", "reply lost", "never sent", "asked twice"]), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_a_lost_answer_might_never_have_been(fates):
    lossy, clean, counted = site(SCAFFOLD), site(SCAFFOLD), None
    for round, fate in enumerate(fates, 1):
        asked = call(lossy, round=round, counted=counted)
        if fate != "never sent":
            there = lossy.answer(asked, "hungary")
        if fate == "asked twice":
            assert np.array_equal(lossy.answer(asked, "hungary").row, there.row)
        if fate in ("counted", "asked twice"):
            assert np.array_equal(there.row, clean.answer(asked, "hungary").row)
            counted = there.tag
    last = [one.answer(call(one, round=9, counted=counted), "hungary") for one in (lossy, clean)]
    assert np.array_equal(last[0].row, last[1].row)
    assert np.array_equal(control(lossy, STAGED), control(clean, STAGED))


def test_a_client_in_a_new_process_goes_on_from_its_disk(tmp_path):
    steady, moving = site(SCAFFOLD), site(SCAFFOLD, states=DiskStates(tmp_path))
    counted = None
    for round in (1, 2, 3):
        here, there = (one.answer(call(one, round=round, counted=counted), "hungary") for one in (steady, moving))
        assert np.array_equal(here.row, there.row) and here.staged and there.staged
        counted, moving = (round, 0), site(SCAFFOLD, states=DiskStates(tmp_path))
    assert moving.answer(call(moving, endpoint=SETTLE, payload={}, round=4, counted=counted), "hungary").failure is None
    assert np.array_equal(control(moving, COMMITTED), control(steady, STAGED)) and control(moving, STAGED) is None


def test_clients_of_one_place_have_states_of_their_own():
    there, alone = site(SCAFFOLD), site(SCAFFOLD)
    for name in ("cleveland", "hungary"):
        there.answer(call(there), name)
    alone.answer(call(alone), "hungary")
    assert np.array_equal(control(there, STAGED), control(alone, STAGED))
    assert not np.array_equal(control(there, STAGED), control(there, STAGED, "cleveland"))


def test_a_state_that_is_lost_is_told_and_nothing_is_made_new():
    there = site(SCAFFOLD)
    reply = there.answer(call(there, round=5, counted=(4, 0)), "hungary")
    assert (reply.failure.stage, reply.failure.kind, reply.row) == ("client state", "StateLost", None)
    assert "restore its state_dir, or start a new run" in reply.failure.text
    assert there.states.versions == {}


def test_without_a_state_nothing_is_staged():
    there = site()
    reply = there.answer(call(there, endpoint="train.update"), "hungary")
    assert reply.row is not None and not reply.staged and there.states.versions == {}


def test_a_call_that_is_refused_moves_no_state():
    there = site(SCAFFOLD)
    there.answer(call(there), "hungary")
    before = dict(there.states.versions)
    fields = fingerprints({**there.settings, "seed": "2"})
    other = there.answer(call(there, round=2, counted=(1, 0), digest="another", fields=fields), "hungary")
    assert (other.failure.stage, other.failure.kind) == ("configuration", "DigestDiffers")
    assert other.differs == ("seed",) and other.row is None and other.digest == there.digest
    hello = there.answer(call(there, endpoint=HELLO), "hungary")
    assert (hello.failure, hello.row, hello.differs, hello.staged) == (None, None, None, False)
    assert there.states.versions == before


def test_settling_drops_what_was_not_counted_and_may_come_twice():
    there = site(SCAFFOLD)
    there.answer(call(there), "hungary")
    there.answer(call(there, round=2, counted=(1, 0)), "hungary")
    for _ in range(2):
        reply = there.answer(call(there, endpoint=SETTLE, payload={}, round=3, counted=(1, 0)), "hungary")
        assert (reply.failure, reply.row, reply.staged) == (None, None, False)
    assert {slot: version.tag for (_, _, slot), version in there.states.versions.items()} == {COMMITTED: (1, 0)}


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        ({"endpoint": "train.nothing"}, "KeyError", "train.nothing"),
        ({"payload": {}}, "KeyError", "control"),
        ({"payload": {"model": np.zeros(3, "f4"), "control": np.zeros(3, "f4")}}, "ValueError", "shape"),
        ({"fitted": np.zeros(1, "f4")}, "LayoutError", "is it the same model?"),
    ],
    ids=["endpoint", "payload", "size", "fitted"],
)
def test_a_call_that_cannot_be_followed_is_a_failure_of_one_line(changed, kind, text):
    there = site(SCAFFOLD)
    failure = there.answer(call(there, **changed), "hungary").failure
    assert failure.kind == kind and text in failure.text and "\n" not in str(failure)
    assert there.states.versions == {}


def test_a_client_that_is_unknown_is_answered_with_the_known_ones():
    there = site()
    failure = there.answer(call(there, endpoint="train.update"), "atlantis").failure
    assert (failure.stage, failure.kind) == ("loading data", "UnknownClient") and "cleveland" in failure.text


class HeadAtHome(Digits):
    private = ("2.*",)


def test_private_parameters_are_staged_and_committed_like_any_state():
    work = TorchWork(HeadAtHome(), Local(), 1)
    problem = Problem(parameters=work.layout.size("shared"), cohort=Cohort(expected=1, max=1))
    ends = FedAvg().endpoints(problem)
    there = Site(endpoints=ends, work=work, states=MemoryStates(), settings={}, digest="d", public=b"p", own=b"o")
    name = HeadAtHome().clients()[0]
    first = there.answer(call(there, "train.update"), name)
    assert first.failure is None and first.staged and first.row.shape == (work.layout.size("shared") + 2,)
    staged = there.states.read("run", name, STAGED).states["private"]
    assert staged.shape == (work.layout.size("private"),) and not np.array_equal(staged, work.private((name,))[0])
    again = there.answer(call(there, "train.update", counted=(1, 0)), name)
    assert np.array_equal(there.states.read("run", name, COMMITTED).states["private"], staged)
    assert not np.array_equal(again.row, first.row), "it goes on from its own parameters"


class Counting:
    """Stands before a place's work and counts whom it trains."""

    def __init__(self, work):
        self.inner, self.trained = work, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def train(self, model_P, private_BQ, names, *more):
        self.trained += names
        return self.inner.train(model_P, private_BQ, names, *more)


def counting(*words, states=None, keep=True):
    there = site(*words, states=states, keep=keep)
    return replace(there, work=Counting(there.work))


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_kept_work_is_done_once_a_round_and_gives_the_same_row(strategy, tmp_path):
    words, end = f"strategy={strategy}", {"fedavg": "train.update", "scaffold": "train.scaffold"}[strategy]
    there, alone = counting(words, states=DiskStates(tmp_path)), site(words)
    for round in (1, 2):
        counted = (round - 1, 0) if strategy == "scaffold" and round > 1 else None
        first = there.answer(call(there, end, round=round, counted=counted), "hungary")
        again = replace(there, states=DiskStates(tmp_path))  # as after a restart
        counted = (round, 0) if first.staged else None
        second = again.answer(call(there, end, round=round, request=1, counted=counted), "hungary")
        assert np.array_equal(first.row, second.row) and not second.staged
        due = alone.answer(call(alone, end, round=round, counted=(1, 0) if round > 1 and counted else None), "hungary")
        assert np.array_equal(first.row, due.row)
    assert there.work.trained == ["hungary"] * 2


def test_kept_work_is_encoded_anew_for_each_request():
    clip = ("pipeline=quantised", "pipeline.bound.clip={delta: 1.0, loss: 10.0}", "cohort.max=4")
    there = counting(*clip, states=MemoryStates())
    rows = [there.answer(call(there, "train.update", request=request), "hungary").row for request in (0, 1, 0)]
    assert there.work.trained == ["hungary"]
    assert np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[1])
    assert np.abs(rows[0].view(np.int16).astype(int) - rows[1].view(np.int16)).max() == 1


def test_what_is_not_kept_is_done_for_every_request():
    there = counting(keep=False)
    for request in (0, 1):
        there.answer(call(there, "train.update", request=request), "hungary")
    assert there.work.trained == ["hungary"] * 2


class Interrupted(Counting):
    def train(self, *_):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through_and_leaves_the_state(error):
    there = site(SCAFFOLD)
    there.answer(call(there), "hungary")
    broken = replace(there, work=Interrupted(there.work))
    broken.work.error = error
    with pytest.raises(error):
        broken.answer(call(there, round=2, counted=(1, 0)), "hungary")
    assert {slot: version.tag for (_, _, slot), version in there.states.versions.items()} == {COMMITTED: (1, 0)}
