"""What a task must say, what it may leave to its defaults, and that a configuration can hold the built-in ones."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

import hansa.fedtasks.errors
from hansa.fedtasks import Accuracy, Data, DataError, Task, TaskError, UnknownClient, stack
from hansa.fedtasks.digits import Digits
from hansa.fedtasks.heart_disease import HeartDisease
from hansa.fedtasks.mnist import Mnist
from hansa.fedtasks.synthetic import Synthetic

BUILT_IN = (HeartDisease, Digits, Mnist, Synthetic)


class Least(Task):
    def clients(self):
        return ("north", "south")

    def model(self):
        return nn.Linear(2, 3)

    def data(self, client):
        return Data(train=TensorDataset(torch.ones(4, 2), torch.arange(4) % 3))


def test_a_task_needs_three_parts_and_has_defaults_for_the_rest():
    task = Least()
    assert task.metrics == (Accuracy(),) and task.train is None and task.server_data() is None
    assert task.queries == task.private == task.frozen == ()
    assert task.data("north").test is None
    outputs, targets = task.model()(torch.ones(4, 2)), torch.arange(4) % 3
    assert torch.equal(task.loss(outputs, targets), functional.cross_entropy(outputs, targets))


@pytest.mark.parametrize("part", ["clients", "model", "data"])
def test_a_part_that_is_lacking_is_named(part):
    parts = {name: value for name, value in vars(Least).items() if name in ("clients", "model", "data")}
    del parts[part]
    with pytest.raises(TypeError, match=f"abstract method '?{part}'?"):
        type("Lacking", (Task,), parts)()


def test_training_of_ones_own_is_seen_and_called_as_a_method():
    class Own(Least):
        def train(self, model, data, settings, rng):
            return float(len(data))

    task = Own()
    assert task.train is not None
    assert task.train(task.model(), task.data("north").train, None, None) == 4.0


@pytest.mark.parametrize("make", BUILT_IN)
def test_built_in_tasks_are_their_own_configuration_schema(make):
    plain = [(field.name, field.type, field) for field in dataclasses.fields(make) if field.name != "partition"]
    schema = OmegaConf.structured(dataclasses.make_dataclass("Plain", plain))
    options = {name: field.default for name, _, field in plain}
    assert OmegaConf.to_container(schema) == options
    assert make(**OmegaConf.to_container(schema)) == make()
    with pytest.raises(ValidationError):
        OmegaConf.merge(schema, {"split": "first"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().split = 2


@pytest.mark.parametrize("make", BUILT_IN)
def test_built_in_tasks_go_to_other_processes(make):
    task = pickle.loads(pickle.dumps(make(split=3)))
    assert task == make(split=3) and task.clients() == tuple(sorted(task.clients()))


@pytest.mark.parametrize("make", BUILT_IN)
def test_models_are_the_same_for_a_seed(make):
    def state():
        torch.manual_seed(5)
        return make().model().state_dict()

    assert all(torch.equal(one, two) for one, two in zip(state().values(), state().values(), strict=True))


def test_examples_of_any_kind_are_stacked():
    class Pairs(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return torch.full((3,), float(index)), index

    class Shifted(TensorDataset):
        def __getitem__(self, index):
            inputs, targets = super().__getitem__(index)
            return inputs + 10, targets

    inputs, targets = stack(Pairs())
    assert inputs.tolist() == [[0, 0, 0], [1, 1, 1]] and targets.tolist() == [0, 1]
    assert stack(Shifted(torch.zeros(2, 1), torch.ones(2)))[0].tolist() == [[10], [10]]


def test_every_error_is_drawn_in_the_tree_and_is_a_task_error():
    module = hansa.fedtasks.errors
    errors = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(error, TaskError) and f"{error.__name__} " in f"{module.__doc__} " for error in errors[1:])
    assert errors[0] is TaskError


@pytest.mark.parametrize("error", [DataError("a.csv", "empty.", line=7), UnknownClient("x", ("a", "b"))])
def test_errors_come_back_from_other_processes(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error) and str(back) == str(error)


def test_messages_are_one_line():
    assert str(DataError("a.csv", "two\nlines", line=7)) == "a.csv, line 7: two lines"
    assert str(UnknownClient("x\ny", ())) == "there is no client 'x\\ny' in this task: its clients are none."
