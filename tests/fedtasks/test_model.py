"""A task's model as the algebra sees it: built the same everywhere, laid out flat, loaded back to the bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks import Data, Moments, Standardise, Task
from hansa.fedtasks.digits import Digits
from hansa.fedtasks.model import initial, layout, load, tensors
from hansa.strategies import LayoutError


class Mixed(nn.Module):
    """Tensors of all shapes and types, in the order of the state dict."""

    def __init__(self):
        super().__init__()
        self.scalar = nn.Parameter(torch.rand(()))
        self.standardise = Standardise(2)
        self.first = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)


class Whole(Task):
    def clients(self):
        return ("a",)

    def model(self):
        return Mixed()

    def data(self, client):
        return Data(TensorDataset(torch.ones(2, 2), torch.zeros(2).long()))


class Cut(Whole):
    queries = (Moments(features=2),)
    private = ("norm.*",)
    frozen = ("first.weight",)


def bits(model):
    return hashlib.sha256(b"".join(value.tobytes() for value in tensors(model).values())).hexdigest()


def test_every_place_builds_the_same_model_for_a_seed():
    torch.manual_seed(3)
    first = bits(initial(Whole(), 7))
    torch.manual_seed(4)
    assert first == bits(initial(Whole(), 7)) != bits(initial(Whole(), 8))


@pytest.mark.parametrize("seed", [0, 2**63, 2**200])
def test_seeds_of_any_size_build_a_model(seed):
    assert bits(initial(Digits(), seed)) != bits(initial(Digits(), seed + 1))


def test_building_a_model_leaves_torchs_own_randomness_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    initial(Whole(), 1)
    assert torch.equal(torch.rand(3), expected)


def test_models_are_float32_and_keep_their_integers():
    class Double(Whole):
        def model(self):
            return Mixed().double()

    types = {str(value.dtype) for value in tensors(initial(Double(), 1)).values()}
    assert types == {"float32", "int64"}


def test_tensors_are_the_models_own_memory():
    model = initial(Whole(), 1)
    tensors(model)["head.bias"][:] = 5
    assert model.head.bias.tolist() == [5, 5]
    assert list(tensors(model)) == list(model.state_dict()) and tensors(model)["scalar"].shape == ()


def test_a_layout_follows_the_tasks_patterns_and_queries():
    model = initial(Cut(), 1)
    kinds = {entry.name: entry.kind for entry in layout(Cut(), model).entries}
    assert kinds == {
        "scalar": "shared",
        "standardise.mean": "fitted",
        "standardise.scale": "fitted",
        "first.weight": "frozen",
        "first.bias": "shared",
        **dict.fromkeys((f"norm.{name}" for name in model.norm.state_dict()), "private"),
        "head.weight": "shared",
        "head.bias": "shared",
    }
    assert set({entry.kind for entry in layout(Whole(), model).entries}) == {"shared"}


def test_what_a_run_keeps_private_only_adds_to_what_the_task_says():
    model, norms = initial(Cut(), 1), {f"norm.{name}" for name in initial(Cut(), 1).norm.state_dict()}
    for more, added in ((None, set()), (["head.*"], {"head.weight", "head.bias"}), (["norms"], set())):
        kinds = {entry.name: entry.kind for entry in layout(Cut(), model, more).entries}
        assert {name for name, kind in kinds.items() if kind == "private"} == norms | added
    with pytest.raises(LayoutError, match=r"private=\[\]: private only adds to the task's own: norm\.\*; leave it out"):
        layout(Cut(), model, [])
    whole = layout(Whole(), initial(Whole(), 1), []).entries
    assert "private" not in {entry.kind for entry in whole}, "a task that has none may be told so"


def test_norms_are_all_tensors_of_normalisation_layers():
    class Normed(Whole):
        private = ("norms",)

        def model(self):
            deep = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4))
            return nn.Sequential(deep, nn.Linear(4, 2))

    class Plain(Normed):
        def model(self):
            return nn.Linear(3, 2)

    task = Normed()
    kinds = {entry.name: entry.kind for entry in layout(task, task.model()).entries}
    norms = {name for name in kinds if name.startswith(("0.1.", "0.2.", "0.3."))}
    assert {name for name, kind in kinds.items() if kind == "private"} == norms and len(norms) == 9
    with pytest.raises(LayoutError, match="no normalisation layer"):
        layout(Plain(), Plain().model())


@pytest.mark.parametrize("name", ["private", "frozen"])
def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_names(name):
    task = type("Wrong", (Whole,), {name: ("haed.*",)})()
    with pytest.raises(LayoutError, match=rf"{name} pattern 'haed\.\*' matches no tensor .* nearest are head\."):
        layout(task, initial(task, 1))


def test_a_query_that_fills_what_the_model_lacks_is_refused():
    class Unfilled(Digits):
        queries = (Moments(features=64),)

    with pytest.raises(LayoutError, match=r"fitted pattern 'standardise\.mean' matches no tensor"):
        layout(Unfilled(), initial(Unfilled(), 1))


@pytest.mark.parametrize("task", [Whole, Cut])
def test_what_is_packed_loads_back_to_the_bit(task):
    there, here = initial(task(), 1), initial(task(), 2)
    there.norm.num_batches_tracked.fill_(41)
    lay = layout(task(), there)
    frozen = here.first.weight.clone()
    for kind in ("shared", "private", "fitted"):
        load(here, lay, lay.pack(tensors(there), kind), kind)
    loaded = {entry.name for entry in lay.entries if entry.kind != "frozen"}
    assert all(np.array_equal(tensors(here)[name], tensors(there)[name]) for name in loaded)
    assert here.norm.num_batches_tracked.item() == 41
    if task is Cut:
        assert torch.equal(here.first.weight, frozen) and not torch.equal(here.first.weight, there.first.weight)


def test_loading_one_kind_leaves_the_others_and_is_in_place():
    model = initial(Cut(), 1)
    lay, before = layout(Cut(), model), {name: value.copy() for name, value in tensors(model).items()}
    weight = model.head.weight
    load(model, lay, np.zeros(lay.size("shared"), np.float32), "shared")
    assert model.head.weight is weight and weight.requires_grad and not weight.any()
    rest = [entry.name for entry in lay.entries if entry.kind != "shared"]
    assert all(np.array_equal(tensors(model)[name], before[name]) for name in rest)


def test_integers_are_rounded_to_the_nearest():
    model = initial(Whole(), 1)
    lay = layout(Whole(), model)
    for mean, rounded in ((2.4, 2), (2.6, 3)):
        load(model, lay, np.full(lay.size("shared"), mean, np.float32), "shared")
        assert model.norm.num_batches_tracked.item() == rounded
        assert model.scalar.item() == np.float32(mean)


def test_loading_copies_and_takes_what_cannot_be_written():
    model = initial(Whole(), 1)
    lay = layout(Whole(), model)
    vector = np.zeros(lay.size("shared"), np.float32)
    vector.flags.writeable = False
    load(model, lay, vector, "shared")
    with torch.no_grad():
        model.head.bias += 1
    assert not vector.any()


def test_a_vector_of_another_model_is_refused():
    model = initial(Whole(), 1)
    with pytest.raises(LayoutError, match="is it the same model"):
        load(model, layout(Whole(), model), np.zeros(3, np.float32), "shared")
