"""The task of simulation_scale.py: any number of clients, each with 64 examples that come into being when asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks import Data, Task
from hansa.fedtasks.names import names
from hansa.fedtasks.partition import stream

EXAMPLES, TEST, FEATURES = 64, 8, 60


@dataclass(frozen=True, kw_only=True)
class Even(Task):
    """Which side of a plane is a point on? All clients have the same plane, and points of their own."""

    parts: int = 1000

    def clients(self):
        return names(self.parts)

    def model(self):
        return nn.Linear(FEATURES, 10)

    def data(self, client):
        x = torch.from_numpy(stream("even", client).standard_normal((EXAMPLES + TEST, FEATURES), np.float32))
        y = (x.sum(1) > 0).long()
        return Data(TensorDataset(x[TEST:], y[TEST:]), TensorDataset(x[:TEST], y[:TEST]))
