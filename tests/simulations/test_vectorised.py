"""Clients side by side: what one after the other gives, to the rounding of float32, or a refusal by name.

The tolerance is 1e-5, about a hundred roundings of float32, of a number or of 1 where it is smaller. It holds for
outputs of about 1 to 10: those of hundreds, to which strong corrections push a model, round more on some CPUs.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare
from hansa.fedclient import Local
from hansa.fedclient.torch_work import TorchWork
from hansa.fedtasks import Data, Task
from hansa.simulations.errors import EngineError
from hansa.simulations.vectorised_work import VectorisedWork
from hansa.strategies import Context, Plan

NAMES = ("bergen", "bruges", "danzig", "riga", "visby")
TOLERANCE = 1e-5


class Ragged(Task):
    """Clients with 1 to 40 examples, and one with none."""

    private = ("2.*",)
    sizes = (7, 40, 0, 1, 23)

    def clients(self):
        return NAMES

    def model(self):
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

    def data(self, client):
        rng = torch.Generator().manual_seed(NAMES.index(client))
        x = torch.randn(self.sizes[NAMES.index(client)], 4, generator=rng)
        return Data(TensorDataset(x, (x.sum(1) > 0).long()))


class Pictures(Ragged):
    private = ()

    def model(self):
        first = (nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        return nn.Sequential(*first, nn.Linear(3, 3))


class Numbers(Ragged):
    """A loss of its own, over one number an example."""

    private = ()

    def model(self):
        return nn.Linear(4, 1)

    def loss(self, outputs, targets):
        return functional.mse_loss(outputs.reshape(-1), targets.to(outputs.dtype))


class Normed(Ragged):
    private = ()

    def model(self):
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


class Dropping(Ragged):
    private = ()

    def model(self):
        return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3))


class Looping(Ragged):
    private = ()

    def train(self, model, data, settings, rng):
        return 0.0


class Lazy(Ragged):
    private = ()

    def data(self, client):
        whole = super().data(client).train

        class Items(Dataset):
            def __len__(self):
                return len(whole)

            def __getitem__(self, index):
                return whole[index]

        return Data(Items())


def trained(kind, task, correction=False, names=NAMES, **settings):
    work = kind(task, Local(**{"batch_size": 5, **settings}), 1)
    model_P = work.layout.pack({k: v.numpy() for k, v in work.model.state_dict().items()}, "shared")
    ctx = Context(round=2, public=b"p" * 32, own=b"o" * 32)
    rng = np.random.default_rng(3)
    push_BP = rng.normal(0, 0.1, (len(names), len(model_P))).astype(np.float32) if correction else None
    private_BQ = work.private(names) + rng.normal(size=(len(names), 1)).astype(np.float32)
    return work.train(model_P, private_BQ, names, ctx, Plan(correction=push_BP))


SETTINGS = [
    {},
    {"epochs": 3},
    {"steps": 4},
    {"batch_size": 0, "epochs": 2},
    {"proximal": 0.5, "epochs": 2},
    {"momentum": 0.9, "weight_decay": 0.01, "epochs": 2},
    {"optimiser": "adam", "lr": 0.01, "epochs": 2},
    {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1, "epochs": 2},
    {"schedule": "linear", "horizon": 9},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("task", [Ragged, Pictures, Numbers])
def test_side_by_side_is_one_by_one_to_rounding(task, settings):
    for correction in (False, True):
        ours = trained(VectorisedWork, task(), correction, **settings)
        theirs = trained(TorchWork, task(), correction, **settings)
        for field in ("delta_BP", "private_BQ", "examples_B", "loss_B", "travel_B"):
            ours_B, theirs_B = getattr(ours, field), getattr(theirs, field)
            assert ours_B.shape == theirs_B.shape
            np.testing.assert_allclose(ours_B, theirs_B, rtol=TOLERANCE, atol=TOLERANCE, err_msg=field)
        assert np.abs(theirs.delta_BP).max() > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (Normed, "layer '1' is a BatchNorm1d, which cannot be batched: choose federation=processes"),
        (Dropping, "layer '1' is a Dropout"),
        (Looping, r"Looping\.train\(\) is a loop of its own"),
        (Lazy, "the data of client 'bergen' is a Items, which cannot be stacked"),
    ],
)
def test_what_cannot_be_batched_is_refused_by_name(task, told):
    with pytest.raises(Exception, match=told) as raised:
        trained(VectorisedWork, task())
    assert EngineError.__name__ in (type(raised.value).__name__, getattr(raised.value, "kind", ""))


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "median"])
def test_a_vectorised_run_learns_the_model_of_the_exact_one_to_rounding(tmp_path, strategy):
    models = {}
    for engine in ("inline", "vectorised"):
        words = ["task=digits", "clients=7", "rounds=3", f"strategy={strategy}", f"run_dir={tmp_path / engine}"]
        with prepare(*compose([*words, f"federation={engine}", "workers=2"])) as runner:
            runner.carry_out()
        models[engine] = runner.coordinator.parameters()
        assert runner.summary["exact"] is (engine == "inline") and runner.summary["failures"] == 0
    np.testing.assert_allclose(models["vectorised"], models["inline"], rtol=0, atol=TOLERANCE)
