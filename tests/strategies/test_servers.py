"""Server optimisers, by hand from the papers' equations."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.strategies import (
    Cohort,
    CompositionError,
    FedAdagrad,
    FedAdam,
    FedAsync,
    FedAvg,
    FedAvgM,
    FedYogi,
    Released,
    Round,
    RoundLost,
)

NOW = Round(number=1, population=2, cohort=Cohort(expected=2, max=2))
SERVERS = (FedAvgM(), FedAdagrad(), FedAdam(), FedYogi())
ADAPTIVE = SERVERS[1:]


def answer(delta, weights=(1.0, 3.0)):
    """What two clients with the same update release."""
    w = np.array(weights)
    sums = {"delta": w.sum() * np.array([delta]), "loss": np.array([2.0 * w.sum()]), "weight": np.array([w.sum()])}
    return Released(sums=sums, count_G=np.array([2]), names=("a", "b"))


def rounds(strategy, *deltas, model=(0.0,), now=NOW):
    """The state after rounds whose mean updates are these."""
    state = strategy.init(np.array(model, np.float32))
    for delta in deltas:
        flow = strategy.round(state, now)
        request = next(flow)
        assert request.payload.keys() == {"model"} and (request.endpoint, request.to) == ("train.update", "cohort")
        with pytest.raises(StopIteration) as stop:
            flow.send(answer(delta))
        state, metrics = stop.value.value
        assert metrics == {"train_loss": 2.0}
        assert all(array.dtype == np.float32 for array in state.values())
    return state


def test_momentum_adds_up_what_came_before():
    """v = 1, then 0.5 * 1 + 3 = 3.5; x = 2 * (1 + 3.5)."""
    state = rounds(FedAvgM(lr=2.0, momentum=0.5), [1.0], [3.0])
    assert state["velocity"].tolist() == [3.5] and state["model"].tolist() == [9.0]


def test_adagrad_divides_by_all_that_ever_moved():
    """tau = 0.5, so v = 0.25; d = 3 and 4: v = 9.25, then 25.25."""
    state = rounds(FedAdagrad(lr=2.0, tau=0.5), [3.0], [4.0])
    by_hand = 2 * 3 / (9.25**0.5 + 0.5) + 2 * 4 / (25.25**0.5 + 0.5)
    assert state["second"].tolist() == [25.25] and state["model"] == pytest.approx([by_hand], rel=1e-6)


def test_adam_has_two_decaying_means_and_corrects_no_bias():
    """beta1 = 0.5, beta2 = 0.75, tau = 1, so v = 1; d = 2: m = 1, v = 1.75; d = -1: m = 0, v = 1.5625."""
    strategy = FedAdam(lr=2.0, beta1=0.5, beta2=0.75, tau=1.0)
    one = rounds(strategy, [2.0])
    assert one["first"].tolist() == [1.0] and one["second"].tolist() == [1.75]
    assert one["model"] == pytest.approx([2 / (1.75**0.5 + 1)], rel=1e-6)
    two = rounds(strategy, [2.0], [-1.0])
    assert two["first"].tolist() == [0.0] and two["second"].tolist() == [1.5625]
    assert two["model"].tolist() == one["model"].tolist()


def test_yogi_moves_v_by_a_share_of_the_square_towards_it():
    """v = 1; d = 2 is above: v = 1 + 0.25 * 4 = 2; d = 1 is below: v = 2 - 0.25 * 1; d^2 = v leaves it."""
    strategy = FedYogi(lr=2.0, beta1=0.0, beta2=0.75, tau=1.0)
    state = rounds(strategy, [2.0], [1.0])
    assert state["second"].tolist() == [1.75]
    assert state["model"] == pytest.approx([4 / (2**0.5 + 1) + 2 / (1.75**0.5 + 1)], rel=1e-6)
    assert rounds(strategy, [1.0])["second"].tolist() == [1.0]


@pytest.mark.parametrize("strategy", SERVERS, ids=lambda s: type(s).__name__)
def test_buffers_take_the_mean_and_nothing_else(strategy):
    now = Round(number=1, population=2, cohort=NOW.cohort, buffers=(slice(1, 3),))
    state = rounds(strategy, [2.0, 8.0, -3.0, 2.0], [1.0, 4.0, 5.0, 1.0], model=(0.0, 1.0, 0.0, 0.0), now=now)
    assert state["model"][1:3].tolist() == [13.0, 2.0]
    assert state["model"][[0]].tolist() == rounds(strategy, [2.0], [1.0])["model"].tolist()
    assert state["model"][0] == state["model"][3]


@pytest.mark.parametrize("strategy", SERVERS, ids=lambda s: type(s).__name__)
def test_a_zero_update_moves_nothing(strategy):
    assert rounds(strategy, [0.0], [0.0], model=(3.0,))["model"].tolist() == [3.0]


@pytest.mark.parametrize("strategy", SERVERS, ids=lambda s: type(s).__name__)
def test_weights_of_zero_lose_the_round(strategy):
    flow = strategy.round(strategy.init(np.zeros(1, np.float32)), NOW)
    next(flow)
    with pytest.raises(RoundLost, match="no client has training examples"):
        flow.send(answer([1.0], weights=(0.0, 0.0)))


@pytest.mark.parametrize("strategy", ADAPTIVE, ids=lambda s: type(s).__name__)
def test_a_large_tau_is_fedavg(strategy):
    """Where v stays at tau^2, x moves by lr / (2 tau) times m."""
    tau = 1e4
    forever = {} if isinstance(strategy, FedAdagrad) else {"beta2": 1 - 1e-9}
    large = type(strategy)(lr=2 * tau, beta1=0.0, tau=tau, **forever)
    mine, plain = (rounds(one, [2.0], [-1.0])["model"] for one in (large, FedAvg()))
    assert mine == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("server", [FedAvgM, FedAdagrad, FedAdam, FedYogi])
def test_settings_that_make_no_sense_are_refused(server):
    with pytest.raises(CompositionError, match=r"strategy.weighting='sizes': it is one of examples, uniform\."):
        server(weighting="sizes")
    with pytest.raises(CompositionError, match=r"strategy.denominator='sum': it is one of weights, expected\."):
        server(denominator="sum")


@pytest.mark.parametrize(
    ("server", "field", "values", "words"),
    [
        (FedAvgM, "momentum", (1.0, -0.1, np.nan), "at least 0 and below 1"),
        (FedAsync, "lr", (0.0, 1.1, np.nan), "above 0, and 1 at most"),
        (FedAsync, "mu", (-0.1, np.nan), "at least 0"),
        *[(server, "beta1", (1.0, -0.1), "at least 0 and below 1") for server in (FedAdagrad, FedAdam, FedYogi)],
        *[(server, "beta2", (1.0, -0.1), "at least 0 and below 1") for server in (FedAdam, FedYogi)],
        *[(server, "tau", (0.0, -1.0, np.nan), "above 0") for server in (FedAdagrad, FedAdam, FedYogi)],
    ],
)
def test_numbers_out_of_range_are_refused(server, field, values, words):
    for value in values:
        with pytest.raises(CompositionError, match=f"strategy.{field}={value}: it must be {words}"):
            server(**{field: value})
