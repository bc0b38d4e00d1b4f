"""A first layer that brings every feature to mean 0 and standard deviation 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """(x - mean) / scale, feature by feature: inputs (..., features), outputs of the same shape.

    ``mean`` and ``scale`` are float32 buffers of shape (features,), filled by the query `Moments` before round 1. Until
    then the layer is the identity.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.scale
