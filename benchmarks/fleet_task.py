"""The task of fleet.py: a model of so many parameters, and training that returns at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks import Data, Task


@dataclass(frozen=True, kw_only=True)
class Flat(Task):
    """One layer of ``parameters`` weights that nobody trains."""

    parameters: int = 200_000
    number: int = 2

    def clients(self):
        return tuple(f"node{i}" for i in range(self.number))

    def model(self):
        return nn.Linear(self.parameters, 1, bias=False)

    def data(self, client):
        return Data(TensorDataset(torch.zeros(1, 1), torch.zeros(1)))

    def train(self, model, data, settings, rng):
        return 0.0
