"""A tape plays what was recorded, to the bit, or is not used."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from hansa.fedclient.errors import UnsteadyModel
from hansa.fedclient.tape import SHAPES, Tapes, record


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.out = nn.LSTM(4, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.cells(x.reshape(len(x), 3, 4))[0][:, -1])


class Looking(nn.Module):
    """Decides by a value."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        return self.out(x) if float(x.sum()) > 0 else -self.out(x)


class Counting(nn.Module):
    """Changes with the number of its calls, from a call on."""

    def __init__(self, calls):
        super().__init__()
        self.out, self.calls, self.left = nn.Linear(12, 3), calls, calls

    def forward(self, x):
        self.left -= 1
        return self.out(x) * (1.0 if self.left > 0 else 2.0)


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


PLAYED = {
    "linear": lambda: nn.Linear(12, 3),
    "deep": lambda: nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3)),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ),
    "layer norm": lambda: nn.Sequential(nn.Linear(12, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
}
NOT_PLAYED = {
    "dropout": lambda: nn.Sequential(nn.Linear(12, 9), nn.Dropout(0.5), nn.Linear(9, 3)),
    "batch norm": Normed,
    "looking": Looking,
}


def step_of(model):
    def step(x, y, *trained):
        with torch.enable_grad():
            loss = functional.cross_entropy(model(x), y)
            return loss.detach(), *torch.autograd.grad(loss, trained, allow_unused=True)

    return step


def batch(seed, size=5):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(size, 12, generator=rng), torch.randint(0, 3, (size,), generator=rng)


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        a is b if a is None or b is None else torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("kind", PLAYED)
def test_a_tape_plays_the_steps_bits_as_the_parameters_move(kind):
    model = PLAYED[kind]()
    step, trained = step_of(model), list(model.parameters())
    first, play = record(step, [*batch(0), *trained])
    assert same(first, step(*batch(0), *trained)) and play is not None
    for seed in range(1, 6):
        played = play(*batch(seed), *trained)
        assert same(played, step(*batch(seed), *trained))
        torch._foreach_add_(trained, list(played[1:]), alpha=-0.5)


@pytest.mark.parametrize("kind", NOT_PLAYED)
def test_steps_with_randomness_memory_or_decisions_are_not_recorded(kind):
    model = NOT_PLAYED[kind]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = list(model.parameters())
    torch.manual_seed(3)
    results, play = record(step_of(model), [*batch(0), *trained])
    assert play is None
    model.load_state_dict(before)
    torch.manual_seed(3)
    assert same(results, step_of(model)(*batch(0), *trained))


@pytest.mark.parametrize("model", [Recurrent, *PLAYED.values(), *NOT_PLAYED.values()])
def test_tapes_give_what_the_step_gives_whether_it_can_be_played_or_not(model):
    model = model()
    step, trained = step_of(model), list(model.parameters())
    tapes = Tapes(step)
    for seed, size in zip(range(12), itertools.cycle([5, 5, 2]), strict=False):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        torch.manual_seed(seed)
        got = tapes(*batch(seed, size), *trained)
        model.load_state_dict(before)
        torch.manual_seed(seed)
        assert same(got, step(*batch(seed, size), *trained))


def test_a_parameter_without_gradient_stays_without():
    model, unused = nn.Linear(12, 3), nn.Parameter(torch.ones(2))
    tapes = Tapes(step_of(model))
    for seed in range(5):
        assert tapes(*batch(seed), *model.parameters(), unused)[-1] is None


def test_a_buffer_that_is_set_anew_is_seen():
    model = nn.Sequential(nn.Linear(12, 3))
    model.register_buffer("scale", torch.ones(()))
    scaled = step_of(lambda x: model(x) * model.scale)
    tapes = Tapes(scaled)
    for seed in range(6):
        model.scale.fill_(seed + 1)
        assert same(tapes(*batch(seed), *model.parameters()), scaled(*batch(seed), *model.parameters()))


def test_a_model_that_changes_in_python_is_refused_or_not_played():
    early, late = Counting(3), Counting(5)
    tapes = Tapes(step_of(early))
    for seed in range(9):
        tapes(*batch(seed), *early.parameters())
    assert set(tapes._plays.values()) == {None}
    tapes = Tapes(step_of(late))
    for seed in range(8):
        tapes(*batch(seed), *late.parameters())
    with pytest.raises(UnsteadyModel, match="let what changes be a buffer"):
        tapes(*batch(8), *late.parameters())


def test_shapes_without_end_do_not_fill_the_memory():
    model = nn.Linear(12, 3)
    tapes = Tapes(step_of(model))
    for size in range(1, SHAPES + 20):
        tapes(*batch(size, size), *model.parameters())
    assert len(tapes._plays) == SHAPES
