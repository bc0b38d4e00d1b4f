"""Local training: plain references, the same bits for a seed, and errors that say where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from hansa.fedclient.errors import SettingsError, StageFailed
from hansa.fedclient.optimiser import Optimiser
from hansa.fedclient.settings import Local
from hansa.fedclient.torch_work import TorchWork, traits
from hansa.fedtasks import Data, Task
from hansa.simulations.errors import EngineError
from hansa.simulations.vectorised_work import VectorisedWork
from hansa.strategies import Context, Plan

CTX = Context(round=1, public=b"p", own=b"o")
NAMES = ("north", "south")


@dataclass(frozen=True, kw_only=True)
class Lines(Task):
    """Two classes on a line, 20 examples a client."""

    def clients(self):
        return NAMES

    def model(self):
        return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))

    def data(self, client):
        rng = np.random.default_rng(len(client) + NAMES.index(client))
        x = torch.from_numpy(rng.normal(size=(20, 3))).float()
        return Data(TensorDataset(x, (x[:, 0] > 0).long()), TensorDataset(x[:5], (x[:5, 0] > 0).long()))


class Plain(Lines):
    def model(self):
        return nn.Linear(3, 2)


def work(task=None, seed=1, **settings):
    return TorchWork(task or Lines(), Local(**settings), seed)


def start(there):
    return there.layout.pack({k: v.numpy().copy() for k, v in there.model.state_dict().items()}, "shared")


def train(there, names=NAMES, ctx=CTX, model=None, private_BQ=None, **plan):
    model = np.full(there.layout.size("shared"), 0.1, "f4") if model is None else model
    private_BQ = there.private(names) if private_BQ is None else private_BQ
    return there.train(model, private_BQ, names, ctx, Plan(**plan))


@pytest.mark.parametrize(
    ("settings", "torchs"),
    [
        ({"weight_decay": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1)),
        ({"momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        ({"optimiser": "adam"}, lambda p: torch.optim.Adam(p, lr=0.1)),
        ({"optimiser": "adamw", "weight_decay": 0.1}, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1)),
    ],
    ids=["decay", "momentum", "adam", "adamw"],
)
def test_steps_are_torchs_own_to_the_bit(settings, torchs):
    ours, theirs = (nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    unused = nn.Parameter(torch.ones(1))
    mine, step = [*ours.parameters(), unused], torchs(theirs.parameters())
    optimiser = Optimiser(mine, Local(**settings), 0.1)
    for seed in range(20):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        for model in (ours, theirs):
            model.zero_grad()
            model(x).square().sum().backward()
        with torch.no_grad():
            optimiser.step([p.grad for p in mine])
        step.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert unused.item() == 1


def test_full_batches_of_plain_sgd_are_gradient_descent():
    there = work(Plain(), batch_size=0, epochs=3)
    got = train(there, ("north",))
    x, y = Plain().data("north").train.tensors
    w = torch.full((2, 3), 0.1, requires_grad=True)
    b = torch.full((2,), 0.1, requires_grad=True)
    for _ in range(3):
        gw, gb = torch.autograd.grad(nn.functional.cross_entropy(x @ w.T + b, y), (w, b))
        w, b = (w - 0.1 * gw).detach().requires_grad_(), (b - 0.1 * gb).detach().requires_grad_()
    there_P = torch.cat([w.flatten(), b]).detach().numpy()
    assert np.allclose(got.delta_BP[0] + 0.1, there_P, atol=1e-6)
    assert got.travel_B[0] == pytest.approx(0.3) and got.examples_B.tolist() == [20]


def test_the_same_key_gives_the_same_bits_and_others_do_not():
    both = train(work())
    alone = [train(work(), (name,)) for name in NAMES]
    assert np.array_equal(both.delta_BP, np.concatenate([one.delta_BP for one in alone]))
    others = [train(work(), ctx=replace(CTX, round=2)), train(work(), ctx=replace(CTX, public=b"x"))]
    assert not any(np.array_equal(both.delta_BP, other.delta_BP) for other in others)
    assert np.array_equal(both.delta_BP, train(work(), ctx=replace(CTX, request=3, own=b"x")).delta_BP)


def test_initial_models_depend_on_the_seed_and_leave_torchs_own_randomness_alone():
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    assert np.array_equal(start(work()), start(work())) and not np.array_equal(start(work()), start(work(seed=2)))
    train(work())
    assert torch.equal(first, torch.rand(1))


def test_steps_in_place_of_epochs():
    assert train(work(steps=7, batch_size=8)).travel_B.tolist() == pytest.approx([0.7, 0.7])
    assert train(work(steps=2, batch_size=0)).travel_B.tolist() == pytest.approx([0.2, 0.2])
    assert train(work(epochs=2, batch_size=8)).travel_B.tolist() == pytest.approx([0.6, 0.6])


class Twice(nn.Module):
    """Two biases that are added up: autograd gives them one tensor as their gradient."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x[:, :2] + (self.first + self.second)


class Doubled(Lines):
    def model(self):
        return Twice()


@pytest.mark.parametrize("kind", [TorchWork, VectorisedWork])
def test_gradients_that_are_one_tensor_are_corrected_once(kind):
    there = kind(Doubled(), Local(lr=0.5, batch_size=0, steps=4), 1)
    push = np.array([[0.25, -0.5, 2.0, 4.0]] * 2, "f4")
    gap = train(there).delta_BP - train(there, correction=push).delta_BP
    alone = train(there, correction=push * [1, 1, 0, 0]).delta_BP
    assert np.abs(gap).max() > 1
    summed = there.settings.lr * there.settings.steps * push
    np.testing.assert_allclose(gap[:, :2] - gap[:, 2:], summed[:, :2] - summed[:, 2:], atol=1e-4)
    np.testing.assert_allclose(alone[:, :2] - alone[:, 2:], -summed[:, :2], atol=1e-4)


class Deep(Lines):
    def model(self):
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_a_contrast_is_moons_loss_of_what_the_last_layer_gets():
    there, reference = work(Deep(), lr=0.5, batch_size=0), Deep().model()
    start_P, last_P = (np.random.default_rng(i).normal(size=26).astype("f4") for i in (0, 1))
    got = train(there, ("north",), model=start_P, contrast=2.0, temperature=0.5, previous=last_P).delta_BP[0]

    def features(vector, x):
        model = Deep().model()
        nn.utils.vector_to_parameters(torch.from_numpy(vector), model.parameters())
        return model[1](model[0](x))

    nn.utils.vector_to_parameters(torch.from_numpy(start_P.copy()), reference.parameters())
    x, y = there.data("north").train.tensors
    z = reference[1](reference[0](x))
    near, far = (torch.cosine_similarity(z, features(v, x).detach()) / 0.5 for v in (start_P, last_P))
    loss = nn.functional.cross_entropy(reference(x), y) - 2.0 * torch.log(near.exp() / (near.exp() + far.exp())).mean()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(reference.parameters()))])
    np.testing.assert_allclose(got, -0.5 * gradient.numpy(), atol=1e-5)


def test_a_representation_without_length_has_no_contrast():
    """All parameters are 0, and so is every representation; those of the other model are not."""
    start_P, last_P = np.zeros(26, "f4"), np.ones(26, "f4")
    plain, got = (
        train(work(Deep()), ("north",), model=start_P, **settings).delta_BP
        for settings in ({}, {"contrast": 1.0, "previous": last_P})
    )
    np.testing.assert_array_equal(got, plain)


def test_a_contrast_needs_a_linear_layer_and_one_client_at_a_time():
    class Flat(Plain):
        def model(self):
            return nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 2, 1), nn.Flatten())

    with pytest.raises(StageFailed, match=r"MOON contrasts what the last linear layer gets: .* has no nn\.Linear"):
        train(work(Flat()), model=np.zeros(8, "f4"), contrast=1.0, previous=np.zeros(8, "f4"))
    with pytest.raises(EngineError, match=r"a contrast of representations \(MOON\) cannot be batched"):
        train(VectorisedWork(Deep(), Local(), 1), contrast=1.0, previous=np.zeros(26, "f4"))


class Personal(Plain):
    private = ("bias",)


@pytest.mark.parametrize("kind", [TorchWork, VectorisedWork])
def test_a_plan_takes_the_place_of_the_clients_own_settings(kind):
    there = kind(Plain(), Local(lr=0.2, batch_size=5, epochs=3), 1)
    assert train(there).travel_B.tolist() == pytest.approx([0.2 * 12] * 2)
    assert train(there, epochs=1).travel_B.tolist() == pytest.approx([0.2 * 4] * 2)
    assert train(there, steps=5).travel_B.tolist() == pytest.approx([0.2 * 5] * 2)
    assert train(there, steps=5, rate=0.5).travel_B.tolist() == pytest.approx([0.1 * 5] * 2)
    assert train(there, epochs=2, batch_size=0).travel_B.tolist() == pytest.approx([0.2 * 2] * 2)
    alone = train(kind(Plain(), Local(lr=0.1, batch_size=5, steps=5), 1))
    np.testing.assert_allclose(train(there, steps=5, rate=0.5).delta_BP, alone.delta_BP, atol=1e-6)


@pytest.mark.parametrize("kind", [TorchWork, VectorisedWork])
def test_parts_of_a_round_draw_other_batches(kind):
    there = kind(Plain(), Local(lr=0.1, batch_size=3, steps=2), 1)
    first, again, second = (train(there, part=part).delta_BP for part in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, second)


@pytest.mark.parametrize("kind", [TorchWork, VectorisedWork])
def test_a_plan_pulls_to_an_anchor_from_wherever_each_client_starts(kind):
    there = kind(Plain(), Local(lr=0.1, batch_size=0), 1)
    start_BP = np.stack([np.full(8, 0.5, "f4"), np.full(8, -0.5, "f4")])
    anchor_BP = np.stack([np.zeros(8, "f4"), np.ones(8, "f4")])
    free = train(there, model=start_BP, steps=1).delta_BP
    pulled = train(there, model=start_BP, steps=1, proximal=2.0, anchor=anchor_BP).delta_BP
    np.testing.assert_allclose(pulled, free - 0.1 * 2.0 * (start_BP - anchor_BP), atol=1e-6)
    common = train(there, model=start_BP, steps=1, proximal=2.0, anchor=anchor_BP[1]).delta_BP
    np.testing.assert_allclose(common, free - 0.1 * 2.0 * (start_BP - anchor_BP[1]), atol=1e-6)
    home = train(there, model=start_BP, steps=1, proximal=2.0).delta_BP
    np.testing.assert_allclose(home, free, atol=1e-7)


@pytest.mark.parametrize("kind", [TorchWork, VectorisedWork])
def test_a_plan_trains_shared_or_private_parameters_alone(kind):
    there = kind(Personal(), Local(lr=0.1, batch_size=0, steps=3), 1)
    both, shared, private = train(there), train(there, only="shared"), train(there, only="private")
    start_BQ = there.private(NAMES)
    assert np.abs(both.delta_BP).min() > 0 and np.abs(both.private_BQ - start_BQ).min() > 0
    assert np.abs(shared.delta_BP).min() > 0 and np.array_equal(shared.private_BQ, start_BQ)
    assert not private.delta_BP.any() and np.abs(private.private_BQ - start_BQ).min() > 0
    assert shared.travel_B.tolist() == pytest.approx([0.3, 0.3]) and private.travel_B.tolist() == [0, 0]


def test_evaluation_takes_a_model_for_each_client():
    there = work(Plain())
    model_BP = np.stack([np.full(8, 0.1, "f4"), np.arange(8, dtype="f4")])
    both = there.evaluate(model_BP, there.private(NAMES), NAMES)
    for i, name in enumerate(NAMES):
        alone = there.evaluate(model_BP[i], there.private((name,)), (name,))
        assert {key: value[i].tolist() for key, value in both.items()} == {k: v[0].tolist() for k, v in alone.items()}


def test_corrections_are_added_to_gradients_and_proximal_pulls_back():
    once = {"batch_size": 0, "epochs": 1}
    plain, corrected = work(Plain(), **once), work(Plain(), **once)
    push = np.arange(8, dtype=np.float32)[None]
    gap = train(plain, ("north",)).delta_BP - train(corrected, ("north",), correction=push).delta_BP
    assert np.allclose(gap, 0.1 * push, atol=1e-6)
    far, near = (work(Plain(), batch_size=0, epochs=50, proximal=mu) for mu in (0.0, 10.0))
    assert np.linalg.norm(train(near, ("north",)).delta_BP) < 0.3 * np.linalg.norm(train(far, ("north",)).delta_BP)


@dataclass(frozen=True, kw_only=True)
class Normed(Lines):
    """BatchNorm that stays at home, a frozen layer, and a number of its own."""

    private = ("1.*",)
    frozen = ("0.*",)

    def model(self):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), Scale())


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return x * self.by


class Together(Normed):
    private = ()


def test_private_stays_frozen_stands_and_the_rest_is_shared():
    there = work(Normed())
    frozen = there.model[0].weight.clone()
    got = train(there, ("north",))
    assert got.delta_BP.shape == (1, 4 * 2 + 2 + 1) and got.delta_BP.any()
    assert not np.array_equal(got.private_BQ, there.private(("north",)))
    assert torch.equal(frozen, there.model[0].weight)
    private = there.layout.unpack(got.private_BQ[0], "private")
    assert private["1.num_batches_tracked"] == 1 and private["1.num_batches_tracked"].dtype == np.int64
    shared = work(Together())
    delta = shared.layout.unpack(train(shared, ("north",)).delta_BP[0], "shared")
    assert delta["1.num_batches_tracked"] == 1 and delta["1.running_mean"].any()


class Own(Plain):
    def train(self, model, data, settings, rng):
        with torch.no_grad():
            model.weight += rng.random() * settings.lr


class Told(Plain):
    def train(self, model, data, settings, rng):
        return 7.0


def test_a_training_of_ones_own():
    got = train(work(Own()))
    assert np.ptp(got.delta_BP[0, :6]) < 1e-6 and got.delta_BP[0, 0] > 0 and got.travel_B.tolist() == [0, 0]
    assert np.isfinite(got.loss_B).all() and train(work(Told())).loss_B.tolist() == [7, 7]
    model = Plain().model()
    assert traits(Own(), Local(), model) == set() and traits(Plain(), Local(), nn.Flatten()) == {"corrects", "sgd"}
    assert traits(Plain(), Local(momentum=0.5), model) == {"corrects", "contrasts"}


class Rows(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return torch.full((3,), float(i)), i % 2


class Listed(Plain):
    def data(self, client):
        return Data(Rows(20 if client == "north" else 0), None)


def test_any_map_style_dataset_and_none_at_all():
    there = work(Listed())
    got = train(there)
    assert got.delta_BP[0].any() and not got.delta_BP[1].any() and got.examples_B.tolist() == [20, 0]
    sums = there.evaluate(start(there), there.private(NAMES), NAMES)
    assert sums["examples"].tolist() == [0, 0] and sums["accuracy.correct"].tolist() == [0, 0]


def test_evaluations_are_sums():
    there = work(Plain())
    sums = there.evaluate(start(there), there.private(NAMES), NAMES)
    assert sums["examples"].tolist() == [5, 5] and sums["loss"].shape == (2,)
    correct = [(there.model(x).argmax(1) == y).sum().item() for x, y in (Plain().data(n).test.tensors for n in NAMES)]
    assert sums["accuracy.correct"].tolist() == correct


class Broken(Plain):
    def data(self, client):
        raise FileNotFoundError("no such ward\nat all")


class Exploding(Plain):
    def loss(self, outputs, targets):
        raise ValueError("shapes differ")


@pytest.mark.parametrize(
    ("task", "stage", "kind", "text"),
    [
        (Broken(), "loading data", "FileNotFoundError", "no such ward"),
        (Exploding(), "training", "ValueError", "shapes differ"),
    ],
)
def test_errors_say_the_stage_the_type_and_one_line(task, stage, kind, text):
    with pytest.raises(StageFailed) as failed:
        train(work(task))
    assert (failed.value.stage, failed.value.kind, str(failed.value)) == (stage, kind, text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimiser": "sdg"}, "client.optimiser='sdg': it is one of"),
        ({"schedule": "zigzag"}, "client.schedule='zigzag'"),
        ({"schedule": "cosine"}, "needs client.horizon"),
        ({"lr": -1.0}, "client.lr=-1.0: it must be a number of at least 0"),
        ({"lr": float("nan")}, "client.lr=nan"),
        ({"momentum": 0.9, "optimiser": "adam"}, "client.momentum is SGD's"),
        ({"epochs": 0}, "one of them must be at least 1"),
        ({"device": "tpu"}, "client.device='tpu'"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        Local(**settings)


def test_schedules():
    rates = {
        s: [Local(schedule=s, horizon=4, lr=1.0).rate(r) for r in (1, 3, 5, 9)] for s in ("linear", "cosine", "step")
    }
    assert rates["linear"] == [1, 0.5, 0, 0] and rates["step"] == pytest.approx([1, 1, 0.1, 0.01])
    assert rates["cosine"] == pytest.approx([1, 0.5, 0, 0]) and Local().rate(9) == 0.1
