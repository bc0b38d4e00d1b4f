"""Synthetic(alpha, beta): made-up clients that differ in their models and in their data, as many as one wants.

Li et al. 2020 (FedProx, arXiv:1812.06127, section 5.1). For client k,

    y = argmax softmax(W_k x + b_k)       x ~ N(v_k, diag(j^-1.2))     j = 1 ... 60
    W_k, b_k ~ N(u_k, 1)                  u_k ~ N(0, alpha)
    v_k ~ N(B_k, 1)                       B_k ~ N(0, beta)

where second arguments are variances: ``alpha`` is how much the local models differ, ``beta`` how much the local data
does. In the iid variant all clients share one W and one b ~ N(0, 1), and v_k = 0. As the paper has it, u_k moves all
logits alike, so that alpha changes no y: models differ by the 1 in N(u_k, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.names import Numbered, names
from hansa.fedtasks.partition import position, stream
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array

FEATURES, CLASSES = 60, 10
LEAST, MEDIAN, SPREAD = 50, 4.0, 2.0
"""A client has at least 50 examples; what it has above that is log-normal, e^4 in the median."""
SCALE_F = np.arange(1, FEATURES + 1) ** -0.6
"""Standard deviations of the features."""


@dataclass(frozen=True, kw_only=True)
class Synthetic(Task):
    """Which of ten classes? 60 features, a linear model, and sizes that follow a power law.

    ``alpha`` and ``beta`` say how much the ``parts`` clients differ; with ``iid`` they do not. A client's data is drawn
    when it is asked for, by the client's name and the number ``split``, so that a million clients cost nothing; it is
    the same for any number of clients whose names have as many digits. The last share ``test`` of it is for testing.
    """

    alpha: float = 1.0
    beta: float = 1.0
    iid: bool = False
    parts: int = 30
    split: int = 0
    test: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0 <= value < np.inf:
                raise OptionError(f"task.{name}={value}: it is a variance, a number of at least 0.")
        if self.parts < 1:
            raise OptionError(f"task.parts={self.parts}: there must be at least one client.")
        if not 0 <= self.test < 1:
            raise OptionError(f"task.test={self.test}: the share that is kept for testing is at least 0 and below 1.")

    def clients(self) -> Numbered:
        return names(self.parts)

    def model(self) -> nn.Module:
        return nn.Linear(FEATURES, CLASSES)

    def data(self, client: str) -> Data:
        position(client, self.clients())
        x_NF, y_N = self._draw(client)
        first = len(y_N) - round(self.test * len(y_N))
        train, test = _examples(x_NF[:first], y_N[:first]), _examples(x_NF[first:], y_N[first:])
        return Data(train, test if len(test) else None)

    def _draw(self, client: str) -> tuple[Array, Array]:
        rng = stream("synthetic", self.split, client)
        size = LEAST + int(rng.lognormal(MEDIAN, SPREAD))
        mean_u, mean_b = np.sqrt([self.alpha, self.beta]) * rng.standard_normal(2)
        weight_FC, bias_C = _linear(rng, mean_u)
        centre_F = mean_b + rng.standard_normal(FEATURES)
        if self.iid:
            weight_FC, bias_C = _linear(stream("synthetic", self.split), 0.0)
            centre_F = np.zeros(FEATURES)
        x_NF = centre_F + SCALE_F * rng.standard_normal((size, FEATURES))
        return x_NF, np.argmax(x_NF @ weight_FC + bias_C, axis=1)


def _linear(rng: np.random.Generator, mean: float) -> tuple[Array, Array]:
    """Draw the weights (F, C) and biases (C,) of a model."""
    return mean + rng.standard_normal((FEATURES, CLASSES)), mean + rng.standard_normal(CLASSES)


def _examples(x_NF: Array, y_N: Array) -> TensorDataset:
    return TensorDataset(torch.from_numpy(x_NF.astype(np.float32)), torch.from_numpy(y_N))
