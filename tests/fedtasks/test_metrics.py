"""Metrics from sums over clients say what they would say of all data in one place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from hansa.fedtasks import Accuracy, Auc, MetricError, OptionError


def added(metric, parts):
    """What the coordinator has: the sums over clients, and how many examples they are of."""
    sums = [metric.local(outputs, targets) for outputs, targets in parts]
    total = {name: np.sum([one[name] for one in sums], 0, np.float64) for name in sums[0]}
    return total | {"examples": np.array(float(sum(len(targets) for _, targets in parts)))}


def binary(seed, count=400, shift=1.0):
    rng = np.random.default_rng(seed)
    targets = rng.random(count) < 0.4
    logits = rng.normal(size=count) * 2 + shift * targets
    return torch.from_numpy(logits).float(), torch.from_numpy(targets).float()


@pytest.mark.parametrize("metric", [Accuracy(), Auc(), Auc(bins=7)])
def test_local_fills_the_channels_as_they_are_declared(metric):
    local = metric.local(*binary(0))
    assert list(local) == [channel.name for channel in metric.channels()]
    assert all(local[channel.name].shape == channel.shape for channel in metric.channels())
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in local.values())
    assert all(channel.nonnegative and channel.cap == 2.0**31 for channel in metric.channels())


@pytest.mark.parametrize("metric", [Accuracy(), Auc(bins=64)])
def test_sums_of_clients_are_those_of_all_data_in_one_place(metric):
    parts = [binary(seed, count) for seed, count in enumerate((3, 70, 500))]
    pooled = tuple(torch.cat(some) for some in zip(*parts, strict=True))
    clients, one = added(metric, parts), added(metric, [pooled])
    assert all(np.array_equal(clients[name], one[name]) for name in one)
    assert metric.values(clients) == metric.values(one)


@pytest.mark.parametrize(
    ("outputs", "targets", "right"),
    [
        (torch.tensor([[1.0, 2, 0], [3, 1, 0], [0, 0, 1]]), torch.tensor([1, 0, 1]), 2),
        (torch.tensor([0.1, -0.1, 2.0]), torch.tensor([1.0, 1.0, 1.0]), 2),
        (torch.tensor([[0.1], [-0.1], [2.0]]), torch.tensor([1, 0, 0]), 2),
        (torch.tensor([[0.1], [-0.1]]), torch.tensor([[1.0], [0.0]]), 2),
        (torch.tensor([[[9.0, 9.0], [0.0, 0.0]]]), torch.tensor([[0, 1]]), 0.5),
    ],
)
def test_accuracy_of_known_answers(outputs, targets, right):
    assert Accuracy().local(outputs, targets)["accuracy.correct"] == right


def test_accuracy_without_examples_is_not_available():
    assert Accuracy().values({"accuracy.correct": np.zeros(()), "examples": np.zeros(())}) == {"accuracy": None}


def test_accuracy_refuses_outputs_that_do_not_go_with_targets():
    with pytest.raises(MetricError, match=r"outputs \[4, 3\] do not go with targets \[4, 3\]"):
        Accuracy().local(torch.zeros(4, 3), torch.zeros(4, 3))


@pytest.mark.parametrize("bins", [2, 16, 1024])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 1.0, 9.0])
def test_auc_is_within_its_stated_error_of_the_exact_one(bins, shift):
    for seed in range(5):
        logits, targets = binary(seed, shift=shift)
        values = Auc(bins=bins).values(added(Auc(bins=bins), [(logits, targets)]))
        exact = roc_auc_score(targets.numpy(), logits.numpy())
        assert abs(values["auc"] - exact) <= values["auc_error"] + 1e-12
    assert bins < 1024 or values["auc_error"] < 2e-3


def test_auc_of_known_answers():
    def of(scores, targets):
        logits = torch.logit(torch.tensor(scores, dtype=torch.float64))
        return Auc(bins=4).values(Auc(bins=4).local(logits, torch.tensor(targets)))

    assert of([0.9] * 5 + [0.1] * 5, [1] * 5 + [0] * 5) == {"auc": 1.0, "auc_error": 0.0}
    assert of([0.1] * 5 + [0.9] * 5, [1] * 5 + [0] * 5) == {"auc": 0.0, "auc_error": 0.0}
    assert of([0.6] * 10, [1] * 5 + [0] * 5) == {"auc": 0.5, "auc_error": 0.5}
    half = of([0.9] * 5 + [0.8] * 2 + [0.1] * 3, [1] * 5 + [0] * 5)
    assert half == pytest.approx({"auc": 1 - 5 * 2 * 0.5 / 25, "auc_error": 5 * 2 * 0.5 / 25})


def test_auc_error_is_reached():
    """All pairs of a bin may be in the right order, which the histogram cannot see."""
    targets = torch.tensor([1.0] * 5 + [0.0] * 5)
    logits = torch.where(targets == 1, 0.02, 0.01)
    values = Auc(bins=16).values(Auc(bins=16).local(logits, targets))
    assert roc_auc_score(targets.numpy(), logits.numpy()) - values["auc"] == values["auc_error"] == 0.5


def test_auc_takes_the_ends_and_both_forms_of_logits():
    targets = torch.tensor([0.0, 1.0, 1.0, 0.0])
    logits = torch.tensor([-torch.inf, torch.inf, 100.0, -100.0])
    local = Auc(bins=8).local(logits, targets)
    assert local["auc.positive"].tolist() == [0] * 7 + [2] and local["auc.negative"].tolist() == [2] + [0] * 7
    finite = logits.clamp(-100, 100)
    two = Auc(bins=8).local(torch.stack([-finite / 2, finite / 2], 1), targets)
    assert all(np.array_equal(local[name], two[name]) for name in local)


@pytest.mark.parametrize(("positive", "negative"), [(4, 100), (100, 4), (0, 9), (9, 0), (0, 0)])
def test_auc_is_not_available_below_five_of_either_class(positive, negative):
    targets = torch.tensor([1.0] * positive + [0.0] * negative)
    assert Auc().values(Auc().local(targets.clone(), targets)) == {"auc": None, "auc_error": None}


def test_auc_is_available_when_the_clients_have_five_together():
    parts = [(torch.tensor([1.0, -1.0]), torch.tensor([1.0, 0.0]))] * 5
    assert Auc().values(added(Auc(), parts))["auc"] == 1.0


@pytest.mark.parametrize(
    ("outputs", "targets", "words"),
    [
        (torch.zeros(4, 3), torch.zeros(4), r"outputs \[4, 3\] are not those of two classes"),
        (torch.tensor([0.0, torch.nan]), torch.zeros(2), "1 of 2 outputs are NaN: lower client.lr"),
        (torch.zeros(2), torch.tensor([0, 2]), "targets other than 0 and 1"),
        (torch.zeros(3), torch.zeros(2), "3 outputs do not go with 2 targets"),
    ],
)
def test_auc_refuses_what_it_cannot_rank(outputs, targets, words):
    with pytest.raises(MetricError, match=words):
        Auc().local(outputs, targets)


def test_auc_refuses_a_single_bin():
    with pytest.raises(OptionError, match="use 2 or more"):
        Auc(bins=1)
