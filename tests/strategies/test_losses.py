"""Asking clients for their losses, in the toy world where all losses are known."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.strategies import Cohort, Context, Released
from hansa.strategies.aggregate import Totals
from hansa.strategies.laws.world import Quadratic
from hansa.strategies.losses import LOSSES, ask_losses, by_client, losses_endpoint

COHORT = Cohort(expected=4, max=8)
CTX = Context(round=1, public=b"p", own=b"o")


def test_each_client_tells_its_own_loss():
    world = Quadratic.of(clients=5)
    (end,) = losses_endpoint(COHORT).values()
    names = world.names
    payload = {"model": np.zeros(world.parameters, np.float32)}
    states = end.work.start(world, world.parameters, names)
    rows_BD, after = end.run(world, payload, states, names, CTX)
    wire_BD, after = end.encode(rows_BD, after, names, CTX)
    assert after.keys() == {"private"}
    totals: Totals = end.aggregator.empty(end.pipeline.wire, names)
    for name, row_D in zip(names, wire_BD, strict=True):
        if name != "c02":
            totals.add(name, row_D, end.aggregator.group(name, names, CTX))
    found = by_client(end.release(totals, CTX))
    assert list(found) == ["c00", "c01", "c03", "c04"]
    for place in (0, 1, 3, 4):
        loss, examples = found[names[place]]
        by_hand = world.pull_N[place] / 2 * float(np.sum(world.target_NP[place] ** 2))
        assert loss == pytest.approx(by_hand, rel=1e-5) and examples == world.examples_N[place]


def rows(**sums):
    return Released(sums={k: np.array(v) for k, v in sums.items()}, count_G=np.array([1, 0, 1]), names=("a", "c"))


def test_a_loss_is_a_sum_over_examples_or_a_mean_that_may_be_weighed():
    assert by_client(rows(loss=[6.0, 0.0, 0.0], examples=[3.0, 0.0, 0.0])) == {"a": (2.0, 3.0), "c": (0.0, 0.0)}
    assert by_client(rows(loss=[6.0, 0.0, 4.0])) == {"a": (6.0, None), "c": (4.0, None)}
    assert by_client(rows(loss=[1.0, 0.0, 0.5], weight=[0.5, 0.0, 1.0])) == {"a": (2.0, None), "c": (0.5, None)}


def test_no_request_asks_more_than_a_sum_holds():
    flow = ask_losses({}, ("a", "b", "c"), 2)
    first = next(flow)
    assert (first.endpoint, first.to) == (LOSSES, ("a", "b"))
    second = flow.send(Released(sums={"loss": np.ones(2)}, count_G=np.ones(2, int), names=("a", "b")))
    assert second.to == ("c",)
    with pytest.raises(StopIteration) as done:
        flow.send(Released(sums={"loss": np.zeros(1)}, count_G=np.zeros(1, int), names=()))
    assert done.value.value == {"a": (1.0, None), "b": (1.0, None)}
