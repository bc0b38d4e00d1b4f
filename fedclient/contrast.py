"""A step whose loss also contrasts representations (MOON): closer to one fixed model's than to another's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from hansa.fedclient.errors import SettingsError
from hansa.fedclient.tape import Step, Tapes

SHORTEST = 1e-6
"""A shorter representation points nowhere: its cosines count as 0, where their gradients would be without bound."""


@dataclass
class Contrast:
    """Steps of one model; the representation of an example is what its last linear layer gets.

    ``loss`` is the task's own, of outputs and targets. Raises SettingsError where there is no linear layer.
    """

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    _tapes: dict[tuple[float, float], Tapes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        linear = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise SettingsError("MOON contrasts what the last linear layer gets: the task's model has no nn.Linear.")
        self._last = linear[-1]

    def represented(self, named: Mapping[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs and representations (N, F) of a model with these parameters."""
        caught: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
        try:
            outputs: Tensor = torch.func.functional_call(self.model, dict(named), (inputs,))
        finally:
            hook.remove()
        return outputs, caught[-1].flatten(1)

    def step(self, mu: float, temperature: float, names: Sequence[str]) -> Tapes:
        """Return the step of inputs, targets, the two fixed models' representations, and trained parameters."""
        if (mu, temperature) not in self._tapes:
            self._tapes[mu, temperature] = Tapes(self._written(mu, temperature, names), changing=4)
        return self._tapes[mu, temperature]

    def _written(self, mu: float, temperature: float, names: Sequence[str]) -> Step:
        def step(
            inputs: Tensor, targets: Tensor, near: Tensor, far: Tensor, *trained: Tensor
        ) -> Sequence[Tensor | None]:
            with torch.enable_grad():
                outputs, z = self.represented(dict(zip(names, trained, strict=True)), inputs)
                gap = functional.cosine_similarity(z, near) - functional.cosine_similarity(z, far)
                gap = gap * (torch.linalg.vector_norm(z.detach(), dim=1) > SHORTEST)
                loss = self.loss(outputs, targets) + mu * functional.softplus(-gap / temperature).mean()
                return loss.detach(), *torch.autograd.grad(loss, trained, allow_unused=True)

        return step
