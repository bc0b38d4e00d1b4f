"""Steps are those of torch's own optimisers, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hansa.fedclient.optimiser import Optimiser
from hansa.fedclient.settings import Local

CASES = {
    "sgd": ({}, torch.optim.SGD),
    "momentum": ({"momentum": 0.9}, torch.optim.SGD),
    "momentum and decay": ({"momentum": 0.9, "weight_decay": 0.01}, torch.optim.SGD),
    "adam": ({"optimiser": "adam"}, torch.optim.Adam),
    "adam and decay": ({"optimiser": "adam", "weight_decay": 0.01}, torch.optim.Adam),
    "adamw": ({"optimiser": "adamw"}, torch.optim.AdamW),
    "adamw and decay": ({"optimiser": "adamw", "weight_decay": 0.01}, torch.optim.AdamW),
}


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((), (7,), (5, 3), (2, 3, 4))]


def give_gradients(to, step, absent=()):
    generator = torch.Generator().manual_seed(step)
    for i, parameter in enumerate(to):
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if i in absent else gradient


def both(case, rate=0.05):
    settings, torchs = CASES[case]
    ours, theirs = parameters(), parameters()
    options = {"weight_decay": 0.0} | {k: v for k, v in settings.items() if k != "optimiser"}
    return ours, theirs, Optimiser(ours, Local(**settings), rate), torchs(theirs, lr=rate, **options)


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_are_torchs_own(case):
    ours, theirs, our_step, their_step = both(case)
    before = parameters()
    for step in range(20):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        with torch.no_grad():
            our_step.step([p.grad for p in ours])
        their_step.step()
    assert same(ours, theirs) and not same(ours, before)


@pytest.mark.parametrize("case", CASES)
def test_gradients_that_come_and_go_are_followed_as_torch_does(case):
    ours, theirs, our_step, their_step = both(case)
    for step in range(20):
        absent = {step % 4, (step + 1) % 3}
        give_gradients(ours, step, absent)
        give_gradients(theirs, step, absent)
        with torch.no_grad():
            our_step.step([p.grad for p in ours])
        their_step.step()
    assert same(ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_parameters_without_gradient_are_left_alone(case):
    ours, _, our_step, _ = both(case)
    for step in range(3):
        give_gradients(ours, step, absent={1, 2})
        with torch.no_grad():
            our_step.step([p.grad for p in ours])
    assert same(ours[1:3], parameters()[1:3]) and not torch.equal(ours[0], parameters()[0])


def test_a_step_of_no_gradients_at_all_is_no_step():
    for case in CASES:
        ours, _, our_step, _ = both(case)
        with torch.no_grad():
            our_step.step([p.grad for p in ours])
        assert same(ours, parameters())


def test_gradients_are_read_and_not_changed():
    for case in CASES:
        ours, _, our_step, _ = both(case)
        for step in range(2):
            give_gradients(ours, step)
            before = [p.grad.clone() for p in ours]
            with torch.no_grad():
                our_step.step([p.grad for p in ours])
            assert same([p.grad for p in ours], before)
