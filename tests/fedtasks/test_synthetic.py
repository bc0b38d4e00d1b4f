"""Synthetic(alpha, beta): keyed by client, as skewed as its settings say, and free for clients that nobody asks for."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from hansa.fedtasks import OptionError, UnknownClient
from hansa.fedtasks.synthetic import Synthetic


def inputs(task, client):
    train, test = task.data(client)
    return torch.cat([train.tensors[0], test.tensors[0]]).numpy()


def centres(task):
    return np.array([inputs(task, client).mean(0) for client in task.clients()])


def test_a_client_is_the_same_whoever_else_is_there():
    one, other = Synthetic(parts=1000).data("client-123"), Synthetic(parts=200).data("client-123")
    assert all(torch.equal(a, b) for a, b in zip(one.train.tensors, other.train.tensors, strict=True))
    moved = Synthetic(parts=1000, split=1).data("client-123")
    assert len(moved.train) != len(one.train) or not torch.equal(moved.train.tensors[0], one.train.tensors[0])


def test_draws_do_not_move_from_one_release_to_the_next():
    train, test = Synthetic().data("client-12")
    assert (len(train), len(test), train.tensors[1][:8].tolist()) == (72, 8, [9, 4, 9, 4, 9, 9, 4, 4])
    assert train.tensors[0].double().sum().item() == pytest.approx(3556.977288)


def test_alpha_moves_all_logits_alike_and_no_label():
    for client in Synthetic().clients():
        one, other = (Synthetic(alpha=alpha).data(client).train for alpha in (0.0, 9.0))
        assert all(torch.equal(a, b) for a, b in zip(one.tensors, other.tensors, strict=True))


def test_a_client_has_a_share_to_train_on_and_one_to_test_on():
    for client in Synthetic().clients():
        train, test = Synthetic(test=0.2).data(client)
        assert len(test) == round(0.2 * (len(train) + len(test))) and len(train) + len(test) >= 50
        assert train.tensors[0].dtype == torch.float32 and train.tensors[0].shape[1] == 60
        assert train.tensors[1].dtype == torch.int64 and 0 <= train.tensors[1].min() <= train.tensors[1].max() < 10
    assert Synthetic(test=0.0).data("client-00").test is None


def test_sizes_are_spread_over_orders_of_magnitude():
    task = Synthetic(parts=400)
    sizes = np.array([len(inputs(task, client)) for client in task.clients()]) - 50
    assert np.median(np.log(sizes + 1)) == pytest.approx(4, abs=0.3)
    assert np.std(np.log(sizes + 1)) == pytest.approx(2, abs=0.25)


def test_beta_is_the_variance_between_the_clients_inputs():
    for beta in (0.0, 1.0, 4.0):
        mean_K = centres(Synthetic(parts=400, alpha=0.0, beta=beta)).mean(1)
        assert mean_K.var() == pytest.approx(beta + 1 / 60, rel=0.2, abs=0.01)


def test_features_have_the_variances_of_the_paper():
    x_NF = np.concatenate([inputs(Synthetic(iid=True, parts=100), f"client-{k:02}") for k in range(100)])
    assert np.allclose(x_NF.var(0), np.arange(1, 61) ** -1.2, rtol=0.05)
    assert np.abs(x_NF.mean(0)).max() < 0.05


def accuracy_elsewhere(task, at="client-00", client="client-01"):
    """How often the linear model that fits one client's data is right at another."""
    torch.manual_seed(0)
    model, (x, y) = task.model(), task.data(at).train.tensors
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        task.loss(model(x), y).backward()
        optimiser.step()
    x, y = task.data(client).train.tensors
    return (model(x).argmax(1) == y).float().mean().item()


def test_clients_share_a_model_only_where_they_are_iid():
    big = max(Synthetic(iid=True).clients(), key=lambda client: len(inputs(Synthetic(iid=True), client)))
    assert accuracy_elsewhere(Synthetic(iid=True), big) > 0.8
    assert accuracy_elsewhere(Synthetic(), big) < 0.5


def test_a_million_clients_cost_nothing():
    tracemalloc.start()
    try:
        task = Synthetic(parts=1_000_000)
        assert len(task.clients()) == 1_000_000
        assert len(task.data("client-654321").train) >= 45
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_an_unknown_client_is_refused():
    with pytest.raises(UnknownClient, match="no client 'client-30'"):
        Synthetic().data("client-30")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1.0}, "task.alpha=-1.0: it is a variance, a number of at least 0"),
        ({"beta": float("nan")}, "task.beta=nan"),
        ({"beta": float("inf")}, "task.beta=inf"),
        ({"parts": 0}, "task.parts=0: there must be at least one client"),
        ({"test": 1.0}, "task.test=1.0: the share"),
        ({"test": -0.1}, "task.test=-0.1: the share"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        Synthetic(**options)
