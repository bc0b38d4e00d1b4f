"""Models of all kinds in local training: nothing of one client is left in the model when the next one's turn comes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from hansa.fedclient import Local
from hansa.fedclient.errors import SettingsError, StageFailed
from hansa.fedclient.torch_work import TorchWork
from hansa.fedtasks import Auc, Data, Moments, Standardise, Task
from hansa.strategies import Context, Plan
from hansa.strategies.work import mean_losses

CTX = Context(round=1, public=b"public", own=b"own")
NAMES = ("east", "north", "south")
COUNTS = {"east": 12, "north": 20, "south": 33}


class Points(Task):
    """Two classes of points; the clients have 12, 20 and 33 of them."""

    def clients(self):
        return NAMES

    def model(self):
        return nn.Linear(3, 2)

    def data(self, client):
        rng = np.random.default_rng(COUNTS[client])
        x = torch.from_numpy(rng.normal(1.0, 2.0, (COUNTS[client], 3))).float()
        points = TensorDataset(x, (x.sum(1) > 3).long())
        return Data(train=points, test=points)


class Scale(nn.Module):
    """Multiplies by a parameter without dimensions, and counts its batches in an integer."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if self.training:
            self.batches += 1
        return x * self.by


class Scaled(Points):
    def model(self):
        return nn.Sequential(nn.Linear(3, 2), Scale())


class Dropping(Points):
    def model(self):
        return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


class Normed(Points):
    def model(self):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


class NormedAtHome(Normed):
    private = ("1.*",)


class NormedByNobody(Normed):
    frozen = ("1.running_*", "1.num_batches_tracked")


class HeadAtHome(Normed):
    private = ("2.*",)
    frozen = ("0.*",)


class Hoarding(Points):
    """A training of its own that adds up gradients and leaves them lying about."""

    def train(self, model, data, settings, rng):
        inputs, targets = data.tensors
        self.loss(model(inputs), targets).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= settings.lr * parameter.grad


TASKS = (Points, Scaled, Dropping, Normed, NormedAtHome, NormedByNobody, HeadAtHome, Hoarding)


def work(task, seed=1, **settings):
    return TorchWork(task(), Local(**{"batch_size": 10, **settings}), seed)


def start(there):
    return there.layout.pack({k: v.numpy().copy() for k, v in there.model.state_dict().items()}, "shared")


def train(there, names=NAMES, ctx=CTX, **plan):
    model_P = start(TorchWork(there.task, there.settings, there.seed))
    return there.train(model_P, there.private(names), names, ctx, Plan(**plan))


def losses(there, names=NAMES):
    model_P = start(TorchWork(there.task, there.settings, there.seed))
    return mean_losses(there, model_P, there.private(names), names)


def evaluate(there):
    return there.evaluate(start(there), there.private(NAMES), NAMES)


def bits(trained):
    return [np.asarray(array).tobytes() for array in vars(trained).values()]


def joined(parts):
    return [b"".join(arrays) for arrays in zip(*map(bits, parts), strict=True)]


@pytest.mark.parametrize("task", TASKS)
def test_a_block_of_clients_is_its_clients_one_by_one_anywhere(task):
    together = bits(train(work(task)))
    same_place = work(task)
    assert together == joined([train(same_place, (name,)) for name in NAMES])
    assert together == joined([train(work(task), (name,)) for name in NAMES])
    backwards = {name: train(same_place, (name,)) for name in reversed(NAMES)}
    assert together == joined([backwards[name] for name in NAMES])


@pytest.mark.parametrize("task", TASKS)
def test_an_evaluation_does_not_depend_on_who_trained_here_before(task):
    used, fresh = work(task), work(task)
    model_P = start(fresh)
    train(used)
    ours, theirs = (there.evaluate(model_P, there.private(NAMES), NAMES) for there in (used, fresh))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("task", [Dropping, Normed])
def test_bits_follow_the_seed(task):
    first, again, other = train(work(task)), train(work(task)), train(work(task, seed=2))
    assert bits(first) == bits(again) != bits(other)
    elsewhere = train(work(task), ctx=replace(CTX, public=b"another"))
    assert not np.array_equal(first.delta_BP, elsewhere.delta_BP)


def test_dropout_drops_others_in_another_round():
    there = work(Dropping, batch_size=0)
    first, second = (train(there, ("east",), replace(CTX, round=round)) for round in (1, 2))
    assert not np.array_equal(first.delta_BP, second.delta_BP)


def test_a_failed_training_leaves_nothing_behind():
    class Breaking(Normed):
        def loss(self, outputs, targets):
            if len(targets) == 2:  # the second batch of north
                raise RuntimeError("out of memory")
            return super().loss(outputs, targets)

    there = work(Breaking, batch_size=18)
    with pytest.raises(StageFailed, match=r"^out of memory$"):
        train(there, ("north",))
    assert bits(train(there, ("south",))) == bits(train(work(Breaking, batch_size=18), ("south",)))


def test_mini_batches_of_sgd_are_a_loop_written_by_hand():
    there = work(Points, batch_size=8, epochs=2, lr=0.3)
    got = train(there, ("north",))
    model, (x, y) = TorchWork(Points(), Local(), 1).model, Points().data("north").train.tensors
    before, losses = start(TorchWork(Points(), Local(), 1)), []
    rng = CTX.learning("north", "batches")
    for _ in range(2):
        for rows in np.split(rng.permutation(20), [8, 16]):
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            losses.append(loss.item() * len(rows))
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.data.add_(gradient, alpha=-0.3)
    after = np.concatenate([p.detach().numpy().reshape(-1) for p in model.parameters()])
    assert np.array_equal(got.delta_BP[0], after - before)
    assert got.travel_B[0] == pytest.approx(6 * 0.3) and got.loss_B[0] == pytest.approx(sum(losses) / 40)


def test_the_proximal_term_is_mu_times_the_way_from_the_start():
    mu, lr = 0.7, 0.2
    got = train(work(Points, proximal=mu, lr=lr, batch_size=0, epochs=3), ("north",))
    model, (x, y) = TorchWork(Points(), Local(), 1).model, Points().data("north").train.tensors
    start_of = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):
        away = sum((p - s).square().sum() for p, s in zip(model.parameters(), start_of, strict=True))
        objective = functional.cross_entropy(model(x), y) + mu / 2 * away
        gradients = torch.autograd.grad(objective, list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.data -= lr * gradient
    moved = [(p.detach() - s).reshape(-1) for p, s in zip(model.parameters(), start_of, strict=True)]
    np.testing.assert_allclose(got.delta_BP[0], torch.cat(moved), atol=1e-6)


def test_the_proximal_term_leaves_private_parameters_free():
    once = {"batch_size": 0, "steps": 1, "lr": 0.2}
    free, held = (train(work(HeadAtHome, proximal=mu, **once), ("north",)) for mu in (0.0, 50.0))
    assert np.array_equal(free.private_BQ, held.private_BQ), "the first step starts from the start"
    free, held = (train(work(HeadAtHome, proximal=mu, batch_size=0, steps=9), ("north",)) for mu in (0.0, 9.0))
    lay = work(HeadAtHome).layout
    moved = [lay.unpack(one.delta_BP[0], "shared")["1.weight"] for one in (free, held)]
    assert np.linalg.norm(moved[1]) < 0.5 * np.linalg.norm(moved[0])


def test_corrections_reach_the_parameters_and_not_the_buffers():
    plain, pushed = work(Scaled, batch_size=0, lr=0.5), work(Scaled, batch_size=0, lr=0.5)
    size = plain.layout.size("shared")
    push = np.arange(1, 1 + 2 * size, dtype=np.float32).reshape(2, size)
    without, with_push = train(plain, NAMES[:2]), train(pushed, NAMES[:2], correction=push)
    gap_BP = without.delta_BP - with_push.delta_BP
    buffer = plain.layout.size("shared") - 1
    assert plain.layout.entries[-1].name == "1.batches"
    np.testing.assert_allclose(gap_BP[:, :buffer], 0.5 * push[:, :buffer], rtol=1e-5)
    assert gap_BP[:, buffer].tolist() == [0, 0]


def test_a_parameter_without_dimensions_and_an_integer_are_shared():
    there = work(Scaled, batch_size=4, epochs=2)
    got = there.layout.unpack(train(there, ("north",)).delta_BP[0], "shared")
    assert got["1.by"].shape == () and got["1.by"] != 0
    assert got["1.batches"] == 10 and got["1.batches"].dtype == np.int64


def test_shared_statistics_travel_and_the_integer_counts_batches():
    there = work(Normed, batch_size=0, epochs=2)
    got = there.layout.unpack(train(there, ("north",)).delta_BP[0], "shared")
    assert got["1.num_batches_tracked"] == 2 and got["1.running_var"].all() and got["1.running_mean"].all()


def test_private_parameters_stay_out_of_the_delta_and_go_on_from_where_they_were():
    there = work(NormedAtHome, batch_size=0)
    assert train(there).delta_BP.shape == (3, 3 * 4 + 4 + 4 * 2 + 2)
    private_BQ, model_P = there.private(("north",)), start(there)
    for batches in (1, 2, 3):
        private_BQ = there.train(model_P, private_BQ, ("north",), CTX).private_BQ
        private = there.layout.unpack(private_BQ[0], "private")
        assert private["1.num_batches_tracked"] == batches and private["1.num_batches_tracked"].dtype == np.int64
    assert np.array_equal(there.private(("south",)), work(NormedAtHome).private(("north",))), "others start afresh"


def test_private_parameters_count_in_an_evaluation():
    there = work(NormedAtHome, lr=0.5, epochs=5)
    model_P, names = start(there), ("north",)
    before = there.evaluate(model_P, there.private(names), names)
    after = there.evaluate(model_P, train(there, names).private_BQ, names)
    assert before["loss"] != after["loss"]


@pytest.mark.parametrize("task", [HeadAtHome, NormedByNobody])
def test_what_is_frozen_is_the_same_for_every_client(task):
    there = work(task)
    fresh = {name: value.clone() for name, value in there.model.state_dict().items()}
    train(there)
    evaluate(there)
    frozen = [entry.name for entry in there.layout.entries if entry.kind == "frozen"]
    now = there.model.state_dict()
    assert frozen and all(torch.equal(now[name], fresh[name]) for name in frozen)


@pytest.mark.parametrize("settings", [{"optimiser": "adamw", "weight_decay": 0.5}, {"momentum": 0.9}])
def test_frozen_parameters_do_not_decay_either(settings):
    there = work(HeadAtHome, **settings)
    before = there.model[0].weight.clone()
    got = train(there)
    assert torch.equal(before, there.model[0].weight) and got.delta_BP.any() and got.private_BQ.any()


def test_adam_starts_anew_for_every_client_and_round():
    there = work(Points, optimiser="adam", lr=0.01)
    first = train(there, ("north",))
    train(there, ("south",))
    assert bits(train(there, ("north",))) == bits(first)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"batch_size": 8}, 3),
        ({"batch_size": 8, "epochs": 3}, 9),
        ({"batch_size": 8, "epochs": 3, "steps": 2}, 2),
        ({"batch_size": 8, "epochs": 0, "steps": 7}, 7),
        ({"batch_size": 0}, 1),
        ({"batch_size": 0, "steps": 4}, 4),
        ({"batch_size": 999}, 1),
    ],
)
def test_epochs_steps_and_batches(settings, steps):
    counted = work(Scaled, lr=0.25, **settings)
    got = train(counted, ("north",))
    assert got.travel_B.tolist() == [0.25 * steps]
    assert counted.layout.unpack(got.delta_BP[0], "shared")["1.batches"] == steps


def test_the_schedule_sets_the_rate_of_the_round():
    there = work(Points, lr=1.0, schedule="step", horizon=1, decay=0.5, batch_size=0)
    travelled = [train(there, ("north",), replace(CTX, round=round)).travel_B[0] for round in (1, 2, 3)]
    assert travelled == [1, 0.5, 0.25]


class Ranked(Points):
    metrics = (*Points.metrics, Auc(bins=16))


@pytest.mark.parametrize("task", [Points, Ranked])
def test_sums_of_clients_are_the_sums_of_their_data_in_one_place(task):
    class Pooled(task):
        def data(self, client):
            parts = [super(Pooled, self).data(name).test.tensors for name in NAMES]
            return Data(*[TensorDataset(*map(torch.cat, zip(*parts, strict=True)))] * 2)

    there, pooled = work(task), work(Pooled)
    apart = evaluate(there)
    whole = pooled.evaluate(start(there), pooled.private(("east",)), ("east",))
    assert apart.keys() == whole.keys() and whole["examples"].tolist() == [65]
    for name in whole:
        np.testing.assert_allclose(apart[name].sum(0), whole[name][0], rtol=1e-5)


class Standardised(Points):
    queries = (Moments(features=3),)

    def model(self):
        return nn.Sequential(OrderedDict(standardise=Standardise(3), linear=nn.Linear(3, 2)))

    def server_data(self):
        return self.data("east").test


def test_fitted_statistics_are_taken_in_and_training_starts_behind_them():
    there = work(Standardised)
    answers = there.query("moments", NAMES)
    assert answers["moments.count"].tolist() == [12, 20, 33]
    fitted = there.task.queries[0].fit({name: values.sum(0) for name, values in answers.items()})
    before = train(there, ("north",))
    there.fit(there.layout.pack(fitted, "fitted"))
    assert torch.equal(there.model.standardise.mean, torch.from_numpy(fitted["standardise.mean"]))
    assert not np.array_equal(train(there, ("north",)).delta_BP, before.delta_BP)
    assert torch.equal(there.model.standardise.mean, torch.from_numpy(fitted["standardise.mean"]))


def test_the_coordinators_own_data_is_evaluated_with_the_fitted_statistics():
    there = work(Standardised)
    evaluate = there.central()
    fitted = there.layout.pack({"standardise.mean": np.ones(3), "standardise.scale": np.full(3, 2.0)}, "fitted")
    sums, names = evaluate(start(there), fitted), ("east",)
    same = there.evaluate(start(there), there.private(names), names)
    assert sums["examples"] == 12 and sums["loss"] == same["loss"][0]
    assert work(Points).central() is None


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused_with_the_remedy(device):
    if {"cuda": torch.cuda, "mps": torch.backends.mps}[device].is_available():
        pytest.skip(f"this machine has {device}")
    with pytest.raises(SettingsError, match=rf"client\.device={device}: this machine has none; use client\.device=cpu"):
        work(Points, device=device)


class Unread(Points):
    def data(self, client):
        raise PermissionError(f"{client}.csv\nis locked")


class Unbuilt(Points):
    def model(self):
        raise ImportError("no module named 'timm'")


class Emptied(Points):
    def server_data(self):
        raise KeyError


class Wide(Points):
    def model(self):
        return nn.Linear(4, 2)


class Wordless(Points):
    def loss(self, outputs, targets):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (lambda: train(work(Unread)), ("loading data", "PermissionError", "east.csv")),
        (lambda: evaluate(work(Unread)), ("loading data", "PermissionError", "east.csv")),
        (lambda: train(work(Wide)), ("training", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied")),
        (lambda: evaluate(work(Wide)), ("evaluating", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied")),
        (lambda: train(work(Wordless)), ("training", "ZeroDivisionError", "no message")),
        (lambda: work(Unbuilt), ("building the model", "ImportError", "no module named 'timm'")),
        (lambda: work(Emptied).central(), ("loading the coordinator's data", "KeyError", "no message")),
    ],
    ids=["train", "evaluate", "training", "evaluating", "wordless", "model", "central"],
)
def test_a_failure_tells_stage_type_and_message_in_one_line(do, told):
    with pytest.raises(StageFailed) as failed:
        do()
    assert (failed.value.stage, failed.value.kind) == told[:2] and str(failed.value).startswith(told[2])
    assert len(str(failed.value).splitlines()) == 1 and failed.value.__cause__ is not None


def test_data_that_could_not_be_read_is_read_again_and_then_kept():
    class Late(Points):
        asked = 0

        def data(self, client):
            Late.asked += 1
            if Late.asked == 1:
                raise OSError("the share is not mounted")
            return super().data(client)

    there = work(Late)
    with pytest.raises(StageFailed, match="not mounted"):
        train(there, ("north",))
    for _ in range(3):
        assert train(there, ("north",)).delta_BP.any()
    assert Late.asked == 2


@pytest.mark.parametrize("task", TASKS)
def test_losses_before_training_are_those_of_one_pass_and_leave_nothing_behind(task):
    there, fresh = work(task), work(task)
    told_B = losses(there)
    model = fresh.model.eval()
    for name, told in zip(NAMES, told_B, strict=True):
        inputs, targets = there.data(name).train.tensors
        with torch.no_grad():
            assert told == pytest.approx(float(there.task.loss(model(inputs), targets)), rel=1e-6)
        assert losses(there, (name,)).tolist() == [told]
    assert bits(train(there)) == bits(train(fresh))


def test_who_has_no_examples_has_a_loss_of_0():
    class Empty(Points):
        def data(self, client):
            points = TensorDataset(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
            return Data(train=points, test=points)

    assert losses(work(Empty)).tolist() == [0, 0, 0]


def test_a_loss_that_cannot_be_told_says_where():
    class Torn(Points):
        def loss(self, outputs, targets):
            raise ValueError("no such loss")

    with pytest.raises(StageFailed, match="no such loss") as failed:
        losses(work(Torn))
    assert failed.value.stage == "measuring the loss"
