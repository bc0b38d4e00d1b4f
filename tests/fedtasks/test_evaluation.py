"""What an evaluation sums: the same however the data is kept, cut into pieces, or spread over clients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from hansa.fedtasks import Accuracy, Auc, Data, MetricError, Task
from hansa.fedtasks.evaluation import AT_ONCE, channels, forward, pick, sums


class Plane(Task):
    metrics = (Accuracy(), Auc(bins=8))

    def clients(self):
        return ("a",)

    def model(self):
        return nn.Linear(3, 2)

    def data(self, client):
        return Data(points(5))


class Listed(Dataset):
    """The same examples one by one, as a user's own dataset gives them."""

    def __init__(self, whole):
        self.whole = whole

    def __len__(self):
        return len(self.whole)

    def __getitem__(self, index):
        assert type(index) is int
        x, y = self.whole[index]
        return x, int(y)


def points(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long())


def model(seed=0):
    torch.manual_seed(seed)
    return Plane().model()


def test_channels_are_examples_loss_and_the_metrics_own():
    names = [channel.name for channel in channels(Plane())]
    assert names == ["examples", "loss", "accuracy.correct", "auc.positive", "auc.negative"]
    assert {c.name for c in channels(Plane()) if not c.nonnegative} == {"loss"}


@pytest.mark.parametrize("examples", [None, points(0), Listed(points(0)), points(9)])
def test_sums_fill_exactly_the_channels_in_float32(examples):
    found, due = sums(Plane(), model(), examples), channels(Plane())
    assert list(found) == [channel.name for channel in due]
    assert all(found[c.name].shape == c.shape and found[c.name].dtype == np.float32 for c in due)


@pytest.mark.parametrize("examples", [None, points(0), Listed(points(0))])
def test_without_examples_all_sums_are_zero(examples):
    assert not any(value.any() for value in sums(Plane(), model(), examples).values())


def test_sums_are_those_of_all_examples_at_once():
    examples = points(AT_ONCE * 2 + 7)
    x, y = examples.tensors
    found, outputs = sums(Plane(), model(), examples), model()(x)
    assert found["examples"] == len(y)
    assert found["loss"] == pytest.approx(functional.cross_entropy(outputs, y, reduction="sum").item(), rel=1e-5)
    assert found["accuracy.correct"] == (outputs.argmax(1) == y).sum()
    assert found["auc.positive"].sum() == y.sum() and found["auc.negative"].sum() == len(y) - y.sum()


@pytest.mark.parametrize("count", [1, 3, AT_ONCE, AT_ONCE + 1])
def test_a_dataset_of_ones_own_gives_the_same_sums(count):
    whole = points(count)
    in_memory, one_by_one = sums(Plane(), model(), whole), sums(Plane(), model(), Listed(whole))
    assert all(np.array_equal(in_memory[name], one_by_one[name]) for name in in_memory)


def test_sums_of_parts_add_up():
    x, y = points(100).tensors
    parts = [sums(Plane(), model(), TensorDataset(x[rows], y[rows])) for rows in (slice(0, 30), slice(30, None))]
    whole = sums(Plane(), model(), points(100))
    for name, value in whole.items():
        np.testing.assert_allclose(parts[0][name] + parts[1][name], value, rtol=1e-5)


def test_the_model_is_evaluated_as_in_use_and_is_not_changed():
    class Normed(Plane):
        def model(self):
            return nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    there = Normed().model().train()
    before = {name: value.clone() for name, value in there.state_dict().items()}
    first, second = (sums(Normed(), there, points(50)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, before[name]) for name, value in there.state_dict().items())
    assert all(parameter.grad is None for parameter in there.parameters())


def test_outputs_and_targets_come_in_the_order_of_the_examples():
    examples, there = points(AT_ONCE + 5), model()
    outputs, targets, loss = forward(Plane(), there, examples)
    assert torch.equal(targets, examples.tensors[1]) and outputs.shape == (AT_ONCE + 5, 2)
    torch.testing.assert_close(outputs, there(examples.tensors[0]).detach())
    assert not outputs.requires_grad and type(loss) is float


@pytest.mark.parametrize("wrap", [lambda whole: whole, Listed])
def test_picked_rows_come_in_the_order_asked_for(wrap):
    whole, rows = points(9), np.array([4, 0, 8, 4])
    x, y = pick(wrap(whole), rows, "cpu")
    assert torch.equal(x, whole.tensors[0][rows]) and torch.equal(y, whole.tensors[1][rows])
    assert x.dtype == torch.float32 and y.dtype == torch.int64


def test_a_tensor_dataset_with_an_index_of_its_own_is_asked_for_each_example():
    class Shifted(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x + 100, y

    x, _ = pick(Shifted(*points(3).tensors), np.array([0, 2]), "cpu")
    assert (x > 50).all()


def test_the_loss_of_a_task_is_a_mean_that_is_summed_by_example():
    class Constant(Plane):
        def loss(self, outputs, targets):
            return torch.tensor(0.5)

    assert sums(Constant(), model(), points(AT_ONCE + 1))["loss"] == 0.5 * (AT_ONCE + 1)


def test_a_loss_that_is_not_finite_is_told_and_not_hidden():
    class Diverged(Plane):
        def loss(self, outputs, targets):
            return outputs.sum() * torch.nan

    assert np.isnan(sums(Diverged(), model(), points(3))["loss"])


def test_a_metric_that_does_not_go_with_the_targets_says_so():
    shares = TensorDataset(points(4).tensors[0], torch.full((4, 2), 0.5))
    with pytest.raises(MetricError, match=r"accuracy: outputs \[4, 2\] do not go with targets \[4, 2\]"):
        sums(Plane(), model(), shares)
