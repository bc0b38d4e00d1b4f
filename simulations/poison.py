"""Where an attack meets a task's data: what attackers train on, and how often a trigger turns the model."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hansa.fedclient.cache import Cache
from hansa.fedclient.errors import StageFailed, stage
from hansa.fedclient.site import Site
from hansa.fedclient.torch_work import CACHED, TorchWork
from hansa.fedtasks import Data, Examples
from hansa.fedtasks.evaluation import AT_ONCE, pick
from hansa.fedtasks.examples import stack, targets
from hansa.simulations.attacks import Attack, Poisoning, Triggered
from hansa.simulations.errors import AttackError
from hansa.strategies import Channel, Context
from hansa.strategies.types import Array

TURNED, TRIED = "backdoor.turned", "backdoor.tried"
"""Channels: examples that the trigger turned into the target class, and those that it was put on."""


def poisoned(site: Site, attack: Attack, attackers: Sequence[str]) -> Site:
    """Return the site where attackers train: on data that the attack changed, where it does so.

    Raises AttackError for an attack that does not fit the task, as far as the first attacker's data shows.
    """
    if not isinstance(attack, Poisoning) or not attackers:
        return site
    honest, work = site.work, copy.copy(site.work)

    def read(client: str) -> Data:
        with stage("poisoning data"):
            return honest.data(client)._replace(train=_poisoned(honest, attack, site.public, client))

    work.data = Cache(read, CACHED)
    with contextlib.suppress(StageFailed):  # data that cannot be read: the client will say so when it is asked
        train = honest.data(attackers[0]).train
        if len(train):
            inputs, _ = pick(train, np.arange(1), "cpu")
            attack.check(inputs, classes(honest, train))
    return replace(site, work=work)


def _poisoned(work: TorchWork, attack: Poisoning, public: bytes, client: str) -> Examples:
    train = work.data(client).train
    if not len(train):
        return train
    rng = Context(round=0, public=public, own=b"").learning(client, "poison")
    return TensorDataset(*attack.poison(*stack(train), classes(work, train), rng))


def classes(work: TorchWork, examples: Examples) -> int:
    """Return how many classes a task has, by what its model says of an example. Raises AttackError for no classes."""
    with stage("counting classes"), torch.inference_mode():
        inputs, _ = pick(examples, np.arange(1), work.settings.device)
        work.model.eval()
        outputs = work.model(inputs)
    count = 2 if outputs.numel() == 1 else outputs.shape[1]
    labels = targets(examples)
    if labels.size != len(examples) or outputs.ndim > 2 or not np.isin(labels, np.arange(count)).all():
        raise AttackError(
            "attack: the task's targets are not one class an example: choose an attack on updates, such as sign_flip."
        )
    return count


@dataclass(frozen=True, kw_only=True)
class Success:
    """A metric, ``backdoor``: the share of examples that are not of the target class and that the trigger makes so."""

    attack: Triggered

    def measure(self, model: nn.Module, examples: Examples) -> dict[str, Array]:
        """Count a loaded model's answers to marked examples."""
        device, turned, tried = next(model.parameters()).device, 0, 0
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(examples), AT_ONCE):
                inputs, labels = pick(examples, np.arange(start, min(start + AT_ONCE, len(examples))), device)
                others = labels.reshape(-1) != self.attack.target
                guesses = _guesses(model(self.attack.trigger.put(inputs)))
                turned += int((guesses[others] == self.attack.target).sum())
                tried += int(others.sum())
        return {TURNED: np.array(turned, np.float32), TRIED: np.array(tried, np.float32)}

    def channels(self) -> tuple[Channel, ...]:
        """Clients have no part in it."""
        return ()

    def local(self, outputs: Tensor, targets: Tensor) -> dict[str, Array]:
        return {}

    def values(self, sums: Mapping[str, Array]) -> dict[str, float | None]:
        if TRIED not in sums:
            return {}
        tried = float(sums[TRIED])
        return {"backdoor": float(sums[TURNED]) / tried if tried else None}


def _guesses(outputs: Tensor) -> Tensor:
    """Return the classes (N,) that a model takes inputs for."""
    return (outputs.reshape(-1) > 0).long() if outputs.numel() == len(outputs) else outputs.argmax(1)
