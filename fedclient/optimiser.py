"""Steps of SGD, Adam and AdamW by torch's own functions.

An ``Optimizer`` object would compute the same; making the first one of a process imports torch's compiler, which takes
two seconds of every short-lived worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from hansa.fedclient.settings import Local

BETAS, EPS = (0.9, 0.999), 1e-8


@dataclass
class Optimiser:
    """One client's optimiser in one round; momenta start at 0."""

    parameters: Sequence[Tensor]
    settings: Local
    rate: float
    _momenta: list[Tensor | None] = field(init=False)

    def __post_init__(self) -> None:
        self._momenta = [None] * len(self.parameters)
        if self.settings.optimiser != "sgd":
            self._first = [torch.zeros_like(p) for p in self.parameters]
            self._second = [torch.zeros_like(p) for p in self.parameters]
            self._steps = [torch.zeros(()) for _ in self.parameters]

    def narrow(self, many: int) -> None:
        """Go on with the first ``many`` entries of each parameter, which has clients in front; the others rest."""
        if many == len(self.parameters[0]):
            return
        self.parameters = [p[:many] for p in self.parameters]
        self._momenta = [None if m is None else m[:many] for m in self._momenta]
        if self.settings.optimiser != "sgd":
            self._first = [m[:many] for m in self._first]
            self._second = [m[:many] for m in self._second]

    def step(self, grad: Sequence[Tensor | None]) -> None:
        """Move the parameters that have gradients; to be called where torch records nothing."""
        there = [i for i, gradient in enumerate(grad) if gradient is not None]
        parameters, gradients = list(self.parameters), list[Any](grad)
        if len(there) < len(gradients):
            parameters, gradients = [parameters[i] for i in there], [gradients[i] for i in there]
        if self.settings.optimiser != "sgd":
            self._adam(there, parameters, gradients)
        elif self.settings.momentum or self.settings.weight_decay:
            self._sgd(there, parameters, gradients)
        elif there:
            torch._foreach_add_(parameters, gradients, alpha=-self.rate)

    def _sgd(self, there: list[int], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        momenta = [self._momenta[i] for i in there]
        sgd(
            parameters,
            gradients,
            momenta,
            weight_decay=self.settings.weight_decay,
            momentum=self.settings.momentum,
            lr=self.rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            has_sparse_grad=False,
            foreach=True,
        )
        for i, momentum in zip(there, momenta, strict=True):
            self._momenta[i] = momentum

    def _adam(self, there: list[int], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        step = {"adam": adam, "adamw": adamw}[self.settings.optimiser]
        step(
            parameters,
            gradients,
            [self._first[i] for i in there],
            [self._second[i] for i in there],
            [],
            [self._steps[i] for i in there],
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.rate,
            weight_decay=self.settings.weight_decay,
            eps=EPS,
            maximize=False,
            foreach=True,
        )
