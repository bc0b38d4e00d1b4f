"""Loops of PyTorch without any federation: the ordinary one on one core, or the tightest known in a process a core.

python torch_loop.py lr 60 12            # optimiser and modules, one process
python torch_loop.py lr 60 12 tight      # autograd.grad and foreach steps, two processes that share nothing
"""

from __future__ import annotations

import functools
import os
import sys
import time

import mnist_work as work
import torch
from torch.nn import functional


@functools.cache
def tensors(samples):
    """Return all clients' images and digits, once a process."""
    torch.set_num_threads(1)
    return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in work.images_and_digits(samples)]


def ordinary(model, start, images, digits):
    """Train as a tutorial would."""
    model.load_state_dict(start)
    optimiser = torch.optim.SGD(model.parameters(), lr=work.LR)
    for x, y in zip(images.split(work.BATCH), digits.split(work.BATCH), strict=True):
        optimiser.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimiser.step()


def tight(model, start, images, digits):
    """Train without optimiser objects and gradients that accumulate."""
    parameters = list(model.parameters())
    with torch.no_grad():
        torch._foreach_copy_(parameters, list(start.values()))
    for x, y in zip(images.split(work.BATCH), digits.split(work.BATCH), strict=True):
        gradients = torch.autograd.grad(functional.cross_entropy(model(x), y), parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-work.LR)


def stamps(train, clients: range) -> list[float]:
    """Train these clients in each round; return the start and the end of each."""
    name, samples, rounds = work.words()
    data = tensors(samples)
    model = work.torch_model(name)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    found = [time.perf_counter()]
    for _ in range(rounds):
        for client in clients:
            train(model, start, *data[client])
        found.append(time.perf_counter())
    return found


def main() -> None:
    if sys.argv[-1] != "tight":
        work.tell("PyTorch loop, 1 core", stamps(ordinary, range(work.COHORT)))
        return
    child, half = os.fork(), work.COHORT // 2
    found = stamps(tight, range(half) if child else range(half, work.COHORT))
    if child:
        os.waitpid(child, 0)
        work.tell("tight PyTorch loop, 2 cores", found)


if __name__ == "__main__":
    main()
